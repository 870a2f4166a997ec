"""Lexicons: words that name groups of people, and words that may be said of them, from YAML files.

    language: en
    source: where the words are from
    licence: Apache-2.0
    people: [people, person, women, ...]         nouns that settle the sense of ambiguous words
    groups:
      orientation:                               an axis
        gay: [gay, gays]                         a group and its terms
        heterosexual: {terms: [heterosexual], before_people: [straight]}
    attributes:                                  the same, of what may be said: topic, attribute, terms
      topics: {crime: [crime, prison]}
    reference: {gender: {women: 0.5, men: 0.5}}  expected shares of an axis; equal ones unless told
    comparisons: [{axis: gender, groups: [men, women], attributes: [topics.career, topics.family]}]
    templates: ["a letter from {term} arrived"]  neutral sentences, to see what an instrument says of a name alone

A space in a term stands for white space or a hyphen. A term with a capital letter is found only where that word of the text
has a capital, too (`Polish`). Words of scripts without spaces have no borders that could be found, and are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from curate.config.yamlfile import Located, load_yaml
from curate.errors import ConfigurationErrors, CurateError, did_you_mean

__all__ = ["DEFAULT", "Comparison", "Lexicon", "Term", "load_lexicon"]

DEFAULT = Path(__file__).parent / "english.yaml"
KEYS = ("language", "source", "licence", "people", "groups", "attributes", "reference", "comparisons", "templates")
ENTRY = ("terms", "before_people")
MOST_WORDS = 6
_WORD = re.compile(r"[^\W_]+")
_NO_SPACES = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u312f\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)


class Term(NamedTuple):
    """A word or phrase that stands for a group or an attribute.

    Attributes:
        section: `groups` or `attributes`.
        axis: Of the group, or the topic of the attribute.
        group: The group, or the attribute.
        text: As the file has it.
        words: Its words.
        ambiguous: It counts only before one of the file's nouns for people, which is then part of what is found.
        language: Of the file.
        source: Of the words.
        licence: Of the file.
    """

    section: str
    axis: str
    group: str
    text: str
    words: tuple[str, ...]
    ambiguous: bool
    language: str
    source: str
    licence: str


class Comparison(NamedTuple):
    """Two groups of an axis and two attributes (`topic.attribute`), whose nearness is compared."""

    axis: str
    groups: tuple[str, str]
    attributes: tuple[str, str]


@dataclass(frozen=True)
class Lexicon:
    """The terms of one or several files.

    Attributes:
        terms: All terms, each once a group; ambiguous ones once with every noun.
        axes: Groups by axis, in the order of the files.
        topics: Attributes by topic.
        files: Path, language, source, licence and number of terms of each file.
    """

    terms: tuple[Term, ...]
    axes: dict[str, list[str]]
    topics: dict[str, list[str]]
    files: list[dict[str, Any]] = field(default_factory=list)
    reference: dict[str, dict[str, float]] = field(default_factory=dict)
    comparisons: tuple[Comparison, ...] = ()
    templates: tuple[str, ...] = ()

    def groups(self, section: str = "groups") -> list[tuple[str, str]]:
        """Axis and group (or topic and attribute) of each, in the order of the files: what mentions are counted by."""
        table = self.axes if section == "groups" else self.topics
        return [(axis, group) for axis, names in table.items() for group in names]

    def of_axis(self, axes: Sequence[str]) -> Lexicon:
        """Only these axes; attributes stay.

        Raises:
            CurateError: There is no such axis.
        """
        for axis in axes:
            if axis not in self.axes:
                hint = did_you_mean(axis, self.axes) or f"there are: {', '.join(self.axes)}"
                raise CurateError(f"the lexicon has no axis `{axis}`", hint=hint)
        terms = tuple(one for one in self.terms if one.section != "groups" or one.axis in axes)
        kept = {axis: names for axis, names in self.axes.items() if axis in axes}
        compared = tuple(one for one in self.comparisons if one.axis in axes)
        return Lexicon(terms, kept, self.topics, self.files, self.reference, compared, self.templates)


def load_lexicon(paths: Sequence[Path] = ()) -> Lexicon:
    """The lexicon of these files together; of none, curate's own English one.

    Raises:
        CurateError: A file cannot be read, or a line of it says what no lexicon says: all such lines at once.
    """
    problems: list[CurateError] = []
    files = [_File(load_yaml(path), problems) for path in (paths or [DEFAULT])]
    if problems:
        raise problems[0] if len(problems) == 1 else ConfigurationErrors(problems)
    axes, topics = _table(files, "groups"), _table(files, "attributes")
    reference = {axis: shares for file in files for axis, shares in file.reference.items()}
    comparisons = tuple(one for file in files for one in file.comparisons)
    templates = tuple(dict.fromkeys(text for file in files for text in file.templates))
    terms = tuple(dict.fromkeys(term for file in files for term in file.terms))
    lexicon = Lexicon(terms, axes, topics, [file.facts() for file in files], reference, comparisons, templates)
    for file in files:
        file.check_names(lexicon)
    if problems:
        raise problems[0] if len(problems) == 1 else ConfigurationErrors(problems)
    return lexicon


def _table(files: Sequence[_File], section: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for file in files:
        for term in file.terms:
            if term.section == section and term.group not in found.setdefault(term.axis, []):
                found[term.axis].append(term.group)
    return found


class _File:
    """One file's terms; what is wrong with it goes to `problems`."""

    def __init__(self, located: Located, problems: list[CurateError]) -> None:
        self.located, self.problems = located, problems
        self.terms: list[Term] = []
        self.reference: dict[str, dict[str, float]] = {}
        self.comparisons: list[Comparison] = []
        value = located.value
        if not isinstance(value, dict):
            self.wrong("a lexicon is a map with `groups`")
            value = {}
        for key in value:
            if key not in KEYS:
                self.wrong(f"a lexicon has no key `{key}`", key, hint=did_you_mean(key, KEYS))
        self.said = [self._text(value, key) for key in ("language", "source", "licence")]
        self.people = [self._words(noun, "people", at) for at, noun in enumerate(self._list(value, "people"))]
        self.templates = [text for text in self._list(value, "templates") if isinstance(text, str)]
        for at, text in enumerate(self.templates):
            if text.count("{term}") != 1:
                self.wrong("a template has `{term}` in it, once", "templates", at)
        if not value.get("groups"):
            self.wrong("a lexicon needs `groups`", hint="groups: {axis: {group: [term, ...]}}")
        for section in ("groups", "attributes"):
            self._section(section, value.get(section) or {})
        self._shares(value.get("reference") or {})
        for at, one in enumerate(self._list(value, "comparisons")):
            self._comparison(one, at)

    def facts(self) -> dict[str, Any]:
        language, source, licence = self.said
        told = {"file": Path(self.located.name).name, "language": language, "source": source, "licence": licence}
        return {**told, "terms": len({(one.axis, one.group, one.text) for one in self.terms})}

    def wrong(self, problem: str, *path: str | int, hint: str | None = None) -> None:
        self.problems.append(CurateError(problem, self.located.where(*path), hint))

    def check_names(self, lexicon: Lexicon) -> None:
        """Whether what is compared and expected is there."""
        for axis, shares in self.reference.items():
            for group in shares:
                if group not in lexicon.axes.get(axis, ()):
                    self.wrong(f"there is no group `{group}` of `{axis}`", "reference", axis)
            if set(shares) != set(lexicon.axes.get(axis, ())) or abs(sum(shares.values()) - 1) > 1e-6:
                self.wrong(f"the shares of `{axis}` are one for each group, and add up to 1", "reference", axis)
        known = {f"{topic}.{name}" for topic, names in lexicon.topics.items() for name in names}
        for at, one in enumerate(self.comparisons):
            for group in one.groups:
                if group not in lexicon.axes.get(one.axis, ()):
                    self.wrong(f"there is no group `{group}` of `{one.axis}`", "comparisons", at)
            for name in one.attributes:
                if name not in known:
                    self.wrong(f"there is no attribute `{name}`", "comparisons", at, hint=did_you_mean(name, known))

    # ---- the parts

    def _text(self, value: dict[str, Any], key: str) -> str:
        if not isinstance(value.get(key), str):
            self.wrong(f"a lexicon needs `{key}`", key, hint="language, source and licence of its words, as text")
            return ""
        return value[key]

    def _list(self, value: dict[str, Any], key: str) -> list[Any]:
        found = value.get(key) or []
        if not isinstance(found, list):
            self.wrong(f"`{key}` is a list", key)
            return []
        return found

    def _section(self, section: str, axes: Any) -> None:
        for axis, groups in self._map(axes, section):
            for group, entry in self._map(groups, section, axis):
                path = (section, axis, group)
                listed = {"terms": entry} if isinstance(entry, list) else entry
                if not isinstance(listed, dict) or not set(listed) <= set(ENTRY) or not listed:
                    self.wrong(f"`{group}` is a list of terms, or a map of `terms` and `before_people`", *path)
                    continue
                for kind, texts in listed.items():
                    inside = (*path, kind) if isinstance(entry, dict) else path
                    if not isinstance(texts, list) or not texts:
                        self.wrong(f"`{group}` has no terms", *inside, hint="a list of words or phrases")
                        continue
                    for at, text in enumerate(texts):
                        self._term(section, axis, group, text, (*inside, at), ambiguous=kind == "before_people")

    def _term(
        self, section: str, axis: str, group: str, text: Any, path: tuple[str | int, ...], *, ambiguous: bool
    ) -> None:
        words = self._words(text, *path)
        if not words:
            return
        if ambiguous and not self.people:
            self.wrong("`before_people` needs the list `people`: the nouns that settle the sense", *path)
        for noun in self.people if ambiguous else [()]:
            if not ambiguous or noun:
                self.terms.append(Term(section, axis, group, text, (*words, *noun), ambiguous, *self.said))

    def _words(self, text: Any, *path: str | int) -> tuple[str, ...]:
        if not isinstance(text, str):
            self.wrong(
                f"a term is text, and `{text}` is none", *path, hint="quote it: YAML reads `on` and `1` otherwise"
            )
            return ()
        words = tuple(_WORD.findall(text))
        if not words or re.search(r"[^\w\s'-]", text):
            self.wrong(f"`{text}` is no term", *path, hint="words of letters and digits, with spaces between them")
            return ()
        if len(words) > MOST_WORDS:
            self.wrong(f"`{text}` has more than {MOST_WORDS} words", *path)
            return ()
        if _NO_SPACES.search(text):
            self.wrong(f"`{text}` is in a script without spaces: borders of its words cannot be found", *path)
            return ()
        return words

    def _map(self, value: Any, *path: str) -> Iterator[tuple[str, Any]]:
        if not isinstance(value, dict):
            self.wrong(f"`{path[-1]}` is a map", *path, hint="groups: {axis: {group: [term, ...]}}")
            return
        yield from value.items()

    def _shares(self, value: Any) -> None:
        for axis, shares in self._map(value, "reference"):
            numbers = [*shares.values()] if isinstance(shares, dict) else [None]
            if not all(isinstance(one, int | float) and 0 < one < 1 for one in numbers):
                self.wrong(f"the shares of `{axis}` are numbers between 0 and 1", "reference", axis)
            else:
                self.reference[axis] = {group: float(share) for group, share in shares.items()}

    def _comparison(self, one: Any, at: int) -> None:
        good = isinstance(one, dict) and set(one) == {"axis", "groups", "attributes"}
        pairs = [one["groups"], one["attributes"]] if good else []
        if not good or not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
            self.wrong("a comparison has an `axis`, two `groups` and two `attributes`", "comparisons", at)
            return
        self.comparisons.append(Comparison(str(one["axis"]), (str(pairs[0][0]), str(pairs[0][1])),
                                           (str(pairs[1][0]), str(pairs[1][1]))))  # fmt: skip
