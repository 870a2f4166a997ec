"""What `curate ablate` tells, through all of it but the training: the recipe is checked first, and what fails is told."""

from __future__ import annotations

import json
import random

import pytest

from curate.commands.ablate import ablate
from curate.dataset import refs
from curate.dataset.reader import open_dataset
from curate.dataset.store import Store
from curate.errors import CurateError, GateError
from curate.evaluation.ablation import arms as arms_module
from curate.evaluation.ablation.arms import arms_of
from curate.evaluation.ablation.infer import AA
from curate.evaluation.ablation.trained import Shelf, Trained
from tests.train.rows_project import columns_of, write_dataset


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("outcomes")
    write_dataset(folder, columns_of(60), ["validation" if number % 3 == 2 else "train" for number in range(60)])
    return folder


@pytest.fixture
def call(place, monkeypatch, capsys, tmp_path):
    """An ablation with a control; models are worth what `shifts` says of their arm, None: a seed diverged."""

    def run(shifts=None, *, what="rows", control=("shuffled",), overrides=(), stub=True, **options):
        known = {"rows": 0.0, AA: 0.0, "shuffled": 0.1, **(shifts or {})}

        def trained(self, name, settings, versions, sets, say):
            draw = random.Random(f"{name}{settings['seed']}").gauss(0, 0.003)
            value = None if known[name] is None and settings["seed"] % 3 == 0 else 2.5 + (known[name] or 0.0) + draw
            return Trained(name, settings["seed"], self.folder / "none", value and {one.name: value for one in sets})

        if stub:
            monkeypatch.setattr(Shelf, "trained", trained)
        monkeypatch.chdir(place)
        overrides = ["tokenizer.vocabulary=300", *overrides]
        ablate(
            [*what.split()], control=[*control], seeds=3, folder=tmp_path, overrides=overrides, as_json=True, **options
        )
        said = capsys.readouterr()
        return {**json.loads(said.out), "said": said.err}

    return run


def test_an_a_a_arm_that_differs_ends_with_3_and_is_told(call, capsys):
    with pytest.raises(GateError, match="the A/A arm fails: it differs from the first") as error:
        call({AA: 0.5})
    assert error.value.exit_code == 3 and error.value.result["calibrated"] is False
    assert error.value.result["warnings"][0] == error.value.problem
    assert "warning: the A/A arm fails" in capsys.readouterr().err


def test_an_a_a_arm_with_a_diverged_seed_ends_with_3(call):
    with pytest.raises(GateError, match="the A/A arm fails: a seed of it, or of the first, diverged"):
        call({AA: None})


def test_a_control_that_is_found_worse_raises_no_doubt(call):
    found = call()
    assert (found["calibrated"], found["doubts"]) == (True, [])


@pytest.mark.parametrize(
    ("shift", "words"),
    [
        (-0.1, "was found better, though its texts are spoiled"),
        (0.0055, "was not found worse"),
        (None, "was not found worse"),
    ],
)
def test_a_control_that_is_not_found_worse_is_warned_of(call, shift, words):
    found = call({"shuffled": shift})
    (doubt,) = found["doubts"]
    assert doubt.startswith("the control `shuffled`") and words in doubt
    assert found["warnings"][0] == doubt and f"warning: {doubt}" in found["said"]


@pytest.mark.parametrize(
    ("override", "problem", "where"),
    [
        ("model.width=64", "width 64 must be a multiple of twice the 3 heads", "--set"),
        ("optimizer.rate=1", "the recipe has no setting `optimizer.rate`", "--set #2"),
        ("tokens=many", "`tokens` is a number above 0, not 'many'", "--set #2"),
        ("batch.sequences=none", "batch.sequences", "--set #2"),
    ],
)
def test_a_recipe_that_does_not_fit_is_refused_before_any_work(call, tmp_path, monkeypatch, override, problem, where):
    monkeypatch.setattr(arms_module, "pipeline_arms", lambda *_, **__: pytest.fail("a pipeline was run"))
    with pytest.raises(CurateError) as error:
        call(what="pipeline.yaml", without=["split"], control=(), overrides=[override], stub=False)
    assert problem in str(error.value) and where in str(error.value)
    assert not list(tmp_path.iterdir())


def test_a_plan_under_which_nothing_was_trained_may_be_replaced(call, tmp_path, monkeypatch):
    def broken(*_):
        raise CurateError("it stopped before the first step")

    monkeypatch.setattr(Shelf, "trained", broken)
    with pytest.raises(CurateError, match="it stopped before the first step"):
        call(stub=False, name="planned", predict="worse")
    assert call(name="planned", predict="better")["predicted"] == "better"
    assert json.loads((tmp_path / "planned" / "plan.json").read_text())["predicted"] == "better"
    with pytest.raises(CurateError, match="was begun with another plan: predicted"):
        call(name="planned", predict="worse")


def test_a_plan_under_which_a_step_was_trained_is_not_replaced(call, tmp_path, monkeypatch):
    def broken(*_):
        raise CurateError("it stopped")

    monkeypatch.setattr(Shelf, "trained", broken)
    with pytest.raises(CurateError, match="it stopped"):
        call(stub=False, name="planned", predict="worse")
    run = tmp_path / "runs" / json.loads((tmp_path / "planned" / "plan.json").read_text())["runs"][0]
    run.mkdir(parents=True)
    (run / "metrics.jsonl").write_text('{"step": 1}\n')
    with pytest.raises(CurateError, match="was begun with another plan: predicted"):
        call(name="planned", predict="better")


def test_one_version_named_twice_is_refused(place):
    with pytest.raises(CurateError, match="`rows` and `rows` are the same version"):
        arms_of(["rows"] * 2, Store.open(str(place / ".curate")), controls=[], again=True)


def test_a_version_that_is_named_as_a_control_is_refused(place):
    first = open_dataset("rows", str(place / ".curate"))
    refs.commit(first.store, "shuffled", first.version)
    with pytest.raises(CurateError, match="a version and another arm are both named `shuffled`"):
        arms_of(["shuffled"], first.store, controls=["shuffled"], again=True)
