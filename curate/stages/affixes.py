"""spaCy's rules for English words, applied without spaCy: chunks between whitespace are cut as its tokenizer cuts them.

Importing spaCy costs 1.5 CPU seconds, which a process with little to read need not spend. What decides is data: patterns of
what stands before, behind and inside a word, a pattern of URLs, and special cases. These modules of the installed spaCy are
read by themselves, and the procedure is written out here (spaCy's documentation, "How spaCy's tokenizer works"; details as
in tokenizer.pyx of spaCy 3.8): it is used where the sources that decide are those it was compared with (`KNOWN`), else spaCy
is asked. Cost: 20 us a chunk, as in spaCy; patterns are compiled at the first one, 0.2 CPU seconds.
"""

from __future__ import annotations

import re
import sys
from ast import literal_eval
from collections.abc import Callable, Mapping, Sequence
from functools import cache, cached_property
from hashlib import sha256
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["Affixes", "load_affixes"]

KNOWN = frozenset({"51c32951f086cc6f"})
"""Hashes of the sources that these cuts were compared with."""
_SOURCES = (
    "tokenizer.pyx", "lang/char_classes.py", "lang/punctuation.py", "lang/tokenizer_exceptions.py", "lang/en/punctuation.py",
    "lang/en/tokenizer_exceptions.py", "pipeline/sentencizer.pyx",
)  # fmt: skip
_PACKAGE = "_spacy_english"
_ORTH = "orth"
_PIECES = re.compile(r"\s+|\S+")
# Seen without a look at the long patterns: no prefix begins with one of these, no suffix ends so, nothing is inside of these.
_NO_PREFIX = frozenset("BDEFGHIJKLMNOPQRSTVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
_LONGEST_SUFFIX = 16
_NO_SUFFIX = re.compile(r"[^0-9'\u2019]*[A-Za-z]").fullmatch
_NO_INFIX = re.compile(r"[A-Za-z0-9_'\"#@$%&()\[\]{}!?;|\\`]*").fullmatch


@cache
def load_affixes() -> Affixes | None:
    """The rules of the installed spaCy; None where there is none, or one that this was not compared with."""
    found = find_spec("spacy")
    folders = found.submodule_search_locations if found else None
    folder = Path(folders[0]) if folders else None
    if folder is None or not all((folder / name).is_file() for name in _SOURCES):
        return None
    hashed = sha256(b"\0".join((folder / name).read_bytes() for name in _SOURCES)).hexdigest()[:16]
    return Affixes(**_read(folder)) if hashed in KNOWN else None


def _read(folder: Path) -> dict[str, Any]:
    """The data, as `Affixes` takes it."""
    names = {_PACKAGE: folder, f"{_PACKAGE}.lang": folder / "lang", f"{_PACKAGE}.lang.en": folder / "lang" / "en"}
    try:
        for name, path in names.items():
            sys.modules[name] = package = ModuleType(name)
            package.__path__ = [str(path)]
        sys.modules[f"{_PACKAGE}.symbols"] = symbols = ModuleType("symbols")
        symbols.ORTH, symbols.NORM = _ORTH, "norm"  # pyright: ignore[reportAttributeAccessIssue]
        sys.modules[f"{_PACKAGE}.util"] = util = ModuleType("util")
        util.update_exc = _with_curly_apostrophes  # pyright: ignore[reportAttributeAccessIssue]
        common, english = (import_module(f"{_PACKAGE}.lang.{name}punctuation") for name in ("", "en."))
        marks = re.search(r"default_punct_chars = (\[.*?\])", (folder / _SOURCES[-1]).read_text("utf-8"), re.DOTALL)
        assert marks, "the sources are those that were looked at"
        return {
            "prefixes": common.TOKENIZER_PREFIXES,
            "suffixes": common.TOKENIZER_SUFFIXES,
            "infixes": english.TOKENIZER_INFIXES,
            "is_url": import_module(f"{_PACKAGE}.lang.tokenizer_exceptions").URL_MATCH,
            "cases": import_module(f"{_PACKAGE}.lang.en.tokenizer_exceptions").TOKENIZER_EXCEPTIONS,
            "stop_marks": literal_eval(marks[1]),
        }
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == _PACKAGE]:
            del sys.modules[name]


def _with_curly_apostrophes(base: Mapping[str, Any], *more: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Special cases as their tokens, those with an apostrophe also with the other one."""
    cases: dict[str, tuple[str, ...]] = {}
    for one in (base, *more):
        cases.update({case: tuple(token[_ORTH] for token in tokens) for case, tokens in one.items()})
    straight = [(case, tokens) for case, tokens in cases.items() if "'" in case]
    return cases | {
        case.replace("'", "\u2019"): tuple(token.replace("'", "\u2019") for token in tokens)
        for case, tokens in straight
    }


class Affixes:
    """English, cut by patterns and special cases.

    Attributes:
        cases: The tokens of each special case.
        stop_marks: The marks behind which spaCy's sentencizer ends sentences.
    """

    known = True

    def __init__(
        self,
        *,
        prefixes: Sequence[str],
        suffixes: Sequence[str],
        infixes: Sequence[str],
        is_url: Callable[[str], object],
        cases: Mapping[str, tuple[str, ...]],
        stop_marks: list[str],
    ) -> None:
        self.cases, self.stop_marks, self._is_url = cases, stop_marks, is_url
        self._pieces = prefixes, suffixes, infixes

    @cached_property
    def _patterns(self) -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
        """What stands before, behind and inside of words."""
        prefixes, suffixes, infixes = ([piece for piece in some if piece.strip()] for some in self._pieces)
        return (
            re.compile("|".join(prefixes)),
            re.compile("|".join(f"{piece}$" for piece in suffixes)),
            re.compile("|".join(infixes)),
        )

    @cached_property
    def _matched(self) -> dict[str, list[tuple[str, ...]]]:
        """Of the special cases with marks that may be cut: their tokens as they are without special cases, by the first."""
        before, behind, inside = self._patterns
        found: dict[str, list[tuple[str, ...]]] = {}
        for case in self.cases:
            if before.match(case) or behind.search(case) or inside.search(case) or " " in case:
                tokens = tuple(token for token, _ in self._pass(case, {}))
                found.setdefault(tokens[0], []).append(tokens)
        return found

    def cut(self, text: str) -> list[str]:
        """The tokens of a text, as spaCy has them: whitespace beyond the one space behind a word is a token, too."""
        tokens = self._pass(text, self.cases)
        matches = [
            (start, start + len(case))
            for start, (token, _) in enumerate(tokens)
            for case in self._matched.get(token, ())
            if tuple(one for one, _ in tokens[start : start + len(case)]) == case
        ]
        return self._joined(tokens, matches) if matches else [token for token, _ in tokens]

    def bare(self, text: str) -> list[str]:
        """The same without special cases."""
        return [token for token, _ in self._pass(text, {})]

    def _joined(self, tokens: list[tuple[str, bool]], matches: list[tuple[int, int]]) -> list[str]:
        """Tokens with special cases in the place of those that make one: the longest first, and none that lies over another."""
        seen: set[int] = set()
        made: dict[int, tuple[int, Sequence[str]]] = {}
        for start, stop in sorted(matches, key=lambda one: (one[0] - one[1], one[0])):
            if start not in seen and stop - 1 not in seen:
                text = "".join(token + " " * spaced for token, spaced in tokens[start : stop - 1]) + tokens[stop - 1][0]
                made[start] = stop, self.cases.get(text) or [token for token, _ in tokens[start:stop]]
            seen.update(range(start, stop))
        found: list[str] = []
        place = 0
        while place < len(tokens):
            place, some = made.get(place) or (place + 1, [tokens[place][0]])
            found += some
        return found

    def _pass(self, text: str, cases: Mapping[str, tuple[str, ...]]) -> list[tuple[str, bool]]:
        """Tokens before special cases are looked for among them, each with whether a space is behind it that is none itself."""
        found: list[tuple[str, bool]] = []
        for piece in _PIECES.findall(text):
            if not piece.isspace():
                found += [(token, False) for token in self._chunk(piece, cases)]
                continue
            if piece[0] == " " and found:
                found[-1] = found[-1][0], True
                piece = piece[1:]
            if piece:
                found.append((piece, False))
        return found

    def _chunk(self, chunk: str, cases: Mapping[str, tuple[str, ...]]) -> list[str]:
        """The tokens of what is between whitespace: affixes are taken off until a special case or nothing more is left."""
        before, behind, _ = self._patterns
        first: list[str] = []
        last: list[str] = []
        length = 0
        while chunk and len(chunk) != length and chunk not in cases:
            length = len(chunk)
            found = None if chunk[0] in _NO_PREFIX else before.match(chunk)
            lead = found.end() if found else 0
            if lead and chunk[lead:] in cases:
                first.append(chunk[:lead])
                chunk = chunk[lead:]
                break
            rest = chunk[lead:]
            if rest[-1:] != ".":  # only dots are a suffix however many there are
                rest = rest[-_LONGEST_SUFFIX:]
            found = None if _NO_SUFFIX(rest) else behind.search(rest)
            tail = len(rest) - found.start() if found else 0
            if tail and chunk[:-tail] in cases:
                last.append(chunk[-tail:])
                chunk = chunk[:-tail]
                break
            if lead:
                first.append(chunk[:lead])
            if tail:
                last.append(chunk[-tail:])
            chunk = chunk[lead : length - tail]
        return [*first, *self._inside(chunk, cases), *reversed(last)]

    def _inside(self, chunk: str, cases: Mapping[str, tuple[str, ...]]) -> Sequence[str]:
        """The tokens of a chunk without affixes."""
        if not chunk or chunk in cases:
            return cases.get(chunk, ())
        if _NO_INFIX(chunk) or ("." in chunk and self._is_url(chunk)):
            return (chunk,)
        found: list[str] = []
        start = 0
        for match in self._patterns[2].finditer(chunk):
            if match.start() > 0:
                found += [piece for piece in (chunk[start : match.start()], match[0]) if piece]
                start = match.end()
        if chunk[start:]:
            found.append(chunk[start:])
        return found
