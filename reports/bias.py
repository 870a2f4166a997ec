"""The page of a bias audit, for people who decide and do not compute: measured, found, how sure, done, and at what cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from curate.audit.bias.audit import Audited
from curate.audit.bias.measure import LEAST_DOCUMENTS, Measure
from curate.audit.bias.scan import scanner
from curate.audit.bias.tables import ALL
from curate.dataset.index import Address
from curate.dataset.reader import Dataset
from curate.reports.bias_words import VERDICTS, mention, more, percent, quoted, ratio, sentence, span
from curate.reports.compare import Segments
from curate.reports.drawing import Figure
from curate.reports.history import Glimpse, Histories
from curate.reports.html import render
from curate.reports.intervals import Interval, intervals
from curate.reports.numbers import number
from curate.reports.report import write_page
from curate.reports.text import excerpt

__all__ = ["build_bias_report", "render_bias"]

MOST_DRAWN, MOST_SENTENCES, MOST_EXAMPLES = 40, 8, 12
COLOURS = {"flagged": "dropped", "explained": "edited", "none": "kept", "insufficient": "ghost"}
TITLES = {
    "impact": "Whom each stage removes",
    "representation": "Who is written about",
    "association": "What is said beside whom",
    "scores": "Scores by group",
    "classifier": "False alarms and misses of a classifier",
    "labels": "Labels by group",
    "annotators": "Annotators by group",
    "embedding": "What an embedding learns from this text",
}


class _Removed(NamedTuple):
    """Documents that a stage removed of one group."""

    title: str
    examples: list[tuple[str, str, Segments]]


class _Part(NamedTuple):
    """Charts of a family: by stage, axis or score."""

    anchor: str
    title: str
    note: str
    figure: Figure | None
    removed: list[_Removed]


def build_bias_report(dataset: Dataset, audited: Audited, out: Path) -> Path:
    """Write the page.

    Raises:
        CurateError: The file cannot be written.
    """
    return write_page(out, render_bias(dataset, audited))


def render_bias(dataset: Dataset, audited: Audited) -> str:
    """The page as HTML."""
    examples = _examples(dataset, audited)
    parts = {name: list(_parts(name, audited, examples)) for name in TITLES}
    flagged = audited.with_verdict("flagged")
    tested = [one for measures in audited.families.values() for one in measures if one.q is not None]
    by_verdict = {name: len(audited.with_verdict(name)) for name in VERDICTS}
    return render(
        "bias.html",
        dataset=dataset,
        audited=audited,
        manifest=dataset.manifest,
        titles=TITLES,
        charts=parts,
        lexicons=[tuple(one.values()) for one in audited.question.lexicon.files],
        evenness=[
            (one.axis, number(one.documents), number(one.groups), f"{one.value:.2f}") for one in audited.evenness
        ],
        power_means=[(name, list(_means(means))) for name, means in audited.power_means.items()],
        agreement=list(_agreement(audited)),
        counts=by_verdict,
        tested=len(tested),
        findings=_findings(audited),
        flagged=len(flagged),
        least=LEAST_DOCUMENTS,
        power=_power(audited),
        axes=[(axis, ", ".join(groups)) for axis, groups in audited.question.lexicon.axes.items()],
        cautions=[quoted(one) for one in audited.cautions()],
        absent=", ".join(f"{group} ({axis})" for axis, group in audited.absent),
        done=_done(dataset),
        weights=_weights(dataset),
        contents=[
            ("measured", "What was measured", []),
            ("found", "What was found", []),
            ("sure", "How sure this is", []),
            *((name, title, []) for name, title in TITLES.items()),
            ("done", "What was done, and what it cost", []),
            ("limits", "What this cannot tell", []),
        ],
    )


# ---- sentences


def _findings(audited: Audited) -> list[tuple[str, str, list[str], int]]:
    """By family: its anchor and title, sentences of the strongest, and how many more there are."""
    axes, told = audited.question.lexicon.axes, []
    for name, title in TITLES.items():
        found = [one for one in audited.families.get(name, ()) if one.verdict == "flagged"]
        found.sort(key=lambda one: (one.subject != ALL, not more(one), -_weight(one)))
        if found:
            some = [sentence(one, axes) for one in found[:MOST_SENTENCES]]
            told.append((name, title, some, len(found) - len(some)))
    return told


def _weight(one: Measure) -> float:
    """How far the interval is from no effect."""
    assert one.estimate
    low, high = one.estimate.low, one.estimate.high
    if one.effect in ("delta", "d"):
        return min(abs(low), abs(high))
    return max(low, 1 / high if high else 0.0)


def _power(audited: Audited) -> list[tuple[str, str, str, str, str]]:
    """By family: tests, flagged, insufficient, and the least effect that half of the tests would have found."""
    rows = []
    for name, title in TITLES.items():
        measures = audited.families.get(name, [])
        least = sorted(one.detectable for one in measures if one.q is not None and one.detectable is not None)
        told = "\u2013"
        if least:
            middle = least[len(least) // 2]
            effect = next(one.effect for one in measures if one.q is not None)
            told = f"{effect} {middle:.2f}" if effect in ("delta", "d") else f"{effect} {ratio(middle)}"
        rows.append((
            title,
            number(sum(one.q is not None for one in measures)),
            number(sum(one.verdict == "flagged" for one in measures)),
            number(sum(one.verdict == "insufficient" for one in measures)),
            told,
        ))  # fmt: skip
    return rows


def _done(dataset: Dataset) -> list[tuple[str, ...]]:
    """What each stage did to how many documents."""
    keys = ("in", "kept", "dropped", "edited", "quarantined")
    return [(row["id"], row["stage"], *(number(row[key]) for key in keys)) for row in dataset.manifest["stages"]]


def _weights(dataset: Dataset) -> list[tuple[str, int, float]]:
    """Stages that gave weights, to how many documents, and what these are worth."""
    found = []
    for row in dataset.manifest["stages"]:
        for name in row["artifacts"].get("weights", {}).get("objects", []):
            table = dataset.store.read_table(name)
            if "documents" in table.column_names:
                documents = sum(table.column("documents").to_pylist())
                found.append((row["id"], documents, table.column("effective_n")[0].as_py()))
    return found


def _means(means: dict[str, dict[str, Any] | None]) -> Iterator[tuple[str, ...]]:
    for kind, one in means.items():
        if one:
            yield kind, f"{one['value']:.3f}", f"{one['low']:.3f} to {one['high']:.3f}", number(one["groups"])
        else:
            yield kind, "insufficient", "", ""


def _agreement(audited: Audited) -> Iterator[tuple[str, ...]]:
    for one in audited.agreement:
        others = one["alpha_others"]
        told = f"{one['alpha']:.2f}", "" if others is None else f"{others:.2f}"
        yield one["axis"], one["group"], number(one["documents"]), *told


# ---- charts


def _parts(name: str, audited: Audited, examples: dict[tuple[str, str, str], _Removed]) -> Iterator[_Part]:
    measures = audited.families.get(name, [])
    by = (lambda one: one.axis) if name in ("representation", "association") else (lambda one: one.subject)
    if name == "embedding":
        by = lambda one: "WEAT"  # noqa: E731
    titles = list(dict.fromkeys(by(one) for one in measures))
    if name == "impact" and ALL in titles:
        titles = [ALL, *(one for one in titles if one != ALL)]
    for at, title in enumerate(titles):
        some = [one for one in measures if by(one) == title]
        told = [one for one in some if one.estimate]
        clearest = sorted(told, key=lambda one: (one.verdict != "flagged", -_weight(one)))[:MOST_DRAWN]
        shown = clearest if name == "association" else [one for one in told if one in clearest]
        removed = [found for one in shown if (found := examples.get((one.subject, one.axis, one.group)))]
        key = f"{name}-{at + 1}"
        yield _Part(key, title, _note(some, told), _figure(key, name, title, shown) if shown else None, removed)


def _note(some: Sequence[Measure], told: Sequence[Measure]) -> str:
    """What the chart leaves out."""
    little = sorted({one.group for one in some if one.verdict == "insufficient"})
    notes = []
    if len(told) > MOST_DRAWN:
        notes.append(f"The {MOST_DRAWN} clearest of {number(len(told))} are shown; the JSON of the audit has all.")
    if little:
        named = ", ".join(little[:12]) + (f" and {len(little) - 12} more" if len(little) > 12 else "")
        notes.append(f"Insufficient for {named}.")
    return " ".join(notes)


def _figure(key: str, name: str, title: str, shown: Sequence[Measure]) -> Figure:
    effect = shown[0].effect
    logarithmic = effect not in ("delta", "d")
    items = [
        Interval(
            _label(one, name), one.estimate.value, one.estimate.low, one.estimate.high, COLOURS[one.verdict], span(one)
        )
        for one in shown
        if one.estimate
    ]
    verdicts = dict.fromkeys(one.verdict for one in shown)
    flagged = [f"{one.group} {span(one)}" for one in shown if one.verdict == "flagged"]
    description = f"{len(shown)} values with 95 % intervals; flagged: {'; '.join(flagged[:8]) or 'none'}."
    axis = {"impact": "odds of being removed, times those of others", "representation": "share, times the expected one",
            "association": "odds, times those of others", "scores": "Cliff's delta", "embedding": "d"}  # fmt: skip
    header, rows = _table(name, shown)
    return intervals(
        key, f"{title}: {axis.get(name, 'odds, times those of others')}", description, items,
        middle=1.0 if logarithmic else 0.0, logarithmic=logarithmic, x_name=axis.get(name, "odds, times those of others"),
        header=header, rows=rows, legend=[(COLOURS[verdict], VERDICTS[verdict]) for verdict in verdicts],
    )  # fmt: skip


def _label(one: Measure, name: str) -> str:
    if name == "association":
        return f"{one.group}: {one.subject.partition('.')[2]}"
    return f"{one.axis}: {one.subject}" if name == "embedding" else one.group


def _table(name: str, shown: Sequence[Measure]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The data under a chart."""
    columns = {
        "impact": ("documents", "removed", "share removed", "of others", "ratio", "share kept, times others'"),
        "representation": ("documents", "share", "expected", "mentions", "as read"),
        "association": ("sentences", "share with it", "of others", "nPMI gap", "log odds"),
        "scores": ("documents", "mean", "of others", "instrument's own gap", "without correction"),
        "embedding": ("words", "words of the other"),
    }.get(name, ("documents", "share", "of others"))
    rows = [
        (_label(one, name), *_cells(one), span(one), "" if one.q is None else f"{one.q:.2g}", VERDICTS[one.verdict])
        for one in shown
    ]
    return ("group", *columns, f"{shown[0].effect} (95 %)", "q", "verdict"), rows


def _cells(one: Measure) -> tuple[str, ...]:
    facts = one.facts
    match one.family:
        case "impact":
            rates = (_share(facts["rate"]), percent(facts["rate_others"]["value"]))
            return (
                number(one.n),
                number(facts["removed"]),
                *rates,
                _times(facts["ratio"]),
                _times(facts["keep_ratio"]),
            )
        case "representation":
            counts = number(facts["mentions"]), number(facts["read"])
            return (number(one.n), _share(facts["share"]), percent(facts["expected"]), *counts)
        case "association":
            shares = percent(facts["share"]), percent(facts["share_others"])
            return (number(one.n), *shares, f"{facts['npmi_gap']:+.2f}", f"{facts['log_odds']:+.2f}")
        case "scores":
            gap = "not known" if facts["gap"] is None else f"{facts['gap']:+.3f}"
            means = f"{facts['mean']:.3g}", f"{facts['mean_others']:.3g}"
            return (number(one.n), *means, gap, f"{facts['plain']['value']:+.2f}")
        case "embedding":
            return (number(one.n), number(one.others))
        case _:
            return (number(one.n), _share(facts["rate"]), percent(facts["rate_others"]["value"]))


def _share(rate: dict[str, Any]) -> str:
    return f"{percent(rate['value'])} ({percent(rate['low'])} to {percent(rate['high'])})"


def _times(found: dict[str, float]) -> str:
    return f"{ratio(found['value'])} ({ratio(found['low'])} to {ratio(found['high'])})"


# ---- removed documents


def _examples(dataset: Dataset, audited: Audited) -> dict[tuple[str, str, str], _Removed]:
    """Some removed documents of groups that are flagged, cut around the mention, without what is personal in them."""
    corpus, lexicon = audited.corpus, audited.question.lexicon
    flagged = [one for one in audited.families["impact"] if one.verdict == "flagged" and more(one)]
    flagged.sort(key=_weight, reverse=True)
    places = {pair: at for at, pair in enumerate(corpus.groups)}
    on = {row["id"]: audited.question.on for row in dataset.manifest["stages"]}
    histories = Histories(dataset, dataset.ledger(), on)
    found = {}
    for one in flagged[:MOST_EXAMPLES]:
        some = corpus.examples.get((one.subject, places[one.axis, one.group]), [])
        glimpses = [Glimpse(Address(example.shard, example.row), one.subject) for example in some]
        histories.read(glimpses)
        terms = [term for term in lexicon.terms if (term.axis, term.group) == (one.axis, one.group)]
        shown = [
            (example.id, example.reason, _cut(histories.shown(glimpse.document, histories.text(glimpse)), terms))
            for example, glimpse in zip(some, glimpses, strict=True)
        ]
        if shown:
            title = f"Removed {mention(one, lexicon.axes)}"
            found[one.subject, one.axis, one.group] = _Removed(title, shown)
    return found


def _cut(text: str, terms: Sequence[Any]) -> Segments:
    """An excerpt around the first mention, which is marked."""
    hits = scanner(terms)(pa.array([text.encode("utf-8", "replace").decode()]))
    if not len(hits.start):
        return [(excerpt(text), False)]
    before = len(text.encode("utf-8", "replace")[: hits.start[0]].decode("utf-8", "replace"))
    shown = excerpt(text, around=before)
    inside = scanner(terms)(pa.array([shown.encode("utf-8", "replace").decode()]))
    segments: Segments = []
    content, at = shown.encode("utf-8", "replace"), 0
    for start, end in zip(inside.start.tolist(), inside.end.tolist(), strict=True):
        start = max(start, at)
        segments += [(content[at:start].decode(), False), (content[start:end].decode(), True)]
        at = max(end, at)
    return [(part, marked) for part, marked in [*segments, (content[at:].decode(), False)] if part]
