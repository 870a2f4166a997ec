"""The units of work that a worker process does, and the first of them: reading a part of a source into shards.

Every task takes and gives plain JSON, reads and writes objects of the store, and is idempotent: done twice, it gives the
same objects and receipts. So any backend can run it, anywhere that sees the store, as often as it likes.

    collect   part -> shards           the documents as read, about `shard_bytes` of text each
    steps     shard + stages -> steps  one receipt a stage: a changed stage reruns alone (curate.pipeline.steps)
    map       shard + global stage -> signatures                                         (curate.pipeline.steps)
    reduce    shards + signatures -> steps for every shard                               (curate.pipeline.wave)
    write     shard -> objects of the version, one for each split                        (curate.pipeline.wave)
"""

from __future__ import annotations

import hashlib
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

from curate.dataset.ledger import Shard
from curate.dataset.schema import conform, pack_schema, plain_schema, unify
from curate.dataset.store import Store, canonical_json
from curate.errors import CurateError
from curate.pipeline.calls import Progress
from curate.stages.contract import Part, Rejected, Source, Stage

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["StageSpec", "collect", "engine_key", "text_bytes"]

ENGINE = 1
"""Raised when the engine's own results change."""


def engine_key(kind: str, *parts: Any) -> str:
    """The key of a task's receipt: what it does and everything that its result depends on."""
    return hashlib.sha256(canonical_json([kind, ENGINE, metadata.version("pyarrow"), *parts])).hexdigest()


@dataclass(frozen=True, slots=True)
class StageSpec:
    """A stage as sent to workers.

    Attributes:
        id: Its id in the pipeline.
        target: `module:Class`.
        settings: All its settings, as JSON.
        fingerprint: Identity of class version, settings, library versions and model files.
        measure: The same without the settings that only decide; equal to `fingerprint` for other kinds than filters.
    """

    id: str
    target: str
    settings: dict[str, Any]
    fingerprint: str
    measure: str

    def build(self) -> Stage:
        """The stage itself."""
        module, _, name = self.target.partition(":")
        return getattr(import_module(module), name).model_validate(self.settings)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Where a stage from elsewhere fails outside of single documents, its author is told so.

        Raises:
            CurateError: It failed in `open`, in a decision over a whole shard, or gave what the contract does not allow.
        """
        try:
            yield
        except (CurateError, MemoryError, OSError):
            raise
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


def text_bytes(table: pa.Table) -> int:
    """UTF-8 bytes of the texts."""
    import pyarrow.compute as compute

    return compute.sum(compute.binary_length(table.column("text"))).as_py() or 0


# ---- collect


def collect(
    store: Store,
    source: Source,
    source_id: str,
    parts: Sequence[Part],
    shard_bytes: int,
    limit: int | None,
    progress: Progress,
) -> list[Shard]:
    """Read parts into shards; at most `limit` documents (None: all)."""
    name = parts[0].name + (f" and {len(parts) - 1} more" if len(parts) > 1 else "")
    shards: list[Shard] = []
    tables: list[pa.Table] = []
    rejects: list[tuple[str, Rejected]] = []
    size = documents = 0

    def flush() -> None:
        nonlocal tables, rejects, size
        if tables or rejects:
            shards.append(_shard(store, source_id, name, tables, rejects))
        tables, rejects, size = [], [], 0

    progress((source_id, 0, 0))
    for part, item in _items(source, parts):
        if isinstance(item, Rejected):
            rejects.append((part.name, item))
        else:
            table = item if limit is None else item.slice(0, limit - documents)
            documents += table.num_rows
            if table.num_rows:
                tables.append(_with_ids(table))
                size += text_bytes(table)
        if size >= shard_bytes:
            flush()
        if limit is not None and documents >= limit:
            break
        progress((source_id, documents, documents))
    flush()
    progress(None)
    return shards


def _items(source: Source, parts: Sequence[Part]) -> Iterator[tuple[Part, pa.Table | Rejected]]:
    for part in parts:
        try:
            yield from ((part, item) for item in source.read(part))
        except OSError as error:
            raise CurateError(
                f"`{part.name}` cannot be read: {error.strerror or type(error).__name__}",
                hint="what was read before is kept; run the same command again when it can be",
            ) from error


def _with_ids(table: pa.Table) -> pa.Table:
    """Documents without an id get the hash of where they stand."""
    import pyarrow as pa
    import pyarrow.compute as compute
    from xxhash import xxh3_128_hexdigest

    ids = table.column("id") if "id" in table.column_names else pa.nulls(table.num_rows, pa.string())
    if ids.null_count:
        made = pa.array(
            [xxh3_128_hexdigest(uri.encode()) for uri in table.column("source_uri").to_pylist()], pa.string()
        )
        ids = compute.coalesce(ids.cast(pa.string()), made)
    if "id" in table.column_names:
        return table.set_column(table.schema.get_field_index("id"), "id", ids)
    return table.add_column(0, "id", ids)


def _shard(
    store: Store, source_id: str, name: str, tables: list[pa.Table], rejects: list[tuple[str, Rejected]]
) -> Shard:
    import pyarrow as pa
    from xxhash import xxh3_128_hexdigest

    schema = unify([plain_schema(), *(table.schema for table in tables)])
    whole = pa.concat_tables([conform(table, schema) for table in tables]) if tables else schema.empty_table()
    rejected, counts = None, {}
    if rejects:
        uris = [f"{part}#{reject.offset}" for part, reject in rejects]
        records = [
            {
                "id": xxh3_128_hexdigest(uri.encode()),
                "source_uri": uri,
                "reason": reject.reason,
                "detail": reject.detail,
            }
            for uri, (_, reject) in zip(uris, rejects, strict=True)
        ]
        names = ("id", "source_uri", "reason", "detail")
        rejected = store.write_table(pa.Table.from_pylist(records, schema=pa.schema([(n, pa.string()) for n in names])))
        for _, reject in rejects:
            counts[reject.reason] = counts.get(reject.reason, 0) + 1
    return Shard(
        part=name, source=source_id, object=store.write_table(whole), documents=whole.num_rows,
        bytes=text_bytes(whole), schema=pack_schema(schema), rejected=rejected, rejects=counts,
    )  # fmt: skip
