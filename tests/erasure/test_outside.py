"""What was made of a person's data outside of the store: exports, reports, proofs; and what the store cannot see into."""

from __future__ import annotations

import gc
import json

import pytest

from curate.dataset.care import collect_garbage, verify
from curate.dataset.export import export
from curate.dataset.runs import records
from curate.dataset.store import Store
from curate.privacy.keys import load_key
from curate.privacy.vault import read_vault
from tests.erasure.conftest import CANARIES, EMAIL, PIPELINE, SECRET, canaries


def erase(project, *options):
    outcome = project.cli("data", "erase", "--subject-file", "subject.yaml", "--json", *options)
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)


def clean(path):
    said = path.read_bytes().decode("utf-8", "replace").casefold()
    return not [word for word in CANARIES if word.casefold() in said]


@pytest.mark.parametrize("name", ["out.jsonl", "folder"])
def test_an_export_is_written_anew(person, name):
    done = export(person.open(), "jsonl", person.root / name)
    assert not all(map(clean, done.files))
    told = erase(person)
    assert [(one["place"], one["done"]) for one in told["exports"]] == [(str(person.root / name), "written anew")]
    assert all(map(clean, done.files))
    lines = [json.loads(line) for path in done.files for line in path.read_text().splitlines()]
    assert len(lines) == len(person.open())


def test_an_export_of_some_columns_is_written_anew_with_these(person):
    export(person.open(), "csv", person.root / "out.csv", columns=["text", "phone"], split="train")
    erase(person)
    assert (person.root / "out.csv").read_text().splitlines()[0] == '"text","phone"'
    assert clean(person.root / "out.csv")


def test_an_export_with_a_column_that_is_called_by_an_address_is_written_anew(project):
    (project.root / "rows.jsonl").write_text(json.dumps({"id": "a", "text": "A text.", EMAIL: "yes"}) + "\n")
    project.pipeline("dataset: toy\nsources:\n  - {stage: files, paths: [rows.jsonl]}\nstages: []\n")
    project.run()
    export(project.open(), "csv", project.root / "out.csv", columns=["text", EMAIL])
    (project.root / "subject.yaml").write_text(f"emails: [{EMAIL}]")
    assert [one["done"] for one in erase(project)["exports"]] == ["written anew"]
    assert (project.root / "out.csv").read_text().splitlines()[0] == '"text","<EMAIL>"'


def test_a_sample_for_review_is_removed_and_one_that_was_reviewed_is_named(person):
    for name in ("new", "done"):
        assert person.cli("privacy", "risk", "toy", "--sample", "40", "--out", f"{name}.jsonl").code == 0
    gc.collect()
    reviewed = person.root / "done.jsonl"
    reviewed.write_text(reviewed.read_text().replace("null", "true", 1))
    assert {one["place"].rpartition("/")[2]: one["done"] for one in erase(person)["reports"]} == {
        "new.jsonl": "removed", "done.jsonl": "changed since: erase it by hand",
    }  # fmt: skip


def test_an_export_that_somebody_changed_is_named_and_stays(person):
    export(person.open(), "jsonl", person.root / "out.jsonl")
    (person.root / "out.jsonl").write_text(f"mine now, {EMAIL}")
    told = erase(person)
    assert [one["done"] for one in told["exports"]] == ["changed since: erase it by hand"]
    assert (person.root / "out.jsonl").read_text() == f"mine now, {EMAIL}"


def test_exports_in_one_folder_are_all_written_anew(person):
    done = [export(person.open(), "jsonl", person.root / "out"), export(person.open(), "csv", person.root / "out")]
    files = [path for one in done for path in one.files]
    assert [one["done"] for one in erase(person)["exports"]] == ["written anew"] * 2
    assert all(map(clean, files))


def test_an_export_of_a_version_that_was_collected_is_named(person):
    export(person.open(), "jsonl", person.root / "out.jsonl")
    person.run("long.minimum=21")
    collect_garbage(person.store, keep_days=0, keep_last=1, dry_run=False)
    told = erase(person)
    assert [(one["place"], one["done"]) for one in told["exports"]] == [
        (str(person.root / "out.jsonl"), "of a version that is no more: look at it by hand")
    ]


def test_the_page_of_an_audit_is_removed_as_a_report_is(person):
    assert person.cli("audit", "bias", "toy", "--out", "bias.html").code == 0
    gc.collect()  # who has opened a version reads it
    (told,) = erase(person)["reports"]
    assert (told["place"], told["done"]) == (str(person.root / "bias.html"), "removed")


def test_a_vault_is_purged_of_the_person_where_its_key_is_at_hand(project, monkeypatch):
    monkeypatch.setenv("PII_KEY", "k" * 40)
    (project.root / "rows.jsonl").write_text(json.dumps({"text": f"Of {EMAIL} and john@example.org."}) + "\n")
    stage = "{stage: pii, operators: {email: pseudonym}, key: 'env:PII_KEY', vault: VAULT}"
    project.pipeline(
        "dataset: toy\nsources:\n  - {stage: files, paths: [rows.jsonl]}\n"
        f"stages:\n  - {stage.replace('VAULT', str(project.root / 'vault'))}\n"
    )
    project.run()
    key = load_key("env:PII_KEY", "a test")
    assert {value for _, _, value in read_vault(project.root / "vault", key)} == {EMAIL, "john@example.org"}
    (project.root / "subject.yaml").write_text(f"emails: [{EMAIL}]")
    monkeypatch.delenv("PII_KEY")
    (told,) = erase(project)["vaults"]
    assert told["done"].endswith("mend that, and run the same command again")
    monkeypatch.setenv("PII_KEY", "k" * 40)
    assert [one["done"] for one in erase(project)["vaults"]] == ["1 entries removed"]
    assert [value for _, _, value in read_vault(project.root / "vault", key)] == ["john@example.org"]


def test_an_export_that_is_not_there_is_told(person):
    export(person.open(), "jsonl", person.root / "out.jsonl")
    (person.root / "out.jsonl").unlink()
    assert [one["done"] for one in erase(person)["exports"]] == ["not there"]


@pytest.mark.parametrize("command", [("report", "toy"), ("audit", "bias", "toy", "--no-embedding")])
def test_a_report_is_removed_and_can_be_made_again(person, command):
    assert person.cli(*command, "--out", "report.html").code == 0
    assert [one["outputs"][0]["name"] for one in records(person.store) if one["kind"] in ("report", "audit")] == [
        str(person.root / "report.html")
    ]
    gc.collect()  # a command is a process, and lets go of what it reads when it ends; this one has only been called
    told = erase(person)
    assert [one["done"] for one in told["reports"]] == ["removed"]
    assert not (person.root / "report.html").exists()
    assert person.cli(*command, "--out", "report.html").code == 0
    assert clean(person.root / "report.html")


def test_the_proof_says_all_but_the_data(person):
    outcome = person.cli("data", "erase", "--subject-file", "subject.yaml", "--proof", "proof.json")
    assert outcome.code == 0
    told = json.loads((person.root / "proof.json").read_text())
    assert clean(person.root / "proof.json")
    assert clean(person.root / "proof.txt")
    assert {kind: len(one) for kind, one in told["subject"].items()} == {
        "email": 1,
        "phone": 1,
        "name": 1,
        "document": 1,
    }
    assert told["purge"]["objects"]
    assert told["checked"]["found"] == 0
    assert not [name for name in told["purge"]["objects"] if person.store.has_object(name)]
    assert outcome.out == (person.root / "proof.txt").read_text()
    assert "the input files still hold the data" in outcome.out


def test_documents_that_were_made_of_one_go_with_it(person):
    chunked = PIPELINE.replace("  - {stage: split", "  - {stage: chunk, by: words, size: 5}\n  - {stage: split")
    person.pipeline(chunked)
    person.run()
    one = next(row["id"] for row in person.open().arrow().to_pylist() if SECRET in row["text"])
    (person.root / "subject.yaml").write_text(f"documents: [{one}]")
    erase(person)
    assert canaries(person.store, [SECRET]) == []
    assert not [row for row in person.open().arrow().to_pylist() if row["parent"] == "ticket-5"]
    assert verify(person.open())["problems"] == []
    person.run()
    assert canaries(person.store, [SECRET]) == []


def test_a_page_in_which_nothing_can_be_replaced_goes(person):
    folder = person.root / "pages"
    folder.mkdir()
    (folder / "a.html").write_bytes(f"<p>A page about {EMAIL} in plain letters, long enough.</p>".encode())
    (folder / "b.html").write_bytes(f"<meta charset=utf-16>{SECRET} and {EMAIL}, and more words.".encode("utf-16"))
    (folder / "c.html").write_bytes(b"<p>Nobody is named on this page of the folder.</p>")
    person.pipeline(
        'dataset: toy\nsources: [{stage: files, paths: ["pages/*.html"], format: binary}]\nstages: [{stage: extract}]\n'
    )
    person.run()
    before = {row["source_uri"][6:12] for row in person.open().arrow().to_pylist()}
    erase(person)
    after = {row["source_uri"][6:12]: row["text"] for row in person.open().arrow().to_pylist()}
    assert canaries(person.store) == []
    assert before - after.keys() == {"b.html"} & before
    assert "<EMAIL>" in after["a.html"]
    person.run()
    assert canaries(person.store) == []


def test_a_sample_and_what_it_left_in_the_store_is_erased_too(person):
    person.run(sample=8)
    told = erase(person)
    assert {one["dataset"] for one in told["versions"]} == {"toy", "toy-sample"}
    assert canaries(person.store) == []


def test_a_run_tells_of_an_erasure_that_was_interrupted(person):
    name = f"erasures/{erase(person)['id']}.json"
    assert "an erasure was interrupted" not in person.cli("run", "pipeline.yaml", "--workers", 1).err
    person.store.write(name, json.dumps({**person.store.read_json(name), "state": "applying"}).encode())
    assert "an erasure was interrupted" in person.cli("run", "pipeline.yaml", "--workers", 1).err


def test_tokens_that_were_exported_are_written_anew(person):
    from tests.tokenize.test_binaries import byte_tokenizer

    tokenizer = byte_tokenizer(person.root / "given.json")
    out = ("data", "export", "toy", "--format", "nanogpt", "--tokenizer", tokenizer, "--out", "tokens")
    assert person.cli(*out).code == 0
    before = (person.root / "tokens/train.bin").read_bytes()
    [done] = erase(person)["exports"]
    assert done["done"] == "written anew"
    after = (person.root / "tokens/train.bin").read_bytes()
    assert len(after) < len(before)


# ---- copies in other stores


def test_a_person_who_was_erased_leaves_the_store_that_versions_were_pushed_to(person):
    assert person.cli("data", "push", "pushed", "toy").code == 0
    pushed = Store.open(person.root / "pushed")
    assert canaries(pushed) != []
    assert person.cli("data", "erase", "--subject-file", "subject.yaml").code == 0
    told = person.cli("data", "push", "pushed", "toy")
    assert "note: 1 version(s) there were replaced by an erasure here: `--prune` removes them" in told.err
    assert person.cli("data", "push", "pushed", "toy", "--prune").code == 0
    assert canaries(pushed) == []
