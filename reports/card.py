"""The model card of a run (Mitchell et al. 2019): what it is, its data and what each stage removed, what it can do, its limits.

It joins what the run's folder says with what the store knows: the version that it was trained on, audits of that version, and
every evaluation of its weights, those of its exports among them. What nobody measured is said to be unknown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.dataset.reader import open_dataset
from curate.dataset.runs import records
from curate.dataset.store import Store
from curate.errors import CurateError
from curate.evaluation.result import Evaluation, open_evaluation
from curate.jsontext import loads
from curate.reports.data import RunData
from curate.reports.drawing import Figure
from curate.reports.evaluation import group_figures, measured_sections, metric_rows
from curate.reports.numbers import number

__all__ = ["Card", "collect_card"]

_LEARNED = {
    "causal": "the next token from those before it", "masked": "tokens that were hidden",
    "multi_token": "the next tokens, several at once", "seq2seq": "a text from a text",
    "classification": "a label of a text", "token_classification": "a label of each word",
    "sft": "what the assistant says in conversations", "preference": "better answers over worse ones",
    "reward": "how good an answer to a prompt is",
    "reinforcement": "texts that a rule rewards", "distillation": "the next token as a teacher predicts it",
}  # fmt: skip
_USE = {
    "causal": "to go on with texts like those that it was trained on, and as the begin of other trainings",
    "masked": "as the begin of classifiers and taggers", "seq2seq": "to make target texts of texts like those in its data",
    "classification": "to label texts like those in its data",
    "token_classification": "to label words of texts like those in its data",
    "reward": "to score answers to prompts like those in its data, for reinforcement or the best of several",
    "sft": "to answer in conversations like those in its data",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What the card tells of an evaluation."""

    title: str
    tasks: list[tuple[str, str, list[tuple[str, ...]], list[Figure]]]
    sections: list[tuple[str, list[tuple[str, ...]]]]
    warnings: list[str]


@dataclass(frozen=True, slots=True)
class Card:
    """What a run's page tells beside its training."""

    about: str
    use: str
    splits: list[tuple[str, ...]]
    stages: list[tuple[str, list[tuple[str, ...]]]]
    audits: list[str]
    evaluations: list[Evaluated]
    limits: list[str]


def collect_card(run: RunData, store: Store) -> Card:
    """The card of a run."""
    packs = _packs(run)
    evaluations = [_evaluated(one) for one in _evaluations(run, store)]
    stages = [(f"{name} {version[:12]}", _stages(store, name, version)) for name, version in _versions(run, packs)]
    audits = [words for _, version in _versions(run, packs) for words in _audits(store, version)]
    kind = str((run.config or {}).get("config", {}).get("objective", {}).get("kind", ""))
    return Card(
        _about(run, kind), _USE.get(kind, "for texts like those that it was trained on"), list(_splits(packs)),
        stages, audits, evaluations, list(_limits(run, packs, evaluations, audits)),
    )  # fmt: skip


def _about(run: RunData, kind: str) -> str:
    model = (run.config or {}).get("config", {}).get("model", {})
    if not model:
        return ""
    family, count = str(model.get("kind", "model")).replace("_", "-"), _result(run).get("parameters")
    article = "An" if family[:1] in "aeiou" else "A"
    size = f" with {count:,} parameters" if isinstance(count, int) else ""
    learned = f" that has learned {_LEARNED[kind]}" if kind in _LEARNED else ""
    base = f" It began with the weights of {model['path']}." if model.get("path") else ""
    return f"{article} {family}{size}{learned}.{base}"


def _result(run: RunData) -> dict[str, Any]:
    try:
        found = loads((run.folder / "result.json").read_bytes()) if run.folder else {}
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


# ---- data


def _packs(run: RunData) -> dict[str, dict[str, Any]]:
    """The data of the run by name, as its configuration has it."""
    data = (run.config or {}).get("data") or {}
    packs = {str(data["dataset"]): data} if "dataset" in data else data
    return {name: one for name, one in packs.items() if isinstance(one, dict) and "version" in one}


def _versions(run: RunData, packs: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    named = [(str(one.get("dataset", name)), str(one["version"])) for name, one in packs.items()]
    return list(dict.fromkeys(named)) or ([(run.dataset, run.version)] if run.version else [])


def _splits(packs: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    for name, pack in packs.items():
        for split, counts in sorted(pack.get("splits", {}).items()):
            numbers = (number(counts[key]) if key in counts else "" for key in ("documents", "tokens"))
            yield name, str(pack["version"])[:12], split, *numbers


def _stages(store: Store, name: str, version: str) -> list[tuple[str, ...]]:
    """What each stage of a version did; nothing where the store does not have it any more."""
    try:
        manifest = open_dataset(f"{name}@{version}", store).manifest
    except CurateError:
        return []
    keys = ("in", "kept", "dropped", "edited", "quarantined")
    return [(row["id"], row["stage"], *(number(row[key]) for key in keys)) for row in manifest["stages"]]


def _audits(store: Store, version: str) -> Iterator[str]:
    """What bias audits of a version flagged: the newest of each kind."""
    newest = {one["facts"].get("audit"): one for one in records(store, "audit", version=version)}
    for kind, one in newest.items():
        facts = one["facts"]
        if kind == "bias":
            verdicts = ", ".join(f"{count:,} {word}" for word, count in facts["verdicts"].items())
            yield f"A bias audit of {one['name']} compared groups of people: {verdicts}."
            for family, subject, axis, group in facts["flagged"][:10]:
                yield f"Flagged: {family} of {group} ({axis}), {subject}."


# ---- evaluations


def _evaluations(run: RunData, store: Store) -> Iterator[Evaluation]:
    """Evaluations of the run's weights that are still there, each folder once."""
    known = set(run.checkpoints)
    for export in records(store, "model_export"):
        if any(thing.get("id") in known for thing in export["inputs"]):
            known |= {thing["id"] for thing in export["outputs"] if "id" in thing}
    newest = {
        one["facts"]["folder"]: one
        for one in records(store, "evaluation")
        if any(thing.get("kind") == "model" and thing.get("id") in known for thing in one["inputs"])
    }
    for folder in sorted(newest):
        try:
            found = open_evaluation(Path(folder))
        except CurateError:
            continue
        if found.result.get("weights") in known:
            yield found


def _evaluated(one: Evaluation) -> Evaluated:
    result = one.result
    key = f"evaluation-{result['identity'][:8]}-{one.folder.name}"
    tasks = [
        (name, _source(result, name), metric_rows(metrics), list(group_figures(f"{key}-{at}", name, result)))
        for at, (name, metrics) in enumerate(result["tasks"].items())
    ]
    return Evaluated(one.folder.name, tasks, measured_sections(result), list(result["warnings"]))


def _source(result: Mapping[str, Any], task: str) -> str:
    about = result.get("about", {}).get(task, {})
    split = f", split {about['split']}" if about.get("split") else ""
    return f"{about.get('source', '')}{split}"


# ---- limits


def _limits(
    run: RunData, packs: Mapping[str, Mapping[str, Any]], evaluations: list[Evaluated], audits: list[str]
) -> Iterator[str]:
    length = (run.config or {}).get("config", {}).get("batch", {}).get("length")
    yield "It knows what is in its training texts, with their errors and gaps."
    if length:
        yield f"It has seen sequences of at most {length:,} tokens."
    if run.state not in ("done", ""):
        yield f"Its training did not end: it is {run.state}."
    if not evaluations:
        yield "No evaluation of it is on record: `curate eval` measures it."
    sections = {title for one in evaluations for title, _ in one.sections}
    for title, words in (("bias", "bias"), ("contamination", "contamination of its tasks by the training data")):
        if not any(one.startswith(title) for one in sections):
            yield f"The {words} was not measured."
    if not audits:
        yield "Its training data was not audited for bias."
    if packs and not any(one.get("splits", {}).get("validation", {}).get("tokens") for one in packs.values()):
        yield "There was no validation split."
    yield "It is one training with one seed: another seed gives another model. The licences of its texts were not judged here."
