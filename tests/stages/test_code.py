"""Stages say what their results depend on: code, libraries, Python's own tables."""

from __future__ import annotations

import ast

from curate.stages.registry import BUILT_IN
from tests.stage_code import GOLDEN, file_of, stage_code, without_docstrings


def test_the_code_that_built_in_stages_reach_is_what_their_versions_stand_for():
    assert stage_code() == GOLDEN.read_text()


def test_the_code_of_every_stage_is_looked_at():
    assert [name for name, target in BUILT_IN.items() if file_of(target.partition(":")[0]) is None] == []


def test_words_about_code_are_no_change_of_it():
    trees = [ast.parse(f'"""{words}"""\n\ndef f():\n    """{words}"""\n    return 1  # {words}\n') for words in "ab"]
    assert len({ast.dump(without_docstrings(tree)) for tree in trees}) == 1


def test_python_and_its_tables_of_characters_are_in_every_key(monkeypatch):
    from curate.pipeline import task

    before = task.engine_key("kind", "part")
    task._tools.cache_clear()
    monkeypatch.setattr(task.unicodedata, "unidata_version", "1.0.0")
    try:
        assert task.engine_key("kind", "part") != before
    finally:
        monkeypatch.undo()
        task._tools.cache_clear()
