"""Version ids are the engine's promise: same input, configuration and code give the same id. Three of them are golden."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import pytest
from golden_projects import STAGES, tools, version_id, write_project

FILE = Path(__file__).resolve().parents[1] / "goldens" / "version_ids.txt"
FIRST, *LINES = FILE.read_text().splitlines()
IDS = dict(line.split() for line in LINES)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The version id of a golden project, made once."""

    @cache
    def make(name):
        return version_id(write_project(tmp_path_factory.mktemp(name), name))

    return make


@pytest.mark.slow
@pytest.mark.parametrize("name", STAGES)
def test_a_change_that_moves_version_ids_says_why(name, made):
    moved, here = made(name), f"# {tools()}"
    libraries = "" if here == FIRST else f"\nThe libraries are not those of the golden ids:\n{FIRST}\n{here}"
    assert moved == IDS[name], (
        f"the version id of the golden project `{name}` has moved from {IDS[name][:12]} to {moved[:12]}: every user's "
        f"store would make its versions anew.{libraries}\nWhere that is meant, `python -m tests.golden` writes the new "
        "ids; the commit message and CHANGELOG.md say what changed and why it had to."
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", STAGES)
def test_version_ids_do_not_depend_on_the_folder_the_time_or_the_workers(name, made, tmp_path, monkeypatch):
    pipeline = write_project(tmp_path / "some other" / "place", name)
    for path in pipeline.parent.iterdir():
        os.utime(path, (1_000_000_000, 1_000_000_000))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CURATE_TEST_COLD", "1")  # its workers start as users' do
    assert version_id(pipeline, workers=2) == made(name)
