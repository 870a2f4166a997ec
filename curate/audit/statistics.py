"""The size of documents: characters, words, lines and bytes, counted on the buffers of whole columns.

Cost: about 130 MB per CPU second (benchmarks/stages.py); white space beyond ASCII (such as no-break spaces) costs more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from curate.stages.contract import Audit

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

__all__ = ["TextStatistics"]

WORD = r"[^\x09-\x0d\x1c-\x20\x{85}\p{Z}]+"
"""What `str.split` makes."""
WIDE_SPACE = r"[\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}]"
SPACE_BYTES = (*range(0x09, 0x0E), *range(0x1C, 0x21))


class TextStatistics(Audit):
    """Counts the characters, words, lines and bytes of documents."""

    def columns(self) -> Sequence[str]:
        """Nothing but the text."""
        return ()

    def open(self) -> Callable[[pa.Table], pa.Table]:
        """Measures `characters` (code points), `words` (runs without white space), `lines` and `bytes` (of UTF-8).

        Lines end in a line feed; a last line without one counts.
        """
        import pyarrow as pa
        import pyarrow.compute as compute

        def measure(batch: pa.Table) -> pa.Table:
            texts = pa.concat_arrays(batch.column("text").chunks) if batch.num_rows else pa.array([], pa.string())
            words, lines = _count(texts)
            wide = compute.match_substring_regex(texts, WIDE_SPACE)
            words[wide.to_numpy(zero_copy_only=False)] = compute.count_substring_regex(texts.filter(wide), WORD)
            columns = {
                "characters": compute.utf8_length(texts),
                "words": pa.array(words),
                "lines": pa.array(lines),
                "bytes": compute.binary_length(texts),
            }
            return pa.table({name: column.cast(pa.int64()) for name, column in columns.items()})

        return measure


def _count(texts: pa.StringArray) -> tuple[np.ndarray, np.ndarray]:
    """The words of each text, as if only ASCII had white space, and the lines."""
    import numpy as np

    _, offset_buffer, data_buffer = texts.buffers()
    offsets = (
        np.frombuffer(offset_buffer, np.int32, len(texts) + 1, texts.offset * 4) if len(texts) else np.zeros(1, int)
    )
    data = (
        np.frombuffer(data_buffer, np.uint8, offsets[-1] - offsets[0], offsets[0])
        if offsets[-1]
        else np.zeros(0, np.uint8)
    )
    offsets = offsets - offsets[0]
    is_space = np.zeros(256, bool)
    is_space[list(SPACE_BYTES)] = True
    space = is_space[data]
    starts = ~space
    starts[1:] &= space[:-1]
    filled = np.flatnonzero(np.diff(offsets))
    first = offsets[filled]
    starts[first] = ~space[first]
    ends = data == ord("\n")
    lines = _sums(ends, offsets)
    lines[filled] += ~ends[offsets[filled + 1] - 1]
    return _sums(starts, offsets), lines


def _sums(flags: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    import numpy as np

    total = np.concatenate([[0], np.cumsum(flags, dtype=np.int64)])
    return total[offsets[1:]] - total[offsets[:-1]]
