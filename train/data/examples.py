"""One document a row: for labels, for texts from texts, for preferences and for prompts.

Rows are filled up to the longest of the batch, rounded up to a multiple of 8. What is longer than it may be is cut, as
each class says, and counted when the source is opened. A row costs about 0.02 ms.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.errors import CurateError
from curate.tokenize.pack import Pack
from curate.train.data.batch import IGNORED, Arrays, filled
from curate.train.settings.rewards import COLUMN

__all__ = ["Labelled", "Pairs", "Preferences", "Prompts", "Tagged", "labelled_row"]

Integers = NDArray[np.int64]


class _Documents:
    """What the sources of this file share: a document of the split is an example.

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


class Labelled(_Documents):
    """A label, or number, of a text or of a pair of texts: start, text, separator, second text, separator.

    Of a pair that is too long the longer text is cut first, at its end, as transformers' `longest_first` does.
    Labels are int64, or with `regression` float32; in empty rows they are -100.

    """

    special = 3

    def __init__(self, pack: Pack, split: str, length: int, *, regression: bool = False) -> None:
        super().__init__(pack, split, length)
        self.second = self.rows.has("second")
        self.known = self.rows.numbers("label").astype(np.float32) if regression else self.rows.labels()
        self.room = length - (3 if self.second else 2)
        lengths = self.rows.lengths("text") + (self.rows.lengths("second") if self.second else 0)
        self._count_cut(lengths > self.room)

    def read(self, numbers: Integers) -> Arrays:
        """`tokens`, `documents`, `labels`, of pairs `segments`, and `weights` where there are some."""
        made = [self._row(number) for number in numbers.tolist()]
        found = {**self._row_facts(numbers), **self._padded([row for row, _ in made])}
        none = np.array(IGNORED).astype(self.known.dtype)
        found["labels"] = np.where(numbers < 0, none, self.known[numbers])
        if self.second:
            found["segments"] = filled([segments for _, segments in made], value=0, most=self.length)
        return found

    def _row(self, number: int) -> tuple[Integers | None, Integers | None]:
        if number < 0:
            return None, None
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


class Tagged(_Documents):
    """A label of each word, at its first token; what is too long is cut at its end."""

    special = 2

    def __init__(self, pack: Pack, split: str, length: int) -> None:
        super().__init__(pack, split, length)
        self._count_cut(self.rows.lengths("words") > length - 2)

    def read(self, numbers: Integers) -> Arrays:
        """`tokens`, `documents`, `targets`, and `weights` where there are some."""
        made = [self._row(number) for number in numbers.tolist()]
        found = {**self._row_facts(numbers), **self._padded([row for row, _ in made])}
        found["targets"] = filled([targets for _, targets in made], value=IGNORED, most=self.length)
        return found

    def _row(self, number: int) -> tuple[Integers | None, Integers | None]:
        if number < 0:
            return None, None
        tokens = self.rows.tokens("words", number)
        targets = np.full(len(tokens), IGNORED, dtype=np.int64)
        targets[self.rows.mask("words", number)] = self.rows.word_labels(number)
        tokens, targets = tokens[: self.length - 2], targets[: self.length - 2]
        row = np.concatenate([[self.roles["start"]], tokens, [self.roles["separator"]]])
        return row, np.concatenate([[IGNORED], targets, [IGNORED]])


class Pairs(_Documents):
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
        self._count_cut((sources > length - 1) | (targets > target_length - 1))

    def read(self, numbers: Integers) -> Arrays:
        """`tokens`, `documents` of the source; `inputs`, `targets` of the target; `weights` where there are some."""
        sources = [self._ended("text", number, self.length) for number in numbers.tolist()]
        targets = [self._ended("target", number, self.target_length) for number in numbers.tolist()]
        inputs = [None if row is None else np.concatenate([[self.start], row[:-1]]) for row in targets]
        return {
            **self._row_facts(numbers),
            **self._padded(sources),
            "inputs": filled(inputs, value=self.padding, most=self.target_length),
            "targets": filled(targets, value=IGNORED, most=self.target_length),
        }

    def _ended(self, role: str, number: int, most: int) -> Integers | None:
        return None if number < 0 else np.concatenate([self.rows.tokens(role, number)[: most - 1], [self.end]])


class Preferences(_Documents):
    """A prompt with a chosen and with a rejected answer; targets are the tokens of the answers and their ends.

    Plain texts begin with the start token and end with the end of text, turns of a conversation as their template says.
    If one of the two rows is too long the beginning of the prompt is left out, of both alike, and what is still too long
    is cut at the answer's end.
    """

    def __init__(self, pack: Pack, split: str, length: int) -> None:
        super().__init__(pack, split, length)
        answers = np.maximum(self.rows.lengths("chosen"), self.rows.lengths("rejected"))
        around = len(self.before) + len(self.after)
        self._count_cut(self.rows.lengths("prompt") + answers + around > length + 1)

    def read(self, numbers: Integers) -> Arrays:
        """`tokens`, `targets`, `documents` (rows, 2, length): chosen, rejected; `weights` where there are some."""
        made = [row for number in numbers.tolist() for row in self._pair(number)]
        flat = {
            **self._padded([tokens for tokens, _ in made]),
            "targets": filled([targets for _, targets in made], value=IGNORED, most=self.length),
        }
        paired = {name: values.reshape(len(numbers), 2, -1) for name, values in flat.items()}
        return {**self._row_facts(numbers), **paired}

    def _pair(self, number: int) -> list[tuple[Any, Any]]:
        """Inputs and targets, chosen and rejected."""
        if number < 0:
            return [(None, None)] * 2
        most = self.length - len(self.after)
        answers = [
            np.concatenate([self.rows.tokens(role, number)[:most], self.after]).astype(np.int64)
            for role in ("chosen", "rejected")
        ]
        # the last token of an answer is a target only
        room = self.length + 1 - len(self.before) - max(map(len, answers))
        prompt = self.rows.tokens("prompt", number)
        prompt = np.concatenate([self.before, prompt[len(prompt) - min(room, len(prompt)) :]]).astype(np.int64)
        pairs = []
        for answer in answers:
            row = np.concatenate([prompt, answer])
            targets = row[1:].copy()
            targets[: len(prompt) - 1] = IGNORED
            pairs.append((row[:-1], targets))
        return pairs


class Prompts(_Documents):
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
