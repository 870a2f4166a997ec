from __future__ import annotations

import pytest
from pydantic import ValidationError

from curate.train.settings.config import TrainConfig
from curate.train.settings.methods import PreferenceSettings

TASKS = {"a": {"objective": {"kind": "causal"}}, "b": {"objective": {"kind": "sft"}}}


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"objective": {"kind": "masked"}}, "`masked` needs a model of the kind encoder, not decoder"),
        ({"model": {"kind": "cnn"}}, "`causal` needs a model of the kind decoder, lstm or pretrained, not cnn"),
        ({"tasks": TASKS}, "`sft` shares its model with no other task"),
        ({"mixture": {"b": 1.0}}, "`mixture` must name `a` too"),
        ({"mixture": {"a": 1.0, "b": 0.0}}, "must be greater than 0"),
        ({"objective": {"kind": "preference"}, "adversarial": {}}, "`adversarial` does not go with the objective"),
        (
            {"objective": {"kind": "preference", "method": "simpo", "tau": 0.2}},
            "`tau` is a setting of ipo, not of simpo",
        ),
        ({"objective": {"kind": "preference", "tau": 0.2}}, "`tau` is a setting of ipo, not of dpo"),
        (
            {"objective": {"kind": "preference", "method": "orpo", "beta": 0.2}},
            "`beta` is a setting of dpo and simpo and kto, not of orpo",
        ),
        (
            {"objective": {"kind": "preference", "method": "kto", "label_smoothing": 0.1}},
            "`label_smoothing` is a setting of dpo, not of kto",
        ),
        (
            {"objective": {"kind": "preference", "method": "kto", "desirable_weight": 0, "undesirable_weight": 0}},
            "are both 0: nothing would be learned",
        ),
        (
            {"objective": {"kind": "reward", "method": "outcome", "centering": 0.1}},
            "`centering` is a setting of bradley_terry, not of outcome",
        ),
        (
            {"objective": {"kind": "reward"}, "model": {"kind": "encoder"}},
            "`reward` needs a model of the kind decoder or lstm, not encoder",
        ),
        ({"objective": {"kind": "preference"}, "data": {"margin": "m"}}, "`data.margin` is read by"),
        ({"objective": {"kind": "preference"}, "data": {"positive": ["a"]}}, "`data.positive` is read by"),
        ({"model": {"kind": "pretrained", "path": "x"}}, "set `batch.document_mask: false`"),
        ({"curriculum": {"difficulty": True}}, "needs the name of the column, `data.difficulty`"),
        ({"curriculum": {"lengths": [48]}}, "the length 48 in `curriculum.lengths` must divide `batch.length`, 256"),
        ({"curriculum": {}}, "needs `difficulty: true` or `lengths`"),
        ({"objective": {"kind": "sft"}, "curriculum": {"lengths": [64]}}, "does not go with the objective `sft`"),
        ({"early_stopping": {}, "steps": 10}, "`validation.every` is more than the 10 steps"),
        ({"epochs": 2, "steps": 10}, "`steps` and `epochs` both say when a run ends: leave one of them out"),
        ({"epochs": 2, "mixture": {"a": 1.0}}, "with `tasks` or `mixture` give `steps`"),
        (
            {"objective": {"kind": "classification", "regression": True}, "data": {"positive": [1]}},
            "and, a single label, by `classification`",
        ),
        ({"optimizer": {"kind": "muon"}, "lora": {}}, "`lora` does not go with `optimizer.kind: muon`"),
        ({"lora": {"base": "nf4"}}, "`lora.base: nf4` needs a model that has learned: `model.path`"),
        (
            {"lora": {"base": "nf4"}, "model": {"path": "y"}, "compile": True},
            "`lora.base: nf4` does not go with `compile`",
        ),
        ({"lora": {"path": "x"}}, "`lora.path` needs the model that its adapters were made for: `model.path`"),
        (
            {"lora": {"path": "x"}, "model": {"path": "y"}, "objective": {"kind": "classification"}},
            "`lora.path` does not go with the objective `classification`: files of adapters do not name classes",
        ),
        (
            {"lora": {"path": "x"}, "model": {"path": "y", "kind": "pretrained"}, "objective": {"kind": "sft"}},
            "`lora.path` does not go with a `pretrained` model, whose adapters are not read",
        ),
        (
            {"tasks": {"a": {"weight": 0.5}, "b": {}}},
            "`weight` must be given for all of the `tasks`, or for none of them",
        ),
        ({"precision": "fp8", "lora": {}}, "`lora` does not go with `precision: fp8`"),
        (
            {"model": {"kind": "lstm"}, "parallel": {"tensor": 2}, "processes": 2},
            "`parallel.tensor` splits decoders only",
        ),
        (
            {
                "model": {"kind": "encoder"},
                "objective": {"kind": "masked"},
                "parallel": {"tensor": 2},
                "processes": 2,
            },
            "`parallel.tensor` splits decoders only",
        ),
        (
            {
                "model": {"kind": "encoder_decoder"},
                "objective": {"kind": "seq2seq"},
                "parallel": {"tensor": 2},
                "processes": 2,
            },
            "`parallel.tensor` splits decoders only",
        ),
    ],
)
def test_settings_that_do_not_go_together_are_refused_saying_why(settings, problem):
    with pytest.raises(ValidationError) as error:
        TrainConfig.model_validate({"dataset": "a", "run": "b", **settings})
    assert problem in str(error.value)


def test_the_scale_of_rewards_follows_from_the_method():
    scales = {
        method: PreferenceSettings.model_validate({"method": method}).beta for method in ("dpo", "ipo", "simpo", "kto")
    }
    assert scales == {"dpo": 0.1, "ipo": 0.1, "simpo": 2.0, "kto": 0.1}
    written = PreferenceSettings.model_validate({"method": "simpo", "beta": 2.5})
    assert PreferenceSettings.model_validate(written.model_dump(mode="json")) == written


@pytest.mark.parametrize(
    "kind", ["causal", "multi_token", "sft", "preference", "reward", "reinforcement", "classification"]
)
def test_a_decoder_learns_most_objectives(kind):
    TrainConfig.model_validate({"dataset": "a", "run": "b", "objective": {"kind": kind}})


def test_conversations_of_a_pretrained_model_need_no_setting_to_be_kept_apart():
    model = {"kind": "pretrained", "path": "x"}
    TrainConfig.model_validate({"dataset": "a", "run": "b", "objective": {"kind": "sft"}, "model": model})
