from __future__ import annotations

import io
import sys

import pytest

from curate.train.runs.progress import Progress

FULL = {
    "step": 10,
    "loss": 3.21987,
    "learning_rate": 0.002,
    "gradient_norm": 1.0,
    "tokens_per_second": 12345.6,
    "mfu": 0.4111,
    "memory_bytes": 1_234_000_000,
    "validation": {"bits_per_byte": 1.5, "tokens": 10, "bytes": 20},
}


@pytest.fixture
def clock():
    class Clock:
        now = 0.0

        def __call__(self):
            return self.now

    return Clock()


@pytest.fixture
def progress(clock):
    return Progress("small", 200, clock)


def lines(capsys):
    return capsys.readouterr().err.splitlines()


def test_a_line_has_all_that_a_record_has(progress, clock, capsys):
    progress({"step": 8, "loss": 1.0})
    clock.now = 10.0
    progress(FULL)
    assert lines(capsys) == [
        "train small: step 10/200, loss 3.220, learning rate 0.002, tokens/s 12,346, MFU 41.1%, memory 1.2 GB, "
        "validation 1.500 bits per byte, left 0:15:50"
    ]


def test_what_a_record_does_not_have_is_left_out(progress, capsys):
    progress({"step": 10, "loss": 1.0})
    assert lines(capsys) == ["train small: step 10/200, loss 1.000"]


def test_rewards_are_shown_and_the_share_of_those_that_failed(progress, capsys):
    progress({"step": 10, "loss": 1.0, "reward": 0.25, "failed": 0.125, "learning_rate": 0.01})
    shown = "loss 1.000, reward 0.250, rewards failed 12.5%, learning rate 0.01"
    assert lines(capsys) == [f"train small: step 10/200, {shown}"]


def test_a_run_has_about_twenty_lines(progress, capsys):
    for step in range(1, 201):
        progress({"step": step, "loss": 1.0})
    assert len(lines(capsys)) == 20


def test_a_validation_is_shown_at_once_and_stays(progress, capsys):
    progress({"step": 1, "loss": 1.0, "validation": {"loss": 0.5, "count": 3, "accuracy": 0.9, "f1": 0.8}})
    progress({"step": 10, "loss": 1.0})
    first, second = lines(capsys)
    assert "step 1/200" in first
    assert "validation loss 0.500, accuracy 0.900" in first
    assert "validation loss 0.500, accuracy 0.900" in second


def test_each_task_s_validation_is_shown(progress, capsys):
    progress({"step": 1, "loss": 1.0, "validation": {"a": {"bits_per_byte": 1.0}, "b": {"loss": 2.0, "table": [1]}}})
    assert "validation a: 1.000 bits per byte, b: loss 2.000" in lines(capsys)[0]


def test_skipped_steps_are_told_at_once_and_counted(progress, capsys):
    progress({"step": 3, "loss": None, "skipped": True})
    progress({"step": 10, "loss": 1.0})
    first, second = lines(capsys)
    assert first == "train small: step 3/200, loss not finite, skipped 1"
    assert "skipped 1" in second


@pytest.mark.parametrize(("count", "words"), [(999, "999 B"), (1500, "1.5 KB"), (2.5e6, "2.5 MB"), (8.1e10, "81.0 GB")])
def test_memory_is_told_in_the_unit_that_fits(progress, capsys, count, words):
    progress({"step": 10, "loss": 1.0, "memory_bytes": count})
    assert f"memory {words}" in lines(capsys)[0]


def test_a_terminal_gets_a_live_table(monkeypatch, clock):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    progress = Progress("small", 200, clock)
    progress(FULL)
    progress.close()
    written = terminal.getvalue()
    for words in ("train small", "10 / 200", "3.220", "12,346", "41.1%", "1.2 GB", "1.500 bits per byte"):
        assert words in written
    assert "learning rate" in written
    assert "train small: step" not in written
