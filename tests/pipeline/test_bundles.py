"""Many small files are read together; a value from the environment stays out of everything that is kept."""

from __future__ import annotations

import pytest

from curate.config.pipeline import load_pipeline
from curate.errors import ConfigurationErrors, ResumableError
from curate.pipeline.plan import Inputs, bundle, plan_parts


def bundles(project):
    inputs = Inputs(project.store)
    parts = plan_parts(load_pipeline(project.file), inputs)
    return [tuple(part.name for part in one.parts) for one in bundle(parts, inputs, 32_000_000)]


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
    assert 10 <= len(found) <= 40
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
    assert (row["action"], row["why"]) == ("will run", "the code in `own.py` changed")


def test_a_stage_of_ones_own_runs_again_when_a_module_that_it_imports_changes(project):
    (project.root / "deep").mkdir()
    (project.root / "deep" / "__init__.py").write_text("")
    (project.root / "deep" / "words.py").write_text("WORD = 'first'\n")
    (project.root / "own2.py").write_text(
        "from curate.stages.contract import *\nclass Own(Mapper):\n    def open(self):\n        from deep.words import WORD\n"
        "        def edit(batch):\n            found = Verdicts()\n            found.edit(0, WORD, 'own')\n"
        "            return Effect(found.table(), {})\n        return edit\n"
    )
    project.write("a.txt", "one line")
    project.stages("Shout")
    project.file.write_text(project.file.read_text() + '  - {stage: "own2:Own"}\n')
    assert project.call("run", "pipeline.yaml").code == 0
    (project.root / "deep" / "words.py").write_text("WORD = 'second'\n")
    assert "the code in `deep/words.py` changed" in project.call("plan", "pipeline.yaml").out
    assert project.call("run", "pipeline.yaml").code == 0
    assert project.texts() == ["second"]


def test_a_block_of_ones_own_and_the_files_it_is_given_are_in_its_fingerprint(project):
    (project.root / "block.py").write_text(
        "from pathlib import Path\nfrom datatrove.pipeline.filters.base_filter import BaseFilter\n"
        "class Mine(BaseFilter):\n    name = 'mine'\n    def __init__(self, words):\n        super().__init__()\n"
        "        self.words = Path(words).read_text().split()\n"
        "    def filter(self, doc):\n        return any(word in doc.text for word in self.words)\n"
    )
    words = project.write("words.txt.list", "alpha")
    project.write("a.txt", "alpha", "gamma")
    project.stages("Shout, word: q")
    project.file.write_text(f'{project.file.read_text()}  - {{use: block.Mine, words: "{words}"}}\n')
    assert project.call("run", "pipeline.yaml").code == 0
    first = project.texts()
    words.write_text("gamma")
    assert "words.txt.list changed" in project.call("plan", "pipeline.yaml").out
    assert project.call("run", "pipeline.yaml").code == 0
    second = project.texts()
    (project.root / "block.py").write_text((project.root / "block.py").read_text().replace("any(", "not any("))
    assert "the code in `block.py` changed" in project.call("plan", "pipeline.yaml").out
    assert project.call("run", "pipeline.yaml").code == 0
    assert (first, second, project.texts()) == (["alpha"], ["gamma"], ["alpha"])


def test_an_input_that_changes_between_plan_and_reading_ends_the_run_and_keeps_nothing(project, monkeypatch):
    import curate.pipeline.run as driver

    project.write("a.txt", "original")
    project.stages("Shout, word: q")
    planned = driver.plan_parts

    def plan_and_edit(*arguments):
        found = planned(*arguments)
        project.write("a.txt", "changed!")
        return found

    with monkeypatch.context() as patch, pytest.raises(ResumableError, match=r"`a\.txt` changed while it was read"):
        patch.setattr(driver, "plan_parts", plan_and_edit)
        project.run()
    project.write("a.txt", "original")
    project.run()
    assert project.texts() == ["original"]


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
