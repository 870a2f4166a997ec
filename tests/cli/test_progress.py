"""What a run shows on a terminal: stages once, names whole."""

from __future__ import annotations

import io
import sys

import pytest

from curate.errors import CurateError, GateError
from curate.pipeline.progress import progress_for_terminal

ERASE = "\x1b[2K"


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    """Puts terminals in place of stderr, and of stdout where a test says so; done late, for pytest does the same."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")

    def put(stdout: io.StringIO) -> Terminal:
        shown = Terminal()
        monkeypatch.setattr(sys, "stderr", shown)
        monkeypatch.setattr(sys, "stdout", stdout)
        return shown

    return put


def left_on_the_screen(shown, error=None) -> str:
    """What stands there after a run of one phase."""
    try:
        with progress_for_terminal() as progress:
            progress.begin("read > clean", 1)
            progress.stage_done("read: 10 in, 10 kept")
            progress.begin("count", 1)
            if error:
                raise error
    except CurateError:
        pass
    return shown.getvalue().rpartition(ERASE)[2]


def test_finished_stages_go_where_the_table_follows_on_the_same_terminal(terminal):
    shown = terminal(stdout=Terminal())
    assert "read: 10 in" not in left_on_the_screen(shown)
    assert "read: 10 in" in shown.getvalue()


def test_finished_stages_go_where_a_gate_fails_and_the_table_follows(terminal):
    shown = terminal(stdout=Terminal())
    assert "read: 10 in" not in left_on_the_screen(shown, GateError("too few", result={}))


def test_finished_stages_stay_where_a_run_fails_and_no_table_follows(terminal):
    shown = terminal(stdout=Terminal())
    assert "read: 10 in" in left_on_the_screen(shown, CurateError("it broke"))


def test_finished_stages_stay_where_the_table_goes_to_a_file(terminal):
    shown = terminal(stdout=io.StringIO())
    left_on_the_screen(shown)
    assert shown.getvalue().count("read: 10 in") == 1


@pytest.mark.parametrize(
    ("columns", "title"),
    [
        (200, "html_text > unicode > language > gopher_quality"),
        (112, "html_text > unicode > 2 more"),
        (40, "html_text > 3 more"),
    ],
)
def test_a_phase_is_named_by_whole_stages(terminal, monkeypatch, columns, title):
    terminal(stdout=Terminal())
    monkeypatch.setenv("COLUMNS", str(columns))
    with progress_for_terminal() as progress:
        progress.begin("html_text > unicode > language > gopher_quality", 1)
        assert progress.bars.tasks[-1].description == title
