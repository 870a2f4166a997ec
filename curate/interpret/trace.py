"""Where a text stands word for word in what a model was trained on.

The text is cut into tokens as documents were, and the longest spans of it are found that stand in one document of the training,
as OLMoTrace does (Liu et al. 2025, arXiv 2504.07096, section 3): maximal ones, those first whose unigram probability, the
product of how frequent their tokens are in the training data, is least: long ones of rare words. A span crosses no end of a
document, and has no special token. Unlike there it may begin and end within a sentence or a word, and nothing is left out for
being frequent.

Limits: the text's first word has no space before it, and may be another token than in the middle of a document; the same words
cut otherwise are not found. Cost: benchmarks/trace.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from curate.dataset.reader import Dataset
from curate.dataset.store import Store
from curate.errors import CurateError
from curate.evaluation.tasks.data import documents as read_documents
from curate.interpret.matching import NEVER, interval, longest_matches, maximal
from curate.interpret.read_by import SPLIT, Reading, readings
from curate.interpret.suffixes import Suffixes, suffixes_of
from curate.reports.text import mask
from curate.tokenize.rows import Stream
from curate.tokenize.tokenizer import load_tokenizer

__all__ = ["SHORTEST", "Tracer", "trace"]

SHORTEST = 8
MOST = 100_000
"""Of a span that stands more often in a shard, documents are named and counted among so many places of it."""
AROUND = 40
"""Tokens that are shown before a span, and behind it."""


class _Shard(NamedTuple):
    """A shard, and whose it is."""

    reading: Reading
    role: str
    stream: Stream
    start: int
    suffixes: Suffixes


def trace(text: str, place: Path, store: Store, *, say: Callable[[str], None], **asked: Any) -> dict[str, Any]:
    """`Tracer(place, store).trace(text)`, for one text."""
    return Tracer(place, store, say=say).trace(text, **asked)


class Tracer:
    """Everything that a model was trained on, ready to be searched; it holds the versions open.

    Args:
        place: A run folder, a checkpoint, or a folder that a run was exported to.
        store: The store that it was trained from.
        say: Told of long work: what is sorted for the first time.

    Attributes:
        searched: What is searched: `run`, `dataset`, `version`, `split`, `roles`, `tokens`, `documents`.
        notes: What is not, and why.

    Raises:
        CurateError: Nothing that it was trained on can be looked at.
        MachineError: pydivsufsort is not installed, and an index is to be made.
        ResumableError: An index cannot be written.
    """

    def __init__(self, place: Path, store: Store, *, say: Callable[[str], None]) -> None:
        self.place = place
        self._readings, self.notes = readings(place, store)
        first = self._readings[0].pack
        self._tokenizer, self._special = load_tokenizer(first.tokenizer_path), first.special_tokens
        self._shards = [shard for reading in self._readings for shard in _shards(reading, say)]
        counts = sum((one.suffixes.counts for one in self._shards), np.zeros(first.vocabulary, np.int64))
        self._log_unigrams = np.log(np.maximum(counts, 1) / max(int(counts.sum()), 1))
        self.searched = [_described(one) for one in self._readings]

    def trace(
        self, text: str, *, shortest: int = SHORTEST, spans: int = 10, documents: int = 5, around: int = AROUND
    ) -> dict[str, Any]:
        """The spans of a text that stand in the training, the rarest first.

        Args:
            text: Any text.
            shortest: Fewest tokens of a span.
            spans: Most spans that are told.
            documents: Most documents that are told of each.
            around: Tokens that are shown before and behind a span.

        Returns:
            `model`, `tokens` of the text, `shortest`, `covered` (share of its tokens that some span of this length has),
            `found` (how many spans), `searched`, `notes`, and `spans`: `start` and `end` in the text in characters, `text`,
            `tokens`, `log_probability` (nats, of the unigrams), `occurrences`, `documents` (each once, in however many roles
            and versions of its dataset it has the span), `at_least` (there may be more: of a shard the first 100,000
            occurrences are looked at) and `places`, a document in a role and a version each: `id`, `dataset`, `version`,
            `split`, `number`, `role`, `run`, `source`, `license`, `occurrences`, `token` (where the first begins), `times`
            (that the model was trained on it; None: not known), `before` and `after` (what looks personal is blocked out).

        Raises:
            CurateError: The text is empty, or has fewer tokens than the shortest span.
        """
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        query = np.array(encoding.ids, np.int64)
        if len(query) < max(shortest, 1):
            problem = f"the text has {len(query)} tokens, and the shortest span that is looked for has {shortest}"
            raise CurateError(problem if len(query) else "the text is empty", hint="a longer text, or --shortest N")
        query[np.isin(query, self._special)] = NEVER
        found = self.spans(query, shortest)
        rarity = [float(self._log_unigrams[query[start:stop]].sum()) for start, stop in found.tolist()]
        covered = np.zeros(len(query), bool)
        for start, stop in found.tolist():
            covered[start:stop] = True
        told = list[dict[str, Any]]()
        for place in np.argsort(rarity, kind="stable")[:spans].tolist():
            start, stop = found[place].tolist()
            first, last = encoding.offsets[start][0], encoding.offsets[stop - 1][1]
            told.append({
                "start": first, "end": last, "text": text[first:last], "tokens": stop - start,
                "log_probability": rarity[place], **self._places(query, start, stop, documents, around),
            })  # fmt: skip
        self._name([place for span in told for place in span["places"]])
        return {
            "model": str(self.place), "tokens": len(query), "shortest": shortest, "covered": float(covered.mean()),
            "found": len(found), "searched": self.searched, "notes": self.notes, "spans": told,
        }  # fmt: skip

    def spans(self, query: NDArray[np.int64], shortest: int) -> NDArray[np.int64]:
        """(spans, 2): from and to, in tokens, of the maximal spans of some tokens that stand in a document of the training."""
        longest = np.zeros(len(query), np.int64)
        for shard in self._shards:
            longest_matches(*shard.suffixes[:4], query, longest)
        return maximal(longest, shortest)

    def _places(self, query: NDArray[np.int64], start: int, stop: int, most: int, around: int) -> dict[str, Any]:
        """How often a span stands in the training, and where."""
        occurrences, at_least = 0, False
        told, having = list[dict[str, Any]](), list[tuple[Dataset, NDArray[np.int64]]]()
        for shard in self._shards:
            low, high = interval(*shard.suffixes[:4], query, start, stop)
            occurrences += int(high - low)
            if high == low:
                continue
            positions = np.sort(shard.suffixes.starts[low : min(high, low + MOST)].astype(np.int64)) + shard.start
            numbers = np.searchsorted(shard.stream.ends, positions, side="right")
            documents, firsts, counts = np.unique(numbers, return_index=True, return_counts=True)
            having.append((shard.reading.dataset, shard.reading.numbers(documents)))
            at_least |= bool(high - low > MOST)
            chosen = slice(0, most - len(told))
            told += self._told(
                shard, documents[chosen], positions[firsts][chosen], counts[chosen], stop - start, around
            )
        return {"occurrences": occurrences, "documents": _distinct(having), "at_least": at_least, "places": told}

    def _told(
        self, shard: _Shard, documents: NDArray[np.int64], positions: NDArray[np.int64], counts: NDArray[np.int64],
        length: int, around: int,
    ) -> list[dict[str, Any]]:  # fmt: skip
        """Some documents of a shard, not named yet."""
        reading, stream = shard.reading, shard.stream
        told = list[dict[str, Any]]()
        numbers = reading.numbers(documents).tolist()
        for number, document, position, count in zip(
            numbers, documents.tolist(), positions.tolist(), counts.tolist(), strict=True
        ):
            begin, end = int(stream.ends[document - 1]) if document else 0, int(stream.ends[document])
            before = stream.tokens(max(begin, position - around), position)
            after = stream.tokens(position + length, min(end, position + length + around))
            told.append({
                "id": None, "dataset": reading.dataset.name, "version": reading.dataset.version, "split": SPLIT,
                "number": number, "role": shard.role, "run": reading.run, "source": None, "license": None,
                "occurrences": count, "token": position - begin, "times": reading.times(position, position + length),
                "before": self._words(before), "after": self._words(after),
            })  # fmt: skip
        return told

    def _name(self, places: list[dict[str, Any]]) -> None:
        """Say which documents these are: each version is read once, for all."""
        for dataset in {one.dataset.version: one.dataset for one in self._readings}.values():
            mine = [place for place in places if place["version"] == dataset.version]
            numbers = np.unique([place["number"] for place in mine])
            if not len(numbers):
                continue
            columns = [name for name in ("id", "source_uri", "license") if name in dataset.columns]
            rows = dict(zip(numbers.tolist(), read_documents(dataset, SPLIT, columns, numbers), strict=True))
            for place in mine:
                row = rows[place["number"]]
                names = {"id": row.get("id"), "source": row.get("source_uri"), "license": row.get("license")}
                place.update(names)

    def _words(self, tokens: NDArray[np.int64]) -> str:
        """Tokens as text, in which nothing looks personal; halves of characters at its ends are left out."""
        return mask(self._tokenizer.decode(tokens.tolist(), skip_special_tokens=True).strip("\ufffd"))


def _shards(reading: Reading, say: Callable[[str], None]) -> Iterator[_Shard]:
    for role in reading.roles:
        stream = reading.rows.stream(role)
        for number, start in enumerate(stream.starts[:-1].tolist()):
            yield _Shard(reading, role, stream, start, suffixes_of(reading.pack, stream, number, say))


def _distinct(having: list[tuple[Dataset, NDArray[np.int64]]]) -> int:
    """How many documents these are, by their numbers; of several versions of a dataset by their ids."""
    versions = {dataset.version: dataset for dataset, _ in having}
    numbers = {
        version: np.unique(np.concatenate([some for dataset, some in having if dataset.version == version]))
        for version in versions
    }
    names = Counter(dataset.name for dataset in versions.values())
    found = set[tuple[str, Any]]()
    for version, dataset in versions.items():
        if names[dataset.name] == 1:
            found |= {(version, number) for number in numbers[version].tolist()}
        else:
            found |= {(dataset.name, row["id"]) for row in read_documents(dataset, SPLIT, ["id"], numbers[version])}
    return len(found)


def _described(reading: Reading) -> dict[str, Any]:
    return {
        "run": reading.run, "dataset": reading.dataset.name, "version": reading.dataset.version, "split": SPLIT,
        "roles": reading.roles, "tokens": sum(len(reading.rows.stream(role)) for role in reading.roles),
        "documents": len(reading.rows),
    }  # fmt: skip
