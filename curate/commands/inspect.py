"""`curate inspect`: what a model computes of a text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from curate.commands.options import Json
from curate.terminal import echo, visible

__all__ = ["inspect"]

Text = Annotated[str | None, typer.Argument(help="The text; without it and --file, stdin is read.", metavar="TEXT")]


def inspect(
    text: Text = None,
    model: Annotated[
        str, typer.Option("--model", help="A run, its folder, a checkpoint, or a Hugging Face folder.", metavar="MODEL")
    ] = "",
    file: Annotated[
        Path | None, typer.Option("--file", help="Read the text from a file; - is stdin.", metavar="FILE")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Alternatives that are told of each token.", metavar="N")] = 5,
    target: Annotated[
        int | None,
        typer.Option(min=0, help="Token that attention and attributions are of; by default the last.", metavar="N"),
    ] = None,
    steps: Annotated[int, typer.Option(min=2, help="Steps of the integrated gradients.", metavar="N")] = 64,
    out: Annotated[Path | None, typer.Option(help="Write a page of it, too.", metavar="PAGE.html")] = None,
    as_json: Json = False,
) -> None:
    """Show what each token of a text cost a model, what else it expected, and what is behind that.

    Of our decoders also what it would say after each layer, the attention of one place, and which tokens made its token
    likelier (integrated gradients). A text may have as many tokens as the model reads at once.
    """
    from curate.commands.options import print_json
    from curate.commands.trace import text_of
    from curate.errors import CurateError
    from curate.evaluation.models.opened import is_endpoint, open_model
    from curate.evaluation.request import model_place

    if not model:
        raise typer.BadParameter("Missing option '--model'.")
    given, place = text_of(text, file), model_place(model)
    if is_endpoint(place):
        raise CurateError(f"`{model}` is a server: what it computes is not seen from here", "--model", "name a folder")
    from curate.evaluation.models.tokens import TokenModel
    from curate.interpret.inside import inspect as run
    from curate.interpret.page import write_inspection

    opened = open_model(place)
    if not isinstance(opened, TokenModel):
        raise CurateError(f"the model in `{place}` does not predict the next token", "--model", "name a language model")
    found = run(opened, given, top=top, target=target, steps=steps)
    if out:
        write_inspection(out, found)
    print_json({**found, "page": out and str(out)}) if as_json else _print(found, out)


def _print(found: dict[str, Any], out: Path | None) -> None:
    from curate.commands.tables import print_table

    rows = [
        (str(at), _shown(one["text"]), f"{one['bits']:.2f}", f"{one['rank']:,}", _expected(one))
        for at, one in enumerate(found["places"])
    ]
    print_table(("token", "text", "bits", "rank", "expected"), rows)
    echo(f"{found['bits']:.2f} bits, {found['bits_per_byte']:.4f} a byte")
    for note in found["notes"]:
        echo(f"note: {note}")
    if found["target"]:
        _print_target(found)
    if out:
        echo(f"\npage: {out}")


def _print_target(found: dict[str, Any]) -> None:
    target, given = found["target"], found["target"]["attributions"]
    own = found["places"][target["place"]]["text"]
    layers = [f"{one[target['place']]['own']:.3f}" for one in found["lens"]]
    echo(f"\ntoken {target['place']}, {_shown(own)}: probability after each layer {', '.join(layers)}")
    order = sorted(range(len(given["values"])), key=lambda at: -abs(given["values"][at]))[:8]
    told = ", ".join(f"{_shown(target['read'][at])} {given['values'][at]:+.3f}" for at in order)
    echo(f"made likelier (+) or less likely (-) by: {told}")
    echo(f"(integrated gradients, {given['steps']} steps; they miss their sum by {given['error']:.2g})")


def _expected(one: dict[str, Any]) -> str:
    return ", ".join(f"{_shown(other['text'])} {other['probability']:.3f}" for other in one["alternatives"])


def _shown(text: str) -> str:
    return visible(repr(text), in_one_line=True)
