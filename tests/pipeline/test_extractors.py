"""Files of any kind, and the stages that make texts of their bytes."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
import zlib
from base64 import b64decode
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from curate.errors import CurateError
from tests.collect.written_pdf import pdf_of, shown

WORDS = "These are the words of a document that is long enough to be kept by everybody."
ALL = "{stage: files, paths: ['in/**/*'], format: binary}"
PDF = '{stage: "toy_extractors:ToyPdf", id: pdf, other_types: pass}'


DOCUMENTS = Path(__file__).parents[1] / "collect" / "files"


def toy_pdf(text, more=""):
    return f"%PDF-1.4\n/Type /Page {more}\nBT ({text}) Tj ET\n%%EOF".encode()


@pytest.fixture
def files(project):
    """Write files under `in/` and a pipeline of the stages; gives the project."""

    def write(contents, *stages, source=ALL, **settings):
        for name, content in contents.items():
            path = project.root / "in" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        general = "".join(f"{key}: {value}\n" for key, value in settings.items())
        entries = "".join(f"\n  - {stage}" for stage in stages) or " []"
        project.file.write_text(f"dataset: toy\n{general}sources:\n  - {source}\nstages:{entries}\n")
        return project

    return write


def rows_of(project):
    return {row["source_uri"].removeprefix("in/"): row for row in project.open().arrow().to_pylist()}


def test_an_extractor_for_some_files_is_refused_since_the_bytes_of_the_others_would_go(files):
    project = files(
        {"a.pdf": toy_pdf(WORDS), "b.pdf": toy_pdf(WORDS)}, "{stage: extract, where: {source_uri: 'in/a.pdf#0'}}"
    )
    done = project.cli("run", "pipeline.yaml")
    assert done.code == 2
    assert "takes the column `content` away, also from the documents that its `where` leaves out" in done.err


def test_texts_are_made_of_files_and_their_bytes_are_not_carried_on(files):
    page = f"<html><title>A  page</title><body><p>{WORDS}</p></body></html>".encode()
    project = files({"a.html": page, "b.txt": "caf\u00e9 ferm\u00e9 \u00e0 toute heure".encode("cp1252")}, "extract")
    assert project.run().documents == {"in": 2, "kept": 2, "dropped": 0, "quarantined": 0}
    assert project.open().columns == ["id", "source_uri", "media_type", "text", "title", "pages"]
    rows = rows_of(project)
    assert [(row["media_type"], row["title"], row["text"]) for row in rows.values()] == [
        ("text/html", "A page", WORDS),
        ("text/plain", None, "caf\u00e9 ferm\u00e9 \u00e0 toute heure"),
    ]


def test_real_pages_come_to_the_text_that_html_text_makes_of_them_by_rules(files, shared_data):
    folder = shared_data / "zyte_article_extraction" / "html"
    pages = {path.name: path.read_bytes() for path in sorted(folder.iterdir())[:12]}
    project = files(pages, "extract")
    project.run()
    ours = {uri: row["text"] for uri, row in rows_of(project).items()}
    files(pages, "{stage: html_text, articles: none}", source="{stage: files, paths: ['in/*'], columns: []}")
    project.run()
    theirs = {uri: row["text"] for uri, row in rows_of(project).items()}
    assert ours.keys() == theirs.keys()
    assert all(ours[uri] == theirs[uri] for uri in ours)


def test_what_nobody_reads_is_quarantined_with_its_type_and_what_would_read_it(files):
    picture = b"\x89PNG\r\n\x1a\n"
    project = files({"a.txt": WORDS.encode(), "b.png": picture, "c.txt": picture}, "extract")
    assert project.run().documents == {"in": 3, "kept": 1, "dropped": 0, "quarantined": 2}
    listed = project.cli("data", "show", "toy", "--quarantined").out
    assert listed.count("not_read:image/png") == 2
    told = project.cli("why", "in/c.txt#0").out
    assert "quarantined not_read:image/png [an extractor of your own reads it, where it stands before" in told


@pytest.mark.slow
def test_of_files_of_every_kind_each_bad_one_has_its_reason_and_the_others_are_read(files, shared_data):
    book = (shared_data / "pdf_book" / "two_columns.pdf").read_bytes()
    contents = {
        "bomb.pdf": pdf_of(zlib.compress(shown(WORDS) * 500_000, 1), packed=True),
        "book.pdf": book,
        "box.mbox": "".join(f"From a@b.org Mon Jan  1 00:00:00 2024\nX: {n}\n\n{WORDS}\n\n" for n in "123").encode(),
        "cut.docx": (DOCUMENTS / "rivers.docx").read_bytes()[:-300],
        "cut.pdf": book[:-5000],
        "form.docx": (DOCUMENTS / "rivers.docx").read_bytes(),
        "old.doc": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600),
        "sheet.xlsx": (DOCUMENTS / "sheet.xlsx").read_bytes(),
        "text.odt": (DOCUMENTS / "rivers.odt").read_bytes(),
    }
    source = ALL.replace(", format: binary", "")
    project = files(contents, "{stage: extract, memory_limit: 0.1}", source=source)
    assert project.run().documents == {"in": 11, "kept": 7, "dropped": 0, "quarantined": 4}
    names = [uri.partition("#")[0] for uri in sorted(rows_of(project))]
    assert names == ["book.pdf", *["box.mbox"] * 3, "form.docx", "sheet.xlsx", "text.odt"]
    reasons = {
        "bomb.pdf": "worker_died",
        "cut.docx": "truncated",
        "cut.pdf": "truncated",
        "old.doc": "not_read:application/msword",
    }
    for name, reason in reasons.items():
        assert json.loads(project.cli("why", f"in/{name}#0", "--json").out)["reason"] == reason


def test_a_payload_that_takes_more_memory_than_it_may_costs_itself_alone(files):
    contents = {"a.pdf": toy_pdf(WORDS), "b.pdf": toy_pdf("GREEDY"), "c.pdf": toy_pdf(WORDS)}
    project = files(contents, PDF.replace("other_types: pass", "memory_limit: 0.2"))
    assert project.run().documents == {"in": 3, "kept": 2, "dropped": 0, "quarantined": 1}
    told = json.loads(project.cli("why", "in/b.pdf#0", "--json").out)
    assert (told["reason"], project.open().manifest["provisional"]) == ("memory_limit", 1)


def test_an_extractor_of_ones_own_reads_its_types_and_leaves_the_rest_to_the_next(files):
    contents = {
        "a.pdf": toy_pdf(WORDS, "/Title (Hello)"),
        "b.txt": WORDS.encode(),
        "c.pdf": toy_pdf("x", "/Encrypt"),
        "d.png": b"\x89PNG\r\n\x1a\n",
        "e.pdf": toy_pdf(" "),
    }
    project = files(contents, PDF, "extract", "{stage: unicode}")
    assert project.cli("validate", "pipeline.yaml").code == 0
    assert project.run().documents == {"in": 5, "kept": 2, "dropped": 1, "quarantined": 2}
    rows = rows_of(project)
    assert [(row["text"], row["title"], row["pages"]) for row in rows.values()] == [
        (WORDS, "Hello", 1),
        (WORDS, None, None),
    ]
    reasons = project.cli("data", "show", "toy", "--quarantined").out
    assert "encrypted" in reasons
    assert "not_read:image/png" in reasons


@pytest.mark.parametrize("stages", [["unicode"], [PDF, "unicode"], ["unicode", "extract"]])
def test_a_stage_that_needs_a_text_that_no_extractor_made_is_refused_by_validate_and_run(files, stages):
    project = files({"a.pdf": toy_pdf(WORDS)}, *stages)
    outcome = project.cli("validate", "pipeline.yaml")
    assert (outcome.code, "stage `unicode`: `on: text`: column `text` is not there" in outcome.err) == (2, True)
    assert "`{stage: extract}`, or an extractor of your own" in outcome.err
    with pytest.raises(CurateError, match="column `text` is not there"):
        project.run()


def test_an_extractor_without_files_to_read_is_refused_by_validate(files):
    project = files({"a.txt": WORDS.encode()}, "extract", source="{stage: files, paths: ['in/*']}")
    assert "stage `extract` needs the column `content`" in project.cli("validate", "pipeline.yaml").err


@pytest.mark.parametrize(
    ("word", "reason"), [("RAISE", "stage_failed"), ("KILL", "worker_died"), ("HANG", "time_limit")]
)
def test_a_file_that_its_extractor_fails_on_costs_itself_alone(files, word, reason):
    contents = {f"{name}.pdf": toy_pdf(f"{WORDS} {name}") for name in "abcdef"}
    contents["d.pdf"] = toy_pdf(word)
    project = files(contents, PDF.replace(", other_types: pass", ""), time_limit=2)
    assert project.run().documents == {"in": 6, "kept": 5, "dropped": 0, "quarantined": 1}
    told = json.loads(project.cli("why", "in/d.pdf#0", "--json").out)
    assert (told["verdict"], told["reason"]) == ("quarantined", reason)
    assert sorted(rows_of(project)) == [f"{name}.pdf#0" for name in "abcef"]


def test_a_file_that_killed_a_worker_is_tried_again_by_the_next_run(files):
    project = files({"a.pdf": toy_pdf("KILL"), "b.pdf": toy_pdf(WORDS)}, PDF, "extract")
    assert project.run().documents == {"in": 2, "kept": 1, "dropped": 0, "quarantined": 1}
    assert project.open().manifest["provisional"] == 1
    assert project.run(accept_quarantined=True).tasks["run"] == 0
    assert project.run().tasks["run"] > 0


def test_a_second_run_extracts_nothing_again(files):
    project = files({"a.txt": WORDS.encode(), "b.html": b"<html><p>Words of a page.</p>"}, "extract", "unicode")
    first = project.run()
    again = project.run()
    assert (again.version, again.tasks["run"]) == (first.version, 0)
    other = project.run(store=project.root / "other", workers=2)
    assert other.version == first.version


def test_a_sample_is_extracted_too(files):
    project = files({f"{name}.txt": f"{WORDS} {name}".encode() for name in "abcd"}, "extract")
    assert project.cli("run", "pipeline.yaml", "--sample", 2, "--workers", 1).code == 0
    assert project.texts("toy-sample") == [f"{WORDS} a", f"{WORDS} b"]


def test_content_is_kept_where_it_is_asked_for(files):
    project = files({"a.txt": WORDS.encode()}, "{stage: extract, keep_content: true}")
    project.run()
    assert rows_of(project)["a.txt#0"]["content"] == WORDS.encode()


def test_columns_of_the_data_that_are_called_like_a_payload_are_read_and_stay(files, project):
    table = pa.table(
        {"content": [WORDS.encode(), b"%PDF-"], "media_type": ["text/plain; charset=utf-8", None], "n": [1, 2]}
    )
    parquet.write_table(table, project.root / "own.parquet")
    files({}, "extract", source="{stage: files, paths: own.parquet}")
    assert project.run().documents["quarantined"] == 1
    (row,) = rows_of(project).values()
    assert (row["text"], row["content"], row["n"]) == (WORDS, WORDS.encode(), 1)
    assert "not_read:unknown" in project.cli("data", "show", "toy", "--quarantined").out


def test_strings_in_a_column_called_content_are_no_payload(files, project):
    project.write("own.jsonl", json.dumps({"content": WORDS, "media_type": "text/plain"}))
    files({}, "extract", source="{stage: files, paths: own.jsonl}")
    with pytest.raises(CurateError, match="the column `content` holds string, not the bytes of files"):
        project.run()


def test_documents_that_have_a_text_already_stand_beside_files(files, project):
    project.write("own.jsonl", json.dumps({"id": "j", "text": "A text.", "title": "Mine"}))
    source = f"{ALL}\n  - {{stage: files, id: more, paths: own.jsonl}}"
    files({"a.txt": WORDS.encode()}, "extract", "{stage: unicode}", source=source)
    assert project.run().documents["kept"] == 2
    rows = rows_of(project)
    assert [(row["text"], row["title"]) for row in rows.values()] == [(WORDS, None), ("A text.", "Mine")]


def test_a_version_of_files_that_nobody_extracted_is_published_and_exported(files):
    contents = [b"\x89PNG\r\n\x1a\n\xff\x00", toy_pdf(WORDS)]
    project = files({"a.png": contents[0], "b.pdf": contents[1]})
    assert project.run().documents["kept"] == 2
    assert project.cli("data", "verify", "toy").code == 0
    assert "content     binary" in project.cli("data", "show", "toy").out
    assert project.cli("data", "sample", "toy", "-n", 2).code == 0
    for form in ("jsonl", "csv", "parquet", "hf", "tfrecord"):
        exported = project.cli("data", "export", "toy", "--format", form, "--out", form)
        assert exported.code == 0, exported.err
    (table,) = (project.root / "parquet").rglob("*.parquet")
    assert parquet.read_table(table).column("content").to_pylist() == contents
    (lines,) = (project.root / "jsonl").rglob("*.jsonl")
    assert [b64decode(json.loads(line)["content"]) for line in lines.read_text().splitlines()] == contents


def test_the_report_tells_of_extracted_files(files):
    project = files({"a.txt": WORDS.encode(), "b.png": b"\x89PNG\r\n\x1a\n"}, "extract")
    project.run()
    assert project.cli("report", "toy", "--out", "r.html").code == 0
    assert "not_read:image/png" in (project.root / "r.html").read_text().replace("<wbr>", "")


# ---- what folders hold


def test_empty_large_damaged_and_misnamed_files_are_all_accounted_for(files):
    contents = {
        "a.txt": WORDS.encode(),
        "cut.txt.gz": gzip.compress(WORDS.encode())[:-9],
        "empty.pdf": b"",
        "large.pdf": b"%PDF-" + bytes(2000),
        "page.pdf": b"<html><p>No PDF at all.</p></html>",
    }
    project = files(contents, "extract", source=ALL.replace("binary", "binary, max_document_bytes: 1000"))
    (project.root / "in" / "x.pdf").mkdir()
    (project.root / "in" / "loop").symlink_to(project.root / "in")
    (project.root / "in" / "again.txt").symlink_to(project.root / "in" / "a.txt")
    done = project.run()
    assert done.documents == {"in": 4, "kept": 2, "dropped": 0, "quarantined": 2}
    assert sorted(rows_of(project)) == ["a.txt#0", "page.pdf#0"]
    listed = project.cli("data", "show", "toy", "--quarantined").out
    assert "too_long" in listed
    assert "truncated" in listed
    assert "1 empty file" in project.cli("run", "pipeline.yaml", "--workers", 1).err


RIGHTS = "-dac_override,-dac_read_search"
AS_A_USER = ["setpriv", f"--bounding-set={RIGHTS}", f"--inh-caps={RIGHTS}"] if os.geteuid() == 0 else []
"""Root reads what nobody may, unless it gives that right away."""


def test_a_file_that_may_not_be_read_is_named(files):
    project = files({"a.txt": WORDS.encode()}, "extract")
    (project.root / "in" / "a.txt").chmod(0)
    command = [*AS_A_USER, sys.executable, "-m", "curate.cli", "run", "pipeline.yaml"]
    done = subprocess.run(command, cwd=project.root, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "in/a.txt" in done.stderr
    assert "Permission denied" in done.stderr


def test_a_real_pdf_has_the_same_bytes_in_the_version(files, shared_data, project):
    (project.root / "in").mkdir()
    shutil.copy(shared_data / "pdf_book" / "two_columns.pdf", project.root / "in" / "book.pdf")
    files({})
    project.run()
    row = rows_of(project)["book.pdf#0"]
    assert (row["media_type"], row["content"]) == (
        "application/pdf",
        (shared_data / "pdf_book" / "two_columns.pdf").read_bytes(),
    )
