"""Stages that make text of payloads: the bytes of a file in `content`, and what they are in `media_type`.

An extractor is a mapper that says which media types it reads and how one payload becomes a text; which documents it is given,
what becomes of the others and of the payload is said here. It runs in a supervised worker as every stage does: a payload
that makes it raise, hang or crash is quarantined. `content` is left out behind it where a source made it of a file; a
column of that name which the data has itself is read, and stays.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from pydantic import Field

from curate.errors import CurateError
from curate.stages.contract import Effect, Mapper, Verdicts

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["CONTENT", "MEDIA_TYPE", "PAYLOAD", "Extracted", "Extractor", "Unreadable"]

CONTENT, MEDIA_TYPE = "content", "media_type"
PAYLOAD = b"curate.payload"
"""Arrow field metadata of a `content` that a source made: a text that is made of it takes its place."""
NAME = re.compile(r"[\w.+-]{1,60}/[\w.+-]{1,100}", re.ASCII)
READ = (
    "text/", "message/", "application/xhtml+xml", "application/pdf", "application/epub+zip", "application/vnd.openxmlformats-",
    "application/vnd.oasis.",
)  # fmt: skip
"""How media types begin that the stage `extract` reads."""
OLD = {"application/msword": ".docx", "application/vnd.ms-excel": ".xlsx", "application/vnd.ms-powerpoint": ".pptx"}


class Extracted(NamedTuple):
    """What was made of a payload.

    Attributes:
        text: Its text.
        columns: What else it says, by the names in `gives`.
    """

    text: str
    columns: Mapping[str, str | float | bool | None] = {}


class Unreadable(Exception):
    """A payload that cannot be read: it is quarantined for `reason`, a name among the extractor's `reasons`."""

    def __init__(self, reason: str, detail: str | None = None) -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail


class Extractor(Mapper):
    """Makes texts of payloads."""

    reads_text = False
    batch = 16
    media_types: ClassVar[tuple[str, ...]]
    """What it reads: `application/pdf`, or `text/*` for all of one kind."""
    gives: ClassVar[Mapping[str, str]] = {}
    """Columns that documents get beside the text, and their Arrow types: `{"title": "string", "pages": "int64"}`."""

    other_types: Literal["quarantine", "pass"] = Field(
        "quarantine",
        description="What becomes of documents of other media types: they are quarantined as `not_read:TYPE`, or pass, with "
        "their `content`, to another extractor further down.",
    )
    memory_limit: float | None = Field(
        1.0,
        gt=0,
        description="GB (10^9 bytes) of memory that reading one payload may take, on Linux; a payload that takes more is "
        "quarantined as `memory_limit`, or, where its library cannot go on, as `worker_died`; null is no limit.",
    )
    keep_content: bool = Field(False, description="Keep `content` beside the text that was made of it.")

    def reader(self) -> Callable[[bytes, str], Extracted]:
        """The function from a payload and its media type to its text; called once in each worker.

        It may raise `Unreadable`; whatever else it raises is `stage_failed` of this document.
        """
        raise NotImplementedError

    def requires(self) -> Sequence[str]:
        """The payload."""
        return (CONTENT, MEDIA_TYPE)

    def columns(self) -> Sequence[str]:
        """The payload, and what documents that are none have already."""
        return (CONTENT, MEDIA_TYPE, "text", *self.gives)

    def adds(self) -> Sequence[str]:
        """What is told beside the text."""
        return tuple(self.gives)

    def makes_text(self) -> bool:
        """Whether every document behind it has a text."""
        return self.other_types == "quarantine"

    def consumes(self, columns: pa.Schema) -> Sequence[str]:
        """The content that a source made."""
        if self.keep_content or self.other_types == "pass" or CONTENT not in columns.names:
            return ()
        return (CONTENT,) if PAYLOAD in (columns.field(CONTENT).metadata or {}) else ()

    def open(self) -> Callable[[pa.Table], Effect]:
        """Documents that have a text, or no content, stay as they are."""
        read = self.reader()

        def extract(batch: pa.Table) -> Effect:
            import pyarrow as pa

            _check(batch)
            verdicts = Verdicts()
            types = {name: pa.type_for_alias(kind) for name, kind in self.gives.items()}
            beside = {name: _column(batch, name, kind) for name, kind in types.items()}
            texts = batch.column("text").to_pylist() if "text" in batch.column_names else [None] * batch.num_rows
            told = batch.column(MEDIA_TYPE).to_pylist()
            for row, (text, content) in enumerate(zip(texts, batch.column(CONTENT), strict=True)):
                if text is not None or not content.is_valid:
                    continue
                media_type = _named(told[row])
                if not self._reads(media_type):
                    if self.other_types == "quarantine":
                        verdicts.quarantine(row, f"not_read:{media_type}", detail=_who_reads(media_type))
                    continue
                if made := self._read(read, content.as_py(), media_type, row, verdicts):
                    for name in beside:
                        beside[name][row] = made.columns.get(name)
            return Effect(verdicts.table(), {name: pa.array(beside[name], types[name]) for name in beside})

        return extract

    def _reads(self, media_type: str) -> bool:
        return media_type in self.media_types or f"{media_type.partition('/')[0]}/*" in self.media_types

    def _read(
        self, read: Callable[[bytes, str], Extracted], content: bytes, media_type: str, row: int, verdicts: Verdicts
    ) -> Extracted | None:
        try:
            with limited_memory(self.memory_limit):
                made = read(content, media_type)
        except Unreadable as problem:
            verdicts.quarantine(row, problem.reason, detail=problem.detail)
            return None
        except MemoryError:
            if self.memory_limit is None:
                raise
            verdicts.quarantine(row, "memory_limit", detail=f"reading it takes more than {self.memory_limit:g} GB")
            return None
        if made.text.strip():
            verdicts.edit(row, made.text, "extracted", value=float(len(content)), detail=media_type)
            return made
        verdicts.drop(row, "no_text", value=float(len(content)), detail=media_type)
        return None


@contextmanager
def limited_memory(gigabytes: float | None) -> Iterator[None]:
    """Let this process take so much more address space than it has now; elsewhere than on Linux, as much as it likes."""
    if gigabytes is None or sys.platform != "linux":
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    has = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = [one for one in (soft, hard, has + int(gigabytes * 1e9)) if one != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min(limits), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _check(batch: pa.Table) -> None:
    import pyarrow as pa

    kind = batch.column(CONTENT).type
    if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_null(kind)):
        raise CurateError(
            f"the column `{CONTENT}` holds {kind}, not the bytes of files",
            hint="an extractor is for files that were read with `format: binary`; a text in another column is named by the "
            "source's `text:`, or by `on:`",
        )


def _column(batch: pa.Table, name: str, kind: pa.DataType) -> list[object]:
    """The values that documents have already."""
    if name not in batch.column_names:
        return [None] * batch.num_rows
    return batch.column(name).cast(kind).to_pylist()


def _named(media_type: object) -> str:
    """A media type without its parameters; what is none is told as `unknown`."""
    plain = str(media_type or "").partition(";")[0].strip().lower()
    return plain if NAME.fullmatch(plain) else "unknown"


def _who_reads(media_type: str) -> str:
    if media_type in OLD:
        return f"save it as {OLD[media_type]}: files of old Office programs are not read"
    reader = "`{stage: extract}`" if media_type.startswith(READ) else "an extractor of your own"
    return f"{reader} reads it, where it stands before this stage and has `other_types: pass`"
