"""`curate report`: what it prints, and where it writes."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from curate.cli import app
from curate.errors import CurateError


def run(project, *arguments) -> str:
    store = str(project.store.root)
    result = CliRunner().invoke(app, ["report", *arguments, "--store", store], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_the_path_is_printed(books, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(books, "books") == f"books-{books.version[:12]}.html\n"
    assert (tmp_path / f"books-{books.version[:12]}.html").read_text().startswith("<!doctype html>")


def test_json_names_the_report_and_the_version(books, tmp_path):
    out, version = tmp_path / "r.html", books.version
    printed = json.loads(run(books, f"books@{version[:8]}", "--out", str(out), "--json"))
    assert printed == {"schema": 1, "report": str(out), "dataset": "books", "version": version}


def test_a_report_makes_the_folder_that_it_is_to_stand_in(books, tmp_path):
    run(books, "books", "--out", str(tmp_path / "new/r.html"))
    assert (tmp_path / "new/r.html").is_file()


def test_a_run_is_reported_by_name(trained, tmp_path):
    trained.train("small", [{"step": 1, "loss": 2.0}])
    out, version = tmp_path / "r.html", trained.version
    printed = json.loads(run(trained, "small", "--out", str(out), "--json"))
    assert printed == {"schema": 1, "report": str(out), "dataset": "books", "version": version, "run": "small"}
    assert "Training run" in out.read_text()


def test_an_unknown_version_is_an_error_of_the_user(books):
    with pytest.raises(CurateError, match="dataset `books` has no tag or version `v9`"):
        run(books, "books@v9")
