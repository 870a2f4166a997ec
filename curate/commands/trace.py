"""`curate trace`: where a text stands in what a model was trained on."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from curate.commands.options import Json, StoreOption
from curate.errors import CurateError
from curate.terminal import echo, visible

__all__ = ["text_of", "trace"]

File = Annotated[Path | None, typer.Option("--file", help="Read the text from a file; - is stdin.", metavar="FILE")]
Text = Annotated[str | None, typer.Argument(help="The text; without it and --file, stdin is read.", metavar="TEXT")]
SHOWN = 300
"""Characters of a span that are shown on a terminal."""


def trace(
    text: Text = None,
    model: Annotated[
        str,
        typer.Option("--model", help="A run, its folder, a checkpoint, or what it was exported to.", metavar="MODEL"),
    ] = "",
    file: File = None,
    shortest: Annotated[int, typer.Option(min=1, help="Fewest tokens of a span.", metavar="N")] = 8,
    spans: Annotated[int, typer.Option(min=1, help="Most spans that are told, the rarest first.", metavar="N")] = 10,
    documents: Annotated[int, typer.Option(min=0, help="Most documents of each span.", metavar="N")] = 3,
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Find the longest spans of a text that stand word for word in what a model was trained on, and their documents.

    The first time, the tokens are sorted: about 10 s for 50 million, and 4 bytes a token on disk, beside them.
    """
    from curate.commands.options import print_json
    from curate.dataset.find import find_store
    from curate.evaluation.request import model_place
    from curate.interpret.trace import trace as run

    if not model:
        raise typer.BadParameter("Missing option '--model'.")
    exported = (Path(model) / "export.json").is_file()  # of other engines it has no config.json
    given, place = text_of(text, file), Path(model if exported else model_place(model))
    found = run(
        given, place, find_store(store), shortest=shortest, spans=spans, documents=documents,
        say=lambda words: echo(f"trace {place.name}: {words}", err=True),
    )  # fmt: skip
    print_json(found) if as_json else _print(found)


def text_of(text: str | None, file: Path | None) -> str:
    """The text that was given, as an argument, in a file or on stdin.

    Raises:
        CurateError: It is given twice, cannot be read, or is no UTF-8.
    """
    if text is not None and file is not None:
        raise CurateError("the text is given twice", "--file", "TEXT or --file FILE")
    try:
        if text is not None:
            text.encode()  # an argument may be no text
            return text
        content = sys.stdin.buffer.read() if file is None or str(file) == "-" else file.read_bytes()
        return content.decode()
    except (OSError, UnicodeError) as error:
        raise CurateError(
            f"the text cannot be read: {error}",
            str(file or ("TEXT" if text is not None else "stdin")),
            "a file of UTF-8 text",
        ) from None


def _print(found: dict[str, Any]) -> None:
    for one in found["searched"]:
        name = f"{one['dataset']}@{one['version'][:12]}"
        echo(f"run {one['run']} was given {name}: {one['documents']:,} documents, {one['tokens']:,} tokens")
    for note in found["notes"]:
        echo(f"note: {note}")
    longest = max((one["tokens"] for one in found["spans"]), default=0)
    if not longest:
        echo(f"no {found['shortest']} tokens of the text's {found['tokens']:,} stand in it as they stand there")
        return
    echo(
        f"{found['covered']:.1%} of the text's {found['tokens']:,} tokens stand in it, in spans of {found['shortest']} "
        f"tokens and more; {found['found']:,} such span{'s' * (found['found'] != 1)}, the rarest first"
    )
    for number, one in enumerate(found["spans"], 1):
        _print_span(number, one)


def _print_span(number: int, one: dict[str, Any]) -> None:
    words = one["text"] if len(one["text"]) <= SHOWN else f"{one['text'][:SHOWN]}..."
    least = "at least " * one["at_least"]
    times = f"{one['occurrences']:,} times, in {least}{one['documents']:,} document{'s' * (one['documents'] != 1)}"
    times = "once" if one["occurrences"] == 1 else times
    echo(f"\n{number}. {one['tokens']} tokens, {times}: {visible(repr(words), in_one_line=True)}")
    for place in one["places"]:
        facts = [f"{place['dataset']}@{place['version'][:12]}", f"document {place['number']:,} of {place['split']}"]
        facts += [f"as {place['role']}"] if place["role"] != "text" else []
        facts += [f"from {place['source']}"] if place["source"] else []
        facts += [f"license {place['license']}"] if place["license"] else []
        facts += [f"{place['occurrences']} times in it"] if place["occurrences"] > 1 else []
        if place["times"] is not None:
            facts.append(_read(place["run"], place["times"]))
        echo(visible(f"   {place['id']}: {', '.join(facts)}", in_one_line=True))
        echo(visible(f"     ...{place['before']}[{words}]{place['after']}...", in_one_line=True))


def _read(run: str, times: int) -> str:
    if not times:
        return f"run {run} ended before it came there"
    return f"run {run} read it {'once' if times == 1 else f'{times:,} times'}"
