"""Contamination: which items of a task stand in the training data.

A text is words (curate/dedup/words.py: case, punctuation and white space do not count, nor apostrophes), so that text in
other lines, case or punctuation is found. Its n-grams of 13 words (Brown et al. 2020, appendix C), or the whole of a text of
8 to 12, are looked up in all texts of the training split. `share` is the share of its n-grams that occur there; `longest`
the words of the longest run of them, which is nearly always one passage. An item has one or several texts (question,
choices, answer: all that its task takes of its row), and the largest of each counts.

An item is contaminated where `share` is at least a fifth: below that Touvron et al. (2023, appendix A.6) call a sample
clean. One whose texts all have fewer than 8 words cannot be told: it is neither, and is counted apart.

Memory is 17 bytes for each n-gram of the items; the training data is read once, a row group at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
from numpy.typing import NDArray

from curate.dataset.fillers import without_fillers
from curate.dataset.reader import Dataset
from curate.dedup.minhash import hash_words
from curate.dedup.words import character_table
from curate.evaluation.result import write_described
from curate.evaluation.tasks.data import Rows
from curate.evaluation.tasks.fairness import ANSWERS, sentence
from curate.evaluation.tasks.harness import asked_columns
from curate.evaluation.tasks.settings import (
    BbqTask,
    ChoiceTask,
    ConversationTask,
    CoreferenceTask,
    CounterfactualTask,
    GenerationTask,
    HarnessTask,
    LabelTask,
    PerplexityTask,
    PreferenceTask,
    StereotypeTask,
    TaskSettings,
    ToxicityTask,
)
from curate.jsontext import loads
from curate.stages.kernels import mix

__all__ = ["SHARE", "Overlaps", "contamination", "item_texts", "training_texts"]

WORDS, FEWEST, SHARE = 13, 8, 0.2
_APOSTROPHES = "'\u2018\u2019\u02bc`"
_BASE = np.uint64(0x9E3779B97F4A7C15)
Hashes = NDArray[np.uint64]


@numba.njit(cache=True, nogil=True)
def _grams(words: Any, length: int) -> Any:  # pragma: no cover
    """Hashes of all runs of so many words; none is 0."""
    count = max(len(words) - length + 1, 0)
    found, last, value = np.empty(count, np.uint64), np.uint64(1), np.uint64(0)
    for _ in range(length - 1):
        last *= _BASE
    for place in range(len(words)):
        if place >= length:
            value -= words[place - length] * last
        value = value * _BASE + words[place]
        if place >= length - 1:
            found[place - length + 1] = mix(value) | np.uint64(1)
    return found


@numba.njit(cache=True, nogil=True)
def _mark(grams: Any, slots: Any, seen: Any) -> None:  # pragma: no cover
    """Mark the slots of those that are there."""
    mask = np.uint64(len(slots) - 1)
    for gram in grams:
        place = (gram >> np.uint64(1)) & mask
        while slots[place]:
            if slots[place] == gram:
                seen[place] = 1
                break
            place = (place + np.uint64(1)) & mask


@numba.njit(cache=True, nogil=True)
def _put(grams: Any, slots: Any) -> None:  # pragma: no cover
    mask = np.uint64(len(slots) - 1)
    for gram in grams:
        place = (gram >> np.uint64(1)) & mask
        while slots[place] and slots[place] != gram:
            place = (place + np.uint64(1)) & mask
        slots[place] = gram


@numba.njit(cache=True, nogil=True)
def _looked_up(grams: Any, slots: Any, seen: Any) -> Any:  # pragma: no cover
    """How many were seen, and the longest run of them."""
    mask, count, run, longest = np.uint64(len(slots) - 1), 0, 0, 0
    for gram in grams:
        place = (gram >> np.uint64(1)) & mask
        while slots[place] != gram:
            place = (place + np.uint64(1)) & mask
        run = run + 1 if seen[place] else 0
        count += seen[place]
        longest = max(longest, run)
    return count, longest


def _hashes(text: str) -> Hashes:
    """(words,) hashes of the words of a text."""
    for one in _APOSTROPHES:
        text = text.replace(one, "")
    data = np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8)
    words = np.empty(len(data) // 2 + 1, np.uint64)
    return words[: hash_words(data, 0, len(data), character_table(), words)]


class Overlaps:
    """The n-grams of some texts, and which of them were seen elsewhere.

    Args:
        texts: What is looked for.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        hashes = [_hashes(text) for text in texts]
        self.words = np.array([len(one) for one in hashes], np.int64)
        lengths = np.minimum(self.words, WORDS)
        self.grams = [
            (int(length), _grams(one, int(length))) if length >= FEWEST else None
            for one, length in zip(hashes, lengths, strict=True)
        ]
        self.slots: dict[int, tuple[Hashes, NDArray[np.uint8]]] = {}
        for length in sorted({one[0] for one in self.grams if one}):
            some = np.concatenate([one[1] for one in self.grams if one and one[0] == length])
            slots = np.zeros(1 << int(2 * len(some)).bit_length(), np.uint64)
            _put(some, slots)
            self.slots[length] = slots, np.zeros(len(slots), np.uint8)

    def see(self, text: str) -> None:
        """Look through a text of the training data."""
        words = _hashes(text)
        for length, (slots, seen) in self.slots.items():
            _mark(_grams(words, length), slots, seen)

    def found(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Of each text the share of its n-grams that were seen, NaN where it is too short, and the words of the longest run."""
        shares, longest = np.full(len(self.grams), np.nan), np.zeros(len(self.grams), np.int64)
        for place, one in enumerate(self.grams):
            if one:
                count, run = _looked_up(one[1], *self.slots[one[0]])
                shares[place], longest[place] = count / len(one[1]), run + one[0] - 1 if run else 0
        return shares, longest


# ---- items and training data


def item_texts(task: TaskSettings, rows: Sequence[dict[str, Any]], columns: Sequence[str] = ()) -> list[list[str]]:
    """The texts of each item: all that the task takes of its row, question and answers, without the words of templates.

    Args:
        task: What is asked.
        rows: The items.
        columns: Those that a model of labels, conversations or preferences was trained on, where the task names none.
    """
    match task:
        case PerplexityTask() | CounterfactualTask():
            names = [task.text]
        case ChoiceTask():
            names = [*_variables(task.prompt), *([task.choices] if isinstance(task.choices, str) else []), task.answer]
        case GenerationTask():
            names = [*_variables(task.prompt), *(_variables(task.answer) or [task.answer])]
        case LabelTask():
            names = [*_named((task.text, task.second), columns), task.label]
        case ConversationTask():
            names = _named((task.messages,), columns)
        case PreferenceTask():
            names = _named((task.prompt, task.chosen, task.rejected), columns)
        case HarnessTask():
            names = asked_columns(task)
        case StereotypeTask():
            names = [task.more, task.less]
        case CoreferenceTask():
            return [[sentence(str(row[name])) for name in (task.text, "anti")] for row in rows]
        case ToxicityTask():
            names = [task.prompt]
        case BbqTask():
            names = [*_variables(task.prompt), *ANSWERS]
    return [
        [
            text
            for name in dict.fromkeys(names or [name for name in row if name != "id"])
            for text in _texts(row.get(name))
        ]
        for row in rows
    ]


def _named(named: Sequence[str | None], columns: Sequence[str]) -> list[str]:
    """The columns of a training, in their order, each replaced by what the task names for it."""
    pairs = zip_longest(named, columns)
    return [name for name in (own or other for own, other in pairs) if name]


def _variables(template: str) -> list[str]:
    from jinja2.meta import find_undeclared_variables
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    return sorted(find_undeclared_variables(ImmutableSandboxedEnvironment().parse(template)))


def _texts(value: Any) -> list[str]:
    """The texts in a value: itself, those of a list, the words of a list of words, what is said in messages."""
    if isinstance(value, str):
        if value[:1] not in "[{" or not value:
            return [value]
        try:
            return _texts(loads(value.encode()))
        except ValueError:
            return [value]
    if isinstance(value, dict):
        return [text for one in without_fillers(value).values() for text in _texts(one)]
    if isinstance(value, list):
        if all(isinstance(one, str) and " " not in one for one in value):
            return [" ".join(value)]
        return [text for one in value for text in _texts(one)]
    return []


def training_texts(dataset: Dataset, split: str | None) -> Iterator[tuple[int, str]]:
    """All texts of a version's split, each with the number of its document: every column that has text but its id."""
    columns = [
        field.name
        for field in dataset.schema
        if field.name not in ("id", "source_uri", "split") and _has_text(field.type)
    ]
    number = 0
    for batch in dataset.batches(split, columns, 1000):
        for place in range(batch.num_columns):
            for row, value in enumerate(batch.column(place).to_pylist()):
                for text in _texts(value):
                    yield number + row, text
        number += batch.num_rows


def _has_text(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(_has_text(field.type) for field in kind)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_dictionary(kind):
        return _has_text(kind.value_type)
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def contamination(
    asked: Sequence[tuple[TaskSettings, Rows]],
    dataset: Dataset,
    folder: Path,
    *,
    columns: Sequence[str] = (),
    tell: Callable[[float], None],
) -> dict[str, pa.Table]:
    """How much of each item of each task stands in the training split of a version; kept in the folder, and found there again.

    Args:
        asked: The tasks and their rows.
        dataset: The version; its `train` split, or all of it where it has none.
        folder: Of the evaluation.
        columns: As for `item_texts`.
        tell: Is told the share of the documents that were read.

    Returns:
        A table for each task, a row an item: id, words (of the longest text), share, longest, contaminated;
        share and contaminated are null where all texts are too short.
    """
    split = "train" if "train" in dataset.splits else None
    keys = {task.name: _key(task, rows, dataset, split, columns) for task, rows in asked}
    known = {name: table for name, key in keys.items() if (table := _read(folder, name, key)) is not None}
    left = [(task, rows) for task, rows in asked if task.name not in known]
    if not left:
        return known
    texts = [item_texts(task, rows.rows, columns) for task, rows in left]
    overlaps = Overlaps([text for some in texts for parts in some for text in parts])
    total = dataset.splits[split] if split else len(dataset)
    for number, text in training_texts(dataset, split) if overlaps.slots else ():
        overlaps.see(text)
        tell(number / max(total, 1))
    shares, longest = overlaps.found()
    start = 0
    for (task, rows), some in zip(left, texts, strict=True):
        ends = start + np.cumsum([len(parts) for parts in some])
        table = _table_of(rows, start, ends, shares, longest, overlaps.words)
        start = int(ends[-1])
        write_described(folder / "contamination", task.name, table, keys[task.name])
        known[task.name] = table
    return known


def _table_of(rows: Rows, start: int, ends: Any, shares: Any, longest: Any, words: Any) -> pa.Table:
    found: list[dict[str, Any]] = []
    for row, end in zip(rows.rows, ends.tolist(), strict=True):
        here = slice(start, end)
        known = shares[here][~np.isnan(shares[here])]
        share = float(known.max()) if len(known) else None
        found.append({
            "id": row["id"], "words": int(words[here].max(initial=0)), "share": share,
            "longest": int(longest[here].max(initial=0)), "contaminated": None if share is None else share >= SHARE,
        })  # fmt: skip
        start = end
    kinds = {
        "id": pa.string(),
        "words": pa.int64(),
        "share": pa.float64(),
        "longest": pa.int64(),
        "contaminated": pa.bool_(),
    }
    return pa.Table.from_pylist(found, pa.schema(list(kinds.items())))


def _key(task: TaskSettings, rows: Rows, dataset: Dataset, split: str | None, columns: Sequence[str]) -> dict[str, Any]:
    return {
        "version": dataset.version, "split": split, "data": rows.identity, "rows": len(rows.rows), "columns": list(columns),
        "definition": task.model_dump(mode="json", exclude={"data", "files", "split", "by"}),
        "rule": {"words": WORDS, "fewest": FEWEST, "share": SHARE, "texts": "all that the task takes"},
    }  # fmt: skip


def _read(folder: Path, name: str, key: dict[str, Any]) -> pa.Table | None:
    place = folder / "contamination"
    try:
        if loads((place / f"{name}.json").read_bytes()) != key:
            return None
        return parquet.read_table(place / f"{name}.parquet")
    except (OSError, ValueError, pa.ArrowException):
        return None
