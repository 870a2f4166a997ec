"""Who is to be erased: a file of identifiers. They stand in a file so that they stand in no shell history, log or process list.

emails: [jane.doe@example.com]
phones: ["+49 30 901820"]
names: [Jane Doe]
documents: [ticket-1742, {id: "17", dataset: people}]
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

from curate.errors import ConfigurationErrors, CurateError, did_you_mean

__all__ = ["KINDS", "Named", "Subject", "read_subject"]

KINDS = {"emails": "email", "phones": "phone", "names": "name", "documents": "document"}
"""Keys of the file, and what one of each is called."""
FEWEST_DIGITS, FEWEST_LETTERS = 7, 4
MOST_BYTES = 1 << 20
_HINT = "keys: emails, phones, names, documents, each with a list; e.g. `emails: [jane@example.com]`"


class Named(NamedTuple):
    """A document by its id; where several datasets have the id, with the one that is meant."""

    id: str
    dataset: str | None = None

    def __str__(self) -> str:
        return self.id if self.dataset is None else f"{self.dataset}/{self.id}"


class Subject(NamedTuple):
    """The identifiers, by kind; each list without repetitions."""

    emails: tuple[str, ...] = ()
    phones: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    documents: tuple[Named, ...] = ()

    @property
    def mentions(self) -> bool:
        """Whether texts may mention the person: there is something to look for beside ids."""
        return bool(self.emails or self.phones or self.names)


def read_subject(path: Path) -> Subject:
    """Read a file of identifiers, YAML or JSON.

    Raises:
        CurateError: It cannot be read, is no mapping of lists, or an identifier would be found everywhere. Messages name the
            key and the position, never the value.
    """
    given = _load(path)
    if not isinstance(given, dict) or not given:
        raise CurateError("a subject file is a mapping of lists, and this is none or empty", str(path), _HINT)
    errors: list[CurateError] = []
    for key in given:
        if key not in KINDS:
            known = did_you_mean(str(key), KINDS) or _HINT
            errors.append(CurateError("a subject file has a key that means nothing", str(path), known))
    found: dict[str, tuple[Any, ...]] = {}
    for key in KINDS:
        values = given.get(key) or []
        if not isinstance(values, list):
            errors.append(CurateError(f"`{key}` is not a list", str(path), _HINT))
            continue
        for number, value in enumerate(values, 1):
            if (problem := _problem(key, value)) is not None:
                errors.append(CurateError(problem[0], f"{path}: {key}, number {number}", problem[1]))
        plain = (_plain(key, value) for value in values)
        found[key] = tuple(dict.fromkeys(one for one in plain if one is not None))
    if not errors and not any(found.values()):
        errors.append(CurateError("the subject file names nobody", str(path), _HINT))
    if errors:
        raise ConfigurationErrors(errors)
    return Subject(**found)


def _load(path: Path) -> Any:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        if path.stat().st_size > MOST_BYTES:
            raise CurateError("the subject file is larger than 1 MB", str(path), "erase in several files")
        return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CurateError(f"the subject file cannot be read: {error.strerror}", str(path)) from None
    except (YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)  # the error's own words may hold an identifier
        where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise CurateError("the subject file is no YAML or JSON", where, _HINT) from None


def _plain(key: str, value: Any) -> str | Named | None:
    """An identifier as it is looked for; None where it is none."""
    if key == "documents" and isinstance(value, dict):
        value = Named(str(value.get("id")).strip(), value.get("dataset"))
    elif isinstance(value, str):
        value = Named(value.strip()) if key == "documents" else value.strip()
    return value if isinstance(value, str | Named) else None


def _problem(key: str, value: Any) -> tuple[str, str] | None:
    """What is wrong with an identifier, and what to do; None where it is fine."""
    if isinstance(value, dict) and key == "documents":
        if value.keys() - {"id", "dataset"} or not all(isinstance(one, str) and one.strip() for one in value.values()):
            return "a document is an id, or an id and a dataset", 'e.g. `{id: "17", dataset: people}`'
        value = value.get("id")
    if not isinstance(value, str) or not value.strip():
        return "an identifier is not a text", 'put it in quotes: `phones: ["+49 30 901820"]`'
    value = value.strip()
    if key == "emails" and not re.fullmatch(r"[^\s@]+@[^\s@]+\.[^\s@]+", value):
        return "this is no e-mail address", "it has the form name@example.com"
    if key == "phones":
        digits = sum(one.isdigit() for one in value)
        if digits < FEWEST_DIGITS or re.search(r"[^\W\d_]", value):
            return (
                f"a phone number has at least {FEWEST_DIGITS} digits and no letters",
                "write it with its country code: +49 30 901820",
            )
    if key == "names" and sum(one.isalpha() for one in value) < _fewest(value):
        return "a name as short as this stands in too many texts", "give first and last name"
    return None


def _fewest(name: str) -> int:
    """Letters that a name has at least; of scripts that write a word with one letter, two."""
    return FEWEST_LETTERS if max(name) < "\u1100" else 2
