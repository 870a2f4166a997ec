"""`curate data drift`: in which columns the documents of two versions differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from curate.commands.options import Json, StoreOption
from curate.terminal import echo, visible

if TYPE_CHECKING:
    from curate.browse.drift import Drift, Drifted

__all__ = ["drift"]


def drift(
    before: Annotated[str, typer.Argument(help="The version before.", metavar="A")],
    after: Annotated[str, typer.Argument(help="The version after.", metavar="B")],
    new: Annotated[bool, typer.Option("--new", help="Of B only the documents whose ids A has not.")] = False,
    least: Annotated[
        float, typer.Option(min=0.001, max=1, help="Share of documents that has to have moved, at least, to be drift.")
    ] = 0.05,
    gate: Annotated[
        bool,
        typer.Option("--gate", help="Exit 3 where a column has drifted, it cannot be told, or only one side has it."),
    ] = False,
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Tell in which columns the documents of B are others than those of A: sources, languages, reasons, what stages measured.

    `moved` is the share of documents that must have changed; `noise` what chance makes of two versions that are alike. All
    documents count that were read, kept or not. Nothing is read again.
    """
    from curate.browse.drift import version_drift
    from curate.commands.options import print_json
    from curate.dataset.find import find_store
    from curate.dataset.reader import open_dataset
    from curate.errors import GateError

    opened = find_store(store)
    sides = open_dataset(before, opened), open_dataset(after, opened)
    found = version_drift(*sides, new=new, least=least)
    told: dict[str, Any] = {
        "from": sides[0].version, "to": sides[1].version, "new": new, "documents": list(found.documents),
        "drifted": [one.name for one in found.drifted], "cannot_tell": [one.name for one in found.unknown],
        "columns": [one.json() for one in found.columns], "not_compared": list(found.apart),
    }  # fmt: skip
    missed = [f"{one.name}: {one.verdict}" for one in (*found.drifted, *found.unknown)]
    missed += [f"{name}: only one of the two has it" for name in found.apart]
    if not as_json:
        _print(found)
    elif not (gate and missed):
        print_json(told)
    if gate and missed:
        problem = f"{len(missed)} columns have drifted, are in one version alone, or it cannot be told"
        raise GateError(problem, "; ".join(missed), result=told)


def _print(found: Drift) -> None:
    from curate.commands.tables import print_table

    echo(f"{found.documents[0]:,} documents before, {found.documents[1]:,} after\n")
    shown = [one for one in found.columns if one.verdict == "drifted"] or found.columns[:10]
    print_table(
        ("column", "documents", "after", "moved", "noise", "psi", "verdict"),
        [
            (one.name, *one.documents, *(f"{number:.3f}" for number in (one.moved, one.noise, one.psi)), one.verdict)
            for one in shown
        ],
    )
    if len(shown) < len(found.columns):
        echo(f"... and {len(found.columns) - len(shown):,} more columns (--json lists all)")
    for one in found.drifted:
        echo(visible(f"{one.name}: {_told(one)}", in_one_line=True))
    if found.unknown:
        echo(
            f"there are too few documents to tell of {len(found.unknown):,} columns whether a tenth of them are others"
        )
    if found.apart:
        echo(visible(f"only one of the two has: {', '.join(found.apart)}", in_one_line=True))


def _told(one: Drifted) -> str:
    if one.kind == "names":
        return ", ".join(f"{row['name']} {row['before']:.1%} -> {row['after']:.1%}" for row in one.told)
    far, middle = one.told
    return (
        f"{far['at_most']:.4g} or less {far['before']:.1%} -> {far['after']:.1%}, "
        f"the middle {middle['before']:.4g} -> {middle['after']:.4g}"
    )
