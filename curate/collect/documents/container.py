"""Zip files full of XML, as Office, OpenDocument and EPUB files are, read without trust in what they say of themselves.

Limits: 10,000 members, 512 MB unpacked (counted, not believed), 200 times the size of a member above 10 MB. XML is read without
entities of its own, external files, the network or huge trees; an Office file with a document type is refused: none has one.
"""

from __future__ import annotations

import io
import posixpath
import re
import zipfile
from typing import Any

from curate.collect.members import DAMAGE
from curate.stages.extractor import Unreadable

__all__ = ["Container", "main_part", "parse_xml", "relations"]

MEMBERS, UNPACKED, RATIO, FREE_BYTES = 10_000, 512 << 20, 200, 10 << 20
READ_BYTES = 1 << 20
DECLARES = re.compile(rb"<!(DOCTYPE|ENTITY)", re.IGNORECASE)
HEAD_BYTES = 4096


class Container:
    """The members of a zip file, by name.

    Raises:
        Unreadable: `truncated`, `corrupt`, `expansion_limit`.
    """

    def __init__(self, content: bytes) -> None:
        try:
            self._archive = zipfile.ZipFile(io.BytesIO(content))
        except DAMAGE as error:
            raise Unreadable("truncated", "zip: its directory is not there, or is damaged") from error
        self.names = [told.filename for told in self._archive.infolist()]
        self._known = frozenset(self.names)
        self._left = UNPACKED
        if len(self.names) > MEMBERS:
            raise Unreadable("expansion_limit", f"zip: {len(self.names)} members, more than {MEMBERS}")

    def __contains__(self, name: str) -> bool:
        return name in self._known

    def read(self, name: str) -> bytes:
        """All of a member.

        Raises:
            KeyError: There is none of this name.
            Unreadable: `password`, `expansion_limit`, `corrupt`.
        """
        told = self._archive.getinfo(name)
        if told.flag_bits & 1:
            raise Unreadable("password", "zip: a part of it is encrypted")
        most = min(self._left, max(FREE_BYTES, told.compress_size * RATIO))
        pieces, size = list[bytes](), 0
        try:
            with self._archive.open(told) as stream:
                while data := stream.read(READ_BYTES):
                    size += len(data)
                    if size > most:
                        raise Unreadable("expansion_limit", f"zip: a part unpacks to more than {most >> 20} MB")
                    pieces.append(data)
        except DAMAGE as error:
            raise Unreadable("corrupt", f"zip: a part of it is damaged: {type(error).__name__}") from error
        self._left -= size
        return b"".join(pieces)

    def xml(self, name: str, *, doctype: bool = False) -> Any:
        """The root element of a member; `doctype`: whether it may have one (EPUB's pages have)."""
        return parse_xml(self.read(name), doctype=doctype)


def main_part(container: Container, name: str) -> str | None:
    """The part that an Office file says it begins with, or the one of the usual name."""
    if "_rels/.rels" in container:
        for one in container.xml("_rels/.rels"):
            place = one.get("Target", "").lstrip("/")
            if one.get("Type", "").endswith("/officeDocument") and place in container:
                return place
    return next((one for one in container.names if one.endswith(name)), None)


def relations(container: Container, name: str, *, by: str = "Id") -> dict[str, str]:
    """The members that a part of an Office file refers to, by the keys that it uses for them; `by` may be `Type`."""
    folder, _, file = name.rpartition("/")
    path = f"{folder}/_rels/{file}.rels".lstrip("/")
    if path not in container:
        return {}
    return {
        one.get(by, ""): posixpath.normpath(posixpath.join("/", folder, one.get("Target", ""))).lstrip("/")
        for one in container.xml(path)
        if one.get("TargetMode") != "External"
    }


def parse_xml(data: bytes, *, doctype: bool = False) -> Any:
    """The root element of an XML file.

    Raises:
        Unreadable: `entity_bomb` (it declares entities), `corrupt`.
    """
    from lxml import etree

    if found := DECLARES.search(data[:HEAD_BYTES] if doctype else data):
        if found[1].upper() == b"ENTITY" or not doctype:
            raise Unreadable("entity_bomb", "xml: it declares a document type or entities, which is how bombs are made")
        if DECLARES.search(data[:HEAD_BYTES], found.end()):
            raise Unreadable("entity_bomb", "xml: it declares entities, which is how bombs are made")
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_comments=True
    )
    try:
        return etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        raise Unreadable("corrupt", f"xml: line {error.lineno}: it is not well-formed") from error
