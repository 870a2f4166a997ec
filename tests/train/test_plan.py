"""`curate train --plan`: what it plans from, what it says, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest

from curate.dataset.store import Store, blobs_at
from curate.errors import CurateError
from curate.tokenize.pack import pack_dataset
from curate.tokenize.tokenizer import TokenizerSettings
from curate.train.planner.budget import BYTES_PER_TOKEN, HARDWARE, Data, compute_of, find_data
from curate.train.planner.plan import plan_run
from curate.train.planner.request import train_plan
from curate.train.planner.scaling import loss, optimum
from curate.train.planner.text import plan_text
from curate.train.settings.config import TrainConfig
from tests.train.conftest import TextDataset


def config(**settings):
    given = {"dataset": "chat", "run": "small", "tokenizer": {"vocabulary": 32768}, "batch": {"length": 1024}}
    return TrainConfig.model_validate({**given, **settings})


def planned(tokens=None, *, preset=None, settings=None, **options):
    source = "unlimited" if tokens is None else "given"
    data = Data(unique_tokens=tokens, source=source)
    return plan_run(config(**(settings or {})), data, compute_of(**options), preset=preset)


def run_of(plan, name):
    return next(run for run in plan["runs"] if run["name"] == name)


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "train.yaml"
    path.write_text("dataset: chat\nrun: small\nbatch: {length: 512}\n")
    return path


def test_epochs_are_planned_as_passes_over_the_data():
    run = run_of(planned(1e9, settings={"epochs": 2.5}, flops=1e19), "file")
    assert (run["tokens"], run["epochs"]) == (2.5e9, 2.5)


def test_a_gpu_is_planned_in_bf16_unless_the_file_says_else():
    given = planned(flops=1e19, preset="1b", settings={"precision": "fp32"})["memory"]["total_bytes"]
    half = planned(flops=1e19, preset="1b", settings={"precision": "bf16"})["memory"]["total_bytes"]
    assert planned(flops=1e19, preset="1b")["memory"]["total_bytes"] == half < given
    cpu = [
        planned(flops=1e19, preset="1b", settings={"device": "cpu", **more})["memory"]["total_bytes"]
        for more in ({}, {"precision": "fp32"})
    ]
    assert cpu[0] == cpu[1]


# ---- a budget of operations


def test_a_budget_gives_the_best_size_and_tokens():
    best = run_of(planned(flops=1e19), "best")
    assert best["parameters"] == pytest.approx(262e6, rel=3e-3)
    assert best["tokens"] == pytest.approx(6.36e9, rel=3e-3)
    assert best["flop_6nd"] == pytest.approx(1e19)


def test_the_best_run_lies_within_its_intervals():
    best = run_of(planned(flops=1e19), "best")
    for key in ("parameters", "tokens", "loss_nats_per_token"):
        assert best[f"{key}_low"] < best[key] < best[f"{key}_high"]


def test_the_preset_is_the_nearest_one_and_spends_the_same_budget():
    plan = planned(flops=1e19)
    preset = run_of(plan, "preset")
    assert preset["preset"] == "350m"
    assert preset["flop_6nd"] == pytest.approx(1e19)
    assert preset["loss_nats_per_token"] >= run_of(plan, "best")["loss_nats_per_token"]


def test_a_given_preset_is_planned_instead_of_the_nearest():
    preset = run_of(planned(flops=1e19, preset="1b"), "preset")
    assert preset["preset"] == "1b"
    assert preset["flop_6nd"] == pytest.approx(1e19)


def test_attention_is_counted_apart():
    preset = run_of(planned(flops=1e19), "preset")
    assert preset["flop_attention"] == pytest.approx(12 * 24 * 1024 * 1024 * preset["tokens"], rel=1e-6)


# ---- a budget of time


def test_hours_are_spent_with_attention_included():
    plan = planned(hours=10, devices=8, hardware="h100", mfu=0.5)
    best = run_of(plan, "best")
    assert best["hours"] == pytest.approx(10)
    whole = 10 * 3600 * 8 * HARDWARE["h100"][0] * 1e12 * 0.5
    assert best["flop_6nd"] + best["flop_attention"] == pytest.approx(whole)
    assert run_of(plan, "preset")["hours"] == pytest.approx(10)


def test_the_cost_is_that_of_all_devices():
    best = run_of(planned(hours=10, devices=8, hardware="h100", price=2.5), "best")
    assert best["cost"] == pytest.approx(10 * 8 * 2.5)


def test_flops_with_a_speed_give_the_time():
    best = run_of(planned(flops=1e19, peak=100, mfu=0.5), "best")
    assert best["hours"] == pytest.approx((1e19 + best["flop_attention"]) / 50e12 / 3600)
    assert best["cost"] is None


def test_without_a_speed_no_time_is_told():
    assert run_of(planned(flops=1e19), "best")["hours"] is None


def test_an_assumed_mfu_is_said():
    plan = planned(hours=1, hardware="h100")
    assert plan["compute"]["mfu_source"] == "assumed"
    assert any("MFU of 40% is assumed" in note for note in plan["notes"])
    assert not any("MFU" in note for note in planned(hours=1, hardware="h100", mfu=0.45)["notes"])


# ---- unique tokens


def test_scarce_tokens_are_repeated_and_the_missing_ones_told():
    plan = planned(1e9, flops=1e19)
    best, needs = run_of(plan, "best"), plan["needs"]
    assert best["epochs"] == pytest.approx(best["tokens"] / 1e9)
    assert best["effective_tokens"] < best["tokens"]
    assert needs["unique_tokens"] == pytest.approx(6.357e9, rel=1e-3)
    assert needs["more_for_one_epoch"] == needs["unique_tokens"] - 1e9
    assert needs["more_for_four_epochs"] == pytest.approx(needs["unique_tokens"] / 4 - 1e9, abs=1)
    assert needs["loss_nats_per_token"] == pytest.approx(loss(*optimum(1e19)))
    assert needs["loss_nats_per_token"] < best["loss_nats_per_token"]


def test_enough_tokens_need_no_more():
    needs = planned(1e11, flops=1e19)["needs"]
    assert (needs["more_for_one_epoch"], needs["more_for_four_epochs"]) == (0, 0)


def test_tokens_without_a_budget_are_planned_for_1_4_and_16_epochs():
    plan = planned(1e9)
    for epochs in (1, 4, 16):
        assert run_of(plan, f"epochs_{epochs}")["epochs"] == pytest.approx(epochs, rel=1e-4)
    assert run_of(plan, "preset")["epochs"] == pytest.approx(4)
    assert plan["needs"] is None


def test_a_budget_that_the_data_cannot_use_is_cut_and_said():
    plan = planned(1e6, flops=1e22)
    assert run_of(plan, "best")["flop_6nd"] == pytest.approx(plan["useful_flop_6nd"])
    assert any("beyond" in note and "cannot lower the loss" in note for note in plan["notes"])


def test_a_preset_alone_gets_the_tokens_for_which_it_is_best():
    plan = planned(preset="1b")
    run = run_of(plan, "preset")
    size, _ = optimum(run["flop_6nd"])
    assert float(size) == pytest.approx(run["parameters"], rel=1e-6)
    assert plan["needs"]["unique_tokens"] == run["tokens"]


def test_sizes_outside_the_fitted_ones_are_called_extrapolated():
    plan = planned(flops=1e17)
    assert run_of(plan, "best")["extrapolated"]
    assert any(note.startswith("extrapolated") and "best" in note for note in plan["notes"])
    assert not run_of(planned(flops=1e19), "best")["extrapolated"]


def test_a_loss_above_that_of_an_untrained_model_is_called_meaningless():
    assert run_of(planned(flops=1e19), "file")["meaningless"]


# ---- settings and memory


def test_the_settings_are_a_training_file_that_sees_the_planned_tokens():
    plan = planned(flops=1e19, devices=8, hardware="h100")
    values = plan["settings"]
    tree = {"steps": values["steps"], "processes": values["processes"], "model": {"preset": values["model.preset"]}}
    for block in ("batch", "optimizer", "schedule"):
        tree[block] = {name.partition(".")[2]: value for name, value in values.items() if name.startswith(f"{block}.")}
    made = config(**tree)
    seen = made.steps * made.batch.sequences * made.batch.length
    assert seen == pytest.approx(run_of(plan, "preset")["tokens"], rel=1e-3)


def test_start_values_follow_the_ladder():
    values = planned(flops=1.3e18, preset="100m")["settings"]
    batch = values["batch.sequences"] * values["batch.length"]
    assert batch == pytest.approx(2048 * 160 * (100.7 / 108) ** (2 / 3), rel=0.05)
    assert values["optimizer.learning_rate"] == pytest.approx(0.0047 / 2 * (100.7 / 108) ** (-1 / 3), rel=0.02)
    assert values["schedule.warmup"] == pytest.approx(min(100.7e6 / batch, values["steps"] / 10), abs=1)
    assert values["optimizer.beta2"] == 0.99


def test_pieces_are_cut_until_they_fit_into_the_memory():
    large, small = (planned(flops=1e19, preset="1b", hardware=name) for name in ("h200", "rtx4090"))
    assert large["memory"]["fits"] is small["memory"]["fits"] is True
    assert small["memory"]["sequences_per_piece"] < large["memory"]["sequences_per_piece"]


def test_what_does_not_fit_is_said():
    plan = planned(flops=1e21, preset="7b", hardware="rtx4090")
    assert plan["memory"]["fits"] is False
    assert any("does not fit" in note for note in plan["notes"])


def test_more_devices_share_parameters_and_optimizer():
    one, eight = (planned(flops=1e20, preset="1b", hardware="h100", devices=count)["memory"] for count in (1, 8))
    assert eight["optimizer_bytes"] == one["optimizer_bytes"] // 8


# ---- where the laws say nothing


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"objective": {"kind": "masked"}, "model": {"kind": "encoder"}}, "not of `masked`"),
        ({"model": {"kind": "lstm"}}, "not of `lstm`"),
        ({"lora": {"rank": 4}}, "not of fine-tuning"),
        ({"model": {"path": "elsewhere"}}, "not of fine-tuning"),
    ],
)
def test_other_models_and_objectives_get_time_and_memory_only(settings, why):
    plan = planned(1e9, settings=settings, hours=1, hardware="h100")
    assert why in plan["notes"][0]
    assert plan["law"] is plan["settings"] is plan["needs"] is None
    assert [run["name"] for run in plan["runs"]] == ["file"]
    assert plan["runs"][0]["hours"] > 0
    assert plan["memory"]["total_bytes"] > 0


# ---- wrong options


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"flops": 0}, "0 is no positive number"),
        ({"flops": -1e18}, "-1e[+]18 is no positive number"),
        ({"flops": float("nan")}, "nan is no positive number"),
        ({"hours": float("inf"), "hardware": "h100"}, "inf is no positive number"),
        ({"devices": 0, "flops": 1e18}, "0 is no positive number"),
        ({"flops": 1e18, "hours": 1, "hardware": "h100"}, "two budgets"),
        ({"hours": 1, "hardware": "h100", "peak": 900}, "two peaks"),
        ({"hours": 1}, "time and cost need the speed"),
        ({"flops": 1e18, "price": 2.0}, "time and cost need the speed"),
        ({"flops": 1e18, "hardware": "h100", "mfu": 40}, "more than the whole peak"),
        ({"flops": 1e18, "hardware": "h10"}, "unknown hardware `h10`"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, problem):
    with pytest.raises(CurateError, match=problem):
        compute_of(**options)


def test_unknown_hardware_is_refused_with_the_nearest_name():
    with pytest.raises(CurateError) as error:
        compute_of(flops=1e18, hardware="h10")
    assert "h100" in str(error.value.hint)


def test_nothing_to_plan_from_is_refused():
    with pytest.raises(CurateError, match="nothing to plan from") as error:
        planned()
    assert "--tokens N" in str(error.value.hint)


def test_no_tokens_are_refused():
    with pytest.raises(CurateError, match=r"3\.5 tokens are too few"):
        planned(3.5, flops=1e18)
    assert planned(1000, flops=1e18)


def test_an_unknown_preset_is_refused():
    with pytest.raises(CurateError, match="no preset `2b`"):
        planned(1e9, preset="2b")


# ---- the dataset


class Packed(SimpleNamespace):
    """A version of a dataset with so many bytes of text, in a store of its own."""


def dataset(folder, text_bytes=38_000):
    return Packed(
        name="chat",
        version="v" * 64,
        store=Store(blobs_at(folder)),
        manifest={"splits": {"train": {"text_bytes": text_bytes}}},
    )


def test_unique_tokens_are_estimated_from_the_bytes_of_the_train_split(tmp_path):
    settings = config(tokenizer={"vocabulary": 8192})
    data = find_data(settings, lambda name: dataset(tmp_path))
    assert data.source == "estimated"
    assert data.bytes_per_token == BYTES_PER_TOKEN[8192]
    assert data.unique_tokens == pytest.approx(38_000 / 3.8)


def test_unique_tokens_are_counted_where_they_are_packed(tmp_path):
    version = TextDataset(tmp_path, {"train": ["some words of text"] * 9})
    pack = pack_dataset(version, TokenizerSettings(vocabulary=300))
    counted = ("packed", pack.manifest["splits"]["train"]["tokens"], pack.manifest["tokenizer"]["vocabulary"])
    for tokenizer in ({"vocabulary": 300}, {"path": str(pack.tokenizer_path)}):
        data = find_data(config(tokenizer=tokenizer), lambda name: version)
        assert (data.source, data.unique_tokens, data.vocabulary) == counted
    assert find_data(config(tokenizer={"vocabulary": 290}), lambda name: version).source == "estimated"
    (pack.folder / "manifest.json").write_text("{")
    assert find_data(config(tokenizer={"vocabulary": 300}), lambda name: version).source == "estimated"


def test_the_vocabulary_of_a_given_tokenizer_is_planned_with(tmp_path):
    from tokenizers import Tokenizer, models

    Tokenizer(models.BPE(vocab={"a": 0, "b": 1, "<|endoftext|>": 2}, merges=[])).save(str(tmp_path / "tokenizer.json"))
    settings = config(tokenizer={"path": str(tmp_path)})
    data = find_data(settings, lambda name: dataset(tmp_path))
    assert data.vocabulary == 3
    assert plan_run(settings, data, compute_of())["data"]["vocabulary"] == 3


def test_a_mixture_adds_up(tmp_path):
    settings = config(mixture={"chat": 0.5, "books": 0.5})
    data = find_data(settings, lambda name: dataset(tmp_path / name))
    assert data.unique_tokens == pytest.approx(2 * 38_000 / data.bytes_per_token, rel=1e-3)


def test_a_dataset_without_text_is_refused(tmp_path):
    with pytest.raises(CurateError, match="has no text in its train split"):
        find_data(config(), lambda name: dataset(tmp_path, text_bytes=0))


# ---- the command


def test_the_plan_needs_no_dataset_where_tokens_are_given(written):
    plan = train_plan(written, overrides=[], tokens=1e9, flops=1e18)
    assert plan["data"]["source"] == "given"
    assert plan["file"] == str(written)


def test_a_missing_dataset_is_no_error_where_there_is_a_budget(written):
    plan = train_plan(written, overrides=[], flops=1e18)
    assert plan["data"]["source"] == "unlimited"
    assert "as much text as wanted" in plan["notes"][0]


def test_a_missing_dataset_is_an_error_where_it_is_all_there_is(written):
    with pytest.raises(CurateError, match="there is no store"):
        train_plan(written, overrides=[])


@pytest.mark.parametrize(
    "options",
    [
        {"tokens": 1e9},
        {"tokens": 1e8, "hours": 5, "hardware": "h100", "devices": 8, "price": 2.5},
        {"tokens": 1e7, "preset": "7b", "hardware": "rtx4090"},
    ],
)
def test_the_plan_fits_on_a_page(written, options):
    text = plan_text(train_plan(written, overrides=[], **options))
    lines = text.splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 128


def test_the_plan_for_people_has_what_the_json_has(written):
    text = plan_text(train_plan(written, overrides=[], tokens=1e9, flops=1e19, hardware="h100", devices=8, price=2.5))
    for part in (
        "1B unique tokens",
        "1e+19 FLOP",
        "8 x h100",
        "parameters",
        "epochs",
        "cost",
        "GiB a device",
        "--set steps=",
    ):
        assert part in text


def test_the_plan_is_the_same_each_time(written):
    first, second = (train_plan(written, overrides=[], tokens=1e9, flops=1e19) for _ in range(2))
    assert json.dumps(first) == json.dumps(second)


def test_planning_does_not_import_torch():
    code = "import sys, curate.train.planner.plan, curate.train.planner.request; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
