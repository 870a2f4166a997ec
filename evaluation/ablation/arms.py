"""Arms: whole versions, a pipeline with a stage removed, negative controls, and the first one again (A/A).

A negative control is the first version with its texts spoiled, as a column beside its documents: `shuffled` has the words of
each document in another order, `duplicated` a copy of another document in place of every second one. An ablation that does not
find these finds nothing. They are made in memory: as much of it as the train split has text.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from curate.dataset.reader import Dataset, open_dataset
from curate.dataset.store import Store
from curate.errors import ConfigurationErrors, CurateError, GateError, did_you_mean
from curate.evaluation.ablation.infer import AA

__all__ = ["CONTROLS", "WHOLE", "Arm", "arms_of", "control", "pipeline_arms"]

Say = Callable[[str], None]
COLUMN = "control"
WHOLE = "all stages"
"""Name of the arm of a pipeline as it is."""


@dataclass(frozen=True, slots=True)
class Arm:
    """What one side of an ablation is trained on.

    Attributes:
        name: What results call it.
        dataset: The version.
        column: The text that is trained on.
        again: It is the first arm with other seeds.
        base: The arm whose texts these are: a control's is the one that it spoils.
    """

    name: str
    dataset: Dataset
    column: str = "text"
    again: bool = False
    base: Arm | None = None

    @property
    def reference(self) -> str:
        """The version as a training file names it."""
        return f"{self.dataset.name}@{self.dataset.version[:12]}"

    @property
    def source(self) -> Arm:
        """The arm with the texts as they were."""
        return self.base or self


def arms_of(
    versions: Sequence[str], store: Store, *, controls: Sequence[str], again: bool, column: str = "text"
) -> list[Arm]:
    """The arms of whole versions.

    Raises:
        CurateError: There is no such version, column or control, two are the same, or there is nothing to compare.
    """
    found = [Arm(name, open_dataset(name, store), column) for name in versions]
    for one, other in itertools.combinations(found, 2):
        if one.dataset.version == other.dataset.version:
            raise CurateError(
                f"`{one.name}` and `{other.name}` are the same version",
                hint="the A/A arm compares a version with itself",
            )
    return with_controls(found, controls, again=again)


def with_controls(arms: Sequence[Arm], controls: Sequence[str], *, again: bool) -> list[Arm]:
    """The arms, then the first one again, and its controls.

    Raises:
        CurateError: There is no such column or control, or nothing to compare.
    """
    first = arms[0]
    for arm in arms:
        if arm.column not in arm.dataset.columns:
            near = did_you_mean(arm.column, arm.dataset.columns) or f"it has: {', '.join(arm.dataset.columns)}"
            raise CurateError(f"`{arm.name}` has no column `{arm.column}`", "--text", near)
    names = {arm.name for arm in arms}
    if taken := names & {AA, *controls}:
        raise CurateError(
            f"a version and another arm are both named `{min(taken)}`", hint="give the version a tag: NAME@TAG"
        )
    found = [*arms, *(control(first, name) for name in dict.fromkeys(controls))]
    if len(found) < 2:
        raise CurateError(
            "one version alone compares with nothing", hint="name another version, or a --control, or use --without"
        )
    for arm in found:
        if not arm.dataset.splits.get("train"):
            raise CurateError(f"`{arm.name}` has no train split", hint=f"it has: {', '.join(arm.dataset.splits)}")
    if again:
        found.insert(1, replace(first, name=AA, again=True))
    return found


# ---- a pipeline without a stage


def pipeline_arms(
    path: Path, stages: Sequence[str], place: str | None, say: Say, *, column: str = "text"
) -> tuple[list[Arm], Store]:
    """Run a pipeline as it is, and without each of some stages (`all`: each in turn); the other results are of cached work.

    A version without a stage is the newest of a dataset of its own, `NAME-without-STAGE`.

    Raises:
        CurateError: There is no such stage, or a run fails; of `all`, a stage that others need is told and left in.
    """
    from curate.config.pipeline import load_pipeline
    from curate.pipeline.progress import progress_for_terminal
    from curate.pipeline.run import default_store, run_pipeline

    whole = load_pipeline(path)
    known = [entry.id for entry in whole.stages]
    every = "all" in stages
    for name in stages:
        if name not in known and name != "all":
            near = did_you_mean(name, known) or f"there are: {', '.join(known)}"
            raise CurateError(f"no stage has the id `{name}`", "--without", near)
    splits = {entry.id for entry in whole.stages if entry.name == "split"}
    if not every and (wrong := sorted(splits & set(stages))):
        raise CurateError(
            f"`{wrong[0]}` makes the splits that models are trained and measured on", "--without", "name another stage"
        )
    wanted = [name for name in known if name not in splits] if every else list(dict.fromkeys(stages))
    store_place = default_store(whole, place)

    def version(name: str, left_out: str | None) -> Arm:
        kept = tuple(entry for entry in whole.stages if entry.id != left_out)
        dataset = whole.settings.dataset + (f"-without-{left_out}" if left_out else "")
        one = replace(whole, stages=kept, settings=whole.settings.model_copy(update={"dataset": dataset}))
        done = run_pipeline(one, store_place, progress=progress_for_terminal())
        return Arm(name, open_dataset(f"{dataset}@{done.version[:12]}", store_place), column)

    found = [version(WHOLE, None)]
    for name in wanted:
        say(f"the version without `{name}`")
        try:
            found.append(version(f"without {name}", name))
        except GateError:
            raise
        except (ConfigurationErrors, CurateError) as error:
            if not every:
                raise
            say(f"`{name}` cannot be left out: {error.problem}")
    return found, Store.open(store_place)


# ---- controls


def _shuffled(texts: list[str]) -> list[str]:
    found: list[str] = []
    for number, text in enumerate(texts):
        parts = re.split(r"(\s+)", text)
        words = parts[::2]
        random.Random(f"shuffled/{number}").shuffle(words)  # noqa: S311 - no secret
        parts[::2] = words
        found.append("".join(parts))
    return found


def _duplicated(texts: list[str]) -> list[str]:
    order = list(range(len(texts)))
    random.Random("duplicated").shuffle(order)  # noqa: S311 - no secret
    half, found = len(order) // 2, list(texts)
    for gone, copied in zip(order[:half], order[half:], strict=False):
        found[gone] = texts[copied]
    return found


CONTROLS: dict[str, Callable[[list[str]], list[str]]] = {"shuffled": _shuffled, "duplicated": _duplicated}
"""What spoils the texts of a train split, by name."""


def control(arm: Arm, name: str) -> Arm:
    """The version of an arm with its train split spoiled; validation texts stay as they are.

    Raises:
        CurateError: There is no such control, or the version has a column of that name.
    """
    import pyarrow as pa

    from curate.dataset import refs
    from curate.dataset.annotations import hashes, put_beside

    if name not in CONTROLS:
        raise CurateError(f"there is no control `{name}`", "--control", f"there are: {', '.join(CONTROLS)}")
    dataset = arm.dataset
    if COLUMN in dataset.columns:
        raise CurateError(f"`{arm.name}` has a column `{COLUMN}` already", hint="rename it in the pipeline")
    tables = []
    for split in dataset.splits:
        table = dataset.arrow(split, ["id", arm.column])
        texts = [text or "" for text in table.column(arm.column).to_pylist()]
        said = pa.array(CONTROLS[name](texts) if split == "train" else texts, pa.large_string()).cast(pa.string())
        tables.append(pa.table({"id": table["id"], "hash": hashes(table, [arm.column]), COLUMN: said}))
    made = put_beside(dataset, pa.concat_tables(tables), [arm.column], {"kind": "control", "control": name})
    spoiled = f"{dataset.name}-{name}"
    refs.commit(dataset.store, spoiled, made.version)
    return Arm(name, open_dataset(f"{spoiled}@{made.version[:12]}", dataset.store), COLUMN, base=arm)
