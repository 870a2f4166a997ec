"""An erasure takes whom it is about, and nobody who has the same number or says the same."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from curate.dataset.annotations import annotate, hashes, read_annotations
from curate.dataset.care import verify
from curate.dataset.why import why
from tests.erasure.conftest import canaries
from tests.erasure.test_erase import erase, subject

COMMON = "This message is confidential and is meant for its addressee alone."


def put(project, dataset, rows, *stages, file=None):
    """A run of a pipeline over some documents, as a dataset of the store."""
    project.write(file or f"{dataset}.jsonl", *map(json.dumps, rows))
    listed = "".join(f"\n  - {{stage: {one}}}" for one in stages) or " []"
    source = f"{{stage: files, paths: [{file or f'{dataset}.jsonl'}]}}"
    project.pipeline(f"dataset: {dataset}\nsources:\n  - {source}\nstages:{listed}\n")
    return project.run()


def ids(project, dataset):
    return project.open(dataset).arrow().column("id").to_pylist()


def rows(word):
    return [{"id": str(n), "text": f"Number {n} of the {word}, which nobody else has written."} for n in (16, 17, 18)]


@pytest.fixture
def two(project):
    """Two datasets with the same ids, of different documents."""
    put(project, "letters", rows("letters"))
    put(project, "people", rows("people"))
    return project


def test_an_id_that_several_datasets_have_is_refused_with_their_names(two):
    subject(two, 'documents: ["17"]')
    (problem,) = erase(two, code=2)["errors"]
    assert problem["problem"] == "this id is in several datasets, and not of the same document: letters, people"
    assert problem["where"].endswith("documents, number 1")
    assert "17" not in json.dumps(problem)
    assert erase(two, "--dry-run", code=2)


def test_a_dataset_that_is_not_there_is_told(two):
    subject(two, 'documents: [{id: "17", dataset: peeple}]')
    (problem,) = erase(two, code=2)["errors"]
    assert (problem["problem"], problem["hint"]) == ("there is no dataset `peeple`", "datasets: letters, people")


def test_an_id_means_a_document_of_the_dataset_that_is_named(two):
    before = two.open("letters").version
    subject(two, 'documents: [{id: "17", dataset: people}]')
    told = erase(two)
    assert (told["documents"]["removed"], [one["dataset"] for one in told["versions"]]) == (1, ["people"])
    assert (ids(two, "people"), ids(two, "letters")) == (["16", "18"], ["16", "17", "18"])
    assert two.open("letters").version == before
    assert canaries(two.store, ["Number 17 of the people"]) == []
    assert why(two.open("people"), "17")["verdict"] == "erased"
    assert why(two.open("letters"), "17")["verdict"] == "kept"
    assert erase(two)["id"] is None
    for name in ("people", "letters"):
        assert verify(two.open(name))["problems"] == []


def test_the_next_runs_read_the_other_dataset_as_it_was(two):
    subject(two, 'documents: [{id: "17", dataset: people}]')
    erase(two)
    left = {shard.object for shard in two.open("people").ledger()}
    put(two, "letters", [*rows("letters"), {"id": "19", "text": "One more."}])
    assert ids(two, "letters") == ["16", "17", "18", "19"]
    put(two, "people", rows("people"))
    assert {shard.object for shard in two.open("people").ledger()} == left
    changed = [{**one, "text": f"Anew: {one['text']}"} for one in rows("people")]
    put(two, "people", changed, file="elsewhere.jsonl")
    assert ids(two, "people") == ["16", "18"]
    put(two, "others", [{**one, "text": f"{one['text']} Once more."} for one in changed], file="elsewhere.jsonl")
    assert ids(two, "others") == ["16", "17", "18"]


def test_a_plain_id_of_documents_that_are_the_same_in_two_datasets_is_enough(project):
    for name in ("first", "second"):
        put(project, name, rows("letters"), file="letters.jsonl")
    subject(project, 'documents: ["17"]')
    assert {one["dataset"] for one in erase(project)["versions"]} == {"first", "second"}
    assert canaries(project.store, ["Number 17 of the"]) == []


def test_duplicates_and_labels_of_a_document_with_the_same_id_stay(two):
    for name in ("letters", "people"):
        put(two, name, [*rows(name), {**rows(name)[1], "id": f"copy-in-{name}"}], "exact_duplicates")
    said = []
    for name in ("letters", "people"):
        table = two.open(name).arrow(columns=["id", "text"])
        said.append(
            table.select(["id"]).append_column("hash", hashes(table)).append_column("of", pa.array([name] * len(table)))
        )
    annotate(two.store, "tone", pa.concat_tables(said))
    subject(two, 'documents: [{id: "17", dataset: people}]')
    told = erase(two)
    assert (told["copies"], told["documents"]["removed"]) == (1, 3)  # 17 of two versions
    left = read_annotations(two.store, "tone").select(["id", "of"]).to_pylist()
    assert [one["of"] for one in left if one["id"] == "17"] == ["letters"]
    assert why(two.open("letters"), "copy-in-letters")["duplicate_of"] == "17"
    assert erase(two)["id"] is None


def test_a_text_that_many_share_takes_nobody_with_it(project):
    texts = [{"id": f"mail-{n}", "text": COMMON} for n in range(9)]
    put(project, "mails", texts)
    subject(project, "documents: [mail-3]")
    told = erase(project)
    assert (told["documents"]["removed"], told["copies"], told["shared"]) == (1, 0, 8)
    put(project, "mails", [{"id": "new", "text": COMMON}, *texts])
    assert set(ids(project, "mails")) == {"new", *(f"mail-{n}" for n in range(9) if n != 3)}


def test_a_copy_goes_and_its_family_stays(project):
    text = "A longer story of the harbour and of its weather, told twice."
    put(project, "mails", [
        {"id": "mine", "text": text},
        {"id": "copy", "parent": "question", "text": text},
        {"id": "question", "text": "What is it that they tell in the harbour?"},
        {"id": "reply", "parent": "copy", "text": "I have heard that one before, and better."},
    ])  # fmt: skip
    subject(project, "documents: [mine]")
    assert erase(project, "--dry-run")["copies"] == 1
    told = erase(project)
    assert (told["documents"]["removed"], told["copies"]) == (2, 1)
    assert ids(project, "mails") == ["question", "reply"]
    assert canaries(project.store, [text]) == []


def test_what_an_expander_made_of_a_copy_goes(project):
    text = "A longer story of the MARIGOLD harbour and of its weather, told twice."
    rows = [{"id": "mine", "text": text}, {"id": "copy", "text": text}]
    put(project, "mails", rows, "chunk, by: words, size: 5")
    subject(project, "documents: [mine]")
    erase(project)
    assert canaries(project.store, ["MARIGOLD"]) == []


def test_a_short_text_without_an_id_is_known_again_at_its_place_alone(project):
    put(project, "answers", [{"text": "yes"}, {"text": "no"}])
    (one,) = [row["id"] for row in project.open("answers").arrow().to_pylist() if row["text"] == "yes"]
    subject(project, f"documents: [{one}]")
    erase(project)
    put(project, "answers", [{"text": "yes"}, {"text": "no"}, {"text": "yes"}])
    assert project.texts("answers") == ["no", "yes"]
    put(project, "others", [{"text": "yes"}])
    assert project.texts("others") == ["yes"]


def test_clusters_of_near_copies_stay_apart(project):
    from curate.dataset.erased import ERASED

    def near(word):
        words = " ".join(f"{word}{number}" for number in range(60))
        return [{"id": f"{word}-{n}", "text": words + " more" * n} for n in range(3)]

    put(project, "mails", [*near("a"), *near("b")], "near_duplicates, action: tag")
    before = project.open("mails").arrow().column("duplicate_cluster").to_pylist()
    subject(project, "documents: [a-0, b-0]")
    erase(project)
    after = [one for one in project.open("mails").arrow().column("duplicate_cluster").to_pylist() if one]
    assert len(set(after)) == len(set(before) - {None}) == 2
    assert all(one.startswith(ERASED[:-1]) for one in after)
