"""New rows, and rows of other versions, for a model of a table: what is not what it learned from is refused."""

import json

import pytest

from curate import CurateError, open_dataset, run
from curate.evaluation.models.headed import HeadedModel
from curate.evaluation.predict import predicted
from curate.evaluation.tasks.data import read_rows
from curate.evaluation.tasks.labels import predictions
from curate.evaluation.tasks.settings import LabelTask
from curate.table.recipe import made_elsewhere, needed, recipe_of
from curate.train.models.perceptron import beside_text
from curate.train.settings.blocks import DataSettings

ROWS = [
    {
        "age": None if n == 4 else n,
        "city": ["\uff2c\uff59\uff4f\uff4e", "Lille"][n % 2],
        "y": "ab"[n // 2 % 2],
        "part": "test" if n > 9 else "train",
    }
    for n in range(12)
]
STAGES = """
  - {stage: split, column: part}
  - {stage: table_types, label: y, leave: [part]}
  - {stage: table_missing, label: y, leave: [part]}
  - {stage: table_features, label: y, leave: [part]}
"""


def made(folder, rows=ROWS, stages=STAGES, dataset="people"):
    (folder / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "p.yaml").write_text(
        f"dataset: {dataset}\nsources: [{{stage: files, paths: [in.jsonl], text: null}}]\nstages:{stages}"
    )
    run(folder / "p.yaml", workers=1)
    return open_dataset(dataset, folder / ".curate")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return recipe_of(made(tmp_path_factory.mktemp("people")))


@pytest.fixture
def model(recipe):
    columns = DataSettings(features="features", label="y")
    return HeadedModel(
        "m", "w", "classification", beside_text(4), {}, None, 8, ("a", "b"), columns=columns, recipe=recipe
    )  # type: ignore[arg-type]


def test_a_row_that_lacks_a_column_is_refused_with_the_name_that_is_near(model):
    with pytest.raises(CurateError, match="row r has no column `age`, which the model reads") as caught:
        next(predicted(model, [{"id": "r", "Age": 3, "city": "Lille"}]))
    assert caught.value.hint == "did you mean `Age`?"


def test_an_empty_cell_is_no_column_that_is_not_there(model, recipe):
    assert needed(recipe) == ["age", "city"]
    model.check_row({"id": "r", "age": None, "city": None})


def test_numbers_of_a_version_that_learned_something_else_are_refused(model, recipe, tmp_path):
    model.check_recipe(json.loads(json.dumps(recipe)), "people")
    other = recipe_of(made(tmp_path, [{**row, "city": f"{row['city']} 2"} for row in ROWS]))
    with pytest.raises(
        CurateError, match="`features` of other are other numbers than those that the model learned from"
    ):
        model.check_recipe(other, "other")
    task = LabelTask(name="labels", data="people")
    rows = read_rows(task, str(tmp_path / ".curate"))
    with pytest.raises(CurateError, match="`features` of people@v1 are other numbers"):
        predictions(task, rows, model)


def test_columns_that_other_stages_make_or_edit_are_told(tmp_path):
    stages = "\n  - {stage: unicode, on: [city], normal_form: NFKC}" + STAGES
    dataset = made(tmp_path, stages=stages)
    assert made_elsewhere(dataset, recipe_of(dataset)) == {"city": "unicode"}


def test_arrays_with_the_label_among_the_features_are_refused(tmp_path):
    dataset = made(tmp_path, stages=STAGES.replace("{stage: table_features, label: y,", "{stage: table_features,"))
    with pytest.raises(CurateError, match="the label `y` is among the columns that `features` are made of") as caught:
        dataset.arrays("y")
    assert caught.value.hint == "`{stage: table_features, label: y}` leaves it out"


def test_labels_that_a_stage_has_filled_are_refused(tmp_path):
    rows = [{**row, "y": None if number == 3 else row["y"]} for number, row in enumerate(ROWS)]
    stages = STAGES.replace("{stage: table_missing, label: y,", "{stage: table_missing,")
    dataset = made(tmp_path, rows, stages)
    with pytest.raises(CurateError, match="`table_missing` has changed cells of the label `y`"):
        dataset.arrays("y")
