"""What spaCy says of English chunks and texts, asked as seldom as can be.

Chunks of letters with a few marks around are told apart here (`plain`): of the new chunks of books that is three of four, of
technical text one of three. The rest is cut by spaCy's rules (curate/stages/affixes.py), or by spaCy itself where it is another
version than these were compared with. Its string store grows with every new chunk, so it begins anew after 2 million
characters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from hashlib import sha256
from itertools import pairwise
from typing import Any, Protocol

from curate.stages.affixes import load_affixes
from curate.stages.lean import without

__all__ = ["BROKEN", "English"]

BROKEN = "IS_ALPHA"
"""The one word that spaCy fails on (but once in a process): datatrove takes it out and tries again."""
_ASKED_CHARACTERS = 2_000_000
_RUNS = 10_000
_PIECES = re.compile(r"\s+|\S+")
_PLAIN = re.compile(r"""(["'(]?)([A-Za-z]+)((?:[,;:!?)]|(?<=[a-z])\.)?)(["')]?)""")
_KNOWN_PATTERNS = "da3f619948314220"
"""Hash of the patterns by which spaCy 3.8 takes English chunks apart: with others, plain chunks are asked for, too."""
_LONGEST = 10_000  # characters before a space that are looked at; no special case is longer than 14


class Rules(Protocol):
    """What cuts English: `Affixes`, or spaCy."""

    cases: Mapping[str, tuple[str, ...]]
    stop_marks: list[str]
    known: bool
    """Whether the patterns are those that `plain` was made for."""

    def cut(self, text: str) -> list[str]:
        """The tokens of a text; whitespace beyond the one space behind a word is a token, too."""
        ...

    def bare(self, text: str) -> list[str]:
        """The same without special cases."""
        ...


class English:
    """The tokens of English.

    Attributes:
        special: The special cases.
    """

    def __init__(self) -> None:
        self._rules: Rules = load_affixes() or _Spacy()
        self.special = SpecialCases(self._rules)
        self._runs: dict[str, bool] = {}

    def stop_marks(self) -> list[str]:
        """The marks behind which spaCy's sentencizer ends sentences."""
        return self._rules.stop_marks

    def lengths(self, texts: list[str]) -> list[list[int]]:
        """The characters of each token of some chunks."""
        return [[len(token) for token in self._rules.cut(text)] for text in texts]

    def whole(self, text: str) -> list[str]:
        """The tokens of a whole text."""
        found = self._rules.cut(text)
        if BROKEN in found:
            found = self._rules.cut(text.replace(BROKEN, ""))
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
            changes = self._rules.cut(run) != [token for chunk in run.split() for token in self._rules.cut(chunk)]
            if len(self._runs) > _RUNS:
                self._runs.clear()
            self._runs[run] = changes
        return changes


class _Spacy:
    """spaCy's tokenizer, for the versions that `Affixes` does not know."""

    def __init__(self) -> None:
        from spacy.pipeline import Sentencizer

        self._begin()
        self._bare: Any = None
        self.stop_marks: list[str] = list(Sentencizer.default_punct_chars)
        from spacy.attrs import ORTH

        self.cases: Mapping[str, tuple[str, ...]] = {
            case: tuple(token[ORTH] for token in tokens) for case, tokens in self._spacy.rules.items()
        }
        one = self._spacy
        searches = (one.prefix_search, one.suffix_search, one.infix_finditer, one.url_match)
        patterns = "\0".join(search.__self__.pattern for search in searches)
        self.known = sha256(patterns.encode()).hexdigest()[:16] == _KNOWN_PATTERNS

    def _begin(self) -> None:
        with without("torch", "transformers"):
            import spacy

            self._spacy: Any = spacy.blank("en").tokenizer
        self._spacy.vocab.lex_attr_getters = {}  # attributes of words that nobody reads, and that cost half of the time
        self._asked = 0

    def cut(self, text: str) -> list[str]:
        """As spaCy's pipeline has them."""
        self._asked += len(text)
        if self._asked > _ASKED_CHARACTERS:
            self._begin()
        return [token.text for token in self._spacy(text)]

    def bare(self, text: str) -> list[str]:
        """As a tokenizer without special cases has them."""
        if self._bare is None:
            from spacy.tokenizer import Tokenizer

            one = self._spacy
            self._bare = Tokenizer(
                one.vocab,
                prefix_search=one.prefix_search,
                suffix_search=one.suffix_search,
                infix_finditer=one.infix_finditer,
                token_match=one.token_match,
                url_match=one.url_match,
            )
        return [token.text for token in self._bare(text)]


class SpecialCases:
    """spaCy's special cases; what is asked of them only in odd texts is found out when it is asked."""

    def __init__(self, rules: Rules) -> None:
        self._rules, self._cases = rules, rules.cases

    @cached_property
    def _made(self) -> dict[str, set[tuple[str, ...]]]:
        """The tokens of the cases that are cut otherwise than by patterns, by the first."""
        made: dict[str, set[tuple[str, ...]]] = {}
        for case, bare in self._bare.items():
            tokens = tuple(self._rules.cut(case))
            if list(tokens) != bare:
                made.setdefault(tokens[0], set()).add(tokens)
        return made

    @cached_property
    def _bare(self) -> dict[str, list[str]]:
        """The tokens of each case if it were none, without whitespace."""
        return {case: [token for token in self._rules.bare(case) if not token.isspace()] for case in self._cases}

    @property
    def tokens(self) -> list[str]:
        """First tokens of what special cases make."""
        return list(self._made)

    @cached_property
    def pairs(self) -> dict[str, list[tuple[str, str]]]:
        """The tokens of special cases on both sides of a space that one could lie across, by the three characters around it."""
        pairs: dict[str, list[tuple[str, str]]] = {}
        for tokens in self._bare.values():
            for left, right in pairwise(tokens):
                known = pairs.setdefault(f"{left[-1]} {right[0]}", [])
                if (left, right) not in known:
                    known.append((left, right))
        return pairs

    @cached_property
    def candidates(self) -> re.Pattern[str]:
        """A pattern for a space that a special case could lie across, after its left neighbour."""
        before = re.escape("".join(sorted({around[0] for around in self.pairs})))
        after = re.escape("".join(sorted({around[2] for around in self.pairs})))
        return re.compile(f"[{before}] (?=[{after}])")

    def plain(self, chunk: str) -> list[int] | None:
        """The characters of each token of a chunk that is ASCII letters with a few marks around; None of others.

        spaCy takes marks off one by one, and looks at each step whether what is left is a special case.
        """
        found = _PLAIN.fullmatch(chunk) if self._rules.known else None
        if found is None:
            return None
        pieces = [piece for piece in found.groups() if piece]
        if len(pieces) == 1:
            return None if chunk in self._cases else [len(chunk)]
        for start in range(len(pieces)):
            joint = ""
            for piece in pieces[start:]:
                joint += piece
                if joint in self._cases:
                    return None
        return [len(piece) for piece in pieces]

    def within(self, chunk: str, tokens: list[str]) -> bool:
        """Whether a special case may have been applied to a part of a chunk; one that is the whole chunk lies nowhere else."""
        return chunk not in self._cases and any(
            tuple(tokens[place : place + len(made)]) == made
            for place, token in enumerate(tokens)
            for made in self._made.get(token, ())
        )
