"""Rounds: which documents are labelled next, by how many people, and what is left to do.

A round is drawn once and written; whoever asks for the same again gets the one that is there: the same options, of one version
with or without labels beside it. Random documents are those with
the smallest keyed hash of their id, so drawing looks at each document once, needs memory for the chosen ones, and more
documents in the dataset leave most of the choice as it was.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from curate.dataset.annotations import entries
from curate.dataset.reader import Dataset
from curate.dataset.store import Store
from curate.errors import CurateError
from curate.jsontext import loads
from curate.labeling.documents import Shown, documents, find
from curate.labeling.log import LOGS, Answer, Item, append, items, text_of
from curate.labeling.task import Task
from curate.labeling.values import checked

__all__ = [
    "Queue", "Round", "Wanted", "asked_before", "draw", "gold_items", "pool_sample", "queue", "read_gold", "rounds",
]  # fmt: skip


class Wanted(NamedTuple):
    """What a round is to be.

    Attributes:
        documents: How many.
        strategy: How they are chosen: `random`, `stratified`, `margin`, `diverse`, or who gives them (`audit`, `review`).
        role: What for.
        annotators: How many people see a document of the overlap.
        overlap: Share of documents that several people see.
        seed: Of all that is drawn.
        blind: Nobody may see a suggestion.
        by: Column whose values are strata.
    """

    documents: int
    strategy: str = "random"
    role: str = "label"
    annotators: int = 1
    overlap: float = 0.0
    seed: int = 0
    blind: bool = False
    by: str | None = None


class Round(NamedTuple):
    """A round: its number, whether it was there already, its items, and how many documents there were to choose from."""

    number: int
    again: bool
    items: list[Item]
    pool: int


def rounds(store: Store, task: Task) -> list[dict[str, Any]]:
    """The facts of each round, by its number from 1."""
    return [entry["facts"] for _, entry in entries(store, task.name + LOGS["rounds"]) if "round" in entry["facts"]]


def draw(
    dataset: Dataset,
    task: Task,
    wanted: Wanted,
    *,
    chosen: Callable[[], tuple[Sequence[tuple[Shown, str]], int]] | None = None,
    gold: Sequence[Item] = (),
    new: bool = False,
    seen: int | None = None,
    facts: dict[str, Any] | None = None,
) -> Round:
    """Draw a round and write it; of two that are drawn at one moment, the second knows the first.

    Args:
        dataset: The version.
        task: The task.
        wanted: What it is to be.
        chosen: Gives the documents, each with how it was chosen, and how many there were to choose from; by default random
            ones that no round has asked for.
        gold: Documents with known answers that come with it.
        new: Whether to draw one although there is one that was asked for in the same words.
        seen: How many rounds there were when somebody chose the documents, if they were chosen before.
        facts: What else is to be known of it.

    Raises:
        CurateError: No document is left, or there are more rounds than `seen`.
    """
    store, request = dataset.store, {**wanted._asdict(), "version": _without_labels(dataset), "gold": len(gold)}
    if chosen is None:
        chosen = partial(_at_random, dataset, task, wanted, {(one.id, one.hash) for one in gold})
    while True:
        before = rounds(store, task)
        if seen is not None and len(before) != seen:
            raise CurateError(f"somebody drew a round of `{task.name}` meanwhile", hint="the same command begins anew")
        same = None if new else next((one["round"] for one in before if one["request"] == request), None)
        if same is not None:
            return Round(same, True, [one for one in items(store, task) if one.round == same], before[same - 1]["pool"])
        found, pool = chosen()
        if not found and not gold:
            raise CurateError(
                f"no document of `{dataset.name}` is left to be labelled",
                hint=f"{len(asked_before(store, task)):,} are in earlier rounds",
            )
        number = len(before) + 1
        made = _items(found, gold, wanted, number)
        told = {"round": number, "request": request, "pool": pool, **(facts or {})}
        if append(store, task, "rounds", made, told, after=len(before)):
            return Round(number, False, made, pool)


def _without_labels(dataset: Dataset) -> str:
    """The version that labels were put beside: a request in the same words means the same before and after a commit."""
    version, manifest = dataset.version, dataset.manifest
    while (manifest["lineage"].get("made_by") or {}).get("kind") == "labels":
        version = manifest["lineage"]["parents"][0]
        manifest = dataset.store.read_json(f"versions/{version}.json") or {"lineage": {}}
    return version


def _at_random(
    dataset: Dataset, task: Task, wanted: Wanted, left_out: set[tuple[str, str]]
) -> tuple[list[tuple[Shown, str]], int]:
    picked, pool = pool_sample(dataset, task, wanted, asked_before(dataset.store, task) | left_out)
    return [(one, "random") for one in picked], pool


def _items(found: Sequence[tuple[Shown, str]], gold: Sequence[Item], wanted: Wanted, number: int) -> list[Item]:
    several, now = _several(found, wanted), datetime.now(UTC)
    made = [
        Item(
            one.id, one.hash, number, wanted.role, wanted.annotators if one.id in several else 1,
            wanted.blind or one.id in several, place, drawn, asked=now,
        )
        for place, (one, drawn) in enumerate(found)
    ]  # fmt: skip
    known = [one._replace(round=number, annotators=wanted.annotators, asked=now) for one in gold]
    return _mixed(made, known, wanted.seed)


def asked_before(store: Store, task: Task) -> set[tuple[str, str]]:
    """Documents, as they were shown, that some round has asked for."""
    return {(one.id, one.hash) for one in items(store, task)}


def pool_sample(dataset: Dataset, task: Task, wanted: Wanted, asked: set[tuple[str, str]]) -> tuple[list[Shown], int]:
    """Random documents that nobody has asked for, of each stratum its share; and how many there were."""
    from xxhash import xxh3_64_intdigest

    heaps: dict[Any, list[tuple[int, str, Shown]]] = defaultdict(list)
    sizes: Counter[Any] = Counter()
    for table, some in documents(dataset, task, [wanted.by] if wanted.by else []):
        strata = table.column(wanted.by).to_pylist() if wanted.by else [None] * len(some)
        for one, stratum in zip(some, strata, strict=True):
            if (one.id, one.hash) in asked:
                continue
            stratum = str(stratum)
            sizes[stratum] += 1
            entry = (-xxh3_64_intdigest(one.id, seed=wanted.seed), one.id, one)
            if len(heaps[stratum]) < wanted.documents:
                heapq.heappush(heaps[stratum], entry)
            elif entry > heaps[stratum][0]:
                heapq.heapreplace(heaps[stratum], entry)
    shares = _shares(sizes, wanted.documents)
    drawn = [entry for name, heap in heaps.items() for entry in sorted(heap, reverse=True)[: shares[name]]]
    return [entry[2] for entry in sorted(drawn, reverse=True)], sum(sizes.values())


def _shares(sizes: Mapping[Any, int], documents: int) -> dict[Any, int]:
    """Documents of each stratum, by its size, at least one where there is room; the largest remainders first."""
    total = sum(sizes.values())
    if documents >= total:
        return dict(sizes)
    exact = {name: documents * size / total for name, size in sizes.items()}
    shares = {name: int(share) for name, share in exact.items()}
    order = sorted(sizes, key=lambda name: (shares[name] > 0, shares[name] - exact[name], str(name)))
    for name in order[: documents - sum(shares.values())]:
        shares[name] += 1
    return shares


def _several(chosen: Sequence[tuple[Shown, str]], wanted: Wanted) -> set[str]:
    """Ids of those that several people see: random ones (by hash), so that they say how much people agree."""
    count = round(len(chosen) * wanted.overlap) if wanted.annotators > 1 else 0
    return {one.id for one, _ in sorted(chosen, key=lambda pair: (pair[0].hash, pair[0].id))[:count]}


def _mixed(made: Sequence[Item], gold: Sequence[Item], seed: int) -> list[Item]:
    """Gold among the others, at places that nobody can guess."""
    import numpy as np

    if not gold:
        return list(made)
    places = np.sort(np.random.default_rng([seed, 7]).choice(len(made) + len(gold), len(gold), replace=False)).tolist()
    rest, known = iter(made), iter(gold)
    chosen = set(places)
    return [
        (next(known) if place in chosen else next(rest))._replace(place=place) for place in range(len(made) + len(gold))
    ]


def gold_items(dataset: Dataset, task: Task, known: Mapping[str, Any]) -> list[Item]:
    """Items of documents whose answers are known, by id; each must be in the version and an answer of the task.

    Raises:
        CurateError: One is not.
    """
    there, made = find(dataset, task, list(known)), list[Item]()
    for identity, value in known.items():
        if identity not in there:
            raise CurateError(
                f"the gold document `{identity}` is not in `{dataset.name}`", hint="gold is known by the document's id"
            )
        one = there[identity]
        if not one.hash or (task.turn is not None and not one.data["messages"]):
            raise CurateError(f"the gold document `{identity}` has nothing to judge")
        right = text_of(checked(task, value, one.data))
        made.append(Item(identity, one.hash, 0, "gold", 1, True, 0, "gold", right))
    return made


def read_gold(path: Path) -> dict[str, Any]:
    """Known answers by document id: JSON lines with `id` and `label`.

    Raises:
        CurateError: The file cannot be read, a line is none, or two say different things of one document.
    """
    known: dict[str, Any] = {}
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise CurateError(f"the gold file cannot be read ({error.strerror})", str(path)) from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            row = loads(line)
        except ValueError:
            raise CurateError("a line of the gold file is not JSON", where) from None
        if not isinstance(row, dict) or not isinstance(row.get("id"), str) or "label" not in row:
            raise CurateError("a line of the gold file needs `id` (a text) and `label`", where)
        if known.setdefault(row["id"], row["label"]) != row["label"]:
            raise CurateError(f"the gold file has two answers for `{row['id']}`", where)
    return known


class Queue(NamedTuple):
    """What is left to do.

    Attributes:
        left: Items that need answers, in order, each with how many.
        done: How many items have all answers.
        changed: Items of documents that show something else now.
        absent: Items of documents that are not in the version.
    """

    left: list[tuple[Item, int]]
    done: int
    changed: int
    absent: int


def queue(wanted: Iterable[Item], said: Iterable[Answer], there: Mapping[str, str]) -> Queue:
    """What is left of the items.

    Args:
        wanted: The items.
        said: The answers; one that was skipped is none, and leaves the document to others.
        there: Hash of what is shown, by id, of the documents in the version.
    """
    given = [one for one in said if one.value is not None]
    by = Counter((one.id, one.hash) for one in given)
    latest: dict[tuple[str, str], datetime] = {}
    for one in given:
        latest[one.id, one.hash] = max(one.created, latest.get((one.id, one.hash), one.created))
    needed: dict[tuple[str, str], Item] = {}
    for item in wanted:
        key = (item.id, item.hash)
        if key not in needed or item.role == "review" or needed[key].annotators < item.annotators:
            needed[key] = item
    left, done, changed, absent = list[tuple[Item, int]](), 0, 0, 0
    for key, item in needed.items():
        missing = item.annotators - by[key]
        if item.role == "review":
            missing = int(key not in latest or item.asked is None or latest[key] <= item.asked)
        if missing <= 0:
            done += 1
        elif item.id not in there:
            absent += 1
        elif there[item.id] != item.hash:
            changed += 1
        else:
            left.append((item, missing))
    return Queue(left, done, changed, absent)
