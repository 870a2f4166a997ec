"""`curate report`: what it prints, and where it writes."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from curate.cli import app
from curate.errors import CurateError


@pytest.fixture
def version(builder):
    builder.read(["one document with some words in it", "short"]).drop_short()
    return builder.commit()


def run(builder, *arguments) -> str:
    result = CliRunner().invoke(app, ["report", *arguments, "--store", str(builder.store.root)], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_the_path_is_printed(builder, version, monkeypatch):
    monkeypatch.chdir(builder.root)
    assert run(builder, "books") == f"books-{version[:12]}.html\n"
    assert (builder.root / f"books-{version[:12]}.html").read_text().startswith("<!doctype html>")


def test_json_names_the_report_and_the_version(builder, version):
    out = builder.root / "r.html"
    printed = json.loads(run(builder, f"books@{version[:8]}", "--out", str(out), "--json"))
    assert printed == {"schema": 1, "report": str(out), "dataset": "books", "version": version}


def test_a_run_is_reported_by_name(builder, version):
    builder.train("small", version, [{"step": 1, "loss": 2.0}])
    out = builder.root / "r.html"
    printed = json.loads(run(builder, "small", "--out", str(out), "--json"))
    assert printed == {"schema": 1, "report": str(out), "dataset": "books", "version": version, "run": "small"}
    assert "Training run" in out.read_text()


def test_an_unknown_version_is_an_error_of_the_user(builder, version):
    with pytest.raises(CurateError, match="dataset `books` has no tag or version `v9`"):
        run(builder, "books@v9")
