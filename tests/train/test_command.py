"""`curate train`, from a training file and a version in a store to the JSON that scripts read."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from curate import run as run_pipeline
from curate.commands.export import export
from curate.commands.train import train as train_command
from curate.dataset.runs import records
from curate.dataset.store import Store
from curate.errors import CurateError
from curate.train.planner.request import train_plan
from curate.train.run import train_run
from curate.train.weights.origin import find_model, model_hash

TRAIN = """
dataset: topics
run: small
steps: 4
checkpoint_every: 2
model: {preset: 1m, layers: 1, width: 32, heads: 2, key_value_heads: 1, feed_forward: 64}
tokenizer: {vocabulary: 300}
batch: {sequences: 4, length: 32}
validation: {every: 2, sequences: 4}
"""
PIPELINE = """
dataset: topics
sources:
  - {stage: files, paths: ["in.jsonl"]}
stages:
  - {stage: split, train: 0.8, validation: 0.2, test: 0}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A store with a version of Python's documentation, made by the pipeline itself."""
    from pydoc_data.topics import topics

    folder = tmp_path_factory.mktemp("project")
    lines = [json.dumps({"id": name, "text": topics[name]}) for name in sorted(topics)[:40]]
    (folder / "in.jsonl").write_text("\n".join(lines))
    (folder / "pipeline.yaml").write_text(PIPELINE)
    run_pipeline(folder / "pipeline.yaml", workers=1)
    return folder


@pytest.fixture
def project(made, tmp_path):
    """A copy of the store with a training file beside it."""
    shutil.copytree(made / ".curate", tmp_path / ".curate")
    (tmp_path / "train.yaml").write_text(TRAIN)
    return tmp_path


def train(project, *overrides, **options):
    return train_run(project / "train.yaml", overrides=list(overrides), **options)


@pytest.mark.slow
def test_the_json_has_the_fields_that_scripts_rely_on(project):
    command = [sys.executable, "-m", "curate.cli", "train", str(project / "train.yaml"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result = json.loads(done.stdout)
    assert {"schema", "run", "checkpoint", "steps", "tokens", "loss", "validation", "tokens_per_second"} < set(result)
    assert (result["run"], result["steps"], result["tokens"]) == ("small", 4, 4 * 4 * 32)
    assert 0 < result["validation"]["bits_per_byte"] < 20
    assert Path(result["checkpoint"]).is_dir()
    assert "step 4/4" in done.stderr
    assert "Warning" not in done.stderr


def test_epochs_are_counted_in_steps_of_the_data_and_go_on_as_such(project, capsys):
    settings = (project / "train.yaml").read_text().replace("steps: 4\n", "epochs: 0.2\n", 1)
    (project / "train.yaml").write_text(settings)
    result = train(project, "validation.every=1000")
    manifest = json.loads(next((project / ".curate" / "tokens").glob("*/manifest.json")).read_text())
    steps = math.ceil(0.2 * math.ceil(manifest["splits"]["train"]["tokens"] / 32) / 4)
    assert result["steps"] == steps
    assert f"train small: 0.2 epochs are {steps:,} steps" in capsys.readouterr().err
    assert train(project, "validation.every=1000") == result
    with pytest.raises(CurateError, match=f"`validation.every` is more than the {steps:,} steps of the epochs"):
        train(project, "run=other", "validation.every=1000", "early_stopping.patience=2")


def test_the_test_split_is_measured_once_at_the_end(project, made):
    with pytest.raises(CurateError, match="there is no test split to measure on"):
        train(project, "validation.test=true")
    pipeline = PIPELINE.replace("validation: 0.2, test: 0", "validation: 0.1, test: 0.1")
    (project / "pipeline.yaml").write_text(pipeline)
    shutil.copy(made / "in.jsonl", project / "in.jsonl")
    run_pipeline(project / "pipeline.yaml", workers=1)
    result = train(project, "run=tested", "validation.test=true")
    whole = json.loads((project / "runs" / "tested" / "result.json").read_text())
    manifests = [json.loads(path.read_text()) for path in (project / ".curate" / "tokens").glob("*/manifest.json")]
    (tokens,) = [one["splits"]["test"]["text_bytes"] for one in manifests if "test" in one["splits"]]
    assert whole["test"]["bytes"] == tokens
    assert result["test"] == whole["test"]
    assert "| test: bits per byte |" in (project / "runs" / "tested" / "README.md").read_text()
    assert "test" not in train(project, "run=untested")


def test_the_dataset_s_text_bytes_are_those_that_were_packed(project):
    train(project, "validation.sequences=null")
    manifest = next((project / ".curate" / "tokens").glob("*/manifest.json"))
    splits = json.loads(manifest.read_text())["splits"]
    result = json.loads((project / "runs" / "small" / "result.json").read_text())
    assert result["validation"]["bytes"] == splits["validation"]["text_bytes"]


def test_a_complete_run_says_so_and_gives_the_same_result(project, capsys):
    first = train(project)
    assert train(project) == first
    assert "train small: complete already" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("kind_of_place", ["s3"], indirect=True)
def test_a_model_is_trained_from_a_store_in_an_object_store(project, place, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(project / "cache"))
    shutil.rmtree(project / "runs", ignore_errors=True)
    here = train(project)
    store = place.store("topics")
    place.server.copy(project / ".curate", store.removeprefix("s3://bucket/"))
    shutil.rmtree(project / ".curate")
    shutil.rmtree(project / "runs")
    there = train(project, store=store)
    assert (there["loss"], there["validation"]) == (here["loss"], here["validation"])
    assert {one["state"] for one in records(Store.open(store), "training")} == {"done"}
    monkeypatch.setenv("CURATE_STORE", store)
    plan = train_plan(project / "train.yaml", overrides=[], preset="1m")
    assert not (project / ".curate").exists()
    assert "packed" in json.dumps(plan, default=str)


def training_records(project):
    return records(Store.open(project / ".curate"), "training")


def test_the_store_remembers_the_run(project):
    result = train(project)
    (record,) = training_records(project)
    assert (record["name"], record["state"]) == ("small", "done")
    assert record["inputs"][0] == {"kind": "version", "id": result["dataset_version"], "name": "topics@v1"}
    assert record["inputs"][1]["kind"] == "tokens"
    checkpoint, weights = record["outputs"]
    assert checkpoint["id"] == model_hash(find_model(result["checkpoint"], setting="model.path"))
    assert (weights["id"], weights["name"]) == (result["weights"], "checkpoints/step-000004")
    folder = str((project / "runs/small").resolve())
    assert record["facts"] == {"run": "small", "folder": folder, "tokenizer": result["tokenizer"]}


def test_runs_of_one_name_in_two_projects_on_one_store_are_both_remembered(project):
    train(project)
    train(project, runs=project / "other/runs")
    assert [record["name"] for record in training_records(project)] == ["small", "small"]


def test_a_run_that_goes_on_keeps_its_record_and_a_fresh_one_has_its_own(project):
    train(project)
    train(project)
    train(project, "steps=6", allow=["steps"])
    (record,) = training_records(project)
    assert (record["state"], record["outputs"][0]["name"]) == ("done", "checkpoints/step-000006")
    train(project, fresh=True)
    assert len(training_records(project)) == 2


def test_a_complete_run_with_other_settings_is_refused(project):
    train(project)
    with pytest.raises(CurateError, match="seed was 1, is 2"):
        train(project, "seed=2")


def test_fresh_begins_again(project):
    train(project)
    assert train(project, "seed=2", fresh=True)["steps"] == 4
    assert not (project / "runs" / "small" / "earlier").exists()


@pytest.mark.parametrize("change", ["dataset=nope", "objective={kind: classification}", "model.path=nowhere"])
def test_fresh_that_is_refused_leaves_the_run_as_it_was(project, change):
    train(project)
    before = {path: path.read_bytes() for path in (project / "runs").rglob("*") if path.is_file()}
    with pytest.raises(CurateError):
        train(project, change, fresh=True)
    assert {path: path.read_bytes() for path in (project / "runs").rglob("*") if path.is_file()} == before


def test_fresh_that_fails_before_its_first_checkpoint_loses_nothing(project, monkeypatch):
    weights = train(project)["weights"]
    with monkeypatch.context() as patched:
        patched.setattr("curate.train.trainer.Trainer.step", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train(project, "seed=2", fresh=True)
    assert train(project)["weights"] == weights


def test_a_changed_shard_of_tokens_is_refused(project):
    train(project)
    shard = next((project / ".curate" / "tokens").glob("*/train-00000.ds"))
    content = bytearray(shard.read_bytes())
    content[100] ^= 1
    shard.write_bytes(content)
    with pytest.raises(CurateError, match=r"`train-00000.ds` is not the file that was packed"):
        train(project, "run=other")


def test_a_changed_tokenizer_is_refused(project):
    train(project)
    path = next((project / ".curate" / "tokens").glob("*/tokenizer.json"))
    path.write_text(path.read_text() + " ")
    with pytest.raises(CurateError, match=r"`tokenizer.json` is not the file that was packed"):
        train(project, "run=other")


def test_a_dataset_that_is_not_there_is_told_with_the_nearest_name(project):
    with pytest.raises(CurateError, match="there is no dataset named `topic`") as error:
        train(project, "dataset=topic")
    assert "did you mean `topics`?" in error.value.hint


def test_runs_may_stand_elsewhere(project, tmp_path):
    result = train(project, runs=tmp_path / "elsewhere")
    assert result["checkpoint"] == str(tmp_path / "elsewhere" / "small" / "checkpoints" / "step-000004")


# ---- what is printed


def test_stdout_has_the_result_and_stderr_how_it_went(project, capsys):
    train_command(project / "train.yaml")
    shown = capsys.readouterr()
    assert [line.partition(":")[0] for line in shown.out.splitlines()] == [
        "run",
        "model",
        "steps",
        "tokens",
        "loss",
        "validation",
        "checkpoint",
    ]
    assert " bits per byte, " in shown.out
    assert "train small: step 4/4, loss " in shown.err


def test_an_error_is_json_too(project):
    command = [sys.executable, "-m", "curate", "train", str(project / "train.yaml"), "--set", "steps=0", "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    found = json.loads(done.stdout)
    assert (found["schema"], found["errors"][0]["where"]) == (1, "--set #1")
    assert "`steps`: input should be greater than or equal to 1, got 0" in found["errors"][0]["problem"]


def test_the_plan_is_printed_and_nothing_is_trained(project, capsys):
    train_command(project / "train.yaml", plan=True, flops=1e15)
    shown = capsys.readouterr().out
    assert "start with" in shown
    assert f"curate train {project}/train.yaml" in shown
    train_command(project / "train.yaml", plan=True, flops=1e15, as_json=True)
    assert json.loads(capsys.readouterr().out)["schema"] == 1
    assert not (project / "runs").exists()


def test_options_of_planning_need_the_plan(project):
    with pytest.raises(CurateError, match="--flops is an option of planning") as error:
        train_command(project / "train.yaml", flops=1e15)
    assert error.value.hint == "add --plan"


def test_the_exported_folder_is_told_and_its_run_is_on_record_by_its_whole_path(project, capsys, monkeypatch):
    train(project)
    capsys.readouterr()
    monkeypatch.chdir(project)
    export(Path("runs/small"), project / "model", as_json=True)
    (told,) = records(Store.open(project / ".curate"), "model_export")
    assert [one["name"] for one in told["inputs"]] == [str((project / "runs/small").resolve())]
    found = json.loads(capsys.readouterr().out)
    assert (found["schema"], found["folder"], found["objective"]) == (1, str(project / "model"), "causal")
    assert found["bytes"] > 4 * found["parameters"] > 0


def test_an_export_of_adapters_is_on_record(project, monkeypatch):
    (project / "train.yaml").write_text(f"{TRAIN}lora: {{rank: 2}}\n")
    train(project)
    monkeypatch.chdir(project)
    export(Path("runs/small"), project / "adapters", adapter=True)
    (told,) = records(Store.open(project / ".curate"), "model_export")
    assert told["facts"]["folder"] == str((project / "adapters").resolve())


def test_a_folder_without_a_run_is_not_exported(project):
    with pytest.raises(CurateError, match="there is no trained model here") as error:
        export(project / "nothing", project / "model")
    assert error.value.where == str(project / "nothing")


@pytest.mark.parametrize("command", [["train", "train.yaml"], ["export", "runs/none", "--out", "model"]])
def test_what_is_not_there_is_said_before_torch_is_loaded(tmp_path, command):
    (tmp_path / "train.yaml").write_text("dataset: nothing\nrun: small\nbatch: {length: 64}\nsteps: 1\n")
    code = "import sys; from curate.__main__ import main\ntry: main()\nfinally: print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, *command], cwd=tmp_path, capture_output=True, text=True)
    assert ("there is no" in done.stderr, done.stdout.split()[-1:]) == (True, ["False"]), done.stderr


# ---- torchrun


@pytest.mark.slow
def test_torchrun_trains_what_spawned_processes_train(project):
    start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "curate", "train"]
    command = [sys.executable, *start, str(project / "train.yaml"), "--set", "device=cpu", "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("step 4/4") == 1
    spawned = train(project, "run=spawned", "device=cpu", processes=2)
    assert json.loads(done.stdout)["weights"] == spawned["weights"]


def test_a_run_that_torchrun_starts_again_is_not_fresh(project, monkeypatch, capsys):
    train(project)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    train(project, fresh=True)
    assert "train small: complete already" in capsys.readouterr().err
