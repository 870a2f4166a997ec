"""curate beside datatrove on the same documents: speed, memory, equal decisions, recall. `curate bench`."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from curate.bench.duplicates import judge, plant
from curate.bench.filters import FILTERS, megabytes
from curate.errors import CurateError

__all__ = ["WHAT", "bench", "installed_texts", "texts_of"]

WHAT = (*FILTERS, "near_duplicates")
FEWEST = 20
"""Documents: of fewer nothing is learned."""
SHORT = 200
"""Bytes of a document, to guess how many are enough."""


def installed_texts(most: float) -> list[str]:
    """What the installed packages say about themselves, until there are so many megabytes."""
    from curate.collect.installed import InstalledPackages
    from curate.stages.contract import SourceContext

    source = InstalledPackages.model_validate({})
    parts = source.plan(SourceContext(Path(), 32_000_000, lambda path: ""))
    tables = (table for part in parts for table in source.read(part) if hasattr(table, "column"))
    return _first((text for table in tables for text in table.column("text").to_pylist()), most)  # pyright: ignore[reportAttributeAccessIssue]


def texts_of(paths: Sequence[str], most: float) -> list[str]:
    """Texts of files, as the source `files` reads them, until there are so many megabytes.

    Raises:
        CurateError: There are none, or they cannot be read.
    """
    from curate import open_dataset
    from curate.pipeline.run import run

    for path in paths:
        if not Path(path).exists():
            raise CurateError(f"there is no file or folder `{path}`", "CORPUS")
    with tempfile.TemporaryDirectory() as name:
        whole = [
            str(Path(path).resolve() / "**" / "*") if Path(path).is_dir() else str(Path(path).resolve())
            for path in paths
        ]
        pipeline = {
            "dataset": "bench",
            "sources": [{"stage": "files", "paths": whole}],
            "stages": [],
            "min_documents": 0,
        }
        file = Path(name) / "pipeline.yaml"
        file.write_text(json.dumps(pipeline))
        try:
            run(file, store=f"{name}/store", sample=max(FEWEST, int(most * 1e6 / SHORT)))
        except CurateError as error:  # it stands in a file that nobody wrote
            told = f"the corpus `{'`, `'.join(paths)}` cannot be read: {error.problem}"
            raise CurateError(told, "CORPUS", error.hint) from None
        made = open_dataset("bench-sample", f"{name}/store")
        column = made.arrow(columns=["text"]).column("text").to_pylist() if made.manifest["documents"]["kept"] else []
        texts = _first((text for text in column if text), most)
    if not texts:
        raise CurateError(
            f"the corpus `{'`, `'.join(paths)}` has no text", "CORPUS", "files are read as `files` reads them"
        )
    return texts


def _first(texts: Iterator[str], most: float) -> list[str]:
    found: list[str] = []
    size = 0
    for text in texts:
        found.append(text)
        size += len(text.encode())
        if size > most * 1e6:
            break
    return found


def bench(texts: Sequence[str], what: Sequence[str], say: Callable[[str], None]) -> dict[str, Any]:
    """Measure both sides, one after the other, each in a process of its own.

    Args:
        texts: The documents; for near-duplicates copies of some are added.
        what: Which of WHAT.
        say: Told what is being measured.

    Returns:
        `machine`, `documents`, `megabytes`, and `rows`: for each of `what` and each side the MB of text per CPU second (`cold`,
        and of our filters `warm`: words known, texts not), seconds to load, peak memory; of our filters `ratio` and
        `differing` decisions; of near-duplicates how many were `dropped`, `recall_near`, `recall_exact`, `precision`.

    Raises:
        CurateError: There are too few documents, or a side fails.
    """
    if len(texts) < FEWEST:
        raise CurateError(f"{len(texts)} documents are too few to measure anything", "CORPUS", f"at least {FEWEST}")
    there = find_spec("datatrove") is not None
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for one in what:
            given, planted = plant(list(texts)) if one == "near_duplicates" else (list(texts), None)
            both = [_measured(folder, side, one, given, say) for side in ("datatrove", "curate")[not there :]]
            answers = [answer for _, answer in both]
            ours = both[-1][0]
            if there:
                theirs = both[0][0]["mb_per_cpu_s"]["cold"]
                ours["ratio"] = {state: rate / theirs for state, rate in ours["mb_per_cpu_s"].items()}
                if planted is None:
                    ours["differing"] = sum(mine != other for other, mine in zip(*answers, strict=True))
            for row, answer in both if planted is not None else ():
                row |= judge(given, planted or {}, dict(answer))
            rows += [row for row, _ in both]
    return {
        "machine": _machine(there), "documents": len(texts), "megabytes": round(megabytes(texts), 3), "rows": rows,
    }  # fmt: skip


def _measured(
    folder: Path, side: str, what: str, texts: Sequence[str], say: Callable[[str], None]
) -> tuple[dict[str, Any], list[Any]]:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    say(f"{what}: {side}")
    given, answer = folder / "texts.parquet", folder / "answer.json"
    parquet.write_table(pa.table({"text": pa.array(texts, pa.string())}), given)
    command = [sys.executable, "-P", "-m", "curate.bench.side", side, what, str(given), str(answer)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    if done.returncode:
        raise CurateError(f"{side} failed at {what}: {(done.stderr.strip() or '?').splitlines()[-1]}", "curate bench")
    figures = json.loads(done.stdout.splitlines()[-1])
    size = megabytes(texts)
    states = {name.removesuffix("_s"): seconds for name, seconds in figures.items() if name in ("cold_s", "warm_s")}
    row = {
        "what": what, "side": side,
        "mb_per_cpu_s": {state: size / max(seconds, 1e-9) for state, seconds in states.items()},
        "load_cpu_s": round(figures["load_s"], 2), "peak_rss_mb": figures["peak_rss_mb"],
    }  # fmt: skip
    return row, json.loads(answer.read_text())


def _machine(there: bool) -> dict[str, Any]:
    names = ("curate-lm", *(("datatrove",) if there else ()), "spacy", "numba", "pyarrow")
    return {
        "processor": platform.processor() or platform.machine(), "cores": os.cpu_count(),
        "python": platform.python_version(), "load_average": round(os.getloadavg()[0], 1),
        "libraries": {name: version(name) for name in names},
    }  # fmt: skip
