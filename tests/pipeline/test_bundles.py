"""Many small files are read together; a value from the environment stays out of everything that is kept."""

from __future__ import annotations

import pytest

from curate.config.pipeline import load_pipeline
from curate.errors import ConfigurationErrors
from curate.pipeline.plan import bundle, content_hashes, plan_parts


def bundles(project):
    loaded = load_pipeline(project.file)
    with content_hashes(project.store) as content_hash:
        return [tuple(part.name for part in parts) for _, parts in bundle(plan_parts(loaded, content_hash), 32_000_000)]


@pytest.fixture
def many(project):
    """A project of 300 small files that has run once."""
    (project.root / "in").mkdir()
    for number in range(300):
        (project.root / "in" / f"{number:04}.txt").write_text(f"the text of file {number}\n")
    project.file.write_text('dataset: many\nsources: [{stage: files, paths: ["in/*.txt"]}]\nstages: [unicode]\n')
    project.run()
    return project


def test_many_small_files_are_read_by_few_tasks(many):
    found = bundles(many)
    assert 50 <= len(found) <= 120
    assert [name for names in found for name in names] == [f"in/{number:04}.txt" for number in range(300)]


def test_one_more_file_changes_its_own_bundle_alone(many):
    before = bundles(many)
    (many.root / "in" / "0150b.txt").write_text("one more\n")
    assert len(set(bundles(many)) - set(before)) <= 2


def test_documents_of_bundled_files_keep_their_places(many):
    table = many.open("many").arrow()
    assert table.column("source_uri").to_pylist() == [f"in/{number:04}.txt#0" for number in range(300)]


def test_a_few_files_are_read_one_by_one(project):
    for number in range(20):
        project.write(f"{number}.txt", "one line")
    project.stages("Shout")
    project.run()
    assert {len(names) for names in bundles(project)} == {1}


def test_a_value_from_the_environment_is_nowhere_in_the_store(project, monkeypatch):
    monkeypatch.setenv("TOY_FOLDER", "sekretfolder")
    (project.root / "sekretfolder").mkdir()
    (project.root / "sekretfolder" / "a.txt").write_text("some text\n")
    project.file.write_text('dataset: toy\nsources: [{stage: files, paths: ["${env:TOY_FOLDER}/*.txt"]}]\n')
    project.run()
    assert project.open().arrow().column("source_uri").to_pylist() == ["${env:TOY_FOLDER}/a.txt#0"]
    held = [path for path in project.store.root.rglob("*") if path.is_file() and b"sekretfolder" in path.read_bytes()]
    assert held == []


def test_a_value_from_the_environment_is_in_no_message_of_a_source(project, monkeypatch):
    monkeypatch.setenv("TOY_FOLDER", "sekretfolder")
    project.file.write_text('dataset: toy\nsources: [{stage: files, paths: ["${env:TOY_FOLDER}/*.txt"]}]\n')
    outcome = project.cli("run", "pipeline.yaml", "--json")
    assert outcome.code == 2
    assert "sekretfolder" not in outcome.out + outcome.err


def test_a_stage_of_ones_own_runs_again_when_its_file_changes(project):
    own = project.root / "own.py"
    code = "from curate.stages.contract import *\nclass Own(Mapper):\n    def open(self):\n        def edit(batch):\n"
    code += "            found = Verdicts()\n            found.edit(0, WORD, 'own')\n"
    code += "            return Effect(found.table(), {})\n        return edit\n"
    own.write_text(code.replace("WORD", "'first'"))
    project.write("a.txt", "one line")
    project.stages("Shout")
    project.file.write_text(project.file.read_text() + '  - {stage: "own:Own"}\n')
    assert project.cli("run", "pipeline.yaml").code == 0
    own.write_text(code.replace("WORD", "'second'"))
    row = project.plan()["Own"]
    assert row["action"] == "will run"
    assert "code" in row["why"]


def test_a_split_before_deduplication_is_refused(project):
    project.file.write_text(
        "dataset: a\nsources: [installed_packages]\nstages:\n"
        "  - {stage: split, train: 1, validation: 0, test: 0}\n  - near_duplicates\n"
    )
    with pytest.raises(ConfigurationErrors) as caught:
        load_pipeline(project.file)
    assert (
        caught.value.errors[0].problem
        == "`split` stands before `near_duplicates`: duplicates could stand in several splits"
    )
