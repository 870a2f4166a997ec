"""The toy project, for the stage in a run and for the command line."""

from __future__ import annotations

import sys
from pathlib import Path

FOLDER = str(Path(__file__).resolve().parent.parent / "pipeline")
if FOLDER not in sys.path:
    sys.path.append(FOLDER)

from toy_project import done, folder_after_a_run, project, toy  # noqa: E402, F401
