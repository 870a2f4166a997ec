"""A person who stands in no single string that was read: in two columns, in the name of a file, in what a stage made."""

from __future__ import annotations

import json

from tests.erasure.conftest import canaries
from tests.erasure.test_erase import erase, sound, subject

MAKER = '''\
import pyarrow as pa

from curate.stages.contract import Expander, Expansion


class Joined(Expander):
    """Makes one document of each, without its slashes."""

    def open(self):
        def make(batch):
            texts = [text.replace("/", "") for text in batch.column("text").to_pylist()]
            return Expansion(pa.array(range(len(texts)), pa.int64()), {"text": pa.array(texts, pa.string())})

        return make
'''


def rows(*more):
    return [
        {"text": f"A complaint, number {number}, of a customer of the harbour.", **one}
        for number, one in enumerate(more)
    ]


def put(project, documents, stages="[]"):
    project.write("rows.jsonl", *map(json.dumps, documents))
    project.pipeline(f"dataset: toy\nsources: [{{stage: files, paths: rows.jsonl}}]\nstages: {stages}\n")
    return project.run()


def texts(project):
    return sorted(project.open().arrow().column("text").to_pylist())


def test_a_record_with_first_and_last_name_in_columns_called_so_goes(project):
    people = [("JANE", "Doe"), ("Jane A.", " doe "), ("Jane", "Roe"), ("John", "Doe"), ("Doe", "Jane")]
    put(project, rows(*({"first_name": first, "Nachname": last} for first, last in people)))
    subject(project, "names: [Jane Doe]")
    dry = erase(project, "--dry-run")
    told = erase(project)
    assert dry["documents"] == told["documents"] == {"removed": 3, "redacted": 0}
    assert told["identifiers"][0]["documents"] == 3
    assert [text[12:21] for text in texts(project)] == [" number 2", " number 3"]
    assert sound(project)
    project.run()
    assert len(texts(project)) == 2


def test_a_surname_of_two_words_is_one_cell(project):
    put(
        project,
        rows(
            {"given": "Zo\u00eb", "surname": "M\u00fcller-L\u00fcdenscheidt"}, {"given": "Zo\u00eb", "surname": "Roe"}
        ),
    )
    subject(project, "names: [Zo\u00eb M\u00fcller-L\u00fcdenscheidt]")
    assert erase(project)["documents"]["removed"] == 1


def test_a_name_in_two_columns_that_are_not_called_names_is_told_and_stays(project):
    put(project, rows({"city": "Jane", "title": "Doe"}, {"city": "Ulm", "title": "Doe"}))
    subject(project, "names: [Jane Doe]")
    expected = [{"name": 1, "columns": ["city", "title"], "documents": 1}]
    assert erase(project, "--dry-run")["apart"] == erase(project)["apart"] == expected
    assert len(texts(project)) == 2
    said = project.cli("data", "erase", "--subject-file", "subject.yaml").out
    assert "name 1 of the subject file may stand in columns `city` and `title` of 1 document(s), which stay" in said


def test_the_name_of_a_file_goes_with_all_that_was_in_it(project):
    (project.root / "in").mkdir()
    for name in ("zinnia", "aster"):
        (project.root / "in" / f"{name}.txt").write_text(f"What {name} wrote, in words enough to be told from others.")
    project.pipeline('dataset: toy\nsources: [{stage: files, paths: ["in/*.txt"]}]\nstages: []\n')
    project.run()
    table = project.open().arrow().to_pylist()
    subject(project, f"documents: [{next(row['id'] for row in table if 'zinnia' in row['text'])}]")
    assert erase(project, "--dry-run")["inputs"] == ["in/zinnia.txt"]
    (told,) = erase(project)["inputs"]
    assert told.startswith("<ERASED ")
    assert canaries(project.store, ["zinnia"]) == []
    assert canaries(project.store, ["in/aster.txt"])
    assert sound(project)
    project.run()
    assert canaries(project.store, ["zinnia"]) == []
    assert len(texts(project)) == 1


def test_a_mention_that_an_expander_put_together_takes_the_document_that_it_was_made_of(project):
    project.write("maker.py", MAKER)
    documents = rows({}, {})
    documents[0]["text"] += " Write to jane/.doe@exam/ple.com."
    put(project, documents, '[{stage: "maker:Joined"}]')
    subject(project, "emails: [jane.doe@example.com]")
    erase(project)
    assert canaries(project.store, ["jane.doe@example.com", "number 0"]) == []
    project.run()
    assert canaries(project.store, ["jane.doe@example.com"]) == []
    assert len(texts(project)) == 1


def test_a_mention_that_shows_when_an_encoding_is_repaired_takes_the_document(project):
    documents = rows({}, {})
    documents[0]["text"] += " Jos\u00e9 M\u00fcller said so.".encode().decode("latin-1")
    put(project, documents, "[{stage: unicode, mojibake: true}]")
    assert "Jos\u00e9 M\u00fcller" in texts(project)[0]
    subject(project, "names: [Jos\u00e9 M\u00fcller]")
    erase(project)
    project.run()
    assert canaries(project.store, ["Jos\u00e9 M\u00fcller"]) == []
    assert len(texts(project)) == 1


def test_a_dry_run_names_the_copies(project):
    documents = rows({"id": "one"}, {"id": "two"})
    documents[1]["text"] = documents[0]["text"]
    put(project, documents)
    subject(project, "documents: [one]")
    dry, told = erase(project, "--dry-run"), erase(project)
    assert (dry["copies"], dry["copied"], told["copies"]) == (1, ["two"], 1)
    assert "copied" not in told
