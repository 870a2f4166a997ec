"""How long arms are trained: equal tokens or equal documents, and the first arm on half and twice as much, too."""

from __future__ import annotations

import json

import pytest

from curate.commands.ablate import ablate as command
from curate.dataset.store import Store
from curate.evaluation.ablation.arms import arms_of
from curate.evaluation.ablation.run import Asked, ablate
from curate.evaluation.ablation.trained import Shelf, Trained
from tests.train.rows_project import columns_of, write_dataset

pytestmark = pytest.mark.slow
RECIPE = ["tokens=20000", "tokenizer.vocabulary=300", "batch={sequences: 4, length: 32}"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two versions of as many documents; those of the second are twice as long."""
    folder = tmp_path_factory.mktemp("lengths")
    parts = ["validation" if number % 3 == 2 else "train" for number in range(90)]
    for times in (1, 2):
        columns = columns_of(90)
        columns["text"] = [f"{text} " * times for text in columns["text"]]
        write_dataset(folder, columns, list(parts))
    return folder


@pytest.fixture
def steps(monkeypatch):
    """Steps by arm and seed of an ablation whose training is left out; more steps are better."""
    found = {}

    def trained(self, name, settings, versions, sets, say):
        found[name, settings["seed"]] = settings["steps"]
        assert settings["schedule"]["kind"] == "cosine" and settings["schedule"]["warmup"] <= settings["steps"]
        value = 2.5 * settings["steps"] ** -0.1 + 0.001 * settings["seed"]
        return Trained(name, settings["seed"], self.folder / "none", {one.name: value for one in sets})

    monkeypatch.setattr(Shelf, "trained", trained)
    return found


def done(place, folder, **options):
    store = Store.open(str(place / ".curate"))
    arms = arms_of(["rows@v1", "rows@v2"], store, controls=[], again=False)
    return ablate(Asked(arms, store, folder, "long", seeds=2, overrides=RECIPE, **options), lambda words: None)


def test_equal_tokens_are_equal_steps(place, steps, tmp_path):
    done(place, tmp_path)
    assert set(steps.values()) == {round(20000 / 128)}


def test_equal_documents_are_more_steps_for_longer_ones(place, steps, tmp_path):
    found = done(place, tmp_path, match="documents")
    assert steps["rows@v1", 1] == round(20000 / 128)
    assert steps["rows@v2", 1] / steps["rows@v1", 1] == pytest.approx(2, rel=0.1)
    assert [arm["tokens"] for arm in found["arms"]] == [128 * steps["rows@v1", 1], 128 * steps["rows@v2", 1]]
    assert any("as many documents" in words for words in found["warnings"])


def test_equivalents_train_the_first_arm_on_half_and_twice_as_much_with_the_same_seeds(place, steps, tmp_path):
    found = done(place, tmp_path, equivalents=True)
    whole = steps["rows@v1", 1]
    assert [steps["rows@v1 x0.5", seed] for seed in (1, 2)] == [round(whole / 2)] * 2
    assert [steps["rows@v1 x2", seed] for seed in (1, 2)] == [2 * whole] * 2
    assert found["equivalents"]["arms"]["rows@v2"]["times"] == pytest.approx(1, abs=0.01)
    assert len(found["runs"]) == 8 and json.loads((tmp_path / "long" / "plan.json").read_text())["budgets"] == [
        0.5,
        2.0,
    ]


def test_people_are_told_what_an_arm_is_worth_and_what_was_matched(place, steps, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(place)
    options = {"seeds": 2, "overrides": RECIPE, "no_aa": True, "folder": tmp_path}
    command(["rows@v1", "rows@v2"], match="documents", equivalents=True, **options)
    said = " ".join(capsys.readouterr().out.split())
    assert "rows@v2 is worth 1.89 times the compute of rows@v1" in said
    assert "as many documents of the others" in said
    page = (tmp_path / "rows-v1-vs-rows-v2" / "report.html").read_text()
    assert "a power law through the three budgets" in page and "times the compute of" in page
