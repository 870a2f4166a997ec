"""Models of tables: the example as a first lesson has it, a column beside a text, numbers, and what is refused."""

import json
import random
import re
import shlex
import shutil
import textwrap

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn.linear_model import LogisticRegression
from typer.testing import CliRunner

from curate import CurateError, open_dataset, run
from curate.cli import app
from curate.evaluation.predict import open_predictor, predicted
from curate.train.export.export import export_run
from curate.train.run import train_run
from curate.train.settings.config import TrainConfig
from tests.golden import REPOSITORY

pytestmark = pytest.mark.slow
EXAMPLE = REPOSITORY / "examples" / "table"


@pytest.fixture(scope="module")
def lesson(tmp_path_factory):
    """The example with the commands of the guide run in it, each with what it printed."""
    folder = tmp_path_factory.mktemp("lesson") / "table"
    shutil.copytree(EXAMPLE, folder)
    guide = (REPOSITORY / "docs" / "guide.md").read_text()
    section = guide.partition("## A CSV with a label column")[2].partition("\n## ")[0]
    said = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for line in re.findall(r"^    \$ curate (.*)$", section, re.M):
            words = shlex.split(line, comments=True)
            done = CliRunner().invoke(app, words)
            assert done.exit_code == 0, (line, done.output)
            said[" ".join(words[:2])] = done.stdout
        (code,) = re.findall(r"(?:^    from curate .*\n(?:(?:    .*)?\n)*)", section, re.M)
        exec(textwrap.dedent(code), names := {})
        said["python"] = names
    return folder, said


def test_the_file_of_the_example_is_what_its_script_writes(tmp_path):
    import importlib.util

    spec = importlib.util.spec_from_file_location("make_customers", EXAMPLE / "make_customers.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.write(tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == (EXAMPLE / "in" / "customers.csv").read_bytes()


def test_the_commands_of_the_guide_run_and_tell_what_was_learned(lesson):
    _, said = lesson
    assert "tells of the label (nats)" in said["data show"]
    assert said["predict leaving"].count('"label"') == 3
    assert said["python"]["accuracy"] > 0.75


def test_the_model_of_the_lesson_is_about_as_good_as_logistic_regression(lesson):
    folder, _ = lesson
    dataset = open_dataset("customers", folder / ".curate")
    linear = LogisticRegression(max_iter=2000).fit(*dataset.arrays("left", "train"))
    result = json.loads((folder / "runs" / "leaving" / "result.json").read_text())
    assert result["test"]["accuracy"] > linear.score(*dataset.arrays("left", "test")) - 0.05
    assert result["test"]["accuracy"] > 0.75


def test_new_rows_are_predicted_as_those_of_the_version(lesson):
    folder, _ = lesson
    dataset = open_dataset("customers", folder / ".curate")
    rows = dataset.arrow("test").to_pylist()[:20]
    model = open_predictor(str(folder / "runs" / "leaving"))
    lines = (folder / "in" / "customers.csv").read_bytes()
    names = lines.split(b"\n", 1)[0].decode().split(",")
    raw = []
    for row in rows:
        cells = lines[int(row["source_uri"].partition("#")[2]) :].split(b"\n", 1)[0].decode()
        if '"' not in cells:
            raw.append({"id": row["id"], **dict(zip(names, (one or None for one in cells.split(",")), strict=True))})
    whole = {one["id"]: one for one in predicted(model, rows)}
    for one in predicted(model, raw):
        assert one["label"] == whole[one["id"]]["label"]
        assert one["probability"] == pytest.approx(whole[one["id"]]["probability"], abs=1e-5)


def test_rows_without_any_of_the_columns_are_refused_by_name(lesson):
    folder, _ = lesson
    model = open_predictor(str(folder / "runs" / "leaving"))
    with pytest.raises(CurateError, match="the rows have no `features`, nor columns that it is made of"):
        list(predicted(model, [{"id": "a", "other": 1}]))
    with pytest.raises(CurateError, match="`features` has 2 numbers, and the model reads"):
        list(predicted(model, [{"id": "a", "features": [1.0, 2.0]}]))


def test_a_label_that_is_among_its_features_is_refused(lesson):
    folder, _ = lesson
    with pytest.raises(CurateError, match="the label `plan` is among the columns that `features` are made of"):
        train_run(folder / "train.yaml", overrides=["run=leak", "data.label=plan"])


def test_a_model_that_reads_a_table_is_not_exported(lesson, tmp_path):
    with pytest.raises(CurateError, match="a model that reads the numbers of a table has no Hugging Face class"):
        export_run(lesson[0] / "runs" / "leaving", tmp_path / "hf")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"model": {"kind": "mlp"}, "objective": {"kind": "classification"}}, "name their column, `data.features`"),
        ({"data": {"features": "f"}}, "`data.features` is read by the objective `classification` alone"),
        ({"model": {"kind": "mlp", "preset": "1m"}}, "a model of the kind mlp has no `preset`"),
        (
            {"model": {"kind": "mlp"}, "objective": {"kind": "classification"}, "data": {"features": "f"}, "lora": {}},
            "a model of the kind mlp reads no text",
        ),
    ],
)
def test_what_does_not_go_with_a_table_is_refused(settings, told):
    with pytest.raises(ValidationError, match=re.escape(told)):
        TrainConfig.model_validate({"dataset": "d", "run": "r", **settings})


def test_a_list_of_another_length_or_without_a_number_is_refused_by_its_document(tmp_path):
    (tmp_path / "in.jsonl").write_text("".join(
        json.dumps({"id": f"d{number}", "f": [1.0, 2.0] if number else [1.0], "y": "ab"[number % 2]}) + "\n"
        for number in (1, 2, 0)
    ))  # fmt: skip
    (tmp_path / "p.yaml").write_text(
        "dataset: d\nsources: [{stage: files, paths: [in.jsonl], text: null}]\nstages: []\n"
    )
    run(tmp_path / "p.yaml", workers=1)
    (tmp_path / "t.yaml").write_text(
        "dataset: d\nrun: r\nobjective: {kind: classification}\ndata: {features: f, label: y}\nmodel: {kind: mlp}\n"
    )
    with pytest.raises(CurateError, match="`f` has 1 numbers") as caught:
        train_run(tmp_path / "t.yaml", overrides=[])
    assert "d0" in str(caught.value.where)


# ---- beside a text, and numbers


def _notes(count):
    """A note whose word tells half of the answer, and a number that tells the other."""
    draw = random.Random(3)
    for number in range(count):
        kind, size = draw.choice(["fine", "late"]), draw.gauss(0, 1)
        label = (kind == "late") ^ (size > 0)
        yield {"id": f"n{number}", "text": f"the parcel was {kind}", "size": 5 * size + 100, "y": "yes" if label else "no",
               "price": 2000 + 300 * size + 50 * (kind == "late")}  # fmt: skip


@pytest.fixture(scope="module")
def notes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("notes")
    (folder / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in _notes(500)))
    (folder / "p.yaml").write_text("""
dataset: notes
sources: [{stage: files, paths: [in.jsonl]}]
stages:
  - {stage: split, train: 0.7, validation: 0.1, test: 0.2}
  - {stage: table_features, only: [size], label: y}
""")
    (folder / "t.yaml").write_text("""
dataset: notes
run: words
steps: 150
objective: {kind: classification}
data: {label: y}
model: {kind: cnn, width: 16, feed_forward: 16}
batch: {sequences: 32, length: 16}
tokenizer: {vocabulary: 300}
optimizer: {learning_rate: 0.01}
checkpoint_every: 150
validation: {every: 150, test: true}
""")
    run(folder / "p.yaml", workers=1)
    return folder


def trained(folder, name, *settings):
    return train_run(folder / "t.yaml", overrides=[f"run={name}", *settings])


def test_a_text_and_a_column_tell_together_what_neither_tells_alone(notes):
    words = trained(notes, "words")["test"]["accuracy"]
    both = trained(notes, "both", "data.features=features")
    assert words < 0.7 and both["test"]["accuracy"] > 0.9
    rows = open_dataset("notes", notes / ".curate").arrow("test").to_pylist()
    said = list(predicted(open_predictor(str(notes / "runs" / "both")), rows))
    right = np.mean([one["label"] == row["y"] for one, row in zip(said, rows, strict=True)])
    assert right == pytest.approx(both["test"]["accuracy"])


def test_prices_are_predicted_as_they_are(notes):
    done = trained(
        notes,
        "price",
        "model.kind=mlp",
        "model.layers=1",
        "data.features=features",
        "data.label=price",
        "objective.regression=true",
    )
    assert done["test"]["pearson"] > 0.99 and done["test"]["loss"] < 0.05  # in deviations of the train split
    rows = open_dataset("notes", notes / ".curate").arrow("test").to_pylist()
    said = [one["number"] for one in predicted(open_predictor(str(notes / "runs" / "price")), rows)]
    assert np.mean(np.abs(np.subtract(said, [row["price"] for row in rows]))) < 60


def test_the_same_run_gives_the_same_weights(notes):
    some = ("model.kind=mlp", "data.features=features", "steps=5", "checkpoint_every=5", "validation.every=5")
    assert trained(notes, "one", *some)["weights"] == trained(notes, "two", *some)["weights"]
