"""Every example runs as it is, and does what it is there to show."""

from __future__ import annotations

import json
import shutil

import pytest
from typer.testing import CliRunner

from curate import open_dataset, run
from curate.cli import app
from curate.labeling.log import items
from curate.labeling.task import load_task
from tests.golden import REPOSITORY


def _copy(name, tmp_path):
    shutil.copytree(REPOSITORY / "examples" / name, tmp_path / name)
    return tmp_path / name


def test_every_example_is_listed_and_has_a_pipeline():
    folders = sorted(
        path.name for path in (REPOSITORY / "examples").iterdir() if path.is_dir() and path.name != "train"
    )
    listed = (REPOSITORY / "examples" / "README.md").read_text()
    assert all(
        f"`{name}/`" in listed and (REPOSITORY / "examples" / name / "pipeline.yaml").exists() for name in folders
    )


@pytest.mark.slow
def test_a_stage_of_ones_own_drops_what_it_should(tmp_path):
    folder = _copy("own_stage", tmp_path)
    done = run(folder / "pipeline.yaml", workers=1)
    assert done.documents == {"in": 4, "kept": 2, "dropped": 2, "quarantined": 0}


@pytest.mark.slow
def test_blocks_of_datatrove_work_between_stages(tmp_path):
    folder = _copy("datatrove_blocks", tmp_path)
    run(folder / "pipeline.yaml", workers=1)
    table = open_dataset("blocks", folder / ".curate").arrow()
    assert table.column("id").to_pylist() == ["t0", "t3"]
    assert "caf\u00e9" in table.column("text").to_pylist()[1]


@pytest.mark.slow
def test_messages_are_labelled_in_the_terminal_by_rules_and_by_a_model(tmp_path, monkeypatch):
    folder = _copy("labeling", tmp_path)
    monkeypatch.chdir(folder)
    runner = CliRunner()

    def label(*words, typed=None):
        done = runner.invoke(app, ["label", *words, "--json"], input=typed)
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    run("pipeline.yaml", workers=1)
    assert label("next", "-n", "20")["documents"] == 20
    texts = {row["id"]: row["text"] for row in open_dataset("messages").arrow().to_pylist()}
    content = ("love", "Great", "lovely", "Thanks")
    drawn = items(open_dataset("messages").store, load_task(folder / "labeling" / "tone" / "task.yaml"))
    keys = ["p" if any(word in texts[one.id] for word in content) else "c" for one in drawn]
    assert label("annotate", typed="".join(f"{key}\n" for key in keys))["answered"] == 20
    functions = label("weak")
    assert functions["labelled"] == functions["documents"] == len(texts)
    assert functions["accuracy"]["value"] == 1
    assert label("fit")["accuracy"] == 1
    assert label("weak", "--write")["written"]
    told = label("commit")
    assert told["sources"] == {"human": 20, "weak": len(texts) - 20}


@pytest.mark.slow
def test_the_template_for_ones_own_files_runs(tmp_path):
    assert CliRunner().invoke(app, ["init", str(tmp_path / "mine"), "--template", "files"]).exit_code == 0
    done = run(tmp_path / "mine" / "pipeline.yaml", workers=1)
    assert done.documents["kept"] == 2
