"""A model of the values of a column: fitted to documents of a version that say what they are, without a task.

    NAME.safetensors   the model (labeling/classifier.py), for the stage `quality_classifier`
    NAME.json          what it was fitted to, and how good it was on texts that it did not see

Cost: words alone some 15 CPU seconds for a thousand documents of 4,000 characters; runs of characters four times that.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from curate.audit.bias.scores import auc
from curate.audit.bias.statistics import Estimate, wilson
from curate.dataset.reader import Dataset
from curate.errors import CurateError, did_you_mean
from curate.files import file_hash, write_durably
from curate.jsontext import dumps
from curate.labeling.classifier import Fitted, fit, save
from curate.labeling.features import hashed
from curate.mix.draw import draw

__all__ = ["Asked", "fit_column", "held_out"]

MOST_VALUES = 20


class Asked(NamedTuple):
    """What a model is to be fitted to.

    Attributes:
        column: With the labels.
        text: With the texts.
        documents: Most documents; of more, those are drawn.
        characters: Look at runs of characters, too, not at words and pairs alone.
        seed: Of the draw and the folds.
    """

    column: str
    text: str = "text"
    documents: int = 20_000
    characters: bool = False
    seed: int = 0


def fit_column(dataset: Dataset, asked: Asked, out: Path) -> dict[str, Any]:
    """Fit a model, write it and what there is to say of it.

    Raises:
        CurateError: There is no such column, its values are no labels, or there is nothing to learn.
    """
    ids, values = _values(dataset, asked)
    names = sorted(set(values))
    number = {name: place for place, name in enumerate(names)}
    label_of = {identity: number[value] for identity, value in zip(ids, values, strict=True)}
    texts: list[str] = []
    found: list[int] = []
    for some in dataset.lookup(ids, [asked.text]):
        texts += [text or "" for text in some.column(asked.text).to_pylist()]
        found += [label_of[identity] for identity in some.column("id").to_pylist()]
    labels = np.array(found, np.int64)
    fitted = fit(hashed(texts, characters=asked.characters), labels, len(names), seed=asked.seed)
    path = out.with_suffix(".safetensors")
    path.parent.mkdir(parents=True, exist_ok=True)
    save(fitted.model, path, names)
    facts: dict[str, Any] = {
        "schema": 1, "labels": names, "sha256": file_hash(path), "dataset": dataset.name, "version": dataset.version,
        "column": asked.column, "text": asked.text, "seed": asked.seed, "characters": asked.characters,
        "documents": len(labels),
        "counts": dict(zip(names, np.bincount(labels, minlength=len(names)).tolist(), strict=True)),
        **held_out(fitted, labels, names),
    }  # fmt: skip
    write_durably(out.with_suffix(".json"), (dumps(facts) + "\n").encode())
    return {**facts, "file": str(path)}


def held_out(fitted: Fitted, labels: NDArray[np.int64], names: list[str]) -> dict[str, Any]:
    """Accuracy, and for each label how often a text that has it scores above one that has not, with 95% intervals.

    Of each text by the model that did not see it.
    """
    probable = fitted.out_of_fold()
    several = labels.ndim == 2
    chosen = (probable > 0.5).astype(np.int64) if several else probable.argmax(1)
    right = (chosen == labels).reshape(len(labels), -1).all(1)
    areas = dict[str, Any]()
    for place, name in enumerate(names):
        has = labels[:, place] == 1 if several else labels == place
        if has.any() and not has.all():
            areas[name] = _plain(auc(probable[has, place], probable[~has, place]))
    return {"held_out": {"accuracy": _plain(wilson(int(right.sum()), len(right))), "auc": areas}}


def _values(dataset: Dataset, asked: Asked) -> tuple[list[str], list[str]]:
    """Ids and labels of the documents to learn from: all that have a label, or as many as asked for."""
    for column in (asked.column, asked.text):
        if column not in dataset.columns:
            raise CurateError(
                f"`{dataset.name}` has no column `{column}`",
                hint=did_you_mean(column, dataset.columns) or f"there are: {', '.join(dataset.columns)}",
            )
    ids: list[str] = []
    values: list[str] = []
    different = set[str]()
    for batch in dataset.batches(None, columns=["id", asked.column]):
        for identity, value in zip(*(batch.column(name).to_pylist() for name in ("id", asked.column)), strict=True):
            if value is not None:
                ids.append(identity)
                values.append(str(value))
        different.update(values[-batch.num_rows :])
        if len(different) > MOST_VALUES:
            raise CurateError(
                f"`{asked.column}` has more than {MOST_VALUES} different values: it has no labels",
                hint="labels are names, few and each of many documents",
            )
    if len(ids) > asked.documents:
        first = np.sort(np.argsort(draw(ids, purpose="fit", seed=asked.seed), kind="stable")[: asked.documents])
        ids, values = [ids[row] for row in first], [values[row] for row in first]
    return ids, values


def _plain(one: Estimate) -> dict[str, float]:
    return {"value": one.value, "low": one.low, "high": one.high}
