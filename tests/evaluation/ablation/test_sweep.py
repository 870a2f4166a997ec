"""Sweeps: what is picked is tested on documents and seeds that it was not picked by, and chance wins no more than said."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from curate.commands.sweep import sweep as command
from curate.dataset.reader import open_dataset
from curate.dataset.runs import records
from curate.dataset.store import Store
from curate.errors import CurateError, ResumableError
from curate.evaluation.ablation.arms import Arm
from curate.evaluation.ablation.heldout import held_out_sets
from curate.evaluation.ablation.points import BASE
from curate.evaluation.ablation.sweep import Asked, halves, sweep
from curate.evaluation.ablation.trained import Shelf, Trained
from tests.train.rows_project import TRAIN, columns_of, write_dataset

RATES = "optimizer.learning_rate=1e-3,2e-2"
SPREAD = 0.0035


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweeps")
    parts = ["validation" if number % 3 == 2 else "train" for number in range(120)]
    write_dataset(folder, columns_of(120), parts)
    (folder / "train.yaml").write_text(TRAIN)
    return folder


@pytest.fixture
def inside(place, monkeypatch):
    monkeypatch.chdir(place)
    return place


def asked(place, folder, **changed):
    given = {"over": [RATES], "seeds": 3, "fresh": 3, "name": "tried", **changed}
    return Asked(place / "train.yaml", store=Store.open(str(place / ".curate")), folder=folder, **given)


@pytest.fixture
def stub(monkeypatch):
    """Training that draws its value: `stub(value)` takes what a point, a seed and the sets come to."""

    def use(value):
        def trained(self, name, settings, versions, sets, say):
            values = value(name, settings["seed"], [one.name for one in sets], [len(one.kept) for one in sets])
            return Trained(name, settings["seed"], self.folder / "none", values)

        monkeypatch.setattr(Shelf, "trained", trained)

    return use


# ---- what is inferred, through all of it but the training


@pytest.mark.slow
def test_of_40_sweeps_of_points_that_are_equal_at_most_4_find_the_picked_one_better(place, stub, tmp_path):
    found = []
    for number in range(40):
        stub(lambda name, seed, sets, _, number=number: {
            one: 2.5 + random.Random(f"{number}{name}{seed}").gauss(0, SPREAD) for one in sets
        })  # fmt: skip
        rates = "optimizer.learning_rate=" + ",".join(f"{rate}e-3" for rate in (1, 3, 4, 5, 6, 7, 8, 9))
        found.append(sweep(asked(place, tmp_path, over=[rates], name=str(number)), lambda words: None))
    assert sum(one["verdict"] in ("better", "worse") for one in found) <= 4
    tested = [[part["difference"] for part in one["flattery"]] for one in found if one["flattery"]]
    picked, _, reported = (sum(some) / len(tested) for some in zip(*tested, strict=True))
    assert picked < -SPREAD / 2, "the best of nine looks better than it is"
    assert abs(reported) < SPREAD / 2


def test_a_point_that_is_better_is_found_and_told_on_the_other_half(place, stub, tmp_path):
    def value(name, seed, sets, counts):
        random_part = random.Random(f"{name}{seed}").gauss(0, SPREAD)
        return {one: 2.5 + counts[0] / 1000 + random_part - 0.05 * (name.endswith("0.02")) for one in sets}

    stub(value)
    found = sweep(asked(place, tmp_path), lambda words: None)
    assert (found["winner"], found["verdict"]) == ("optimizer.learning_rate=0.02", "better")
    first = found["comparisons"][0]
    assert first["task"] == "macro" and first["low"] < -0.05 < first["high"] < 0
    assert {one["seed"] for one in found["runs"][-6:]} == {4, 5, 6}


def test_settings_that_none_beats_are_not_trained_again(place, stub, tmp_path):
    stub(lambda name, seed, sets, _: dict.fromkeys(sets, 2.0 if name == BASE else 2.5))
    found = sweep(asked(place, tmp_path), lambda words: None)
    assert (found["winner"], found["verdict"], found["comparisons"]) == (BASE, "not beaten", [])
    assert {one["seed"] for one in found["runs"]} == {1, 2, 3}


def test_a_point_with_a_diverged_training_is_told_and_not_picked(place, stub, tmp_path):
    def value(name, seed, sets, _):
        return None if name.endswith("0.02") and seed == 2 else dict.fromkeys(sets, 1.0 if "0.02" in name else 2.0)

    stub(value)
    found = sweep(asked(place, tmp_path), lambda words: None)
    assert found["winner"] == BASE
    assert "optimizer.learning_rate=0.02: 1 of 3 trainings diverged: it is not picked" in found["warnings"]
    (point,) = (one for one in found["points"] if one["diverged"])
    assert point["values"]["rows-validation"] == [1.0, None, 1.0]


def test_a_picked_point_that_diverges_with_other_seeds_is_unstable(place, stub, tmp_path):
    def value(name, seed, sets, _):
        return None if name.endswith("0.02") and seed > 3 else dict.fromkeys(sets, 2.0 - 0.1 * name.endswith("0.02"))

    stub(value)
    found = sweep(asked(place, tmp_path), lambda words: None)
    assert (found["winner"], found["verdict"]) == ("optimizer.learning_rate=0.02", "unstable")
    assert "optimizer.learning_rate=0.02: 3 of 3 trainings with other seeds diverged" in found["warnings"]


def test_where_all_diverge_nothing_is_picked(place, stub, tmp_path):
    stub(lambda *_: None)
    found = sweep(asked(place, tmp_path), lambda words: None)
    assert (found["winner"], found["verdict"]) == (None, "unstable")
    assert "no point could be picked: trainings of each diverged" in found["warnings"]


def test_a_document_is_picked_by_or_reported_on_and_never_both(place, stub, tmp_path):
    stub(lambda name, seed, sets, _: dict.fromkeys(sets, 2.0))
    (about,) = sweep(asked(place, tmp_path), lambda words: None)["heldout"]
    assert about["to_pick_by"] + about["to_report"] == about["left"]
    assert min(about["to_pick_by"], about["to_report"]) > about["left"] / 4


def test_equal_texts_lie_in_one_half(place, stub, tmp_path):
    stub(lambda name, seed, sets, _: dict.fromkeys(sets, 2.0))
    texts = [f"Text number {number // 3} has three copies, and the word {number // 3 * 7919}." for number in range(90)]
    (tmp_path / "copies.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    given = asked(place, tmp_path, heldout=[str(tmp_path / "copies.jsonl")])
    arms = [Arm("rows", open_dataset("rows", given.store))]
    sets = held_out_sets(given.heldout, arms, given.store, limit=1000, by=None, say=lambda words: None)
    first, second = ({text for text in some[0].kept.values()} for some in halves(sets))
    assert len(first) + len(second) == 30 and not first & second


def test_measuring_after_the_last_training_is_told(place, stub, tmp_path):
    stub(lambda name, seed, sets, _: dict.fromkeys(sets, 2.0 + 0.01 * seed - 0.1 * name.endswith("0.02")))
    told = []
    sweep(asked(place, tmp_path), told.append)
    lines = [words for words in told if words.startswith("these on the documents that were picked by: ")]
    assert len(lines) == 6 and lines[-1].endswith("6 of 6: optimizer.learning_rate=0.02, seed 6")


def test_another_plan_under_the_same_name_is_refused(place, stub, tmp_path):
    stub(lambda name, seed, sets, _: dict.fromkeys(sets, 2.0))
    sweep(asked(place, tmp_path), lambda words: None)
    with pytest.raises(CurateError, match="the sweep `tried` was begun with another plan: seeds, fresh"):
        sweep(asked(place, tmp_path, seeds=2), lambda words: None)


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), ResumableError("an endpoint does not answer")], ids=["key", "exit-4"]
)
def test_an_interrupted_sweep_is_on_record_as_such_and_goes_on_to_the_same(place, stub, tmp_path, error):
    name = f"ended-by-{type(error).__name__}"

    def value(run, seed, sets, _):
        return dict.fromkeys(sets, 2.0 + 0.01 * seed - 0.1 * run.endswith("0.02"))

    def interrupted(run, seed, sets, counts):
        if seed == 5:
            raise error
        return value(run, seed, sets, counts)

    stub(interrupted)
    with pytest.raises(type(error)):
        sweep(asked(place, tmp_path, name=name), lambda words: None)
    states = [one["state"] for one in records(Store.open(str(place / ".curate")), "sweep") if one["name"] == name]
    assert states == ["interrupted"] and not (tmp_path / name / "result.json").exists()
    stub(value)
    assert sweep(asked(place, tmp_path, name=name), lambda words: None)["verdict"] == "better"
    assert (tmp_path / name / "result.json").exists()


def test_that_documents_were_reported_on_before_is_told(place, stub, tmp_path):
    stub(lambda name, seed, sets, _: dict.fromkeys(sets, 2.0))
    told = []
    for name in ("first", "second"):
        sweep(asked(place, tmp_path, name=name, limit=30), told.append)
    (words,) = [words for words in told if "reported on" in words]
    assert words == "the same documents were reported on by 1 sweep before: what was chosen by that is not tested by it"


def test_the_column_of_the_file_is_what_is_measured_on(tmp_path, monkeypatch):
    prompts = [f"What is {number} and {number * 7919} together, or nearly so?" for number in range(120)]
    write_dataset(tmp_path, columns_of(120, prompt=prompts))
    (tmp_path / "train.yaml").write_text(TRAIN)
    seen = []

    def trained(self, name, settings, versions, sets, say):
        seen.extend((settings["data"]["text"], one.task.text) for one in sets)
        return Trained(name, settings["seed"], self.folder / "none", {one.name: 2.0 for one in sets})

    monkeypatch.setattr(Shelf, "trained", trained)
    sweep(asked(tmp_path, tmp_path, overrides=["data.text=prompt"]), lambda words: None)
    assert set(seen) == {("prompt", "prompt")}


def test_points_of_other_lengths_are_told(place, stub, tmp_path):
    stub(lambda name, seed, sets, _: dict.fromkeys(sets, 2.0))
    found = sweep(asked(place, tmp_path, over=["steps=8"]), lambda words: None)
    assert any("not trained on equally many tokens" in words for words in found["warnings"])


def test_an_objective_without_bits_per_byte_is_refused(place, tmp_path):
    encoder = ["model={kind: encoder, layers: 1, width: 16, heads: 2}", "objective={kind: masked}"]
    with pytest.raises(CurateError, match="which the objective `masked` does not have"):
        sweep(asked(place, tmp_path, overrides=encoder), lambda words: None)


def test_a_set_that_cannot_be_divided_is_refused(place, tmp_path):
    (tmp_path / "one.jsonl").write_text(json.dumps({"text": "A text that stands in no other place than here."}) + "\n")
    with pytest.raises(CurateError, match="the held-out set `one` has too few documents to be divided: 1"):
        sweep(asked(place, tmp_path, heldout=[str(tmp_path / "one.jsonl")]), lambda words: None)


def test_halves_of_no_sets_are_none():
    assert halves([]) == ([], [])


# ---- through the command, with real training


def test_a_file_that_is_not_there_is_told_before_a_store_is_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CurateError, match=r"there is no file `train\.yaml`"):
        command(Path("train.yaml"), [RATES])


ARGUMENTS = ["train.yaml", "--over", RATES, "--seeds", "2", "--fresh", "2", "--set", "steps=8", "--json"]


@pytest.fixture(scope="module")
def done(place):
    run = subprocess.run(
        [sys.executable, "-m", "curate", "sweep", *ARGUMENTS], cwd=place, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.mark.slow
def test_the_result_has_what_scripts_rely_on(done):
    assert done["schema"] == 1
    assert {"points", "winner", "verdict", "comparisons", "flattery", "runs", "warnings"} <= set(done)
    assert done["winner"] == "optimizer.learning_rate=0.02" and done["seeds"] == [1, 2] and done["fresh"] == [3, 4]
    assert all(one["value"] and one["low"] < one["value"] < one["high"] for one in done["points"])
    assert all(one["tokens"] == 8 * 4 * 32 and one["curve"] for one in done["points"])


@pytest.mark.slow
def test_it_is_on_record_with_its_versions(done, place):
    store = Store.open(str(place / ".curate"))
    one = next(one for one in records(store, "sweep") if one["name"] == done["name"])
    assert one["state"] == "done"
    assert {thing["id"] for thing in one["inputs"]} == set(done["versions"].values())
    assert one["facts"]["verdicts"] == [[done["winner"], "macro", done["verdict"]]]


@pytest.mark.slow
def test_what_was_trained_before_is_not_trained_again_by_a_wider_sweep(done, inside, capsys):
    before = {path: path.stat().st_mtime_ns for path in inside.glob("sweeps/runs/*/result.json")}
    wider = f"{RATES},1e-2"
    command(inside / "train.yaml", [wider], seeds=2, fresh=2, overrides=["steps=8"], name="wider", as_json=True)
    again = json.loads(capsys.readouterr().out)
    known = {one["name"]: one["values"] for one in again["points"]}
    assert all(known[one["name"]] == one["values"] for one in done["points"])
    assert all(path.stat().st_mtime_ns == when for path, when in before.items())


@pytest.mark.slow
def test_people_see_the_picked_settings_what_picking_added_and_how_to_train_them(done, inside, capsys):
    command(inside / "train.yaml", [RATES], seeds=2, fresh=2, overrides=["steps=8"])
    said = capsys.readouterr().out
    assert "Picked of 3 points: optimizer.learning_rate=0.02." in " ".join(said.split())
    assert "not picked by, seeds 3 to 4" in said
    if done["verdict"] == "better":
        assert "--set=steps=8 --set=optimizer.learning_rate=0.02" in said


@pytest.mark.slow
def test_a_mixture_is_swept_and_its_proportions_are_told(place, tmp_path):
    from curate.dataset import refs
    from curate.dataset.reader import open_dataset

    first = open_dataset("rows", str(place / ".curate"))
    refs.commit(first.store, "other", first.version)
    mixture = ["mixture={rows: 0.5, other: 0.5}"]
    neutral = [str(_neutral(tmp_path))]
    given = asked(place, tmp_path, over=["mixture.other=0.25"], overrides=mixture, seeds=1, fresh=2, heldout=neutral)
    found = sweep(given, lambda words: None)
    assert [one["shares"] for one in found["points"]] == [
        {"rows": 0.5, "other": 0.5}, {"rows": pytest.approx(2 / 3), "other": pytest.approx(1 / 3)},
    ]  # fmt: skip
    assert found["endpoint"]["mean_over"] == ["neutral"]


def _neutral(folder):
    path = folder / "neutral.jsonl"
    texts = [
        f"Text number {number} of a set with words that nothing else has, such as {number * 7919}."
        for number in range(30)
    ]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path
