"""`curate bench`: both sides on the same documents."""

from __future__ import annotations

import json
import random
import sys

import pytest

from curate.bench import compare
from curate.bench.compare import bench, texts_of
from curate.bench.duplicates import judge, plant
from curate.cli import main
from curate.errors import CurateError

WORDS = "the of and to a in that it was his her with as had for on at by which but from they she".split()  # noqa: SIM905


def documents(count):
    draw = random.Random(7)
    short = [" ".join(draw.choices(WORDS, k=12)) + "." for _ in range(count // 4)]
    long = ["\n".join(" ".join(draw.choices(WORDS, k=15)) + "." for _ in range(12)) for _ in range(count - len(short))]
    return [*short, *long]


@pytest.fixture
def corpus(tmp_path):
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in documents(60)))
    (folder / "b.txt").write_text("A text of a file of its own.")
    return folder


def call(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["curate", "bench", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_:
        main()
    out, err = capsys.readouterr()
    return int(exit_.value.code or 0), out, err


@pytest.mark.slow
def test_both_sides_decide_alike_and_are_measured(corpus, monkeypatch, capsys):
    code, out, err = call(monkeypatch, capsys, corpus, "--only", "fineweb", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert (told["schema"], told["documents"]) == (1, 61)
    theirs, ours = told["rows"]
    assert [(row["what"], row["side"]) for row in told["rows"]] == [("fineweb", "datatrove"), ("fineweb", "curate")]
    assert ours["differing"] == 0
    assert ours["ratio"]["cold"] == ours["mb_per_cpu_s"]["cold"] / theirs["mb_per_cpu_s"]["cold"]
    assert min(row["peak_rss_mb"] for row in told["rows"]) > 50


@pytest.mark.slow
def test_without_datatrove_curate_alone_is_measured(monkeypatch):
    monkeypatch.setattr(compare, "find_spec", lambda name: None)
    said = []
    told = bench(documents(40), ["near_duplicates"], said.append)
    (row,) = told["rows"]
    assert (row["side"], said) == ("curate", ["near_duplicates: curate"])
    assert "ratio" not in row
    assert row["recall_exact"] == row["precision"] == 1
    assert "datatrove" not in told["machine"]["libraries"]


def test_texts_of_folders_are_read_as_files_are_until_there_are_enough(corpus):
    assert sorted(texts_of([str(corpus)], 10)) == sorted([*documents(60), "A text of a file of its own."])
    assert len(texts_of([str(corpus)], 0.002)) < 61


def test_too_few_documents_and_unknown_names_are_refused(corpus, monkeypatch, capsys):
    with pytest.raises(CurateError, match="3 documents are too few"):
        bench(["a", "b", "c"], ["c4"], print)
    code, _, err = call(monkeypatch, capsys, corpus, "--only", "fine_web")
    assert code == 2
    assert "did you mean `fineweb`?" in err


def test_a_corpus_that_cannot_be_read_is_named_and_no_file_that_nobody_wrote(tmp_path):
    with pytest.raises(CurateError, match="there is no file or folder `nothere`") as missing:
        texts_of(["nothere"], 1)
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "odd.xyz").write_bytes(b"\0\1\2")
    with pytest.raises(CurateError, match="no text") as empty:
        texts_of([str(tmp_path / "empty.jsonl")], 1)
    with pytest.raises(CurateError) as odd:
        texts_of([str(tmp_path / "odd.xyz")], 1)
    for error in (missing.value, empty.value, odd.value):
        assert error.where == "CORPUS"
        assert "pipeline.yaml" not in f"{error.problem} {error.hint}"
    assert "odd.xyz" in odd.value.problem


def test_where_nothing_was_planted_or_dropped_there_is_no_share():
    texts = [f"{number} is a number" for number in range(5)]
    given, planted = plant(texts)
    assert sorted(given) == sorted(texts)
    assert judge(given, planted, {}) == {"dropped": 0, "recall_near": None, "recall_exact": None, "precision": None}
