"""A claim that cannot be checked here is skipped on a desk, and fails under CI."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.oracles import library, missing, real_data

TESTS = Path(__file__).resolve().parents[1]


@pytest.fixture(params=["a library", "real data", "anything"])
def ask(request, monkeypatch, tmp_path):
    """Ask for something that is not there."""
    monkeypatch.setenv("CURATE_DATA", str(tmp_path / "nothing"))
    absent = {
        "a library": lambda: library("no_such_library"),
        "real data": real_data,
        "anything": lambda: missing("a disk"),
    }
    return absent[request.param]


@pytest.mark.parametrize("value", [None, "", "false"])
def test_on_a_desk_a_test_without_its_oracle_is_skipped(ask, monkeypatch, value):
    monkeypatch.delenv("CI", raising=False)
    if value is not None:
        monkeypatch.setenv("CI", value)
    with pytest.raises(pytest.skip.Exception):
        ask()


@pytest.mark.parametrize("value", ["true", "1"])
def test_under_ci_a_test_without_its_oracle_fails(ask, monkeypatch, value):
    monkeypatch.setenv("CI", value)
    with pytest.raises(pytest.fail.Exception, match="under CI nothing is skipped"):
        ask()


def test_what_is_there_is_given(monkeypatch, tmp_path):
    monkeypatch.setenv("CURATE_DATA", str(tmp_path))
    assert real_data() == tmp_path
    assert library("json").loads("1") == 1


def test_no_test_skips_for_a_missing_library_by_itself():
    own = [path.name for path in TESTS.rglob("*.py") if "import" + "orskip" in path.read_text()]
    assert own == ["oracles.py"]
