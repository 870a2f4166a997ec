"""The engine as a whole: what goes in comes out or is accounted for, and equal runs give equal versions."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pyarrow.parquet as parquet
import pytest

import curate
from curate.dataset.runs import records
from curate.dataset.why import why
from curate.errors import CurateError, GateError
from curate.pipeline.backends.local import LocalBackend


def test_every_document_is_kept_dropped_or_quarantined(toy):
    done = toy.run()
    assert done.documents == {"in": 61, "kept": 57, "dropped": 3, "quarantined": 1}


def test_stages_are_told_with_their_numbers(toy):
    rows = {row["id"]: row for row in toy.run().stages}
    assert list(rows) == ["lines", "shout", "long", "letters", "copies"]
    assert (rows["lines"]["in"], rows["lines"]["quarantined"]) == (61, 1)
    assert (rows["shout"]["in"], rows["shout"]["edited"], rows["shout"]["kept"]) == (60, 34, 60)
    assert (rows["long"]["dropped"], rows["copies"]["dropped"], rows["copies"]["kept"]) == (2, 1, 57)
    assert set(rows["long"]) == {"id", "stage", "in", "kept", "dropped", "edited", "quarantined", "seconds", "bytes"}


def test_the_version_holds_the_documents_after_all_stages(toy):
    toy.run()
    texts = toy.texts()
    assert texts[:2] == ["ALPHA NUMBER 0", "ALPHA NUMBER 1"]
    assert texts[-1] == "TEXT WITH AN ID"
    assert "ABC" not in texts
    assert texts.count("THE SAME TEXT") == 1


def test_kept_documents_carry_features_and_columns_of_global_stages(toy):
    toy.run()
    row = toy.open().arrow().slice(0, 1).to_pylist()[0]
    assert row == {
        "id": "one.txt#0",
        "text": "ALPHA NUMBER 0",
        "source_uri": "one.txt#0",
        "length": 14,
        "cluster": "one.txt#0",
    }


def test_artifacts_of_global_stages_are_kept_with_the_version(toy):
    done = toy.run()
    artifact = toy.store.manifest(done.version)["stages"][-1]["artifacts"]["pairs"]
    assert artifact["rows"] == 1
    assert toy.store.read_table(artifact["objects"][0]).to_pylist() == [{"left": "one.txt#32", "right": "two.txt#25"}]


def test_features_of_an_audit_are_kept_and_change_no_document(toy):
    done = toy.run()
    step = next(step for step in toy.open(f"toy@{done.version}").ledger()[0].steps if step.stage == "letters")
    assert (step.verdicts, step.attached) == (None, ())
    assert toy.store.read_table(step.features).column_names == ["row", "#ident", "letters"]


def test_the_same_run_again_does_nothing_and_gives_the_same_version(toy):
    first = toy.run()
    again = toy.run()
    assert (again.version, again.tag, again.tasks["run"]) == (first.version, "v1", 0)
    assert again.tasks["cached"] == first.tasks["run"]


def test_two_workers_give_the_version_that_one_gives(toy):
    one = toy.run(store=toy.root / "first").version
    assert toy.run(store=toy.root / "second", workers=2).version == one


def test_a_project_in_another_folder_gives_the_same_version(toy, tmp_path):
    here = toy.run().version
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(toy.root, elsewhere, ignore=shutil.ignore_patterns(".curate"))
    assert curate.run(elsewhere / "pipeline.yaml", workers=1).version == here


def test_the_manifest_holds_no_path_and_no_time(toy):
    done = toy.run()
    content = (toy.root / ".curate" / "versions" / f"{done.version}.json").read_text()
    assert str(toy.root) not in content
    assert "seconds" not in content


def test_ids_do_not_depend_on_the_size_of_shards(project):
    lines = [json.dumps({"text": f"document number {i} " * 20}) for i in range(300)]
    project.write("in.jsonl", *lines)
    project.pipeline("dataset: toy\nsources: [{stage: files, paths: [in.jsonl]}]\nstages: []\n")
    project.run()
    large = project.open().arrow().column("id").to_pylist()
    project.run("shard_megabytes=0.02")
    assert len(project.open().fragments) > 3
    assert project.open().arrow().column("id").to_pylist() == large


def test_a_second_document_with_an_id_is_quarantined(project):
    project.write("a.txt", "x|first", "x|second", "y|third")
    project.write("b.txt", "x|fourth")
    project.stages()
    done = project.run()
    assert done.documents == {"in": 4, "kept": 2, "dropped": 0, "quarantined": 2}
    assert project.store.manifest(done.version)["stages"][0]["reasons"] == {"quarantined": {"duplicate_id": 2}}
    assert project.texts() == ["first", "third"]


def test_a_renamed_source_accounts_for_its_duplicate_ids_too(project):
    project.write("a.txt", "x|first", "x|second")
    project.stages()
    project.run()
    project.file.write_text(project.file.read_text().replace("id: lines", "id: other"))
    assert project.run().documents["quarantined"] == 1


def test_a_source_without_documents_gives_a_version_of_none_where_that_is_allowed(project):
    project.write("empty.txt")
    project.pipeline()
    done = project.run("min_documents=0")
    assert done.documents == {"in": 0, "kept": 0, "dropped": 0, "quarantined": 0}
    assert project.open().arrow().num_rows == 0
    assert project.open().splits == {"train": 0}
    assert project.run("min_documents=0").tasks["run"] == 0


def test_documents_that_are_all_dropped_give_a_version_of_none(toy):
    done = toy.run("long.minimum=1000", "min_documents=0")
    assert done.documents["kept"] == 0
    assert toy.open().arrow().num_rows == 0
    assert toy.open().polars().collect().height == 0


def test_a_version_without_documents_does_not_become_the_newest(toy):
    first = toy.run()
    with pytest.raises(GateError, match="0 of 61 documents are left, fewer than `min_documents: 1` asks for") as caught:
        toy.run("long.minimum=1000")
    assert "`long` took 60 of the 60 it saw" in caught.value.hint
    assert toy.open().version == first.version
    refused = toy.open(f"toy@{caught.value.result['version'][:12]}")
    assert (len(refused), refused.tag) == (0, None)


def test_where_all_documents_are_quarantined_the_gate_names_the_list_of_these(project):
    project.write("bad.txt", "!a", "!b")
    project.pipeline()
    with pytest.raises(GateError) as caught:
        project.run()
    assert "--quarantined` lists what was quarantined, and why" in caught.value.hint
    assert "--dropped" not in caught.value.hint
    with pytest.raises(CurateError) as missed:
        why(project.open(f"toy@{caught.value.result['version'][:12]}"), "nothing")
    assert "2 that could not be read are called by their places" in missed.value.hint


def test_documents_that_are_all_rejected_are_all_quarantined(project):
    project.write("bad.txt", "!a", "!b")
    project.pipeline()
    assert project.run("min_documents=0").documents == {"in": 2, "kept": 0, "dropped": 0, "quarantined": 2}


def test_a_stage_that_follows_a_global_one_sees_what_is_left(toy):
    toy.file.write_text(toy.file.read_text() + '  - {stage: "toy_stages:Long", id: again, maximum: 16}\n')
    rows = {row["id"]: row for row in toy.run().stages}
    assert rows["again"]["in"] == rows["copies"]["kept"]
    assert rows["again"]["dropped"] == 25


def test_a_column_named_split_cuts_the_version(project):
    project.write("a.txt", *(f"line {i}" for i in range(10)))
    project.stages("Halves")
    project.run()
    assert project.open().splits == {"train": 5, "test": 5}
    assert project.open().arrow("test").column("id").to_pylist() == [f"a.txt#{i}" for i in range(1, 10, 2)]


def test_a_sample_reads_the_first_documents_into_a_dataset_of_its_own(toy):
    done = toy.run(sample=7)
    assert (done.dataset, done.documents["in"]) == ("toy-sample", 7)
    assert toy.open("toy-sample").arrow().column("id").to_pylist() == [f"one.txt#{i}" for i in range(7)]


def test_a_sample_takes_from_the_next_file_what_the_first_has_not(toy):
    assert toy.run("long.minimum=0", sample=40).documents == {"in": 41, "kept": 40, "dropped": 0, "quarantined": 1}


def test_a_sample_takes_from_every_source(project):
    project.write("one.txt", *(f"one {i}" for i in range(9)))
    project.write("two.csv", *(f"two {i}" for i in range(9)))
    sources = ['{stage: "toy_stages:Lines", id: one}', '{stage: "toy_stages:Lines", id: two, paths: "*.csv"}']
    project.pipeline(f"dataset: toy\nsources: [{', '.join(sources)}]\nstages: []\n")
    project.run(sample=2)
    assert project.texts("toy-sample") == ["one 0", "one 1", "two 0", "two 1"]


def test_runs_that_begin_at_once_have_a_record_each(toy, monkeypatch):
    monkeypatch.setattr("curate.pipeline.run.now", lambda: "2026-01-01T00:00:00+00:00")
    versions = [toy.run(f"long.minimum={minimum}").version for minimum in (5, 6)]
    made = [one["outputs"][0]["id"] for one in records(toy.store, "run")]
    assert sorted(made) == sorted(versions)


def test_columns_of_shards_that_differ_become_one_schema(project):
    project.pipeline('dataset: toy\nsources: [{stage: "toy_stages:Typed"}]\nstages: []\n')
    project.run()
    table = project.open().arrow()
    assert [str(kind) for kind in table.schema.types] == ["string", "string", "string", "double", "string", "int64"]
    assert table.column("n").to_pylist() == [1.0, 2.0, 3.0, 0.5, 1.5, None]
    assert table.column("nothing").to_pylist() == [None, None, None, "p", "q", "r"]
    assert table.column("a.dotted").to_pylist() == [None, None, None, 1, 2, 3]


def test_columns_of_shards_that_cannot_be_joined_are_an_error(project):
    project.pipeline('dataset: toy\nsources: [{stage: "toy_stages:Typed", mixed: list}]\nstages: []\n')
    with pytest.raises(CurateError, match=r"column `n` is int64 in one shard and list<.*> in another"):
        project.run()


def test_statistics_in_files_tell_nothing_of_texts(toy):
    done = toy.run()
    for fragment in toy.open(f"toy@{done.version}").fragments:
        with toy.store.parquet(fragment.object) as file:
            group = file.metadata.row_group(0)
            told = {group.column(i).path_in_schema: group.column(i).is_stats_set for i in range(group.num_columns)}
        assert told == {"id": False, "text": False, "source_uri": False}


def test_no_object_of_the_ledger_has_statistics_of_texts(toy):
    toy.run()
    for path in (toy.root / ".curate" / "objects").glob("*/*.parquet"):
        for group in range(parquet.read_metadata(path).num_row_groups):
            columns = parquet.read_metadata(path).row_group(group)
            for i in range(columns.num_columns):
                column = columns.column(i)
                assert not column.is_stats_set or column.physical_type != "BYTE_ARRAY"


# ---- gates


def test_more_quarantined_than_a_count_allows_fails_and_the_newest_version_stays(toy):
    first = toy.run()
    with pytest.raises(GateError, match="1 of 61 documents are quarantined, more than `max_quarantined: 0`") as caught:
        toy.run("max_quarantined=0")
    assert (caught.value.exit_code, toy.open().version) == (3, first.version)
    assert len(toy.open(f"toy@{caught.value.result['version']}")) == 57


def test_a_dataset_whose_only_version_failed_a_gate_says_so(toy):
    with pytest.raises(GateError):
        toy.run("max_quarantined=0")
    with pytest.raises(CurateError, match="no version of `toy` has passed its gates"):
        toy.open()


def test_more_quarantined_than_a_share_allows_fails(toy):
    toy.run("max_quarantined=0.02")
    with pytest.raises(GateError):
        toy.run("max_quarantined=0.01")


def test_quarantined_documents_are_allowed_where_no_limit_is_set(toy):
    assert toy.run("max_quarantined=null").documents["quarantined"] == 1


# ---- conservation


def tamper(project, stage, change):
    """Make a step's receipts wrong as a defect would: whole, and sealed."""
    for path in (project.root / ".curate" / "receipts").glob("*/*.json"):
        receipt = json.loads(path.read_bytes())
        for one in receipt.get("results", [receipt]):
            for step in one.get("steps", ()):
                if step.get("stage") == stage:
                    change(step)
                    receipt.pop("seal", None)
                    project.store.write_sealed(path.relative_to(project.root / ".curate").as_posix(), receipt)


def test_a_receipt_that_loses_documents_fails_the_run(toy):
    toy.run()
    tamper(toy, "long", lambda step: step["reasons"].update(dropped={"too_short": 2}))
    outcome = toy.cli("run", "pipeline.yaml", "--workers", 1)
    assert outcome.code == 1
    assert "internal error" in outcome.err


def test_a_receipt_with_wrong_numbers_fails_the_run(toy):
    toy.run()
    tamper(toy, "letters", lambda step: step.update(count=5))
    outcome = toy.cli("run", "pipeline.yaml", "--workers", 1)
    assert outcome.code == 1
    assert "internal error: ConservationError: stage `letters` saw 5 of the 31 documents" in outcome.err


# ---- Python


def test_a_plain_script_can_run_and_open(toy):
    script = toy.write(
        "script.py",
        "from curate import run, open_dataset",
        "print(run('pipeline.yaml', workers=2).version)",
        "print(open_dataset('toy').version)",
    )
    done = subprocess.run([sys.executable, script], cwd=toy.root, capture_output=True, text=True, check=True)
    first, second = done.stdout.split()
    assert first == second


def test_a_stage_beside_the_pipeline_file_is_found(project, monkeypatch):
    monkeypatch.delenv("PYTHONPATH")
    project.write(
        "own_stage_of_mine.py",
        "from curate.stages.contract import Effect, Mapper, Verdicts",
        "class Nothing(Mapper):",
        "    def open(self):",
        "        return lambda batch: Effect(Verdicts().table())",
    )
    project.write("in.jsonl", '{"text": "hello"}')
    project.pipeline(
        'dataset: t\nsources: [{stage: files, paths: ["in.jsonl"]}]\nstages: [{stage: "own_stage_of_mine:Nothing"}]\n'
    )
    outcome = project.call("run", project.file, cwd="/")
    assert outcome.code == 0, outcome.err


def test_an_unknown_stage_to_force_is_an_error(toy):
    with pytest.raises(CurateError, match="no stage has the id `lnog`") as caught:
        toy.run(force=["lnog"])
    assert caught.value.hint == "ids: copies, letters, lines, long, shout"


def test_a_stage_that_gives_a_column_text_is_an_error(project):
    project.write("a.txt", "hello")
    project.stages("Overwrites, id: bad")
    with pytest.raises(CurateError, match="stage `bad` gives a column named `text`"):
        project.run()


def test_limits_on_a_run_are_no_part_of_its_version(project):
    project.write("a.txt", "one", "two")
    project.stages("Shout")
    first = project.run().version
    assert project.run("max_quarantined=7", "time_limit=5").version == first


def test_a_run_is_on_record_with_what_it_was_given_and_made_by_hash(project):
    project.write("in.txt", "a", "b")
    project.stages("Shout, id: it")
    version = project.run().version
    (one,) = records(project.store, "run")
    given = {thing["kind"]: thing["id"] for thing in one["inputs"]}
    assert given["inputs"] == project.open().manifest["lineage"]["inputs"]
    assert len(given["pipeline"]) == 64
    assert (one["state"], one["outputs"]) == ("done", [{"kind": "version", "id": version, "name": "toy@v1"}])


@pytest.mark.parametrize(("error", "state"), [(CurateError("no"), "failed"), (KeyboardInterrupt(), "interrupted")])
def test_a_run_that_stops_on_the_way_is_on_record_as_such(project, monkeypatch, error, state):
    def run(backend, waiting):
        told.extend(one["state"] for one in records(project.store, "run"))
        raise error

    told = []
    project.write("in.txt", "a", "b")
    project.stages("Shout, id: it")
    monkeypatch.setattr(LocalBackend, "run", run)
    with pytest.raises(type(error)):
        project.run()
    (one,) = records(project.store, "run")
    assert (told, one["state"], one["outputs"]) == (["running"], state, [])


def test_what_became_the_newest_is_on_record_though_nothing_had_to_be_done(project):
    project.write("in.txt", "a", "b")
    versions = []
    for word in "abaa":
        project.stages(f"Shout, id: it, word: {word}")
        versions.append(project.run().version)
    made = [one["outputs"][0]["id"] for one in records(project.store, "run")]
    assert sorted(made) == sorted(versions[:3])
