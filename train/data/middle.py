"""Documents whose middle is to be filled in: prefix, suffix, then the middle (Bavarian et al. 2022).

    start  <prefix> a <suffix> c <middle> b  end            most of them ("PSM")
    start  <prefix> <suffix> c <middle> a b  end            a share, the suffix first ("SPM", as in StarCoder)

a, b and c are a document's tokens, or those of its part in a window, cut at two places drawn from all: so a cut may go
through a word. The three new tokens take the place of the last ones of the suffix, and so does the end of a part of which
the window has not the end; lengths, and what else a batch says of its places, stay. All new tokens are targets.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from curate.train.data.batch import IGNORED

__all__ = ["FillTokens", "rearranged"]

Integers = NDArray[np.int64]


class FillTokens(NamedTuple):
    """The special tokens that stand before each part, that begin a document, and that end it."""

    prefix: int
    suffix: int
    middle: int
    start: int
    end: int


def rearranged(
    tokens: Integers,
    targets: Integers,
    draws: NDArray[np.float64],
    *,
    share: float,
    suffix_first: float,
    special: FillTokens,
) -> tuple[Integers, Integers]:
    """Tokens and targets of windows, with the middle of some documents put last.

    Args:
        tokens: (rows, length), as `Windows` reads them.
        targets: The next tokens.
        draws: (rows, 4 * length) in [0, 1): four for each place at which a document may begin.
        share: Of the documents whose middle is put last.
        suffix_first: Share of these with the suffix before the prefix.
        special: The tokens that say which part is which.
    """
    tokens, targets = tokens.copy(), targets.copy()
    for row in range(len(tokens)):
        filled = int((targets[row] != IGNORED).sum())  # those that do not count stand at the end
        ends = (np.flatnonzero(targets[row, :filled] == special.end) + 1).tolist()
        begin = 0
        for end in [*ends, *([] if ends and ends[-1] == filled else [filled])]:
            drawn = draws[row, 4 * begin : 4 * begin + 4]
            if end > begin and drawn[0] < share:
                text = targets[row, begin : end - int(targets[row, end - 1] == special.end)]
                made = _moved(text, end - begin, drawn, suffix_first, special)
                if made is not None:
                    tokens[row, begin:end] = [special.start, *made[:-1]]
                    targets[row, begin:end] = made
            begin = end
    return tokens, targets


def _moved(
    text: Integers, size: int, drawn: NDArray[np.float64], suffix_first: float, special: FillTokens
) -> Integers | None:
    """The `size` targets of a document; None where it is too short for its special tokens."""
    room = size - 4
    if room < 1:
        return None
    a, b = sorted(int(number * (room + 1)) for number in drawn[1:3])
    first, middle, last = text[:a], text[a:b], text[b:room]
    if drawn[3] < suffix_first:
        parts = [[special.prefix, special.suffix], last, [special.middle], first, middle, [special.end]]
    else:
        parts = [[special.prefix], first, [special.suffix], last, [special.middle], middle, [special.end]]
    return np.concatenate([np.asarray(part, dtype=np.int64) for part in parts])
