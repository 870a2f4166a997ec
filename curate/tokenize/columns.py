"""Columns that are not text: a label or a number of each document, or a label of each word.

train.label.f64           numbers, raw little-endian float64, one for each document
train.features.f32        lists of numbers, raw little-endian float32, as many for each document
train.labels.i32          labels by their place among the sorted labels of the train split, raw little-endian int32;
                          -100 where there is none
train.labels.i32.index    labels of words: their ends, by document, raw little-endian uint64
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.errors import CurateError, did_you_mean
from curate.tokenize.fields import Fields, refusal, rows_of
from curate.tokenize.streams import write_file

if TYPE_CHECKING:
    from curate.dataset.reader import Dataset

__all__ = ["NO_LABEL", "find_labels", "write_labels", "write_numbers", "write_vectors"]

Label = str | int

NO_LABEL = -100
_SHOWN = 20


def write_numbers(dataset: Dataset, split: str, role: str, column: str, folder: Path) -> dict[str, Any]:
    """Write a column of numbers; returns its description.

    Raises:
        CurateError: A document has none, or one that is not finite, or a weight below zero.
    """
    import numpy as np

    values: list[float] = []
    for number, (value,) in enumerate(rows_of(dataset, split, [column])):
        if value is None or not math.isfinite(value):
            problem = f"`{column}` is {'null' if value is None else value}"
            raise refusal(dataset, split, number, problem, f"as the {role} of a document it must be a finite number")
        if role == "weight" and value < 0:
            raise refusal(dataset, split, number, f"`{column}` is {value}", "a weight is not negative")
        values.append(float(value))
    path = folder / f"{split}.{role}.f64"
    return {"file": path.name, "sha256": {path.name: write_file(path, np.array(values, dtype="<f8").tobytes())}}


def write_vectors(dataset: Dataset, split: str, role: str, column: str, folder: Path) -> dict[str, Any]:
    """Write a column of lists of numbers; returns its description, with how many a document has (`width`).

    Raises:
        CurateError: A document has none, another number of them, or one that is not finite.
    """
    import numpy as np

    rows: list[np.ndarray] = []
    for number, (value,) in enumerate(rows_of(dataset, split, [column], nested=True)):
        given = value if isinstance(value, list) else ()
        found = np.array([one if isinstance(one, int | float) else np.nan for one in given], dtype="<f4")
        if not len(found) or len(found) != len(rows[0] if rows else found) or not np.isfinite(found).all():
            problem = f"`{column}` has {len(found)} numbers" + ("" if np.isfinite(found).all() else ", not all finite")
            raise refusal(dataset, split, number, problem, "each document must have as many, and all of them finite")
        rows.append(found)
    path = folder / f"{split}.{role}.f32"
    hashes = {path.name: write_file(path, b"".join(row.tobytes() for row in rows))}
    return {"file": path.name, "width": len(rows[0]) if rows else 0, "sha256": hashes}


def find_labels(dataset: Dataset, fields: Fields) -> list[Label]:
    """The different labels of the train split, sorted, whole numbers as integers; none where no column has labels.

    Raises:
        CurateError: There is no label, or some are strings and some are not.
    """
    if not fields.labels:
        return []
    found: set[Any] = set()
    if "train" in dataset.splits:
        for number, (value,) in enumerate(rows_of(dataset, "train", [fields.labels], nested=bool(fields.words))):
            some = value if isinstance(value, list) else [value]
            if not all(isinstance(label, str | int | None) or _is_whole(label) for label in some):
                problem = f"`{fields.labels}` holds something else than labels"
                hint = "labels are strings or whole numbers; others are learned with `objective.regression: true`"
                raise refusal(dataset, "train", number, problem, hint)
            found.update(some)
    found.discard(None)
    if not found:
        raise CurateError(
            f"column `{fields.labels}` has no labels in the train split",
            "data.label",
            f"splits of `{dataset.name}`: {', '.join(dataset.splits) or 'none'}",
        )
    if len({isinstance(label, str) for label in found}) > 1:
        raise CurateError(
            f"column `{fields.labels}` has strings and integers as labels", "data.label", "all labels are of one type"
        )
    return sorted(label if isinstance(label, str) else int(label) for label in found)


def _is_whole(label: Any) -> bool:
    """A whole number, as tables have them in columns of floats: 1.0 is the label 1."""
    return isinstance(label, float) and label.is_integer()


def write_labels(dataset: Dataset, split: str, fields: Fields, labels: list[Label], folder: Path) -> dict[str, Any]:
    """Write a split's labels; returns their description, with how many are missing.

    Raises:
        CurateError: A label is not one of the train split's, or a document has not one for each of its words.
    """
    import numpy as np

    assert fields.labels
    numbers = {label: number for number, label in enumerate(labels)}
    values: list[int] = []
    ends: list[int] = []
    columns = [fields.labels, *list(fields.words.values())[:1]]
    for row, found in enumerate(rows_of(dataset, split, columns, nested=bool(fields.words))):
        some = found[0] if fields.words else [found[0]]
        if fields.words and (not isinstance(some, list) or len(some) != len(found[1] or ())):
            problem = (
                f"`{columns[0]}` has {len(some or ())} labels for the {len(found[1] or ())} words of `{columns[1]}`"
            )
            raise refusal(dataset, split, row, problem, "each word has one label, or null")
        for label in some:
            if label is not None and label not in numbers:
                raise _unknown(dataset, split, row, fields.labels, label, labels)
            values.append(NO_LABEL if label is None else numbers[label])
        ends.append(len(values))
    path = folder / f"{split}.labels.i32"
    hashes = {path.name: write_file(path, np.array(values, dtype="<i4").tobytes())}
    if fields.words:
        index = path.with_name(path.name + ".index")
        hashes[index.name] = write_file(index, np.array(ends, dtype="<u8").tobytes())
    return {"file": path.name, "missing": values.count(NO_LABEL), "sha256": hashes}


def _unknown(dataset: Dataset, split: str, row: int, column: str, label: Label, labels: list[Label]) -> CurateError:
    known = [f"`{one}`" for one in labels]
    listed = ", ".join(known[:_SHOWN]) + (f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else "")
    near = did_you_mean(str(label), map(str, labels))
    hint = f"those of the train split: {listed}; a label that nobody knows is null"
    problem = f"label `{label}` of column `{column}` is not among the labels of the train split"
    return refusal(dataset, split, row, problem, f"{near} {hint}" if near else hint)
