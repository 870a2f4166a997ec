"""Text of EPUB books: the files of the spine in its order, each once, without the cover and the table of contents.

Ten of thirteen real books point into their files (`x.xhtml#o8`) from the spine; what is read is the file. Source: EPUB 3.3.
"""

from __future__ import annotations

import posixpath
from typing import Any
from urllib.parse import unquote

from curate.collect.charsets import decode_page
from curate.collect.documents.blocks import Structure, render
from curate.collect.documents.container import Container
from curate.collect.documents.pages import page_blocks
from curate.collect.documents.word import local
from curate.stages.extractor import Extracted, Unreadable

__all__ = ["read_epub"]

PAGES = ("application/xhtml+xml", "text/html", "application/x-dtbook+xml")


def read_epub(content: bytes, structure: Structure) -> Extracted:
    """The text of a book, and its `title`.

    Raises:
        Unreadable: What `Container` raises; `password` (its pages are encrypted); `corrupt`: it has no package.
    """
    container = Container(content)
    package = _package(container)
    root, folder = container.xml(package, doctype=True), posixpath.dirname(package)
    items = {one.get("id"): one for one in root.iter() if local(one) == "item"}
    chosen: dict[str, None] = {}
    for reference in (one for one in root.iter() if local(one) == "itemref"):
        item = items.get(reference.get("idref"))
        if item is not None and item.get("media-type") in PAGES and not _is_navigation(item):
            chosen[_target(folder, item.get("href", ""))] = None
    names = list(chosen)
    if not any(name in container for name in names):
        raise Unreadable("corrupt", "epub: its spine names no page that is in it")
    if missing := [name for name in names if name not in container]:
        raise Unreadable("corrupt", f"epub: {len(missing)} of {len(names)} pages of its spine are not in it")
    _refuse_encrypted(container, names)
    blocks = [block for name in names for block in page_blocks(decode_page(container.read(name)))]
    title = next((one.text for one in root.iter() if local(one) == "title"), None)
    return Extracted(render(blocks, structure), {"title": " ".join((title or "").split()) or None})


def _package(container: Container) -> str:
    if "META-INF/container.xml" in container:
        for one in container.xml("META-INF/container.xml").iter():
            if local(one) == "rootfile" and one.get("full-path") in container:
                return one.get("full-path")
    found = next((name for name in container.names if name.endswith(".opf")), None)
    if found is None:
        raise Unreadable("corrupt", "epub: there is no package file in it")
    return found


def _is_navigation(item: Any) -> bool:
    told = f"{item.get('properties', '')} {item.get('id', '')}".lower().split()
    return bool({"nav", "toc", "cover", "cover-image"} & set(told))


def _target(folder: str, address: str) -> str:
    """The member that an address means, without the place in it."""
    return posixpath.normpath(posixpath.join(folder, unquote(address.partition("#")[0])))


def _refuse_encrypted(container: Container, names: list[str]) -> None:
    """Fonts may be scrambled; a book whose pages are cannot be read."""
    if "META-INF/encryption.xml" not in container:
        return
    references = (one for one in container.xml("META-INF/encryption.xml").iter() if local(one) == "CipherReference")
    hidden = {unquote(one.get("URI", "")) for one in references}
    if hidden & set(names):
        raise Unreadable("password", "epub: its pages are encrypted")
