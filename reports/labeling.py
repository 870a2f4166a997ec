"""The page of a labeling task: how far it is, how people agree, what the model has learned, what is certified."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from curate.dataset.reader import Dataset
from curate.dataset.runs import records
from curate.jsontext import loads
from curate.labeling.decide import labels
from curate.labeling.log import value_of
from curate.labeling.progress import progress
from curate.labeling.quality import agreement
from curate.labeling.task import Task
from curate.reports.charts import bars
from curate.reports.drawing import Figure
from curate.reports.html import render
from curate.reports.intervals import Interval, intervals
from curate.reports.numbers import number
from curate.reports.report import write_page

__all__ = ["build_labeling_report", "render_labeling"]

MEASURES = {
    "observed": "pairs of answers that agree",
    "krippendorff_alpha": "Krippendorff's alpha",
    "fleiss_kappa": "Fleiss's kappa",
    "masi_alpha": "alpha of sets (MASI)",
    "span_f1_strict": "F1 of spans, equal ones",
    "span_f1_overlapping": "F1 of spans, overlapping ones",
    "token_alpha": "alpha over tokens",
}
MOST_DISPUTED = 10


def build_labeling_report(dataset: Dataset, task: Task, folder: Path, out: Path) -> Path:
    """Write the page.

    Raises:
        CurateError: The file cannot be written.
    """
    return write_page(out, render_labeling(dataset, task, folder))


def render_labeling(dataset: Dataset, task: Task, folder: Path) -> str:
    """The page as HTML."""
    state, agreed, decided = progress(dataset, task), agreement(dataset, task), labels(dataset, task)
    model = loads((folder / "model.json").read_bytes()) if (folder / "model.json").is_file() else None
    sources = Counter(one.source for one in decided.decisions)
    return render(
        "labeling.html",
        task=task, name=f"{dataset.name} {dataset.tag or dataset.version[:12]}", version=dataset.version,
        documents=len(dataset), state=state, agreed=agreed, model=model, ties=len(decided.ties),
        labelled=len(decided.decisions), sources=[(name, number(count)) for name, count in sorted(sources.items())],
        given=_given(task, [value_of(one) for one in decided.decisions]),
        rounds=[tuple(str(one[key]) for key in ("round", "strategy", "role", "documents", "answered"))
                for one in state["rounds"]],
        people=_people(state, agreed), measures=_measures(agreed), curve=_curve(model), audits=_audits(dataset, task),
        worst=[(one["id"], "; ".join(f"{who}: {label}" for who, label in one["answers"].items()))
               for one in agreed["worst"][:MOST_DISPUTED]],
        contents=[("progress", "How far it is", []), ("labels", "What was said", []), ("agreement", "How far people agree", []),
                  ("model", "What the model has learned", []), ("automatic", "Automatic labels", []),
                  ("limits", "What this cannot tell", [])],
    )  # fmt: skip


def _given(task: Task, values: list[Any]) -> Figure | None:
    """How often each label was given."""
    if task.kind in ("answer", "rewrite"):
        return None
    if task.kind == "spans":
        counts = Counter(span["label"] for value in values for span in value)
    elif task.kind == "multilabel":
        counts = Counter(name for value in values for name in value)
    else:
        counts = Counter(str(value) for value in values)
    if not counts:
        return None
    shown = {name: float(counts[name]) for name in task.label_names or sorted(counts)}
    return bars("labels-given", "Labels", "How many documents have each label", shown, header=("label", "documents"))


def _people(state: Mapping[str, Any], agreed: Mapping[str, Any]) -> list[tuple[str, ...]]:
    found = {one["annotator"]: one for one in agreed["annotators"]}
    return [
        (
            one["annotator"], number(one["answers"]), number(one["skipped"]),
            "\u2013" if one["median_seconds"] is None else f"{one['median_seconds']:.1f}",
            f"{one['accepted']} / {one['changed']}", _shown(found.get(one["annotator"], {}).get("with_others")),
            _shown(found.get(one["annotator"], {}).get("on_gold")),
        )
        for one in state["annotators"]
    ]  # fmt: skip


def _shown(one: Mapping[str, float] | None) -> str:
    return "insufficient" if one is None else f"{one['value']:.2f} ({one['low']:.2f} to {one['high']:.2f})"


def _measures(agreed: Mapping[str, Any]) -> Figure | None:
    told = {MEASURES[name]: one for name, one in agreed["measures"].items() if one is not None}
    if not told:
        return None
    items = [Interval(name, one["value"], one["low"], one["high"], "kept", _shown(one)) for name, one in told.items()]
    return intervals(
        "agreement-measures", "Agreement with 95 % intervals", f"{len(items)} measures of agreement", items, middle=0.0,
        logarithmic=False, x_name="1 is agreement, 0 is chance (for the first: none)", header=("measure", "value (95 %)"),
        rows=[(name, _shown(one)) for name, one in told.items()], legend=[("kept", "value and interval")],
    )  # fmt: skip


def _curve(model: Mapping[str, Any] | None) -> Figure | None:
    points = [one for one in (model or {}).get("learning_curve", []) if one["accuracy"] is not None]
    if not points:
        return None
    items: list[Interval] = []
    for one in points:
        found = one["accuracy"]
        name = f"{one['labels']:,} labels"
        items.append(Interval(name, found["value"], found["low"], found["high"], "kept", _shown(found)))
    return intervals(
        "learning-curve", "Accuracy by number of labels", f"Accuracy at {len(items)} numbers of labels", items,
        middle=items[-1].value, logarithmic=False, x_name="accuracy on documents that the model had not seen",
        header=("labels", "accuracy (95 %)", "macro-F1 (95 %)"),
        rows=[(number(one["labels"]), _shown(one["accuracy"]), _shown(one["macro_f1"])) for one in points],
        legend=[("kept", "accuracy and interval")],
    )  # fmt: skip


def _audits(dataset: Dataset, task: Task) -> list[tuple[str, ...]]:
    """Every audit that was judged."""
    told = [one["facts"] for one in records(dataset.store, kind="labeling") if one["name"] == task.name]
    return [
        (
            str(one["certify"]), str(one["attempt"]), f"{one['target']:g}", f"{one['confidence']:.0%}",
            f"{one['correct']} / {one['audited']}", f"{one['bound']:.3f}",
            f"{one['labelled']:,} labelled" if one["certified"] else "nothing labelled",
        )
        for one in told
        if "certify" in one
    ]  # fmt: skip
