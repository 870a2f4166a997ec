"""A split's text, cut into windows for language models.

A split is one stream of tokens, documents after each other, each followed by the end-of-text token. It is cut into
windows of `length` targets; the inputs are the tokens one before. Before a document stands the tokenizer's start token
(Llama's `<s>`, BERT's `[CLS]`) in the place of the end of text, which is that token where there is no other.
So every token of the split is a target exactly once in an epoch, and the first token of a document is predicted from a
start. The last window is filled up with targets that do not count.

With `document_mask` a batch says which document a position belongs to, which is that of its target: the start token
before a document is its first input. Positions count from there, or from the window's beginning. Without, attention
may look across documents, as in GPT-2. A window costs about 0.02 ms.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curate.tokenize.pack import Pack
from curate.train.data.batch import IGNORED, Arrays

__all__ = ["Windows"]

Integers = NDArray[np.int64]
TEXT = "text"


class Windows:
    """A split's tokens, cut into windows; the shards are mapped into memory, not read.

    Args:
        pack: The token shards.
        split: Which split.
        length: Targets in a window.
        document_mask: Batches say where documents are.

    Raises:
        CurateError: The split is not there or has no tokens.
    """

    def __init__(self, pack: Pack, split: str, length: int, *, document_mask: bool = True) -> None:
        self.rows = pack.rows(split)
        self.stream = self.rows.stream(TEXT)
        self.length, self.tokens, self.end_of_text = length, len(self.stream), pack.end_of_text
        self.start = pack.roles["start"]
        self.document_mask, self.cut = document_mask, 0
        self.weights = self.rows.numbers("weight").astype(np.float32) if self.rows.has("weight") else None

    def __len__(self) -> int:
        return -(-self.tokens // self.length)

    def read(self, numbers: Integers) -> Arrays:
        """Tokens and targets, (len(numbers), length) each, and what the pack has of documents, positions and weights."""
        starts = numbers * self.length
        stops = np.where(numbers < 0, starts, np.minimum(starts + self.length, self.tokens))
        tokens = np.full((len(numbers), self.length), self.end_of_text, dtype=np.int64)
        targets = np.full_like(tokens, IGNORED)
        for row, (start, stop) in enumerate(zip(starts.tolist(), stops.tolist(), strict=True)):
            if start >= stop:
                continue
            # from the token before the first target, where there is one
            read = self.stream.tokens(max(start - 1, 0), stop)
            targets[row, : stop - start] = read[int(start > 0) :]
            tokens[row, int(start == 0) : stop - start] = read[:-1]
        # a text cannot spell the end of text: where it stands, a document has ended and the next one begins
        tokens[tokens == self.end_of_text] = self.start
        found: Arrays = {"tokens": tokens, "targets": targets, "numbers": numbers}
        if not self.document_mask and self.weights is None:
            return found
        first, places, begins = self._documents(starts, stops)
        if self.document_mask:
            inside = np.arange(self.length) < (stops - starts)[:, None]
            here = np.arange(self.length)
            found["documents"] = np.where(inside, places, -1)
            found["positions"] = np.where(inside, here - np.maximum.accumulate(np.where(begins, here, 0), axis=1), 0)
        if self.weights is not None:
            known = np.minimum(first[:, None] + places, len(self.weights) - 1)
            found["weights"] = self.weights[known]
        return found

    def difficulty(self) -> NDArray[np.float64]:
        """(windows,): mean over a window's targets of their documents' difficulty.

        Raises:
            CurateError: No column says so.
        """
        given, ends = self.rows.numbers("difficulty"), self.stream.ends
        sums = np.concatenate([[0.0], np.cumsum(given * self.stream.lengths)])
        borders = np.minimum(np.arange(len(self) + 1) * self.length, self.tokens)
        # all of the documents that have ended, and of the one that has not what is left of the border
        document = np.minimum(np.searchsorted(ends, borders, side="right"), len(ends) - 1)
        until = sums[document + 1] - (ends[document] - borders) * given[document]
        return np.diff(until) / np.diff(borders)

    def _documents(self, starts: Integers, stops: Integers) -> tuple[Integers, Integers, NDArray[np.bool_]]:
        """Of each window the number of its first document, (rows,).

        Of each place how many documents after that one it is, and whether a document begins there, (rows, length).
        """
        ends = self.stream.ends
        first = np.searchsorted(ends, starts, side="right")
        # documents that end before the window's last target, so that another begins inside
        counts = np.maximum(np.searchsorted(ends, stops - 1, side="right") - first, 0)
        rows = np.repeat(np.arange(len(starts)), counts)
        nth = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        begins = np.zeros((len(starts), self.length), dtype=bool)
        begins[rows, ends[first[rows] + nth] - starts[rows]] = True
        return first, np.cumsum(begins, axis=1), begins
