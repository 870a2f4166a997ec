"""A text begins for a run, for its export and in an evaluation as it began in the training."""

from __future__ import annotations

import numpy as np
import pytest

from curate.dataset.find import find_store
from curate.dataset.reader import open_dataset
from curate.evaluation.models.opened import open_model
from curate.tokenize.pack import pack_dataset
from curate.train.data.windows import Windows
from curate.train.export.export import export_run
from curate.train.weights.export import load_trained

TEXTS = ["a text", "another one, somewhat longer than the other"]


@pytest.mark.parametrize(("name", "first"), [("started", "<|start|>"), ("text", "<|endoftext|>")])
@pytest.mark.parametrize("backend", ["ours", "transformers"])
def test_a_text_begins_in_an_evaluation_as_in_the_training(project, trained, tmp_path, name, first, backend):
    run, config = trained(name), load_trained(trained(name)).config
    dataset = open_dataset("rows", find_store(str(project / ".curate")))
    shown = Windows(pack_dataset(dataset, config.tokenizer), "train", 8).read(np.array([0]))["tokens"][0, 0]
    export_run(run, tmp_path / "export")
    model, exported = open_model(str(run)), open_model(str(tmp_path / "export"), backend=backend)
    assert model.prefix == exported.prefix == shown == model.tokenizer.token_to_id(first)
    assert model.end == exported.end
    for one, other in zip(model.read(TEXTS), exported.read(TEXTS), strict=True):
        np.testing.assert_allclose(one.nats, other.nats, rtol=1e-4)


def test_a_run_is_evaluated_during_its_training_as_behind_it(trained):
    from curate.evaluation.models.ours import trunk_of

    during = trunk_of(load_trained(trained("started")), "run", "")
    for one, other in zip(during.read(TEXTS), open_model(str(trained("started"))).read(TEXTS), strict=True):
        np.testing.assert_array_equal(one.nats, other.nats)
