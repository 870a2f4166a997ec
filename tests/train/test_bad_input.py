"""What `curate train` answers to wrong files, data, models and machines: each refusal in its exact words.

Tested elsewhere: a disk that is full (test_checkpoint.py), processes that hang or die (test_launch.py), a loss that is
not finite (test_run.py), changed settings and data one by one (test_folder.py).
"""

from __future__ import annotations

import json
import pickle
from types import SimpleNamespace

import pytest

from curate.errors import ConfigurationErrors, CurateError
from curate.tokenize.tokenizer import tokenizer_hash
from curate.train.run import train_run
from tests.train.rows_project import columns_of, write_dataset

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

CLASSIFY = "objective.kind=classification"
GIB = 1 << 30


# ---- the file


@pytest.mark.parametrize(
    ("change", "problem", "hint"),
    [
        (
            "objective.kind=clasification",
            "`objective.kind`: there is no `clasification`",
            "did you mean `classification` or `token_classification`?",
        ),
        ("objective.share=0.3", "`objective` needs its `kind`", "there are: causal, masked, multi_token, "),
        ("batch.lenght=64", "has no setting `batch.lenght`", "did you mean `length`?"),
        ("steps=many", "`steps`: input should be a valid integer, got 'many'", None),
        ("processes=3", "batch.sequences (4) must be a multiple of processes x batch.accumulate (3 x 1)", None),
        (
            "objective.kind=masked",
            "the objective `masked` needs a model of the kind encoder, not decoder",
            None,
        ),
    ],
)
def test_a_wrong_setting_is_named_with_the_nearest(train, change, problem, hint):
    with pytest.raises(ConfigurationErrors) as error:
        train(change)
    (found,) = error.value.errors
    assert problem in found.problem
    assert (found.hint or "").startswith(hint or "")


def test_a_training_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(CurateError) as error:
        train_run(tmp_path / "train.yaml", overrides=[])
    assert error.value.problem == f"there is no file `{tmp_path}/train.yaml`"


# ---- the machine


def test_a_model_that_cannot_fit_is_refused_by_how_much_before_anything_is_done(project, refused, monkeypatch):
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=16 * GIB, total=32 * GIB))
    sizes = "{layers: null, width: null, heads: null, key_value_heads: null, feed_forward: null, preset: 7b}"
    problem, _, hint = refused(f"model={sizes}")
    assert problem.startswith(
        "training takes about 96.57 GiB in each process, 80.57 GiB more than the 16.00 GiB that are"
    )
    assert "weights 24.13, gradients 24.13, optimizer 48.26" in problem
    assert hint == "a smaller model, shorter sequences (`batch.length`), or adapters only (`lora`)"
    assert not (project / ".curate" / "tokens").exists()


def test_processes_of_one_machine_share_its_memory(refused, monkeypatch):
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=GIB // 8))
    problem, _, _ = refused("processes=4")
    assert "more than the 0.03 GiB that are free" in problem


def test_what_cannot_run_here_is_refused_before_anything_is_done(project, refused):
    assert refused("precision=fp8")[0] == "this machine cannot compute in fp8"
    assert refused("log.wandb=project")[0] == "`log.wandb` needs wandb, which is not installed"
    assert not (project / ".curate" / "tokens").exists()


def test_a_cuda_device_that_is_not_there_is_refused(project, refused, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert refused("device=cuda") == ("there is no CUDA device here", "device", "`device: cpu`, or auto")
    assert not (project / ".curate" / "tokens").exists()


# ---- the data


def test_a_column_that_is_not_there_is_refused_with_the_nearest_or_all(refused):
    assert refused("data.text=txt") == ("`rows` has no column `txt`", "data", "did you mean `text`?")
    problem, _, hint = refused("objective.kind=preference", "model.preset=1m")
    assert problem == "`rows` has no column `chosen`"
    assert hint.startswith("there are: id, text, source_uri, score, ")


def test_labels_of_another_type_are_refused(refused):
    problem, _, hint = refused(CLASSIFY, "data.label=score")
    assert problem == "`score` holds something else than labels"
    assert hint == "labels are strings or whole numbers; others are learned with `objective.regression: true`"
    problem, _, hint = refused("objective={kind: classification, regression: true}")
    assert problem == "column `label` holds string, not numbers"
    assert hint == "columns that could: score"


def test_a_label_that_the_train_split_does_not_know_is_refused(project, refused):
    columns = columns_of(16)
    columns["label"][15] = "sadd"
    write_dataset(project, columns)
    problem, where, hint = refused(CLASSIFY)
    assert problem == "label `sadd` of column `label` is not among the labels of the train split"
    assert where == "document 3 of the split `validation`, id `row-15`"
    assert hint.startswith("did you mean `sad`? those of the train split: `happy`, `sad`")


def test_words_without_a_label_for_each_are_refused(project, refused):
    columns = columns_of(8)
    columns["tags"][4] = json.dumps(["noun"])
    write_dataset(project, columns)
    problem, where, _ = refused("objective.kind=token_classification", "data.label=tags")
    assert problem.startswith("`tags` has 1 labels for the ")
    assert where == "document 3 of the split `train`, id `row-4`"


def test_an_empty_train_split_is_refused(project, train, refused):
    train("run=base")
    write_dataset(project, columns_of(8), parts=["validation"] * 8)
    for change in ("objective.kind=causal", CLASSIFY):
        problem, _, hint = refused(change)
        assert problem == "dataset `rows` has no text in its train split to learn a tokenizer from"
        assert hint == "its splits: validation"
    problem, _, hint = refused("tokenizer.path=runs/base/tokenizer.json")
    assert (problem, hint) == ("the packed dataset has no tokens in a split `train`", "its splits: validation")
    problem, _, hint = refused("tokenizer.path=runs/base/tokenizer.json", CLASSIFY)
    assert problem == "column `label` has no labels in the train split"


def test_a_missing_validation_split_is_told_and_is_no_error(project, train, capsys):
    write_dataset(project, columns_of(8), parts=["train"] * 8)
    assert train()["validation"] == {"bits_per_byte": None}
    assert "train small: rows has no validation split; `{stage: split}` makes one" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changed", "setting", "problem"),
    [
        ({}, "early_stopping.patience=2", "there is no validation split, by which it could be told when to stop"),
        ({"sure": [0.0] * 8}, "data.weight=sure", "the weights in `sure` are all 0"),
        ({"label": ["same"] * 8}, CLASSIFY, "all documents have the label `same`"),
    ],
)
def test_what_would_learn_nothing_is_refused(project, refused, changed, setting, problem):
    write_dataset(project, {**columns_of(8), **changed}, parts=["train"] * 8)
    assert refused(setting)[0] == problem


def test_a_reward_that_is_not_there_is_refused(refused):
    problem, where, hint = refused("objective={kind: reinforcement, reward: exactly}")
    assert (problem, where) == ("there is no reward named `exactly`", "objective.reward")
    assert hint == "did you mean `exact`?"
    problem, _, _ = refused("objective={kind: reinforcement, reward: 'my_rewards:short'}")
    assert problem.startswith("reward `my_rewards:short` cannot be imported: ModuleNotFoundError")


def test_a_reward_of_one_s_own_stands_beside_the_training_file(project, train):
    (project / "brief_rewards.py").write_text(
        "def short(prompt, completion, answer):\n    return 1 / (1 + len(completion))\n"
    )
    result = train("objective={kind: reinforcement, reward: 'brief_rewards:short', new_tokens: 4}")
    assert result["validation"]["reward"] > 0


# ---- models to begin with


@pytest.fixture
def exported(project, train):
    """The folder of a model in transformers' format."""
    from curate.train.export.export import export_run

    train("run=base", "model.style=gpt2", "model.key_value_heads=2")
    export_run(project / "runs" / "base", project / "export")
    return project / "export"


def test_a_model_path_that_is_not_there_is_refused(project, refused):
    assert refused("model.path=runs/nothing") == (
        f"there is no model in `{project}/runs/nothing`",
        "model.path",
        "name a run folder, one of its checkpoints, or a Hugging Face model's folder",
    )


def test_pickled_weights_are_refused(exported, refused):
    (exported / "model.safetensors").unlink()
    (exported / "pytorch_model.bin").write_bytes(pickle.dumps({}))
    problem, _, hint = refused("model.path=export", "run=second")
    assert problem == "the weights are pickled (pytorch_model.bin), which can run code when it is read"
    assert hint == "load it once with transformers where you trust it, and save it with `save_pretrained`"


def test_a_model_without_its_tokenizer_is_refused_and_no_other_is_trained(exported, refused):
    (exported / "tokenizer.json").unlink()
    problem, where, _ = refused("model.path=export", "run=second")
    assert problem == f"the model in `{exported}` has no tokenizer.json beside it"
    assert where == "tokenizer.path"


def test_the_tokenizer_of_the_model_is_taken(project, exported, train):
    tokenizer = tokenizer_hash(project / "runs" / "base" / "tokenizer.json")
    assert train("model.path=export", "run=second", "tokenizer.vocabulary=280")["tokenizer"] == tokenizer


def test_another_tokenizer_than_the_model_s_is_refused(project, train, refused):
    train("run=base")
    train("run=other", "tokenizer.vocabulary=280")
    problem, _, hint = refused("run=second", "model.path=runs/base", "tokenizer.path=runs/other/tokenizer.json")
    assert problem.startswith("the tokens were made by the tokenizer ")
    assert hint == f"set `tokenizer.path: {project}/runs/base/tokenizer.json`"


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(exported, train, refused):
    train("run=other", "objective.kind=sft", "tokenizer.vocabulary=320")
    problem, where, _ = refused("run=second", "model.path=export", "tokenizer.path=runs/other/tokenizer.json")
    assert problem == "the tokenizer has 320 tokens and the model 290"
    assert where == "tokenizer"


def test_a_sequence_longer_than_the_positions_is_refused(exported, refused):
    problem, where, hint = refused("run=second", "model.path=export", "batch.length=64")
    assert problem == "sequences of 64 tokens are longer than the 32 positions of the model"
    assert (where, hint) == ("batch.length", "at most 32")


def test_a_teacher_with_another_vocabulary_is_refused(train, refused):
    train("run=teacher")
    objective = "objective={kind: distillation, teacher: runs/teacher}"
    train("run=other", "tokenizer.vocabulary=280")
    problem, where, hint = refused("run=student", objective, "tokenizer.path=runs/other/tokenizer.json")
    assert problem == "the teacher has 290 tokens and the model 280"
    assert (where, hint) == ("objective.teacher", "teacher and model must have the same tokenizer")


def test_the_tokenizer_of_the_teacher_is_taken(train):
    tokenizer = train("run=teacher")["tokenizer"]
    objective = "objective={kind: distillation, teacher: runs/teacher}"
    assert train("run=student", objective, "tokenizer.vocabulary=280")["tokenizer"] == tokenizer


def test_training_that_diverges_ends_with_advice(refused):
    problem, _, hint = refused("optimizer={kind: sgd, learning_rate: 1e9, clip: null}", "guard={skip: 0, rewind: 0}")
    assert problem.startswith("step ")
    assert "the loss is " in problem
    assert hint == "training diverged: a lower `optimizer.learning_rate` or a longer `schedule.warmup`"
