"""Documents from Common Crawl: from lists of its WARC and WET files, or from lines of its index by ranges of bytes.

What is kept of a file are the records that were asked for, unpacked, their codings undone, texts in UTF-8, and else as they
came: so an erasure sees into them, and reading is that of any WARC file (curate/collect/archives.py). Files come in
ranges, in order, and where a fetch is stands beside what it kept: killed, it goes on there. The servers answer with 503
when many ask: that is waited out, longer each time. A name of a crawl that is none is told before anything else, since
all later errors would be of it.
"""

from __future__ import annotations

import fnmatch
import gzip
import hashlib
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import BeforeValidator, Field, model_validator

from curate.collect.archives import read_warc
from curate.collect.columns import Selection
from curate.collect.fetch.client import Client, Limits, public_url
from curate.collect.fetch.crawled import (
    Entry,
    Record,
    as_utf8,
    members,
    parse_entry,
    parse_record,
    put_together,
    taken_apart,
)
from curate.collect.fetch.ranges import Ranges, is_address
from curate.collect.fetch.rows import KEY
from curate.errors import CurateError
from curate.stages.contract import Part, Passed, Rejected
from curate.stages.fetched import Desk, Fetched, erased_rows

if TYPE_CHECKING:
    import pyarrow as pa

    from curate.dataset.store import Store

__all__ = ["CommonCrawl"]

CRAWL = re.compile(r"CC-MAIN-(?:20(?:0[89]|1[012])-20(?:09|10|12)|20\d\d-\d\d)")
PIECE_BYTES, PIECE_ROWS = 8 << 20, 2000
LIST_BYTES = 1 << 30
DOCUMENTS = frozenset({"response", "resource", "conversion"})
COLUMNS = ("languages", "truncated")
Names = Annotated[
    list[str],
    BeforeValidator(lambda value: [value] if isinstance(value, str) else value, json_schema_input_type=str | list[str]),
]


class Kept(NamedTuple):
    """A record that is kept, or what became of one that cannot be."""

    key: str
    head: bytes | None = None
    content: bytes | None = None
    languages: str | None = None
    truncated: str | None = None
    detail: str | None = None


class CommonCrawl(Fetched):
    """Reads pages of Common Crawl: WARC or WET files, or records that its index names; fetched once, and pinned."""

    version: ClassVar[int] = 2
    libraries: ClassVar[tuple[str, ...]] = ("pyarrow", "FastWARC", "Resiliparse")
    pace: ClassVar[frozenset[str]] = frozenset({"allow", "rate", "retries", "seconds", "agent", "chunk_bytes"})
    planning: ClassVar[frozenset[str]] = frozenset(
        {"snapshot", "paths", "index", "form", "files", "base", "urls", "mime", "languages", *pace}
    )

    snapshot: str | None = Field(
        None,
        description="Name of a crawl, `CC-MAIN-2024-10`: its list of files is read, or what is named is held against it.",
    )
    paths: str | None = Field(
        None,
        description="A list of files, `warc.paths.gz`: one on disk, relative to the pipeline file, or an address; by default "
        "that of the `snapshot`.",
    )
    index: Names = Field(
        [],
        description="Saved answers of the index instead: files of JSON lines (or CDXJ, also .gz) with `filename`, `offset`, "
        "`length` and `url`, of which each line is one record.",
    )
    form: Literal["warc", "wet"] = Field(
        "warc", description="Which files of a crawl: pages as they came, or their text."
    )
    files: int | None = Field(
        None,
        ge=1,
        description="Read so many files of the list, evenly spread over it; by default all (a crawl has 90,000).",
    )
    base: str = Field(
        "https://data.commoncrawl.org/",
        description="Where paths start: an address, or a folder relative to the pipeline file.",
    )
    urls: Names = Field(
        [], description="Only addresses that one of these matches: `https://*.example.org/*`; all by default."
    )
    mime: Names = Field([], description="Only these media types: `text/html`; all by default.")
    languages: Names = Field(
        [],
        description="Only pages with one of these languages (ISO 639-3: `eng`, `deu`), as the crawl told them; for `index` and "
        "`form: wet`.",
    )
    rate: float = Field(2.0, gt=0, description="Most requests a second.")
    retries: int = Field(8, ge=0, description="How often a range that fails is asked for again; the waits double.")
    seconds: float = Field(300.0, gt=0, description="Most seconds for an answer.")
    chunk_bytes: int = Field(16 << 20, ge=1 << 10, description="Bytes of a file that are asked for at a time.")
    agent: str = Field("curate", description="What the server is told who asks; a contact is polite.")
    allow: list[str] = Field([], description="`host:port` that may be reached though they are not public (a mirror).")
    columns: list[str] | None = Field(
        None,
        description="Columns to keep beside the text, of `url`, `date`, `content_type`, `status`, `languages` and `truncated` "
        "(why the crawl cut the page); all of them by default.",
    )
    max_document_bytes: int = Field(
        64 << 20, ge=1, description="Longer documents, in bytes, are quarantined as `too_long`."
    )

    @model_validator(mode="after")
    def _what_is_read(self) -> CommonCrawl:
        if self.snapshot is not None and not CRAWL.fullmatch(self.snapshot):
            raise ValueError(f"no crawl is called `{self.snapshot}`: names are such as CC-MAIN-2024-10 (year and week)")
        if not self.index and self.paths is None and self.snapshot is None:
            raise ValueError("it needs a `snapshot`, `paths`, or an `index`")
        if self.index and (self.paths is not None or self.files is not None):
            raise ValueError("an `index` names the records; `paths` and `files` have no use beside it")
        if self.languages and not self.index and self.form == "warc":
            raise ValueError("WARC files do not say languages; they are known of an `index`, and with `form: wet`")
        return self

    # ---- fetching

    def fetch(self, desk: Desk) -> Mapping[str, Any]:
        """Keep the records that are asked for."""
        limits = Limits(max(self.chunk_bytes, 64 << 20), self.seconds, self.retries, 1 / self.rate)
        lists = limits._replace(bytes=LIST_BYTES)
        with (
            Client(agent=self.agent, limits=limits, allow=self.allow) as client,
            Client(agent=self.agent, limits=lists, allow=self.allow) as whole,
        ):
            names = Ranges(self.base, desk.root, whole)
            ranges = Ranges(self.base, desk.root, client)
            found, left_out = self._entries(names) if self.index else self._paths(names)
            digest = hashlib.sha256(json.dumps(found).encode()).hexdigest()
            if desk.state.get("list") not in (None, digest):
                desk.start_over()
            counts = Counter(desk.state.get("counts", {}))
            walk = self._walk_entries if self.index else self._walk_files
            for rows, at in walk(ranges, found, dict(desk.state.get("at", {})), counts, desk):
                desk.keep(_table(rows), {"list": digest, "at": at, "counts": dict(counts)})
        base = public_url(self.base) if is_address(self.base) else self.base
        return {"address": base.rstrip("/"), "listed": len(found), "records": dict(sorted((counts + left_out).items()))}

    def _paths(self, ranges: Ranges) -> tuple[list[str], Counter[str]]:
        """The files to read, and how many lines name one again."""
        place = self.paths or ranges.place(f"crawl-data/{self.snapshot}/{self.form}.paths.gz")
        lines = [line.strip() for line in _unpacked(ranges.whole(place), place).splitlines() if line.strip()]
        for line in lines:
            ranges.place(line)
            self._of_snapshot(line, place)
        if not lines:
            raise CurateError(f"`{place}` names no files")
        again = len(lines) - len(set(lines))
        lines = list(dict.fromkeys(lines))
        count = min(self.files or len(lines), len(lines))
        found = [lines[number * len(lines) // count] for number in range(count)]
        return found, Counter({"file named again": again} if again else {})

    def _entries(self, ranges: Ranges) -> tuple[list[Entry | list[str]], Counter[str]]:
        """The records to read, by file and offset, and how many lines are of others or name one again.

        Of a line that names none: where it stands, and what is wrong.
        """
        left_out: Counter[str] = Counter()
        found: dict[tuple[str, int], Entry] = {}
        bad: list[Entry | list[str]] = []
        for place in self.index:
            for number, line in enumerate(_unpacked(ranges.whole(place), place).splitlines(), 1):
                one = parse_entry(line) if line.strip() else None
                if isinstance(one, Entry) and not _is_safe(ranges, one.file):
                    one = "its file name leads out of the crawl"
                if isinstance(one, str):
                    bad.append([f"{place}:{number}", one])
                elif one and self._wanted(Record("response", one.url, one.mime, one.languages, None)):
                    self._of_snapshot(one.file, place)
                    left_out["named again"] += (one.file, one.offset) in found
                    found.setdefault((one.file, one.offset), one)
                elif one:
                    left_out["not asked for"] += 1
        return [*bad, *(found[key] for key in sorted(found))], +left_out

    def _of_snapshot(self, file: str, place: str) -> None:
        if self.snapshot is not None and f"/{self.snapshot}/" not in f"/{file}":
            raise CurateError(
                f"`{place}` names a file of another crawl than {self.snapshot}: `{file[:100]}`",
                hint="is `snapshot` right?",
            )

    def _wanted(self, one: Record) -> bool:
        """Whether a record passes the filters."""
        told = set((one.languages or "").split(","))
        return (
            (not self.urls or any(fnmatch.fnmatchcase(one.url, glob) for glob in self.urls))
            and (not self.mime or one.mime in self.mime)
            and (not self.languages or not told.isdisjoint(self.languages))
        )

    def _walk_entries(
        self, ranges: Ranges, found: Sequence[Any], at: dict[str, int], counts: Counter[str], desk: Desk
    ) -> Iterator[tuple[list[Kept], dict[str, int]]]:
        rows: list[Kept] = []
        first = at.get("entry", 0)
        for number, one in enumerate(found[first:], first + 1):
            row = self._by_entry(ranges, one) if isinstance(one, Entry) else Kept(one[0], detail=f"index: {one[1]}")
            counts["kept" if row.head else "damaged"] += 1
            rows.append(row)
            if len(rows) >= 200 or sum(len(one.content or b"") for one in rows) >= PIECE_BYTES or number == len(found):
                desk.say(f"{number:,} of {len(found):,} records")
                yield rows, {"entry": number}
                rows = []

    def _by_entry(self, ranges: Ranges, one: Entry) -> Kept:
        data = ranges.span(one.file, one.offset, one.length)
        key = f"{one.file}:{one.offset}"
        _, member, head = next(
            members(lambda start, size: data[start : start + size], 0, len(data)), (0, None, "it is empty")
        )
        if member is None or isinstance(head, str):
            return Kept(key, detail=str(head))
        told = parse_record(head)
        if len(member) != one.length or told is None or told.url != one.url:
            return Kept(key, detail="the record is not what the index says: of another length or address")
        return _kept(key, member, told._replace(languages=one.languages or told.languages))

    def _walk_files(
        self, ranges: Ranges, found: Sequence[Any], at: dict[str, int], counts: Counter[str], desk: Desk
    ) -> Iterator[tuple[list[Kept], dict[str, int]]]:
        first, start = at.get("file", 0), at.get("offset", 0)
        for number, name in enumerate(found[first:], first):
            rows: list[Kept] = []
            size = passed = 0
            for place, member, head in members(
                partial(ranges.read, name), start if number == first else 0, self.chunk_bytes
            ):
                row = self._by_record(f"{name}:{place}", member, head, counts)
                rows += [row] if row else []
                size += len(row.content or b"") if row else 0
                if member is None:
                    continue  # damage has no end of its own: a piece ends behind a member, where one may start again
                passed += len(member)
                if max(size, passed // 8) >= PIECE_BYTES or len(rows) >= PIECE_ROWS:
                    yield rows, {"file": number, "offset": place + len(member)}
                    rows, size, passed = [], 0, 0
            desk.say(f"{number + 1:,} of {len(found):,} files")
            yield rows, {"file": number + 1, "offset": 0}

    def _by_record(self, key: str, member: bytes | None, head: bytes | str | None, counts: Counter[str]) -> Kept | None:
        told = parse_record(head) if isinstance(head, bytes) else None
        if member is None or told is None:
            counts["damaged"] += 1
            return Kept(key, detail=str(head) if isinstance(head, str) else "a member that is no WARC record")
        if told.kind not in DOCUMENTS:
            counts[told.kind or "unknown"] += 1
            return None
        if not self._wanted(told):
            counts["not asked for"] += 1
            return None
        kept = _kept(key, member, told)
        counts["kept" if kept.head else "damaged"] += 1
        return kept

    # ---- reading

    def read_from(self, store: Store, part: Part) -> Iterator[pa.Table | Rejected | Passed]:
        """The pages of a piece."""
        table = store.read_table(part.location.partition(":")[2])
        heads, contents, keys = (table.column(name) for name in ("head", "content", KEY))
        row_at, offset, held, emptied = dict[int, int](), 0, list[bytes](), 0
        for row, detail in enumerate(table.column("detail").to_pylist()):
            if detail is not None:
                yield Rejected(row, "corrupt", f"{keys[row]}: {detail}")
                continue
            head, content = heads[row].as_py(), contents[row].as_py()
            if head is None or content is None:
                emptied += 1
                continue
            row_at[offset] = row
            held.append(put_together(head, content))
            offset += len(held[-1])
        columns = None if self.columns is None else tuple(name for name in self.columns if name not in COLUMNS)
        selection = Selection("text", None, columns, self.max_document_bytes, part.name)
        data = b"".join(held)
        for item in read_warc(partial(BytesIO, data), None, selection, name="") if held else ():
            if isinstance(item, Rejected):
                row = row_at[max(place for place in row_at if place <= item.offset)]
                yield item._replace(offset=row)
            elif isinstance(item, Passed):
                yield item
            else:
                yield self._placed(item, table, row_at, keys.to_pylist(), str(part.extra["address"]))
        if emptied:
            yield Passed("emptied by an erasure", emptied)
        yield from erased_rows(part)

    def _placed(
        self, item: pa.Table, table: pa.Table, row_at: Mapping[int, int], keys: Sequence[str], address: str
    ) -> pa.Table:
        """Documents with the place of each in the crawl, and what the crawl says of it."""
        import pyarrow as pa

        rows = [row_at[int(place[1:])] for place in item.column("source_uri").to_pylist()]
        places = pa.array([f"{address}#{keys[row]}" for row in rows], pa.string())
        item = item.set_column(item.schema.get_field_index("source_uri"), "source_uri", places)
        for name in COLUMNS:
            if self.columns is None or name in self.columns:
                item = item.append_column(name, table.column(name).take(rows))
        return item


def _kept(key: str, member: bytes, told: Record) -> Kept:
    found = taken_apart(member)
    if not isinstance(found, str):
        found = as_utf8(*found)
    if isinstance(found, str):
        return Kept(key, detail=found)
    return Kept(key, *found, told.languages, told.truncated)


def _is_safe(ranges: Ranges, name: str) -> bool:
    try:
        ranges.place(name)
    except CurateError:
        return False
    return True


def _unpacked(content: bytes, place: str) -> str:
    """A list, unpacked where it is packed.

    Raises:
        CurateError: It is damaged, or no text.
    """
    try:
        if content.startswith(b"\x1f\x8b"):
            with gzip.GzipFile(fileobj=BytesIO(content)) as file:
                content = file.read(LIST_BYTES + 1)
        if len(content) > LIST_BYTES:
            raise CurateError(f"`{place}` is larger than {LIST_BYTES:,} bytes unpacked")
        return content.decode("utf-8")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise CurateError(f"`{place}` is damaged: {error}", hint="get it again") from None


def _table(rows: Sequence[Kept]) -> pa.Table:
    import pyarrow as pa

    kinds = {"head": pa.binary(), "content": pa.binary()}
    names = (KEY, *Kept._fields[1:])
    columns = zip(*rows, strict=True) if rows else [()] * len(names)
    return pa.table({
        name: pa.array(values, kinds.get(name, pa.string())) for name, values in zip(names, columns, strict=True)
    })  # fmt: skip
