"""Runs that go on from an existing model: one of ours, or a Hugging Face folder."""

from __future__ import annotations

import json

import pytest
import torch

from curate.errors import CurateError
from curate.train.build import build_parts
from curate.train.checkpoint import checkpoints
from curate.train.export import export_run, load_trained
from curate.train.origin import find_origin
from curate.train.world import joined
from tests.train.tiny_tasks import CASES, config_of

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

SHORT = {"steps": 4, "checkpoint_every": 4, "validation": {"every": 4}}


def first_weights(config, packs):
    """The parameters before the first step."""
    with joined(0, 1, device="cpu") as world, build_parts(config, packs, world) as parts:
        return {name: value.full_tensor().detach() for name, value in parts.objective.named_parameters()}


@pytest.fixture
def base(trained):
    return trained("causal", "base", **SHORT)


def going_on(path, name="classification-decoder", **settings):
    return config_of(CASES[name], model={"path": str(path)}, tokenizer={"path": f"{path}/tokenizer.json"}, **settings)


def test_a_run_begins_with_the_weights_of_another_under_a_new_head(base, tiny_packs):
    config = going_on(base.path)
    begun = first_weights(config, tiny_packs(config, None))
    before = load_trained(base.path).tensors
    assert all(torch.equal(begun[name], tensor) for name, tensor in before.items())
    assert {name for name in begun if name not in before} == {"head.weight"}


def test_a_single_checkpoint_may_be_named(base, tiny_packs):
    assert find_origin(going_on(checkpoints(base.checkpoints)[-1]).model).vocabulary > 256


def test_a_run_that_goes_on_from_another_learns_and_takes_over_its_sizes(base, run, tiny_packs):
    config = going_on(base.path, steps=4, checkpoint_every=4)
    folder = run(config, "tuned", tiny_packs(config, None))
    sizes = load_trained(folder.path).sizes
    assert (sizes.layers, sizes.width) == (2, 16)


def test_another_tokenizer_than_that_of_the_model_is_refused_with_the_one_to_use(base, tiny_packs):
    config = config_of(CASES["classification-decoder"], model={"path": str(base.path)}, tokenizer={"vocabulary": 280})
    with pytest.raises(CurateError, match="the tokens were made by the tokenizer") as error:
        first_weights(config, tiny_packs(config, None))
    assert str(base.path / "tokenizer.json") in error.value.hint


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(base, tiny_packs, tmp_path):
    export_run(base.path, tmp_path / "export")
    config = config_of(
        CASES["classification-decoder"], model={"path": str(tmp_path / "export")}, tokenizer={"vocabulary": 320}
    )
    with pytest.raises(CurateError, match=r"the tokenizer has \d+ tokens and the model \d+"):
        first_weights(config, tiny_packs(config, None))


def test_an_exported_model_validates_as_the_run_that_it_comes_from(base, run, tiny_packs, tmp_path):
    export_run(base.path, tmp_path / "export")
    config = going_on(
        tmp_path / "export",
        "causal",
        steps=1,
        optimizer={"learning_rate": 1e-12},
        validation={"every": 1, "sequences": 9},
        dropout=0.0,
    )
    again = json.loads((run(config, "again", tiny_packs(config, None)).path / "result.json").read_text())
    before = json.loads((base.path / "result.json").read_text())
    assert again["validation"]["bits_per_byte"] == pytest.approx(before["validation"]["bits_per_byte"], abs=1e-5)


@pytest.mark.parametrize("name", ["causal", "causal-gpt2", "classification", "seq2seq"])
def test_models_of_all_families_go_on_from_their_hugging_face_folder(trained, run, tiny_packs, tmp_path, name):
    export_run(trained(name, "base", **SHORT).path, tmp_path / "export")
    kind = CASES[name].model.get("kind", "decoder")
    path = tmp_path / "export"
    config = config_of(
        CASES[name], model={"path": str(path), "kind": kind}, tokenizer={"path": str(path)}, dropout=0.0, **SHORT
    )
    folder = run(config, "tuned", tiny_packs(config, None))
    assert json.loads((folder.path / "result.json").read_text())["steps"] == 4


def test_a_sequence_longer_than_the_positions_is_refused(trained, tiny_packs, tmp_path):
    export_run(trained("causal-gpt2", "base", **SHORT).path, tmp_path / "export")
    config = going_on(tmp_path / "export", "causal-gpt2", batch={"length": 64})
    with pytest.raises(CurateError, match="sequences of 64 tokens are longer than the 32 positions of the model"):
        first_weights(config, tiny_packs(config, None))


def test_a_model_of_another_kind_is_refused(base, tmp_path):
    export_run(base.path, tmp_path / "export")
    config = config_of(CASES["classification"], model={"path": str(tmp_path / "export")})
    with pytest.raises(CurateError, match="is of the kind decoder, not encoder"):
        find_origin(config.model)


def test_a_folder_without_a_model_is_refused(tmp_path):
    config = config_of(CASES["causal"], model={"path": str(tmp_path / "nothing")})
    with pytest.raises(CurateError, match="there is no model in") as error:
        find_origin(config.model)
    assert "Hugging Face" in error.value.hint


def test_pickled_weights_are_refused(base, tmp_path):
    export_run(base.path, tmp_path / "export")
    (tmp_path / "export" / "model.safetensors").rename(tmp_path / "export" / "pytorch_model.bin")
    with pytest.raises(CurateError, match="the weights are pickled"):
        find_origin(config_of(CASES["causal"], model={"path": str(tmp_path / "export")}).model)


def test_a_multi_token_run_is_exported_before_another_begins_with_it(trained):
    folder = trained("multi_token", "base", **SHORT)
    with pytest.raises(CurateError, match="the run's model cannot be taken over") as error:
        find_origin(config_of(CASES["causal"], model={"path": str(folder.path)}).model)
    assert "export" in error.value.hint
