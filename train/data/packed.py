"""Conversations packed into rows, for supervised fine-tuning.

Conversations are sorted by length, and each goes into the fullest row that still has room for it (best-fit decreasing;
Johnson 1973: at most 11/9 of the fewest rows that are possible, plus one). No conversation is torn in two, and attention
and positions stay inside each. The rows are a function of the lengths alone; finding them takes about 1 s for a million
conversations, reading a row of 1024 tokens about 0.1 ms.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curate.tokenize.fields import MESSAGES
from curate.tokenize.pack import Pack
from curate.train.data.batch import IGNORED, Arrays, filled

__all__ = ["Packed", "best_fit"]

Integers = NDArray[np.int64]


class Packed:
    """Rows of whole conversations; targets are what the assistant says.

    A conversation that is longer than a row is cut at its end, and counted.

    Args:
        pack: The token shards.
        split: Which split.
        length: Most tokens of a row.
        alone: Each conversation has a row of its own, for models that cannot keep several apart.

    Raises:
        CurateError: The split is not there or has no conversations.
    """

    def __init__(self, pack: Pack, split: str, length: int, *, alone: bool = False) -> None:
        self.documents, self.length, self.padding = pack.rows(split), length, pack.roles["padding"]
        # the last token of a conversation is a target only
        wanted = self.documents.lengths(MESSAGES) - 1
        self.cut = int((wanted > length).sum())
        self.sizes = np.minimum(wanted, length)
        self.rows = [[number] for number in range(len(self.sizes))] if alone else best_fit(self.sizes, length)
        has_weight = self.documents.has("weight")
        self.weights = self.documents.numbers("weight").astype(np.float32) if has_weight else None

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, numbers: Integers) -> Arrays:
        """`tokens`, `targets`, `documents`, `positions` (rows, length), and `weights` of targets where there are some."""
        rows = [self.rows[number] if number >= 0 else [] for number in numbers.tolist()]
        parts = [[self._part(one, nth) for nth, one in enumerate(row)] for row in rows]
        fills = {"tokens": self.padding, "targets": IGNORED, "documents": -1, "positions": 0}
        found: Arrays = {"numbers": numbers}
        for place, (name, value) in enumerate(fills.items()):
            joined = [np.concatenate([part[place] for part in row]) if row else None for row in parts]
            found[name] = filled(joined, value=value, most=self.length)
        if self.weights is not None:
            # of the conversation that each place belongs to
            members = filled([np.array(row, dtype=np.int64) for row in rows], value=0)
            chosen = np.take_along_axis(members, np.maximum(found["documents"], 0), axis=1)
            found["weights"] = self.weights[chosen]
        return found

    def difficulty(self) -> NDArray[np.float64]:
        """(rows,): mean over a row's tokens of their conversations' difficulty.

        Raises:
            CurateError: No column says so.
        """
        given = self.documents.numbers("difficulty")
        sizes = np.maximum(self.sizes, 1)
        return np.array([(given[row] * sizes[row]).sum() / sizes[row].sum() for row in self.rows])

    def _part(self, number: int, nth: int) -> tuple[Integers, Integers, Integers, Integers]:
        """Tokens, targets, documents and positions of a conversation, the `nth` of its row."""
        size = int(self.sizes[number])
        tokens = self.documents.tokens(MESSAGES, number)[: size + 1]
        said = self.documents.mask(MESSAGES, number)[1 : size + 1]
        targets = np.where(said, tokens[1:], IGNORED)
        return tokens[:-1], targets, np.full(size, nth, dtype=np.int64), np.arange(size)


def best_fit(sizes: Integers, room: int) -> list[list[int]]:
    """Which items go together: each row's items, in the order in which they were put there.

    Args:
        sizes: Of the items; none is larger than `room`.
        room: Of a row.
    """
    rows: list[list[int]] = []
    by_room: list[list[int]] = [[] for _ in range(room + 1)]
    there = 0  # bit r is set where a row has room for r more
    for item in np.argsort(-sizes, kind="stable").tolist():
        size = int(sizes[item])
        fits = there >> size
        if fits:
            left = size + (fits & -fits).bit_length() - 1
            row = by_room[left].pop()
            there &= ~(0 if by_room[left] else 1 << left)
            rows[row].append(item)
        else:
            left, row = room, len(rows)
            rows.append([item])
        by_room[left - size].append(row)
        there |= 1 << (left - size)
    return rows
