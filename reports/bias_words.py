"""What measures of a bias audit mean, in sentences for people who do not compute."""

from __future__ import annotations

import math
import re

from curate.audit.bias.measure import Measure
from curate.reports.numbers import number

__all__ = ["VERDICTS", "mention", "more", "percent", "quoted", "ratio", "sentence", "span"]

VERDICTS = {
    "flagged": "flagged",
    "explained": "explained by source and length",
    "none": "no difference shown",
    "insufficient": "insufficient",
}


def quoted(sentence: str) -> str:
    """A sentence of the terminal, with names in quotation marks in place of backquotes."""
    return re.sub(r"`([^`]*)`", "\u201c\\1\u201d", sentence)


def percent(share: float) -> str:
    """A share: 12 %, 0.34 %."""
    value = 100 * share
    if value in (0.0, 100.0):
        return f"{value:.0f} %"
    return f"{value:.0f} %" if 10 <= value < 99.5 else f"{value:.2g} %" if value < 10 else f"{value:.1f} %"


def ratio(value: float) -> str:
    """A ratio: 1.8, 0.25, 12, more than 1,000."""
    if math.isinf(value) or value > 1000:
        return "more than 1,000"
    if value < 0.01:
        return "less than 0.01"
    return f"{value:.0f}" if value >= 20 else f"{value:.2g}" if value < 10 else f"{value:.1f}"


def span(one: Measure) -> str:
    """The interval of a measure."""
    if one.estimate is None:
        return "\u2013"
    if one.effect in ("delta", "d"):
        return f"{one.estimate.value:+.2f} ({one.estimate.low:+.2f} to {one.estimate.high:+.2f})"
    return f"{ratio(one.estimate.value)} ({ratio(one.estimate.low)} to {ratio(one.estimate.high)})"


def more(one: Measure) -> bool:
    """Whether the effect points upwards."""
    assert one.estimate
    return one.estimate.value > (0 if one.effect in ("delta", "d") else 1)


def mention(one: Measure, axes: dict[str, list[str]]) -> str:
    """Which documents are meant."""
    if one.axis in axes:
        return f"documents that mention \u201c{one.group}\u201d ({one.axis})"
    return f"documents whose {one.axis} is \u201c{one.group}\u201d"


def sentence(one: Measure, axes: dict[str, list[str]]) -> str:
    """A flagged measure, in a sentence or two."""
    assert one.estimate
    facts, interval = one.facts, f"95 % interval {ratio(one.estimate.low)} to {ratio(one.estimate.high)}"
    often = "more" if more(one) else "less"
    who = mention(one, axes)
    if one.family == "impact":
        among = "Among documents of the same source, language and length"
        if not facts["adjusted"]:
            among = "No other documents of the same source, language and length are there to compare with; in all"
        what = "All stages together" if one.subject == "all stages" else f"The stage \u201c{one.subject}\u201d"
        return (
            f"{what} removed {who} {often} often than others: {number(facts['removed'])} of {number(one.n)} "
            f"({percent(facts['rate']['value'])}), of the others {percent(facts['rate_others']['value'])}. "
            f"{among}, the odds of being removed are {ratio(one.estimate.value)} times those of the others ({interval})."
        )
    if one.family == "representation":
        given = "the lexicon expects" if facts["given"] else "equal shares would give"
        return (
            f"Of {number(one.others)} documents that mention anybody by {one.axis}, {number(one.n)} "
            f"({percent(facts['share']['value'])}) mention \u201c{one.group}\u201d. Of all mentions that are "
            f"{percent(facts['share_of_mentions'])}: {ratio(one.estimate.value)} times what {given} ({interval})."
        )
    if one.family == "association":
        return (
            f"Words for {one.subject.replace('.', ': ')} stand {often} often in sentences about \u201c{one.group}\u201d "
            f"({percent(facts['share'])}) than in sentences about others by {one.axis} ({percent(facts['share_others'])}): "
            f"odds {ratio(one.estimate.value)} times as high ({interval})."
        )
    if one.family == "scores":
        known = facts["instrument"] == "subtracted"
        control = "after the instrument's own gap was taken off" if known else "the instrument's own gap is not known"
        higher = "higher" if more(one) else "lower"
        return (
            f"\u201c{one.subject}\u201d is {higher} in {who}: on average {facts['mean']:.3g}, of the others "
            f"{facts['mean_others']:.3g} (Cliff's delta {span(one)}; {control})."
        )
    if one.family == "embedding":
        return (
            f"Trained on this corpus alone, words of {one.group} ({one.axis}) stand "
            f"{'nearer to the first' if more(one) else 'nearer to the second'} of {one.subject} (d = {span(one)})."
        )
    return _of_rates(one, who, interval)


def _of_rates(one: Measure, who: str, interval: str) -> str:
    """Labels, annotators, false alarms and misses."""
    assert one.estimate
    facts = one.facts
    subject = {
        "classifier": one.subject.capitalize(),
        "labels": f"The label \u201c{one.subject}\u201d",
        "annotators": f"The annotator and label \u201c{one.subject}\u201d",
    }[one.family]
    verb = "are" if one.family == "classifier" else "is"
    often = "more frequent" if more(one) else "less frequent"
    return (
        f"{subject} {verb} {often} in {who} ({percent(facts['rate']['value'])}) than in others "
        f"({percent(facts['rate_others']['value'])}); odds {ratio(one.estimate.value)} times as high ({interval})."
    )
