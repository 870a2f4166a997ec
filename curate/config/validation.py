"""pydantic's refusals in our words: the name of the setting, its place in the file, what is wrong, the nearest name.

A value from the environment is never shown, whatever a validator says of it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from curate.config.yamlfile import VARIABLE, Located
from curate.errors import CurateError, did_you_mean

__all__ = ["mask", "masked", "member_models", "tag", "validation_errors"]

LONGEST_VALUE = 80
_TUPLE = re.compile(r"\b(valid |)tuple\b", re.IGNORECASE)
SHORTEST_SECRET = 4
"""Shorter values of variables are not looked for in messages: they would be found in every second word."""


def validation_errors(
    error: ValidationError,
    model: type[BaseModel],
    located: Located,
    path: tuple[str | int, ...],
    subject: str,
    *,
    shown: dict[str, Any] | None = None,
    also: Sequence[str] = (),
) -> list[CurateError]:
    """What pydantic found, in our words, each with its place in the file.

    Args:
        error: What pydantic found.
        model: The model that refused.
        located: The file.
        path: Where the model's settings stand in it.
        subject: What to call the model.
        shown: The settings as written: a value from the environment, or of a field with `repr=False`, is never shown.
        also: Further keys that may stand there, for did-you-mean.
    """
    found: dict[tuple[str, str], tuple[list[str], str, str | None]] = {}
    for detail in _told(error.errors(include_url=False)):
        loc = _location(detail["loc"], located.at(*path), detail["type"] == "missing")
        name, where = ".".join(str(part) for part in loc), located.where(*path, *loc)
        hint, after = None, ""
        if detail["type"] == "extra_forbidden":
            known = [*_known(model, detail["loc"]), *(also if len(loc) == 1 else [])]
            hint = did_you_mean(str(loc[-1]), known) or (f"it has: {', '.join(known)}" if known else None)
            message = f"{subject} has no setting `{name}`"
        elif detail["type"] == "missing":
            message = f"{subject} needs the setting `{name}`"
        elif detail["type"].startswith("union_tag_"):
            context = detail.get("ctx", {})
            key, kind = str(context["discriminator"]).strip("'"), context.get("tag")
            kinds = [str(one.model_fields[key].default) for one in _members(model, detail["loc"])]
            message = f"{subject}: `{name}` needs its `{key}`"
            if kind is not None:
                message, where = f"{subject}: `{name}.{key}`: there is no `{kind}`", located.where(*path, *loc, key)
            hint = did_you_mean(str(kind), kinds) or f"there are: {', '.join(kinds)}"
        else:
            message = f"{subject}: " + (f"`{name}`: " if name else "") + _words(detail["msg"])
            first = str(loc[0]) if loc else ""
            field, written = model.model_fields.get(first), str((shown or {}).get(first, ""))
            secret = detail["type"] == "credential" or "${env:" in written or (field is not None and not field.repr)
            after = "" if secret or not loc else f", got {_shown(detail['input'])}"
        found.setdefault((where, name), ([], after, hint))[0].append(message)
    told = (CurateError(_alternatives(said) + after, where, hint) for (where, _), (said, after, hint) in found.items())
    return [masked(error, shown) for error in told]


def _told(details: Sequence[Any]) -> list[Any]:
    """Without lists that are too short by entries that are wrong: what is wrong with these is told."""
    return [
        detail
        for detail in details
        if detail["type"] != "too_short" or not any(_inside(one["loc"], detail["loc"]) for one in details)
    ]


def _words(message: str) -> str:
    """What pydantic says, without what is of Python."""
    words = message.removeprefix("Value error, ").partition(", unable to parse")[0]
    words = _TUPLE.sub(r"\1list", words).removesuffix(", not 0").removesuffix(" after validation")
    return words[:1].lower() + words[1:]


def _inside(inner: tuple[str | int, ...], outer: tuple[str | int, ...]) -> bool:
    return len(inner) > len(outer) and inner[: len(outer)] == outer


def _known(model: type[BaseModel], loc: tuple[str | int, ...]) -> list[str]:
    """Settings that the block has in which `loc` names an unknown one."""
    return list(dict.fromkeys(name for one in _members(model, loc[:-1]) for name in one.model_fields))


def _members(model: type[BaseModel], loc: tuple[str | int, ...]) -> list[type[BaseModel]]:
    """The models that the block at `loc` may be."""
    blocks = [model]
    for part in loc:
        inner = [block for one in blocks for block in member_models(one.model_fields.get(str(part)))]
        tagged = [one for one in blocks if (key := tag(one)) and one.model_fields[key].default == part]
        blocks = inner or tagged or blocks
    return blocks


def tag(model: type[BaseModel]) -> str | None:
    """The setting that tells a block from the others that may stand in its place: `kind`, or `reward`."""
    return next((name for name in ("kind", "reward") if name in model.model_fields), None)


def member_models(field: FieldInfo | None) -> list[type[BaseModel]]:
    """The models that a field's type is, or is a union or a dictionary of."""
    found: list[type[BaseModel]] = []
    left = [field.annotation] if field else []
    while left:
        kind = left.pop(0)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found.append(kind)
        else:
            left = [*get_args(kind), *left]
    return found


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 3]}..."


def _location(loc: tuple[str | int, ...], value: Any, missing: bool) -> tuple[str | int, ...]:
    """Where an error stands in the settings: without the names of union members and validators, which pydantic puts in."""
    path: list[str | int] = []
    for number, part in enumerate(loc):
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            if not missing or number < len(loc) - 1:
                continue
        path.append(part)
    return tuple(path)


def _alternatives(messages: list[str]) -> str:
    """What a union's members say about one value, as one sentence."""
    head, common, _ = messages[0].partition("input should be ")
    rest = [
        message.removeprefix(head + common) for message in messages[1:] if common and message.startswith(head + common)
    ]
    return " or ".join([messages[0], *dict.fromkeys(rest)])


def masked(error: CurateError, written: dict[str, Any] | None) -> CurateError:
    """The error with the values of the environment variables that `written` names replaced by their names."""
    return CurateError(mask(error.problem, written), error.where, error.hint and mask(error.hint, written))


def mask(text: str, written: dict[str, Any] | None) -> str:
    """The text with the values of the environment variables that `written` names replaced by their names."""
    for name, default in _variables(written):
        value = os.environ.get(name, default)
        if value and len(value) >= SHORTEST_SECRET:
            text = re.sub(re.escape(value), lambda _, name=name: f"${{env:{name}}}", text, flags=re.IGNORECASE)
    return text


def _variables(value: Any) -> Iterator[tuple[str, str | None]]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _variables(item)
    elif isinstance(value, str):
        for match in VARIABLE.finditer(value):
            yield match[1], match[2]
