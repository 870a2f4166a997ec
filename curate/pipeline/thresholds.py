"""Which thresholds of a pipeline file are others than those that a version was made with; other changes are errors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from shlex import quote
from typing import Any, NamedTuple

from curate.config.pipeline import ConfiguredStage, Pipeline
from curate.dataset.reader import Dataset
from curate.errors import ConfigurationErrors, CurateError
from curate.jsontext import dumps
from curate.pipeline.explain import changed_code, last_plan
from curate.pipeline.fingerprint import describe
from curate.stages.contract import Filter

__all__ = ["Change", "Changed", "Touched", "touched"]

_AT_WORK = {
    "source": "it decides what is read",
    "mapper": "`{}` edits, or drops, while it reads the texts",
    "audit": "`{}` measures by it",
    "expander": "`{}` makes documents by it",
    "global": "`{}` decides over all documents",
}
"""Why a setting cannot be decided from what is stored, by the kind of its stage."""


class Change(NamedTuple):
    """A setting that is another one than it was."""

    setting: str
    before: Any
    after: Any


class Changed(NamedTuple):
    """A filter with thresholds that are others than they were.

    Attributes:
        before: As it was.
        after: As it would be.
        changes: Its thresholds that differ.
    """

    before: Filter
    after: Filter
    changes: Sequence[Change]

    def only(self, change: Change) -> Filter:
        """The filter as it was, but for one change."""
        return _with(self.before, {change.setting: change.after})


class Touched(NamedTuple):
    """What a file changes.

    Attributes:
        stages: The filters with other thresholds, by id.
        notes: What else a run would find changed: libraries, code.
    """

    stages: Mapping[str, Changed]
    notes: Sequence[str]


def touched(dataset: Dataset, pipeline: Pipeline) -> Touched:
    """What a pipeline file changes of the pipeline that a version was made by.

    Raises:
        CurateError: Something is changed that is not decided from what is stored, or nothing is.
    """
    rows = dataset.manifest["stages"]
    entries = (*pipeline.sources, *pipeline.stages)
    name = f"{dataset.name}@{dataset.tag or dataset.version[:12]}"
    made_by, asked = [(row["id"], row["stage"]) for row in rows], [(entry.id, entry.name) for entry in entries]
    if made_by != asked:
        differing = dict.fromkeys(
            one for one, _ in (*asked, *made_by) if (one in dict(asked)) != (one in dict(made_by))
        )
        told = ", ".join(f"`{one}`" for one in differing) or "their order"
        raise CurateError(
            f"the file has other stages than {name} was made by: {told}",
            str(pipeline.path),
            f"curate run {pipeline.path}",
        )
    stages: dict[str, Changed] = {}
    problems: list[CurateError] = []
    for entry, row in zip(entries, rows, strict=True):
        changes = list(_changes(entry, row["settings"]))
        wrong = [change for change in changes if not _decides(entry, change)]
        problems += [_undecided(entry, change, pipeline) for change in wrong]
        if changes and not wrong and isinstance(entry.stage, Filter):
            before = _with(entry.stage, {change.setting: change.before for change in changes})
            stages[entry.id] = Changed(before, entry.stage, changes)
    if problems:
        raise ConfigurationErrors(problems)
    if not stages:
        raise CurateError(
            f"nothing is changed: the file says what {name} was made by",
            str(pipeline.path),
            f"--set ID.KEY=VALUE; {_thresholds(pipeline)}",
        )
    return Touched(stages, list(_notes(dataset, pipeline, stages)))


def _with(stage: Filter, settings: dict[str, Any]) -> Filter:
    return type(stage).model_validate({**stage.model_dump(mode="json"), **settings}, context={"root": stage.beside("")})


def _changes(entry: ConfiguredStage, before: dict[str, Any]) -> Iterator[Change]:
    for key, value in entry.shown_settings().items():
        if before.get(key) != value:
            yield Change(key, before.get(key), value)


def _decides(entry: ConfiguredStage, change: Change) -> bool:
    """Whether a changed setting is a threshold, with values that are known."""
    stage, secret = entry.stage, "${env:"
    if not isinstance(stage, Filter) or change.setting not in stage.thresholds:
        return False
    return secret not in f"{change.before} {change.after}" and not _edits(stage, change)


def _edits(stage: Filter, change: Change) -> bool:
    """Whether a change makes a filter edit that did not, or the other way: later stages would see other texts."""
    return _with(stage, {change.setting: change.before}).edits() != stage.edits()


def _undecided(entry: ConfiguredStage, change: Change, pipeline: Pipeline) -> CurateError:
    """The error of a setting that cannot be decided from what is stored."""
    if isinstance(entry.stage, Filter):
        known = ", ".join(f"`{one}`" for one in sorted(entry.stage.thresholds)) or "none of its settings"
        told = f"what it measures depends on it; decided from what is stored: {known}"
        if (
            change.setting in entry.stage.thresholds
            and "${env:" not in f"{change.before} {change.after}"
            and _edits(entry.stage, change)
        ):
            told = "it says whether texts are edited, and later stages would see others"
    else:
        told = _AT_WORK[entry.stage.kind].format(entry.id)
    value = dumps(change.after) if isinstance(change.after, dict) else change.after
    value = "..." if "${env:" in str(change.after) else value
    run = f"curate run {pipeline.path.name} --set {quote(f'{entry.id}.{change.setting}={value}')}"
    return CurateError(
        f"`{entry.id}.{change.setting}` needs documents to be worked on again: {told}",
        entry.where,
        f"{run}, first with --sample 1000",
    )


def _thresholds(pipeline: Pipeline) -> str:
    listed = [
        f"{entry.id}.{key}"
        for entry in pipeline.stages
        if isinstance(entry.stage, Filter)
        for key in sorted(entry.stage.thresholds)
    ]
    return f"there is: {', '.join(listed[:8])}" + (", ..." if len(listed) > 8 else "") if listed else "no stage has any"


def _notes(dataset: Dataset, pipeline: Pipeline, stages: Mapping[str, Changed]) -> Iterator[str]:
    """What a run would measure again, though its settings are the same."""
    last = last_plan(dataset.store, dataset.name)
    for entry in pipeline.stages:
        if entry.id in stages:
            for told in changed_code(entry.id, describe(entry).facts, last):
                yield f"a run would measure `{entry.id}` again ({told}); this is of what is stored"
