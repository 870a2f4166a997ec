"""What other thresholds would do, fast enough for a slider: `curate what-if` over columns that are in memory.

The same is told as by curate/pipeline/what_if.py, for filters that decide by rules, in versions whose documents were made of
no others: who would leave, who would stay, and of whom it is not known, as no later stage ever saw them. Elsewhere nothing is
told but the command that does. 8 rules over a million documents: benchmarks/browse.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isfinite
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from curate.browse.columns import KEPT, VERDICTS, Columns
from curate.browse.document import listed
from curate.dataset.reader import Dataset
from curate.errors import CurateError, did_you_mean
from curate.reports.features import feature_histogram
from curate.stages.contract import Filter
from curate.stages.registry import stage_of
from curate.stages.verdicts import Rule

if TYPE_CHECKING:
    import numpy as np

__all__ = ["WhatIf"]

EXAMPLES = 10
STEPS = 200
"""Places of a slider, at even shares of what was measured: values that few documents have are not most of it."""
_AT_WORK = {
    "mapper": "it edits, or drops, while it reads the texts",
    "audit": "it measures by its settings",
    "expander": "it makes documents by its settings",
    "global": "it decides over all documents together",
}
"""Why settings of other stages than filters are not decided from what was measured, by their kind."""


class WhatIf:
    """The thresholds of a version that can be moved.

    Attributes:
        filters: By id, the filters that decide by rules, as they were.
        why_not: By id, why the thresholds of another stage cannot be moved here.
    """

    def __init__(self, columns: Columns) -> None:
        self.columns = columns
        self.filters: dict[str, Filter] = {}
        self.why_not: dict[str, str] = {}
        for row in columns.manifest["stages"]:
            if row["kind"] == "filter":
                self._take(row)
            elif row["kind"] in _AT_WORK and any(_is_number(value) for value in row["settings"].values()):
                self.why_not[row["id"]] = _AT_WORK[row["kind"]]

    def _take(self, row: Mapping[str, Any]) -> None:
        name = row["id"]
        try:
            stage = stage_of(row["stage"], row["settings"])
        except (CurateError, ValueError) as error:
            told = error.problem if isinstance(error, CurateError) else str(error).splitlines()[0]
            self.why_not[name] = f"its code or settings are not here: {told} (is its folder on PYTHONPATH?)"
            return
        if not isinstance(stage, Filter) or type(stage).decide is not Filter.decide:
            self.why_not[name] = "it does not decide by rules over numbers"
        elif any(shard.parent for shard in self.columns.shards):
            self.why_not[name] = "documents of this version were made of others, which would be made or not"
        elif any(f"{name}.{rule.feature}" not in self.columns.features for rule in stage.rules()):
            self.why_not[name] = "what it measured is not kept as numbers"
        else:
            self.filters[name] = stage

    def sliders(self) -> list[dict[str, Any]]:
        """What can be moved: `stage, setting, value, reason, column`, the histogram of what was measured, and the `steps`."""
        import numpy as np

        found: list[dict[str, Any]] = []
        for name, setting, value, rule in self._thresholds():
            if isinstance(rule, str):
                continue
            column, whole = f"{name}.{rule.feature}", isinstance(value, int)
            values = self.columns.feature(column)
            known = values[np.isfinite(values)]
            histogram = feature_histogram(known, [float(value)])
            found.append({
                "stage": name, "setting": setting, "value": value, "reason": rule.reason, "column": column,
                "edges": list(histogram.edges), "counts": list(histogram.counts["documents"]),
                "logarithmic": histogram.logarithmic, "steps": _steps(known, value, whole=whole), "whole": whole,
                "least": float(min(known.min(), value)) if len(known) else float(value),
                "most": float(max(known.max(), value)) if len(known) else float(value),
                "measured": len(known), "infinite": int(np.isinf(values).sum()), "missing": int(np.isnan(values).sum()),
            })  # fmt: skip
        return found

    def fixed(self) -> list[dict[str, Any]]:
        """Thresholds of these filters that have no slider, and why: `stage, setting, value, why`."""
        return [
            {"stage": name, "setting": setting, "value": value, "why": rule}
            for name, setting, value, rule in self._thresholds() if isinstance(rule, str)
        ]  # fmt: skip

    def _thresholds(self) -> Iterator[tuple[str, str, Any, Rule | str]]:
        """Each threshold with its value and the rule whose bound it is, or why it has none that a slider could move."""
        for name, stage in self.filters.items():
            for setting in sorted(stage.thresholds):
                value = getattr(stage, setting)
                why = "it is not set" if value is None else "it is no single number"
                rule = self._rule_of(stage, setting) if _is_number(value) else None
                why = "more than the bound of one rule depends on it" if _is_number(value) else why
                yield name, setting, value, rule or why

    @staticmethod
    def _rule_of(stage: Filter, setting: str) -> Rule | None:
        """The rule whose bound a setting is: the one that differs when it does."""
        value = getattr(stage, setting)
        for other in (value + 1, value - 1, value * 0.5):
            try:
                moved = _with(stage, {setting: other})
            except ValueError:
                continue
            before, after = list(stage.rules()), list(moved.rules())
            differing = [one for one, new in zip(before, after, strict=False) if one != new]
            return differing[0] if len(before) == len(after) and differing else None
        return None

    def read(self, asked: Mapping[str, float]) -> dict[str, dict[str, Any]]:
        """By stage the thresholds that are others than they were, of `STAGE.SETTING` and values.

        Raises:
            CurateError: There is no such threshold, or it cannot have this value.
        """
        changes: dict[str, dict[str, Any]] = {}
        known = [f"{one}.{setting}" for one, stage in self.filters.items() for setting in sorted(stage.thresholds)]
        for key, value in asked.items():
            name, _, setting = key.rpartition(".")
            if key not in known:
                why = f": {self.why_not[name]}" if name in self.why_not else ""
                shown = f"there is: {', '.join(known[:12])}" if known else "`curate what-if` tells more"
                raise CurateError(f"`{key}` cannot be moved here{why}", hint=did_you_mean(key, known) or shown)
            if not isfinite(value):
                raise CurateError(f"`{key}` is no number: `{value}`", hint="such as 0.25 or 100")
            before = getattr(self.filters[name], setting)
            now = int(value) if isinstance(before, int) and value == int(value) else value
            if now != before:
                changes.setdefault(name, {})[setting] = now
        for name, settings in changes.items():
            try:
                _with(self.filters[name], settings)
            except ValueError as error:
                told = ", ".join(f"{setting}={value:g}" for setting, value in settings.items())
                reason = str(error.errors()[0]["msg"]) if isinstance(error, ValidationError) else str(error)
                raise CurateError(f"`{name}` cannot have {told}", hint=reason[:1].lower() + reason[1:]) from error
        return changes

    def tell(self, changes: Mapping[str, dict[str, Any]]) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
        """What changes would do, in counts of documents; which rows would leave, and which would be let in (bool).

        Who leaves was kept before. `earlier` counts who was removed by a later stage than the one that would remove them.
        """
        import numpy as np

        columns, last = self.columns, len(self.columns.stages)
        there = (columns.verdict == KEPT) | (columns.gone < len(columns.manifest["stages"]))  # what was erased is not
        known = np.ones(columns.rows, bool)
        now = columns.gone.copy()
        stages: list[dict[str, Any]] = []
        order = [name for name in columns.stages if name in changes]
        out_here, stay = np.zeros((2, columns.rows), bool)
        for name in order:
            number = columns.stages.index(name)
            here = there & (columns.gone >= number) & (now >= number) & known
            fails, sound = self._judged(name, changes[name])
            gone = columns.gone == number
            leaves = np.where(sound, fails, gone)
            out, let_in = here & leaves & ~gone, here & gone & ~leaves
            now[out] = number
            out_here |= out
            stay |= let_in
            if self._followed(number):
                known &= ~let_in
            else:
                now[let_in] = last
            stages.append({"stage": name, "leave": int(out.sum()), "stay": int(let_in.sum())})
        kept = (now == last) & known
        before = columns.verdict == KEPT
        leave = before & ~kept
        documents = {
            "before": int(before.sum()), "now": int(kept.sum()), "unknown": int((~known).sum()),
            "earlier": int((out_here & ~before).sum()),
        }  # fmt: skip
        return {"documents": documents, "stages": stages}, leave, stay

    def _judged(self, name: str, settings: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        """Which rows would fail a rule, and which were measured and not quarantined there (bool)."""
        import numpy as np

        columns = self.columns
        fails = np.zeros(columns.rows, bool)
        for rule in _with(self.filters[name], settings).rules():
            values = columns.feature(f"{name}.{rule.feature}")
            if rule.minimum is not None:
                fails |= ~(values >= rule.minimum)
            if rule.maximum is not None:
                fails |= ~(values <= rule.maximum)
        lost = (columns.gone == columns.stages.index(name)) & (columns.verdict == VERDICTS.index("quarantined"))
        return fails, columns.measured(name) & ~lost

    def _followed(self, number: int) -> bool:
        """Whether a later stage works on what a stage lets in."""
        return any(row["kind"] != "source" for row in self.columns.manifest["stages"][number + 1 :])

    def examples(
        self, dataset: Dataset, changes: Mapping[str, dict[str, Any]], rows: np.ndarray
    ) -> list[dict[str, Any]]:
        """Of rows that would flip those nearest to a threshold that moves, as `listed` tells them."""
        import numpy as np

        far = np.full(len(rows), np.inf)
        for name, settings in changes.items():
            before, after = self.filters[name].rules(), _with(self.filters[name], settings).rules()
            for rule in (new for old, new in zip(before, after, strict=False) if old != new):
                values = self.columns.feature(f"{name}.{rule.feature}")[rows]
                for bound in (rule.minimum, rule.maximum):
                    if bound is not None:
                        far = np.fmin(far, np.abs(values - bound))
        nearest = rows[np.argsort(far, kind="stable")[:EXAMPLES]]
        return listed(self.columns, dataset, nearest.tolist())


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _steps(known: np.ndarray, value: float, *, whole: bool) -> list[float]:
    """The values of a slider's places, ascending: even shares of what was measured (four digits of each), and the threshold."""
    import numpy as np

    shares = np.quantile(known, np.linspace(0, 1, STEPS + 1), method="nearest").tolist() if len(known) else []
    steps = {float(round(one)) if whole else float(f"{one:.4g}") for one in shares}
    return sorted({*steps, float(value)})


def _with(stage: Filter, settings: Mapping[str, Any]) -> Filter:
    return type(stage).model_validate({**stage.model_dump(mode="json"), **settings})
