"""gates.yaml: what a model has to show before it becomes the champion, in the words of `curate compare --gate`.

    gates:
      - bits_per_byte not worse than 0.5%      # than the champion, on the same items
      - accuracy on sst2 at least 0.6          # its own, whatever the champion has
      - contamination at most 1%
      - size at most 100 MB

All of it is read from evaluations that are on record; nothing is measured here. A gate that cannot tell is not passed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from curate.dataset import refs
from curate.dataset.runs import records
from curate.dataset.store import Store
from curate.errors import ConfigurationErrors, CurateError
from curate.evaluation.compare import compare
from curate.evaluation.gates import Gate, Judged, judge, judge_limits, read_gate
from curate.evaluation.pairs import pair_of
from curate.evaluation.result import Evaluation, open_evaluation

__all__ = ["GateFile", "GateSettings", "Outcome", "judge_candidate", "read_gate_file"]

OF_TOKENS = ("token_perplexity", "token_accuracy")
"""Metrics that compare models of one tokenizer only."""
OF_DATA = {
    "contamination": "--contamination", "memorization": "--memorization 500 --memorization-from",
    "leaks": "--leaks 500 --memorization-from",
}  # fmt: skip
"""What is of the training's data, and what of `curate eval` names the version in which it is looked for."""
FIRST = "there is no champion yet to compare with"


class GateSettings(BaseModel):
    """What stands in a gates.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    gates: tuple[str, ...] = Field(
        min_length=1,
        description="Sentences: METRIC [on TASK] `better`, `not worse than`, `at least` or `at most` something; also "
        "`contamination`, `memorization`, `leaks`, `latency` and `size` `at most` something.",
    )


@dataclass(frozen=True, slots=True)
class GateFile:
    """The gates of a file, and the sha256 of its bytes."""

    gates: tuple[Gate, ...]
    hash: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the gates.

    Attributes:
        judged: One of each gate that was asked.
        waived: Gates that were not: there is nothing to compare with.
        evaluations: Folders that were read, by alias.
        notes: What people should know of the comparison.
    """

    judged: tuple[Judged, ...]
    waived: tuple[Gate, ...]
    evaluations: dict[str, str]
    notes: tuple[str, ...]

    @property
    def missed(self) -> list[Judged]:
        """Gates that are not passed."""
        return [one for one in self.judged if one.missing]

    def json(self) -> list[dict[str, object]]:
        """A record of each gate, as `--json` prints it and the log keeps it."""
        waived = [{"gate": one.text, "passed": True, "verdict": "waived", "missing": [FIRST]} for one in self.waived]
        return [*(one.json() for one in self.judged), *waived]


def read_gate_file(path: Path) -> GateFile:
    """The gates of a file.

    Raises:
        CurateError: The file cannot be read; or (as `ConfigurationErrors`) all that is wrong with it.
    """
    from curate.config.validation import validation_errors
    from curate.config.yamlfile import load_yaml
    from curate.files import file_hash

    located = load_yaml(path)
    if not isinstance(located.value, dict):
        raise CurateError(
            "a file of gates is a map with `gates`", located.where(), "gates: [bits_per_byte not worse than 0.5%]"
        )
    try:
        settings = GateSettings.model_validate(located.value)
    except ValidationError as error:
        raise ConfigurationErrors(validation_errors(error, GateSettings, located, (), "the file of gates")) from None
    found, wrong = list[Gate](), list[CurateError]()
    for number, text in enumerate(settings.gates):
        try:
            found.append(read_gate(text))
        except CurateError as error:
            place = (error.where or "").rpartition(", ")[2]
            wrong.append(CurateError(error.problem, f'{located.where("gates", number)}: "{text}", {place}', error.hint))
    if wrong:
        raise ConfigurationErrors(wrong)
    return GateFile(tuple(found), file_hash(path))


def judge_candidate(
    store: Store, gates: Sequence[Gate], candidate: dict[str, Any], champion: dict[str, Any] | None
) -> Outcome:
    """Judge a model by its evaluation, and where gates compare, by that of the champion on the same items.

    Raises:
        CurateError: A model was not evaluated, or not on what a gate is about, or not on the items of the other; the hint
            says what to run.
    """
    other = _evaluation_of(store, candidate)
    told = {"candidate": str(other.folder)}
    limits, compared = ([gate for gate in gates if bool(gate.limit) == limit] for limit in (True, False))
    judged = [_of_its_data(store, one, other, candidate) for one in judge_limits(limits, {candidate["run"]: other})]
    notes = tuple[str, ...]()
    if compared and champion:
        first = _evaluation_of(store, champion)
        told["champion"] = str(first.folder)
        for gate in compared:
            _check_comparable(gate, (first, champion), (other, candidate))
        found = compare([first, other])
        judged += judge(compared, found)
        notes = found.notes
    return Outcome(tuple(judged), () if champion else tuple(compared), told, notes)


def _of_its_data(store: Store, one: Judged, found: Evaluation, entry: dict[str, Any]) -> Judged:
    """A verdict, where it is of what the model was trained on; passed only where all of that was looked at.

    Raises:
        CurateError: It is of another version.
    """
    metric, versions = one.gate.metric, entry["versions"]
    if metric not in OF_DATA:
        return one
    measured = found.result[metric]
    others = [thing for thing in versions if measured["version"] not in _called(store, thing)]
    if len(others) == len(versions):
        told = ", ".join(thing["name"] for thing in versions) or "no version on record"
        raise CurateError(
            f"`{metric}` of run `{entry['run']}` was measured on {measured['name']}, and it was trained on {told}",
            str(found.folder),
            f"`curate eval {entry['folder']} {OF_DATA[metric]} {versions[0]['name']} --out {found.folder}` measures it"
            if versions else None,
        )  # fmt: skip
    if not others or one.missing:
        return one
    unseen = ", ".join(thing["name"] for thing in others)
    words = f"cannot tell: it was trained on {unseen}, too, and measured on {measured['name']} alone"
    return replace(one, missing=(words,), verdict="cannot tell")


def _called(store: Store, thing: dict[str, str]) -> set[str]:
    """The ids of a version: its own, and what an erasure has made of it."""
    known, _ = refs.read(store, thing["name"].partition("@")[0])
    return {thing["id"], refs.became(known, thing["id"])}


def _evaluation_of(store: Store, entry: dict[str, Any]) -> Evaluation:
    """The newest evaluation of a model that is still where it was written.

    Raises:
        CurateError: There is none.
    """
    folders = dict.fromkeys(
        one["facts"]["folder"]
        for one in reversed(records(store, "evaluation"))
        if any(thing.get("kind") == "model" and thing.get("id") == entry["id"] for thing in one["inputs"])
    )
    for folder in folders:
        try:
            found = open_evaluation(Path(folder))
        except CurateError:
            continue
        if found.result["weights"] == entry["id"]:
            return found
    problem = (
        "the evaluations of run `{}` are gone or of other weights now" if folders else "run `{}` was not evaluated"
    )
    raise CurateError(
        problem.format(entry["run"]), next(iter(folders), store.location),
        f"`curate eval {entry['folder']}` measures it (--tasks FILE, --data VERSION say on what)",
    )  # fmt: skip


def _check_comparable(
    gate: Gate, first: tuple[Evaluation, dict[str, Any]], other: tuple[Evaluation, dict[str, Any]]
) -> None:
    """Refuse to compare what was not measured on the same items, or is not of the same tokens."""
    if gate.metric in OF_TOKENS and first[1]["tokenizer"] != other[1]["tokenizer"]:
        raise CurateError(
            f"`{gate.metric}` cannot compare models of different tokenizers", gate.text,
            "`bits_per_byte` can: it is of the text",
        )  # fmt: skip
    of_both = {**first[0].result["tasks"], **other[0].result["tasks"]}
    tasks = [task for task, metrics in of_both.items() if gate.task in (None, task) and gate.metric in metrics]
    if not tasks:
        of = f" of the task `{gate.task}`" if gate.task else ""
        hint = " and ".join(_command(*one) for one in (first, other))
        raise CurateError(
            f"`{gate.metric}`{of} was measured of neither model",
            gate.text,
            f"{hint} with --tasks FILE or --data VERSION",
        )
    for task in tasks:
        reason = pair_of(task, first[0], other[0])
        if isinstance(reason, str):
            lacking = first if task not in first[0].result["tasks"] else other
            raise CurateError(
                f"run `{other[1]['run']}` and the champion, run `{first[1]['run']}`, cannot be compared on `{task}`: {reason}",
                gate.text, f"{_command(*lacking)} with the tasks and data of the other one",
            )  # fmt: skip


def _command(one: Evaluation, entry: dict[str, Any]) -> str:
    return f"`curate eval {entry['folder']} --out {one.folder}`"
