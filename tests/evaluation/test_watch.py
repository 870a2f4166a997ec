"""Evaluation while a model is trained: the numbers of `curate eval`, and a training that knows nothing of it."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from curate.cli import app
from curate.dataset.find import find_store
from curate.errors import CurateError
from curate.evaluation.models.opened import open_model
from curate.evaluation.run import evaluate
from curate.evaluation.tasks.settings import LabelTask, PerplexityTask
from curate.evaluation.watch import Evaluations, overfitting
from curate.train.run import train_run
from curate.train.weights.checkpoint import checkpoints
from tests.evaluation.conftest import RUNS
from tests.train.rows_project import TRAIN, write_dataset

HELD = PerplexityTask(name="held", data="rows", split="test")


def watching(every, *tasks):
    return lambda config, store: Evaluations(config, store, tasks, every=every)


@pytest.fixture(scope="module")
def watched(project):
    """The folder of a run of text that was evaluated every other step."""
    changes = [*RUNS["text"], "validation.sequences=null", "run=watched", "log.tensorboard=true"]
    train_run(project / "train.yaml", overrides=changes, watch=watching(2, HELD))
    return project / "runs" / "watched"


def result(folder):
    return json.loads((folder / "result.json").read_text())


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def evaluated(project, folder, task, out):
    store = find_store(str(project / ".curate"))
    return evaluate(lambda: open_model(str(folder)), [task], out, store=store, say=lambda words: None).result["tasks"]


def test_the_last_evaluation_is_that_of_the_finished_run(project, watched, tmp_path):
    assert result(watched)["evaluation"] == evaluated(project, watched, HELD, tmp_path)
    assert [line["step"] for line in lines(watched) if "evaluation" in line] == [2, 4]


def test_the_weights_are_those_of_a_run_without_evaluation(trained, watched):
    assert result(watched)["weights"] == result(trained("text"))["weights"]


def test_a_run_that_goes_on_measures_what_it_would_have_measured(project, watched):
    folder = project / "runs" / "again"
    shutil.copytree(watched, folder)
    shutil.rmtree(checkpoints(folder / "checkpoints")[-1])
    (folder / "result.json").unlink()
    changes = [*RUNS["text"], "validation.sequences=null", "run=again", "log.tensorboard=true"]
    train_run(project / "train.yaml", overrides=changes, watch=watching(2, HELD), allow=["run"])
    for name in ("weights", "evaluation"):
        assert result(folder)[name] == result(watched)[name]
    assert [line.get("gap") for line in lines(folder)] == [line.get("gap") for line in lines(watched)]


def test_averaged_parameters_are_evaluated_where_there_are_some(project, tmp_path):
    changes = ["run=averaged", "steps=2", "optimizer.average=0.5"]
    train_run(project / "train.yaml", overrides=changes, watch=watching(2, HELD))
    folder = project / "runs" / "averaged"
    assert result(folder)["evaluation"] == evaluated(project, folder, HELD, tmp_path)


def test_a_model_with_a_head_is_evaluated_on_its_labels(project, tmp_path):
    task = LabelTask(name="held", data="rows", split="test")
    train_run(project / "train.yaml", overrides=["run=watched-mood", *RUNS["mood"]], watch=watching(4, task))
    folder = project / "runs" / "watched-mood"
    assert result(folder)["evaluation"] == evaluated(project, folder, task, tmp_path)
    assert "gap" not in lines(folder)[-1]


def test_the_heart_beats_before_each_task(project, watched, monkeypatch):
    from curate.train.settings.file import load_config
    from curate.train.weights.export import load_trained

    config = load_config(project / "train.yaml", RUNS["text"])
    beats = []
    Evaluations(config, str(project / ".curate"), [HELD], every=1).measure(
        load_trained(watched), [], lambda: beats.append(1)
    )
    assert len(beats) >= 2


def test_tensorboard_has_the_numbers_of_the_evaluations(watched):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(watched / "tensorboard"))
    found.Reload()
    assert [event.step for event in found.Scalars("evaluation/held/bits_per_byte/value")] == [2, 4]


def gaps(*values, low=0.1):
    return [
        {"step": 10 * number, "gap": {"value": value, "low": value - low, "high": value + low, "n": 9}}
        for number, value in enumerate(values, 1)
    ]


@pytest.mark.parametrize(
    ("values", "since"),
    [
        ((0.0, 0.2, 0.3, 0.4, 0.5), 40),  # grown three times, and above 0
        ((0.5, 0.5, 0.5, 0.5), None),  # a gap that stays may be another kind of text
        ((0.0, 0.02, 0.04, 0.06, 0.08), None),  # its interval holds 0
        ((0.2, 0.3, 0.4), None),  # too few evaluations
        ((0.2, 0.3, 0.25, 0.4, 0.5), None),  # not each time
        ((0.2, 0.3, 0.4, 0.5, 0.45), 40),  # it is still there
        ((0.2, 0.3, 0.4, 0.5, 0.05), None),  # it went away
    ],
)
def test_a_gap_that_grows_is_overfitting(values, since):
    found = overfitting(gaps(*values))
    assert (found and found["since_step"]) == since
    if found:
        assert found["gap"] == gaps(*values)[-1]["gap"]


@pytest.mark.slow
def test_a_model_that_learns_its_data_by_heart_is_told_of(tmp_path, capsys):
    random = np.random.default_rng(0)
    texts = [" ".join(map(str, random.integers(0, 10_000, 60))) for _ in range(12)]
    write_dataset(tmp_path, {"text": texts}, ["train", "validation"] * 6)
    (tmp_path / "train.yaml").write_text(TRAIN)
    changes = [
        "steps=150",
        "checkpoint_every=150",
        "validation.every=150",
        "optimizer.learning_rate=0.01",
        "model.width=64",
    ]
    task = HELD.model_copy(update={"split": "validation"})
    train_run(tmp_path / "train.yaml", overrides=changes, watch=watching(15, task))
    over = result(tmp_path / "runs" / "small")["overfitting"]
    assert over["gap"]["low"] > 0
    said = [line for line in capsys.readouterr().err.splitlines() if "overfitting" in line]
    assert len(said) == 1


@pytest.mark.parametrize("changes", [["processes=2"], ["restarts=1"]])
def test_several_processes_are_refused(project, changes):
    with pytest.raises(CurateError) as error:
        train_run(project / "train.yaml", overrides=["run=no", *changes], watch=watching(2, HELD))
    assert "in one process" in error.value.problem


def test_a_masked_encoder_is_refused(project):
    with pytest.raises(CurateError, match="learning `masked` are not evaluated"):
        train_run(project / "train.yaml", overrides=["run=no", *RUNS["hidden"]], watch=watching(2, HELD))


def test_the_command_measures_the_tasks_of_a_file(project, tmp_path):
    (tmp_path / "tasks.yaml").write_text("tasks: [{name: held, kind: perplexity, data: rows, split: test}]")
    command = ["train", str(project / "train.yaml"), "--set", "run=typed", "--set", "steps=2", "--json"]
    done = CliRunner().invoke(app, [*command, "--eval", str(tmp_path / "tasks.yaml"), "--eval-every", "1"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["evaluation"]["held"]["bits_per_byte"]["n"] == 10
    alone = CliRunner().invoke(app, ["train", str(project / "train.yaml"), "--eval-every", "1"])
    assert alone.exit_code != 0
