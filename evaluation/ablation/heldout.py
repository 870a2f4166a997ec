"""Held-out sets: what models are measured on, without what any arm was trained on.

A document is left out where at least `SEEN` of its different word n-grams stand anywhere in the train split of an arm. This
leaves out all that is as similar as that to one of them by `near_duplicates` (J(A, B) >= s says that B has s of A's n-grams),
without its misses, and pieces of longer documents as well. It costs one pass over each train split.

Sets that were named may share documents: these count in the first of them only, so that none counts twice in the mean. The
validation splits of arms stay whole, as what one arm shares with another is not what it is better or worse for; it is told.

Nothing is copied: a run is measured on all documents of a set, and those that are left out are left out of the numbers. So a
measurement can be shared by ablations whose arms have seen different things.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from curate.errors import CurateError
from curate.evaluation.ablation.arms import Arm
from curate.evaluation.ablation.infer import PRIMARY
from curate.evaluation.tasks.data import SMALL, read_rows
from curate.evaluation.tasks.settings import PerplexityTask
from curate.jsontext import dumps

if TYPE_CHECKING:
    from curate.dataset.store import Store

__all__ = ["SEEN", "HeldOut", "held_out_sets"]

Say = Callable[[str], None]
SEEN, NGRAM = 0.8, 5
SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
Hashes = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A held-out set.

    Attributes:
        name: What results call it.
        task: What is measured; its name ends in a hash of the documents, so that a measurement is of these.
        home: The arm whose validation split it is; None: it was named, and is neutral.
        digest: sha256 over definition and data.
        documents: How many it has.
        removed: Of each version that is trained on, how many of them it has seen.
        kept: Ids of the others, which count, with a hash of their texts.
        shared: How many of it stand in each set before it, too; where the set was named, they do not count here.
        warnings: What people should know of it.
    """

    name: str
    task: PerplexityTask
    home: str | None
    digest: str
    documents: int
    removed: dict[str, int]
    kept: Mapping[str, str]
    shared: dict[str, int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def neutral(self) -> bool:
        """It is from no arm."""
        return self.home is None

    def json(self) -> dict[str, Any]:
        """As the plan has it."""
        return {
            "name": self.name, "task": self.task.name, "source": self.task.data or list(self.task.files),
            "split": self.task.split, "neutral": self.neutral, "home": self.home, "hash": self.digest,
            "documents": self.documents, "left": len(self.kept), "removed": self.removed,
            "shared": self.shared,
        }  # fmt: skip


def held_out_sets(
    named: Sequence[str], arms: Sequence[Arm], store: Store, *, limit: int | None, by: str | None, say: Say
) -> list[HeldOut]:
    """The sets that were named, and the validation splits of the arms, without what was seen in training.

    Args:
        named: `VERSION_OR_FILE` or `VERSION_OR_FILE:NAME`.
        arms: All arms.
        store: Where versions are.
        limit: Most documents of a set, spread evenly.
        by: Column whose values are domains.
        say: Tells people what is done.

    Raises:
        CurateError: There is no such version, file or name, nothing to measure on, or nothing left of a set.
    """
    tasks = [(_named(one, limit, by, arms[0].column), None) for one in named] + [
        (_own(arm, limit, by), arm.name)
        for arm in arms
        if arm.base is None and not arm.again and arm.dataset.splits.get("validation")
    ]
    if not tasks:
        raise CurateError(
            "there is nothing to measure on: no version has a validation split",
            hint="--heldout VERSION_OR_FILE, or `{stage: split}` in the pipeline",
        )
    names = [task.name for task, _ in tasks]
    twice = next((name for name in names if names.count(name) > 1), None)
    if PRIMARY in names:
        raise CurateError(
            f"a held-out set cannot be named `{PRIMARY}`: that is the mean over all",
            "--heldout",
            "VERSION_OR_FILE:NAME",
        )
    if twice is not None:
        raise CurateError(f"two held-out sets are named `{twice}`", "--heldout", "VERSION_OR_FILE:NAME names one")
    trained = {arm.source.dataset.version: arm for arm in reversed(arms) if not arm.again}
    found: list[tuple[HeldOut, _Ngrams]] = []
    for task, home in tasks:
        found.append(_cleaned(task, home, list(trained.values())[::-1], found, store, say))
    return [one for one, _ in found]


def _named(text: str, limit: int | None, by: str | None, column: str) -> PerplexityTask:
    place, colon, name = text.rpartition(":")
    if not colon or Path(text).exists() or not re.fullmatch(r"[\w.-]+", name):
        place, name = text, _slug(Path(text).stem if _is_file(text) else text)
    where: dict[str, Any] = {"files": (place,)} if _is_file(place) else {"data": place}
    return PerplexityTask(name=name, limit=limit, by=(by,) if by else (), text=column, **where)


def _own(arm: Arm, limit: int | None, by: str | None) -> PerplexityTask:
    column = (by,) if by and by in arm.dataset.columns else ()
    return PerplexityTask(
        name=f"{_slug(arm.name)}-validation", data=arm.reference, split="validation", limit=limit, by=column,
        text=arm.column,
    )  # fmt: skip


def _is_file(place: str) -> bool:
    return Path(place).is_file() or Path(place).suffix in SUFFIXES


def _slug(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name)


def _cleaned(
    task: PerplexityTask,
    home: str | None,
    arms: Sequence[Arm],
    before: Sequence[tuple[HeldOut, _Ngrams]],
    store: Store,
    say: Say,
) -> tuple[HeldOut, _Ngrams]:
    rows = read_rows(task, store.location)
    texts = {str(row["id"]): str(row.get(task.text) or "") for row in rows.rows}
    count = len(texts)
    say(f"{task.name}: looking for its {count:,} documents in what is trained on")
    kept = {identity: hashlib.sha256(text.encode()).hexdigest() for identity, text in texts.items()}
    found = _Ngrams(list(texts.values()))

    def leave_out(seen: NDArray[np.bool_]) -> None:
        for identity, there in zip(texts, seen.tolist(), strict=True):
            if there:
                kept.pop(identity, None)

    removed: dict[str, int] = {}
    for arm in arms:
        seen = found.seen(_train_texts(arm))
        removed[arm.name] = int(seen.sum())
        leave_out(seen)
    shared: dict[str, int] = {}
    for other, ngrams in before:
        seen = found.seen([ngrams.texts])
        shared[other.name] = int(seen.sum())
        if home is None:
            leave_out(seen)
    told = _told(task.name, count, removed, shared, home, left=len(kept))
    whole = {**task.model_dump(mode="json", exclude={"name"}), "identity": rows.identity}
    digest = hashlib.sha256(dumps(whole).encode()).hexdigest()
    named = task.model_copy(update={"name": f"{task.name[:60]}-{digest[:8]}"})
    return HeldOut(task.name, named, home, digest, count, removed, kept, shared, told), found


def _told(
    name: str, count: int, removed: Mapping[str, int], shared: Mapping[str, int], home: str | None, *, left: int
) -> list[str]:
    """What people should know of a set.

    Raises:
        CurateError: Nothing is left of it.
    """
    seen = {**{f"the training of `{arm}`": number for arm, number in removed.items()},
            **{f"the held-out set `{other}`": number for other, number in shared.items() if home is None}}  # fmt: skip
    if not left:
        raise CurateError(
            f"all {count} documents of the held-out set `{name}` are, or nearly, in {max(seen, key=lambda one: seen[one])}",
            hint="name a set that no arm has seen: --heldout VERSION_OR_FILE",
        )
    told = [
        f"{name}: {number} of its {count} documents are, or nearly, in the training of {arm}: left out for all"
        for arm, number in removed.items()
        if number
    ]
    if there := ", ".join(f"{number} in {other}" for other, number in shared.items() if number):
        outcome = "each counts once" if home is None else "they count in both"
        told.append(f"{name}: of its {count} documents stand in another set, too: {there}: {outcome}")
    return [*told, *([f"{name}: {left} documents are too few to tell much"] if left < SMALL else [])]


def _train_texts(arm: Arm) -> Iterable[list[str]]:
    for batch in arm.source.dataset.batches("train", [arm.source.column], 1000):
        yield [text or "" for text in batch.column(0).to_pylist()]


class _Ngrams:
    """The sets of n-grams of some texts, and which of them others have."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = texts
        self.values, self.sizes = _shingles(texts)
        self.known = np.unique(self.values)

    def seen(self, others: Iterable[Sequence[str]]) -> NDArray[np.bool_]:
        """Which texts have most of their n-grams in others, which come in batches."""
        met = np.zeros(len(self.known), dtype=bool)
        for some in others:
            there, _ = _shingles(some)
            place = np.minimum(np.searchsorted(self.known, there), len(self.known) - 1)
            met[place[self.known[place] == there]] = True
        here = met[np.searchsorted(self.known, self.values)]
        starts = np.concatenate([[0], np.cumsum(self.sizes)[:-1]])
        return np.add.reduceat(here.astype(np.int64), starts) >= SEEN * self.sizes


def _shingles(texts: Sequence[str]) -> tuple[Hashes, NDArray[np.int64]]:
    import pyarrow as pa

    from curate.dedup.minhash import shingle_sets
    from curate.dedup.words import character_table
    from curate.stages.buffers import text_buffer

    data, offsets = text_buffer(pa.array(texts, pa.large_string()))
    return shingle_sets(data, offsets, table=character_table(), ngram=NGRAM)
