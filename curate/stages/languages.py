"""Languages: the codes that datatrove has tokenizers for, their English names, and the stop words of each.

The table is datatrove's own (`tokenizer_assignment.csv`, 2,000 languages), read without importing datatrove: 10 ms.

A code without a script (`zho`) means the language in its usual script (`zho_Hani`), as the table marks it. datatrove's
reader of the table takes the last script in it instead, for 78 codes: Latin for `zho`, `hin` and `ara`, Thai for `msa`.
"""

from __future__ import annotations

from collections.abc import Iterable
from csv import DictReader
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import AfterValidator

from curate.errors import did_you_mean
from curate.stages.lean import without

__all__ = ["WORDS_OF", "LanguageCode", "Spoken", "code_of_name", "find_language", "stop_words"]

ENGLISH = ("the", "be", "to", "of", "and", "that", "have", "with")
"""Gopher's stop words, as in the paper and in datatrove."""
_SPACY_NAMES = {"no": "nb", "fil": "tl"}
_SCRIPTS = {"Jpan": r"[\p{Hira}\p{Kana}\p{Hani}]"}


class Spoken(NamedTuple):
    """A language in a script.

    Attributes:
        code: ISO 639-3: `deu`.
        short: ISO 639-1: `de`; empty where there is none.
        script: ISO 15924: `Latn`.
        usual: Whether this is the language's usual script.
        named: Whether the short code means this language first.
        name: In English.
    """

    code: str
    short: str
    script: str
    usual: bool
    named: bool
    name: str


@cache
def _languages() -> tuple[Spoken, ...]:
    """Every language and script that has a tokenizer; none where datatrove is not installed."""
    package = find_spec("datatrove")
    folders = package.submodule_search_locations if package else None
    path = Path(folders[0] if folders else "datatrove") / "assets" / "tokenizer_assignment.csv"
    if not path.is_file():
        return ()
    with path.open(encoding="utf-8", newline="") as lines:
        return tuple(
            Spoken(
                row["code_3"],
                row["code_1"],
                row["script"],
                row["default_script"] == "TRUE",
                row["default_code_1"] == "TRUE",
                row["name"].partition(" (")[0],
            )
            for row in DictReader(lines)
            if row["type"]
        )


@cache
def find_language(code: str) -> Spoken | None:
    """The language that a code stands for: `deu`, `de`, `deu_Latn` or `de_Latn`; None where there is no such code."""
    first, _, script = code.partition("_")
    found = [one for one in _languages() if first in (one.code, one.short) and script in ("", one.script)]
    found.sort(key=lambda one: (not one.usual and not script, one.code != first, not one.named))
    return found[0] if first and found else None


def code_of_name(name: str, known: set[str] | frozenset[str] | None = None) -> str | None:
    """The code of a language's English name, or of another of its codes: `English`, `eng` and `en` are one.

    Args:
        name: What was written.
        known: The codes to choose from; by default ISO 639-3.
    """
    sought = name.strip().lower()
    exact = [one for one in _languages() if sought in (one.name.lower(), one.code, one.short)]
    close = [one for one in _languages() if one.name.lower().endswith(f" {sought}")]  # `Modern Greek`
    for one in sorted(exact, key=_rank) + sorted(close, key=_rank):
        for code in (one.code,) if known is None else (one.short, one.code):
            if code and (known is None or code in known):
                return code
    return None


def _rank(one: Spoken) -> tuple[bool, bool]:
    return not one.usual, not one.named


def _checked(code: str) -> str:
    if code in ("eng", "en") or not _languages() or find_language(code):
        return code
    meant = code_of_name(code)
    codes = {one.code for one in _languages()} | {one.short for one in _languages()}
    hint = f"did you mean `{meant}`?" if meant else did_you_mean(code, codes - {""})
    raise ValueError(f"datatrove has no tokenizer for the language `{code}`; {hint or 'codes are `eng`, `deu`, ...'}")


LanguageCode = Annotated[str, AfterValidator(_checked)]
"""A setting that names the language of a tokenizer."""
WORDS_OF = (
    "Language whose tokenizer cuts the text: a code that datatrove knows (`eng`, `deu`, `zho`, ...), with a script where "
    "it is not the usual one (`srp_Latn`). Some need another package, which the run names."
)


@cache
def stop_words(language: str) -> tuple[str, ...]:
    """Stop words of a language: Gopher's eight for English, spaCy's list for 107 others, none where it has none.

    Only words in the script that the code stands for: a list in Cyrillic says nothing of Serbian in Latin letters.
    """
    found = find_language(language)
    if language in ("eng", "en") or (found and found.code == "eng"):
        return ENGLISH
    names = (_SPACY_NAMES.get(name, name) for name in (found.code, found.short) if name) if found else ()
    for name in names:
        with without("torch", "transformers"):
            module = f"spacy.lang.{name}.stop_words"
            if find_spec(f"spacy.lang.{name}") and find_spec(module):
                return _in_script(import_module(module).STOP_WORDS, found.script if found else "")
    return ()


def _in_script(words: Iterable[str], script: str) -> tuple[str, ...]:
    """The words of a list, if most of them are written in this script; marks and foreign words are left out."""
    import regex

    inside = regex.compile(_SCRIPTS.get(script, rf"\p{{{script}}}"))
    letters = {word: [letter for letter in word if letter.isalpha()] for word in words}
    kept = sorted(word for word, found in letters.items() if found and all(map(inside.match, found)))
    return tuple(kept) if 2 * len(kept) > sum(map(bool, letters.values())) else ()
