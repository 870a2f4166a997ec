"""Every example runs as it is, and does what it is there to show."""

from __future__ import annotations

import shutil

import pytest

from curate import open_dataset, run
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
def test_the_template_for_ones_own_files_runs(tmp_path):
    from typer.testing import CliRunner

    from curate.cli import app

    assert CliRunner().invoke(app, ["init", str(tmp_path / "mine"), "--template", "files"]).exit_code == 0
    done = run(tmp_path / "mine" / "pipeline.yaml", workers=1)
    assert done.documents["kept"] == 2
