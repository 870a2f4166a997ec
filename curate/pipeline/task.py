"""The units of work that a worker process does.

Every task takes and gives plain JSON, reads and writes objects of the store, and is idempotent: done twice, it gives the
same objects and receipts. So any backend can run it, anywhere that sees the store, as often as it likes.

    collect   parts -> shards                     the documents as read, about `shard_bytes` each  (here)
    agree     shard + columns -> shard             where shards differ in them             (curate.pipeline.agree)
    steps     shard + stages -> steps             what was measured is found again         (curate.pipeline.steps)
    expand    shard + expander -> step, children                                          (curate.pipeline.expand)
    call      method of a global stage + bucket   anything, by name                       (curate.pipeline.shuffle)
    apply     group of shards + runs -> steps                                             (curate.pipeline.shuffle)
    write     shard -> fragment of the version                                           (curate.pipeline.fragment)
"""

from __future__ import annotations

import errno
import hashlib
import platform
import sys
import traceback
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module, metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.dataset.erased import ERASED, REASON, Erased
from curate.dataset.ledger import Shard, Step
from curate.dataset.schema import conform, plain_schema, unify_tables
from curate.dataset.state import SIZE
from curate.dataset.store import Store, canonical_json
from curate.errors import CurateError, ResumableError
from curate.pipeline.calls import Progress
from curate.pipeline.identity import file_identity, is_as
from curate.stages.contract import Part, Passed, Rejected, Source, Stage
from curate.stages.fetched import Fetched

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "StageSpec",
    "collect",
    "document_bytes",
    "engine_key",
    "held_bytes",
    "make_ids",
    "shard_of",
]

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""What the machine lacks, whatever file it was wanted for."""
ENGINE = 4
"""Raised when the engine's own results change."""
_loaded: dict[str, list[Any]] = {}
"""Files of code that this process has loaded while they were like this."""


@cache
def _tools() -> list[str]:
    """What decides results beside the stages: libraries under the engine, Python and its tables of characters."""
    python = ".".join(platform.python_version_tuple()[:2])
    return [metadata.version("pyarrow"), metadata.version("xxhash"), python, unicodedata.unidata_version]


def engine_key(kind: str, *parts: Any) -> str:
    """The key of a task's receipt: what it does and everything that its result depends on."""
    return hashlib.sha256(canonical_json([kind, ENGINE, *_tools(), *parts])).hexdigest()


@dataclass(frozen=True, slots=True)
class StageSpec:
    """A stage as sent to workers.

    Attributes:
        id: Its id in the pipeline.
        target: `module:Class`.
        settings: All its settings, as JSON.
        fingerprint: Identity of code, settings, library versions and model files.
        measure: The same without `where` and the settings of filters that only decide.
        files: What the files of its code and its models were like (`file_identity`), and the sha256 of each, by path.
        root: Folder of the pipeline file, where relative paths of its settings start; part of no key.
        where: The documents that it looks at: by column their values; without any, all.
    """

    id: str
    target: str
    settings: dict[str, Any]
    fingerprint: str
    measure: str
    files: dict[str, list[Any]] = field(default_factory=dict[str, list[Any]])
    root: str = ""
    where: dict[str, list[Any]] = field(default_factory=dict[str, list[Any]])

    def build(self) -> Stage:
        """The stage itself.

        Raises:
            ResumableError: See `check_files`.
        """
        module, _, name = self.target.partition(":")
        stage = getattr(import_module(module), name).model_validate(self.settings, context={"root": self.root})
        self.check_files()
        return stage

    def check_files(self) -> None:
        """Look whether code and models are those that were hashed; code that this process loaded while it was, stays so.

        Raises:
            ResumableError: One has changed: what it gives would stand under the hash of another, for ever.
        """
        unsure = {path: planned for path, planned in self.files.items() if _loaded.get(path) != planned}
        if not unsure:
            return
        modules = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
        for path, planned in unsure.items():
            if not is_as(path, planned):
                gone = not Path(path).exists()
                raise ResumableError(
                    f"`{Path(path).name}`, which stage `{self.id}` uses, "
                    + (
                        "is not there any more, or not on this machine"
                        if gone
                        else "changed while the run was going on"
                    ),
                    path,
                    "what was done before is kept; run the same command again when it is not written to",
                )
            if path in modules:
                _loaded[path] = planned

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Where a stage from elsewhere fails outside of single documents, its author is told so.

        Raises:
            CurateError: It failed in `open`, in a decision over a whole shard, or gave what the contract does not allow.
        """
        try:
            yield
            self.check_files()  # what was loaded late
        except (CurateError, MemoryError):
            raise
        except OSError as error:
            if error.errno in FULL or not error.filename:
                raise
            raise CurateError(
                f"stage `{self.id}` needs `{error.filename}`, and that cannot be used: {error.strerror}",
                hint="look at what the stage opens",
            ) from error
        except Exception as error:  # the worker's edge: a stage from elsewhere may raise anything
            if self.target.startswith("curate."):
                raise
            frames = traceback.extract_tb(error.__traceback__)
            frame = next((one for one in reversed(frames) if "/curate/" not in one.filename), frames[-1])
            raise CurateError(
                f"stage `{self.id}` ({self.target}) failed: {type(error).__name__}: {str(error)[:300]}",
                f"{frame.filename}:{frame.lineno} in {frame.name}",
                "it is not one document that it fails on: look at open(), the decision, and what it returns",
            ) from error


def document_bytes(table: pa.Table) -> pa.Array:
    """UTF-8 bytes of each document's text; of all its strings and payloads, where it has none (int64)."""
    import pyarrow as pa
    import pyarrow.compute as compute

    names = ["text"] if "text" in table.column_names else [
        field.name
        for field in table.schema
        if field.name not in ("id", "source_uri") and (pa.types.is_string(field.type) or pa.types.is_binary(field.type))
    ]  # fmt: skip
    total = pa.array([0] * table.num_rows, pa.int64())
    for name in names:
        total = compute.add(total, compute.fill_null(compute.binary_length(table.column(name)), 0).cast(pa.int64()))
    return total.combine_chunks() if isinstance(total, pa.ChunkedArray) else total


def held_bytes(table: pa.Table) -> int:
    """Bytes that documents take in memory, but for their ids and places: what a shard is cut by."""
    import pyarrow as pa
    import pyarrow.compute as compute

    total = 0
    for one, column in zip(table.schema, table.columns, strict=True):
        if one.name in ("id", "source_uri"):
            continue
        kinds = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
        if any(is_kind(one.type) for is_kind in kinds):
            total += compute.sum(compute.binary_length(column), min_count=0).as_py()
        else:
            total += column.nbytes
    return total


# ---- collect


class _Reading:
    """Shards as they grow: documents and rejects until there is enough for one."""

    def __init__(self, store: Store, source: str, parts: Sequence[Part], dataset: str) -> None:
        self.store, self.source, self.erased, self.dataset = store, source, Erased.of(store), dataset
        first = self.erased.name(parts[0].name) if self.erased else parts[0].name
        self.name = first + (f" and {len(parts) - 1} more" if len(parts) > 1 else "")
        self.shards: list[Shard] = []
        self.tables: list[pa.Table] = []
        self.rejects: list[tuple[str, Rejected]] = []
        self.passed: dict[str, int] = {}
        self.size = 0

    def take(self, part: Part, item: pa.Table | Rejected | Passed, room: int | None) -> int:
        """Add what a source gave; returns how many documents that were."""
        if isinstance(item, Rejected):
            self.rejects.append((part.name, item))
        elif isinstance(item, Passed):
            self.passed[item.kind] = self.passed.get(item.kind, 0) + item.count
        else:
            table = item if room is None else item.slice(0, room)
            if table.num_rows:
                self.tables.append(table)
                self.size += held_bytes(table)
            return table.num_rows
        return 0

    def flush(self) -> None:
        """Make a shard of what there is."""
        if self.tables or self.rejects or self.passed:
            tables = [_with_ids(table) for table in self.tables]
            rejected, rejects = _rejected(self.store, self.rejects, self.erased)
            self.shards.append(
                shard_of(self.store, tables, part=self.name, source=self.source, rejected=rejected, rejects=rejects,
                         passed=self.passed, erased=self.erased, dataset=self.dataset)
            )  # fmt: skip
        self.tables, self.rejects, self.passed, self.size = [], [], {}, 0


def collect(
    store: Store,
    source: Source,
    source_id: str,
    parts: Sequence[Part],
    identities: dict[str, list[int]],
    shard_bytes: int,
    limit: int | None,
    progress: Progress,
    dataset: str,
) -> list[Shard]:
    """Read parts into shards; at most `limit` documents (None: all).

    Args:
        store: Where they go.
        source: The source.
        source_id: Its id in the pipeline.
        parts: What to read.
        identities: What the files of the parts were like when they were planned (`file_identity`), by location.
        shard_bytes: About how many bytes of documents (all columns) a shard gets.
        limit: Most documents.
        progress: Told how far it is.
        dataset: What they are read for: of which the ids are.

    Raises:
        ResumableError: A file has changed since it was planned: what was read would stand under the hash of another
            content, for ever.
    """
    reading, documents = _Reading(store, source_id, parts, dataset), 0
    progress((source_id, 0, 0))
    for part in parts:
        if limit is not None and documents >= limit:
            break
        _unchanged(part, identities)
        for item in _items(store, source, part):
            documents += reading.take(part, item, None if limit is None else limit - documents)
            if reading.size >= shard_bytes:
                reading.flush()
            if limit is not None and documents >= limit:
                break
            progress((source_id, documents, documents))
        _unchanged(part, identities)
        if not source.unchanged(part):
            raise _changed(part)
    reading.flush()
    progress(None)
    return reading.shards


def _items(store: Store, source: Source, part: Part) -> Iterator[pa.Table | Rejected | Passed]:
    try:
        yield from source.read_from(store, part) if isinstance(source, Fetched) else source.read(part)
    except OSError as error:
        raise CurateError(
            f"`{part.name}` cannot be read: {error.strerror or type(error).__name__}",
            hint="what was read before is kept; run the same command again when it can be",
        ) from error


def _unchanged(part: Part, identities: dict[str, list[int]]) -> None:
    for name in (part.location, *part.files):
        if name in identities and file_identity(name) != identities[name]:
            raise _changed(part)


def _changed(part: Part) -> ResumableError:
    return ResumableError(
        f"`{part.name}` changed while it was read",
        hint="nothing of it was kept; run the same command again when it is not written to",
    )


def _with_ids(table: pa.Table) -> pa.Table:
    """Documents without an id get the hash of where they stand."""
    import pyarrow as pa
    import pyarrow.compute as compute

    ids = table.column("id") if "id" in table.column_names else pa.nulls(table.num_rows, pa.string())
    if ids.null_count:
        ids = compute.coalesce(ids.cast(pa.string()), make_ids(table.column("source_uri").to_pylist()))
    if "id" in table.column_names:
        return table.set_column(table.schema.get_field_index("id"), "id", ids)
    return table.add_column(0, "id", ids)


def make_ids(names: Sequence[str]) -> pa.Array:
    """Ids from what each document is called: 128-bit hashes, in hexadecimal."""
    import pyarrow as pa
    from xxhash import xxh3_128_hexdigest

    return pa.array([xxh3_128_hexdigest(name.encode()) for name in names], pa.string())


def _rejected(
    store: Store, rejects: list[tuple[str, Rejected]], erased: Erased | None
) -> tuple[str | None, dict[str, int]]:
    """What could not be read, as an object, and counted by reason."""
    import pyarrow as pa

    if not rejects:
        return None, {}
    counts: dict[str, int] = {}
    for _, reject in rejects:
        counts[reject.reason] = counts.get(reject.reason, 0) + 1
    uris = [f"{part}{reject.inside}#{reject.offset}" for part, reject in rejects]
    table = pa.table({
        "id": make_ids(uris),
        "source_uri": pa.array(uris, pa.string()),
        "reason": pa.array([reject.reason for _, reject in rejects], pa.string()),
        "detail": pa.array([reject.detail for _, reject in rejects], pa.string()),
    })  # fmt: skip
    return store.write_table(erased.without_mentions(table) if erased else table), counts


def shard_of(
    store: Store,
    tables: Sequence[pa.Table],
    *,
    part: str,
    source: str,
    rejected: str | None = None,
    rejects: dict[str, int] | None = None,
    passed: dict[str, int] | None = None,
    parent: str | None = None,
    erased: Erased | None = None,
    dataset: str = "",
) -> Shard:
    """Store documents as a shard; their columns are brought together, and the size of each is written beside it.

    What was `erased` comes back as blank rows, which are dropped in the shard's first step.
    """
    import pyarrow as pa

    has_text = any("text" in table.column_names for table in tables)
    schema = unify_tables(tables, [plain_schema(text=has_text)])
    whole = pa.concat_tables([conform(table, schema) for table in tables]) if tables else schema.empty_table()
    whole, gone = erased.clean(whole, dataset) if erased else (whole, [])
    sizes = document_bytes(whole)
    size = sum(sizes.to_pylist())
    steps = (_erased_step(store, source, whole.num_rows, size, gone),) if gone else ()
    return Shard(
        part=part, source=source, object=store.write_table(whole.append_column(SIZE, sizes)), documents=whole.num_rows,
        bytes=size, schema=store.write_table(schema.empty_table()), rejected=rejected,
        rejects=rejects or {}, passed=passed or {}, parent=parent, steps=steps,
    )  # fmt: skip


def _erased_step(store: Store, source: str, count: int, size: int, gone: Sequence[int]) -> Step:
    import numpy as np
    import pyarrow as pa

    from curate.stages.decide import verdict_table

    said = verdict_table(np.array(gone, np.int64), "dropped", REASON)
    said = said.append_column("id", pa.array([ERASED] * len(gone), pa.string()))
    return Step(source, count, size, verdicts=store.write_table(said), reasons={"dropped": {REASON: len(gone)}})
