"""YAML files read into plain values, with the place of every value, from untrusted hands.

YAML 1.2 (so `no` is a string, and Norwegian). Only maps, lists and scalars: a tag (`!!python/object`) is refused, as are
a key given twice, and aliases that unfold into more than MOST_NODES values (a "billion laughs" file).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from curate.errors import ConfigurationErrors, CurateError

__all__ = ["VARIABLE", "Located", "load_yaml", "parse_scalar", "substitute_environment"]

MOST_NODES = 100_000
MOST_BYTES = 8 << 20
MOST_DEPTH = 64
_CORE = "tag:yaml.org,2002:"
VARIABLE = re.compile(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_STRUCTURE = {f"{_CORE}map", f"{_CORE}seq"}
_SCALARS = {f"{_CORE}{kind}" for kind in ("str", "int", "float", "bool", "null")}
_Path = tuple[str | int, ...]


@dataclass(slots=True)
class Located:
    """A plain value (dict, list, scalar) and where each part of it stands.

    Attributes:
        value: What the file says.
        name: The file's name, as the user gave it.
        places: File, line and column (from 1) by path; the place of a map's entry is that of its key. Line 0: not in a file.
    """

    value: Any
    name: str
    places: dict[_Path, tuple[str, int, int]] = field(default_factory=dict)

    def where(self, *path: str | int) -> str:
        """`file:line:column` of the value at `path`, or of the nearest thing around it."""
        while path and path not in self.places:
            path = path[:-1]
        file, line, column = self.places.get(path, (self.name, 1, 1))
        return f"{file}:{line}:{column}" if line else file

    def at(self, *path: str | int) -> Any:
        """The value at `path`, or None where there is none."""
        value = self.value
        for part in path:
            try:
                value = value[part]
            except (KeyError, IndexError, TypeError):
                return None
        return value

    def replaced(self, path: _Path, where: str) -> None:
        """Remember that the value at `path` stands no longer in the file, but `where`."""
        for place in [place for place in self.places if place[: len(path)] == path]:
            del self.places[place]
        self.places[path] = (where, 0, 0)


def load_yaml(path: Path, *, text: str | None = None) -> Located:
    """Read a file (or `text` in its name).

    Raises:
        CurateError: It cannot be read, is not YAML, or uses what is refused.
    """
    located = Located(None, str(path))
    node = _compose(_read(path) if text is None else text, str(path))
    if node is not None:
        located.value = _Unfolding(located).plain(node, ())
    return located


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise CurateError(f"`{path}` has more than {MOST_BYTES >> 20} MiB", hint="is this a configuration file?")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise CurateError(f"there is no file `{path}`", hint="`curate init DIR` makes a working project") from None
    except IsADirectoryError:
        raise CurateError(f"`{path}` is a folder", hint=f"did you mean `{path / 'pipeline.yaml'}`?") from None
    except (OSError, UnicodeDecodeError) as error:
        raise CurateError(f"`{path}` cannot be read: {error}") from None


def _compose(text: str, name: str) -> Any:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        return YAML(typ="safe", pure=True).compose(text)  # pyright: ignore[reportUnknownMemberType]
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        raise CurateError(f"this is not YAML: {error.problem or error.context}", where) from None
    except (YAMLError, ValueError, RecursionError) as error:
        raise CurateError(f"this is not YAML: {str(error).splitlines()[0]}", name) from None


class _Unfolding:
    """From nodes to plain values, counting what aliases unfold into."""

    def __init__(self, located: Located) -> None:
        from ruamel.yaml import YAML

        self.located, self.nodes = located, 0
        self.constructor = YAML(typ="safe", pure=True).constructor

    def plain(self, node: Any, path: _Path) -> Any:
        mark = node.start_mark
        where = f"{self.located.name}:{mark.line + 1}:{mark.column + 1}"
        self.located.places.setdefault(path, (self.located.name, mark.line + 1, mark.column + 1))
        self.nodes += 1
        if self.nodes > MOST_NODES or len(path) > MOST_DEPTH:
            raise CurateError(
                f"the file unfolds into more than {MOST_NODES} values or {MOST_DEPTH} levels",
                where,
                "are aliases (`*name`) nested?",
            )
        tag = str(node.tag)
        if tag == f"{_CORE}timestamp":
            return node.value
        if tag not in _STRUCTURE | _SCALARS:
            raise CurateError(
                f"the tag `{tag.replace(_CORE, '!!')}` is refused",
                where,
                "write plain maps, lists, strings and numbers",
            )
        if node.id == "sequence":
            return [self.plain(item, (*path, index)) for index, item in enumerate(node.value)]
        if node.id == "mapping":
            return self._mapping(node, path)
        try:
            return self.constructor.construct_object(node)
        except ValueError:
            kind = tag.removeprefix(_CORE)
            raise CurateError(f"`{str(node.value)[:40]}` is not a {kind}", where, "quote it if it is text") from None

    def _mapping(self, node: Any, path: _Path) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            mark = key_node.start_mark
            where = f"{self.located.name}:{mark.line + 1}:{mark.column + 1}"
            if key_node.id != "scalar" or str(key_node.tag) == f"{_CORE}merge":
                raise CurateError("only plain keys are allowed in a map", where, "write the entries out")
            key = str(key_node.value)
            if key in result:
                raise CurateError(f"`{key}` is given twice", where, "keep one of them")
            self.located.places[(*path, key)] = (self.located.name, mark.line + 1, mark.column + 1)
            result[key] = self.plain(value_node, (*path, key))
        return result


def parse_scalar(text: str, name: str) -> Any:
    """The value of `--set KEY=VALUE`: read as YAML, so `5`, `true`, `[a, b]` are what they look like."""
    return load_yaml(Path(name), text=text).value


def substitute_environment(value: Any, located: Located, path: _Path = ()) -> Any:
    """`value` with every `${env:NAME}` and `${env:NAME:-default}` in its strings replaced.

    Raises:
        ConfigurationErrors: Variables that are not set and have no default, or are not written so.
    """
    problems: list[CurateError] = []
    replaced = _substituted(value, located, path, problems)
    if problems:
        raise ConfigurationErrors(problems)
    return replaced


def _substituted(value: Any, located: Located, path: _Path, problems: list[CurateError]) -> Any:
    if isinstance(value, dict):
        return {key: _substituted(item, located, (*path, key), problems) for key, item in value.items()}
    if isinstance(value, list):
        return [_substituted(item, located, (*path, index), problems) for index, item in enumerate(value)]
    if not isinstance(value, str) or "${env:" not in value:
        return value
    if "${env:" in VARIABLE.sub("", value):
        problems.append(
            CurateError(
                f"`{value}` is not an environment variable",
                located.where(*path),
                "`${env:NAME}` or `${env:NAME:-default}`, with letters, digits and `_` in the name",
            )
        )
    for name, default in VARIABLE.findall(value):
        if name not in os.environ and f"${{env:{name}:-{default}}}" not in value:
            problems.append(
                CurateError(
                    f"the environment variable `{name}` is not set",
                    located.where(*path),
                    f"set it, or give a default: `${{env:{name}:-value}}`",
                )
            )
    return VARIABLE.sub(lambda match: os.environ.get(match[1], match[2] or ""), value)
