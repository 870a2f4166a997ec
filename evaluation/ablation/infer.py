"""What differences between trained models tell: pure functions of one number for each arm, held-out set and seed.

A trained model is one draw, so an effect is the mean of the differences of equal seeds, with Student's t interval over seeds;
never a bootstrap over documents, which called two trainings on the same data different each time it was tried, nor one over
seeds, which errs in 17% of cases at five of them. Measured over 2,000 simulated trials for 2 to 8 seeds, the t interval errs
in 4.6 to 5.8% of cases. Welch's test (1947), which does not pair the seeds, is the cross-check.

    verdict               when
    better, worse         p, corrected by Holm (1979) within its family, is below 0.05
    no difference shown   it is not; the least difference that is found with 80% power (MDE) says how much that is worth
    unstable              the A/A arm differs from the first, or a seed of it diverged; or one of these two arms has a seed
                          that diverged, or one seed

Families: all arms on the primary endpoint; and for each arm its held-out sets. Less is better: the numbers are bits per byte.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from curate.audit.bias.statistics import Estimate
from curate.evaluation.statistics import detectable, holm

__all__ = [
    "AA",
    "PRIMARY",
    "Comparison",
    "Values",
    "Verdict",
    "compare_arms",
    "home_advantage",
    "least",
    "macro",
    "t_interval",
    "welch",
]

LEVEL, POWER = 0.05, 0.8
PRIMARY = "macro"
"""Name of the primary endpoint: the mean over its held-out sets."""
AA = "A/A"
"""Name of the arm that is the first one again, with other seeds."""
Verdict = Literal["better", "worse", "no difference shown", "unstable"]
Values = Mapping[str, Sequence[float | None]]
"""Bits per byte of the seeds of an arm by held-out set; None where the seed diverged."""
Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Comparison:
    """An arm against the first one, on a held-out set or the primary endpoint.

    Attributes:
        task: The held-out set, or `macro`.
        metric: What is compared.
        arm: Name of the arm.
        against: Name of the first arm.
        differences: Of each seed, the arm's value less the first's; None where one of them diverged.
        difference: Their mean; below zero the arm is better.
        low: Lower end of the 95% interval.
        high: Upper end.
        p: Of no difference, by the paired t test.
        holm: The same, corrected for its family.
        welch: The p-value of Welch's test.
        mde: Least difference that is found with 80% power, from the spread of both arms.
        verdict: In words.
    """

    task: str
    metric: str
    arm: str
    against: str
    differences: tuple[float | None, ...]
    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    holm: float | None
    welch: float | None
    mde: float | None
    verdict: Verdict

    def json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return asdict(self)


def compare_arms(arms: Mapping[str, Values], primary: Sequence[str]) -> tuple[list[Comparison], bool | None]:
    """All arms against the first one: on the primary endpoint, then by held-out set.

    Args:
        arms: Values by name of the arm; one named `A/A` is the first again.
        primary: The held-out sets that the primary endpoint is the mean of.

    Returns:
        The comparisons; and whether the A/A arm agrees with the first, all seeds of both having come to an end; None where
        there is none.
    """
    first, *others = arms
    whole = {name: {PRIMARY: macro(values, primary), **values} for name, values in arms.items()}
    found = {name: [_compared(task, name, first, whole) for task in whole[first]] for name in others}
    calibrated = None
    if AA in found:
        again = found[AA][0]
        calibrated = again.verdict != "unstable" and (again.low or 0.0) <= 0 <= (again.high or 0.0)
    heads = _judged([found[name][0] for name in others if name != AA], calibrated)
    if AA in found:
        heads += _judged([found[AA][0]], calibrated)
    tails = {name: _judged(found[name][1:], calibrated) for name in others}
    return [*heads, *(one for head in heads for one in tails[head.arm])], calibrated


def macro(values: Values, sets: Sequence[str]) -> list[float | None]:
    """The mean over held-out sets, seed by seed."""
    rows = zip(*(values[name] for name in sets), strict=True)
    return [None if any(one is None for one in row) else math.fsum(row) / len(row) for row in rows]  # type: ignore[arg-type]


def home_advantage(arms: Mapping[str, Values], homes: Mapping[str, str]) -> Estimate | None:
    """By how many bits per byte an arm does better on its own held-out set than what it is worth elsewhere, with a t interval.

    Of two arms it is half of the difference between their difference on the one's set and that on the other's; of more, the
    mean over all pairs. Above zero, arms do better at home.

    Args:
        arms: Values by name of the arm.
        homes: Arms and their own sets.

    Returns:
        None where fewer than two arms have a set, or fewer than two seeds came to an end.
    """
    pairs = list(itertools.combinations(homes, 2))
    seeds = list(zip(*(arms[arm][name] for arm in homes for name in homes.values()), strict=True))
    ended = [at for at, row in enumerate(seeds) if None not in row]
    if not pairs or len(ended) < 2:
        return None

    def gap(one: str, other: str, home: str, at: int) -> float:
        return (arms[one][home][at] or 0.0) - (arms[other][home][at] or 0.0)

    return t_interval([
        math.fsum((gap(b, a, homes[a], at) - gap(b, a, homes[b], at)) / 2 for a, b in pairs) / len(pairs) for at in ended
    ])  # fmt: skip


def t_interval(values: Sequence[float]) -> Estimate:
    """The mean, its 95% interval by Student's t, and p of a mean of zero; without an interval for less than two values."""
    from scipy.stats import t

    count, mean = len(values), float(np.mean(values))
    if count < 2:
        return Estimate(mean, math.nan, math.nan, None)
    error = float(np.std(values, ddof=1)) / math.sqrt(count)
    if error == 0:
        return Estimate(mean, mean, mean, 1.0 if mean == 0 else 0.0)
    half = float(t.ppf(1 - LEVEL / 2, count - 1)) * error
    return Estimate(mean, mean - half, mean + half, float(2 * t.sf(abs(mean) / error, count - 1)))


def welch(one: Sequence[float], other: Sequence[float]) -> float | None:
    """The p-value of equal means, by Welch's test; None where it cannot be told."""
    from scipy.stats import ttest_ind

    if min(len(one), len(other)) < 2 or np.std(one) + np.std(other) == 0:
        return None
    return float(ttest_ind(one, other, equal_var=False).pvalue)


def least(one: Sequence[float], other: Sequence[float], *, tests: int = 1) -> float | None:
    """The least difference that the t test of n seeds finds with 80% power, by the spread of both arms.

    It is that of Holm's first step of so many tests, and holds over the chance in the spread of few seeds: of two seeds it is
    24 standard errors, of five 4.2. The spread of a difference is that of unpaired arms: equal seeds correlated by -0.3 to
    0.4, so pairing earns nothing that could be relied on.
    """
    count = min(len(one), len(other))
    if count < 2:
        return None
    variance = float(np.var(one, ddof=1) + np.var(other, ddof=1))
    return detectable(math.sqrt(variance / count), count - 1, 2 * (count - 1), level=LEVEL / tests)


# ---- one comparison


def _compared(task: str, name: str, first: str, whole: Mapping[str, Values]) -> Comparison:
    mine, theirs = whole[name][task], whole[first][task]
    pairs = [None if a is None or b is None else a - b for a, b in zip(mine, theirs, strict=True)]
    known = [one for one in pairs if one is not None]
    one, other = ([value for value in some if value is not None] for some in (mine, theirs))
    family = {*whole} - {first, AA} if task == PRIMARY and name != AA else {*whole[first]} - {PRIMARY}
    tests = 1 if name == AA and task == PRIMARY else len(family)
    estimate = t_interval(known) if known else Estimate(math.nan, math.nan, math.nan)
    value, low, high = (None if math.isnan(number) else number for number in estimate[:3])
    verdict: Verdict = "unstable" if len(known) < max(len(pairs), 2) else "no difference shown"
    return Comparison(
        task, "bits_per_byte", name, first, tuple(pairs), value, low, high, estimate.p, None,
        welch(one, other), least(one, other, tests=tests), verdict,
    )  # fmt: skip


def _judged(family: list[Comparison], calibrated: bool | None) -> list[Comparison]:
    tested = [one for one in family if one.p is not None]
    corrected = dict(zip(tested, holm([one.p for one in tested if one.p is not None]), strict=True))
    return [
        replace(one, holm=corrected.get(one), verdict=_verdict(one, corrected.get(one), calibrated)) for one in family
    ]


def _verdict(one: Comparison, p: float | None, calibrated: bool | None) -> Verdict:
    if one.verdict == "unstable" or calibrated is False or p is None or one.difference is None:
        return "unstable"
    if p >= LEVEL:
        return "no difference shown"
    return "better" if one.difference < 0 else "worse"
