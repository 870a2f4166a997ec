"""A version is a fact: what changes while a run is going on, or where nobody looks, never stands under another's name."""

from __future__ import annotations

import datasets
import fsspec
import pytest

import curate
from curate.errors import ResumableError
from curate.pipeline.walk import Walk

STAGE = """
from curate.stages.contract import Effect, Mapper, Verdicts
IMPORT
class Own(Mapper):
    def open(self):
        def edit(batch):
            HOOK
            found = Verdicts()
            for row in range(batch.num_rows):
                found.edit(row, WORD, "own")
            return Effect(found.table(), {})
        return edit
"""


def own(project, name, *, word="WORD", imports="", hook="pass"):
    text = (
        STAGE.replace("IMPORT", imports)
        .replace("HOOK", hook)
        .replace("found.edit(row, WORD", f"found.edit(row, {word}")
    )
    (project.root / f"{name}.py").write_text(text)


def add(project, *stages):
    lines = [
        f'  - {{stage: "{stage}:Own", id: {stage}}}\n' if ":" not in stage else f"  - {stage}\n" for stage in stages
    ]
    project.file.write_text(project.file.read_text() + "".join(lines))


# ---- code


def test_code_that_is_saved_during_a_run_does_not_stand_under_the_new_codes_name(project):
    path = project.root / "second.py"
    hook = f'import pathlib; path = pathlib.Path("{path}"); path.write_text(path.read_text().replace("old", "new"))'
    own(project, "first", word="batch.column('text')[row].as_py()", hook=hook)
    own(project, "second", word="'old'")
    project.write("a.txt", "one", "two")
    project.stages("Shout, word: q")
    add(project, "first", "{stage: exact_duplicates}", "second")
    outcome = project.call("run", "pipeline.yaml", "--workers", 1)
    if outcome.code == 4:  # the worker had not loaded it before it changed
        assert "`second.py`, which stage `second` uses, changed while the run was going on" in outcome.err
    else:
        assert project.texts() == ["old", "old"]
    assert project.call("run", "pipeline.yaml", "--workers", 1).code == 0
    assert project.texts() == ["new", "new"]


def test_code_that_changes_between_its_hash_and_its_import_ends_the_run_and_keeps_nothing(project, monkeypatch):
    own(project, "late", word="'v1'")
    project.write("a.txt", "one")
    project.stages("Shout, word: q")
    add(project, "late")
    section = Walk._section

    def edited(walk, live, specs, last):
        if specs:
            own(project, "late", word="'v2'")
        return section(walk, live, specs, last)

    with monkeypatch.context() as patch, pytest.raises(ResumableError, match=r"`late\.py`.*changed while the run"):
        patch.setattr(Walk, "_section", edited)
        project.run()
    own(project, "late", word="'v1'")
    project.run()
    assert project.texts() == ["v1"]


@pytest.mark.parametrize(
    ("imports", "files", "changed"),
    [
        ("from loose.words import WORD", {"loose/words.py": "WORD = 'first'\n"}, "loose/words.py"),
        (
            "import above.below\nWORD = above.below.WORD",
            {"above/__init__.py": "WORD = 'first'\n", "above/below/__init__.py": "from .. import WORD\n"},
            "above/__init__.py",
        ),
    ],
    ids=["in_a_folder_that_is_no_package", "of_a_package_above_an_imported_module"],
)
def test_the_file_is_in_the_fingerprint(project, imports, files, changed):
    for name, content in files.items():
        (project.root / name).parent.mkdir(parents=True, exist_ok=True)
        (project.root / name).write_text(content)
    own(project, "lone", imports=imports)
    project.write("a.txt", "one")
    project.stages("Shout, word: q")
    add(project, "lone")
    assert project.call("run", "pipeline.yaml").code == 0
    (project.root / changed).write_text("WORD = 'second'\n")
    assert project.call("run", "pipeline.yaml").code == 0
    assert project.texts() == ["second"]


@pytest.mark.parametrize("changed", ["one", "two"])
def test_files_of_one_name_in_two_packages_are_told_apart(project, changed):
    for name in ("one", "two"):
        (project.root / f"pack_{name}").mkdir()
        (project.root / f"pack_{name}" / "__init__.py").write_text(f"WORD = '{name}'\n")
    own(project, "both", imports="from pack_one import WORD as A\nfrom pack_two import WORD as B\nWORD = A + B")
    project.write("a.txt", "one")
    project.stages("Shout, word: q")
    add(project, "both")
    assert project.call("run", "pipeline.yaml").code == 0
    (project.root / f"pack_{changed}" / "__init__.py").write_text("WORD = 'new'\n")
    assert project.call("run", "pipeline.yaml").code == 0
    assert project.texts() == [{"one": "newtwo", "two": "onenew"}[changed]]


# ---- inputs


def saved(folder, *texts):
    datasets.Dataset.from_dict({"text": list(texts)}).save_to_disk(folder)


def hub(project):
    project.file.write_text("dataset: toy\nsources: [{stage: huggingface, path: saved}]\nstages: []\n")


def test_a_hugging_face_folder_that_is_saved_again_is_read_again(project):
    hub(project)
    saved(project.root / "saved", "old one", "old two")
    project.run()
    saved(project.root / "saved", "new one", "new two")
    again = project.run()
    assert project.texts() == ["new one", "new two"]
    assert project.run(store=project.root / "fresh").version == again.version


def test_a_version_does_not_depend_on_where_a_hugging_face_folder_lies(project, tmp_path):
    hub(project)
    saved(project.root / "saved", "one")
    first = project.run().version
    moved = project.root.rename(tmp_path / "elsewhere")
    assert curate.run(moved / "pipeline.yaml", workers=1, store=tmp_path / "fresh").version == first


def test_a_hugging_face_folder_that_changes_before_it_is_read_ends_the_run(project, monkeypatch):
    import curate.pipeline.run as driver

    hub(project)
    saved(project.root / "saved", "one")
    planned = driver.plan_parts

    def plan_and_save(*arguments):
        found = planned(*arguments)
        saved(project.root / "saved", "two")
        return found

    monkeypatch.setattr(driver, "plan_parts", plan_and_save)
    with pytest.raises(ResumableError, match="changed while it was read"):
        project.run()


def test_a_url_whose_content_changes_before_it_is_read_ends_the_run(project, monkeypatch):
    import curate.pipeline.run as driver

    path = project.write("in.jsonl", '{"text": "original"}')
    project.file.write_text(f"dataset: toy\nsources: [{{stage: files, paths: 'local://{path}'}}]\nstages: []\n")
    assert fsspec.filesystem("local").info(str(path)).get("ETag") is None  # it tells no checksum: the worst case
    planned = driver.plan_parts

    def plan_and_edit(*arguments):
        found = planned(*arguments)
        project.write("in.jsonl", '{"text": "changed!"}')
        return found

    with monkeypatch.context() as patch, pytest.raises(ResumableError, match="changed while it was read"):
        patch.setattr(driver, "plan_parts", plan_and_edit)
        project.run()
    project.write("in.jsonl", '{"text": "original"}')
    project.run()
    assert project.texts() == ["original"]


def test_a_sample_looks_at_the_file_again_too(project, monkeypatch):
    import curate.pipeline.run as driver

    project.write("a.txt", "original", "more")
    project.stages("Shout, word: q")
    planned = driver.plan_parts

    def plan_and_edit(*arguments):
        found = planned(*arguments)
        project.write("a.txt", "changed!", "more")
        return found

    monkeypatch.setattr(driver, "plan_parts", plan_and_edit)
    with pytest.raises(ResumableError, match="changed while it was read"):
        project.run(sample=1)


# ---- what is found again

SUMMARY = """
import pyarrow as pa
from curate.stages.contract import Effect, Mapper, Verdicts
class Own(Mapper):
    word: str = "short"
    name: str = "summary"
    def columns(self): return ()
    def open(self):
        def give(batch):
            return Effect(Verdicts().table(), {self.name: pa.array([self.word] * batch.num_rows)})
        return give
"""


def test_a_stage_measures_again_where_the_column_that_it_looks_at_has_changed(project):
    (project.root / "summary.py").write_text(SUMMARY)
    project.write("a.txt", "one", "two")
    project.stages("Shout, word: q")
    add(project, "{stage: 'summary:Own', id: summary}", "{stage: 'toy_stages:Long', id: long, minimum: 6, on: summary}")
    assert project.run("min_documents=0").documents["kept"] == 0
    longer = project.run("summary.word=long enough")
    assert longer.documents["kept"] == 2
    assert project.run("summary.word=long enough", store=project.root / "fresh").version == longer.version


def test_columns_stand_in_the_order_in_which_their_stages_do(project):
    (project.root / "summary.py").write_text(SUMMARY)
    project.write("a.txt", "one")
    one, two = (f"{{stage: 'summary:Own', id: {name}, name: {name}}}" for name in ("one", "two"))
    for order in ((one, two), (two, one)):
        project.stages("Shout, word: q")
        add(project, *order)
        version = project.run().version
        assert project.run(store=project.root / "fresh").version == version


BROKEN = """
import os
from curate.stages.contract import Effect, Mapper, Verdicts
class Own(Mapper):
    def open(self):
        def read(batch):
            if os.path.exists("ROOT/broken") and "bad" in batch.column("text")[0].as_py():
                raise OSError(24, "Too many open files")
            return Effect(Verdicts().table(), {})
        return read
"""


def test_a_document_that_a_failure_of_the_system_hit_is_tried_again_by_the_next_run(project):
    (project.root / "fragile.py").write_text(BROKEN.replace("ROOT", str(project.root)))
    project.write("a.txt", "bad", "good")
    project.stages("Shout, word: q")
    add(project, "fragile")
    (project.root / "broken").touch()
    first = project.run()
    row = next(row for row in project.open().manifest["stages"] if row["id"] == "fragile")
    assert (row["reasons"], project.open().manifest["provisional"]) == ({"quarantined": {"system_failed": 1}}, 1)
    (project.root / "broken").unlink()
    second = project.run()
    assert (first.documents["quarantined"], second.documents["quarantined"]) == (1, 0)
    assert project.run(store=project.root / "fresh").version == second.version
