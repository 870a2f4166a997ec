"""What stages of a table learned from rows that are erased, in a version and in the runs that learned from it."""

import json

import pytest

from curate.dataset.runs import Thing, now, record
from curate.erasure.proof import lines
from curate.table.recipe import RECIPE, recipe_of
from tests.erasure.conftest import canaries
from tests.erasure.test_erase import erase, sound, subject

STAGES = """
  - {stage: split, column: part}
  - {stage: table_types, label: y, leave: [part]}
  - {stage: table_duplicates, label: y, leave: [part]}
  - {stage: table_missing, label: y, leave: [part]}
  - {stage: table_features, label: y, leave: [part]}
"""
WORDS = ("Zorgblatt", "Quux")


def table(project, rows=()):
    """A run over a table in which one row alone has a category and a label."""
    others = [f"{n},City {n % 3},{'ab'[n % 2]},{'test' if n > 20 else 'train'}" for n in range(24)]
    project.write(
        "rows.csv", "x,city,y,part", *others, "7,Zorgblatt  Hill,Quux,train", "7,zorgblatt hill,b,train", *rows
    )
    project.pipeline(f"dataset: toy\nsources:\n  - {{stage: files, paths: [rows.csv], text: null}}\nstages:{STAGES}")
    project.run()
    dataset = project.open()
    folder = project.root / "runs" / "one"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECIPE).write_text(json.dumps({"schema": 1, "stages": recipe_of(dataset), "centre": 0.0, "scale": 1.0}))
    version = Thing(kind="version", id=dataset.version, name="toy")
    record(project.store, "training", "one", name="one", state="done", began=now(), inputs=[version], outputs=[],
           facts={"folder": str(folder), "run": "one"})  # fmt: skip
    return [row["id"] for row in dataset.arrow().to_pylist() if "orgblatt" in row["city"]], folder / RECIPE


@pytest.fixture
def erased(project):
    """The ids of the two rows, what the run keeps, how long the rows of the version were, and the proof."""
    ids, kept = table(project)
    width = len(project.open().arrow().column("features")[0])
    subject(project, f"documents: {json.dumps(ids)}")
    return project, kept, width, erase(project)


def test_a_cell_that_only_erased_rows_had_is_gone_from_what_stages_learned_and_from_runs(erased):
    project, kept, _, told = erased
    assert canaries(project.store, WORDS) == []
    assert not any(word.casefold() in kept.read_text().casefold() for word in WORDS)
    assert [(one["place"], one["done"]) for one in told["tables"]] == [(str(kept), "written anew")]
    assert sound(project)


def test_what_is_left_in_its_place_keeps_the_numbers_of_all_rows(erased):
    project, kept, width, _ = erased
    (features,) = [one for one in json.loads(kept.read_text())["stages"] if one["stage"] == "table_features"]
    assert features == recipe_of(project.open())[-1]
    assert features["fitted"]["columns"]["city"]["categories"] == ["City 0", "City 1", "City 2", "<ERASED>"]
    assert len(project.open().arrow().column("features")[0]) == width


def test_the_proof_names_stages_whose_numbers_were_counted_with_erased_rows(erased):
    told = erased[-1]
    assert [one["stages"] for one in told["learned"]] == [["table_types", "table_missing", "table_features"]]
    assert "means, bounds and counts were learned with these rows" in "\n".join(lines(told))


def test_a_cell_that_a_row_has_that_stays_is_still_known(project):
    ids, kept = table(project)
    subject(project, f"documents: [{ids[0]}]")
    erase(project)
    (features,) = [one for one in recipe_of(project.open()) if one["stage"] == "table_features"]
    assert "zorgblatt hill" in [one.casefold() for one in features["fitted"]["columns"]["city"]["categories"]]
    assert canaries(project.store, ["Quux"]) == [] and "Quux" not in kept.read_text()


def test_a_run_that_names_a_person_is_written_anew_and_one_that_still_does_is_told(project):
    _, kept = table(project)
    before = kept.read_text()
    subject(project, "names: [Zorgblatt Hill]")
    erase(project)
    assert "orgblatt" not in kept.read_text()
    kept.write_text(before)
    assert erase(project)["left"] == [str(kept)]
