"""Words that tell no topic: spaCy's stop words of 76 languages, of those that some texts are in.

Which languages these are the lists tell themselves: of the different words of an English text more than a third stand in the
English list, and a few in any other. A list of a language that is not there would take words from those that are (German `war`,
`die`). Cost: 60 CPU milliseconds to read the lists, as files: to import spaCy's languages takes a hundred times that.
"""

from __future__ import annotations

import runpy
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["function_words", "spoken"]

LEAST, BESIDE = 0.1, 0.5
"""Share of different words that a language's list has at least; and that it has of the share of the first."""


@cache
def function_words() -> Mapping[str, frozenset[str]]:
    """The stop words of each language, by spaCy's code, in lower case."""
    package = find_spec("spacy")
    folders = package.submodule_search_locations if package else None
    assert folders, "spaCy is installed with curate"
    return {
        path.parent.name: frozenset(word.lower() for word in runpy.run_path(str(path))["STOP_WORDS"])
        for path in sorted((Path(folders[0]) / "lang").glob("*/stop_words.py"))
    }


def spoken(words: Sequence[str], often: NDArray[np.int64]) -> frozenset[str]:
    """The stop words of the languages that texts are in.

    Args:
        words: The different words.
        often: In how many of the texts each stands.
    """
    place, whole = {word: number for number, word in enumerate(words)}, max(int(often.sum()), 1)
    shares = {
        language: int(often[[place[word] for word in sorted(listed) if word in place]].sum()) / whole
        for language, listed in function_words().items()
    }
    least = max(LEAST, BESIDE * max(shares.values(), default=0.0))
    return frozenset().union(*(function_words()[name] for name, share in shares.items() if share >= least))
