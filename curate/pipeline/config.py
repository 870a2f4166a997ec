"""From a pipeline file to a checked pipeline: every error at once, each with its place and the next step.

dataset: support-chat                  name in the store
include: common.yaml                   other files: their keys where ours has none, their sources and stages before ours
sources: [...]  stages: [...]          `{stage: NAME, id: ..., setting: ...}` or `{use: datatrove.pipeline..., parameter: ...}`
max_quarantined: 10                    a count, or a share such as 0.01; more makes the run exit with 3
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from curate.errors import ConfigurationErrors, CurateError, did_you_mean
from curate.pipeline.yamlfile import Located, load_yaml, parse_scalar, substitute_environment
from curate.stages.contract import Source, Stage
from curate.stages.registry import find_stage

__all__ = ["ConfiguredStage", "Pipeline", "Settings", "load_pipeline", "validation_errors"]

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


class Settings(BaseModel):
    """The settings of a pipeline as a whole."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str = Field(
        description="name of the dataset in the store: letters, digits, `.`, `_`, `-`",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
    )
    max_quarantined: int | float | None = Field(
        None,
        ge=0,
        description="most documents that may be quarantined: a count, or a share such as 0.01; more exits with 3; null is off",
    )
    time_limit: float = Field(
        60.0,
        gt=0,
        description="seconds that one stage may take for one document before the document is quarantined",
    )
    shard_megabytes: float = Field(32.0, gt=0, le=512, description="about how many MB of text one task works on")


@dataclass(frozen=True, slots=True)
class ConfiguredStage:
    """A stage of a pipeline.

    Attributes:
        id: Its name in this pipeline, in reports and in `--set`.
        name: What the file calls it: a registered name, `module:Class`, or the path of a datatrove block.
        stage: The checked settings.
        written: The settings as written, environment variables by name.
    """

    id: str
    name: str
    stage: Stage
    written: dict[str, Any]

    def shown_settings(self) -> dict[str, Any]:
        """All settings with defaults filled in; those that come from the environment by the variable's name."""
        settings = self.stage.model_dump(mode="json")
        return {
            key: self.written[key] if "${env:" in str(self.written.get(key, "")) else value
            for key, value in settings.items()
        }


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A checked pipeline file."""

    path: Path
    settings: Settings
    sources: tuple[ConfiguredStage, ...]
    stages: tuple[ConfiguredStage, ...]

    @property
    def root(self) -> Path:
        """The folder of the pipeline file: relative paths start here."""
        return self.path.resolve().parent


def load_pipeline(path: Path, overrides: Sequence[str] = ()) -> Pipeline:
    """Read and check a pipeline file.

    Args:
        path: The YAML file.
        overrides: `ID.key=value` or `key=value`, as given with `--set`.

    Raises:
        CurateError: The file cannot be read, or (as `ConfigurationErrors`) all that is wrong with it.
    """
    located = _load_with_includes(path, ())
    problems: list[CurateError] = []
    if not isinstance(located.value, dict):
        raise CurateError("a pipeline file is a map with `dataset`, `sources` and `stages`", located.where())
    _apply_overrides(located, overrides, problems)
    if str(path.resolve().parent) not in sys.path:
        sys.path.append(str(path.resolve().parent))  # a stage of the user's own stands beside the pipeline file
    general = {key: value for key, value in located.value.items() if key not in ("sources", "stages")}
    settings = _checked(Settings, general, located, (), "the pipeline", problems, also=("sources", "stages", "include"))
    sources = _entries(located, "sources", problems)
    stages = _entries(located, "stages", problems)
    _check_ids([*sources, *stages], problems)
    if problems:
        raise ConfigurationErrors(problems)
    assert isinstance(settings, Settings)
    return Pipeline(
        path, settings, tuple(entry for _, entry in sources if entry), tuple(entry for _, entry in stages if entry)
    )  # fmt: skip


def _load_with_includes(path: Path, seen: tuple[Path, ...]) -> Located:
    if path.resolve() in seen:
        raise CurateError(f"`{path}` includes itself", str(path), "take one of the `include:` lines away")
    located = load_yaml(path)
    if not isinstance(located.value, dict) or "include" not in located.value:
        return located
    included = located.value.pop("include")
    names = [included] if isinstance(included, str) else included
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise CurateError("`include` is a file name or a list of them", located.where("include"))
    for name in reversed(names):
        other = path.parent / name
        if not other.is_file():
            raise CurateError(
                f"there is no file `{name}` to include",
                located.where("include"),
                "it is looked for beside this file",
            )
        base = _load_with_includes(other, (*seen, path.resolve()))
        if not isinstance(base.value, dict):
            raise CurateError("an included file is a map, like a pipeline file", base.where())
        located = _merge(base, located)
    return located


def _merge(base: Located, over: Located) -> Located:
    """`over` on top of `base`; the lists `sources` and `stages` follow one another."""
    merged = Located({**base.value, **over.value}, over.name, {**base.places, **over.places})
    for key in ("sources", "stages"):
        first, second = base.value.get(key), over.value.get(key)
        if isinstance(first, list) and isinstance(second, list):
            merged.value[key] = [*first, *second]
            for place, where in over.places.items():
                if len(place) > 1 and place[0] == key and isinstance(place[1], int):
                    merged.places[(key, place[1] + len(first), *place[2:])] = where
            merged.places.update(
                {place: where for place, where in base.places.items() if place[:1] == (key,) and len(place) > 1}
            )
    return merged


# ---- --set


def _apply_overrides(located: Located, overrides: Sequence[str], problems: list[CurateError]) -> None:
    for number, override in enumerate(overrides, 1):
        name, equals, text = override.partition("=")
        where = f"--set #{number}"
        if not equals or not name:
            problems.append(
                CurateError(f"`{override}` is not KEY=VALUE", where, "e.g. --set gopher_quality.min_words=80")
            )
            continue
        target, path, keys = _target(located, name.split("."))
        if target is None:
            ids = list(_ids(located))
            problems.append(
                CurateError(
                    f"no stage has the id `{name.split('.')[0]}`",
                    where,
                    did_you_mean(name.split(".")[0], ids) or f"ids: {', '.join(ids)}",
                )
            )
            continue
        for key in keys[:-1]:
            target, path = target.setdefault(key, {}), (*path, key)
        try:
            target[keys[-1]] = parse_scalar(text, where)
        except CurateError as error:
            problems.append(error)
        located.places[(*path, keys[-1])] = (where, 0, 0)


def _ids(located: Located) -> Iterable[str]:
    return (name for name, _, _ in _identified(located))


def _identified(located: Located) -> Iterable[tuple[str, dict[str, Any], tuple[str | int, ...]]]:
    for key in ("sources", "stages"):
        entries = located.value.get(key)
        for index, entry in enumerate(entries if isinstance(entries, list) else []):
            if isinstance(entry, dict):
                yield _default_id(entry), entry, (key, index)


def _target(located: Located, keys: list[str]) -> tuple[Any, tuple[str | int, ...], list[str]]:
    for name, entry, path in _identified(located):
        if name == keys[0] and len(keys) > 1:
            return entry, path, keys[1:]
    return (located.value, (), keys) if keys[0] in Settings.model_fields else (None, (), keys)


def _default_id(entry: dict[str, Any]) -> str:
    name = str(entry.get("id") or entry.get("stage") or entry.get("use") or "")
    return name if entry.get("id") else re.split(r"[.:]", name)[-1]


# ---- stages


def _entries(located: Located, key: str, problems: list[CurateError]) -> list[tuple[str, ConfiguredStage | None]]:
    entries = located.value.get(key, [] if key == "stages" else None)
    if not isinstance(entries, list) or (key == "sources" and not entries):
        need = " of at least one source" if key == "sources" else ""
        example = 'stage: files, paths: ["in/*.jsonl"]' if key == "sources" else "stage: unicode"
        problems.append(CurateError(f"`{key}` must be a list{need}", located.where(key), f"{key}: [{{{example}}}]"))
        return []
    return [_entry(located, (key, index), entry, problems) for index, entry in enumerate(entries)]


def _entry(
    located: Located, path: tuple[str | int, ...], entry: Any, problems: list[CurateError]
) -> tuple[str, ConfiguredStage | None]:
    where = located.where(*path)
    if not isinstance(entry, dict) or ("stage" in entry) == ("use" in entry):
        problems.append(CurateError("a stage is a map with `stage: NAME` (or `use: datatrove.pipeline...`)", where))
        return "", None
    written = {key: value for key, value in entry.items() if key not in ("id", "stage", "use")}
    identity, name = _default_id(entry), str(entry.get("stage", entry.get("use")))
    if not _ID.fullmatch(identity):
        problems.append(
            CurateError(f"`{identity}` is not an id", located.where(*path, "id"), "letters, digits, `_` and `-`")
        )
    try:
        settings = substitute_environment(written, located, path)
        if "use" in entry:
            from curate.stages.datatrove import block_stage

            return identity, ConfiguredStage(
                identity, name, block_stage(name, settings), {"use": name, "parameters": written}
            )
        kind = find_stage(name)
    except CurateError as error:
        key = "use" if "use" in entry else "stage"
        problems.append(CurateError(error.problem, error.where or located.where(*path, key), error.hint))
        return identity, None
    if issubclass(kind, Source) != (path[0] == "sources"):
        problems.append(
            CurateError(
                f"`{name}` is a {kind.kind}",
                where,
                f"move it to `{'stages' if path[0] == 'sources' else 'sources'}:`",
            )
        )
        return identity, None
    stage = _checked(kind, settings, located, path, f"stage `{name}`", problems, shown=written)
    return identity, ConfiguredStage(identity, name, stage, written) if isinstance(stage, Stage) else None


def _check_ids(entries: Sequence[tuple[str, ConfiguredStage | None]], problems: list[CurateError]) -> None:
    seen: set[str] = set()
    for identity, _ in entries:
        if identity and identity in seen:
            problems.append(CurateError(f"two stages have the id `{identity}`", hint="give one of them another `id:`"))
        seen.add(identity)


def _checked(
    model: type[BaseModel],
    settings: dict[str, Any],
    located: Located,
    path: tuple[str | int, ...],
    subject: str,
    problems: list[CurateError],
    *,
    shown: dict[str, Any] | None = None,
    also: Sequence[str] = (),
) -> BaseModel | None:
    try:
        return model.model_validate(settings)
    except ValidationError as error:
        problems.extend(validation_errors(error, model, located, path, subject, shown=shown, also=also))
        return None


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
    """pydantic's errors in our words, each with the place in the file.

    Args:
        error: What pydantic found.
        model: The model that refused.
        located: The file.
        path: Where the model's settings stand in it.
        subject: What to call the model.
        shown: The settings as written: a value from the environment is never shown.
        also: Further keys that may stand there, for did-you-mean.
    """
    errors = []
    for detail in error.errors(include_url=False):
        loc = tuple(
            part
            for part in detail["loc"]
            if not (isinstance(part, str) and part.startswith(("function-", "constrained-")))
        )
        name = ".".join(str(part) for part in loc)
        where = located.where(*path, *loc).removesuffix(":0:0")
        if detail["type"] == "extra_forbidden":
            known = [*model.model_fields, *also] if len(loc) == 1 else []
            hint = did_you_mean(str(loc[-1]), known) or (f"it has: {', '.join(known)}" if known else None)
            errors.append(CurateError(f"{subject} has no setting `{name}`", where, hint))
        elif detail["type"] == "missing":
            errors.append(CurateError(f"{subject} needs the setting `{name}`", where))
        else:
            message = detail["msg"].removeprefix("Value error, ")
            message = message[:1].lower() + message[1:]
            secret = "${env:" in str((shown or {}).get(str(loc[0]) if loc else "", ""))
            given = "" if secret or not loc else f", got {str(detail['input'])[:80]!r}"
            errors.append(CurateError(f"{subject}: " + (f"`{name}`: " if name else "") + message + given, where))
    return _one_for_each_place(errors)


def _one_for_each_place(errors: list[CurateError]) -> list[CurateError]:
    """A union reports each of its members; the first is enough."""
    seen: set[str | None] = set()
    return [error for error in errors if not (error.where in seen or seen.add(error.where))]
