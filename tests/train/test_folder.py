from __future__ import annotations

import json

import pytest

from curate.errors import CurateError
from curate.train.runs.earlier import forget_earlier
from curate.train.runs.folder import data_facts, held, prepare
from curate.train.runs.metrics import Metrics, read_metrics
from curate.train.weights.checkpoint import DESCRIPTION, SCHEMA


@pytest.fixture
def folder(tmp_path):
    with held(tmp_path / "small") as folder:
        yield folder


def saved(folder, step=4):
    """A checkpoint of what the folder says now, without tensors."""
    facts = {name: content for name, content in folder.read("config.json").items() if name != "schema"}
    path = folder.checkpoints / f"step-{step:06}"
    path.mkdir(parents=True)
    (path / DESCRIPTION).write_text(json.dumps({"schema": SCHEMA, "step": step, "files": {}, "tensors": {}, **facts}))
    return path


@pytest.fixture
def begun(folder, tiny, pack):
    """A run with a checkpoint."""
    prepare(folder, tiny(), pack)
    saved(folder)
    return folder


def test_the_same_settings_and_data_go_on(begun, tiny, pack):
    prepare(begun, tiny(), pack)


def test_changed_settings_are_refused_by_name(begun, tiny, pack):
    with pytest.raises(CurateError, match=r"batch.length was 32, is 64; seed was 1, is 2") as error:
        prepare(begun, tiny(seed=2, batch={"sequences": 4, "length": 64}), pack)
    assert "--fresh" in error.value.hint


def test_changed_data_is_refused_by_name(begun, tiny, text_pack):
    with pytest.raises(CurateError, match=r"data.tokenizer was \w{12}, is \w{12}; data.tokens was .* data.version was"):
        prepare(begun, tiny(), text_pack(train=["other text"]))


def test_processes_and_checkpoints_may_change(begun, tiny, pack):
    prepare(begun, tiny(processes=2, checkpoint_every=1, keep_checkpoints=5), pack)


def test_a_run_without_a_checkpoint_may_begin_again_with_other_settings(folder, tiny, pack):
    prepare(folder, tiny(), pack)
    prepare(folder, tiny(seed=2), pack)
    assert json.loads((folder.path / "config.json").read_text())["config"]["seed"] == 2


def test_the_folder_tells_settings_data_and_environment(begun, pack):
    config = json.loads((begun.path / "config.json").read_text())
    assert config["config"]["steps"] == 12
    splits = config["data"].pop("splits")
    assert splits["train"]["documents"] == 36
    assert splits["validation"].keys() == {"documents", "tokens", "text_bytes"}
    assert config["data"] == {
        "dataset": "tiny",
        "version": pack.manifest["version"],
        "tokenizer": pack.tokenizer,
        "tokens": pack.hash,
    }
    assert "torch" in json.loads((begun.path / "environment.json").read_text())["versions"]
    assert (begun.path / "tokenizer.json").read_bytes() == pack.tokenizer_path.read_bytes()


# ---- changes that are allowed by name


def changes(folder):
    return [json.loads(line) for line in (folder.path / "changes.jsonl").read_text().splitlines()]


def test_a_change_that_is_allowed_by_its_name_passes_and_is_written_down(begun, tiny, pack):
    prepare(begun, tiny(seed=2), pack, allow=["seed"])
    assert changes(begun) == [{"step": 4, "name": "seed", "was": 1, "is": 2}]
    assert json.loads((begun.path / "config.json").read_text())["config"]["seed"] == 2
    saved(begun, 8)
    prepare(begun, tiny(seed=2), pack)
    assert len(changes(begun)) == 1


def test_an_allowed_change_that_came_to_no_checkpoint_did_not_happen(begun, tiny, pack):
    prepare(begun, tiny(seed=2), pack, allow=["seed"])
    prepare(begun, tiny(), pack)
    assert changes(begun) == []


def test_settings_are_compared_with_the_newest_checkpoint_where_config_json_is_gone(begun, tiny, pack):
    (begun.path / "config.json").unlink()
    with pytest.raises(CurateError, match="seed was 1, is 2"):
        prepare(begun, tiny(seed=2), pack)
    prepare(begun, tiny(), pack)
    assert begun.read("config.json")["config"]["seed"] == 1


def test_a_damaged_file_of_the_run_is_named(begun):
    (begun.path / "result.json").write_text("{")
    with pytest.raises(CurateError, match="the file is damaged") as error:
        begun.result()
    assert error.value.where.endswith("result.json")


def test_each_change_must_be_allowed(begun, tiny, pack):
    with pytest.raises(CurateError, match=r"(?m)data: batch.length was 32, is 64$") as error:
        prepare(begun, tiny(seed=2, batch={"sequences": 4, "length": 64}), pack, allow=["seed"])
    assert "`--allow batch.length`" in error.value.hint
    assert not (begun.path / "changes.jsonl").exists()


def test_the_names_of_data_are_those_of_the_refusal(begun, tiny, text_pack):
    other = text_pack(train=["other text"])
    prepare(begun, tiny(), other, allow=["data.tokenizer", "data.tokens", "data.version"])
    assert [change["name"] for change in changes(begun)] == ["data.tokenizer", "data.tokens", "data.version"]


def test_an_allowed_name_that_has_not_changed_is_an_error(begun, tiny, pack):
    with pytest.raises(CurateError, match=r"`optimizer.learning_rate` has not changed"):
        prepare(begun, tiny(), pack, allow=["optimizer.learning_rate"])


def test_an_allowed_name_that_is_nothing_is_an_error_with_the_nearest(begun, tiny, pack):
    with pytest.raises(CurateError, match=r"there is no setting or fact of the data `optimizer.rate`") as error:
        prepare(begun, tiny(), pack, allow=["optimizer.rate"])
    assert "did you mean" in error.value.hint
    with pytest.raises(CurateError, match=r"there is no setting or fact of the data `data.versions`") as error:
        prepare(begun, tiny(), pack, allow=["data.versions"])
    assert "`data.version`" in error.value.hint


def test_the_same_command_with_allow_goes_on_after_a_kill(begun, tiny, pack):
    for _ in range(2):
        prepare(begun, tiny(seed=2), pack, allow=["seed"])
    assert len(changes(begun)) == 1


def test_a_complete_run_with_more_to_do_is_not_complete(begun, tiny, pack):
    begun.write("result.json", {"steps": 12})
    prepare(begun, tiny(steps=20), pack, allow=["steps"])
    assert begun.result() is None


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"lora": {"rank": 4}}, r'lora was null, is {"rank": 4, "alpha": 16.0, "dropout"...'),
        ({"objective": {"kind": "multi_token"}}, r'objective.kind was "causal", is "multi_token"'),
        ({"objective": {"kind": "multi_token"}}, r"objective.heads was not there, is 4"),
        ({"mixture": {"tiny": 0.5, "other": 0.5}}, r'mixture was null, is {"tiny": 0.5, "other": 0.5}'),
        ({"schedule": {"warmup": 3}}, r"schedule.warmup was 2, is 3"),
        ({"curriculum": {"lengths": [8, 16]}}, r"curriculum was null, is"),
        ({"optimizer": {"clip": None}}, r"optimizer.clip was 1.0, is null"),
    ],
)
def test_blocks_lists_and_null_are_compared(begun, tiny, pack, settings, words):
    with pytest.raises(CurateError) as error:
        prepare(begun, tiny(**settings), pack)
    assert words in error.value.problem
    name = words.partition(" was")[0]
    names = [part.partition(" was")[0] for part in error.value.problem.partition("data: ")[2].split("; ")]
    assert name in names
    prepare(begun, tiny(**settings), pack, allow=names)


def test_lists_are_compared_as_a_whole(folder, tiny, pack):
    prepare(folder, tiny(curriculum={"lengths": [8, 16]}), pack)
    saved(folder)
    with pytest.raises(CurateError, match=r"curriculum.lengths was \[8, 16\], is \[16\]"):
        prepare(folder, tiny(curriculum={"lengths": [16]}), pack)


def test_a_setting_that_an_older_version_did_not_have_has_its_default(begun, tiny, pack):
    path = begun.checkpoints / "step-000004" / DESCRIPTION
    content = json.loads(path.read_text())
    del content["config"]["optimizer"]["momentum"]
    del content["config"]["guard"]
    path.write_text(json.dumps(content))
    prepare(begun, tiny(), pack)
    with pytest.raises(CurateError, match=r"guard.skip was 2, is 5"):
        prepare(begun, tiny(guard={"skip": 5}), pack)


def test_several_packs_are_told_by_name(folder, tiny, pack, text_pack):
    other = text_pack(train=["other text"])
    assert data_facts({"": pack}) == data_facts(pack)
    assert data_facts({"tiny": pack, "other": other})["other"]["version"] == other.manifest["version"]
    prepare(folder, tiny(), {"tiny": pack, "other": pack})
    saved(folder)
    with pytest.raises(
        CurateError, match=r"data.other.tokenizer was \w{12}, is \w{12}; data.other.tokens was"
    ) as error:
        prepare(folder, tiny(), {"tiny": pack, "other": other})
    assert "--allow data.other.tokenizer" in error.value.hint


# ---- the folder


def test_what_was_measured_of_the_machine_stays(begun, tiny, pack):
    environment = json.loads((begun.path / "environment.json").read_text())
    begun.write("environment.json", {**environment, "matmul_peaks": {"cpu": 1.0}})
    prepare(begun, tiny(), pack)
    assert json.loads((begun.path / "environment.json").read_text())["matmul_peaks"] == {"cpu": 1.0}


def test_a_run_that_another_process_trains_is_refused(folder):
    with pytest.raises(CurateError, match="run `small` is being trained by another process"), held(folder.path):
        pass


def left(folder):
    """What stands in the folder besides its lock."""
    return {path.name for path in folder.path.iterdir()} - {"lock"}


def test_fresh_keeps_the_earlier_run_until_the_new_one_has_a_checkpoint(begun, tiny, pack):
    (begun.path / "notes.txt").write_text("mine")
    before = left(begun)
    prepare(begun, tiny(seed=2), pack, fresh=True)
    assert begun.read("config.json")["config"]["seed"] == 2
    assert not begun.checkpoints.exists()
    assert {path.name for path in (begun.path / "earlier").iterdir()} == before - {"notes.txt"}
    forget_earlier(begun.path)
    assert (begun.path / "earlier").is_dir()
    saved(begun, step=2)
    forget_earlier(begun.path)
    assert left(begun) == before


def test_the_earlier_run_is_back_where_the_fresh_one_came_to_nothing(begun, tiny, pack, capsys):
    before = {path: path.read_bytes() for path in begun.path.rglob("*") if path.is_file()}
    prepare(begun, tiny(seed=2), pack, fresh=True)
    prepare(begun, tiny(seed=3), pack, fresh=True)
    prepare(begun, tiny(), pack)
    assert "the run before it is back in its place" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in begun.path.rglob("*") if path.is_file()} == before
    assert "earlier" not in left(begun)


@pytest.mark.parametrize("moved", [(), ("config.json",), ("config.json", "checkpoints", "metrics.jsonl")])
def test_a_move_that_was_cut_short_is_undone(begun, tiny, pack, moved):
    begun.metrics.write_text("")
    before = left(begun)
    moving = begun.path / "earlier.moving"
    moving.mkdir()
    for name in moved:
        (begun.path / name).rename(moving / name)
    prepare(begun, tiny(), pack)
    assert left(begun) == before


def test_what_is_refused_sets_nothing_aside(begun, tiny, pack):
    with pytest.raises(CurateError, match="has not changed"):
        prepare(begun, tiny(), pack, fresh=True, allow=["seed"])
    assert begun.checkpoints.is_dir() and "earlier" not in left(begun)


def test_a_fresh_run_over_one_without_a_checkpoint_keeps_nothing_but_files_that_are_not_the_runs(folder, tiny, pack):
    prepare(folder, tiny(), pack)
    for name in ("checkpoints", "tensorboard", "stacks"):
        (folder.path / name).mkdir()
    for name in ("notes.txt", "changes.jsonl", "README.md", "metrics.jsonl", "result.json"):
        (folder.path / name).write_text("")
    prepare(folder, tiny(), pack, fresh=True)
    assert left(folder) == {"notes.txt", "config.json", "environment.json", "tokenizer.json"}


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CurateError, match="the run folder cannot be written"), held(tmp_path / "file" / "run"):
        pass


def test_metrics_after_the_checkpoint_are_forgotten(folder):
    lines = [{"step": step, "seconds": 0.5, "tokens": 10 * step} for step in (1, 2, 3)]
    folder.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 4, "sec')
    with Metrics(folder.metrics, after=2) as metrics:
        assert (metrics.tokens, metrics.seconds) == (20, 1.0)
        metrics.add({"step": 3, "seconds": 0.1, "tokens": 30})
    assert [record["step"] for record in read_metrics(folder.metrics)] == [1, 2, 3]


def test_numbers_that_are_not_finite_are_null_in_the_metrics(folder):
    with Metrics(folder.metrics, after=0) as metrics:
        metrics.add({"step": 1, "seconds": 0.1, "loss": float("nan"), "validation": {"best": [float("inf"), 1.0]}})
        assert metrics.records() == [{"step": 1, "seconds": 0.1, "loss": None, "validation": {"best": [None, 1.0]}}]


def test_a_template_of_an_attempt_that_came_to_nothing_does_not_stay(folder, tiny, pack):
    prepare(folder, tiny(), pack)
    folder.write_text("chat_template.jinja", "of an attempt on conversations")
    prepare(folder, tiny(), pack)
    assert not (folder.path / "chat_template.jinja").exists()
