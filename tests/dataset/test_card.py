"""The dataset card, Croissant metadata and public summaries: figures of the ledger, and what nobody knows is said."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from curate.dataset.card import dataset_card
from curate.dataset.disclosure import host_bytes, public_summary, summary_points
from curate.dataset.export import export
from curate.dataset.facts import facts_of, personal_data
from curate.dataset.runs import Thing, record, records, run_id
from curate.dataset.store import object_name
from tests.dataset.exported import NULLS, ROWS, make_dataset
from tests.oracles import library

SCHEMA = pa.schema([
    *((name, pa.string()) for name in ("id", "text", "license", "language", "author", "url")), ("token_count", pa.int64()),
])  # fmt: skip


def row(number: int, **columns) -> dict:
    plain = {"id": f"d{number}", "text": "one two", "license": None, "language": "en", "author": None, "url": None}
    return {**plain, "token_count": 2, **columns}


@pytest.fixture
def licensed(tmp_path):
    rows = [row(0, license="CC-BY-4.0", author="Anna"), row(1, license="CC-BY-4.0"), row(2, license="LicenseRef-a|b<c")]
    return make_dataset(
        tmp_path, {"train": [*rows, row(3)], "test": [row(4, license="GPL-3.0-only", language="de")]}, SCHEMA
    )


def metadata(card: str) -> dict:
    from ruamel.yaml import YAML

    return YAML(typ="safe").load(card.split("---\n")[1])


def lines(card: str, heading: str) -> list[str]:
    return card.split(f"## {heading}\n")[1].split("\n## ")[0].strip().splitlines()


# ---- facts and card


def test_a_card_counts_documents_by_source_and_split_and_what_each_stage_did(done):
    card = dataset_card(facts_of(done.open()))
    assert lines(card, "Composition")[2] == "| `lines` | toy_stages:Lines | 61 | 57 | 100.0 % | 1,008 | 57 |"
    assert "| `long` (toy_stages:Long) | filter | 60 | 58 | 2 | 0 | 0 |" in lines(card, "What each stage did")
    assert any(line.startswith("| `long` | dropped |") and line.endswith("| 2 |") for line in card.splitlines())
    assert "- made by `curate run pipeline.yaml`" in lines(card, "How it was made")


def test_a_card_has_no_text_of_a_document(done):
    assert "alpha number" not in dataset_card(facts_of(done.open()))


def test_licences_are_told_by_share_and_those_of_no_document_apart(licensed):
    assert lines(dataset_card(facts_of(licensed)), "Licences") == [
        "| licence (SPDX) | documents | share |", "|---|---:|---|", "| `CC-BY-4.0` | 2 | 40.0 % |",
        "| `GPL-3.0-only` | 1 | 20.0 % |", "| `LicenseRef-a\\|b&lt;c` | 1 | 20.0 % |", "| not known | 1 | 20.0 % |", "",
        "They are what the column `license` says; whether that is right was not judged.", "",
        "1 of 5 documents have a value in the column `author`.",
    ]  # fmt: skip


def test_the_yaml_of_a_card_has_the_names_of_the_hub(licensed):
    assert metadata(dataset_card(facts_of(licensed))) == {
        "pretty_name": "books", "license": ["cc-by-4.0", "gpl-3.0", "other", "unknown"], "language": ["en", "de"],
        "size_categories": ["n<1K"], "tags": ["curate"],
    }  # fmt: skip


def test_tokens_that_a_stage_counted_stand_beside_their_split(licensed):
    assert lines(dataset_card(facts_of(licensed)), "Composition")[-2:] == [
        "| train | 4 | 0 | 8 |",
        "| test | 1 | 0 | 2 |",
    ]


def test_what_nobody_recorded_or_did_is_among_the_gaps(tmp_path):
    gaps = facts_of(make_dataset(tmp_path, {"train": [*ROWS, NULLS]})).gaps
    assert gaps == [
        "No column says under which licences the documents are.", "No column says in which languages the documents are.",
        "No stage looked for personal data.", "It was not audited for bias.", "Nobody counted its tokens.",
        "It was not searched for duplicates across documents.", "It has no validation or test split.",
    ]  # fmt: skip


def test_findings_of_the_newest_audit_are_in_the_card(licensed):
    of: list[Thing] = [{"kind": "version", "id": licensed.version, "name": "books@v1"}]
    for month, flagged in ((1, []), (2, [["toxicity", "score", "gender", "women"]])):
        facts = {"audit": "bias", "verdicts": {"flagged": len(flagged)}, "flagged": flagged}
        began = f"2026-0{month}"
        record(
            licensed.store, "audit", run_id(), name="b", state="done", began=began, inputs=of, outputs=[], facts=facts
        )
    told = lines(dataset_card(facts_of(licensed)), "Bias")
    assert told[0].endswith("1 flagged.") and told[-1] == "| toxicity | score | gender | women |"


def test_passages_that_other_stages_took_out_are_no_personal_data(project):
    project.write(
        "one.jsonl", *(json.dumps({"id": str(n), "text": f"a line that is everywhere\nown {n}"}) for n in range(3))
    )
    project.pipeline(
        'dataset: toy\nsources: [{stage: files, paths: ["one.jsonl"]}]\n'
        "stages: [{stage: exact_lines, min_characters: 5, min_left: 1}]\n"
    )
    project.run()
    one = project.open()
    assert one.manifest["stages"][1]["edited"] == 2
    assert personal_data(one, one.ledger()) == {} and facts_of(one).personal is None


# ---- beside an export


def test_a_card_beside_an_export_says_which_file_is_which_split(licensed, tmp_path):
    export(licensed, "jsonl", tmp_path / "out")
    [config] = metadata((tmp_path / "out/README.md").read_text())["configs"]
    assert config["data_files"] == [
        {"split": "train", "path": ["train.jsonl"]},
        {"split": "test", "path": ["test.jsonl"]},
    ]


def test_beside_a_single_file_the_card_has_its_name(licensed, tmp_path):
    export(licensed, "csv", tmp_path / "all.csv")
    assert sorted(path.name for path in tmp_path.glob("all*")) == [
        "all.csv",
        "all.csv.README.md",
        "all.csv.croissant.json",
    ]


@pytest.mark.parametrize("format", ["jsonl", pytest.param("hf", marks=pytest.mark.slow)])
def test_a_card_that_somebody_changed_stays_and_that_is_told(licensed, tmp_path, format):
    export(licensed, format, tmp_path / "out")
    again = export(licensed, format, tmp_path / "out", overwrite=True)
    assert (len(again.cards), again.notes) == (2, [])
    (tmp_path / "out/README.md").write_text("mine")
    again = export(licensed, format, tmp_path / "out", overwrite=True)
    assert (tmp_path / "out/README.md").read_text() == "mine" and [path.name for path in again.cards] == [
        "croissant.json"
    ]
    assert again.notes == ["`README.md` was not written by an export, or was changed since: it stays"]


def test_a_version_whose_ledger_is_damaged_is_exported_without_a_card_and_that_is_told(licensed, tmp_path):
    (licensed.store.root / object_name(licensed.manifest["ledger"]["shards"])).unlink()
    done = export(licensed, "jsonl", tmp_path / "out")
    assert done.documents == 5 and done.cards == [] and "no dataset card was written: object" in done.notes[0]


def test_a_card_that_cannot_be_written_is_told_and_the_export_is_on_record(licensed, tmp_path):
    (tmp_path / "out/README.md").mkdir(parents=True)
    done = export(licensed, "jsonl", tmp_path / "out")
    assert done.notes == [f"no dataset card was written: cannot write `{tmp_path}/out/README.md`: Is a directory"]
    assert len(records(licensed.store, "export")) == 1


@pytest.mark.slow
def test_load_dataset_finds_the_splits_by_the_card(licensed, tmp_path):
    import datasets

    export(licensed, "jsonl", tmp_path / "out")
    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert {name: part["id"][:] for name, part in loaded.items()} == {"train": ["d0", "d1", "d2", "d3"], "test": ["d4"]}


# ---- Croissant


@pytest.mark.parametrize("format", ["jsonl", "csv", "parquet"])
def test_croissant_metadata_are_valid_and_lead_to_the_documents(licensed, tmp_path, format):
    croissant = library("mlcroissant")
    export(licensed, format, tmp_path / "out")
    found = croissant.Dataset(jsonld=str(tmp_path / "out/croissant.json"))
    assert found.metadata.ctx.issues.errors == set()
    assert [one.uuid for one in found.metadata.record_sets] == ["train", "test"]
    read = [{name.partition("/")[2]: value for name, value in one.items()} for one in found.records("train")]
    told = [
        {name: value.decode() if isinstance(value, bytes) else value for name, value in one.items()} for one in read
    ]
    assert [one["id"] for one in told] == ["d0", "d1", "d2", "d3"]
    assert [one["token_count"] for one in told] == [2] * 4 and told[0]["license"] == "CC-BY-4.0"


def test_croissant_metadata_of_other_formats_name_the_files_with_their_hashes(licensed, tmp_path):
    croissant = library("mlcroissant")
    export(licensed, "tfrecord", tmp_path / "out")
    found = croissant.Dataset(jsonld=str(tmp_path / "out/croissant.json")).metadata
    assert found.ctx.issues.errors == set() and found.record_sets == []
    assert [one.name for one in found.distribution] == ["train.tfrecord", "test.tfrecord"]


def test_croissant_metadata_without_any_library_have_what_their_standard_requires(licensed, tmp_path):
    export(licensed, "parquet", tmp_path / "out")
    found = json.loads((tmp_path / "out/croissant.json").read_text())
    assert {
        "@context",
        "@type",
        "conformsTo",
        "name",
        "description",
        "license",
        "datePublished",
        "version",
    } <= found.keys()
    assert (
        found["license"][0] == "https://spdx.org/licenses/CC-BY-4.0" and len(found["license"]) == 2
    )  # one is no SPDX id
    files = {one["@id"] for one in found["distribution"]}
    assert {field["source"]["fileObject"]["@id"] for one in found["recordSet"] for field in one["field"]} <= files


# ---- public summaries


def test_a_public_summary_marks_every_point_that_the_ledger_cannot_answer(licensed):
    facts = facts_of(licensed)
    points = summary_points(facts, {})
    text = public_summary(facts, points)
    assert text.count("**Open:**") == sum(one.open is not None for one in points)
    assert {one.number for one in points if one.law == "California"} == {str(number) for number in range(1, 13)}
    assert {one.number for one in points if one.law == "EU" and not one.known} == {
        "1.1",
        "1.2",
        "1.3.2",
        "2.1",
        "2.3",
        "2.4",
        "2.6",
    }
    [size] = [one for one in points if one.number == "1.3.1"]
    assert (size.known[1], size.open) == ("10 tokens (column `token_count`): less than 1 billion tokens.", None)


def test_a_public_summary_lists_the_largest_tenth_of_the_hosts_by_bytes_of_text(tmp_path):
    rows = [row(n, text="x" * (n + 1), url=f"https://host{n}.example/page") for n in range(20)]
    odd = [
        row(30, url="http://[broken"),
        row(31, url="ftp://elsewhere"),
        row(32, text=None, url="https://host0.example/"),
    ]
    one = make_dataset(tmp_path, {"train": [*rows, *odd]}, SCHEMA)
    hosts = host_bytes(one)
    assert (len(hosts), hosts["host19.example"], hosts["host0.example"]) == (20, 20, 1)
    text = public_summary(facts_of(one), summary_points(facts_of(one), hosts))
    assert "20 hosts; the largest 2 by" in text and "| host18.example | 19 | 9.0 % |" in text and "host17" not in text
