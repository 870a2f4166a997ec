"""What each rule of a filter does over columns of features: which documents it drops first, alone, and as the only one.

Pure: features in, counts out, so that a threshold may be moved by hand and seen at once. A million documents and ten
rules take 0.02 CPU seconds (benchmarks/what_if.py). The first failing rule is the reason, as `decide_by_rules` says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from curate.stages.contract import Filter
from curate.stages.verdicts import Rule

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

__all__ = ["Judged", "Ruled", "judge", "judge_rules"]


class Ruled(NamedTuple):
    """What one rule does.

    Attributes:
        reason: Its reason.
        minimum: Its least value, or None.
        maximum: Its greatest value, or None.
        values: What it looks at (float64, one for each document; NaN where there is none).
        first: Whether it is why a document leaves: it fails, and no rule before it does (bool, one for each document).
        fails: Whether the document fails it, whatever the others say; None of a filter that does not decide by rules.
        only: Whether it is the only rule that the document fails; None likewise.
        feature: The name of what it looks at; None likewise.
    """

    reason: str
    minimum: float | None
    maximum: float | None
    values: np.ndarray
    first: np.ndarray
    fails: np.ndarray | None = None
    only: np.ndarray | None = None
    feature: str | None = None

    @property
    def bound(self) -> float | None:
        """Its threshold."""
        return self.maximum if self.minimum is None else self.minimum

    def among(self, rules: Sequence[Ruled]) -> Ruled | None:
        """The same rule under other thresholds: of its reason and feature, on its side if both are on."""
        sides = {(self.minimum is None, self.maximum is None), (True, True)}
        alike = [one for one in rules if (one.reason, one.feature) == (self.reason, self.feature)]
        return next(
            (one for one in alike if len(sides) == 1 or (one.minimum is None, one.maximum is None) in sides), None
        )


class Judged(NamedTuple):
    """What a filter does.

    Attributes:
        gone: Whether a document leaves (bool, one for each document).
        rules: What each of its rules does; of a filter that decides by other means who leaves for each of its reasons.
        edits: What becomes of the text of the documents that are edited and stay, by their place.
    """

    gone: np.ndarray
    rules: Sequence[Ruled]
    edits: Mapping[int, Any] = {}

    def by_reason(self) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        """For each reason what its rules do together: `first`, and `alone` and `only` of a filter that decides by rules."""
        for reason in dict.fromkeys(rule.reason for rule in self.rules):
            mine = [rule for rule in self.rules if rule.reason == reason]
            which = {"first": _any(rule.first for rule in mine), "alone": _any(rule.fails for rule in mine)}
            if which["alone"] is not None:
                others = _any(rule.fails for rule in self.rules if rule.reason != reason)
                which["only"] = which["alone"] if others is None else which["alone"] & ~others
            yield reason, {how: here for how, here in which.items() if here is not None}

    def differs(self, other: Judged) -> np.ndarray:
        """Whether a document is edited by the one otherwise than by the other (bool, one for each document)."""
        import numpy as np

        different = np.zeros(len(self.gone), dtype=bool)
        both = {*self.edits, *other.edits}
        different[[place for place in both if self.edits.get(place) != other.edits.get(place)]] = True
        return different


def _any(some: Iterable[np.ndarray | None]) -> np.ndarray | None:
    """Where any of them is true; None where there is none."""
    import numpy as np

    there = [one for one in some if one is not None]
    return np.logical_or.reduce(there) if there else None


def judge(stage: Filter, features: pa.Table) -> Judged:
    """What a filter does to documents of which these features were measured."""
    import numpy as np
    import pyarrow.compute as compute

    if type(stage).decide is Filter.decide:
        return judge_rules(features, stage.rules())
    said = stage.decide(features)
    edited = compute.equal(said.column("verdict"), "edited")
    edits = {one["row"]: (one["path"], one["text"], one["spans"]) for one in said.filter(edited).to_pylist()}
    said = said.filter(compute.invert(edited))
    rows, reasons = said.column("row").to_numpy(), np.array(said.column("reason").to_pylist(), dtype=object)
    values = np.full(features.num_rows, np.nan)
    values[rows] = said.column("value").to_numpy()
    first = {reason: np.zeros(features.num_rows, dtype=bool) for reason in (*stage.reasons, *dict.fromkeys(reasons))}
    for reason in first:
        first[reason][rows[reasons == reason]] = True
    gone = np.isin(np.arange(features.num_rows), rows)
    return Judged(gone, [Ruled(reason, None, None, values, here) for reason, here in first.items()], edits)


def judge_rules(features: pa.Table, rules: Sequence[Rule]) -> Judged:
    """What rules do; null and NaN are on the wrong side of every threshold, and a rule without one does nothing."""
    import numpy as np

    gone = np.zeros(features.num_rows, dtype=bool)
    number = np.zeros(features.num_rows, dtype=np.uint8)
    found: list[Ruled] = []
    for rule in rules:
        values = features.column(rule.feature).cast("float64").to_numpy()
        fails = np.zeros(features.num_rows, dtype=bool)
        if rule.minimum is not None:
            fails |= ~(values >= rule.minimum)
        if rule.maximum is not None:
            fails |= ~(values <= rule.maximum)
        first = fails & ~gone
        found.append(Ruled(rule.reason, rule.minimum, rule.maximum, values, first, fails, feature=rule.feature))
        gone |= fails
        number += fails
    once = number == 1
    return Judged(gone, [one._replace(only=one.fails & once) for one in found])
