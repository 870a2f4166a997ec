"""The English tokens of texts, from a table of the chunks between whitespace: compiled code over an Arrow UTF-8 buffer.

spaCy splits at whitespace first and looks at each chunk by itself, so a table chunk -> tokens gives the very same tokens,
and spaCy is asked only for chunks not seen before, all new ones of a batch together, a line for each.

The one exception: spaCy's special cases (emoticons, contractions) are also looked for across a single space. One that lies
across a space is never applied, but where it overlaps with one that lies within a chunk next to this space, that one may
not be applied either. So a text is given to spaCy whole if next to a single space there is a chunk that a special case was
applied within (`touchy`), and around the space a special case could lie.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from curate.stages.strings import Strings, add_string, find_string, longer

__all__ = ["BREAK", "ONE_SPACE", "Chunks", "count_sentences", "expand", "find_touchy", "space_width"]

ONE_SPACE, BREAK, WIDE = 1, 2, 3
"""What lies before a chunk: one space, whitespace with a line feed, other whitespace; 0 at the begin of a text."""


class Chunks:
    """The chunks seen so far, and the tokens of each.

    Attributes:
        strings: The chunks.
        starts: Where the tokens of each begin in `tokens`, and behind the last one the end (int64).
        tokens: Numbers of tokens (int32).
        touchy: Whether a special case was applied within (bool).
    """

    def __init__(self) -> None:
        self.strings = Strings()
        self.starts, self.tokens, self.touchy = np.zeros(1, np.int64), np.empty(0, np.int32), np.empty(0, np.bool_)

    def look_up(self, data: np.ndarray, bounds: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Chunks of some texts: their numbers (int32), what lies before each (uint8), where each text's begin (int64).

        New ones get numbers, and have no tokens yet.
        """
        size = (int(bounds[-1]) - int(bounds[0])) // 2 + len(bounds)
        chunks, gaps, firsts = np.empty(size, np.int32), np.empty(size, np.uint8), np.zeros(len(bounds), np.int64)
        state = np.array([0, bounds[0], 0, 0, 0], np.int64)
        strings = self.strings
        while True:
            strings.count = _look_up(
                data, bounds, state, strings.count, strings.data, strings.starts, strings.table,
                chunks, gaps, firsts,
            )  # fmt: skip
            if state[0] == len(bounds) - 1:
                return chunks[: state[3]], gaps[: state[3]], firsts
            strings.grow(int(state[4]))

    def learn(self, counts: np.ndarray, tokens: np.ndarray, touchy: np.ndarray) -> None:
        """Tokens of the new chunks, in their order: how many each has, their numbers, and whether it is touchy."""
        ends = np.cumsum(counts, dtype=np.int64) + self.starts[-1]
        self.starts = np.concatenate([self.starts, ends])
        self.tokens = np.concatenate([self.tokens, tokens])
        self.touchy = np.concatenate([self.touchy, touchy])


@njit(cache=True, nogil=True, forceinline=True)
def space_width(text, position, stop):  # noqa: ANN001, ANN201
    """Bytes of the whitespace character (as `str.isspace` has it) at a position; 0 where there is another one."""
    byte = text[position]
    if byte < 0x80:
        return 1 if byte == 0x20 or 9 <= byte <= 13 or 0x1C <= byte <= 0x1F else 0
    if byte == 0xC2:
        return 2 if text[position + 1] == 0x85 or text[position + 1] == 0xA0 else 0
    if byte < 0xE1 or byte > 0xE3 or position + 2 >= stop:
        return 0
    second, third = text[position + 1], text[position + 2]
    if byte == 0xE1:
        return 3 if second == 0x9A and third == 0x80 else 0
    if byte == 0xE3:
        return 3 if second == 0x80 and third == 0x80 else 0
    if second == 0x80:
        return 3 if third <= 0x8A or third == 0xA8 or third == 0xA9 or third == 0xAF else 0
    return 3 if second == 0x81 and third == 0x9F else 0


@njit(cache=True, nogil=True)
def _look_up(text, bounds, state, count, data, starts, table, chunks, gaps, firsts):  # noqa: ANN001, ANN202
    """Fill `chunks`, `gaps` and `firsts`, from where `state` says, until there is no room for a new chunk.

    `state`: text, position, gap before it, chunks so far, and at the end the bytes of a chunk without room.
    """
    document, position, gap, written = state[0], state[1], state[2], state[3]
    while document < len(bounds) - 1:
        stop = bounds[document + 1]
        while position < stop:
            width = space_width(text, position, stop)
            if width:
                first = text[position]
                if first == 0x0A:
                    gap = BREAK
                elif gap != BREAK:
                    gap = ONE_SPACE if gap == 0 and first == 0x20 else WIDE
                position += width
                continue
            begin, shift, first_word, second_word = position, np.uint64(0), np.uint64(0), np.uint64(0)
            while position < stop:
                byte = text[position]
                if (byte <= 0x20 or byte >= 0xC2) and space_width(text, position, stop):
                    break
                if shift < 64:
                    first_word |= np.uint64(byte) << shift
                else:
                    second_word |= np.uint64(byte) << (shift & np.uint64(63))
                shift += np.uint64(8)
                position += 1
            if position - begin > 15:
                first_word, second_word = longer(text, begin, position)
            else:
                second_word |= np.uint64(position - begin) << np.uint64(56)
            number = find_string(text, begin, position, first_word, second_word, data, starts, table)
            if number < 0:
                place = -1 - number
                if not add_string(text, begin, position, first_word, second_word, place, count, data, starts, table):
                    state[0], state[1], state[2], state[3], state[4] = document, begin, gap, written, position - begin
                    return count
                number = count
                count += 1
            chunks[written] = number
            gaps[written] = gap if written > firsts[document] else 0
            written += 1
            gap = 0
        gap = 0
        document += 1
        firsts[document] = written
    state[0], state[3] = document, written
    return count


@njit(cache=True, nogil=True)
def find_touchy(chunks, gaps, touchy):  # noqa: ANN001, ANN201
    """The places (int64) of chunks behind a single space that are touchy, or behind one that is."""
    count = 0
    for place in range(1, len(chunks)):
        count += gaps[place] == ONE_SPACE and (touchy[chunks[place]] or touchy[chunks[place - 1]])
    found = np.empty(count, np.int64)
    place = len(chunks)
    while count > 0:
        place -= 1
        if gaps[place] == ONE_SPACE and (touchy[chunks[place]] or touchy[chunks[place - 1]]):
            count -= 1
            found[count] = place
    return found


@njit(cache=True, nogil=True)
def expand(chunks, firsts, starts, tokens):  # noqa: ANN001, ANN201
    """The tokens of the chunks of each text (int32), and where each text's begin (int64)."""
    bounds = np.zeros(len(firsts), np.int64)
    total = 0
    for document in range(len(firsts) - 1):
        for place in range(firsts[document], firsts[document + 1]):
            total += starts[chunks[place] + 1] - starts[chunks[place]]
        bounds[document + 1] = total
    ids = np.empty(total, np.int32)
    written = 0
    for place in range(firsts[0], firsts[-1]):
        for token in range(starts[chunks[place]], starts[chunks[place] + 1]):
            ids[written] = tokens[token]
            written += 1
    return ids, bounds


@njit(cache=True, nogil=True)
def count_sentences(chunks, gaps, firsts, starts, tokens, flags):  # noqa: ANN001, ANN201
    """How many sentences each text has (int64), every line of it by itself; whitespace at the end of a line counts as none.

    A sentence begins with a line, and with the first token behind a stop mark that is no mark; whitespace but a single
    space is such a token, too.
    """
    spoken, stop = 4, 8
    sentences = np.zeros(len(firsts) - 1, np.int64)
    for document in range(len(firsts) - 1):
        count, stopped = 0, False
        for place in range(firsts[document], firsts[document + 1]):
            gap = gaps[place]
            if gap == 0 or gap == BREAK or (gap == WIDE and stopped):
                count += 1
                stopped = False
            for token in range(starts[chunks[place]], starts[chunks[place] + 1]):
                said = flags[tokens[token]]
                if said & stop:
                    stopped = True
                elif stopped and said & spoken:
                    count += 1
                    stopped = False
        sentences[document] = count
    return sentences
