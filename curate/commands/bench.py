"""`curate bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from curate.commands.options import Json
from curate.terminal import echo

__all__ = ["bench"]


def bench(
    corpus: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Files or folders to measure on; by default what the installed packages say of themselves."
        ),
    ] = None,
    megabytes: Annotated[float, typer.Option(min=0.01, help="Read only so many MB of text.")] = 4,
    only: Annotated[list[str] | None, typer.Option(help="Measure only this; by default all.")] = None,
    as_json: Json = False,
) -> None:
    """Measure curate against datatrove on the same documents: speed, memory, equal decisions, recall.

    MB are 10^6 bytes of UTF-8 text, seconds those of the processor. `cold` is a first run, `warm` one whose words are known.
    Filters are timed alone, on texts in memory: a run reads and writes, too, and gains less. Near-duplicates: ours is a run
    of the engine with its store, without its fixed start; datatrove's are its four stages on texts in memory; copies are
    planted for both. Ratios grow with the corpus: on a few megabytes they say little. Without datatrove only curate is
    measured.
    """
    from curate.bench.compare import WHAT, installed_texts, texts_of
    from curate.bench.compare import bench as measure
    from curate.commands.options import print_json
    from curate.errors import CurateError, did_you_mean

    for name in only or ():
        if name not in WHAT:
            raise CurateError(
                f"there is nothing called `{name}` to measure", "--only", did_you_mean(name, WHAT) or ", ".join(WHAT)
            )
    texts = texts_of([str(path) for path in corpus], megabytes) if corpus else installed_texts(megabytes)
    record = measure(texts, only or WHAT, lambda text: echo(f"measuring {text}", err=True))
    print_json(record) if as_json else _print(record)


def _print(record: dict[str, Any]) -> None:
    from curate.commands.tables import print_table

    machine = record["machine"]
    size = f"{record['documents']:,} documents, {record['megabytes']:.1f} MB"
    echo(f"{size}; {machine['cores']} cores, load {machine['load_average']}")
    rows = [
        [
            row["what"], row["side"],
            *(f"{row['mb_per_cpu_s'][state]:.2f}" if state in row["mb_per_cpu_s"] else "" for state in ("cold", "warm")),
            ", ".join(f"{value:.1f}" for value in row.get("ratio", {}).values()),
            f"{row['load_cpu_s']:.1f}", f"{row['peak_rss_mb']:,}", _quality(row),
        ]
        for row in record["rows"]
    ]  # fmt: skip
    heads = ("", "", "MB/CPU s cold", "warm", "ratio", "load s", "peak MB", "decisions")
    print_table(heads, rows)


def _quality(row: dict[str, Any]) -> str:
    if "differing" in row:
        return f"{row['differing']} differ"
    if "precision" in row:
        shown = {"recall": row["recall_near"], "exact": row["recall_exact"], "precision": row["precision"]}
        return ", ".join(f"{name} {'-' if value is None else f'{value:.3f}'}" for name, value in shown.items())
    return ""
