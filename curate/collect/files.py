"""Documents from files: records, texts, pages, mailboxes, archives of such files, or any file as it is.

What can be trusted of a damaged file is read; everything else is rejected with its offset, so that nothing is lost
without a word. Offsets count in the decompressed file, so a document keeps its id however the file is cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, ClassVar, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field

from curate.collect.columns import Selection
from curate.collect.compression import ByteStream
from curate.collect.encodings import Utf8Stream, is_wide
from curate.collect.formats import (
    ARCHIVES,
    COMPRESSIONS,
    CUT_BY_LINES,
    DELIMITERS,
    ENDINGS,
    STREAMED,
    TEXTUAL,
    UNDONE,
    FileType,
    Format,
    file_type,
    mismatch,
    type_by_bytes,
)  # fmt: skip
from curate.collect.locations import Location, find_locations, open_location
from curate.collect.media_types import HEAD_BYTES, media_type
from curate.errors import CurateError
from curate.stages.contract import Part, Passed, Rejected, Source, SourceContext

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Files"]

SCAN_BYTES = 1 << 20
NESTED = 2
"""Archives inside of archives are read this deep."""


def _listed(paths: object) -> object:
    return [paths] if isinstance(paths, str) else paths


SeveralPaths = Annotated[list[str], Field(min_length=1)]
Paths = Annotated[SeveralPaths, BeforeValidator(_listed, json_schema_input_type=str | SeveralPaths)]


def _known_encoding(label: str) -> str:
    from curate.collect.charsets import find_codec

    if find_codec(label) is None:
        raise ValueError(
            f"no encoding is called `{label}`; the web's labels are known: utf-8, utf-16le, windows-1252, gbk"
        )
    return label


class _File(NamedTuple):
    """A file to read, in a folder or in an archive."""

    name: str
    open: Callable[[], BinaryIO]
    format: str
    compression: str | None
    is_local: bool


class Files(Source):
    """Reads documents from files: JSON, CSV, Parquet, Arrow, text, HTML, WARC, mbox; in zip and tar; any file for `extract`."""

    version: ClassVar[int] = 8
    planning: ClassVar[frozenset[str]] = frozenset({"paths"})
    libraries: ClassVar[tuple[str, ...]] = ("orjson", "pyarrow", "FastWARC", "Resiliparse")

    paths: Paths = Field(
        description="A path or glob (`in/**/*.jsonl.zst`), relative to the pipeline file, or a URL that fsspec opens "
        "(`s3://`, `https://`, `memory://`); or a list of them. Each must match a file; a file that two of them match, "
        "or to which symbolic links lead, is read once.",
    )
    format: Format | None = Field(
        None,
        description="Format of all the files, or of all members of archives; by default, that of each file's ending, or of its "
        "first bytes where the ending says nothing. A file whose bytes are of another kind than its ending says is "
        "quarantined as `format_mismatch`. text, markdown and html give one document a file (html keeps its markup, for "
        "`html_text`), lines one for each line of text; json is an array of objects, or objects one behind the other; "
        "warc gives the HTML and plain text that was fetched, with columns `url`, `date`, `content_type` and `status`; "
        "binary gives one document for each file of any kind (PDF, images, pages in any encoding), without a text: its "
        "bytes in `content`, what they are in `media_type`, for `extract` or an extractor of your own; mbox gives such "
        "a one for each message; zip and tar give what their members give (`letters.zip!2024/a.txt`).",
    )
    text: str | None = Field(
        None,
        description="Column that holds the text; by default, `text` where there is one, and documents without a text of their "
        "own where there is none (conversations, pairs, tables).",
    )
    id_column: str | None = Field(
        None, description="Column that holds the id, which becomes a string; by default, `id` where there is one."
    )
    verify: bool = Field(
        default=False,
        description="Decompress local gzip files twice, and read nothing of a member that fails its checksum: no damaged "
        "text at all, instead of everything that can be read.",
    )
    make_ids: bool = Field(
        False,
        description="Ids are made from the place of each document (its `source_uri`), for ids that repeat across files; "
        "the column of ids is carried on as `original_id`.",
    )
    columns: list[str] | None = Field(
        None,
        description="Other columns to keep; all of them by default, none with `[]`. A column `source_uri` is carried on "
        "as `original_uri`.",
    )
    quote: str | None = Field(
        '"',
        min_length=1,
        max_length=1,
        description="Character around CSV and TSV fields that hold delimiters or line ends; null where quotes are "
        "plain text.",
    )
    delimiter: str | None = Field(
        None,
        min_length=1,
        max_length=1,
        description="Character between the fields of CSV and TSV files; by default, a comma and a tab.",
    )
    names: list[str] | None = Field(
        None,
        min_length=1,
        description="Names of the columns of CSV and TSV files that do not begin with a line of names.",
    )
    encoding: Annotated[str, AfterValidator(_known_encoding)] | None = Field(
        None,
        description="Encoding of text, JSON and CSV files, by its label on the web (`windows-1252`, `shift_jis`); by default "
        "UTF-8, or UTF-16 where a file begins with the mark of that. Offsets then count in UTF-8.",
    )
    max_document_bytes: int = Field(
        64 << 20, ge=1, description="Longer documents and lines, in bytes, are quarantined as `too_long`."
    )
    max_expansion: float = Field(
        200,
        gt=1,
        description="A compressed file is read until it gives more than this many times its own size (and more than "
        "64 MiB); the rest is quarantined as `expansion_limit`.",
    )

    def plan(self, context: SourceContext) -> Sequence[Part]:
        """One part for each file, or for each range of bytes, row groups or frames where a file can be cut."""
        parts: list[Part] = []
        locations = find_locations(self.paths, context.root)
        context.prepare([Path(location.location) for location in locations if location.is_local])
        for location in locations:
            kind, problem, head = self._type(location.name, partial(open_location, location.location))
            if kind.format is None:
                raise CurateError(
                    f"the ending of `{location.name}` does not tell its format, nor do its first bytes",
                    hint=f"set `format:`, or narrow `paths:`; known endings are {' '.join(ENDINGS)}, "
                    f"compressed with {' '.join(COMPRESSIONS)}; `format: binary` reads any file, for an extractor",
                )
            if kind.compression not in (None, *UNDONE.get(kind.format, STREAMED)):
                raise CurateError(
                    f"`{location.name}` is a {kind.format} file compressed as {kind.compression}, which cannot be read",
                    hint="decompress it first",
                )
            content, size = location.content(context.content_hash, context.size)
            if problem:
                parts.append(Part(location.name, location.location, content, extra={"mismatch": problem}))
            else:
                whole = bool(self.encoding) or is_wide(head)
                parts.extend(self._parts(location._replace(size=size), kind, content, context, whole=whole))
        return parts

    def unchanged(self, part: Part) -> bool:
        """Whether a URL has the content that was planned; where its server tells no checksum, all is read again."""
        location = Location(part.name, part.location, 0)
        return location.is_local or location.content(lambda _: "", lambda _: 0)[0] == part.content

    def _type(self, name: str, opener: Callable[[], BinaryIO]) -> tuple[FileType, str | None, bytes]:
        """What a file is, how its first bytes contradict its ending, and these."""
        with opener() as file:
            head = file.read(HEAD_BYTES)
            told = file_type(name)
            if self.format:
                holds = told.format in ARCHIVES or (told.format == "mbox" and self.format == "binary")
                return FileType(told.format if holds else self.format, told.compression), None, head
            seen = media_type(head, "a.txt" if told.format in (*TEXTUAL, "html") else "")
            if told.format is None and told.compression is None:
                if type_by_bytes(seen).format == "zip":  # its end tells whether it is a document
                    seen = media_type(head + file.read(self.max_document_bytes), name)
                return type_by_bytes(seen), None, head
        return told, mismatch(told, seen) if told.format and head else None, head

    def _parts(
        self, location: Location, kind: FileType, content: str, context: SourceContext, *, whole: bool
    ) -> Iterator[Part]:
        from curate.collect.parquet import row_ranges

        shard_bytes = context.shard_bytes
        opener = partial(open_location, location.location)
        extra: dict[str, object] = {"format": kind.format, "compression": kind.compression}
        ranges: Sequence[tuple[int, int | None]] = [(0, None)]
        if kind.format == "parquet":
            ranges = row_ranges(opener, shard_bytes)
        elif whole:  # what is not UTF-8 is read from its start
            pass
        elif kind.format in CUT_BY_LINES and not kind.compression:
            ranges = _byte_ranges(location.size, shard_bytes)
        elif kind.format in DELIMITERS and not kind.compression and location.size > shard_bytes:
            extra["header"] = self._header(location, kind, context.glance)
            ranges = _byte_ranges(location.size, shard_bytes) if extra["header"] else ranges
        elif kind.format == "jsonl" and location.is_local and not (self.verify and kind.compression == "gz"):
            yield from self._frames(location, content, extra, shard_bytes)
            return
        for start, stop in ranges:
            yield Part(location.name, location.location, content, start, stop, extra)

    def _frames(self, location: Location, content: str, extra: dict[str, object], shard_bytes: int) -> Iterator[Part]:
        """Parts of a compressed file that begin with a frame.

        A part has the lines that start behind the first byte of its frame, up to the first byte of the next part's: so
        that whether a line starts there is seen without the frame before.
        """
        from curate.collect.frames import cuts

        begins = cuts(Path(location.location), str(extra["compression"]), shard_bytes, self.max_expansion)
        for number, (place, offset) in enumerate(begins):
            last = number + 1 == len(begins)
            told = extra if len(begins) == 1 else {**extra, "place": place}
            yield Part(
                location.name, location.location, content, offset + 1 if number else 0,
                None if last else begins[number + 1].offset + 1,
                told if last else {**told, "until": list(begins[number + 1])},
            )  # fmt: skip

    def _header(self, location: Location, kind: FileType, glance: bool) -> list[str] | None:
        """The columns of a CSV file in which every line is a record, so that it can be cut; else None.

        It is read up to its first quote (at a glance, its first megabyte): 3 GB a second from memory.
        """
        from curate.collect.delimited import line_ending, read_header

        with open_location(location.location) as file:
            if line_ending(file.read(SCAN_BYTES)) != b"\n":
                return None
            file.seek(0)
            if self.quote:
                while data := file.read(SCAN_BYTES):
                    if self.quote.encode() in data:
                        return None
                    if glance:
                        break
        stream = ByteStream(partial(open_location, location.location))
        if self.names:
            return self.names
        delimiter = self.delimiter or DELIMITERS[str(kind.format)]
        return read_header(stream, delimiter=delimiter, quote=self.quote, limit=self.max_document_bytes)

    def read(self, part: Part) -> Iterator[pa.Table | Rejected | Passed]:
        """Documents, and what cannot be read; last, where and why reading stopped before the end of a file.

        Raises:
            CurateError: The text column is not there, or a column has a name that documents use themselves.
        """
        if "mismatch" in part.extra:
            hint = "rename the file, or say what it is with `format:`"
            yield Rejected(0, "format_mismatch", f"{part.extra['mismatch']}; {hint}")
            return
        opener = partial(open_location, part.location)
        is_local = "://" not in part.location
        file = _File(part.name, opener, part.extra["format"], part.extra["compression"], is_local)
        if file.format in ARCHIVES:
            yield from self._members(file, 1)
        else:
            yield from self._read_file(file, part)

    def _members(self, archive: _File, depth: int) -> Iterator[pa.Table | Rejected | Passed]:
        """What the members of an archive give."""
        from curate.collect.members import archive_members

        for member in archive_members(archive.open, archive.format, archive.compression, self.max_expansion):
            if isinstance(member, Rejected | Passed):
                yield member
                continue
            kind, problem, _ = self._type(member.name, member.open)
            inside = f"!{member.name}"
            if problem or (kind.format in ARCHIVES and depth >= NESTED):
                reason = "format_mismatch" if problem else "nested_archive"
                yield Rejected(0, reason, problem or f"archives in archives are read {NESTED} deep", inside)
            elif kind.format is None or kind.compression not in (None, *UNDONE.get(kind.format, STREAMED)):
                yield Passed("member of unknown format", 1)
            else:
                file = _File(f"{archive.name}{inside}", member.open, kind.format, kind.compression, is_local=True)
                found = self._members(file, depth + 1) if kind.format in ARCHIVES else self._read_file(file, None)
                for item in found:
                    yield item._replace(inside=inside + item.inside) if isinstance(item, Rejected) else item

    def _read_file(self, file: _File, part: Part | None) -> Iterator[pa.Table | Rejected | Passed]:
        """What a file, or the part of it, gives."""
        from curate.collect.archives import read_warc
        from curate.collect.arrow import read_arrow
        from curate.collect.parquet import read_parquet

        extra = part.extra if part else {}
        first, stop = (part.start, part.stop) if part else (0, None)
        columns = None if self.columns is None else tuple(self.columns)
        text = self.text or self._own_text(file)
        selection = Selection(text, self.id_column, columns, self.max_document_bytes, file.name, self.make_ids)
        if file.format == "parquet":
            yield from read_parquet(file.open, selection, name=file.name, start=first, stop=stop)
        elif file.format == "arrow":
            yield from read_arrow(file.open, selection, name=file.name)
        elif file.format == "warc":
            yield from read_warc(file.open, file.compression, selection, name=file.name)
        else:
            stream = self._stream(
                file, start=max(first - 1, 0), place=extra.get("place", 0), until=extra.get("until"),
                verify=self.verify and file.is_local,
            )  # fmt: skip
            yield from self._read_stream(file, stream, selection, first, stop, extra.get("header") if first else None)
            stream.settle()
            if stream.damage:
                yield Rejected(stream.position, *stream.damage)

    def _stream(self, file: _File, **cut: Any) -> ByteStream:
        """The bytes of a file, decompressed; of one that holds text, in UTF-8."""
        if file.format not in TEXTUAL:
            return ByteStream(file.open, file.compression, max_expansion=self.max_expansion, **cut)
        stream = Utf8Stream(file.open, file.compression, max_expansion=self.max_expansion, **cut)
        stream.encoding = self.encoding
        return stream

    def _own_text(self, file: _File) -> str | None:
        """The column `text` where a file has it: told by its beginning, so that all its parts have it or none."""
        from curate.collect.names import first_names

        if file.format in DELIMITERS and self.names:
            return "text" if "text" in self.names else None
        names = first_names(
            file.open, file.format, self._stream(file), delimiter=self.delimiter, quote=self.quote,
            limit=self.max_document_bytes,
        )  # fmt: skip
        return "text" if names is None or "text" in names else None

    def _read_stream(
        self,
        file: _File,
        stream: ByteStream,
        selection: Selection,
        start: int,
        stop: int | None,
        header: list[str] | None,
    ) -> Iterator[pa.Table | Rejected | Passed]:
        from curate.collect.binary import read_binary
        from curate.collect.delimited import read_delimited
        from curate.collect.jsonfile import read_json
        from curate.collect.jsonl import read_jsonl
        from curate.collect.mail import read_mbox
        from curate.collect.pages import read_lines, read_page

        name, form = file.name, file.format
        if form == "jsonl":
            return read_jsonl(stream, selection, name=name, start=start, stop=stop)
        if form == "json":
            return read_json(stream, selection, name=name)
        if form == "lines":
            return read_lines(stream, selection, name=name, start=start, stop=stop)
        if form == "mbox":
            return read_mbox(stream, selection, name=name)
        if form == "binary":
            return read_binary(stream, selection, name=name)
        if form not in DELIMITERS:
            return read_page(stream, selection, name=name, is_html=form == "html")
        return read_delimited(
            stream, selection, name=name, delimiter=self.delimiter or DELIMITERS[form], quote=self.quote, start=start,
            stop=stop, header=header or self.names,
        )  # fmt: skip


def _byte_ranges(size: int, shard_bytes: int) -> list[tuple[int, int | None]]:
    """Equal ranges of about `shard_bytes`; the last one is open."""
    count = max(1, round(size / shard_bytes))
    starts = [size * number // count for number in range(count)]
    return list(zip(starts, [*starts[1:], None], strict=True))
