"""Mitigations by number: weights that make group and label independent, and resampling to target shares.

    weight      w = P(group) P(label) / P(group, label) (Kamiran and Calders 2012), or target share / share without a label
    effective n (sum w)^2 / sum w^2 (Kish 1965): what the weighted documents are worth

A document's group is the only one of the axis that it mentions, `(none)`, or `(several)`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import Field, field_validator, model_validator

from curate.audit.mentions import lexicon_files
from curate.errors import CurateError, did_you_mean
from curate.stages.contract import Global, Reduced, Verdicts

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from curate.audit.bias.lexicon import Lexicon

__all__ = ["Balance", "Reweigh"]

NONE, SEVERAL = "(none)", "(several)"
Share = Annotated[float, Field(gt=0, lt=1)]
_AXIS = "Axis of the lexicon (`gender`)."
_LEXICON = "YAML files of words; by default curate's own, in English."


def _shares(targets: dict[str, float]) -> dict[str, float]:
    if targets and abs(sum(targets.values()) - 1) > 1e-6:
        raise ValueError(f"the target shares add up to {sum(targets.values()):g}, and must add up to 1")
    return targets


def _lexicon(stage: Reweigh | Balance, targets: Sequence[str]) -> Lexicon:
    from curate.audit.bias.lexicon import load_lexicon

    lexicon = load_lexicon(stage.model_files()).of_axis([stage.axis])
    known = lexicon.axes[stage.axis]
    for group in targets:
        if group not in known:
            hint = did_you_mean(group, known) or f"there are: {', '.join(known)}"
            raise CurateError(f"the axis `{stage.axis}` has no group `{group}`", hint=hint)
    return lexicon


def _grouping(lexicon: Lexicon, axis: str) -> Callable[[pa.Table], list[str]]:
    """The function that says the group of each document."""
    import numpy as np

    from curate.audit.bias.scan import counted, scanner

    names = lexicon.axes[axis]
    terms = [term for term in lexicon.terms if term.section == "groups"]
    group_of = np.array([names.index(term.group) for term in terms])
    scan = scanner(terms)

    def group(batch: pa.Table) -> list[str]:
        there = counted(scan(batch.column("text")), group_of, len(names)) > 0
        return [
            NONE if count == 0 else SEVERAL if count > 1 else names[first]
            for count, first in zip(there.sum(axis=1).tolist(), there.argmax(axis=1).tolist(), strict=True)
        ]

    return group


class Reweigh(Global):
    """Gives every document a weight, so that groups and labels, or groups and target shares, come together as they should.

    With `label`, groups and labels are independent in the weighted documents (Kamiran and Calders); with `targets`, the groups
    of the axis have these shares among documents that mention one of them. The artifact `weights` has the weights and the
    effective number of documents. Train with `data: {weight: weight}` in train.yaml.
    """

    libraries: ClassVar[tuple[str, ...]] = ("numba",)

    axis: str = Field(description=_AXIS)
    lexicon: tuple[str, ...] = Field((), description=_LEXICON)
    label: str | None = Field(None, description="Column of labels; None weighs groups alone, to `targets`.")
    targets: dict[str, Share] = Field({}, description="Share of each group, without `label`; they add up to 1.")
    most: float = Field(10.0, gt=1, description="Weights are cut at this, and at its inverse.")
    column: str = Field("weight", min_length=1, description="Name of the column of weights.")

    _add_up = field_validator("targets")(_shares)

    @model_validator(mode="after")
    def _label_or_targets(self) -> Self:
        if (self.label is None) == (not self.targets):
            raise ValueError("give `label`, or `targets`, and not both")
        return self

    def model_files(self) -> Sequence[Path]:
        """The words."""
        return lexicon_files([self.beside(path) for path in self.lexicon])

    def columns(self) -> Sequence[str]:
        """The label."""
        return self.requires()

    def requires(self) -> Sequence[str]:
        """The label."""
        return (self.label,) if self.label else ()

    def adds(self) -> Sequence[str]:
        """The weight."""
        return (self.column,)

    def open(self) -> Callable[[pa.Table], pa.Table]:
        """The function that says the group and the label of each document."""
        import pyarrow as pa

        group = _grouping(_lexicon(self, [*self.targets]), self.axis)

        def sign(batch: pa.Table) -> pa.Table:
            labels = [str(one) for one in batch.column(self.label).to_pylist()] if self.label else [""] * batch.num_rows
            return pa.table({"group": pa.array(group(batch), pa.string()), "label": pa.array(labels, pa.string())})

        return sign

    def reduce(self, signatures: pa.Table) -> Reduced:
        """Weigh by the counts of all documents."""
        import numpy as np
        import pyarrow as pa

        groups, labels = (np.array(signatures.column(name).to_pylist(), object) for name in ("group", "label"))
        weights = np.ones(len(groups))
        cells: list[dict[str, Any]] = []
        for group in dict.fromkeys(groups.tolist()):
            for label in dict.fromkeys(labels.tolist()):
                here = (groups == group) & (labels == label)
                if here.any():
                    weight = float(
                        np.clip(self._weight(groups, labels, group, label, int(here.sum())), 1 / self.most, self.most)
                    )
                    weights[here] = weight
                    cells.append({"group": group, "label": label, "documents": int(here.sum()), "weight": weight})
        self._check(groups)
        square = float((weights**2).sum())
        effective = float(weights.sum()) ** 2 / square if square else 0.0
        table = pa.Table.from_pylist([{**one, "effective_n": effective} for one in cells] or [{"effective_n": 0.0}])
        return Reduced(Verdicts().table(), {self.column: pa.array(weights)}, {"weights": table})

    def _weight(self, groups: np.ndarray, labels: np.ndarray, group: str, label: str, both: int) -> float:
        if self.label:
            return float((groups == group).sum()) * float((labels == label).sum()) / (len(groups) * both)
        if group not in self.targets:
            return 1.0
        of = sum(int((groups == one).sum()) for one in self.targets)
        return self.targets[group] * of / both

    def _check(self, groups: np.ndarray) -> None:
        there = set(groups.tolist())
        for group in self.targets:
            if len(groups) and group not in there:
                raise CurateError(
                    f"no document mentions `{group}` alone, so no weight gives it a share of {self.targets[group]:g}",
                    hint="take it out of `targets`, or add documents",
                )


class Balance(Global):
    """Drops documents of groups that are mentioned too often, so that the groups of an axis have target shares.

    Documents that mention one group of `targets` alone are resampled, without replacement, to as many as there can be; all
    others stay. Which ones go is decided by a hash of the id: another seed, other documents.
    """

    libraries: ClassVar[tuple[str, ...]] = ("numba", "xxhash")
    reasons = {"over_target": "its group has more documents than its target share allows, and the draw was against it"}

    axis: str = Field(description=_AXIS)
    targets: dict[str, Share] = Field(min_length=2, description="Share of each group; they add up to 1.")
    lexicon: tuple[str, ...] = Field((), description=_LEXICON)
    seed: int = Field(1, ge=0, lt=2**64, description="Seed of the draw.")

    _add_up = field_validator("targets")(_shares)

    def model_files(self) -> Sequence[Path]:
        """The words."""
        return lexicon_files([self.beside(path) for path in self.lexicon])

    def columns(self) -> Sequence[str]:
        """Nothing but the text."""
        return ()

    def open(self) -> Callable[[pa.Table], pa.Table]:
        """The function that says the group of each document."""
        import pyarrow as pa

        group = _grouping(_lexicon(self, [*self.targets]), self.axis)
        return lambda batch: pa.table({"group": pa.array(group(batch), pa.string())})

    def reduce(self, signatures: pa.Table) -> Reduced:
        """Choose by draws."""
        from xxhash import xxh3_64_intdigest

        rows: dict[str, list[int]] = {group: [] for group in self.targets}
        for row, group in enumerate(signatures.column("group").to_pylist()):
            if group in rows:
                rows[group].append(row)
        empty = [group for group, some in rows.items() if not some]
        if empty and signatures.num_rows:
            raise CurateError(
                f"no document mentions `{empty[0]}` alone, so it cannot have a share of {self.targets[empty[0]]:g}",
                hint="take it out of `targets`, or add documents",
            )
        total = min((len(some) / self.targets[group] for group, some in rows.items()), default=0.0)
        ids, said = signatures.column("id").to_pylist(), Verdicts()
        over: list[tuple[int, int, int]] = []
        for group, some in rows.items():
            keep = round(total * self.targets[group])
            order = sorted(some, key=lambda row: xxh3_64_intdigest(ids[row].encode(), self.seed))
            over += [(row, len(some), keep) for row in order[keep:]]
        for row, there, keep in sorted(over):
            said.drop(row, "over_target", value=there, threshold=keep)
        return Reduced(said.table())
