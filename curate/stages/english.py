"""What spaCy says of English chunks and texts, asked as seldom as can be.

Chunks of letters with a few marks around are told apart here (`plain`): of the new chunks of books that is three of four, of
technical text one of three. The rest goes to spaCy many at a time, a line for each: special cases are looked for across a
single space, never across a line. spaCy's string store grows with every new chunk, so it begins anew after 2 million
characters.
"""

from __future__ import annotations

import re
from hashlib import sha256
from itertools import pairwise
from typing import Any

import numpy as np

__all__ = ["BROKEN", "SpacyEnglish"]

BROKEN = "IS_ALPHA"
"""The one word that spaCy fails on (but once in a process): datatrove takes it out and tries again."""
_ASKED_CHARACTERS = 2_000_000
_RUNS = 10_000
_PIECES = re.compile(r"\s+|\S+")
_PLAIN = re.compile(r"""(["'(]?)([A-Za-z]+)((?:[,;:!?)]|(?<=[a-z])\.)?)(["')]?)""")
_KNOWN_PATTERNS = "da3f619948314220"
"""Hash of the patterns by which spaCy 3.8 takes English chunks apart: with others, plain chunks are asked for, too."""
_LONGEST = 10_000  # characters before a space that are looked at; no special case is longer than 14


class SpacyEnglish:
    """spaCy's tokenizer.

    Attributes:
        special: Its special cases.
    """

    def __init__(self) -> None:
        self._spacy = _spacy_tokenizer()
        self._asked = 0
        self.special = SpecialCases(self._spacy)
        self._runs: dict[str, bool] = {}

    def stop_marks(self) -> list[str]:
        """The marks behind which spaCy's sentencizer ends sentences."""
        from spacy.pipeline import Sentencizer

        return list(Sentencizer.default_punct_chars)

    def lengths(self, texts: list[str]) -> list[list[int]]:
        """The characters of each token of some chunks."""
        from spacy.attrs import LENGTH, ORTH

        if not texts:
            return []
        self._count(sum(map(len, texts)))
        cut = self._spacy("\n".join(texts)).to_array([LENGTH, ORTH])
        breaks = np.flatnonzero(cut[:, 1] == self._spacy.vocab.strings["\n"]).tolist()
        lengths = cut[:, 0].tolist()
        return [lengths[start + 1 : stop] for start, stop in pairwise([-1, *breaks, len(lengths)])]

    def _count(self, length: int) -> None:
        """A new spaCy, where this one has seen enough."""
        self._asked += length
        if self._asked > _ASKED_CHARACTERS:
            self._spacy, self._asked = _spacy_tokenizer(), length

    def whole(self, text: str) -> list[str]:
        """The tokens of a whole text."""
        self._count(len(text))
        found = [token.text for token in self._spacy(text)]
        if BROKEN in found:
            found = [token.text for token in self._spacy(text.replace(BROKEN, ""))]
        return [token for token in (one.strip() for one in found) if token]

    def crosses(self, text: str) -> bool:
        """Whether a special case could lie across a space of this text and changes the tokens around it."""
        start = stop = -1
        for match in self.special.candidates.finditer(text):
            space = match.end() - 1
            pairs = self.special.pairs.get(text[space - 1 : space + 2], ())
            if not any(text.endswith(left, 0, space) and text.startswith(right, space + 1) for left, right in pairs):
                continue
            if space != stop:
                if stop >= 0 and self._changes(text[start:stop]):
                    return True
                start = space - len(text[max(0, space - _LONGEST) : space].split()[-1])
            after = _PIECES.match(text, space + 1)
            stop = after.end() if after else space + 1
        return stop >= 0 and self._changes(text[start:stop])

    def _changes(self, run: str) -> bool:
        """Whether spaCy cuts these chunks otherwise together than one by one."""
        changes = self._runs.get(run)
        if changes is None:
            self._count(2 * len(run))
            together = [token.text for token in self._spacy(run)]
            changes = together != [token.text for chunk in run.split() for token in self._spacy(chunk)]
            if len(self._runs) > _RUNS:
                self._runs.clear()
            self._runs[run] = changes
        return changes


def _spacy_tokenizer() -> Any:
    import spacy

    tokenizer: Any = spacy.blank("en").tokenizer
    tokenizer.vocab.lex_attr_getters = {}  # attributes of words that nobody reads, and that cost half of the time
    return tokenizer


class SpecialCases:
    """spaCy's special cases.

    Attributes:
        tokens: All tokens that they make.
        candidates: A pattern for a space that one could lie across, after its left neighbour.
        pairs: The tokens of special cases before and behind such a space, by the three characters around it.
    """

    def __init__(self, tokenizer: Any) -> None:
        from spacy.tokenizer import Tokenizer

        plain = Tokenizer(
            tokenizer.vocab,
            prefix_search=tokenizer.prefix_search,
            suffix_search=tokenizer.suffix_search,
            infix_finditer=tokenizer.infix_finditer,
            token_match=tokenizer.token_match,
            url_match=tokenizer.url_match,
        )
        self.pairs: dict[str, list[tuple[str, str]]] = {}
        self._made: dict[str, set[tuple[str, ...]]] = {}
        self._rules = frozenset(tokenizer.rules)
        for case in tokenizer.rules:
            tokens = [token.text for token in plain(case) if not token.text.isspace()]
            made = tuple(token.text for token in tokenizer(case))
            if list(made) != tokens:
                self._made.setdefault(made[0], set()).add(made)
            for left, right in pairwise(tokens):
                known = self.pairs.setdefault(f"{left[-1]} {right[0]}", [])
                if (left, right) not in known:
                    known.append((left, right))
        self.tokens = list(self._made)
        searches = (tokenizer.prefix_search, tokenizer.suffix_search, tokenizer.infix_finditer, tokenizer.url_match)
        patterns = "\0".join(search.__self__.pattern for search in searches)
        self._known = sha256(patterns.encode()).hexdigest()[:16] == _KNOWN_PATTERNS
        before = re.escape("".join(sorted({around[0] for around in self.pairs})))
        after = re.escape("".join(sorted({around[2] for around in self.pairs})))
        self.candidates = re.compile(f"[{before}] (?=[{after}])")

    def plain(self, chunk: str) -> list[int] | None:
        """The characters of each token of a chunk that is ASCII letters with a few marks around; None of others.

        spaCy takes marks off one by one, and looks at each step whether what is left is a special case.
        """
        found = _PLAIN.fullmatch(chunk) if self._known else None
        if found is None:
            return None
        pieces = [piece for piece in found.groups() if piece]
        if len(pieces) == 1:
            return None if chunk in self._rules else [len(chunk)]
        for start in range(len(pieces)):
            joint = ""
            for piece in pieces[start:]:
                joint += piece
                if joint in self._rules:
                    return None
        return [len(piece) for piece in pieces]

    def within(self, chunk: str, tokens: list[str]) -> bool:
        """Whether a special case may have been applied to a part of a chunk; one that is the whole chunk lies nowhere else."""
        return chunk not in self._rules and any(
            tuple(tokens[place : place + len(made)]) == made
            for place, token in enumerate(tokens)
            for made in self._made.get(token, ())
        )
