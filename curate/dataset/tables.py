"""Whether a label may be predicted from what the stages of a table made: none of it may be made of the label."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from curate.errors import CurateError

if TYPE_CHECKING:
    from curate.dataset.reader import Dataset

__all__ = ["check_label"]


def check_label(dataset: Dataset, label: str, where: str | None = None) -> None:
    """Look at what the stages of a version learned.

    Args:
        dataset: The version.
        label: Column of what is to be predicted.
        where: What asks for it.

    Raises:
        CurateError: The label, or whether it was empty, is among its features; or a stage has filled or clipped labels.
    """
    for stage in dataset.manifest["stages"]:
        name, artifacts = stage["stage"], stage["artifacts"]
        mend = f"`{{stage: {name}, label: {label}}}`"
        if name == "table_features" and "fitted" in artifacts:
            columns = json.loads(dataset.artifact(stage["id"], "fitted").column("fitted")[0].as_py())["columns"]
            for column in (label, f"{label}_missing"):
                if columns.get(column, {}).get("kept"):
                    raise CurateError(
                        f"the label `{column}` is among the columns that `features` are made of", where,
                        f"{mend} leaves it out" if column == label else f"name the label in every stage: `label: {label}`",
                    )  # fmt: skip
        changed = "cells" in artifacts and dataset.artifact(stage["id"], "cells").column("column").to_pylist()
        if name in ("table_missing", "table_outliers") and changed and label in changed:
            raise CurateError(
                f"`{stage['id']}` has changed cells of the label `{label}`: what is not known would be learned as known",
                where, f"{mend} leaves it as it is",
            )  # fmt: skip
