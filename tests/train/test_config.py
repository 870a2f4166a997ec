from __future__ import annotations

from dataclasses import replace

import pytest

from curate.errors import ConfigurationErrors, CurateError
from curate.train.runs.checks import with_precision
from curate.train.settings.architecture import ModelSettings
from curate.train.settings.config import TrainConfig
from curate.train.settings.file import load_config


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "train.yaml"
        path.write_text(text)
        return path

    return write


MINIMAL = "dataset: chat\nrun: small\n"


def test_two_lines_are_a_whole_training_file(written):
    config = load_config(written(MINIMAL))
    assert (config.dataset, config.run, config.model.preset, config.steps) == ("chat", "small", "10m", 200)


def test_an_unknown_setting_is_refused_with_its_place_and_the_nearest_name(written):
    with pytest.raises(ConfigurationErrors) as error:
        load_config(written(MINIMAL + "stepz: 5\n"))
    assert "no setting `stepz`" in str(error.value)
    assert "train.yaml:3:1" in str(error.value)
    assert "did you mean `steps`?" in str(error.value)


def test_an_unknown_setting_in_a_block_is_refused_with_the_nearest_name(written):
    with pytest.raises(ConfigurationErrors) as error:
        load_config(written(MINIMAL + "batch: {lenght: 5}\n"))
    assert "no setting `batch.lenght`" in str(error.value)
    assert "did you mean `length`?" in str(error.value)


def test_all_errors_are_told_at_once(written):
    with pytest.raises(ConfigurationErrors) as error:
        load_config(written("dataset: chat\nrun: ../up\nsteps: many\nprecision: fp4\n"))
    assert [problem.where.rpartition("/")[2] for problem in error.value.errors] == [
        "train.yaml:2:1",
        "train.yaml:3:1",
        "train.yaml:4:1",
    ]


def test_set_replaces_a_setting_of_a_block(written):
    assert load_config(written(MINIMAL), ["batch.length=64", "steps=3"]).batch.length == 64


def test_a_set_without_a_value_is_refused(written):
    with pytest.raises(CurateError, match=r"`steps` is not KEY=VALUE"):
        load_config(written(MINIMAL), ["steps"])


def test_the_option_processes_replaces_the_files(written):
    assert load_config(written(MINIMAL + "processes: 4\n"), processes=2).processes == 2


def test_sequences_must_be_shared_equally(written):
    with pytest.raises(ConfigurationErrors, match=r"batch.sequences \(16\) must be a multiple of .* \(3 x 1\)"):
        load_config(written(MINIMAL), processes=3)


def test_prompts_must_be_shared_equally_among_minibatches(written):
    with pytest.raises(ConfigurationErrors, match=r"batch.sequences \(16\) must be a multiple of .* \(1 x 1 x 3\)"):
        load_config(written(MINIMAL + "objective: {kind: reinforcement, minibatches: 3}\n"))


def test_what_stands_for_rewards_that_fail_is_refused_where_processes_share_a_batch(written):
    settings = "processes: 2\nparallel: {tensor: 2}\nobjective: {kind: reinforcement, reward_limits: {failed: 0}}\n"
    with pytest.raises(ConfigurationErrors, match=r"`reward_limits\.failed` does not go with `parallel\.tensor`"):
        load_config(written(MINIMAL + settings))


def test_an_unknown_reward_of_several_is_refused_with_the_nearest_and_its_line(written):
    with pytest.raises(ConfigurationErrors) as error:
        load_config(written(MINIMAL + "objective:\n  kind: reinforcement\n  rewards:\n    - {reward: matematics}\n"))
    (one,) = error.value.errors
    assert one.problem == "the training file: `objective.rewards.0.reward`: there is no `matematics`"
    assert one.hint == "did you mean `mathematics`?"


def test_heads_must_divide_the_width(written):
    with pytest.raises(ConfigurationErrors, match="width 100 must be a multiple of twice the 6 heads"):
        load_config(written(MINIMAL + "model: {width: 100}\n"))


def test_a_vocabulary_below_the_alphabet_is_refused(written):
    with pytest.raises(ConfigurationErrors, match="vocabulary must be at least 257"):
        load_config(written(MINIMAL + "tokenizer: {vocabulary: 100}\n"))


def test_a_file_that_is_no_map_is_refused(written):
    with pytest.raises(CurateError, match="a training file is a map"):
        load_config(written("- steps\n"))


@pytest.mark.parametrize(
    ("preset", "vocabulary", "millions"),
    [("1m", 4096, 1.3), ("3m", 8192, 3.1), ("10m", 8192, 10.0), ("30m", 8192, 29.4), ("100m", 32768, 100.7)],
)
def test_a_preset_has_about_the_parameters_of_its_name(preset, vocabulary, millions):
    sizes = ModelSettings(preset=preset).architecture
    assert sizes.parameters(vocabulary) / 1e6 == pytest.approx(millions, abs=0.05)


@pytest.mark.parametrize(
    ("preset", "millions"), [("124m", 124), ("350m", 360), ("1b", 1039), ("3b", 2965), ("7b", 6607)]
)
def test_large_presets_have_the_parameters_of_known_models(preset, millions):
    sizes = ModelSettings(preset=preset).architecture
    assert sizes.parameters(32_000 if preset != "124m" else 50_304) / 1e6 == pytest.approx(millions, rel=0.06)


def test_gpt2_s_style_has_its_switches_and_four_times_the_width():
    sizes = ModelSettings(style="gpt2", preset="124m").architecture
    assert (sizes.norm, sizes.positions, sizes.activation, sizes.bias) == ("layer", "learned", "gelu_tanh", True)
    assert (sizes.feed_forward, sizes.key_value_heads) == (3072, 12)


def test_explicit_sizes_replace_the_presets():
    given, preset = ModelSettings(preset="1m", layers=7).architecture, ModelSettings(preset="1m").architecture
    assert given == replace(preset, layers=7)


def test_an_unknown_setting_of_an_objective_is_refused_with_the_nearest_name(written):
    with pytest.raises(ConfigurationErrors) as error:
        load_config(written(MINIMAL + "objective: {kind: masked, shrae: 0.2}\n"))
    assert "no setting `objective.shrae`" in str(error.value)
    assert "did you mean `share`?" in str(error.value)


def test_an_unknown_objective_is_refused_with_the_nearest_name(written):
    with pytest.raises(ConfigurationErrors, match="there is no `casual`") as error:
        load_config(written(MINIMAL + "objective: {kind: casual}\n"))
    assert "did you mean `causal`?" in str(error.value)


def test_a_pretrained_model_needs_its_path(written):
    with pytest.raises(ConfigurationErrors, match="`pretrained` model needs its `path`"):
        load_config(written(MINIMAL + "model: {kind: pretrained}\n"))


def test_tensor_parallel_processes_read_the_same_sequences():
    config = TrainConfig.model_validate(
        {"dataset": "a", "run": "b", "processes": 4, "parallel": {"tensor": 2}, "batch": {"sequences": 2}}
    )
    assert config.processes == 4


def test_copies_and_shares_must_divide_the_processes(written):
    with pytest.raises(ConfigurationErrors, match=r"processes \(4\) must be a multiple of .* \(3 x 1\)"):
        load_config(written(MINIMAL + "processes: 4\nparallel: {replicate: 3}\n"))


# ---- defaults by what is trained


@pytest.mark.parametrize(
    ("settings", "rate"),
    [
        ({}, 2e-3),
        ({"objective": {"kind": "preference"}}, 2e-3),
        ({"objective": {"kind": "sft"}, "model": {"path": "x"}}, 2e-5),
        ({"model": {"path": "x"}, "optimizer": {"kind": "sgd"}}, 2e-5),
        ({"objective": {"kind": "sft"}, "model": {"path": "x"}, "lora": {}}, 2e-4),
        ({"objective": {"kind": "preference"}, "model": {"path": "x"}}, 5e-7),
        ({"objective": {"kind": "preference"}, "model": {"path": "x"}, "lora": {"rank": 2}}, 5e-6),
        ({"objective": {"kind": "preference", "method": "kto"}, "model": {"path": "x"}}, 1e-6),
        ({"objective": {"kind": "preference", "method": "orpo"}, "model": {"path": "x"}}, 8e-6),
        ({"objective": {"kind": "preference", "method": "simpo"}, "model": {"path": "x"}}, 5e-7),
        ({"objective": {"kind": "reward"}, "model": {"path": "x"}}, 1e-5),
        ({"objective": {"kind": "reinforcement"}, "model": {"path": "x"}}, 1e-6),
        ({"model": {"path": "x", "kind": "lstm"}}, 2e-3),
        ({"model": {"path": "x"}, "optimizer": {"learning_rate": 0.5}}, 0.5),
    ],
)
def test_the_learning_rate_follows_from_what_is_trained_where_none_is_given(settings, rate):
    config = TrainConfig.model_validate({"dataset": "a", "run": "b", **settings})
    assert config.optimizer.learning_rate == pytest.approx(rate)
    assert TrainConfig.model_validate(config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    ("settings", "cuda", "precision"),
    [
        ({}, True, "bf16"),
        ({}, False, "fp32"),
        ({"device": "cpu"}, True, "fp32"),
        ({"precision": "fp32"}, True, "fp32"),
        ({"precision": "fp8"}, True, "fp8"),
    ],
)
def test_cuda_computes_in_bf16_where_nothing_else_is_given(monkeypatch, settings, cuda, precision):
    monkeypatch.setattr("torch.cuda.is_available", lambda: cuda)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda: cuda)
    config = TrainConfig.model_validate({"dataset": "a", "run": "b", **settings})
    assert with_precision(config).precision == precision


@pytest.mark.parametrize(
    ("settings", "lora", "cuda", "base"),
    [
        ({}, {}, True, "bf16"),
        ({}, {}, False, "full"),
        ({"precision": "bf16"}, {}, False, "full"),
        ({"precision": "fp32"}, {}, True, "full"),
        ({}, {"base": "full"}, True, "full"),
    ],
)
def test_what_adapters_leave_is_bf16_on_cuda_where_the_computation_is(monkeypatch, settings, lora, cuda, base):
    monkeypatch.setattr("torch.cuda.is_available", lambda: cuda)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda: cuda)
    config = TrainConfig.model_validate({"dataset": "a", "run": "b", "lora": lora, **settings})
    assert with_precision(config).lora.base == base
