"""`curate stages NAME`: what a stage is and what its settings take, to be read in a terminal."""

from __future__ import annotations

from typing import Literal

import pytest
from pydantic import Field, create_model
from typer.testing import CliRunner

from curate.cli import app
from curate.config.words import kind_in_words
from curate.stages.registry import stage_names


def shown(name, columns=100):
    result = CliRunner().invoke(app, ["stages", name], env={"COLUMNS": str(columns)}, catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


@pytest.mark.parametrize(
    ("kind", "constraints", "words"),
    [
        (bool, {}, "true or false"),
        (int, {"ge": 1, "le": 64}, "whole number from 1 to 64"),
        (int | None, {"ge": 1000}, "whole number at least 1,000, or null"),
        (float, {"gt": 0, "le": 1}, "number above 0 and at most 1"),
        (int, {"ge": 0, "lt": 2**64}, "whole number at least 0 and below 2^64"),
        (str, {"min_length": 1, "max_length": 1}, "text of one character"),
        (Literal["a", "b", "c"], {}, "a, b or c"),
        (Literal["a"] | None, {}, "a, or null"),
        (list[str], {"min_length": 1}, "list of text (at least 1)"),
        (tuple[float | None, float | None], {}, "list of 2: number, or null"),
        (dict[Literal["x", "y"], int], {}, "mapping of x or y to whole number"),
        (dict[str, str], {}, "mapping of names to text"),
    ],
)
def test_what_a_setting_takes_is_told_in_words(kind, constraints, words):
    schema = create_model("Stage", setting=(kind, Field(**constraints))).model_json_schema()
    assert kind_in_words(schema["properties"]["setting"], schema.get("$defs")) == words


def test_a_stage_is_described_setting_by_setting():
    assert (
        '\n\n  keep: first, longest or best; default "first"\n'
        "      Which document is kept: the `first` in the order of the sources, the `longest` in characters,\n"
        "      or the `best` by the column `by`. Ties go to the first.\n"
    ) in shown("near_duplicates")
    assert "\n  fraction: number above 0 and at most 1; required\n" in shown("sample")


def test_settings_of_a_block_stand_under_its_name():
    text = shown("api")
    assert (
        "\n  pages: block, by `kind`: single, link, next_url, cursor, offset, number; default {kind: single}\n" in text
    )
    assert "\n  pages.[cursor].path: text; required\n" in text


@pytest.mark.parametrize("columns", [60, 100])
def test_every_stage_fits_the_terminal(columns):
    for name in stage_names():
        text = shown(name, columns)
        assert max(map(len, text.splitlines())) <= columns
        assert not any(sign in text for sign in ("Literal[", "Optional[", "| None"))
