"""Calls into stages, which may fail in any way.

A stage that raises on a batch is given its documents one by one; the one that raises is quarantined. A stage that hangs
or kills its process cannot be caught here: `progress` says before each call what is about to be done, and after the last
one that nothing is; the backend that finds the process dead names the rows in `careful` (one by one, please) or `poison`
(leave out). Before the first call of an opened stage comes one on a text of three words, in which nothing is of any document
and whose result nobody looks at: many a library loads its model or compiles at the first call, and that is not the first
document's fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from curate.errors import CurateError
from curate.stages.contract import Stage, Verdicts
from curate.stages.missing import missing_package
from curate.stages.verdicts import Unfit

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

__all__ = ["LOADING", "Blame", "Progress", "calls"]

Progress = Callable[[tuple[str, int, int] | None], None]
"""Told the stage and the rows [start, stop) before a call into a stage, and None when no call is going on."""
LOADING = -1
"""First and last row while a stage is loaded: its limit is not that of a document."""
_WARM = "Three words here."


@dataclass(slots=True)
class Blame:
    """What earlier attempts at a shard found out, as it travels in the task: ranges and rows are plain JSON.

    Attributes:
        careful: Rows by stage id, as [start, stop) ranges, that are to be done one document at a time.
        poison: Reason by row by stage id: documents that hung or killed a worker, to be quarantined unseen.
        cold: Stages that lost a worker while they were loaded: not called on a text of no interest again.
    """

    careful: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    poison: dict[str, dict[int, str]] = field(default_factory=dict)
    cold: list[str] = field(default_factory=list)


def calls(
    function: Callable[[pa.Table], Any],
    stage: Stage,
    stage_id: str,
    table: pa.Table,
    rows: np.ndarray,
    blame: Blame,
    progress: Progress,
) -> Iterator[tuple[int, Any]]:
    """Call `function` on batches; yields (first position, result), or for a failed document (position, its `Verdicts`).

    Args:
        function: What the stage opened.
        stage: The stage.
        stage_id: Its id.
        table: The documents.
        rows: Their rows in the shard, ascending: these are what blame and progress name.
        blame: What earlier attempts found out.
        progress: Told before every call.
    """
    poison = blame.poison.get(stage_id, {})
    for start in range(0, table.num_rows, stage.batch):
        stop = min(start + stage.batch, table.num_rows)
        first, last = int(rows[start]), int(rows[stop - 1]) + 1
        careful = any(first < end and begin < last for begin, end in blame.careful.get(stage_id, ()))
        if not careful and not any(first <= row < last for row in poison):
            progress((stage_id, first, last))
            try:
                yield start, function(table.slice(start, stop - start))
                continue
            except (CurateError, MemoryError):
                raise
            except ImportError as error:
                raise missing_package(error, f"stage `{stage_id}` needs another package") from error
            except Exception:  # noqa: S110  a stage may raise anything; the document at fault is found below
                pass
        for position in range(start, stop):
            row = int(rows[position])
            yield position, _call_one(function, stage_id, table.slice(position, 1), row, poison.get(row), progress)
    progress(None)


def warm(function: Callable[[pa.Table], Any], stage: Any, stage_id: str, schema: pa.Schema, progress: Progress) -> None:
    """Call what a stage has just opened on a text of no interest, so that it loads what it needs.

    Args:
        function: What it opened, on texts however they are selected.
        stage: The stage.
        stage_id: Its id.
        schema: The columns of the documents that come.
        progress: Told before the call.
    """
    import pyarrow as pa

    progress((stage_id, LOADING, LOADING))
    if stage.reads_text and "text" not in schema.names:
        schema = schema.append(pa.field("text", pa.string()))
    given = {"id": "warm", "source_uri": "warm#0", "text": _WARM}
    one = pa.table([pa.array([given.get(field.name)], field.type) for field in schema], schema=schema)
    with suppress(Exception):  # what it says of this text, and whether it fails on it, is no matter
        function(one)
    progress(None)


def _call_one(
    function: Callable[[pa.Table], Any],
    stage_id: str,
    document: pa.Table,
    row: int,
    poison: str | None,
    progress: Progress,
) -> Any:
    verdicts = Verdicts()
    if poison:
        verdicts.quarantine(0, poison)
        return verdicts
    progress((stage_id, row, row + 1))
    try:
        return function(document)
    except (CurateError, MemoryError):
        raise
    except ImportError as error:  # no document's fault, and every document's fate
        raise missing_package(error, f"stage `{stage_id}` needs another package") from error
    except Unfit as error:
        verdicts.quarantine(0, error.reason, detail=error.detail)
        return verdicts
    except Exception as error:  # the worker's edge: whatever a stage raises is this document's reason
        place = error.__traceback__
        while place and place.tb_next:
            place = place.tb_next
        line = f"{place.tb_frame.f_code.co_filename.rpartition('/')[2]}:{place.tb_lineno}" if place else "?"
        reason = "system_failed" if _is_of_the_system(error) else "stage_failed"
        verdicts.quarantine(0, reason, detail=f"{type(error).__name__} at {line}")
        return verdicts


def _is_of_the_system(error: Exception) -> bool:
    """Whether files, the network or an accelerator failed: perhaps not the next time."""
    return isinstance(error, OSError) or type(error).__name__ in ("OutOfMemoryError", "AcceleratorError")
