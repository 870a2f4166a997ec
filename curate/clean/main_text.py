"""Which blocks of a page are its main text: a linear model of what they look like, where they stand and what is around them.

Weights are in main_text.tsv, made by `benchmarks/main_text.py`, which says how good they are on pages of other sites. Nothing
in them is of one language: lengths, links, punctuation, element names, parts of class names, order, repetition.
Each quantity is cut at some edges; a weight stands for "more than this edge".
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import numpy as np
import numpy.typing as npt

from curate.clean.page_blocks import BITS, MARKS, Page, pruned, read_blocks

__all__ = ["AROUND", "EDGES", "Floats", "Looks", "Weights", "living", "logits", "look", "main_markup", "shipped"]

Floats = npt.NDArray[np.float64]

LEAST = 0.2
"""What is kept of a page is believed if it is at least this part of its running text."""
LEVELS = 5
"""How many elements upwards from a block's own are looked at."""
SHARES = (0.0, 0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)
FLAG = (0.5,)
CORES = (0.5, 0.7, 0.9)
"""The core of a page is the smallest element that has so much of its running text."""
EDGES: Mapping[str, Sequence[float]] = {
    "characters": (5, 10, 20, 30, 45, 60, 80, 110, 150, 200, 300, 500, 900),
    "linked": (0, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9, 0.99),
    "words": (1, 2, 3, 5, 8, 12, 20),
    "sentences": (0, 1, 2, 4),
    "commas": (0, 1, 3),
    "finished": FLAG,
    "capitals": (0.0, 0.04, 0.08, 0.15, 0.3, 0.6),
    "digits": (0.0, 0.05, 0.15, 0.3),
    "quoted": FLAG,
    "piped": FLAG,
    **{f"share{level}": SHARES for level in range(LEVELS)},
    **{f"linked{level}": (0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9) for level in range(LEVELS)},
    **{f"blocks{level}": (1, 2, 3, 5, 10, 20, 50) for level in range(LEVELS)},
    **{f"repeats{level}": (1, 2, 4, 8) for level in range(LEVELS - 1)},
    **{f"teasers{level}": (1, 2, 4) for level in range(LEVELS - 1)},
    **{f"below{core}": (-0.5, 0.5, 1.5, 2.5, 4.5) for core in CORES},
    **{f"place{core}": (-0.01, 0.05, 0.15, 0.5, 0.8, 0.9, 0.95, 0.9999) for core in CORES},
    "before": (0, 0.03, 0.1, 0.3, 0.6, 0.9, 0.97, 0.999),
    "after": (0, 0.03, 0.1, 0.3, 0.6, 0.9, 0.97, 0.999),
    "title": (0.3, 0.6, 0.9),
    "behind_h1": (-0.5, 0.5, 3.5, 8.5),
    "seen": FLAG,
    "twice": FLAG,
    "alike": (0, 0.05, 0.2, 0.5, 0.8),
    "siblings": (0, 0.05, 0.2, 0.5, 0.8),
    **{
        f"{what}{step:+d}": edges
        for step in (-2, -1, 1, 2)
        for what, edges in (("characters", (20, 60, 150)), ("linked", (0.2, 0.7)), ("finished", FLAG))
    },
}
CUTS = {name: np.array(edges, float) for name, edges in EDGES.items()}
AROUND = ("own", "near", "far", "inner")
"""Marks of the block's element, of the two around it, of all around it, and of those with less than half of the text."""

STOPS = ".!?\u2026\u3002\uff01\uff1f"
QUOTES = "\"'\u201d\u2019)"
COMMAS = ",\u3001\uff0c"
OPENING = "\"'\u201c\u2018\u00ab"
LOOKED_AT = 100
"""So many characters of a block say how many capitals and digits it has."""
WORD = re.compile(r"\w+")
READERS = BITS["comment"] | BITS["disqus"]


def living(page: Page, *, comments: bool) -> list[int]:
    """The numbers of the blocks that can be main text: seen, no markup in a text, and no readers' comments unless wanted."""
    headed = [False] * len(page.tags)
    for element in range(len(page.tags) - 1, 0, -1):
        headed[element] = (
            headed[element]
            or page.tags[element] in ("h1", "body", "html", "article")
            or bool(page.marks[element] & BITS["articlebody"])
        )
        headed[page.parents[element]] |= headed[element]
    dead = [False] * len(page.tags)
    for element in range(1, len(page.tags)):
        marks = page.marks[element]
        readers = not comments and marks & READERS and not headed[element] and page.tags[element] != "p"
        unseen = marks & BITS["unseen"] and page.tags[element] not in ("html", "body")
        dead[element] = dead[page.parents[element]] or bool(readers or unseen)
    return [place for place, block in enumerate(page.blocks) if not dead[block.element] and block.text[0] != "<"]


def main_markup(source: str, *, comments: bool) -> str | None:
    """The markup of a page with its main text alone; None where the model finds none, or too little to be believed.

    Args:
        source: The markup of a whole page.
        comments: Whether readers' comments can be main text.
    """
    page = read_blocks(source)
    places = living(page, comments=comments)
    if not places:
        return None
    looks = look(page, places)
    kept = logits(looks, shipped()) > 0
    if looks.running[kept].sum() < LEAST * looks.running.sum() or not kept.any():
        return None
    return pruned(page, [place for place, keep in zip(places, kept.tolist(), strict=True) if keep])


class _Tree:
    """The elements of a page, each before all that is in it: `behind` is the first that is not, `depth` how deep it is."""

    def __init__(self, parents: Sequence[int], elements: Sequence[int]) -> None:
        depth, behind = [0] * len(parents), list(range(1, len(parents) + 1))
        for element in range(1, len(parents)):
            depth[element] = depth[parents[element]] + 1
        for element in range(len(parents) - 1, 0, -1):
            if behind[element] > behind[parents[element]]:
                behind[parents[element]] = behind[element]
        self.parents, self.elements = np.array(parents), np.array(elements)
        self.depth, self.behind = np.array(depth), np.array(behind)

    def within(self, values: Floats) -> Floats:
        """What the blocks of each element and of all elements in it have of something."""
        sums = np.append(0.0, np.cumsum(np.bincount(self.elements, values, len(self.parents))))
        return sums[self.behind] - sums[:-1]


@dataclass(frozen=True)
class Looks:
    """What blocks are like.

    `told` has for each key of `EDGES` a number for each block, `marks` the marks around each as `AROUND` has them, `running`
    how many of its characters are running text.
    """

    told: Mapping[str, Floats]
    marks: Sequence[tuple[int, ...]]
    running: Floats


def look(page: Page, places: Sequence[int]) -> Looks:
    """What the blocks at these places are like."""
    blocks = [page.blocks[place] for place in places]
    tree = _Tree(page.parents, [block.element for block in blocks])
    told = _of_texts([block.text for block in blocks], np.array([block.linked for block in blocks], float))
    counts = (told["characters"] >= 60) & (told["linked"] < 0.4) & ((told["sentences"] > 0) | (told["commas"] > 1))
    running = told["characters"] * counts
    total = max(1.0, float(running.sum()))
    share = tree.within(running) / total
    told |= _of_levels(page, tree, told, share)
    for core in CORES:
        told |= _of_core(page, tree, share, core)
    before = np.cumsum(running) - running
    told["before"], told["after"] = before / total, (total - before - running) / total
    told |= _of_page(page, tree, [block.text for block in blocks], running / total)
    for step in (-2, -1, 1, 2):
        for what in ("characters", "linked", "finished"):
            moved = np.zeros(len(blocks))
            if step < 0:
                moved[-step:] = told[what][:step]
            else:
                moved[:-step] = told[what][step:]
            told[f"{what}{step:+d}"] = moved
    return Looks(told, _marks_around(page, places, share.tolist()), running)


def _of_texts(texts: Sequence[str], linked: Floats) -> dict[str, Floats]:
    """What can be told from a text alone."""
    joined = "\n".join([*texts, ""])
    codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32)
    lengths = np.array([len(text) for text in texts])
    ends = np.cumsum(lengths + 1) - 1
    starts = ends - lengths
    looked = np.minimum(starts + LOOKED_AT, ends)

    def some(which: npt.NDArray[np.bool_], until: npt.NDArray[np.int64]) -> Floats:
        counts = np.concatenate([[0], np.cumsum(which)])
        return (counts[until] - counts[starts]).astype(float)

    blank, stops = (codes == 32) | (codes == 10), _any_of(codes, STOPS)
    quotes = _any_of(codes, QUOTES)
    behind = np.append((blank | quotes)[1:], True)
    last, first = codes[ends - 1], codes[starts]
    return {
        "characters": lengths.astype(float),
        "linked": np.minimum(1, linked / lengths),
        "words": some(codes == 32, ends) + 1,
        "sentences": some(stops & behind, ends),
        "commas": some(_any_of(codes, COMMAS), ends),
        "finished": (_any_of(last, STOPS + QUOTES + ":;")).astype(float),
        "capitals": some((codes >= 65) & (codes <= 90), looked) / (looked - starts),
        "digits": some((codes >= 48) & (codes <= 57), looked) / (looked - starts),
        "quoted": _any_of(first, OPENING).astype(float),
        "piped": np.minimum(1, some(codes == ord("|"), ends)),
    }


def _any_of(codes: npt.NDArray[np.uint32], characters: str) -> npt.NDArray[np.bool_]:
    """Which characters are one of these."""
    found = codes == ord(characters[0])
    for character in characters[1:]:
        found |= codes == ord(character)
    return found


def _of_levels(page: Page, tree: _Tree, told: Mapping[str, Floats], share: Floats) -> dict[str, Floats]:
    """What the elements around are like, one after the other upwards."""
    characters = np.maximum(1, tree.within(told["characters"]))
    linked = tree.within(np.rint(told["characters"] * told["linked"])) / characters
    blocks = tree.within(np.ones(len(tree.elements)))
    heading = np.array([page.tags[element] in ("h2", "h3", "h4", "h5") for element in tree.elements.tolist()], bool)
    heading |= (told["linked"] > 0.8) & (told["words"] > 3)
    headings = tree.within(heading.astype(float))
    kinds = list(zip(page.parents, page.tags, page.marks, strict=True))
    number = Counter(kind for kind in kinds if kind[1] != "p")
    repeats = np.array([number[kind] for kind in kinds], float)
    repeats[0] = 0
    element, made = tree.elements, dict[str, Floats]()
    for level in range(LEVELS):
        made[f"share{level}"] = share[element]
        made[f"linked{level}"] = linked[element]
        made[f"blocks{level}"] = blocks[element]
        if level < LEVELS - 1:
            made[f"repeats{level}"] = repeats[element]
            made[f"teasers{level}"] = repeats[element] * (headings[element] > 0)
        element = np.maximum(tree.parents[element], 0)
    return made


def _of_core(page: Page, tree: _Tree, share: Floats, core: float) -> dict[str, Floats]:
    """How far below the core a block is (-1: outside), and how far on within it."""
    inner = 0
    for element in np.flatnonzero(share >= core).tolist():
        if page.parents[element] == inner:
            inner = element
    below = (tree.depth - tree.depth[inner])[tree.elements].astype(float)
    below[(tree.elements < inner) | (tree.elements >= tree.behind[inner])] = -1
    inside = np.flatnonzero(below >= 0)
    place = np.zeros(len(below))
    if len(inside):
        place = (np.arange(len(below)) - inside[0]) / max(1, inside[-1] - inside[0])
    return {f"below{core}": below, f"place{core}": np.clip(place, -0.1, 1.1)}


def _of_page(page: Page, tree: _Tree, texts: Sequence[str], running: Floats) -> dict[str, Floats]:
    """Titles, what stands there twice, and blocks of the same kind."""
    title = set(WORD.findall(page.title.lower()))
    words = [set(WORD.findall(text.lower())) if len(text) < 250 else set[str]() for text in texts]
    elements = tree.elements.tolist()
    first = next((place for place, element in enumerate(elements) if page.tags[element] == "h1"), None)
    number, before, seen = Counter(texts), set[str](), list[bool]()
    for text in texts:
        seen.append(text in before)
        before.add(text)
    kinds, kin = [(page.tags[element], page.marks[element]) for element in elements], Counter[object]()
    above = [page.parents[element] for element in elements]
    family = Counter[int]()
    for kind, parent, amount in zip(kinds, above, running.tolist(), strict=True):
        kin[kind] += amount
        family[parent] += amount
    return {
        "title": np.array([len(title & some) / max(1, len(some)) for some in words], float),
        "behind_h1": np.full(len(texts), -1.0) if first is None else np.maximum(0.0, np.arange(len(texts)) - first),
        "seen": np.array(seen, float),
        "twice": np.array([number[text] > 1 for text in texts], float),
        "alike": np.array([kin[kind] for kind in kinds]) - running,
        "siblings": np.array([family[parent] for parent in above]) - running,
    }


def _marks_around(page: Page, places: Sequence[int], shares: Sequence[float]) -> list[tuple[int, ...]]:
    """For each block the marks of the elements that `AROUND` says."""
    parents = page.parents
    everywhere, inner = list(page.marks), [0] * len(parents)
    for element in range(1, len(parents)):
        above = parents[element]
        everywhere[element] |= everywhere[above]
        inner[element] = 0 if shares[element] >= 0.5 else inner[above] | page.marks[element]
    made = list[tuple[int, ...]]()
    for place in places:
        own = page.blocks[place].element
        one = max(0, parents[own])
        two = max(0, parents[one])
        made.append((page.marks[own], page.marks[one] | page.marks[two], everywhere[one], inner[own]))
    return made


@dataclass(frozen=True)
class Weights:
    """The model: where none is more than an edge, for each edge, and for the marks of each kind."""

    bias: float
    edges: Mapping[str, Floats]
    marks: Mapping[str, Sequence[float]]

    @classmethod
    def of(cls, table: Mapping[str, float]) -> Weights:
        """From `bias`, `QUANTITY>EDGE` and `AROUND:MARK`; what is not there is 0."""
        return cls(
            table["bias"],
            {
                name: np.cumsum([0.0, *(table.get(f"{name}>{edge}", 0.0) for edge in edges)])
                for name, edges in EDGES.items()
            },
            {around: [table.get(f"{around}:{mark}", 0.0) for mark in MARKS] for around in AROUND},
        )


@lru_cache(maxsize=1)
def shipped() -> Weights:
    """The weights of the package."""
    lines = (files("curate.clean") / "main_text.tsv").read_text("utf-8").splitlines()
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    return Weights.of({name: float(weight) for name, weight in rows})


def logits(looks: Looks, weights: Weights) -> Floats:
    """How sure it is that the blocks are main text: the logarithm of the odds."""
    made = np.full(len(looks.marks), weights.bias)
    for name, values in looks.told.items():
        made += weights.edges[name][CUTS[name].searchsorted(values)]
    known = dict[tuple[int, ...], float]()
    for row, around in enumerate(looks.marks):
        if around not in known:
            known[around] = sum(_marked(weights.marks[name], marks) for name, marks in zip(AROUND, around, strict=True))
        made[row] += known[around]
    return made


def _marked(weights: Sequence[float], marks: int) -> float:
    """The sum of the weights of the marks that are set."""
    total = 0.0
    while marks:
        lowest = marks & -marks
        total += weights[lowest.bit_length() - 1]
        marks ^= lowest
    return total
