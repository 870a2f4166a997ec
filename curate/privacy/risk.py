"""How likely somebody is recognized in what stays: by attributes that can be known elsewhere, and by what is left in texts.

k-anonymity (Sweeney 2002): documents that have the same quasi-identifiers (age, place, job) form a class; k is the size of
the smallest. l-diversity (Machanavajjhala et al. 2007): the fewest different values that a sensitive column has in a class;
in a class with one value, whoever is known to be in it has that.
Documents that lack a quasi-identifier are alike where they lack the same (`equal`), each alone (`unique`), or left out.

Residual personal data: a random sample that a person has reviewed, and the exact upper bound of Clopper and Pearson (1934)
for the share of documents with something in them: with none in 300, at most 1.2 % (97.5 %, one-sided).

Memory: one row a document of the columns asked for; one of the sample's documents.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from curate.dataset.reader import Dataset
from curate.errors import CurateError
from curate.files import replacing
from curate.plain import python_rows

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["LIMITS", "Missing", "anonymity", "residual", "upper_bound", "write_sample"]

Missing = Literal["equal", "unique", "omit"]
LIMITS = (2, 5, 10)
CONFIDENCE = 0.975
_ALONE = " alone"
REVIEW = "found"
"""Field of a sample that the reviewer fills in: true, false, or how many."""


def anonymity(
    dataset: Dataset, quasi: Sequence[str], sensitive: Sequence[str] = (), *, missing: Missing = "equal"
) -> dict[str, Any]:
    """k-anonymity, uniqueness and l-diversity of a version.

    Args:
        dataset: The version.
        quasi: Columns that somebody may know of a person.
        sensitive: Columns that nobody shall learn.
        missing: Whether documents without a quasi-identifier are alike where they lack the same, each alone, or left out.

    Returns:
        `missing`: how they count, and `lacking`: how many documents lack one.
        `documents`, `classes`, `k`, `unique` (documents alone in their class) and their `share`, `below`: documents in
        classes smaller than 2, 5, 10; `sensitive`: by column `l`, and `documents` and `classes` that have one value only.

    Raises:
        CurateError: There is no such column, or no document.
    """
    import pyarrow.compute as compute

    if not quasi:
        raise CurateError("no quasi-identifier is named", hint="--quasi age,zip,job")
    both = set(quasi) & set(sensitive)
    if both:
        raise CurateError(f"`{min(both)}` is a quasi-identifier and sensitive at once", hint="name it once")
    names = list(dict.fromkeys([*quasi, *sensitive]))
    table = dataset.arrow(columns=names)
    if not table.num_rows:
        raise CurateError(f"{dataset.name}@{dataset.version[:12]} has no documents")
    keys = list(dict.fromkeys(quasi))
    table, keys, lacking = _without_missing(table, keys, missing)
    if not table.num_rows:
        raise CurateError(
            "every document lacks a quasi-identifier", hint="--missing equal, or fewer columns in --quasi"
        )
    counted = table.group_by(keys).aggregate(
        [([], "count_all"), *((one, "count_distinct", _all()) for one in sensitive)]
    )
    sizes = counted.column("count_all")
    return {
        "missing": missing, "lacking": lacking,
        "documents": table.num_rows, "classes": counted.num_rows, "k": compute.min(sizes).as_py(),
        "unique": _within(sizes, 2), "share": _within(sizes, 2) / table.num_rows,
        "below": {str(limit): _within(sizes, limit) for limit in LIMITS},
        "sensitive": {one: _diversity(counted, one) for one in sensitive},
    }  # fmt: skip


def _diversity(counted: pa.Table, name: str) -> dict[str, int]:
    """How many values of a sensitive column a class has at least, and the classes and documents with one value."""
    import pyarrow.compute as compute

    kinds = counted.column(f"{name}_count_distinct")
    alike = counted.filter(compute.equal(kinds, 1)).column("count_all")
    return {
        "l": compute.min(kinds).as_py(), "classes": len(alike), "documents": compute.sum(alike, min_count=0).as_py()
    }  # fmt: skip


def _without_missing(table: pa.Table, keys: list[str], missing: Missing) -> tuple[pa.Table, list[str], int]:
    """The table and the columns of classes, and how many documents lack a value."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as compute

    lacks = np.zeros(table.num_rows, bool)
    for name in keys:
        lacks |= compute.is_null(table.column(name), nan_is_null=True).to_numpy()
    count = int(lacks.sum())
    if missing == "omit":
        return table.filter(pa.array(~lacks)), keys, count
    if missing == "unique":
        alone = np.where(lacks, np.arange(1, table.num_rows + 1), 0)
        return table.append_column(_ALONE, pa.array(alone)), [*keys, _ALONE], count
    return table, keys, count


def _all() -> Any:
    import pyarrow.compute as compute

    return compute.CountOptions(mode="all")


def _within(sizes: pa.ChunkedArray, limit: int) -> int:
    """Documents in classes smaller than this."""
    import pyarrow.compute as compute

    return compute.sum(sizes.filter(compute.less(sizes, limit)), min_count=0).as_py()


# ---- what is left in texts


def write_sample(dataset: Dataset, number: int, out: Path, *, seed: int = 1) -> int:
    """Write documents for review, drawn at random without repetition: a line each, with `found: null` to be filled in.

    Returns:
        How many: all, where the version has no more.

    Raises:
        CurateError: There are no documents, or the file is there already or cannot be written.
    """
    if not len(dataset):
        raise CurateError(f"{dataset.name}@{dataset.version[:12]} has no documents")
    if out.exists():
        raise CurateError(f"`{out}` is there already", hint="it may hold a review; name another file")
    count = min(number, len(dataset))
    wanted = random.Random(seed).sample(range(len(dataset)), count)  # noqa: S311
    try:
        with replacing(out) as stream:
            for row in python_rows(dataset.take(wanted)):
                head = {REVIEW: None, "version": dataset.version, "of": len(dataset), "drawn": count, "seed": seed}
                stream.write(json.dumps({**head, "document": row}, ensure_ascii=False, default=str).encode() + b"\n")
    except OSError as error:
        raise CurateError(f"cannot write `{out}`: {error.strerror}", hint="check the path and the space left") from None
    return count


def residual(dataset: Dataset, reviewed: Path) -> dict[str, Any]:
    """What a review says of the whole version.

    Returns:
        `reviewed`, `found` (documents with something in them), `share`, `upper` (of the share in the version, one-sided)
        and its `confidence`, `documents`: how many that is of the version at most.

    Raises:
        CurateError: It cannot be read, is a sample of another version, or has documents that are not reviewed, or twice.
    """
    rows = _read(reviewed)
    hint = "`curate privacy risk VERSION --sample 300 --out FILE` writes one"
    found, ids = 0, set[str]()
    for number, row in rows:
        where = f"{reviewed}:{number}"
        if not isinstance(row, dict) or not {REVIEW, "version", "drawn", "document"} <= row.keys():
            raise CurateError("this is no line of a sample", where, hint)
        if row["version"] != dataset.version:
            other = str(row["version"])[:12]
            raise CurateError(f"this is a sample of version {other}, not of {dataset.version[:12]}", where, hint)
        said = row[REVIEW]
        if said is None:
            raise CurateError(
                "this document is not reviewed", where, f"set `{REVIEW}` to true or false, or to how many"
            )
        if not isinstance(said, bool | int) or said < 0:
            raise CurateError(f"`{REVIEW}` is neither true nor false nor a count", where)
        identity = str(row["document"].get("id") if isinstance(row["document"], dict) else None)
        if identity in ids:
            raise CurateError("this document is there twice", where, hint)
        ids.add(identity)
        found += bool(said)
    drawn = rows[0][1]["drawn"]
    if len(rows) != drawn:
        hint = "a part of a sample, chosen by somebody, is none: review all of it"
        raise CurateError(f"the sample had {drawn} documents, and here are {len(rows)}", str(reviewed), hint)
    upper = upper_bound(found, len(rows)) if len(rows) < len(dataset) else found / len(rows)
    return {
        "reviewed": len(rows), "found": found, "share": found / len(rows), "upper": upper, "confidence": CONFIDENCE,
        "documents": min(len(dataset), int(upper * len(dataset))),
    }  # fmt: skip


def _read(path: Path) -> list[tuple[int, Any]]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")  # documents may have the ends of lines that Unicode knows
    except OSError as error:
        raise CurateError(f"the sample cannot be read: {error.strerror}", str(path)) from None
    except ValueError:
        raise CurateError("the sample is no UTF-8", str(path)) from None
    rows = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                rows.append((number, json.loads(line)))
            except (ValueError, RecursionError):
                raise CurateError("this line is no JSON", f"{path}:{number}") from None
    if not rows:
        raise CurateError("the sample has no documents", str(path))
    return rows


def upper_bound(found: int, of: int, confidence: float = CONFIDENCE) -> float:
    """The largest share with which so few would be found with a chance of 1 - `confidence` (Clopper and Pearson)."""
    from scipy.special import betaincinv

    return 1.0 if found >= of else float(betaincinv(found + 1, of - found, confidence))
