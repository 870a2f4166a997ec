"""What pages tell after an erasure: the document, the old address, the runs; and of versions that failed a gate."""

from __future__ import annotations

import shutil

import pytest

from curate.dataset.erased import erasures
from curate.dataset.refs import read
from curate.erasure.erase import erase
from curate.erasure.subject import read_subject
from curate.workbench.desk import Desk
from tests.browse.conftest import client, version_of
from tests.reports.conftest import Project


class Before:
    """A store with a server that looked at a version of which a document was erased since."""

    def __init__(self, project):
        self.project, self.version = project, version_of(project.store)
        project.train("small", [{"step": 1, "loss": 2.0}])
        self.desk = Desk(project.store)
        with self.desk.version(self.version) as dataset:
            self.desk.columns(dataset)
        del dataset  # held open it would keep the erasure waiting
        subject = project.root / "subject.yaml"
        subject.write_text("documents: [a1]\n")
        erase(project.store, read_subject(subject), say=lambda _: None)
        self.pages = client(project.store)
        self.now = version_of(project.store)


@pytest.fixture(scope="module")
def erased(books_once, tmp_path_factory):
    root = tmp_path_factory.mktemp("erased") / "copy"
    shutil.copytree(books_once.root, root)
    return Before(Project(root))


def test_columns_of_an_erased_version_are_let_go_of_without_a_request(erased):
    assert len(erased.desk._held) == 1
    with erased.desk.looking(0.01):
        for _ in range(500):
            if not erased.desk._held:
                break
            __import__("time").sleep(0.01)
    assert not erased.desk._held


def test_documents_that_stay_keep_their_training_runs(erased):
    place = erased.pages.get(f"/v/{erased.now}/document.json?id=c0").json()
    assert place["story"]["verdict"] == "kept"
    assert [one["run"] for one in place["trainings"]] == ["small"]
    from curate.reports.runs import runs_of

    assert [one.run for one in runs_of(erased.project.store, erased.project.version)] == ["small"]


def test_an_old_address_leads_to_what_took_its_place_and_says_so(erased):
    answer = erased.pages.get(f"/v/{erased.version}/documents?is.verdict=kept", follow_redirects=False)
    assert answer.status_code == 303
    assert (
        answer.headers["location"]
        == f"/v/{erased.now}/documents?is.verdict=kept&was={erased.version.replace('@', '%40')}"
    )
    page = erased.pages.get(f"/v/{erased.version}/documents?is.verdict=kept").text
    (record,) = erasures(erased.project.store)
    assert (
        f"{erased.version} is not there any more: this version took its place by erasure {record['id']} on 20" in page
    )
    assert erased.pages.get(f"/v/{erased.version}/documents.json").json()["version"] == erased.now
    assert "not there any more" not in erased.pages.get(f"/v/{erased.now}/documents").text


def test_an_erased_document_is_told_by_id_and_by_place(erased):
    (record,) = erasures(erased.project.store)
    answer = erased.pages.get(f"/v/{erased.now}/document.json?id=a1")
    (error,) = answer.json()["errors"]
    assert answer.status_code == 404 and error["problem"].startswith("there is no document `a1` any more: erasure")
    assert record["id"] in error["problem"]
    told = erased.pages.get(f"/v/{erased.now}/d/0-1.json").json()
    assert told["texts"] is None and [one["id"] for one in told["erasures"]] == [record["id"]]
    page = erased.pages.get(f"/v/{erased.now}/d/0-1").text
    assert f"It was erased: erasure {record['id']}, begun 20" in page and "unmasked" not in page


def test_the_first_page_keeps_the_time_of_a_version_that_an_erasure_made_anew(erased):
    (version,) = erased.pages.get("/index.json").json()["datasets"][0]["versions"]
    (commit,) = [one for one in read(erased.project.store, "books")[0]["log"] if one["action"] == "commit"]
    assert (version["name"], version["time"]) == (erased.now, commit["time"])


@pytest.mark.parametrize(("asked", "place"), [("a0", "0-0"), ("web/a.jsonl#0", "0-0"), ("web/a.jsonl#259", "0-r0")])
def test_a_document_is_found_by_the_names_that_why_knows(pages, books_once, asked, place):
    version = version_of(books_once.store)
    rejected = pages.get(f"/v/{version}/d/0-r0.json").json()["story"]["source"]
    asked = rejected if place == "0-r0" else asked
    told = pages.get(f"/v/{version}/document.json", params={"id": asked}).json()
    assert told["place"] == place


def test_a_version_that_failed_a_gate_is_listed_and_called_so(make, monkeypatch):
    from curate import run
    from curate.errors import CurateError

    project = make("failing", {"texts/a.jsonl": ["one two", "three"]}, [])
    text = (project.root / "pipeline.yaml").read_text().replace("min_documents: 0", "min_documents: 9")
    (project.root / "pipeline.yaml").write_text(text)
    with pytest.raises(CurateError):
        run(project.root / "pipeline.yaml", overrides=["dataset=other"], workers=1)
    pages = client(project.store)
    told = {one["dataset"]: one["versions"] for one in pages.get("/index.json").json()["datasets"]}
    assert [one["failed"] is None for one in told["books"]] == [True]
    (failed,) = told["other"]
    assert failed["failed"] and failed["name"] in pages.get("/").text
    for end in ("", "/documents", "/what-if"):
        assert "This version failed a gate" in pages.get(f"/v/{failed['name']}{end}").text
        assert "This version failed a gate" not in pages.get(f"/v/{told['books'][0]['name']}{end}").text


def test_the_page_of_a_document_has_its_columns_and_those_that_stages_attached(make):
    from tests.reports.conftest import LONG, stage

    rows = [{"text": f"{LONG} und", "topic": "sea", "views": 7, "author": "ann@example.org"}]
    project = make("cells", {"texts/a.jsonl": rows}, [stage("Language", "language")])
    version = version_of(project.store)
    told = client(project.store).get(f"/v/{version}/d/0-0.json").json()
    assert told["columns"] == {"topic": "sea", "views": 7, "language.language": "de"}
    assert "<dt>topic</dt><dd>sea</dd>" in client(project.store).get(f"/v/{version}/d/0-0").text
