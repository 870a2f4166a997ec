"""Documents from files: JSON lines, CSV, TSV, Parquet, Arrow, plain text, Markdown, HTML, WARC, or any file as it is.

What can be trusted of a damaged file is read; everything else is rejected with its offset, so that nothing is lost
without a word. Offsets count in the decompressed file, so a document keeps its id however the file is cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import BeforeValidator, Field

from curate.collect.columns import Selection
from curate.collect.compression import ByteStream
from curate.collect.formats import COMPRESSIONS, ENDINGS, STREAMED, UNDONE, FileType, Format, file_type
from curate.collect.locations import Location, find_locations, open_location
from curate.errors import CurateError
from curate.stages.contract import Part, Passed, Rejected, Source, SourceContext

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Files"]

SCAN_BYTES = 1 << 20
DELIMITERS = {"csv": ",", "tsv": "\t"}


def _listed(paths: object) -> object:
    return [paths] if isinstance(paths, str) else paths


SeveralPaths = Annotated[list[str], Field(min_length=1)]
Paths = Annotated[SeveralPaths, BeforeValidator(_listed, json_schema_input_type=str | SeveralPaths)]


class Files(Source):
    """Reads documents from files: JSON lines, CSV, TSV, Parquet, Arrow, text, Markdown, HTML, WARC; gz, zst, xz, bz2."""

    version: ClassVar[int] = 6
    planning: ClassVar[frozenset[str]] = frozenset({"paths"})
    libraries: ClassVar[tuple[str, ...]] = ("orjson", "pyarrow", "FastWARC", "Resiliparse")

    paths: Paths = Field(
        description="A path or glob (`in/**/*.jsonl.zst`), relative to the pipeline file, or a URL that fsspec opens "
        "(`s3://`, `https://`, `memory://`); or a list of them. Each must match a file; a file that two of them match, "
        "or to which symbolic links lead, is read once.",
    )
    format: Format | None = Field(
        None,
        description="Format of all the files; by default, that of each file's ending. text, markdown and html give "
        "one document a file (html keeps its markup, for `html_text`); warc gives the HTML and plain text that was "
        "fetched, with columns `url`, `date`, `content_type` and `status`; binary gives one document for each file of "
        "any kind (PDF, images, pages in any encoding), without a text: its bytes in `content`, what they are in "
        "`media_type`, for `extract` or an extractor of your own.",
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
            kind = self._type(location)
            content, size = location.content(context.content_hash, context.size)
            parts.extend(self._parts(location._replace(size=size), kind, content, context))
        return parts

    def unchanged(self, part: Part) -> bool:
        """Whether a URL has the content that was planned; where its server tells no checksum, all is read again."""
        location = Location(part.name, part.location, 0)
        return location.is_local or location.content(lambda _: "", lambda _: 0)[0] == part.content

    def _type(self, location: Location) -> FileType:
        told = file_type(location.name)
        kind = FileType(self.format or told.format, told.compression)
        if kind.format is None:
            raise CurateError(
                f"the ending of `{location.name}` does not tell its format",
                hint=f"set `format:`, or narrow `paths:`; known endings are {' '.join(ENDINGS)}, "
                f"compressed with {' '.join(COMPRESSIONS)}; `format: binary` reads any file, for an extractor",
            )
        if kind.compression not in (None, *UNDONE.get(kind.format, STREAMED)):
            raise CurateError(
                f"`{location.name}` is a {kind.format} file compressed as {kind.compression}, which cannot be read",
                hint="decompress it first",
            )
        return kind

    def _parts(self, location: Location, kind: FileType, content: str, context: SourceContext) -> Iterator[Part]:
        from curate.collect.parquet import row_ranges

        shard_bytes = context.shard_bytes
        opener = partial(open_location, location.location)
        extra: dict[str, object] = {"format": kind.format, "compression": kind.compression}
        ranges: Sequence[tuple[int, int | None]] = [(0, None)]
        if kind.format == "parquet":
            ranges = row_ranges(opener, shard_bytes)
        elif kind.format == "jsonl" and not kind.compression:
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
        delimiter = DELIMITERS[str(kind.format)]
        return read_header(stream, delimiter=delimiter, quote=self.quote, limit=self.max_document_bytes)

    def read(self, part: Part) -> Iterator[pa.Table | Rejected | Passed]:
        """Documents, and what cannot be read; last, where and why reading stopped before the end of a file.

        Raises:
            CurateError: The text column is not there, or a column has a name that documents use themselves.
        """
        from curate.collect.archives import read_warc
        from curate.collect.arrow import read_arrow
        from curate.collect.parquet import read_parquet

        columns = None if self.columns is None else tuple(self.columns)
        text = self.text or self._own_text(part)
        selection = Selection(text, self.id_column, columns, self.max_document_bytes, part.name, self.make_ids)
        opener = partial(open_location, part.location)
        if part.extra["format"] == "parquet":
            yield from read_parquet(opener, selection, name=part.name, start=part.start, stop=part.stop)
            return
        if part.extra["format"] == "arrow":
            yield from read_arrow(opener, selection, name=part.name)
            return
        if part.extra["format"] == "warc":
            yield from read_warc(opener, part.extra["compression"], selection, name=part.name)
            return
        start = max(part.start - 1, 0)
        stream = ByteStream(
            opener,
            part.extra["compression"],
            start=start,
            place=part.extra.get("place", 0),
            until=part.extra.get("until"),
            max_expansion=self.max_expansion,
            verify=self.verify and "://" not in part.location,
        )
        yield from self._read_stream(part, stream, selection)
        stream.settle()
        if stream.damage:
            yield Rejected(stream.position, *stream.damage)

    def _own_text(self, part: Part) -> str | None:
        """The column `text` where a file has it: told by its beginning, so that all its parts have it or none."""
        from curate.collect.names import first_names

        names = first_names(part, quote=self.quote, limit=self.max_document_bytes)
        return "text" if names is None or "text" in names else None

    def _read_stream(
        self, part: Part, stream: ByteStream, selection: Selection
    ) -> Iterator[pa.Table | Rejected | Passed]:
        from curate.collect.binary import read_binary
        from curate.collect.delimited import read_delimited
        from curate.collect.jsonl import read_jsonl
        from curate.collect.pages import read_page

        form = part.extra["format"]
        if form == "jsonl":
            return read_jsonl(stream, selection, name=part.name, start=part.start, stop=part.stop)
        if form == "binary":
            return read_binary(stream, selection, name=part.name)
        if form not in DELIMITERS:
            return read_page(stream, selection, name=part.name, is_html=form == "html")
        return read_delimited(
            stream,
            selection,
            name=part.name,
            delimiter=DELIMITERS[form],
            quote=self.quote,
            start=part.start,
            stop=part.stop,
            header=part.extra.get("header") if part.start else None,
        )


def _byte_ranges(size: int, shard_bytes: int) -> list[tuple[int, int | None]]:
    """Equal ranges of about `shard_bytes`; the last one is open."""
    count = max(1, round(size / shard_bytes))
    starts = [size * number // count for number in range(count)]
    return list(zip(starts, [*starts[1:], None], strict=True))
