"""Sources that fetch: fetched once, pinned by a lock file, read as a function of the snapshot."""

from __future__ import annotations

import errno
import json
import os
import shutil

import pytest
from toy_project import HERE, Project

from curate.config.pipeline import load_pipeline
from curate.dataset.export.target import ExportResult, export, export_folder
from curate.dataset.facts import facts_of
from curate.dataset.runs import records
from curate.dataset.snapshots import find_snapshot, pin, pinned_versions, snapshots, write_snapshot
from curate.dataset.store import Store
from curate.errors import CurateError, ResumableError
from curate.pipeline.fetch import fetch

PIPELINE = """\
dataset: toy
sources:
  - {stage: "toy_fetch:Pages", id: pages}
stages:
  - {stage: "toy_stages:Letters", id: letters}
"""


def fill(project):
    project.pipeline(PIPELINE)
    (project.root / "served").mkdir()
    for number in range(3):
        project.write(f"served/{number}.txt", *(f"page {number}, line {line}" for line in range(4)))
    return project


@pytest.fixture
def pages(project):
    """A project with three pages to fetch."""
    return fill(project)


@pytest.fixture(scope="session")
def folder_of_a_run(tmp_path_factory):
    root = tmp_path_factory.mktemp("pages")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(HERE))
        patch.setenv("PYTHONPATH", str(HERE), prepend=os.pathsep)
        patch.delenv("CURATE_STORE", raising=False)
        fill(Project(root, None, patch)).run()
    return root


@pytest.fixture
def fetched(project, folder_of_a_run):
    """The same after a run."""
    shutil.copytree(folder_of_a_run, project.root, dirs_exist_ok=True)
    return project


def version(project):
    return project.open().version


def asked(project):
    log = project.root / "asked.log"
    return [int(line) for line in log.read_text().split()] if log.exists() else []


def lock(project):
    return json.loads((project.root / "pipeline.lock").read_text())


def test_a_run_fetches_what_is_not_pinned_and_never_again(fetched):
    first = version(fetched)
    assert asked(fetched) == [0, 1, 2]
    assert lock(fetched)["sources"]["pages"]["rows"] == 12
    fetched.write("served/0.txt", "the place says something else now")
    assert fetched.run().version == first
    assert asked(fetched) == [0, 1, 2]


def test_documents_keep_key_as_id_and_address_as_place(fetched):
    table = fetched.open().arrow()
    assert table.column("id").to_pylist()[:5] == ["1-0", "1-1", "1-2", "1-3", "2-0"]
    assert table.column("source_uri")[4].as_py() == "pages:served#2-0"


@pytest.mark.slow
def test_a_refresh_gives_a_version_that_differs_and_the_same_rows_give_the_same_version(fetched):
    first = version(fetched)
    assert fetched.cli("collect", "pipeline.yaml", "--refresh", "pages").code == 0
    assert len(snapshots(fetched.store)) == 2
    again = fetched.run()
    assert (again.version, again.tasks["run"]) == (first, 0)
    fetched.write("served/0.txt", "the place says something else now")
    assert fetched.cli("collect", "pipeline.yaml", "--refresh", "pages").code == 0
    assert fetched.run().version != first
    assert fetched.texts()[0] == "the place says something else now"


def test_a_refresh_after_an_erasure_says_that_its_rows_may_have_the_person_again(fetched):
    fetched.store.write("erasures/e.json", b'{"id": "e", "began": "2026", "state": "done", "suppressed": null}')
    told = "who was erased from this store may be in what was fetched now; runs leave them out; erase them again"
    assert told not in fetched.cli("collect", "pipeline.yaml", "--refresh", "pages").err
    fetched.write("served/0.txt", "the place says something else now")
    assert told in fetched.cli("collect", "pipeline.yaml", "--refresh", "pages").err


def test_a_setting_of_reading_or_of_pace_fetches_nothing(fetched):
    fetched.run("pages.upper=true")
    assert asked(fetched) == [0, 1, 2]


def test_how_gently_something_is_fetched_changes_no_version(fetched):
    first = version(fetched)
    assert fetched.run("pages.rate=9").version == first
    fetched.pipeline(PIPELINE.replace("id: pages", "id: pages, rate: 8"))
    assert fetched.run().version == first
    assert asked(fetched) == [0, 1, 2]


def test_other_settings_of_what_is_fetched_are_an_error_that_names_the_refresh(fetched):
    (fetched.root / "other").mkdir()
    with pytest.raises(CurateError) as caught:
        fetched.run("pages.folder=other")
    assert caught.value.problem == "what is pinned for `pages` was fetched with other settings"
    assert "--refresh pages" in (caught.value.hint or "")
    assert str(caught.value.where).endswith("pipeline.lock")
    assert fetched.cli("collect", "pipeline.yaml", "--set", "pages.folder=other", "--refresh", "pages").code == 0


def test_a_lock_of_another_pipeline_is_an_error(fetched):
    said = lock(fetched)
    for other in ({**said, "dataset": "books", "sources": {"shelf": {"snapshot": "a", "key": "b"}}},
                  {**said, "dataset": "books", "sources": {"pages": {"snapshot": "a", "key": "b"}}}):  # fmt: skip
        (fetched.root / "pipeline.lock").write_text(json.dumps(other))
        with pytest.raises(CurateError, match="lock file of another pipeline: of the dataset `books`, not `toy`"):
            fetched.run()
    pinned = {"schema": 1, "dataset": "toy", "sources": {"pages": {"snapshot": "0" * 64, "key": "x"}}}
    wrong = [
        {"schema": 1, "sources": {}},
        {**pinned, "sources": {"pages": "x"}},
        {**pinned, "sources": {"pages": {"key": "x"}}},
    ]
    wrong.append({**pinned, "sources": {"pages": {"snapshot": "../../x", "key": "x"}}})
    for damaged in ("{", "[]", '{"schema": 2, "sources": {}}', *map(json.dumps, wrong)):
        (fetched.root / "pipeline.lock").write_text(damaged)
        with pytest.raises(CurateError, match="lock file"):
            fetched.run()


@pytest.mark.slow
def test_a_sample_and_another_name_of_the_dataset_use_the_same_pin(fetched):
    fetched.run(sample=2)
    fetched.run("dataset=toys")
    assert asked(fetched) == [0, 1, 2]


def test_a_snapshot_that_is_missing_or_lost_a_piece_is_an_error_that_says_what_to_do(fetched):
    ((name, record),) = snapshots(fetched.store)
    piece = record["pieces"][0]["object"]
    fetched.store.blobs.delete(f"objects/{piece[:2]}/{piece}.parquet")
    with pytest.raises(CurateError, match="pinned for `pages` is not in the store, or not whole") as caught:
        fetched.run()
    assert "--store" in (caught.value.hint or "")
    fetched.store.blobs.delete(f"snapshots/{name}.json")
    for command in ("plan", "validate", "run"):
        outcome = fetched.cli(command, "pipeline.yaml")
        assert (outcome.code, "is not in the store" in outcome.err) == (2, True), command


def test_offline_fetches_nothing_and_says_so(pages):
    for command in ("run", "collect"):
        outcome = pages.cli(command, "pipeline.yaml", "--offline")
        assert outcome.code == 2
        assert "nothing is pinned for `pages`, and --offline fetches nothing" in outcome.err
    assert asked(pages) == []
    pages.cli("collect", "pipeline.yaml")
    assert pages.cli("run", "pipeline.yaml", "--offline").code == 0


def test_plan_and_validate_tell_age_and_size_and_fetch_nothing(pages):
    assert "pages: nothing is fetched yet" in pages.cli("plan", "pipeline.yaml").out
    unknown = pages.cli("validate", "pipeline.yaml")
    assert unknown.code == 0
    assert "`pages` is not fetched yet" in unknown.err
    assert asked(pages) == []
    pages.run()
    for command in ("plan", "validate"):
        told = pages.cli(command, "pipeline.yaml").out
        assert "pages: snapshot of 12 rows, 0.0 MB from pages:served, fetched just now (20" in told
        (row,) = json.loads(pages.cli(command, "pipeline.yaml", "--json").out)["snapshots"]
        assert (row["source"], row["rows"], row["facts"]) == ("pages", 12, {"pages": 3})
    assert "columns of the documents: id, text, source_uri" in pages.cli("validate", "pipeline.yaml").out
    assert pages.plan()["letters"]["action"] == "cached"


def test_a_plan_behind_what_is_not_fetched_knows_nothing(pages):
    pages.write("one.txt", "a line")
    pages.stages("Letters")
    pages.run()
    pages.pipeline(PIPELINE)
    plan = pages.plan()
    assert (plan["pages"]["run"], plan["pages"]["why"]) == (None, "nothing is pinned: it is fetched first")
    assert plan["letters"]["run"] is None


def test_a_refresh_of_what_does_not_fetch_is_an_error(pages):
    outcome = pages.cli("collect", "pipeline.yaml", "--refresh", "letters")
    assert outcome.code == 2
    assert "no source that fetches has the id `letters`" in outcome.err
    assert "these fetch: `pages`" in outcome.err


def test_collect_in_json_says_what_is_pinned(pages):
    told = json.loads(pages.cli("collect", "pipeline.yaml", "--json").out)
    assert set(told) == {"schema", "pipeline", "dataset", "store", "lock", "snapshots"}
    assert told["snapshots"][0]["from"] == "pages:served"


@pytest.mark.slow
def test_a_killed_fetch_goes_on_where_it_was_and_fetches_nothing_twice(pages):
    pages.write("served/2.txt", "page 2", "KILL")
    assert pages.call("collect", "pipeline.yaml").code == -9
    assert asked(pages) == [0, 1, 2]
    assert not (pages.root / "pipeline.lock").exists()
    outcome = pages.call("collect", "pipeline.yaml")
    assert outcome.code == 0
    assert "going on after 8 rows" in outcome.err
    assert asked(pages) == [0, 1, 2, 2]  # the one that was under way, and no other
    assert not list(pages.store.blobs.list("fetches"))
    killed = lock(pages)["sources"]["pages"]
    (pages.root / "pipeline.lock").unlink()
    pages.cli("collect", "pipeline.yaml")
    at_once = lock(pages)["sources"]["pages"]
    assert (killed["rows"], killed["bytes"]) == (at_once["rows"], at_once["bytes"])
    contents = [[one["object"] for one in record["pieces"]] for _, record in snapshots(pages.store)]
    assert contents[0] == contents[1]


@pytest.mark.slow
def test_a_full_disk_keeps_what_was_fetched_and_says_what_to_do(pages, monkeypatch):
    from curate.dataset.blobs import LocalBlobs

    publish, left = LocalBlobs.publish, [2]

    def until_full(self, name, content):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        publish(self, name, content)

    with monkeypatch.context() as patch, pytest.raises(ResumableError, match="the disk is full") as caught:
        patch.setattr(LocalBlobs, "publish", until_full)
        pages.run()
    assert "run the same command again" in (caught.value.hint or "")
    pages.run()
    assert asked(pages) == [0, 1, 2, 2]


def test_no_message_shows_a_secret(pages, monkeypatch):
    monkeypatch.setenv("TOY_TOKEN", "s3cr3t/word")
    pages.pipeline(PIPELINE.replace("id: pages", "id: pages, token_from: TOY_TOKEN"))
    pages.write("served/1.txt", "LEAK")
    with pytest.raises(ResumableError) as caught:
        pages.run()
    assert caught.value.problem == "`pages` cannot be fetched: cannot log in with ***"
    assert caught.value.__cause__ is None
    held = b"".join(path.read_bytes() for path in pages.root.rglob("*") if path.is_file())
    assert b"s3cr3t" not in held


# ---- several sources, several pipelines

TWO = """\
dataset: toy
sources:
  - {stage: "toy_fetch:Pages", id: a}
  - {stage: "toy_fetch:Pages", id: b, folder: others}
stages: []
"""


@pytest.fixture
def two(pages):
    """A project with two sources that fetch, both fetched."""
    (pages.root / "others").mkdir()
    pages.write("others/0.txt", "another place")
    pages.pipeline(TWO)
    assert pages.cli("collect", "pipeline.yaml").code == 0
    return pages


def pinned(project):
    return [project.store.read_json(blob.name)["sources"] for blob in project.store.blobs.list("pins")]


def test_a_refresh_that_fails_moves_no_pin_but_those_of_what_was_fetched(two):
    before = {name: one["snapshot"] for name, one in lock(two)["sources"].items()}
    two.write("served/0.txt", "new")
    two.write("others/0.txt", "LEAK")
    two.pipeline(TWO.replace("folder: others", "folder: others, token_from: HOME"))
    assert two.cli("collect", "pipeline.yaml", "--refresh", "a", "--refresh", "b").code != 0
    now = {name: one["snapshot"] for name, one in lock(two)["sources"].items()}
    assert now["b"] == before["b"]
    assert now["a"] != before["a"]
    assert pinned(two) == [now]


def test_each_source_that_is_refreshed_goes_on_from_its_own_snapshot(two, monkeypatch):
    import toy_fetch

    before, seen = {one["snapshot"] for one in lock(two)["sources"].values()}, set()
    fetch = toy_fetch.Pages.fetch
    monkeypatch.setattr(toy_fetch.Pages, "fetch", lambda self, desk: (seen.add(desk.previous.id), fetch(self, desk))[1])
    assert two.cli("collect", "pipeline.yaml", "--refresh", "a", "--refresh", "b").code == 0
    assert seen == before


def test_a_fetch_that_is_killed_before_its_pin_is_not_fetched_again(pages, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("curate.pipeline.fetch.pin", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        fetch(load_pipeline(pages.file), Store.open(pages.location, create=True), say=print)
    assert pages.cli("collect", "pipeline.yaml").code == 0
    assert asked(pages) == [0, 1, 2]
    assert not list(pages.store.blobs.list("fetches"))


def test_two_pipelines_of_one_dataset_have_each_its_pins(two):
    shutil.copy(two.file, two.root / "other.yaml")
    assert two.cli("collect", "other.yaml").code == 0
    assert len(pinned(two)) == 2
    assert set(pinned(two)[0].values()).isdisjoint(pinned(two)[1].values())


def test_garbage_collection_goes_over_a_pinned_snapshot_of_what_a_model_wrote(tmp_path):
    store = Store.open(tmp_path / "store", create=True)
    facts = {"address": "synthesize/model", "version": "0" * 64}
    times = dict.fromkeys(("began", "ended"), "2026-01-01T00:00:00+00:00")
    record = {"kind": "synthesize", "key": "k", "settings": {}, "pieces": [], "facts": facts, "succeeds": [], **times}
    pin(store, "toy", {"written": write_snapshot(store, record).id})
    assert pinned_versions(store) == {"0" * 64}


# ---- cards and exports


def test_a_version_that_was_fetched_has_a_card_and_exports(fetched):
    facts = facts_of(fetched.open())
    assert facts.origin["input_bytes"] == sum(piece.bytes for piece in pieces(fetched))
    export(fetched.open(), "jsonl", fetched.root / "out")
    assert f"inputs: 1, {facts.origin['input_bytes']:,} bytes" in (fetched.root / "out" / "README.md").read_text()


@pytest.mark.slow
def test_a_version_of_another_version_has_a_card(fetched):
    (fetched.root / "pipeline.lock").unlink()
    fetched.pipeline("dataset: again\nsources: [{stage: dataset, id: toy, name: toy}]\nstages: []\n")
    fetched.run()
    assert facts_of(fetched.open("again")).origin["input_bytes"] == 0


def test_an_export_whose_card_fails_is_recorded_all_the_same(fetched, monkeypatch):
    def written(job):
        job.out.mkdir()
        (job.out / "train.bin").write_bytes(b"tokens")
        return ExportResult({job.out / "train.bin": None}, documents=1, bytes=6)

    monkeypatch.setattr("curate.dataset.export.target.facts_of", lambda dataset: 1 // 0)
    options = {"split": None, "columns": ["text"], "overwrite": False, "asked": {}}
    with pytest.raises(ZeroDivisionError):
        export_folder(fetched.open(), "nanogpt", fetched.root / "out", written, **options)
    (one,) = records(fetched.store, "export")
    assert [output["name"] for output in one["outputs"]] == [str(fetched.root / "out" / "train.bin")]


# ---- keeping and erasing


def aged(project):
    for path in (project.root / ".curate").rglob("*"):
        os.utime(path, (1e9, 1e9))


@pytest.mark.slow
def test_garbage_collection_keeps_pinned_snapshots_and_those_that_versions_read(fetched):
    fetched.write("served/0.txt", "second")
    fetched.cli("collect", "pipeline.yaml", "--refresh", "pages")
    fetched.run()
    fetched.write("served/0.txt", "third")
    fetched.cli("collect", "pipeline.yaml", "--refresh", "pages")  # pinned, and read by no version
    aged(fetched)
    kept = json.loads(fetched.cli("data", "gc", "--keep-days", "0", "--keep-last", "2", "--json").out)
    assert kept["snapshots"] == 0
    gone = json.loads(fetched.cli("data", "gc", "--keep-days", "0", "--keep-last", "0", "--json").out)
    assert (gone["versions"], gone["snapshots"]) == (1, 1)
    assert fetched.run().documents["in"] == 9
    assert fetched.texts()[0] == "third"


@pytest.mark.slow
def test_garbage_collection_keeps_a_fetch_that_goes_on(pages, monkeypatch):
    pages.write("served/2.txt", "LEAK")
    monkeypatch.setenv("TOY_TOKEN", "secret")
    pages.pipeline(PIPELINE.replace("id: pages", "id: pages, token_from: TOY_TOKEN"))
    with pytest.raises(ResumableError):
        pages.run()
    aged(pages)
    pages.cli("data", "gc", "--keep-days", "0")
    pages.write("served/2.txt", "well")
    pages.run()
    assert asked(pages) == [0, 1, 2, 2]


PERSON = "Jane Elisabeth Doe"


@pytest.mark.slow
def test_erasure_reaches_snapshots(pages):
    pages.write("served/1.txt", "a line that stays", f"{PERSON} said so", "another line")
    pages.run()
    before = lock(pages)["sources"]["pages"]["snapshot"]
    (pages.root / "subject.yaml").write_text(f"names: [{PERSON}]\ndocuments: [1-2]\n")
    told = json.loads(pages.cli("data", "erase", "--subject-file", "subject.yaml", "--json").out)
    assert told["snapshots"] == 1
    held = "".join(str(pages.store.read_table(one.object).to_pydict()) for one in pieces(pages))
    assert PERSON not in held
    assert "page 0, line 2" not in held
    assert "a line that stays" in held
    assert before not in {name for name, _ in snapshots(pages.store)}
    pages.run()  # the old pin leads to the new snapshot
    assert "page 0, line 2" not in pages.texts()
    assert len(pages.texts()) == 10
    assert asked(pages) == [0, 1, 2]
    assert lock(pages)["sources"]["pages"]["snapshot"] != before


def pieces(project):
    return [piece for name, _ in snapshots(project.store) for piece in find_snapshot(project.store, name).pieces]
