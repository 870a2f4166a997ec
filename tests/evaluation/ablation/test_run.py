"""Ablations: planned before the first step, gone on with after a kill, equal for equal seeds, and honest about what failed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from curate.commands.ablate import ablate
from curate.dataset.runs import records
from curate.dataset.store import Store
from curate.errors import CurateError, GateError
from curate.evaluation.ablation.presets import training
from tests.train.rows_project import columns_of, write_dataset

pytestmark = pytest.mark.slow

TINY = [
    "tokens=1500", "limit=20", "model={layers: 1, width: 16, heads: 2, feed_forward: 32}", "tokenizer={vocabulary: 300}",
    "batch={sequences: 4, length: 32}",
]  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ablations")
    parts = ["validation" if number % 3 == 2 else "train" for number in range(60)]
    write_dataset(folder, columns_of(60), parts)
    return folder


@pytest.fixture
def inside(place, monkeypatch):
    monkeypatch.chdir(place)
    return place


def dataset_of(place):
    return json.loads(next((place / ".curate" / "runs").glob("*.json")).read_text())["name"]


def call(capsys, **options):
    capsys.readouterr()
    ablate([options.pop("version", "rows")], overrides=options.pop("overrides", TINY), seeds=2, as_json=True, **options)
    return json.loads(capsys.readouterr().out)


@pytest.fixture(scope="module")
def done(place):
    """An ablation through the command, in a process of its own."""
    command = [sys.executable, "-m", "curate", "ablate", "rows", "--control", "shuffled", "--seeds", "2", "--json"]
    command += ["--predict", "shuffled is worse", *(part for one in TINY for part in ("--set", one))]
    run = subprocess.run(command, cwd=place, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_the_result_has_what_scripts_rely_on(done):
    assert {"task", "metric", "difference", "low", "high", "p", "verdict"} <= set(done["comparisons"][0])
    assert [one["arm"] for one in done["comparisons"] if one["task"] == "macro"] == ["A/A", "shuffled"] or [
        one["arm"] for one in done["comparisons"] if one["task"] == "macro"
    ] == ["shuffled", "A/A"]
    assert [one["seeds"] for one in done["arms"]] == [[1, 2], [3, 4], [1, 2]]
    assert all(len(values) == 2 for sets in done["values"].values() for values in sets.values())
    assert done["predicted"] == "shuffled is worse" and done["curves"]["rows"]


def test_the_plan_was_written_before_the_first_step(done, place):
    folder = place / "ablations" / done["name"]
    plan = json.loads((folder / "plan.json").read_text())
    assert plan["endpoint"] == {"metric": "bits_per_byte", "mean_over": ["rows-validation"]}
    first = min((place / "ablations" / "runs").glob("*/metrics.jsonl"), key=lambda path: path.stat().st_mtime)
    assert (folder / "plan.json").stat().st_mtime <= first.stat().st_mtime


def test_it_is_on_record_with_its_versions(done, place):
    (one,) = [one for one in records(Store.open(str(place / ".curate")), "ablation") if one["name"] == done["name"]]
    assert one["state"] == "done" and one["facts"]["plan"]["predicted"] == "shuffled is worse"
    assert {arm["version"] for arm in done["arms"]} == {thing["id"] for thing in one["inputs"]}


def test_what_was_trained_before_is_not_trained_again_and_gives_the_same(done, inside, capsys):
    before = {path: path.stat().st_mtime_ns for path in (inside / "ablations" / "runs").glob("*/result.json")}
    again = call(capsys, control=["shuffled"], predict="shuffled is worse")
    assert again["comparisons"] == done["comparisons"]
    assert before == {path: path.stat().st_mtime_ns for path in (inside / "ablations" / "runs").glob("*/result.json")}


def test_equal_seeds_give_equal_numbers_in_another_folder(done, inside, capsys, tmp_path):
    again = call(capsys, control=["shuffled"], predict="shuffled is worse", folder=tmp_path)
    assert again["values"] == done["values"]


def test_another_plan_under_the_same_name_is_refused(done, inside, capsys):
    with pytest.raises(CurateError, match="was begun with another plan: predicted"):
        call(capsys, control=["shuffled"], predict="no difference")


def test_a_seed_that_diverges_is_told_and_makes_its_arm_unstable(inside, capsys, tmp_path):
    wild = [*TINY, "optimizer.learning_rate=1e30", "optimizer.clip=1e30", "guard={skip: 0, rewind: 0}"]
    with pytest.raises(GateError, match="the A/A arm fails: a seed of it, or of the first, diverged") as error:
        call(capsys, control=["shuffled"], overrides=wild, folder=tmp_path)
    found = error.value.result
    assert {one["verdict"] for one in found["comparisons"]} == {"unstable"}
    assert "shuffled: 2 of 2 seeds diverged" in found["warnings"]
    assert all(one["diverged"] for one in found["runs"])


def test_one_version_alone_is_refused(inside, capsys):
    with pytest.raises(CurateError, match="one version alone compares with nothing"):
        call(capsys)


def test_a_setting_that_tells_arms_apart_is_refused(inside, capsys):
    with pytest.raises(CurateError, match="`seed` is the same for all arms"):
        call(capsys, control=["shuffled"], overrides=["seed=3"])


def test_a_set_that_was_trained_on_is_refused(inside, capsys, tmp_path):
    from curate.dataset.reader import open_dataset

    texts = open_dataset("rows").arrow("train")["text"].to_pylist()
    seen = tmp_path / "seen.jsonl"
    seen.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    with pytest.raises(CurateError, match="are, or nearly, in the training of `rows`"):
        call(capsys, control=["shuffled"], heldout=[str(seen)], folder=tmp_path)


def test_another_column_is_trained_and_measured_on(done, inside, capsys, tmp_path):
    from curate.tokenize.tokenizer import load_tokenizer

    found = call(capsys, control=["shuffled"], text="prompt", folder=tmp_path)
    assert [arm["column"] for arm in found["arms"]] == ["prompt", "prompt", "control"]
    assert found["values"]["rows"] != done["values"]["rows"]
    (made,) = (tmp_path / "tokenizers").glob("*.json")
    (other,) = (inside / "ablations" / "tokenizers").glob("*.json")
    assert load_tokenizer(made).get_vocab() != load_tokenizer(other).get_vocab()
    (task,) = {path.stem: path for path in tmp_path.glob("evaluations/*/items/*.json")}.values()
    assert json.loads(task.read_text())["definition"]["text"] == "prompt"


def test_a_column_that_is_not_there_is_refused(inside, capsys):
    with pytest.raises(CurateError, match="`rows` has no column `promt`") as error:
        call(capsys, control=["shuffled"], text="promt")
    assert "prompt" in error.value.hint


def test_the_value_of_a_training_may_be_the_mean_of_its_last_checkpoints(inside, capsys, tmp_path):
    found = call(capsys, control=["shuffled"], no_aa=True, last=3, folder=tmp_path)
    (first, *_) = [one["run"] for one in found["runs"] if one["arm"] == "rows"]
    parts = [json.loads(path.read_text()) for path in tmp_path.glob(f"evaluations/{first}-step-*/result.json")]
    values = [task["bits_per_byte"]["value"] for one in parts for task in one["tasks"].values()]
    assert len(values) == 3 and min(values) < sum(values) / 3 < max(values)
    kept = found["heldout"][0]
    if kept["left"] == kept["documents"]:
        assert found["values"]["rows"]["rows-validation"][0] == pytest.approx(sum(values) / 3)


def test_a_gate_that_is_not_shown_ends_with_3_and_has_been_declared(done, inside, capsys):
    gates = ["bits_per_byte not worse than 90%", "bits_per_byte on rows-validation not worse than 0.0001%"]
    with pytest.raises(GateError, match="not shown: bits_per_byte on rows-validation") as error:
        call(capsys, control=["shuffled"], name="gated", gate=gates)
    assert error.value.exit_code == 3
    assert [one["passed"] for one in error.value.result["gates"]] == [True, False]
    assert json.loads((inside / "ablations" / "gated" / "plan.json").read_text())["gates"] == gates


def test_a_killed_ablation_goes_on_and_comes_to_the_same(done, place, tmp_path):
    command = [sys.executable, "-m", "curate", "ablate", "rows", "--control", "shuffled", "--seeds", "2", "--json"]
    command += ["--folder", str(tmp_path), "--predict", "shuffled is worse"]
    command += [part for one in TINY for part in ("--set", one)]
    process = subprocess.Popen(
        command, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    while len(list(tmp_path.glob("runs/*/result.json"))) < 2 and process.poll() is None:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / done["name"] / "result.json").exists()
    run = subprocess.run(command, cwd=place, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["values"] == done["values"]


def test_the_checkpoints_that_a_mean_is_of_stay_whatever_is_set(tmp_path):
    kept = [
        training({"keep_checkpoints": asked}, "rows", column="text", tokenizer=tmp_path, steps=30, seed=1, last=3)
        for asked in (1, 5)
    ]
    assert [one["keep_checkpoints"] for one in kept] == [3, 5]
    with pytest.raises(CurateError, match="a training of 2 steps has no 3 checkpoints"):
        training({}, "rows", column="text", tokenizer=tmp_path, steps=2, seed=1, last=3)
