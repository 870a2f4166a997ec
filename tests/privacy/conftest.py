"""The stage with its defaults; the toy project, for the stage in a run and for the command line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from curate.privacy.pii import Pii

FOLDER = str(Path(__file__).resolve().parent.parent / "pipeline")
if FOLDER not in sys.path:
    sys.path.append(FOLDER)

from toy_project import done, folder_after_a_run, project, toy  # noqa: E402, F401


@pytest.fixture(scope="module")
def opened():
    return Pii().open()


@pytest.fixture
def pii(opened, documents):
    """The stage with its defaults, opened once: texts in, verdicts by row out."""
    return lambda *texts: {row["row"]: row for row in opened(documents(texts)).verdicts.to_pylist()}
