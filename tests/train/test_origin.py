"""Runs that go on from an existing model: one of ours, or a Hugging Face folder."""

from __future__ import annotations

import json

import pytest
import torch

from curate.errors import CurateError
from curate.train.build import build_parts
from curate.train.export.export import export_run
from curate.train.parallel.world import joined
from curate.train.runs.metrics import read_metrics
from curate.train.weights.checkpoint import checkpoints
from curate.train.weights.export import load_trained
from curate.train.weights.origin import checkpoint_of, find_origin
from tests.train.tiny_tasks import CASES, config_of, rows_of

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
    begun = {"model": {"path": str(path)}, "tokenizer": {"path": f"{path}/tokenizer.json"}}
    return config_of(CASES[name], **{**begun, **settings})


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


def test_a_chain_of_runs_keeps_the_sizes_of_the_first(base, run, tiny_packs, tmp_path):
    second = going_on(base.path, "causal", model={"path": str(base.path), "layers": 4}, **SHORT)
    folder = run(second, "second", tiny_packs(second, None))
    third = going_on(folder.path, "preference", model={"path": str(folder.path), "layers": 4})
    begun = first_weights(third, tiny_packs(third, None))
    assert all(torch.equal(begun[name], tensor) for name, tensor in load_trained(folder.path).tensors.items())


def test_a_run_is_exported_where_the_model_that_it_began_with_is_gone(base, run, tiny_packs, tmp_path):
    config = going_on(base.path, "causal", model={"path": str(base.path), "layers": 4}, **SHORT)
    folder = run(config, "second", tiny_packs(config, None))
    base.path.rename(tmp_path / "elsewhere")
    export_run(folder.path, tmp_path / "export")
    assert json.loads((tmp_path / "export" / "config.json").read_text())["num_hidden_layers"] == 2


def test_learned_positions_are_as_many_as_in_the_first_model(run, tiny_origins, tiny_packs):
    config = config_of(CASES["causal-gpt2"], model={"path": str(tiny_origins("gpt2", 0.1))}, **SHORT)
    folder = run(config, "second", tiny_packs(config, None))
    assert config.batch.length == 32
    assert find_origin(going_on(folder.path, "causal-gpt2").model).length == 64


def test_the_averaged_parameters_of_a_run_are_taken(trained, tiny_packs):
    folder = trained("causal", "base", **SHORT, optimizer={"average": 0.9})
    config = going_on(folder.path, "causal")
    name, begun = "model.embedding.weight", first_weights(config, tiny_packs(config, None))
    assert torch.equal(begun[name], load_trained(folder.path).tensors[name])
    assert not torch.equal(begun[name], load_trained(folder.path, average=False).tensors[name])


def test_the_best_checkpoint_of_a_run_that_ended_early_is_taken(trained):
    folder = trained("causal", "base", **{**SHORT, "checkpoint_every": 2})
    assert checkpoint_of(folder.path).name == "step-000004"
    folder.write("result.json", {"checkpoint": "checkpoints/step-000002"})
    assert checkpoint_of(folder.path).name == "step-000002"


def labelled(names):
    """Rows whose labels are called otherwise."""
    rows = {split: rows_of("labelled", 16) for split in ("train", "validation")}
    for columns in rows.values():
        columns["label"] = [names[label] for label in columns["label"]]
    return {"labelled": rows}


@pytest.mark.parametrize(("names", "kept"), [(("happy", "sad"), True), (("sun", "rain"), False)])
@pytest.mark.parametrize("exported", [False, True])
def test_a_head_is_taken_over_where_it_tells_the_same_classes_apart(
    trained, tiny_packs, tmp_path, names, kept, exported
):
    folder = trained("classification", "base", **SHORT)
    path = folder.path
    if exported:
        export_run(path, path := tmp_path / "export")
    config = going_on(path, "classification")
    begun = first_weights(config, tiny_packs(config, labelled(dict(zip(("happy", "sad"), names, strict=True)))))
    head = load_trained(folder.path).tensors["head.weight"]
    assert torch.equal(begun["head.weight"], head) == kept


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
    with pytest.raises(CurateError, match="the run's model has several heads") as error:
        find_origin(config_of(CASES["causal"], model={"path": str(folder.path)}).model)
    assert "export" in error.value.hint


def test_a_run_with_adapters_is_exported_before_another_begins_with_it(trained):
    folder = trained("causal", "base", **SHORT, lora={"rank": 2})
    with pytest.raises(CurateError, match="the run's model has adapters") as error:
        find_origin(going_on(folder.path, "causal").model)
    assert "export" in error.value.hint


def test_a_multi_token_model_that_began_with_another_is_exported_with_its_first_head(base, run, tiny_packs, tmp_path):
    config = going_on(base.path, "multi_token", **SHORT)
    folder = run(config, "heads", tiny_packs(config, None))
    export_run(folder.path, tmp_path / "export")
    assert json.loads((tmp_path / "export" / "config.json").read_text())["num_hidden_layers"] == 3


def test_a_checkpoint_whose_settings_are_not_known_is_refused(base):
    description = checkpoint_of(base.path) / "checkpoint.json"
    content = json.loads(description.read_text())
    description.write_text(json.dumps({**content, "config": {**content["config"], "flavour": "new"}}))
    with pytest.raises(CurateError, match="the settings in the checkpoint are not those of this curate"):
        find_origin(going_on(base.path).model)


@pytest.mark.parametrize("case", ["masked", "classification-decoder"])
def test_a_teacher_that_has_not_learned_the_next_token_is_refused(trained, tiny_packs, case):
    teacher = trained(case, "base", **SHORT)
    objective = {"kind": "distillation", "teacher": str(teacher.path)}
    config = config_of(CASES["causal"], objective=objective, tokenizer={"path": f"{teacher.path}/tokenizer.json"})
    with pytest.raises(CurateError, match="has not learned to predict the next token"):
        first_weights(config, tiny_packs(config, None))


def test_a_teacher_may_be_of_another_kind(base, tiny_packs):
    objective = {"kind": "distillation", "teacher": str(base.path)}
    tokenizer = {"path": f"{base.path}/tokenizer.json"}
    config = config_of(CASES["causal-lstm"], objective=objective, tokenizer=tokenizer)
    assert "model.blocks.0.cells.weight_ih_l0" in first_weights(config, tiny_packs(config, None))


@pytest.mark.parametrize(
    "objective", [{"kind": "preference", "beta": 0.5}, {**CASES["reinforcement"].objective, "kl": 0.1}]
)
def test_adapters_that_were_there_are_part_of_the_model_as_it_began(trained, tmp_path, objective):
    case = objective["kind"]
    base = trained(case, "base", steps=1, dropout=0.0)
    export_run(base.path, tmp_path / "model")
    begin = {"model": {"path": str(tmp_path / "model")}, "dropout": 0.0, "objective": objective}
    adapters = {"rank": 4, "targets": ["query", "value"]}
    one = trained(case, "one", steps=6, lora=adapters, **begin)
    export_run(one.path, tmp_path / "adapters", adapter=True)
    lora = {**adapters, "path": str(tmp_path / "adapters")}
    two = trained(case, "two", steps=1, lora=lora, optimizer={"learning_rate": 1e-9}, **begin)
    (first,) = read_metrics(two.metrics)
    apart = first["margin"] if case == "preference" else first["divergence"]
    assert apart == pytest.approx(0.0, abs=1e-6)
