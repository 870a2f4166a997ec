"""What `curate validate` says of languages before a run finds it."""

from __future__ import annotations

import sys

import pytest

from curate.config.pipeline import load_pipeline
from curate.pipeline.preview import preview


def notes(project, stage):
    project.write("one.txt", "some text")
    project.pipeline(f'dataset: toy\nsources: [{{stage: "toy_stages:Lines"}}]\nstages: [{{stage: {stage}}}]\n')
    return preview(load_pipeline(project.file)).notes


def test_a_package_for_words_of_a_language_that_is_missing_is_a_note(project, monkeypatch):
    monkeypatch.setitem(sys.modules, "jieba", None)
    (note,) = notes(project, "gopher_quality, language: zho")
    assert note.startswith("on this machine a run would stop at `gopher_quality`: words of the language `zho` need")
    assert "pip install jieba" in note


@pytest.mark.parametrize(("code", "known"), [("tlh", 1), ("deu", 0), ("eng", 0)])
def test_a_language_without_stop_words_is_said(project, code, known):
    found = notes(project, f"fineweb, language: {code}")
    assert len(found) == known
    assert all("reads Klingon (`tlh`), for which there is no list of stop words" in note for note in found)
