"""A lexicon: terms by line, counted in texts. What it counts is a hint, never a verdict.

A line is `TERM`, `TERM<tab>SEVERITY` or `TERM<tab>SEVERITY<tab>LANGUAGE`: a term of one word or up to eight, folded as the
texts are (curate/audit/toxicity/words.py), a severity from 1 to 9 (1 where there is none), and a code as the stage `language`
writes it: such a term counts only in documents of that language, where their language is known. `#` begins a comment.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from curate.errors import ConfigurationErrors, CurateError

if TYPE_CHECKING:
    from curate.audit.toxicity.words import Terms

__all__ = ["LEXICON", "Lexicon", "read_lexicon"]

LEXICON = Path(__file__).parent / "lexicon.tsv"
"""The packaged one: about a hundred English terms, written for this project."""
MOST_WORDS = 8
MOST_BYTES = 16 << 20
MOST_ERRORS = 20
_WORD = re.compile(r"[^\W_]+")
_LANGUAGE = re.compile(r"[a-z]{2,3}")
_COLUMNS = "a line is TERM, TERM<tab>SEVERITY or TERM<tab>SEVERITY<tab>LANGUAGE"


class Lexicon(NamedTuple):
    """Terms as they are listed.

    Attributes:
        listed: The terms.
        severities: Of each, from 1 to 9.
        spoken: The language of each: a number of `languages`, 0 where it has none.
        languages: Numbers of the languages, from 1, by code.
    """

    listed: list[str]
    severities: list[int]
    spoken: list[int]
    languages: dict[str, int]

    def compiled(self) -> Terms:
        """The terms as the kernels look for them; the value of a term is its severity."""
        from curate.audit.toxicity.words import terms

        return terms(self.listed, self.severities, self.spoken)


def read_lexicon(path: Path) -> Lexicon:
    """Read a lexicon; no library is loaded for it, so that `curate validate` can.

    Raises:
        CurateError: It cannot be read, or has no term.
        ConfigurationErrors: Lines are none, all of them at once; the place is `file:line`.
    """
    listed: list[str] = []
    severities: list[int] = []
    spoken: list[int] = []
    languages: dict[str, int] = {}
    errors: list[CurateError] = []
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            term, severity, language = _entry(line, f"{path}:{number}")
        except CurateError as error:
            errors.append(error)
            continue
        listed.append(term)
        severities.append(severity)
        spoken.append(languages.setdefault(language, len(languages) + 1) if language else 0)
    if errors:
        more = [CurateError(f"and {len(errors) - MOST_ERRORS:,} lines more", str(path), _COLUMNS)]
        raise ConfigurationErrors(errors[:MOST_ERRORS] + (more if len(errors) > MOST_ERRORS else []))
    if not listed:
        raise CurateError(f"the lexicon `{path}` has no term", str(path), _COLUMNS)
    return Lexicon(listed, severities, spoken, languages)


def _lines(path: Path) -> list[str]:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise CurateError(f"the lexicon `{path}` has more than {MOST_BYTES >> 20} MB", hint=_COLUMNS)
        content = path.read_bytes()
    except OSError as error:
        raise CurateError(f"the lexicon `{path}` cannot be read: {error.strerror}", hint="is the path right?") from None
    try:
        return content.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise CurateError("the lexicon is not UTF-8", f"{path}:{line}", "save it as UTF-8") from None


def _entry(line: str, where: str) -> tuple[str, int, str]:
    cells = [cell.strip() for cell in line.rstrip("\r").split("\t")]
    if len(cells) > 3:
        raise CurateError(f"the line has {len(cells)} columns", where, _COLUMNS)
    if len(cells) == 1 and re.search(r",\s*[1-9]\s*(?:,|$)", line):
        raise CurateError("columns are separated by tabs, not by commas", where, _COLUMNS)
    term, severity, language = [*cells, "", ""][:3]
    words = len(_WORD.findall(term))
    if words == 0:
        raise CurateError(f"`{term}` is no term: it has no letter", where, _COLUMNS)
    if words > MOST_WORDS:
        raise CurateError(f"a term has at most {MOST_WORDS} words, this one has {words}", where, _COLUMNS)
    if severity and severity not in set("123456789"):
        raise CurateError(f"the severity `{severity}` is not a number from 1 to 9", where, _COLUMNS)
    if language and not _LANGUAGE.fullmatch(language):
        raise CurateError(
            f"`{language}` is no code of a language", where, "as the stage `language` writes it: `en`, `de`"
        )
    return term, int(severity or 1), language
