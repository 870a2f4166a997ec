"""The pages and their JSON: what commands tell, nothing personal, hostile text as text."""

from __future__ import annotations

import json
import shutil
import signal
from http.client import HTTPConnection

import pytest

from curate.dataset.leases import versions_in_use
from curate.dataset.reader import open_dataset
from curate.dataset.runs import records
from curate.dataset.why import why
from curate.reports.text import BLOCK
from tests.browse.conftest import client, opened, version_of
from tests.reports.conftest import HOSTILE, Project

HEADERS = {"x-curate": "1"}


def facts(pages, path):
    answer = pages.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture(scope="session")
def books(books_once):
    return version_of(books_once.store)


def test_the_first_page_lists_versions_and_runs(pages, books_once, books):
    told = facts(pages, "/index.json")
    assert [one["dataset"] for one in told["datasets"]] == ["books"]
    (version,) = told["datasets"][0]["versions"]
    assert (version["name"], version["tags"]) == (books, ["v1"])
    assert version["documents"] == books_once.store.manifest(books_once.version)["documents"]
    assert [one["kind"] for one in told["runs"]] == ["run"]
    assert told["disk"]["objects"] > 0


def test_the_funnel_is_the_manifest(pages, books_once, books):
    told = facts(pages, f"/v/{books}.json")
    rows = books_once.store.manifest(books_once.version)["stages"]
    assert [(one["id"], one["kept"], one["dropped"]) for one in told["stages"]] == [
        (row["id"], row["kept"], row["dropped"]) for row in rows
    ]


def test_every_link_of_the_funnel_leads_to_as_many_documents_as_it_says(pages, books):
    import re

    page = pages.get(f"/v/{books}").text
    links = re.findall(r'href="([^"]*documents\?[^"]*)">([0-9,]+)<', page)
    assert len(links) > 6
    for address, count in links:
        path, _, query = address.replace("&amp;", "&").partition("?")
        assert facts(pages, f"{path}.json?{query}")["documents"] == int(count.replace(",", ""))


def test_the_story_of_every_document_is_what_why_tells(pages, books_once, books):
    dataset, columns = opened(books_once)
    seen = set()
    for row in range(columns.rows):
        told = facts(pages, f"/v/{books}/d/{columns.place(row)}.json")
        name = told["story"]["id"]
        assert told["story"] == json.loads(json.dumps({**why(dataset, name), "labels": []}))
        seen.add(told["story"]["verdict"])
    assert seen == {"kept", "dropped", "quarantined"}


def test_a_later_document_with_the_same_id_has_its_own_story(make):
    rows = [{"id": "a", "text": "first of two with this id"}, {"id": "a", "text": "the second of them"}]
    project = make("twice", {"texts/a.jsonl": rows}, [])
    pages, version = client(project.store), version_of(project.store)
    first, second = (facts(pages, f"/v/{version}/d/0-{row}.json") for row in range(2))
    assert (first["story"]["verdict"], second["story"]["verdict"]) == ("kept", "quarantined")
    assert second["story"]["reason"] == "duplicate_id" and second["texts"]["raw"] == rows[1]["text"]


def test_a_list_tells_of_documents_what_their_pages_tell(pages, books):
    told = facts(pages, f"/v/{books}/documents.json")
    assert told["rows"] == told["documents"] == len(told["listed"])
    for one in told["listed"]:
        story = facts(pages, f"/v/{books}/d/{one['place']}.json")["story"]
        for key in ("id", "source", "verdict", "stage", "reason", "value", "threshold"):
            assert one[key] == story[key], key


def test_what_looks_personal_or_a_stage_found_to_be_is_hidden_everywhere(pages, books):
    for path in (f"/v/{books}/documents", f"/v/{books}/search?q=contact", f"/v/{books}/search?q=call"):
        for page in (
            pages.get(path),
            pages.get(path.replace("/search", "/search.json").replace("ments", "ments.json")),
        ):
            assert page.status_code == 200
            assert "ann@example.org" not in page.text and "212 555" not in page.text
    told = facts(pages, f"/v/{books}/search.json?q=contact")["listed"][0]
    assert "<EMAIL>" in told["text"] and [told["text"][one:end] for one, end in told["marks"]] == ["contact"]
    assert BLOCK in facts(pages, f"/v/{books}/d/{told['place']}.json")["texts"]["raw"]
    for kind in ("", ".json"):
        assert "ann@example.org" not in pages.get(f"/v/{books}/d/{told['place']}{kind}").text


def test_names_that_only_a_stage_found_are_hidden_in_nested_texts_too(chats):
    pages, version = client(chats.store), version_of(chats.store)
    _, columns = opened(chats)
    assert columns.edited.sum() == 2  # one was dropped before the stage that finds names
    for path in (f"/v/{version}/documents?is.verdict=kept", *(f"/v/{version}/d/0-{row}" for row in (0, 2))):
        plain, _, query = path.partition("?")
        for kind in ("", ".json"):
            assert "Zebulon" not in pages.get(f"{plain}{kind}?{query}").text
    texts = facts(pages, f"/v/{version}/d/0-0.json")["texts"]
    assert BLOCK in texts["raw"] and "<PERSON>" in texts["final"]


def test_a_text_is_shown_unmasked_where_it_is_asked_for_and_that_is_told(pages, books, capsys):
    place = facts(pages, f"/v/{books}/search.json?q=contact")["listed"][0]["place"]
    origin = f"http://127.0.0.1:{pages.base_url.port}"
    told = pages.post(f"/v/{books}/d/{place}/reveal", headers={**HEADERS, "origin": origin}).json()
    assert "ann@example.org" in told["texts"]["raw"]
    assert [told["texts"]["raw"][start:end] for start, end, _ in told["spans"]] == ["ann@example.org"]
    assert f"shown unmasked: document {place} of {books}" in capsys.readouterr().err


def test_a_document_is_found_by_its_id_and_by_its_place(pages, books):
    for asked in ("a0", "web/a.jsonl%230"):
        answer = pages.get(f"/v/{books}/document?id={asked}", follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, f"/v/{books.replace('@', '%40')}/d/0-0")
    answer = pages.get(f"/v/{books}/document.json?id=a0")
    assert answer.json()["place"] == "0-0"
    rejected = facts(pages, f"/v/{books}/documents.json?is.verdict=quarantined")["listed"][0]
    found = pages.get(f"/v/{books}/document.json", params={"id": rejected["source"]}).json()
    assert (found["place"], found["story"]["verdict"]) == (rejected["place"], "quarantined")
    assert pages.get(f"/v/{books}/document?id=nobody").status_code == 404
    assert 'name="id"' in pages.get(f"/v/{books}").text


def test_next_and_previous_stay_among_the_filters(pages, books):
    for query in ("is.verdict=dropped", "is.verdict=dropped&sort=length&order=down"):
        listed = [one["place"] for one in facts(pages, f"/v/{books}/documents.json?{query}")["listed"]]
        assert len(listed) > 2
        for before, place, after in zip([None, *listed], listed, [*listed[1:], None], strict=False):
            beside = facts(pages, f"/v/{books}/d/{place}.json?{query}")["beside"]
            assert beside == {"previous": before, "next": after}
    page = pages.get(f"/v/{books}/d/{listed[0]}?{query}").text
    assert f"/documents?{query.replace('&', '&amp;')}" in page


def test_documents_that_a_stage_edited_are_found(pages, books):
    for stage in facts(pages, f"/v/{books}.json")["stages"]:
        told = facts(pages, f"/v/{books}/documents.json?edited={stage['id']}")
        assert told["documents"] == stage["edited"]


def test_all_names_of_a_column_are_told_where_they_are_asked_for(make):
    project = make("names", {"texts/a.jsonl": [{"text": f"text {n}", "site": f"s{n}"} for n in range(30)]}, [])
    pages, version = client(project.store), version_of(project.store)

    def sites(query):
        told = facts(pages, f"/v/{version}/documents.json{query}")["facets"]
        return next(one for one in told if one["column"] == "site")

    assert (len(sites("")["names"]), sites("")["others"]["names"]) == (12, 18)
    assert (len(sites("?names=site")["names"]), sites("?names=site")["others"]["names"]) == (30, 0)
    assert facts(pages, f"/v/{version}/d/0-3.json")["columns"] == {"site": "s3"}


def test_a_version_that_an_erasure_replaced_is_told(make, tmp_path):
    from curate.erasure.erase import erase
    from curate.erasure.subject import read_subject

    rows = [{"id": f"d{n}", "text": f"some text number {n}"} for n in range(3)]
    project = make("replaced", {"texts/a.jsonl": rows}, [])
    project.train("small", [{"step": 1, "loss": 2.0}])
    pages, before = client(project.store), version_of(project.store)
    assert facts(pages, f"/v/{before}/documents.json")["documents"] == 3
    time = facts(pages, "/index.json")["datasets"][0]["versions"][0]["time"]
    (tmp_path / "subject.yaml").write_text("documents: [d1]\n")
    erase(project.store, read_subject(tmp_path / "subject.yaml"), remove=True, say=lambda told: None)
    assert facts(pages, "/index.json")["datasets"][0]["versions"][0]["time"] == time
    desk = pages.app.app.state.desk
    assert not desk._held  # of what is gone nothing is held, though no version was asked for
    told = facts(pages, f"/v/{before}/documents.json?is.verdict=kept")
    assert (told["documents"], told["instead_of"]) == (2, before)
    assert "is not there any more" in pages.get(f"/v/{before}").text
    assert [one["run"] for one in facts(pages, f"/v/{before}/d/0-0.json")["trainings"]] == ["small"]
    gone = pages.get(f"/v/{before}/document.json?id=d1")
    assert gone.status_code == 404 and "erasure" in gone.json()["errors"][0]["problem"]


def test_trainings_are_told_of_what_they_were_given(books_once, tmp_path):
    shutil.copytree(books_once.root, tmp_path / "copy")
    project = Project(tmp_path / "copy")
    project.train("small", [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.5}])
    project.train("big", [{"step": 1, "loss": 1.0}], project="other", began="2026-01-02T00:00:00+00:00")
    pages, version = client(project.store), version_of(project.store)
    listed = facts(pages, f"/v/{version}/documents.json")["listed"]
    for one in listed:
        runs = [run["run"] for run in facts(pages, f"/v/{version}/d/{one['place']}.json")["trainings"]]
        assert runs == (["small", "big"] if one["verdict"] == "kept" else [])
    ids = [one["id"] for one in records(project.store, "training")]
    told = facts(pages, "/runs.json?" + "&".join(f"id={one}" for one in ids))
    assert {one["run"]: one["metrics"]["loss"][-1] for one in told["chosen"]} == {"small": [2, 1.5], "big": [1, 1.0]}
    assert told["settings"] == [{"setting": "run", "values": ["small", "big"]}]
    assert pages.get("/runs?" + "&".join(f"id={one}" for one in ids)).status_code == 200
    assert pages.get("/runs?id=nobody").status_code == 404


def test_a_difference_is_what_data_diff_tells(done):
    done.run("long.minimum=8")
    pages = client(done.store)
    names = [one["name"] for one in facts(pages, "/index.json")["datasets"][0]["versions"]]
    from curate.dataset.diff import diff

    expected = diff(open_dataset(names[1], done.store), open_dataset(names[0], done.store))
    told = facts(pages, f"/v/{names[0]}/diff.json?with={names[1]}")
    assert {key: told[key] for key in expected} == json.loads(json.dumps(expected))
    page = pages.get(f"/v/{names[0]}/diff?with={names[1]}").text
    assert "minimum" in page and f"{told['removed']:,}" in page
    assert pages.get(f"/v/{names[0]}/diff").status_code == 404


def paths(version, columns):
    yield from ("/", "/runs", f"/v/{version}", f"/v/{version}/documents?range=length", f"/v/{version}/search?q=words")
    yield f"/v/{version}/what-if"
    yield from (f"/v/{version}/d/{columns.place(row)}" for row in range(columns.rows))


def test_hostile_text_stays_text_on_every_page(hostile):
    _, columns = opened(hostile)
    pages, version = client(hostile.store), version_of(hostile.store)
    for path in paths(version, columns):
        page = pages.get(path).text
        for bad in ("<script>a", "<img", "<svg onload", "<style>body", "\x00", "\x1b", "\u202e", "\u200b", "\ufffe"):
            assert bad not in page, (path, bad)
    assert "&lt;script&gt;alert(1)" in pages.get(f"/v/{version}/d/0-0").text
    for path in paths(version, columns):
        plain, _, query = path.partition("?")
        told = pages.get((plain if plain != "/" else "/index") + ".json?" + query)
        assert (told.status_code, told.headers["content-type"]) == (200, "application/json")


def test_a_hostile_name_can_be_filtered_by(hostile):
    pages, version = client(hostile.store), version_of(hostile.store)
    from urllib.parse import quote

    told = facts(pages, f"/v/{version}/documents.json")
    for one in told["facets"]:
        for row in one["names"]:
            path = f"/v/{version}/documents.json?is.{quote(one['column'])}={quote(row['name'])}"
            assert facts(pages, path)["documents"] == row["documents"]


def test_a_long_text_is_shown_in_parts_that_are_all_of_it(hostile):
    pages, version = client(hostile.store), version_of(hostile.store)
    shown, at = "", 0
    while at is not None:
        texts = facts(pages, f"/v/{version}/d/0-3.json?at={at}")["texts"]
        shown, at = shown + texts["raw"], texts["next"]
    assert shown == HOSTILE[3]


@pytest.mark.parametrize(
    ("path", "status", "problem"),
    [
        ("/nothing.json", 404, "there is no such page"),
        ("/v/none.json", 404, "there is no dataset named `none`"),
        ("/v/{books}/d/7-7.json", 404, "there is no document at `7-7` in this version"),
        ("/v/{books}/d/x.json", 400, "this is no place of a document"),
        ("/v/{books}/documents.json?is.x=1", 404, "there is no column `x`"),
        ("/v/{books}/documents.json?min.length=x", 400, "`min.length` is no number: `x`"),
        ("/v/{books}/search.json?q=%20", 400, "there is nothing to look for"),
        ("/v/{books}/documents.json?in.verdict=1", 400, "`in.verdict` asks for nothing here"),
        ("/v/books@v77.json", 404, None),
        ("/v/{books}/search.json?q=x&mode=soft", 404, "there is no mode `soft`"),
        ("/v/{books}/search.json?q=(&mode=regex", 400, "`(` is no regular expression"),
        ("/v/{books}/what-if.json?set.dedup.similarity=1", 404, None),
        ("/v/{books}/what-if.json?set.quality.min_words=nan", 400, "`quality.min_words` is no number"),
        ("/v/{books}/what-if.json?set.quality.min_words=1e400", 400, "`quality.min_words` is no number"),
    ],
)
def test_what_is_wrong_is_told_on_the_page_and_as_json(pages, books, path, status, problem):
    answer = pages.get(path.format(books=books))
    assert answer.status_code in (status, 400)
    if problem:
        assert answer.json()["errors"][0]["problem"].startswith(problem)
    page = pages.get(path.format(books=books).replace(".json", ""))
    assert page.status_code == answer.status_code and "Not shown" in page.text


def test_a_version_that_is_gone_is_told(done):
    pages = client(done.store)
    version = version_of(done.store, "toy")
    assert pages.get(f"/v/{version}/documents").status_code == 200
    full = open_dataset(version, done.store).version
    (done.store.root / "versions" / f"{full}.json").unlink()
    assert pages.get(f"/v/{version}/documents").status_code == 404


def test_browsing_writes_nothing_but_the_cache(done):
    before = {path for path in done.store.root.rglob("*") if path.is_file()}
    pages, version = client(done.store), version_of(done.store, "toy")
    for path in ("/", f"/v/{version}", f"/v/{version}/documents", f"/v/{version}/d/0-0", f"/v/{version}/what-if"):
        assert pages.get(path).status_code == 200
    after = {path for path in done.store.root.rglob("*") if path.is_file()}
    assert {path.relative_to(done.store.root).parts[0] for path in after - before} == {"browse"}


def test_a_version_is_held_only_while_it_is_asked_about(done):
    pages, version = client(done.store), version_of(done.store, "toy")
    for path in (f"/v/{version}/documents", f"/v/{version}/d/0-0", f"/v/{version}/what-if", f"/v/{version}/d/9-9"):
        pages.get(path)
        assert versions_in_use(done.store) == set()


def test_the_command_prints_an_address_that_lets_in_and_ends_by_a_signal(done):
    process = done.start("browse", "toy", "--json", "--read-only")
    lines = []
    while not lines or lines[-1] != "}\n":
        lines.append(process.stdout.readline())
    told = json.loads("".join(lines))
    assert told["read_only"] and told["url"].startswith(f"http://127.0.0.1:{told['port']}/v/toy%40")
    connection = HTTPConnection("127.0.0.1", told["port"])
    connection.request("GET", told["url"].partition(str(told["port"]))[2])
    answer = connection.getresponse()
    assert (answer.status, answer.headers["set-cookie"].partition("=")[0]) == (303, f"curate_{told['port']}")
    answer.read()
    connection.close()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert (process.returncode, out) == (0, "") and "Traceback" not in err


def test_a_version_that_is_none_is_told_before_anything_is_served(done):
    outcome = done.cli("browse", "toy@v9")
    assert outcome.code == 2 and "`v9`" in outcome.err
