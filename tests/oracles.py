"""What a test compares with and a machine may lack: libraries of peers, and real data.

Where one is missing the test is skipped; under CI (`CI` is set) it fails, so that no claim there goes unchecked.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


def library(name: str) -> ModuleType:
    """A module of a peer, imported."""
    try:
        return pytest.importorskip(name, exc_type=ImportError)
    except pytest.skip.Exception as skipped:
        missing(str(skipped.msg))


def real_data() -> Path:
    """The folder of real data sets."""
    folder = Path(os.environ.get("CURATE_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        missing(f"no real data at {folder} (set CURATE_DATA)")
    return folder


def missing(what: str) -> NoReturn:
    """Skip the test that asked; under CI it fails."""
    if os.environ.get("CI", "").lower() in ("", "0", "false"):
        pytest.skip(what)
    pytest.fail(f"{what}: under CI nothing is skipped")
