"""One document a row: for labels, for texts from texts and for prompts; with answers to prompts, see answers.py.

Rows are filled up to the longest of the batch, rounded up to a multiple of 8. What is longer than it may be is cut, as
each class says, and counted when the source is opened. A row costs about 0.02 ms.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curate.errors import CurateError
from curate.tokenize.pack import Pack
from curate.train.data.batch import IGNORED, Arrays, filled
from curate.train.settings.rewards import COLUMN

__all__ = ["Documents", "Labelled", "Pairs", "Prompts", "Tagged", "labelled_row"]

Integers = NDArray[np.int64]


class Documents:
    """What sources share of which a document of the split is an example.

    Args:
        pack: The token shards.
        split: Which split.
        length: Most tokens of a row.

    Raises:
        CurateError: The split has no documents, a column was not packed, or a row has no room for text.
    """

    special = 1
    """Tokens of a row that are no text."""
    left = False
    """Rows stand at the right end."""

    def __init__(self, pack: Pack, split: str, length: int) -> None:
        if length <= self.special:
            raise CurateError(
                f"{length} tokens leave no room for text beside {self.special} special tokens",
                "batch.length",
                f"at least {self.special + 1}",
            )
        self.rows, self.length, self.cut = pack.rows(split), length, 0
        self.roles, self.labels = pack.roles, list(pack.labels)
        self.padding = pack.roles["padding"]
        # of turns of a conversation the template has written how they begin and end
        self.before = [] if pack.has_turns else [self.roles["start"]]
        self.after = [] if pack.has_turns else [self.roles["end_of_text"]]
        self.weights = self.rows.numbers("weight").astype(np.float32) if self.rows.has("weight") else None

    def __len__(self) -> int:
        return len(self.rows)

    def difficulty(self) -> NDArray[np.float64]:
        """(documents,): how hard each is.

        Raises:
            CurateError: No column says so.
        """
        return self.rows.numbers("difficulty")

    def _count_cut(self, longer: NDArray[np.bool_]) -> None:
        self.cut = int(longer.sum())

    def _row_facts(self, numbers: Integers) -> Arrays:
        """What every batch has."""
        facts: Arrays = {"numbers": numbers}
        if self.weights is not None:
            facts["weights"] = np.where(numbers < 0, np.float32(0), self.weights[numbers])
        return facts

    def _padded(self, rows: list[Integers | None]) -> Arrays:
        """`tokens` and `documents`."""
        tokens = filled(rows, value=self.padding, most=self.length, left=self.left)
        zeros = [None if row is None else np.zeros(len(row), dtype=np.int64) for row in rows]
        return {"tokens": tokens, "documents": filled(zeros, value=-1, most=self.length, left=self.left)}


class Labelled(Documents):
    """A label, or number, of a text or of a pair of texts: start, text, separator, second text, separator.

    Of a pair that is too long the longer text is cut first, at its end, as transformers' `longest_first` does.
    Labels are int64, or with `regression` float32; in empty rows they are -100. Of a table without a text a row is a padding
    token.
    """

    special = 3

    def __init__(self, pack: Pack, split: str, length: int, *, regression: bool = False) -> None:
        super().__init__(pack, split, length)
        self.second = self.rows.has("second")
        self.features = self.rows.vectors("features") if self.rows.has("features") else None
        self.text = self.rows.has("text")
        self.known = self.rows.numbers("label").astype(np.float32) if regression else self.rows.labels()
        self.room = length - (3 if self.second else 2)
        if not self.text:
            return
        lengths = self.rows.lengths("text") + (self.rows.lengths("second") if self.second else 0)
        self._count_cut(lengths > self.room)

    def read(self, numbers: Integers) -> Arrays:
        """`tokens`, `documents`, `labels`, of pairs `segments`, and `weights` and `features` where there are some."""
        made = [self._row(number) for number in numbers.tolist()]
        found = {**self._row_facts(numbers), **self._padded([row for row, _ in made])}
        none = np.array(IGNORED).astype(self.known.dtype)
        found["labels"] = np.where(numbers < 0, none, self.known[numbers])
        if self.second:
            found["segments"] = filled([segments for _, segments in made], value=0, most=self.length)
        if self.features is not None:
            found["features"] = np.where(numbers[:, None] < 0, np.float32(0), self.features[numbers])
        return found

    def _row(self, number: int) -> tuple[Integers | None, Integers | None]:
        if number < 0:
            return None, None
        if not self.text:
            return np.array([self.padding]), None
        second = self.rows.tokens("second", number) if self.second else None
        return labelled_row(self.rows.tokens("text", number), second, length=self.length, roles=self.roles)


def labelled_row(
    text: Integers, second: Integers | None, *, length: int, roles: dict[str, int]
) -> tuple[Integers, Integers | None]:
    """Tokens of a text, or of a pair and then their segments, as `Labelled` has them.

    Args:
        text: Tokens of the text.
        second: Those of the second one of a pair.
        length: Most tokens of the row.
        roles: Special tokens.
    """
    start, separator = roles["start"], roles["separator"]
    if second is None:
        return np.concatenate([[start], text[: length - 2], [separator]]), None
    first, rest = _shares(len(text), len(second), length - 3)
    row = np.concatenate([[start], text[:first], [separator], second[:rest], [separator]])
    return row, (np.arange(len(row)) >= first + 2).astype(np.int64)


def _shares(first: int, second: int, room: int) -> tuple[int, int]:
    """How much of each of two texts is kept: the longer one is cut first, and of two long ones both to half."""
    if first + second <= room:
        return first, second
    shorter = min(first, second, room // 2)
    return (shorter, room - shorter) if first <= second else (room - shorter, shorter)


class Tagged(Documents):
    """A label of each word, at its first token; what is too long is cut at its end, and its labels are told apart."""

    special = 2

    def __init__(self, pack: Pack, split: str, length: int) -> None:
        super().__init__(pack, split, length)
        self._count_cut(self.rows.lengths("words") > length - 2)

    def read(self, numbers: Integers) -> Arrays:
        """`tokens`, `documents`, `targets`; `weights` where there are some; `beyond`, labels of words that were cut."""
        made = [self._row(number) for number in numbers.tolist()]
        found = {**self._row_facts(numbers), **self._padded([row for row, _, _ in made])}
        found["targets"] = filled([targets for _, targets, _ in made], value=IGNORED, most=self.length)
        if self.cut:
            found["beyond"] = filled([beyond for _, _, beyond in made], value=IGNORED)
        return found

    def _row(self, number: int) -> tuple[Integers | None, Integers | None, Integers | None]:
        if number < 0:
            return None, None, None
        tokens = self.rows.tokens("words", number)
        targets = np.full(len(tokens), IGNORED, dtype=np.int64)
        targets[self.rows.mask("words", number)] = self.rows.word_labels(number)
        tokens, targets, beyond = tokens[: self.length - 2], targets[: self.length - 2], targets[self.length - 2 :]
        row = np.concatenate([[self.roles["start"]], tokens, [self.roles["separator"]]])
        return row, np.concatenate([[IGNORED], targets, [IGNORED]]), beyond[beyond != IGNORED]


class Pairs(Documents):
    """A text from a text: the source and its end, and the target and its end; both are cut before their ends.

    Args:
        pack: The token shards.
        split: Which split.
        length: Most tokens of a source.
        target_length: Most tokens of a target.
        start: What the decoder reads first; None is the tokenizer's start, or end of text.
    """

    def __init__(self, pack: Pack, split: str, length: int, *, target_length: int, start: int | None = None) -> None:
        super().__init__(pack, split, length)
        self.target_length = target_length
        self.start = self.roles["start"] if start is None else start
        self.end = self.roles["end_of_text"]
        sources, targets = self.rows.lengths("text"), self.rows.lengths("target")
        self.cut_targets = bool((targets > target_length - 1).any())
        self._count_cut((sources > length - 1) | (targets > target_length - 1))

    def read(self, numbers: Integers) -> Arrays:
        """`tokens`, `documents` of the source; `inputs`, `targets` of the target; `weights` where there are some.

        Where targets are cut, `beyond` is what of them does not fit.
        """
        sources = [self._ended("text", number, self.length) for number in numbers.tolist()]
        targets = [self._ended("target", number, self.target_length) for number in numbers.tolist()]
        inputs = [None if row is None else np.concatenate([[self.start], row[:-1]]) for row in targets]
        return {
            **self._row_facts(numbers),
            **self._padded(sources),
            "inputs": filled(inputs, value=self.padding, most=self.target_length),
            "targets": filled(targets, value=IGNORED, most=self.target_length),
            **self._beyond(numbers),
        }

    def _beyond(self, numbers: Integers) -> Arrays:
        if not self.cut_targets:
            return {}
        rest = [
            None if one < 0 else self.rows.tokens("target", one)[self.target_length - 1 :] for one in numbers.tolist()
        ]
        return {"beyond": filled(rest, value=IGNORED)}

    def _ended(self, role: str, number: int, most: int) -> Integers | None:
        return None if number < 0 else np.concatenate([self.rows.tokens(role, number)[: most - 1], [self.end]])


class Prompts(Documents):
    """Prompts to go on with, at the right end of their rows, and the answers to them.

    Before a plain text stands the start token, before turns of a conversation what their template says. Of a prompt that
    is too long the beginning is left out.
    """

    left = True

    def __init__(self, pack: Pack, split: str, length: int) -> None:
        super().__init__(pack, split, length)
        self.room = length - len(self.before)
        self._count_cut(self.rows.lengths("prompt") > self.room)
        self.columns = sorted(role for role in pack.manifest["fields"].get("bytes", {}) if role.startswith(COLUMN))

    def read(self, numbers: Integers) -> Arrays:
        """`tokens`, `documents`; `answers` (rows, any), -1 after them; `weights` where there are some.

        Where rewards read further columns also `columns` (rows, columns, any): their bytes, -1 after them.
        """
        prompts = [None if number < 0 else self._prompt(number) for number in numbers.tolist()]
        answers = [None if number < 0 else self.rows.tokens("answer", number) for number in numbers.tolist()]
        found = {**self._row_facts(numbers), **self._padded(prompts), "answers": filled(answers, value=-1)}
        if self.columns:
            texts = [
                None if number < 0 else self.rows.tokens(role, number)
                for number in numbers.tolist()
                for role in self.columns
            ]
            found["columns"] = filled(texts, value=-1).reshape(len(numbers), len(self.columns), -1)
        return found

    def _prompt(self, number: int) -> Integers:
        prompt = self.rows.tokens("prompt", number)
        return np.concatenate([self.before, prompt[max(len(prompt) - self.room, 0) :]]).astype(np.int64)
