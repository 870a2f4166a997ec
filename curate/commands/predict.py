"""`curate predict`: what a model with a head says of each row."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from curate.commands.options import Json, StoreOption
from curate.terminal import echo

__all__ = ["predict"]

Model = Annotated[str, typer.Argument(help="A run, its folder, a checkpoint, or a Hugging Face folder, with a head.")]
Data = Annotated[list[str], typer.Argument(help="A version, or jsonl, csv or parquet files.", metavar="DATA...")]
Text = Annotated[str | None, typer.Option(help="Column that is read; by default that of the training.")]
Prompt = Annotated[
    str | None, typer.Option(help="Column with prompts: the model is a reward model, and scores the answers in --text.")
]
Second = Annotated[str | None, typer.Option(help="Column with the second text of a pair.")]
Embeddings = Annotated[
    bool, typer.Option("--embeddings", help="What stands for a text before the head, not what the head makes of it.")
]
Out = Annotated[Path | None, typer.Option(help="Write JSON lines there, not to stdout.", metavar="FILE")]


def predict(
    model: Model,
    data: Data,
    text: Text = None,
    prompt: Prompt = None,
    second: Second = None,
    split: Annotated[str | None, typer.Option(help="Of a version; by default all of it.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most as many rows, from the first.")] = None,
    embeddings: Embeddings = False,
    beams: Annotated[int, typer.Option(min=1, help="Beginnings that are kept when a text is written.")] = 1,
    length: Annotated[int | None, typer.Option(min=4, help="Most tokens read; by default the model's.")] = None,
    out: Out = None,
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Write what a model says of each row, as JSON lines: labels with probabilities, numbers, scores, or texts."""
    import json

    from curate.commands.options import print_json
    from curate.evaluation.predict import open_predictor, predicted
    from curate.evaluation.request import model_place
    from curate.files import replacing

    if as_json and out:
        raise typer.BadParameter("--json is for stdout, --out writes JSON lines: take one of them")
    rows, table = _rows(data, split, limit, store)
    opened: Any = open_predictor(model_place(model), length=length, scores=prompt is not None)
    if table is not None and hasattr(opened, "check_recipe"):
        opened.check_recipe(table, data[0])
    found = _counted(
        predicted(opened, rows, text=text, second=second, embeddings=embeddings, beams=beams, prompt=prompt)
    )
    if as_json:
        print_json({"model": opened.name, "predictions": list(found)})
        return
    lines = (json.dumps(one, ensure_ascii=False) + "\n" for one in found)
    if out is None:
        sys.stdout.writelines(lines)
        return
    with replacing(out) as stream:
        for number, line in enumerate(lines, 1):
            stream.write(line.encode())
            if number % 1000 == 0:
                echo(f"predict: {number:,} of {len(rows):,}", err=True)
    echo(f"{out}: {len(rows):,} rows", err=True)


def _counted(found: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The same; at the end, people are told how many rows had nothing to read, and which the first was."""
    wrong: list[str] = []
    for one in found:
        if "error" in one:
            wrong.append(one["error"])
        yield one
    if wrong:
        echo(f"warning: {len(wrong):,} of the rows have `error` for a prediction: {wrong[0]}", err=True)


def _rows(
    data: list[str], split: str | None, limit: int | None, store: str | None
) -> tuple[list[dict[str, Any]], list[dict[str, Any]] | None]:
    """The rows; and of a version with the numbers of a table, what its stages have learned."""
    from curate.collect.file_rows import ENDINGS
    from curate.dataset.find import find_store
    from curate.dataset.reader import open_dataset
    from curate.errors import CurateError
    from curate.evaluation.tasks.data import read_files
    from curate.table.contract import FEATURES
    from curate.table.recipe import recipe_of

    table = None
    if any(Path(one).exists() or not set(ENDINGS).isdisjoint(Path(one).suffixes) for one in data):
        if split:
            raise CurateError("files have no splits", "--split", "leave it out")
        rows, _ = read_files(data, where="DATA")
    else:
        if len(data) > 1:
            raise CurateError("one version at a time, or several files", "DATA")
        dataset = open_dataset(data[0], find_store(store))
        if split:
            dataset.check_split(split)
        table = recipe_of(dataset) if FEATURES in dataset.columns else None
        rows = [row for batch in dataset.batches(split, None, 1000) for row in batch.to_pylist()]
    if not rows:
        raise CurateError("there are no rows", "DATA")
    return rows[:limit], table
