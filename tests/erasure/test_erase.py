"""Erasing a person: afterwards nothing of them is anywhere in the store, and everything else is."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from curate.dataset import refs
from curate.dataset.annotations import annotate, annotated, hashes, read_annotations
from curate.dataset.care import collect_garbage, verify
from curate.dataset.erased import ERASED
from curate.dataset.leases import lease
from curate.dataset.refs import resolve
from curate.dataset.runs import now, record, records
from curate.dataset.why import why
from curate.errors import CurateError
from tests.erasure.conftest import CANARIES, EMAIL, NAME, OTHER, SECRET, canaries, documents

pytestmark = pytest.mark.anywhere
GONE = {"ticket-5", "copy-of-5", EMAIL}


def erase(project, *options, code=0):
    outcome = project.cli("data", "erase", "--subject-file", "subject.yaml", "--json", *options)
    assert outcome.code == code, outcome.err
    return json.loads(outcome.out)


def subject(project, text):
    (project.root / "subject.yaml").write_text(text)


def sound(project, name="toy"):
    return verify(project.open(name))["problems"] == []


# ---- what is left


def test_the_person_is_everywhere_before(person):
    assert {word for word, _ in canaries(person.store)} >= {EMAIL, SECRET, "ticket-5", "90-18-20", "4930901820"}


def test_nothing_of_the_person_is_left_in_any_byte_of_the_store(person):
    erase(person)
    assert canaries(person.store) == []


def test_the_versions_stay_usable(person):
    person.cli("data", "tag", "toy", "gold")
    before = person.open()
    of, text_bytes = before.version, before.manifest["text_bytes"]
    kept = before.manifest["documents"]["kept"]
    del before  # who has opened a version reads it
    (told,) = erase(person)["versions"]
    assert (told["of"], told["removed"]) == (of, 2)
    for name in ("toy", "toy@v1", "toy@gold", f"toy@{of[:12]}"):
        assert resolve(person.store, name).version == told["version"]
        assert sound(person, name)
    after = person.open()
    counts = after.manifest["documents"]
    assert counts["in"] == counts["kept"] + counts["dropped"] + counts["quarantined"]
    assert counts["kept"] == kept - 2 == len(after.arrow())
    assert after.manifest["text_bytes"] < text_bytes
    assert sum(after.splits.values()) == len(after)
    assert after.manifest["text_bytes"] == sum(len(text.encode()) for text in after.arrow().column("text").to_pylist())


def test_documents_that_are_named_go_and_mentions_are_replaced(person):
    ids = set(person.open().arrow().column("id").to_pylist())
    erase(person)
    rows = {row["id"]: row for row in person.open().arrow().to_pylist()}
    assert ids - rows.keys() == {"ticket-5", EMAIL}  # the copy was dropped before
    assert "WRITE TO <EMAIL>, OR CALL <PHONE>, <PERSON> SAID." in rows["ticket-4"]["text"]
    assert json.loads(rows["ticket-6"]["messages"]) == [{"role": "user", "content": "first\n<PERSON>\n<EMAIL>"}]
    assert rows["ticket-7"]["phone"] is None
    assert rows["ticket-12"]["text"] == documents()[12]["text"].upper()


def test_with_remove_documents_that_mention_the_person_go(person):
    told = erase(person, "--remove")
    ids = person.open().arrow().column("id").to_pylist()
    assert not {"ticket-3", "ticket-4", "ticket-17", "ticket-6", "ticket-7", "ticket-10"} & set(ids)
    assert told["documents"]["redacted"] == 0
    assert canaries(person.store) == []
    assert sound(person)


@pytest.mark.folder
def test_the_log_says_that_something_was_erased(person):
    told = erase(person)
    entry = refs.log(person.store, "toy")[0]
    assert (entry["action"], entry["erasure"], entry["version"]) == (
        "erase",
        told["id"],
        told["versions"][0]["version"],
    )
    log = person.cli("data", "log", "toy").out
    assert f"toy@{told['versions'][0]['of'][:12]}, toy@{entry['version'][:12]}" in log
    assert f"erasures/{told['id']}.json" in log


@pytest.mark.folder
def test_why_says_that_a_document_was_erased_and_no_more(person):
    told = erase(person)
    for name in ("ticket-5", "in/tickets.jsonl#5"):
        story = why(person.open(), "ticket-5")
        assert (story["verdict"], story["reason"], story["source"]) == ("erased", "erased", None), name
    assert told["id"] in story["detail"]
    assert why(person.open(), "ticket-4")["history"][-1]["event"] == "redacted"
    lines = person.cli("why", "ticket-5").out.splitlines()
    assert lines[:2] == ["ticket-5: erased", f"  erased [{story['detail']}]"]


@pytest.mark.folder
def test_why_says_so_in_a_store_of_several_datasets_too(person):
    person.run(sample=3)
    erase(person)
    assert person.cli("why", "ticket-5").out.splitlines()[0] == "ticket-5: erased"


@pytest.mark.folder
def test_the_log_still_has_the_runs_that_made_the_versions(person):
    before = [one["id"] for one in json.loads(person.cli("data", "log", "toy", "--json").out)["runs"]]
    erase(person)
    after = [one["id"] for one in json.loads(person.cli("data", "log", "toy", "--json").out)["runs"]]
    assert set(before) < set(after)


@pytest.mark.folder
def test_a_tag_that_names_the_person_is_named_and_stays(person):
    person.cli("data", "tag", "toy", "jane-doe")
    told = erase(person)
    assert told["left"] == ["refs/toy.json"]
    assert sound(person, "toy@jane-doe")


def test_no_other_document_names_one_that_is_gone(person):
    erase(person)
    listed = json.loads(person.cli("data", "show", "toy", "--dropped", "--json").out)["dropped"]
    assert ERASED in {row["id"] for row in listed}
    assert not GONE & {row["duplicate_of"] for row in listed}


# ---- afterwards


def test_the_next_run_does_not_bring_the_person_back(person):
    erase(person)
    left = person.open().arrow()
    done = person.run()
    assert canaries(person.store) == []
    assert done.documents["in"] == sum(done.documents[key] for key in ("kept", "dropped", "quarantined"))
    assert done.stages[0]["dropped"] == 3
    after = person.open().arrow()
    same = ["id", "text", "messages", "phone", "source_uri"]  # a split by the text may be another
    assert after.select(same).to_pylist() == left.select(same).to_pylist()
    assert sound(person)
    assert sound(person, "toy@v1")


def test_a_run_reads_what_was_erased_as_the_erasure_left_it(person):
    erase(person)
    left = {shard.object for shard in person.open().ledger()}
    person.run()
    assert {shard.object for shard in person.open().ledger()} == left


def test_a_document_that_has_no_id_of_its_own_is_known_again_when_it_stands_elsewhere(person):
    rows = person.open().arrow().to_pylist()
    (one,) = [row["id"] for row in rows if OTHER in row["text"]]
    subject(person, f"documents: [{one}]")
    erase(person)
    file = person.root / "in" / "jane-doe.jsonl"
    file.write_text('{"text": "A line before all others, which is new."}\n' + file.read_text())
    person.run()
    assert one not in person.open().arrow().column("id").to_pylist()
    assert not [text for text in person.texts() if OTHER in text]
    assert "A line before all others, which is new." in person.texts()


def test_erasing_again_finds_nothing_and_changes_nothing(person):
    erase(person)
    version = person.open().version
    again = erase(person)
    assert (again["id"], again["versions"]) == (None, [])
    assert person.open().version == version


def test_garbage_collection_keeps_what_the_next_run_must_know(person):
    erase(person)
    collect_garbage(person.store, keep_days=0, keep_last=0, dry_run=False)
    person.run()
    assert canaries(person.store) == []
    assert sound(person)


def test_a_second_person_is_erased_after_the_first(person):
    erase(person)
    subject(person, "documents: [ticket-20]")
    told = erase(person)
    assert told["versions"][0]["removed"] == 1
    row = next(stage for stage in person.open().manifest["stages"] if stage["id"] == "erased")
    assert (row["dropped"], row["kept"]) == (3, len(person.open()))
    assert sound(person)
    assert person.run().stages[0]["dropped"] == 4


def test_a_store_without_the_person_stays_as_it_is(person):
    subject(person, "emails: [nobody@example.org]")
    version = person.open().version
    assert erase(person)["id"] is None
    assert person.open().version == version


# ---- counting


def test_a_dry_run_counts_and_changes_nothing(person):
    before = {
        blob.name: blob.size for folder in ("objects", "refs", "erasures") for blob in person.store.blobs.list(folder)
    }
    told = erase(person, "--dry-run")
    assert told["documents"] == {"removed": 3, "redacted": 12}
    assert told["counts"]["document"] == 1
    assert told["versions"][0]["of"] == person.open().version
    assert told["inputs"] == ["in/<PERSON>.jsonl", "in/tickets.jsonl"]
    after = {
        blob.name: blob.size for folder in ("objects", "refs", "erasures") for blob in person.store.blobs.list(folder)
    }
    assert after == before


@pytest.mark.folder
def test_each_identifier_is_told_by_its_number_and_never_what_it_is(person):
    subject(person, f"emails: [nobody@example.org, {EMAIL}]\nnames: [John Roe]\ndocuments: [ticket-5, ticket-77]")
    dry, told = erase(person, "--dry-run"), erase(person)
    assert dry["identifiers"] == told["identifiers"]
    found = {(one["kind"], one["number"]): one["documents"] + one["elsewhere"] for one in told["identifiers"]}
    assert {which for which, count in found.items() if not count} == {("email", 1), ("name", 1), ("document", 2)}
    assert found["email", 2] > 4
    subject(person, "names: [John Roe]\ndocuments: [ticket-6]")
    lines = person.cli("data", "erase", "--subject-file", "subject.yaml").out.splitlines()
    assert "  name 1 of the subject file: nowhere" in lines
    assert "Roe" not in "".join(lines)


# ---- derived versions, annotations, runs


def label(person):
    version = person.open()
    table = version.arrow(columns=["id", "text"])
    said = (
        table.select(["id"]).append_column("hash", hashes(table)).append_column("label", pa.array([EMAIL] * len(table)))
    )
    annotate(person.store, "tone", said, facts={"by": NAME})
    return refs.commit(person.store, "toy", annotated(version, "tone").version)


def test_annotations_go_with_their_documents_and_stay_with_the_others(person):
    label(person)
    before = read_annotations(person.store, "tone").num_rows
    told = erase(person)
    assert told["labeling"] == ["tone"]
    assert canaries(person.store) == []
    assert read_annotations(person.store, "tone").num_rows == before - 2
    found = annotated(person.open("toy@v1"), "tone")
    assert (found.documents, found.changed) == (len(person.open("toy@v1")), 0)


def test_labels_of_a_document_that_is_in_no_version_go_too(person):
    said = pa.table({"id": ["ticket-99", "ticket-12"], "hash": ["a" * 64, "b" * 64], "label": ["x", "y"]})
    annotate(person.store, "tone", said)
    subject(person, "documents: [ticket-99]")
    assert erase(person)["labeling"] == ["tone"]
    assert read_annotations(person.store, "tone").column("id").to_pylist() == ["ticket-12"]
    assert erase(person)["id"] is None


def test_a_version_that_was_derived_has_a_successor_that_is_derived(person):
    number = label(person)
    told = erase(person)
    becomes = {one["of"]: one["version"] for one in told["versions"]}
    derived = person.open(f"toy@{number}")
    assert set(derived.manifest["lineage"]["parents"]) & set(becomes.values())
    assert set(derived.arrow().column("label").to_pylist()) == {"<EMAIL>"}
    assert sound(person, f"toy@{number}")


@pytest.mark.folder
def test_training_runs_that_saw_the_documents_are_named_and_those_that_began_with_them(person, tmp_path):
    version, folder = person.open().version, tmp_path / "small"
    (folder / "earlier" / "checkpoints" / "step-9").mkdir(parents=True)  # of a run that `--fresh` is about to replace
    for name in ("completions.jsonl", "earlier/completions.jsonl"):
        (folder / name).touch()
    facts = {"run": "small", "folder": str(folder), "tokenizer": "t"}
    for name, given, made in (
        ("small", ("version", version), "w1"),
        ("tuned", ("model", "w1"), "w2"),
        ("other", ("model", "x"), "y"),
    ):
        record(person.store, "training", name, name=name, state="done", began=now(), facts=facts | {"run": name},
               inputs=[{"kind": given[0], "id": given[1], "name": name}],
               outputs=[{"kind": "weights", "id": made, "name": "checkpoints/step-1"}])  # fmt: skip
    told = erase(person)["trainings"]
    assert [one["run"] for one in told] == ["small", "tuned"]
    assert told[0]["texts"] == ["completions.jsonl", "earlier/completions.jsonl"]
    assert told[0]["checkpoints"] == ["earlier/step-9"]


def test_run_records_that_name_the_person_do_so_no_more(person):
    record(person.store, "export", "e", name="x", state="done", began=now(), inputs=[{"kind": "version", "id": "v"}],
           outputs=[], facts={"folder": f"/home/{EMAIL}/out"})  # fmt: skip
    erase(person)
    assert canaries(person.store) == []
    assert [one["facts"]["folder"] for one in records(person.store, "export")] == ["/home/<EMAIL>/out"]


def test_token_shards_of_a_version_that_held_the_documents_go(person):
    store, version = person.store, person.open().version
    for key, of in (("a", version), ("b", "another")):
        store.write(f"tokens/{key}/manifest.json", json.dumps({"version": of}).encode())
        store.write(f"tokens/{key}/train-00000.ds", b"tokens")
    erase(person)
    assert {blob.name.split("/")[1] for blob in store.blobs.list("tokens")} == {"b"}


@pytest.mark.folder
def test_what_browse_keeps_of_the_documents_goes(person):
    from curate.browse.cache import Cache
    from curate.browse.columns import Columns
    from curate.browse.document import document

    number = (4930901820).to_bytes(8, "little")
    folder = person.store.root / "browse"

    def kept():
        Columns(person.open(), Cache(person.store))
        return b"".join(path.read_bytes() for path in folder.rglob("*.arrow"))

    assert number in kept()
    erase(person)
    assert not any(path.is_file() for path in folder.rglob("*"))
    assert len(kept()) > 1000 and number not in kept() and canaries(person.store) == []
    dataset = person.open()
    columns = Columns(dataset, Cache(person.store))
    shown = json.dumps([document(columns, dataset, columns.place(row))[0] for row in range(columns.rows)])
    assert not [word for word in CANARIES if word in shown]


# ---- others in the store


def test_nothing_is_erased_beside_a_run(person):
    with lease(person.store, "run"):
        assert "the store is in use" in erase(person, code=2)["errors"][0]["problem"]


def test_nothing_is_erased_while_somebody_reads(person):
    version = person.open().version
    with lease(person.store, "read", version):
        problem = erase(person, code=2)["errors"][0]["problem"]
    assert problem == f"somebody is reading toy@{version[:12]}, which has to go"
    assert person.open().version == version


def test_somebody_who_begins_to_read_meanwhile_is_left_in_peace_and_the_same_command_goes_on(person, monkeypatch):
    answers = iter([set(), {person.open().version}])
    monkeypatch.setattr("curate.erasure.erase.versions_in_use", lambda store: next(answers, set()))
    problem = erase(person, code=4)["errors"][0]["problem"]
    assert problem == "somebody began to read a version that has to go"
    assert sound(person)
    assert erase(person)["documents"]["removed"] == 3
    assert canaries(person.store) == []


def test_an_object_that_is_damaged_is_told_for_nobody_knows_what_was_in_it(person):
    name = next(iter(person.store.blobs.list("objects"))).name
    person.store.blobs.write(name, b"damaged")
    assert erase(person, code=2)["errors"][0]["problem"].endswith("is damaged")


def test_the_record_of_an_erasure_that_is_damaged_is_told(person):
    told = erase(person)
    person.store.blobs.write(f"erasures/{told['id']}.json", b"{")
    with pytest.raises(CurateError, match="the record of an erasure is damaged"):
        person.run()


def test_a_store_whose_key_is_lost_is_not_read_as_if_nothing_was_erased(person):
    erase(person)
    person.store.blobs.delete("erasures/key")
    with pytest.raises(CurateError, match="the key by which a run knows what was erased is missing"):
        person.run()


@pytest.mark.folder
def test_the_key_is_the_owners_alone(person):
    erase(person)
    assert (person.root / ".curate" / "erasures" / "key").stat().st_mode & 0o777 == 0o600
