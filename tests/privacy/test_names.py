"""Names of people and places: what rules find of them, and the stage with a language model."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest

from curate.errors import CurateError
from curate.privacy.entities import entity_finder
from curate.privacy.names import DEFAULT_MODEL, check_model, load_names
from curate.privacy.persons import find_persons
from curate.privacy.pii import Pii
from tests.oracles import library


def persons(text, *entities):
    found = [(text.index(one), text.index(one) + len(one), label) for one, label in entities]
    return {text[one.start : one.end]: one.rule for one in find_persons(text, found)}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("I saw Mrs. Quistgaard today", {"Quistgaard": "title"}),
        ("my name is ylva quist but they call me yv", {"ylva quist": "called", "yv": "called"}),
        ("ask Martina P Quist about it", {"Martina P Quist": "given name"}),
        ("Quist, Ylva and Martina came", {"Martina": "given name", "Quist": "listed", "Ylva": "listed"}),
        ("Quist: Who?\nMartina: You.", {"Martina": "given name", "Quist": "speaks"}),
        ("write to martina, please", {"martina": "given name"}),
        ("Martina Road and USS Martina and 12 Martina", {}),
        ("nobody is here", {}),
    ],
)
def test_rules_find_people_by_what_stands_around_their_names(text, found):
    assert persons(text) == found


def test_a_name_goes_on_from_what_the_model_found_and_streets_are_none():
    text = "Ylva B Quist lives at Quistvej 12"
    assert persons(text, ("Ylva", "PERSON"), ("Quistvej", "PERSON")) == {"Ylva B Quist": "model"}


def test_the_same_name_is_found_elsewhere_in_the_text():
    text = "Dr. Quist came. Where is Quist's hat?"
    assert [(one.start, one.rule) for one in find_persons(text, [])] == [(4, "title"), (25, "again")]


@pytest.mark.slow
@pytest.mark.parametrize(
    "text", ["Ann, " * 50_000, "Ann Lee " * 30_000, "A" * 200_000, "my name is " * 20_000, "x: " * 70_000]
)
def test_hostile_texts_take_time_in_proportion(text):
    """Seconds; by the square of the length they would run into the suite's limit."""
    find_persons(text, [])


# ---- a model that is not there


def test_a_model_that_is_not_installed_is_told_with_the_command():
    with pytest.raises(CurateError, match="needs the language model `no_such_model`, which is not installed") as caught:
        check_model("no_such_model")
    assert caught.value.hint == "python -m spacy download no_such_model"


def test_validate_says_how_to_install_the_default_model(project, monkeypatch):
    monkeypatch.setattr("curate.privacy.names.find_spec", lambda name: None)
    project.write("in.txt", "Ann")
    project.pipeline("{dataset: toy, sources: [{stage: files, paths: in.txt}], stages: [{stage: pii, names: true}]}")
    done = project.cli("validate", "pipeline.yaml")
    assert done.code == 0
    assert f"on this machine a run would stop at `pii`: `names` needs the language model `{DEFAULT_MODEL}`" in done.err
    assert "pip install 'curate-lm[ner]'" in done.err
    with pytest.raises(CurateError) as caught:
        Pii(names=True).facts()
    assert caught.value.hint == "pip install 'curate-lm[ner]'"


def test_a_folder_that_is_no_model_is_told(tmp_path):
    with pytest.raises(CurateError, match="cannot be loaded"):
        load_names(f"{tmp_path}/", ["person"])


# ---- with the model


@pytest.fixture(scope="module")
def named():
    library(DEFAULT_MODEL)
    return Pii(names=True).open()


@pytest.mark.slow
def test_names_come_after_structured_data_and_all_spans_are_disjoint(named, documents):
    text = "Angela Merkel <angela.merkel@example.co.uk> lives in Berlin, call 212-555-0199"
    [row] = named(documents([text])).verdicts.to_pylist()
    assert row["text"] == "<PERSON> <<EMAIL>> lives in <LOCATION>, call <PHONE>"
    assert [span["type"] for span in row["spans"]] == ["PERSON", "EMAIL_ADDRESS", "LOCATION", "PHONE_NUMBER"]
    places = [(span["start"], span["end"]) for span in row["spans"]]
    assert all(before[1] <= after[0] for before, after in pairwise(places))


@pytest.mark.slow
def test_long_texts_are_looked_at_in_windows_to_their_end(named, documents):
    text = "Nothing happened in the long winter. " * 400 + "Then Angela Merkel came."
    [row] = named(documents([text])).verdicts.to_pylist()
    assert row["text"].endswith("Then <PERSON> came.")


@pytest.mark.slow
def test_what_is_found_does_not_depend_on_batches(named, documents):
    texts = ["Angela Merkel came.", "", "nothing", "Barack Obama left Paris. " * 300, "My name is ylva quist."]
    whole = named(documents(texts)).verdicts.to_pylist()
    single = [
        row | {"row": at} for at, text in enumerate(texts) for row in named(documents([text])).verdicts.to_pylist()
    ]
    assert whole == single


@pytest.mark.slow
@pytest.mark.parametrize("more", [[], ["sentencizer"]], ids=["decoded here", "another pipeline, run by spaCy"])
def test_entities_are_those_that_spacy_finds_itself(more, shared_data):
    """Texts of 0 to 400 words, prose and forms, in several groups."""
    library(DEFAULT_MODEL)
    import spacy

    pipeline = spacy.load(DEFAULT_MODEL, exclude=["tok2vec", "tagger", "parser", "attribute_ruler", "lemmatizer"])
    for name in more:
        pipeline.add_pipe(name, first=True)
    gold = json.loads((shared_data / "presidio_research" / "generated_large.json").read_text())[:150]
    prose = (shared_data / "wikitext2" / "test.txt").read_text("utf-8")
    texts = [
        "",
        " ",
        "\n\n",
        "Jane",
        "\n Jane  Doe\n",
        "in Paris ",
        "Ann Lee " * 40,
        *(one["full_text"] for one in gold),
    ]
    texts += [prose[at : at + 1500] for at in range(0, 30_000, 1500)]
    expected = [[(one.start_char, one.end_char, one.label_) for one in pipeline(text).ents] for text in texts]
    assert sum(map(len, expected)) > 400
    assert entity_finder(pipeline)(texts) == expected


@pytest.mark.slow
def test_operators_are_by_kind_of_name_and_the_model_is_among_the_facts(documents, monkeypatch):
    library(DEFAULT_MODEL)
    monkeypatch.setenv("PII_KEY", "k" * 32)
    stage = Pii.model_validate(
        {"names": True, "operators": {"person": "surrogate"}, "key": "env:PII_KEY", "name_entities": ["person"]}
    )
    assert stage.facts()["names"].startswith(f"{DEFAULT_MODEL} 3.8.0, spacy 3.")
    [row] = stage.open()(documents(["Angela Merkel lives in Berlin."])).verdicts.to_pylist()
    assert row["text"].endswith(" lives in Berlin.")
    assert "Merkel" not in row["text"]


@pytest.mark.slow
def test_people_in_gold_texts_are_found_beyond_the_target(shared_data, named, documents):
    """Templates with an odd number, which the rules were not written from."""
    library(DEFAULT_MODEL)
    files = sorted((shared_data / "presidio_research").glob("*.json"))
    records = [record for file in files for record in json.loads(file.read_text())]
    aside = [record for record in records if (record["template_id"] or 0) % 2]
    rows = {row["row"]: row for row in named(documents([one["full_text"] for one in aside])).verdicts.to_pylist()}
    gold = [(at, span) for at, one in enumerate(aside) for span in one["spans"] if span["entity_type"] == "PERSON"]
    hits = sum(
        any(one["type"] == "PERSON" and one["start"] < span["end_position"] and span["start_position"] < one["end"]
            for one in rows.get(at, {"spans": []})["spans"])
        for at, span in gold
    )  # fmt: skip
    assert hits >= 0.7 * len(gold)
