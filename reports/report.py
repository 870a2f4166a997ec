"""The report of a dataset version, or of a training run, as one HTML file.

Equal versions and runs give equal bytes: a report tells facts of the data, and no time.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from curate.dataset.refs import Reference, datasets, resolve
from curate.dataset.runs import now, record, records, run_id
from curate.dataset.store import Store
from curate.errors import CurateError, did_you_mean
from curate.files import file_hash, write_durably
from curate.reports.collect import collect_report
from curate.reports.data import RunData
from curate.reports.html import render_run, render_version
from curate.reports.runs import find_run

if TYPE_CHECKING:
    from curate.reports.card import Card

__all__ = ["build_report", "build_run_report", "find_target", "write_page"]


_KEY = re.compile(r"[0-9a-f]{16}")
"""What the runs of experiments are called, which nobody names by hand."""


def _names(store: Store) -> list[str]:
    return list(dict.fromkeys(record["name"] for record in records(store, "training")))


def find_target(store: Store, target: str) -> Reference | RunData:
    """The version, or the training run (by name or folder), that somebody named; a dataset comes first.

    Raises:
        CurateError: There is neither, or there are several runs of that name.
    """
    known = datasets(store)
    if target.partition("@")[0] in known:
        return resolve(store, target)
    run = find_run(target, store)
    if run is not None:
        return run
    runs = [name for name in _names(store) if not _KEY.fullmatch(name)]
    listed = [f"datasets: {', '.join(known) or 'none'}", f"runs: {', '.join(runs) or 'none'}"]
    hint = did_you_mean(target, [*known, *runs]) or "; ".join(listed)
    raise CurateError(f"there is no dataset and no training run named `{target}`", store.location, hint)


def build_report(store: Store, version: str, out: Path) -> Path:
    """Write the report of a version.

    Args:
        store: The store that has it.
        version: Its whole id.
        out: The file to write; one that is there is replaced.

    Returns:
        The path of the report.

    Raises:
        CurateError: The version or one of its objects is missing, or the file cannot be written.
    """
    began, page = now(), collect_report(store, version)
    path = write_page(out, render_version(page))
    name = f"{page.dataset}@{version[:12]}"
    with suppress(OSError, CurateError):  # who may only read the store may have a report; it then is on no record
        record(
            store, "report", run_id(), name=name, state="done", began=began,
            inputs=[{"kind": "version", "id": version, "name": name}],
            outputs=[{"kind": "file", "id": file_hash(path), "name": str(path.resolve())}],
            facts={"folder": str(path.resolve())},
        )  # fmt: skip
    return path


def build_run_report(run: RunData, out: Path, card: Card | None = None) -> Path:
    """Write the page of a training run, with its model card where there is one.

    Raises:
        CurateError: The file cannot be written.
    """
    return write_page(out, render_run(run, card))


def write_page(out: Path, page: str) -> Path:
    """Write a page whole, or not at all.

    Raises:
        CurateError: The file cannot be written.
    """
    try:
        write_durably(out, page.encode())
    except OSError as error:
        hint = "name a file in a folder that can be written"
        raise CurateError(f"cannot write the report: {error.strerror or error}", str(out), hint) from error
    return out
