"""ARPA files of random numbers over the n-grams of some texts."""

from __future__ import annotations

import random
from pathlib import Path


def write_arpa(
    path: Path, lines: list[str], *, order: int, unknown: bool = True, share: float = 0.6, seed: int = 0
) -> Path:
    """Write a model of a share of the n-grams of some lines; what begins and ends a known one is known."""
    drawn = random.Random(seed)
    known: list[set[tuple[str, ...]]] = [set() for _ in range(order)]
    for line in lines:
        words = ["<s>", *line.split(), "</s>"]
        for size in range(1, order + 1):
            known[size - 1] |= {tuple(words[at : at + size]) for at in range(len(words) - size + 1)}
    for size in range(2, order + 1):
        before = known[size - 2]
        some = sorted(one for one in known[size - 1] if one[1:] in before and one[:-1] in before)
        known[size - 1] = {one for one in some if drawn.random() < share}
    known[0] |= {("<unk>",)} if unknown else set()
    text = ["\\data\\", *(f"ngram {size}={len(some)}" for size, some in enumerate(known, 1)), ""]
    for size, some in enumerate(known, 1):
        text.append(f"\\{size}-grams:")
        for one in sorted(some):
            backoff = f"\t{-drawn.random():.6f}" if size < order and one[-1] != "</s>" else ""
            text.append(f"{-99 if one == ('<s>',) else -4 * drawn.random():.6f}\t{' '.join(one)}{backoff}")
        text.append("")
    path.write_text("\n".join([*text, "\\end\\", ""]), "utf-8")
    return path
