"""From a pipeline file to a checked pipeline: every error at once, each with its place and the next step.

dataset: support-chat                  name in the store
include: common.yaml                   other files: their keys where ours has none, their sources and stages before ours
sources: [...]  stages: [...]          `{stage: NAME, id: ..., setting: ...}` or `{use: datatrove.pipeline..., parameter: ...}`
max_quarantined: 10                    a count, or a share such as 0.01; more makes the run exit with 3
licenses: {allow: [CC0-1.0]}           a gate, too: others make the run exit with 3
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from curate.config.licenses import Licenses
from curate.config.overrides import apply_overrides, default_id
from curate.config.resources import Resources
from curate.config.validation import mask, masked, validation_errors
from curate.config.where import Where, checked_where
from curate.config.yamlfile import Located, load_yaml, substitute_environment
from curate.errors import ConfigurationErrors, CurateError
from curate.stages.contract import Global, Source, Stage
from curate.stages.fetched import Fetched
from curate.stages.registry import find_stage

__all__ = ["ConfiguredStage", "Pipeline", "Settings", "load_pipeline", "validation_errors"]

BESIDE = ("id", "stage", "use", "resources", "where")
"""What stands beside the settings of a stage."""
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
    min_documents: int = Field(
        1,
        ge=0,
        description="fewest documents that a version may have; fewer exits with 3, and the newest version stays",
    )
    licenses: Licenses | None = Field(
        None,
        description="the licences that documents may have, as SPDX ids in a column: `{allow: [CC0-1.0, CC-BY-4.0]}`; others, "
        "or none that is known (unless `allow` has null), exit with 3, and the newest version stays",
    )
    time_limit: float = Field(
        60.0,
        gt=0,
        description="seconds that one stage may compute or sleep for one document before the document is quarantined; the "
        "next run tries it again, unless it is told to `--accept-quarantined`",
    )
    shard_megabytes: float = Field(32.0, gt=0, le=512, description="about how many MB of documents one task works on")

    @field_validator("max_quarantined")
    @classmethod
    def _share(cls, limit: int | float | None) -> int | float | None:
        if isinstance(limit, float) and not limit <= 1:
            raise ValueError("a share is at most 1.0, and a count has no decimal point")
        return limit


@dataclass(frozen=True, slots=True)
class ConfiguredStage:
    """A stage of a pipeline.

    Attributes:
        id: Its name in this pipeline, in reports and in `--set`.
        name: What the file calls it: a registered name, `module:Class`, or the path of a datatrove block.
        stage: The checked settings.
        written: The settings as written, environment variables by name.
        where: Its place in the pipeline file.
        resources: What its tasks need of a machine.
        documents: The documents that it looks at: by column their values; without any, all.
    """

    id: str
    name: str
    stage: Stage
    written: dict[str, Any]
    where: str
    resources: Resources | None = None
    documents: Where = field(default_factory=dict[str, Any])

    def placed(self, error: CurateError) -> CurateError:
        """An error of the stage, with the stage's place in the file where the error names no other, or only a setting."""
        if not error.where or error.where in type(self.stage).model_fields:
            setting = f"`{error.where}`: " if error.where else ""
            error.problem, error.where = setting + error.problem, self.where
        error.problem, error.hint = mask(error.problem, self.written), error.hint and mask(error.hint, self.written)
        return error

    def shown_settings(self) -> dict[str, Any]:
        """All settings but `pace`, with defaults filled in; those that come from the environment by the variable's name."""
        settings = self.stage.model_dump(mode="json")
        chosen = {"where": {name: list(values) for name, values in self.documents.items()}} if self.documents else {}
        return chosen | {
            key: self.written[key] if "${env:" in str(self.written.get(key, "")) else value
            for key, value in settings.items()
            if key not in self.pace
        }

    @property
    def pace(self) -> frozenset[str]:
        """Settings that say how gently a source fetches, and nothing of what it gives: no version is another by them."""
        return self.stage.pace if isinstance(self.stage, Fetched) else frozenset()


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
    for key in ("sources", "stages"):
        if isinstance(located.value.get(key), list):  # a bare name is a stage without settings
            located.value[key] = [{"stage": one} if isinstance(one, str) else one for one in located.value[key]]
    problems += apply_overrides(located, overrides, tuple(Settings.model_fields))
    if str(path.resolve().parent) not in sys.path:
        sys.path.append(str(path.resolve().parent))  # a stage of the user's own stands beside the pipeline file
    settings = _general(located, problems)
    sources = _entries(located, "sources", problems)
    stages = _entries(located, "stages", problems)
    _check_ids(located, {"sources": sources, "stages": stages}, problems)
    _check_order(stages, problems)
    if problems:
        raise ConfigurationErrors(problems)
    assert settings is not None
    return Pipeline(
        path, settings, tuple(entry for _, entry in sources if entry), tuple(entry for _, entry in stages if entry)
    )  # fmt: skip


def _load_with_includes(path: Path, around: tuple[Path, ...]) -> Located:
    located = load_yaml(path)
    if not isinstance(located.value, dict) or "include" not in located.value:
        return located
    included = located.value.pop("include")
    names = [included] if isinstance(included, str) else included
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise CurateError("`include` is a file name or a list of them", located.where("include"))
    around = (*around, path.resolve())
    places = [located.where("include", index) for index in range(len(names))]
    for name, where in zip(reversed(names), reversed(places), strict=True):
        other = path.parent / name
        if other.resolve() in around:
            raise CurateError(f"`{name}` includes itself", where, "take one of the `include:` lines away")
        if not other.is_file():
            raise CurateError(f"there is no file `{name}` to include", where, "it is looked for beside this file")
        base = _load_with_includes(other, around)
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


# ---- settings and stages


def _general(located: Located, problems: list[CurateError]) -> Settings | None:
    general = {key: value for key, value in located.value.items() if key not in ("sources", "stages")}
    named = [key for key, value in general.items() if "${env:" in str(value)]
    for key in named:
        problems.append(
            CurateError(
                f"`{key}` cannot come from the environment",
                located.where(key),
                "`${env:NAME}` is for settings of stages; this one: --set " + f"{key}=...",
            )
        )
    if named:
        return None
    also = ("sources", "stages", "include")
    found = _checked(Settings, general, located, (), "the pipeline", problems, also=also)
    return found if isinstance(found, Settings) else None


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
    written = {key: value for key, value in entry.items() if key not in BESIDE}
    identity, name = default_id(entry), str(entry.get("stage", entry.get("use")))
    if not _ID.fullmatch(identity):
        problems.append(
            CurateError(f"`{identity}` is not an id", located.where(*path, "id"), "letters, digits, `_` and `-`")
        )
    resources = _resources(located, (*path, "resources"), entry.get("resources"), problems)
    try:
        settings = substitute_environment(written, located, path)
        if "use" in entry:
            stage, written = _block(name, written, settings)
            documents = checked_where(entry.get("where"), stage, located.where(*path, "where"))
            return identity, ConfiguredStage(identity, name, stage, written, where, resources, documents)
        kind = find_stage(name)
    except ConfigurationErrors as several:
        problems.extend(several.errors)
        return identity, None
    except CurateError as error:
        key = "use" if "use" in entry else "stage"
        place = error.where or located.where(*path, key)
        problems.append(masked(CurateError(error.problem, place, error.hint), written))
        return identity, None
    if issubclass(kind, Source) != (path[0] == "sources"):
        other = "stages" if path[0] == "sources" else "sources"
        problems.append(CurateError(f"`{name}` is a {kind.kind}", where, f"move it to `{other}:`"))
        return identity, None
    stage = _checked(kind, settings, located, path, f"stage `{name}`", problems, shown=written)
    if not isinstance(stage, Stage):
        return identity, None
    try:
        documents = checked_where(entry.get("where"), stage, located.where(*path, "where"))
    except CurateError as error:
        problems.append(error)
        return identity, None
    return identity, ConfiguredStage(identity, name, stage, written, where, resources, documents)


def _resources(
    located: Located, path: tuple[str | int, ...], given: Any, problems: list[CurateError]
) -> Resources | None:
    if given is None:
        return None
    if not isinstance(given, dict):
        problems.append(CurateError("`resources` is a map", located.where(*path), "resources: {cpus: 2, memory: 8}"))
        return None
    found = _checked(Resources, given, located, path, "`resources`", problems)
    return found if isinstance(found, Resources) else None


def _block(name: str, written: dict[str, Any], settings: dict[str, Any]) -> tuple[Stage, dict[str, Any]]:
    from curate.stages.datatrove.stage import block_stage

    return block_stage(name, settings), {"use": name, "parameters": written}


def _check_order(stages: Sequence[tuple[str, ConfiguredStage | None]], problems: list[CurateError]) -> None:
    """A split must know of all duplicates, or near-duplicates stand on both sides of it."""
    split = next((entry for _, entry in stages if entry and entry.name == "split"), None)
    for _, entry in stages[[known for _, known in stages].index(split) :] if split else ():
        if split and entry and isinstance(entry.stage, Global) and not entry.stage.knows_splits:
            problem = f"`{split.id}` stands before `{entry.id}`: duplicates could stand in several splits"
            problems.append(CurateError(problem, entry.where, f"move `{split.id}` behind it"))


def _check_ids(
    located: Located, lists: dict[str, list[tuple[str, ConfiguredStage | None]]], problems: list[CurateError]
) -> None:
    seen: set[str] = set()
    for key, entries in lists.items():
        for index, (identity, _) in enumerate(entries):
            if identity and identity in seen:
                where = located.where(key, index)
                problems.append(
                    CurateError(f"two stages have the id `{identity}`", where, "give one of them another `id:`")
                )
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
        return model.model_validate(settings, context={"root": Path(located.name).resolve().parent})
    except ValidationError as error:
        problems.extend(validation_errors(error, model, located, path, subject, shown=shown, also=also))
        return None
