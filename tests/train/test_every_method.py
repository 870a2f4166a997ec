"""Every method that goes with an objective, through the whole loop: it does what it says, and its runs are exact.

Rows and settings are in tiny_tasks.py.
"""

from __future__ import annotations

import math

import pytest
import torch
from safetensors import safe_open

from curate.train.data.batch import TASK
from curate.train.data.packed import Packed
from curate.train.data.windows import Windows
from curate.train.objectives.labels import Classification
from curate.train.runs.metrics import read_metrics
from curate.train.trainer import Trainer
from curate.train.weights.checkpoint import checkpoints
from tests.train.tiny_tasks import CASES, config_of, rows_of

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quick_processes")]

SHORT = {"steps": 8, "checkpoint_every": 3, "validation": {"every": 4}}
"""Of a run that is interrupted after step 5, and goes on from step 3."""


def losses(folder):
    return [record["loss"] for record in read_metrics(folder.metrics)]


def validations(folder):
    return [record["validation"] for record in read_metrics(folder.metrics) if "validation" in record]


def tensors(path):
    """All tensors of a checkpoint of one process, by name."""
    found = {}
    for file in path.glob("*.safetensors"):
        with safe_open(file, framework="pt") as opened:
            found |= {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    return found


@pytest.fixture
def batches(monkeypatch):
    """What the steps of runs in this process are trained on."""
    seen, real = [], Trainer.step

    def step(self, number, *, offset=0):
        seen.append(self.parts.feed.step(number + offset - 1))
        return real(self, number, offset=offset)

    monkeypatch.setattr(Trainer, "step", step)
    return seen


@pytest.fixture
def passes(monkeypatch):
    """Loss and noise, of each row, of the forward passes of classification in this process."""
    seen, real = [], Classification.forward

    def forward(self, batch):
        loss = real(self, batch)
        noise = batch["noise"].detach().flatten(1).norm(dim=1)
        seen.append((loss.total.item(), noise))
        return loss

    monkeypatch.setattr(Classification, "forward", forward)
    return seen


def with_column(kind, name, value):
    """Rows of both splits with one column more."""
    return {kind: {split: rows_of(kind, count, seed, **{name: value}) for split, count, seed in SPLITS}}


SPLITS = (("train", 48, 0), ("validation", 16, 1))
HARDNESS = [(number * 29) % 48 / 48 for number in range(48)]
HARD = {"rows": with_column("labelled", "hard", lambda number: HARDNESS[number]), "data": {"difficulty": "hard"}}
MIXED = {
    "mixture": {"labelled": 3, "more": 1},
    "rows": {
        "labelled": {split: rows_of("labelled", count, seed) for split, count, seed in SPLITS},
        "more": {split: rows_of("labelled", count // 4, seed + 2) for split, count, seed in SPLITS},
    },
}
TWO_TASKS = {
    "tasks": {
        "words": {"dataset": "text", "weight": 0.25},
        "mood": {"dataset": "labelled", "objective": {"kind": "classification"}, "weight": 0.75},
    }
}
THREE_TASKS = {
    "tasks": {
        "words": {"dataset": "text", "objective": {"kind": "masked"}},
        "mood": {"dataset": "pair", "objective": {"kind": "classification"}, "data": {"second": "second"}},
        "tags": {"dataset": "tagged", "objective": {"kind": "token_classification"}},
    },
    "model": {"kind": "encoder"},
    "temperature": 2.0,
}
REWARDED = {
    "rows": with_column("prompt", "level", lambda number: [str(number), "hard"]),
    "objective": {
        "reward": "exact",
        "rewards": [
            {"reward": "contains", "weight": 0.5},
            {"reward": "tests.train.reward_functions:columns_told", "columns": ["level"], "weight": 0.01},
        ],
        "epochs": 2,
        "minibatches": 2,
        "kl": 0.02,
        "ratio": "sequence",
        "truncated": "mask",
        "flat": "skip",
        "reward_limits": {"failed": 0.0},
    },
}
METHODS = {
    "mixture": ("classification", MIXED),
    "two tasks": ("causal", TWO_TASKS),
    "three tasks": ("masked", THREE_TASKS),
    "difficulty": ("classification", {**HARD, "curriculum": {"difficulty": True}}),
    "lengths": ("causal", {"curriculum": {"lengths": [8, 16], "share": 0.7}}),
    "fgm": ("classification", {"adversarial": {"kind": "fgm", "epsilon": 0.1}}),
    "pgd": ("token_classification", {"adversarial": {"kind": "pgd", "epsilon": 0.1, "steps": 2}}),
    "freelb": ("pairs", {"adversarial": {"kind": "freelb", "epsilon": 0.1, "steps": 2}}),
    "lora": ("causal", {"lora": {"rank": 2, "dropout": 0.1}}),
    "lora of preferences": ("preference", {"lora": {"rank": 2, "dropout": 0.1}}),
    "lora of kto": ("kto", {"lora": {"rank": 2, "dropout": 0.1}}),
    "lora of scores": ("reward", {"lora": {"rank": 2, "dropout": 0.1}}),
    "lora of rewards": ("reinforcement", {"lora": {"rank": 2, "targets": ["query", "key", "up"]}}),
    "dora": ("causal", {"lora": {"rank": 2, "targets": "all-linear", "dora": True, "scaling": "rank_stabilized"}}),
    "lora on bf16": ("causal", {"lora": {"rank": 2, "targets": "all-linear", "base": "bf16"}}),
    "rewards and updates": ("reinforcement", REWARDED),
    "weights": (
        "sft",
        {"rows": with_column("conversation", "much", lambda number: number % 3), "data": {"weight": "much"}},
    ),
    "recompute": ("classification", {"recompute": True}),
    "bf16": ("causal", {"precision": "bf16"}),
}


# ---- exact


@pytest.mark.parametrize("name", METHODS)
def test_a_resumed_run_with_every_method_equals_a_straight_one_to_the_bit(trained, parameters, name):
    case, settings = METHODS[name]
    straight = trained(case, "straight", **SHORT, **settings)
    trained(case, "resumed", until=5, **SHORT, **settings)
    resumed = trained(case, "resumed", **SHORT, **settings)
    assert parameters(resumed) == parameters(straight)
    assert (losses(resumed), validations(resumed)) == (losses(straight), validations(straight))


@pytest.mark.parametrize("name", METHODS)
def test_two_processes_with_every_method_have_the_losses_of_one(trained, name):
    """bf16 within 3e-4 of the loss: its sums are rounded to 8 bits, in another order (1.1e-4 seen)."""
    case, settings = METHODS[name]
    settings = without_dropout(settings)
    one = trained(case, "one", dropout=0.0, **SHORT, **settings)
    two = trained(case, "two", dropout=0.0, processes=2, **SHORT, **settings)
    within = {"rel": 3e-4} if name == "bf16" else {"abs": 1e-5}
    assert losses(two) == pytest.approx(losses(one), **within)


def without_dropout(settings):
    """Settings in which every task and adapter has no dropout."""
    settings = {**settings, **{name: {**settings[name], "dropout": 0.0} for name in ("lora",) if name in settings}}
    tasks = settings.get("tasks", {})
    for name, task in tasks.items():
        objective = task.get("objective", {"kind": "causal"})
        dropped = {"dropout": 0.0} if objective["kind"].endswith("classification") else {}
        settings["tasks"] = {**settings["tasks"], name: {**task, "objective": {**objective, **dropped}}}
    return settings


# ---- datasets and tasks


def test_a_mixture_has_its_shares_in_every_step(trained, batches):
    folder = trained("classification", **SHORT, **MIXED)
    assert [int((batch["numbers"] >= 48).sum()) for batch in batches] == [2] * 8
    assert set(folder.result()["validation"]) == {"bits_per_byte", "labelled", "more"}


def test_tasks_take_turns_by_their_weights(trained, batches):
    trained("causal", **SHORT, **TWO_TASKS)
    tasks = [int(batch[TASK][0]) for batch in batches]
    assert sorted(tasks) == [0] * 2 + [1] * 6
    assert sorted(tasks[:4]) == [0] + [1] * 3


def test_tasks_without_weights_take_turns_by_their_examples_and_the_temperature(trained, batches):
    trained("masked", **SHORT, **THREE_TASKS)
    counts = [sum(int(batch[TASK][0]) == task for batch in batches) for task in range(3)]
    assert sum(counts) == 8 and min(counts) >= 2


def test_tasks_on_one_trunk_are_learned_together(trained):
    folder = trained("masked", **THREE_TASKS, steps=96, validation={"every": 96, "sequences": None})
    found = folder.result()["validation"]
    assert found["words"]["loss"] < 3.0
    assert found["tags"]["macro_f1"] > 0.9


# ---- curriculum


def test_a_curriculum_begins_with_the_easiest_rows_and_ends_with_all(trained, batches):
    settings = {**HARD, "curriculum": {"difficulty": True, "start": 0.25, "share": 0.5, "pacing": "linear"}}
    trained("classification", steps=24, **settings)
    hardest = [max(HARDNESS[number] for number in batch["numbers"].tolist()) for batch in batches]
    assert hardest[0] < 0.25
    assert all(hard < 0.25 + 0.75 * step / 12 + 1 / 48 for step, hard in enumerate(hardest[:12]))
    epoch = torch.cat([batch["numbers"] for batch in batches[12:18]])
    assert sorted(epoch.tolist()) == list(range(48))


def test_a_curriculum_of_lengths_begins_with_short_sequences_of_as_many_tokens(trained, batches):
    trained("causal", steps=8, curriculum={"lengths": [8, 16], "share": 0.5})
    assert [tuple(batch["tokens"].shape) for batch in batches] == [(32, 8)] * 2 + [(16, 16)] * 2 + [(8, 32)] * 4


# ---- adversarial


@pytest.mark.parametrize(("kind", "count"), [("fgm", 2), ("pgd", 4), ("freelb", 3)])
def test_worst_case_noise_stays_in_its_ball_and_makes_the_loss_larger(trained, passes, kind, count):
    adversarial = {"kind": kind, "epsilon": 0.2, "steps": 3, "step_size": 0.1}
    trained("classification", dropout=0.0, steps=6, adversarial=adversarial, validation={"every": 100})
    steps = [passes[start : start + count] for start in range(0, 6 * count, count)]
    assert all(noise.max() < 0.2 + 1e-5 for step in steps for _, noise in step)
    assert all(step[-1][0] > step[0][0] for step in steps)


# ---- adapters


def test_adapters_are_all_that_is_trained(trained):
    folder = trained("causal", lora={"rank": 2}, steps=4, checkpoint_every=1, keep_checkpoints=9)
    first, last = (tensors(checkpoints(folder.checkpoints)[place]) for place in (0, -1))
    changed = {name for name in first if name.startswith("model.") and not torch.equal(first[name], last[name])}
    assert changed == {
        f"model.blocks.{block}.attention.{layer}.lora_{side}"
        for block in (0, 1)
        for layer in ("query", "value")
        for side in ("down", "up")
    }
    assert {name.split(".lora_")[0] for name in first if name.startswith("optimizer")} == {
        f"optimizer.{name.split('.lora_')[0]}" for name in changed
    }


def test_a_base_in_bf16_is_what_a_computation_in_bf16_makes_of_it_anyway(trained, tiny_origins):
    begin, found = {"path": str(tiny_origins("teacher", 0.1))}, {}
    for base in ("full", "bf16"):
        lora = {"rank": 4, "targets": "all-linear", "base": base}
        folder = trained("causal", base, **SHORT, model=begin, precision="bf16", lora=lora)
        stored = tensors(checkpoints(folder.checkpoints)[-1])
        adapters = {name: value.tolist() for name, value in stored.items() if ".lora_" in name}
        found[base] = (losses(folder), adapters)
        types = {str(value.dtype) for name, value in stored.items() if not ("lora" in name or "optimizer" in name)}
        assert types == {"torch.float32" if base == "full" else "torch.bfloat16"}
    assert found["full"] == found["bf16"]


NF4 = {"lora": {"rank": 4, "targets": "all-linear", "base": "nf4"}}


def on_teacher(tiny_origins):
    return {"model": {"path": str(tiny_origins("teacher", 0.1))}}


def test_adapters_learn_on_a_model_in_4_bits_which_stays_as_it_is(trained, tiny_origins):
    folder = trained("causal", dropout=0.0, checkpoint_every=1, keep_checkpoints=99, **on_teacher(tiny_origins), **NF4)
    assert sum(losses(folder)[-3:]) / 3 < sum(losses(folder)[:3]) / 3
    first, last = (tensors(checkpoints(folder.checkpoints)[place]) for place in (0, -1))
    held = {name for name in first if ".packed." in name}
    assert {first[name].dtype for name in held} == {torch.uint8, torch.int8, torch.float32}
    assert all(torch.equal(first[name], last[name]) for name in held)
    assert not any(name.endswith("query.weight") for name in first)


@pytest.mark.parametrize("dora", [False, True])
def test_a_resumed_run_on_4_bits_equals_a_straight_one_to_the_bit(trained, parameters, tiny_origins, dora):
    settings = {**SHORT, **on_teacher(tiny_origins), "lora": {**NF4["lora"], "dora": dora, "dropout": 0.1}}
    straight = trained("causal", "straight", **settings)
    trained("causal", "resumed", until=5, **settings)
    resumed = trained("causal", "resumed", **settings)
    assert parameters(resumed) == parameters(straight)
    assert (losses(resumed), validations(resumed)) == (losses(straight), validations(straight))


def test_two_processes_on_4_bits_have_the_losses_of_one(trained, tiny_origins):
    settings = {**SHORT, **on_teacher(tiny_origins), **NF4, "dropout": 0.0}
    one, two = trained("causal", "one", **settings), trained("causal", "two", processes=2, **settings)
    assert losses(two) == pytest.approx(losses(one), abs=1e-5)


def test_adapters_improve_a_model_that_is_there(trained, tiny_origins):
    begin = {"path": str(tiny_origins("teacher", 0.1))}
    folder = trained("causal", model=begin, dropout=0.0, lora={"rank": 4, "targets": ["query", "value", "up", "down"]})
    assert losses(folder)[0] < 3.0  # where the other run has ended
    assert sum(losses(folder)[-3:]) / 3 < sum(losses(folder)[:3]) / 3


# ---- weights


def weighted(kind, count):
    """Rows of several weights; those after the twelfth weigh nothing."""
    return {kind: {"train": rows_of(kind, count, much=lambda row: (0.5, 1.0, 2.0)[row % 3] if row < 12 else 0.0)}}


def examples(case, pack):
    """Of a train split, in rows of 32 tokens."""
    found = {"causal": Windows, "sft": Packed}.get(case, lambda pack, split, length: pack.rows(split))
    return len(found(pack, "train", 32))


WEIGHED = {"data": {"weight": "much"}, "dropout": 0.0, "steps": 4}


@pytest.mark.parametrize(
    "case", ["causal", "seq2seq", "classification", "regression", "token_classification", "sft", "preference", "reward"]
)
def test_rows_that_weigh_nothing_are_as_if_they_were_not_there(trained, tiny_packs, case):
    found, settings = [], dict(WEIGHED)
    for count in (15, 12):
        rows = weighted(CASES[case].rows, count)
        sequences = examples(case, tiny_packs(config_of(CASES[case], **settings), rows)[""])
        folder = trained(case, str(count), rows=rows, batch={"sequences": sequences}, **settings)
        settings["tokenizer"] = {"path": str(folder.path / "tokenizer.json")}
        found.append(losses(folder))
    assert found[0] == pytest.approx(found[1], abs=1e-5)


def test_a_row_that_weighs_twice_as_much_is_as_if_it_was_there_twice(trained):
    heavy = rows_of("labelled", 8, much=lambda row: 1 + row % 2)
    twice = {name: [*column, *column[1::2]] for name, column in rows_of("labelled", 8, much=lambda row: 1).items()}
    found, settings = [], dict(WEIGHED)
    for train in (heavy, twice):
        sequences = {"sequences": len(train["text"])}
        folder = trained(
            "classification", f"{sequences}", rows={"labelled": {"train": train}}, batch=sequences, **settings
        )
        settings["tokenizer"] = {"path": str(folder.path / "tokenizer.json")}
        found.append(losses(folder))
    assert found[0] == pytest.approx(found[1], abs=1e-5)


# ---- early stopping


STOP = {"steps": 32, "validation": {"every": 2}, "early_stopping": {"patience": 3}}
OTHER_TEXT = {"text": {"train": rows_of("text", 48), "validation": {"text": rows_of("translation", 16)["target"]}}}
"""The better one text is learned, the worse is the other."""


def test_a_run_ends_when_it_only_learns_its_rows_by_heart(trained):
    folder = trained("causal", rows=OTHER_TEXT, **STOP)
    result, values = folder.result(), [validation["bits_per_byte"] for validation in validations(folder)]
    best = values.index(min(values))
    assert result["stopped_early"] and result["steps"] == 2 * (best + 1 + 3) < 32
    assert result["checkpoint"] == f"checkpoints/step-{2 * (best + 1):06}"
    assert result["validation"]["bits_per_byte"] == min(values)


def test_a_run_that_ends_early_does_so_after_an_interruption_too(trained, parameters):
    straight = trained("causal", "straight", rows=OTHER_TEXT, **STOP)
    trained("causal", "resumed", rows=OTHER_TEXT, until=straight.result()["steps"] - 1, **STOP)
    resumed = trained("causal", "resumed", rows=OTHER_TEXT, **STOP)
    assert parameters(resumed) == parameters(straight)
    same = ("steps", "stopped_early", "checkpoint", "weights", "validation", "loss", "tokens")
    assert all(resumed.result()[name] == straight.result()[name] for name in same)


# ---- losses and averages


def test_a_z_loss_adds_the_squared_log_normalizer_and_makes_it_small(trained):
    same = {"text": dict.fromkeys(("train", "validation"), rows_of("text", 48))}
    settings = {"rows": same, "dropout": 0.0, "validation": {"every": 16, "sequences": None}}
    plain = trained("causal", "plain", **settings)
    held = trained("causal", "held", objective={"z_loss": 0.1}, **settings)
    whole = 0.1 * math.log(300) ** 2
    assert losses(held)[0] - losses(plain)[0] == pytest.approx(whole, rel=0.05)
    # validation has no such term
    assert losses(held)[-1] - validations(held)[-1]["loss"] < whole / 2


def test_label_smoothing_keeps_the_loss_above_the_entropy_of_its_targets(trained):
    few = {"translation": {"train": rows_of("translation", 4)}}
    settings = {"rows": few, "batch": {"sequences": 4}, "steps": 100, "dropout": 0.0}
    smoothed = trained("seq2seq", "smoothed", objective={"label_smoothing": 0.2}, **settings)
    plain = trained("seq2seq", "plain", objective={"label_smoothing": 0.0}, **settings)
    vocabulary = 300
    other = 0.2 / vocabulary
    entropy = -(0.8 + other) * math.log(0.8 + other) - (vocabulary - 1) * other * math.log(other)
    assert losses(plain)[-1] < entropy / 2
    assert entropy <= losses(smoothed)[-1] < losses(smoothed)[0]


def test_an_average_is_that_of_the_parameters_after_each_step(trained):
    folder = trained("causal", steps=5, checkpoint_every=1, keep_checkpoints=9, optimizer={"average": 0.7})
    found = [tensors(path) for path in checkpoints(folder.checkpoints)]
    shares = [0.7 ** (4 - step) for step in range(5)]
    for name in (name for name in found[0] if name.startswith("model.")):
        wanted = sum(share * some[name].double() for share, some in zip(shares, found, strict=True)) / sum(shares)
        assert torch.allclose(found[-1][f"average.{name}"].double(), wanted, atol=1e-6)


def test_an_average_is_what_is_validated(trained):
    plain, averaged = (
        trained("causal", f"{average}", **SHORT, optimizer={"average": average}) for average in (None, 0.9)
    )
    assert losses(averaged) == losses(plain)
    assert validations(averaged)[0]["loss"] > validations(plain)[0]["loss"]  # it is behind
