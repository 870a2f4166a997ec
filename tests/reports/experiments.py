"""An ablation and a sweep through all of their code but the training, whose values are drawn by a seed."""

from __future__ import annotations

import json
import random
from unittest.mock import patch

from curate.dataset.store import Store
from curate.evaluation.ablation import sweep
from curate.evaluation.ablation.arms import arms_of
from curate.evaluation.ablation.run import Asked, ablate
from curate.evaluation.ablation.trained import Shelf, Trained
from curate.evaluation.gates import read_gate
from tests.train.rows_project import TRAIN, columns_of, write_dataset


def _trained(shelf, name, settings, versions, sets, say):
    """A model that is as good as its name and seed say, with metrics as a training writes them."""
    draw = random.Random(f"{name}{settings['seed']}")
    value = 2.5 + 0.3 * ("shuffled" in name) - 0.2 * ("0.02" in name) + draw.gauss(0, 0.01)
    run = shelf.folder / "runs" / f"{name}, {settings['seed']}"
    run.mkdir(parents=True, exist_ok=True)
    rows = [{"step": step, "seconds": 0.5, "tokens": 1000 * step, "validation": {"bits_per_byte": value + 1 / step}}
            for step in range(1, 6)]  # fmt: skip
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    diverged = "0.5" in name and settings["seed"] == 2
    return Trained(name, settings["seed"], run, None if diverged else {one.name: value for one in sets})


def results(folder):
    """What `curate ablate` and `curate sweep` print: two versions, a control, gates; and points of which one diverged."""
    parts = ["validation" if number % 3 == 2 else "train" for number in range(120)]
    versions = []
    for number in range(2):
        write_dataset(folder, columns_of(120, number), list(parts))
        versions.append(f"rows@v{number + 1}")
    (folder / "train.yaml").write_text(TRAIN)
    store = Store.open(str(folder / ".curate"))
    gates = [read_gate("bits_per_byte better"), read_gate("bits_per_byte not worse than 90%")]
    arms = arms_of(versions, store, controls=["shuffled"], again=True)
    with patch.object(Shelf, "trained", _trained):
        ablation = ablate(
            Asked(arms, store, folder / "ablations", "compared", seeds=3, predicted="no difference", gates=gates,
                  overrides=["tokenizer.vocabulary=300"]), lambda words: None,
        )  # fmt: skip
        rates = ["optimizer.learning_rate=1e-3,2e-2,0.5"]
        tried = sweep.sweep(
            sweep.Asked(folder / "train.yaml", rates, store, folder / "sweeps", "tried"), lambda words: None
        )
    return ablation, tried
