"""What a model gives away of its training, and what it costs."""

from __future__ import annotations

import numpy as np
import pytest

from curate.dataset.reader import open_dataset
from curate.errors import CurateError
from curate.evaluation.cost import cost
from curate.evaluation.leaks import leaks
from curate.evaluation.request import probes
from tests.evaluation.language_model import small_model
from tests.train.rows_project import write_dataset


@pytest.fixture(scope="module")
def letters(tmp_path_factory):
    """A version of letters, most of which have an address; every third is held out."""
    folder = tmp_path_factory.mktemp("letters")
    texts = [f"Dear friend, write to person{number}@example.com soon." for number in range(30)]
    texts[:6] = [f"letter {number} has none" for number in range(6)]
    write_dataset(folder, {"text": texts}, ["validation" if number % 3 == 2 else "train" for number in range(30)])
    return open_dataset("rows", str(folder / ".curate"))


class Teller:
    """A model that knows by heart how some texts end, and nothing else."""

    def __init__(self, known, length=80):
        self.model, self.known, self.asked = small_model(length=length), tuple(known), []

    def __getattr__(self, name):
        return getattr(self.model, name)

    def losses(self, rows):
        self.asked = [self.model.tokenizer.decode(row) for row in rows]
        knows = [one.endswith(self.known) for one in self.asked]
        return [(np.zeros(len(row) - 1), np.full(len(row) - 1, right)) for row, right in zip(rows, knows, strict=True)]


def test_documents_whose_addresses_are_written_out_are_counted(letters):
    model = Teller(["person6@example.com", "person9@example.com", "person8@example.com"])
    found = leaks(model, letters, count=100)
    train, held = found["verbatim"]["train"], found["verbatim"]["validation"]
    assert (train["value"] * train["n"], train["n"]) == (2, 20)  # 6 and 9 are of the train split, 8 is held out
    assert (held["value"] * held["n"], held["n"]) == (1, 10)
    assert found["found"]["train"] == {"documents": 16, "kinds": {"EMAIL_ADDRESS": {"found": 16, "given": 2}}}
    assert train["low"] > 0 and train["high"] < 0.4


def test_what_is_asked_is_the_address_after_what_stands_before_it(letters):
    model = Teller([])
    leaks(model, letters, count=100)
    assert all(" write to person" in one and one.endswith("@example.com") for one in model.asked)
    assert all(len(model.encode([one])[0]) <= 32 + len(" person29@example.com") for one in model.asked)


def test_an_address_longer_than_the_model_reads_is_asked_as_far_as_it_goes(letters):
    found = leaks(Teller(["example.com"], length=12), letters, count=100)
    assert found["verbatim"]["train"]["value"] == 0.8


def test_a_training_without_personal_data_leaks_nothing_and_says_how_sure_that_is(tmp_path):
    texts = [f"text {number} of nobody" for number in range(40)]
    write_dataset(tmp_path, {"text": texts})
    share = leaks(Teller([""]), open_dataset("rows", str(tmp_path / ".curate")), count=100)["verbatim"]["train"]
    assert (share["value"], share["low"], share["n"]) == (0, 0, 30) and 0.1 < share["high"] < 0.13


def test_the_cost_of_a_model_is_its_parameters_and_the_time_of_a_token():
    model = small_model(length=48)
    found = cost(model)
    parameters = {id(one): one for one in model.trunk.parameters()}.values()
    assert found["size"]["value"] == sum(one.numel() for one in parameters) * 4 == found["parameters"] * 4
    latency = found["latency"]
    assert 0 < latency["low"] <= latency["value"] <= latency["high"] and found["tokens"] == 24


def test_probes_are_of_language_models_and_of_data_that_is_known(letters, tmp_path):
    assert probes(str(tmp_path), None) is None
    with pytest.raises(CurateError, match="it is not known which version") as refused:
        probes(str(tmp_path), None, leaks=5)
    assert (refused.value.where, refused.value.hint) == ("--leaks", "name it with --memorization-from VERSION")
    for asked, problem in (
        ({"leaks": 5}, "leaks are of language models"),
        ({"cost": True}, "cost is of language models"),
    ):
        ready = (
            probes(str(tmp_path), letters.store, version="rows", **asked)
            if "leaks" in asked
            else probes("x", None, cost=True)
        )
        with pytest.raises(CurateError, match=problem):
            ready(object())
