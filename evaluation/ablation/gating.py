"""Gates of an ablation: what every arm has to be shown to be, against the first one, on the endpoint or a held-out set.

They are `curate compare`'s, in its words, with intervals over seeds; without `on SET` a gate is about the declared endpoint.
Nothing is shown of an arm that is unstable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from curate.errors import CurateError, did_you_mean
from curate.evaluation.ablation.infer import AA, PRIMARY, Comparison, Values, macro
from curate.evaluation.compare import Comparison as Compared
from curate.evaluation.compare import Difference
from curate.evaluation.gates import Gate, Judged, judge

__all__ = ["check_gates", "judge_arms"]

METRIC = "bits_per_byte"


def check_gates(gates: Sequence[Gate], sets: Sequence[str]) -> None:
    """Refuse, before anything is trained, gates about what is not measured.

    Raises:
        CurateError: A gate is about another metric or set.
    """
    for gate in gates:
        if gate.metric != METRIC:
            raise CurateError(
                f"an ablation has no metric `{gate.metric}`", f'--gate "{gate.text}"', f"it has `{METRIC}`"
            )
        if gate.limit:
            raise CurateError(
                "an ablation compares with its first arm, and has no limits", f'--gate "{gate.text}"',
                f"`{METRIC} not worse than 0.5%`",
            )  # fmt: skip
        if gate.task not in (None, PRIMARY, *sets):
            known = (PRIMARY, *sets)
            near = did_you_mean(gate.task or "", known) or f"there are: {', '.join(known)}"
            raise CurateError(f"there is no held-out set `{gate.task}`", f'--gate "{gate.text}"', near)


def judge_arms(
    gates: Sequence[Gate], found: Sequence[Comparison], arms: Mapping[str, Values], primary: Sequence[str]
) -> tuple[Judged, ...]:
    """Which gates are shown, of all arms but A/A.

    Args:
        gates: What has to be shown.
        found: The comparisons.
        arms: Bits per byte of each arm.
        primary: The held-out sets that the endpoint is the mean of.
    """
    asked = [replace(gate, task=gate.task or PRIMARY) for gate in gates]
    told = [one for one in found if one.arm != AA]
    apart = tuple((one.task, one.arm, "unstable") for one in told if one.verdict == "unstable")
    whole = {name: {PRIMARY: macro(values, primary), **values} for name, values in arms.items()}
    tests = tuple(_difference(one, whole) for one in told)
    judged = judge(asked, Compared({}, tests, (), (), apart, ()), fewest=2)  # Student's intervals hold for 2 seeds, too
    return tuple(replace(one, gate=gate) for gate, one in zip(gates, judged, strict=True))


def _difference(one: Comparison, whole: Mapping[str, Values]) -> Difference:
    first, other = (_mean(whole[name][one.task]) for name in (one.against, one.arm))
    return Difference(
        one.task, one.against, one.arm, one.metric, first, other, one.difference, one.low, one.high, one.p,
        len(one.differences), None, one.mde, higher_is_better=False,
    )  # fmt: skip


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
