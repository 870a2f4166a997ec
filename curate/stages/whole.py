"""A global stage that decides in one go: all signatures in one process, up to `MOST_DOCUMENTS` of them.

The simple way to write one: `reduce()` in place of `decide()` and `apply()`. For more documents a stage cuts its work into
buckets, as `exact_duplicates` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from curate.errors import CurateError
from curate.stages.verdicts import check_rows, verdict_schema
from curate.stages.work import SHARD_BITS

if TYPE_CHECKING:
    import pyarrow as pa

    from curate.stages.contract import Decision, Effect, Global
    from curate.stages.work import Desk, Work

__all__ = ["MOST_DOCUMENTS", "apply_whole", "decide_whole", "gather", "reduce_whole"]

MOST_DOCUMENTS = 5_000_000
_COLUMN = "+"


def decide_whole(work: Work) -> Decision:
    """Bring all signatures to one call of `reduce`.

    Raises:
        CurateError: They are too many for one process.
    """
    from curate.stages.contract import Decision

    if work.documents > MOST_DOCUMENTS:
        raise CurateError(
            f"{work.documents:,} documents are more than the {MOST_DOCUMENTS:,} that a stage with `reduce` may hold",
            hint="let it cut its work into buckets: `decide` and `apply` in place of `reduce`",
        )
    runs = [one["run"] for one in work.each_group("gather", [{}] * len(work.bounds))]
    (done,) = work.each("reduce_all", [{"runs": runs, "bounds": list(work.bounds)}])
    return Decision([done["found"]], {name: [(one, rows)] for name, (one, rows) in done["artifacts"].items()})


def gather(desk: Desk) -> dict[str, Any]:
    """All signatures of a group, in one bucket."""
    import numpy as np

    table = desk.signatures()
    run = desk.write_run(table, np.zeros(table.num_rows, dtype=np.int64), 1)
    return {"run": run, "objects": [run]}


def reduce_whole(stage: Global, desk: Desk, runs: list[str], bounds: list[int]) -> dict[str, Any]:
    """Call `reduce`, and send what it says to the shards."""
    import numpy as np
    import pyarrow as pa

    signatures = desk.read_run(runs, 0)
    documents = signatures.column("document").to_numpy()
    reduced = stage.reduce(signatures.drop_columns(["document"]))
    said = reduced.verdicts.select(verdict_schema().names)
    check_rows(said, len(documents), type(stage).__name__)
    place = np.full(len(documents), -1, dtype=np.int64)
    place[said.column("row").to_numpy()] = np.arange(said.num_rows)
    spread = said.drop_columns(["row"]).take(pa.array(place, mask=place < 0))
    for name, column in reduced.columns.items():
        spread = spread.append_column(f"{_COLUMN}{name}", column)
    spread = spread.append_column("shard", pa.array((documents >> np.uint64(SHARD_BITS)).astype(np.int64)))
    spread = spread.append_column("row", pa.array((documents & np.uint64((1 << SHARD_BITS) - 1)).astype(np.int64)))
    found = desk.write_cut(spread, documents, bounds)
    artifacts = {name: (desk.write(table), table.num_rows) for name, table in reduced.artifacts.items()}
    return {
        "found": found,
        "artifacts": artifacts,
        "objects": [found["run"], *(name for name, _ in artifacts.values())],
    }


def apply_whole(found: pa.Table) -> Effect:
    """The verdicts and columns of one shard, for each of its documents."""
    import numpy as np
    import pyarrow as pa

    from curate.stages.contract import Effect

    if not found.num_rows:  # every document of the shard failed to be signed
        return Effect(verdict_schema().empty_table())
    rows = np.flatnonzero(found.column("verdict").is_valid().to_numpy())
    said = found.take(pa.array(rows)).set_column(found.schema.get_field_index("row"), "row", pa.array(rows))
    columns = {name.removeprefix(_COLUMN): found.column(name) for name in found.column_names if name[0] == _COLUMN}
    return Effect(said.select(verdict_schema().names), columns)
