"""Prompts with answers to learn from: pairs of a chosen and a rejected one, or single ones that are called good or bad.

Rows of what predicts tokens (`Preferences`, `Judged`) are inputs and targets; rows of what gives a score (`Compared`,
`Outcomes`) are whole texts. A plain text begins with the start token and ends with the end of text, turns of a
conversation as their template says. A prompt that is too long loses its beginning; of two answers side by side both lose
as much of it. What is still too long is cut at the answer's end.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.tokenize.pack import Pack
from curate.train.data.batch import IGNORED, Arrays, filled
from curate.train.data.examples import Documents

__all__ = ["Compared", "Judged", "Outcomes", "Preferences", "scored_rows"]

Integers = NDArray[np.int64]
PAIR, SINGLE = ("chosen", "rejected"), ("completion",)


NEIGHBOURS = 64
"""Documents that are looked at for another prompt."""


class _Answers(Documents):
    """What the sources of this file share.

    Args:
        pack: The token shards.
        split: Which split.
        length: Most tokens of a row.
    """

    roles_of_answers: Sequence[str] = PAIR
    whole = False
    """The last token of a text is in its row, and is not a target only."""

    def __init__(self, pack: Pack, split: str, length: int) -> None:
        super().__init__(pack, split, length)
        self.most = length if self.whole else length + 1
        longest = np.max([self.rows.lengths(role) for role in self.roles_of_answers], axis=0)
        self._count_cut(self.rows.lengths("prompt") + longest + len(self.before) + len(self.after) > self.most)

    def _answers(self, number: int) -> list[Integers]:
        return [self.rows.tokens(role, number) for role in self.roles_of_answers]

    def _side_by_side(self, made: Iterable[tuple[Any, Any]], numbers: Integers) -> Arrays:
        """`tokens`, `targets`, `documents` (rows, 2, length), from two inputs and targets of each row."""
        tokens, targets = zip(*made, strict=True)
        flat = {**self._padded(list(tokens)), "targets": filled(list(targets), value=IGNORED, most=self.length)}
        paired = {name: values.reshape(len(numbers), 2, -1) for name, values in flat.items()}
        return {**self._row_facts(numbers), **paired}

    def _predicted(self, number: int, answers: Sequence[Integers]) -> list[tuple[Integers, Integers]]:
        """Inputs and targets of a document's prompt with each answer."""
        prompt, ended = _framed(self.rows.tokens("prompt", number), answers, self.most, self.before, self.after)
        rows = [np.concatenate([prompt, answer]) for answer in ended]
        return [(row[:-1], np.where(np.arange(1, len(row)) < len(prompt), IGNORED, row[1:])) for row in rows]

    def _scored(self, number: int) -> list[Integers]:
        """The whole text of a document's prompt with each of its answers."""
        return scored_rows(
            self.rows.tokens("prompt", number), self._answers(number), length=self.most,
            before=self.before, after=self.after, padding=self.padding,
        )  # fmt: skip


def _framed(
    prompt: Integers, answers: Sequence[Integers], length: int, before: list[int], after: list[int]
) -> tuple[Integers, list[Integers]]:
    """The prompt and the answers with what is around them, cut such that prompt and answer together are not longer."""
    most = length - 1 - len(after)  # of a prompt one token is left
    ended = [np.concatenate([answer[:most], after]).astype(np.int64) for answer in answers]
    room = length - len(before) - max(map(len, ended))
    return np.concatenate([before, prompt[max(len(prompt) - room, 0) :]]).astype(np.int64), ended


def scored_rows(
    prompt: Integers, answers: Sequence[Integers], *, length: int, before: list[int], after: list[int], padding: int
) -> list[Integers]:
    """Whole texts of a prompt and each of its answers, of which a reward model reads the last token.

    Padding does not end one: where the end of a text is the padding, too, transformers does not see it.

    Args:
        prompt: Its tokens.
        answers: Those of the answers.
        length: Most tokens of a text.
        before: What plain texts begin with.
        after: What they end with.
        padding: The padding.
    """
    begun, ended = _framed(prompt, answers, length, before, after)
    rows = [np.concatenate([begun, answer]) for answer in ended]
    return [row[: int(np.flatnonzero(row != padding).max(initial=-1)) + 1] for row in rows]


def _judged(labels: Integers, good: Sequence[bool]) -> Integers:
    """(documents,) 1 where a label is good, 0 where it is not, -100 where there is none."""
    return np.where(labels < 0, IGNORED, np.array(good, dtype=np.int64)[np.maximum(labels, 0)])


class Preferences(_Answers):
    """A prompt with a chosen and with a rejected answer; targets are the tokens of the answers and their ends."""

    def read(self, numbers: Integers) -> Arrays:
        """`tokens`, `targets`, `documents` (rows, 2, length): chosen, rejected; `weights` where there are some."""
        made = [row for number in numbers.tolist() for row in self._pair(number)]
        return self._side_by_side(made, numbers)

    def _pair(self, number: int) -> list[tuple[Any, Any]]:
        return self._predicted(number, self._answers(number)) if number >= 0 else [(None, None)] * 2


class Judged(_Answers):
    """A prompt with its answer and with one that is not its own, and whether its own is good.

    The other answer is that of the next document with another prompt: answers to one prompt often stand together.

    Args:
        pack: The token shards.
        split: Which split.
        length: Most tokens of a row.
        good: Of each of the pack's labels, whether it is a good one.
    """

    roles_of_answers = SINGLE

    def __init__(self, pack: Pack, split: str, length: int, *, good: Sequence[bool]) -> None:
        super().__init__(pack, split, length)
        self.judged = _judged(self.rows.labels(), good)

    def read(self, numbers: Integers) -> Arrays:
        """`tokens`, `targets`, `documents` (rows, 2, length): its own answer, another's; `labels` (rows,) 1, 0 or -100."""
        made = [row for number in numbers.tolist() for row in self._pair(number)]
        return {
            **self._side_by_side(made, numbers),
            "labels": np.where(numbers < 0, IGNORED, self.judged[numbers]),
        }

    def _pair(self, number: int) -> list[tuple[Any, Any]]:
        if number < 0:
            return [(None, None)] * 2
        other = self._other(number)
        # each by itself: what is not its own must not cut the prompt of what is
        return [*self._predicted(number, self._answers(number)), *self._predicted(number, self._answers(other))]

    def _other(self, number: int) -> int:
        """The next document with another prompt; the next one where all that are looked at have the same."""
        own, count = self.rows.tokens("prompt", number), len(self)
        for step in range(1, min(NEIGHBOURS, count)):
            if not np.array_equal(self.rows.tokens("prompt", (number + step) % count), own):
                return (number + step) % count
        return (number + 1) % count


class Compared(_Answers):
    """A prompt with a chosen and with a rejected answer, as whole texts; `margins` where there are some."""

    whole = True

    def __init__(self, pack: Pack, split: str, length: int) -> None:
        super().__init__(pack, split, length)
        self.margins = self.rows.numbers("margin").astype(np.float32) if self.rows.has("margin") else None

    def read(self, numbers: Integers) -> Arrays:
        """`tokens`, `documents` (rows, 2, length): chosen, rejected; `margins` (rows,), `weights` where there are some."""
        made = [row for number in numbers.tolist() for row in (self._scored(number) if number >= 0 else [None, None])]
        found = self._row_facts(numbers)
        found |= {name: values.reshape(len(numbers), 2, -1) for name, values in self._padded(made).items()}
        if self.margins is not None:
            found["margins"] = np.where(numbers < 0, np.float32(0), self.margins[numbers])
        return found


class Outcomes(_Answers):
    """A prompt with an answer, as a whole text, and whether the answer is right.

    Args:
        pack: The token shards.
        split: Which split.
        length: Most tokens of a row.
        good: Of each of the pack's labels, whether it is that of a right answer.
    """

    whole, roles_of_answers = True, SINGLE

    def __init__(self, pack: Pack, split: str, length: int, *, good: Sequence[bool]) -> None:
        super().__init__(pack, split, length)
        self.judged = _judged(self.rows.labels(), good)

    def read(self, numbers: Integers) -> Arrays:
        """`tokens`, `documents` (rows, length), `labels` (rows,) 1, 0 or -100, `weights` where there are some."""
        made = [self._scored(number)[0] if number >= 0 else None for number in numbers.tolist()]
        labels = np.where(numbers < 0, IGNORED, self.judged[numbers])
        return {**self._row_facts(numbers), **self._padded(made), "labels": labels}
