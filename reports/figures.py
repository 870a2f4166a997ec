"""The charts of a report: which facts each one draws, and what it says of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from operator import attrgetter

from curate.reports.charts import Bar, Figure, Small, bars, histogram, lines, multiples, stacked
from curate.reports.data import VALIDATION, Clusters, Lengths, ReportData, RunData, StageData
from curate.reports.numbers import measure, number, share

__all__ = [
    "clusters_figure",
    "features_figure",
    "funnel_figure",
    "languages_figure",
    "lengths_figure",
    "metric_name",
    "personal_figure",
    "run_figures",
]

LANGUAGES_SHOWN = 15
NONE = "\u2013"
PARTS = {"kept": "kept", "dropped": "dropped", "quarantined": "quarantined", "expanded": "ghost"}
"""The colours of what became of documents."""
METRICS = {
    "loss": "Training loss",
    "validation.bits_per_byte": "Validation bits per byte",
    "bits_per_byte": "Validation bits per byte",
    "validation_bits_per_byte": "Validation bits per byte",
    "validation.loss": "Validation loss",
    "validation_loss": "Validation loss",
    "learning_rate": "Learning rate",
    "gradient_norm": "Gradient norm",
    "tokens_per_second": "Tokens per second",
}
UNITS = {"Training loss": "loss (nats per token)", "Validation loss": "loss (nats per token)"}


def funnel_figure(data: ReportData) -> Figure:
    """How many documents each stage got, kept, dropped and quarantined; what was made, and what was no document."""
    whole = data.manifest["documents"]["in"]
    kinds = ["kept", "dropped", "quarantined"]
    columns: dict[str, Callable[[StageData], int]] = {"in": lambda stage: stage.count}
    if any(stage.passed for stage in data.stages):
        columns["not documents"] = lambda stage: sum(stage.passed.values())
    made = any(stage.made or stage.expanded for stage in data.stages)
    if made:
        columns["made"] = lambda stage: stage.made
        kinds.append("expanded")
    for kind in ("kept", "edited", *kinds[1:]):
        columns[kind] = attrgetter(kind)
    items, rows = [], []
    for stage in data.stages:
        parts = tuple((PARTS[kind], int(getattr(stage, kind))) for kind in kinds)
        note = number(stage.kept) + (f"  \u2212{number(stage.removed)}" if stage.removed else "")
        items.append(Bar(stage.id, parts, note))
        counts = [count(stage) for count in columns.values()]
        removed = share(stage.removed, stage.count + stage.made) if stage.removed else NONE
        rows.append((stage.id, *(number(count) if count else NONE for count in counts), removed))
    return stacked(
        "funnel",
        "Documents through the stages",
        f"Of {number(whole)} documents read, {number(data.manifest['documents']['kept'])} are kept at the end.",
        items,
        whole=max([whole, *(stage.kept + stage.removed for stage in data.stages)]) or 1,
        header=("stage", *columns, "removed"),
        rows=rows,
        legend=[(PARTS[kind], kind) for kind in kinds],
    )


def lengths_figure(lengths: Lengths) -> Figure:
    """Lengths of the documents before and after."""
    medians = {name: measure(quantiles.get("median")) for name, quantiles in lengths.quantiles.items()}
    return histogram(
        "lengths",
        "Length of documents",
        f"The median document read has {medians['read']} characters, the median document kept {medians['kept']}.",
        lengths.histogram.edges,
        {name: lengths.histogram.counts[name] for name in ("read", "kept")},
        unit="characters",
        legend=(("ghost", "as read"), ("kept", "in this version")),
    )


def languages_figure(languages: dict[str, int]) -> Figure:
    """Documents by language; the rare ones together."""
    names = list(languages)
    shown = {name: float(languages[name]) for name in names[:LANGUAGES_SHOWN]}
    others = sum(languages[name] for name in names[LANGUAGES_SHOWN:])
    if others:
        shown[f"{len(names) - LANGUAGES_SHOWN} others"] = float(others)
    whole = sum(languages.values())
    first = f"{names[0]} has {share(languages[names[0]], whole)} of the documents" if names else "no documents"
    return bars(
        "languages",
        "Documents by language",
        f"{len(names)} languages; {first}.",
        shown,
        header=("language", "documents"),
        note=lambda value: f"{number(int(value))}  {share(int(value), whole)}",
    )


def clusters_figure(clusters: Clusters, key: str) -> Figure:
    """Clusters of duplicates by size."""
    figure = bars(
        key,
        f"Clusters of duplicates found by {clusters.stage}, by size",
        f"{number(clusters.clusters)} clusters; {number(sum(clusters.removed.values()))} documents were removed.",
        {f"{name} documents": float(count) for name, count in clusters.sizes.items()},
        header=("size", "clusters"),
        kind="dropped",
    )
    rows = tuple((name, number(count), number(clusters.removed[name])) for name, count in clusters.sizes.items())
    return replace(figure, header=("documents in the cluster", "clusters", "removed"), rows=rows)


def personal_figure(personal: dict[str, dict[str, int]]) -> Figure:
    """Personal data by type."""
    figure = bars(
        "personal",
        "Personal data replaced, by type",
        f"{number(sum(counts['found'] for counts in personal.values()))} occurrences.",
        {name: float(counts["found"]) for name, counts in personal.items()},
        header=("type", "occurrences"),
        kind="edited",
    )
    rows = tuple((name, number(counts["found"]), number(counts["documents"])) for name, counts in personal.items())
    return replace(figure, header=("type", "occurrences", "documents"), rows=rows)


def features_figure(stage: StageData, key: str) -> Figure | None:
    """What a stage measured; None where it measured nothing."""
    features = [feature for feature in stage.features if feature.quantiles]
    if not features:
        return None
    items = [
        Small(feature.name, bins.edges, bins.counts["documents"], feature.limits, bins.logarithmic)
        for feature in features
        for bins in [feature.histogram]
    ]
    rows = [
        (
            feature.name,
            ", ".join(map(measure, feature.limits)) or NONE,
            *map(measure, feature.quantiles.values()),
            number(feature.missing) if feature.missing else NONE,
        )
        for feature in features
    ]
    looked = features[0].documents
    part = f" of {number(looked)} of the {number(stage.count)} documents" if looked < stage.count else ""
    return multiples(
        key,
        f"Measured by {stage.id}{part}",
        f"Distributions of {len(features)} features; values beyond the outer hundredths are in the outermost bars.",
        items,
        header=("feature", "threshold", *features[0].quantiles, "missing"),
        rows=rows,
        legend=(("kept", "documents"), ("limit", "threshold")) if any(feature.limits for feature in features) else (),
    )


def run_figures(runs: tuple[RunData, ...]) -> list[Figure]:
    """A chart for each metric that the runs have, all runs in it."""
    figures: list[Figure] = []
    drawn: set[str] = set()
    validated = dict.fromkeys(f"{VALIDATION}{name}" for run in runs for name, _ in run.validation)
    others = {name: f"Validation {metric_name(name)}" for name in validated if not name.endswith("perplexity")}
    for metric, title in {**METRICS, **{name: title for name, title in others.items() if name not in METRICS}}.items():
        series = {run.run: [(float(step), value) for step, value in run.metrics.get(metric, ())] for run in runs}
        if title in drawn or not any(series.values()):
            continue
        drawn.add(title)
        ends = "; ".join(f"{name} ends at {measure(points[-1][1])}" for name, points in series.items() if points)
        unit = UNITS.get(title, title.lower())
        key = f"metric-{len(figures) + 1}"
        figures.append(lines(key, title, f"{ends}.", series, x_name="step", y_name=unit))
    return figures


def metric_name(name: str) -> str:
    """A metric's name in words; that of a task has the task's name before it."""
    return name.removeprefix(VALIDATION).replace("_", " ").replace(".", ": ")
