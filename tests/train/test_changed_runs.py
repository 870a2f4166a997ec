"""What `curate train` answers where a run that was begun, or what it began with, is not what it was."""

from __future__ import annotations

import pickle
import shutil

import pytest

from curate.train.run import train_run
from curate.train.weights.checkpoint import checkpoints
from tests.train.rows_project import columns_of, write_dataset

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def half(project):
    """Leave the run as if it had been killed after its first checkpoint; gives the checkpoint."""
    folder = project / "runs" / "small"
    (folder / "result.json").unlink()
    shutil.rmtree(checkpoints(folder / "checkpoints")[-1])
    return checkpoints(folder / "checkpoints")[-1]


def test_a_checkpoint_cut_short_is_refused_and_the_one_before_it_serves(project, train, refused):
    weights = train()["weights"]
    (project / "runs" / "small" / "result.json").unlink()
    newest = checkpoints(project / "runs" / "small" / "checkpoints")[-1]
    shard = next(newest.glob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-100])
    assert refused() == (
        f"`{shard.name}` of the checkpoint was cut short or changed",
        str(newest),
        "remove this folder to go on from the checkpoint before it",
    )
    shutil.rmtree(newest)
    assert train()["weights"] == weights


def test_a_checkpoint_with_a_pickle_is_refused(project, train, refused):
    train()
    (half(project) / "model.pt").write_bytes(pickle.dumps({}))
    problem, _, hint = refused()
    assert problem == "`model.pt` of the checkpoint may be a pickle, which can run any code when it is read"
    assert hint == "only safetensors are read: convert it where you trust it"


def test_changed_settings_and_data_are_refused_by_name_and_go_on_where_each_is_allowed(project, train, refused):
    first = train()
    half(project)
    write_dataset(project, columns_of(32, seed=1))
    problem, where, hint = refused("seed=2", "optimizer.learning_rate=0.001")
    assert problem.startswith("run `small` was begun with other settings or data: data.tokenizer was ")
    for name in ("data.tokens", "data.version", "optimizer.learning_rate was 0.002, is 0.001", "seed was 1, is 2"):
        assert name in problem
    assert where == str(project / "runs" / "small")
    assert "--fresh" in hint
    assert hint.endswith("--allow data.version --allow optimizer.learning_rate --allow seed`)")
    allowed = ["data.tokenizer", "data.tokens", "data.version", "seed"]
    problem, _, _ = refused("seed=2", "optimizer.learning_rate=0.001", allow=allowed)
    assert problem.endswith("settings or data: optimizer.learning_rate was 0.002, is 0.001")
    changed = train("seed=2", "optimizer.learning_rate=0.001", allow=[*allowed, "optimizer.learning_rate"])
    assert changed["dataset_version"] != first["dataset_version"]
    card = (project / "runs" / "small" / "README.md").read_text()
    assert "`seed` was changed after step 2: from 1 to 2" in card


def test_a_model_to_begin_with_that_has_changed_is_refused(project, train, refused):
    train("run=base")
    train("model.path=runs/base")
    half(project)
    train("run=base", "steps=6", fresh=True)
    problem, _, hint = refused("model.path=runs/base")
    assert "models.path was " in problem
    assert "`--allow models.path`" in hint
    assert train("model.path=runs/base", allow=["models.path"])["steps"] == 4


def test_a_project_that_was_moved_goes_on(project, train, tmp_path):
    train("run=base")
    weights = train("model.path=runs/base")["weights"]
    half(project)
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in (".curate", "runs", "train.yaml"):
        (project / name).rename(moved / name)
    assert train_run(moved / "train.yaml", overrides=["model.path=runs/base"])["weights"] == weights
