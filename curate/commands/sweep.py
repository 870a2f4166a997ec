"""`curate sweep`: which settings train the better model."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from curate.commands.options import Json, StoreOption
from curate.terminal import echo

__all__ = ["sweep"]

Over = Annotated[
    list[str] | None,
    typer.Option(
        help="What is varied: key=value,value or block.key=value,value; a range low..high with --random.",
        metavar="KEY=VALUES",
    ),
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="Change the file for all points, e.g. steps=500.", metavar="KEY=VALUE")
]
HeldOutOption = Annotated[
    list[str] | None,
    typer.Option(
        "--heldout", help="What is measured on: VERSION_OR_FILE[:NAME]; by default the validation splits of the data."
    ),
]


def sweep(
    config: Annotated[Path, typer.Argument(help="Training file; its own settings are what others are compared with.")],
    over: Over = None,
    draws: Annotated[
        int | None,
        typer.Option("--random", min=1, help="Draw as many combinations; by default all are tried.", metavar="N"),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each point, to pick by.")] = 3,
    fresh: Annotated[
        int, typer.Option(min=2, help="Trainings with other seeds of the picked point and of the file, to report.")
    ] = 5,
    heldout: HeldOutOption = None,
    limit: Annotated[int, typer.Option(min=2, help="Most documents of a held-out set.")] = 1000,
    overrides: Overrides = None,
    name: Annotated[str | None, typer.Option(help="Of the sweep; by default made of what is varied.")] = None,
    folder: Annotated[Path, typer.Option(help="Where sweeps are.", metavar="DIR")] = Path("sweeps"),
    processes: Annotated[int | None, typer.Option(min=1, help="Of each training.")] = None,
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Train with every combination of some settings, pick the best, and tell whether it is better.

    The best of many is picked by luck, too: so it and the file's own settings are trained again with other seeds, and
    compared on documents that it was not picked by. An interrupted sweep goes on when the same command is given again.
    """
    from curate.commands.options import print_json
    from curate.dataset.store import Store
    from curate.evaluation.ablation.sweep import Asked
    from curate.evaluation.ablation.sweep import sweep as run
    from curate.reports.sweep import build_sweep_page
    from curate.train.settings.file import load_config, store_of

    given = over or []
    load_config(config, overrides or [])
    asked = Asked(
        config, given, Store.open(store_of(config, store)), folder, _slug(name or _named(config, given)),
        overrides=overrides or [], draws=draws, seeds=seeds, fresh=fresh, heldout=heldout or [], limit=limit,
        processes=processes,
    )  # fmt: skip
    result = run(asked, lambda words: echo(f"sweep: {words}", err=True))
    page = build_sweep_page(result, folder / asked.name / "report.html")
    if as_json:
        print_json({**result, "page": str(page)})
    else:
        _print(result, config)
        echo(f"\n{page}")


def _named(config: Path, over: list[str]) -> str:
    return "-".join([config.stem, *(one.partition("=")[0] for one in over)])


def _slug(name: str) -> str:
    import re

    return re.sub(r"[^\w.-]+", "-", name)[:80]


def _print(result: dict[str, Any], config: Path) -> None:
    from curate.commands.tables import print_table, print_wrapped
    from curate.reports.sweep import meaning

    ranked = sorted(result["points"], key=lambda one: (one["diverged"] > 0, one["value"] or 0.0))
    rows = [
        (one["name"], _value(one["value"]), "-" if one["low"] is None else f"{one['low']:.4f} to {one['high']:.4f}",
         f"{one['tokens']:,}", f"{one['seconds']:,.0f}", str(one["diverged"]) if one["diverged"] else "-")
        for one in ranked
    ]  # fmt: skip
    print_table(("settings", "bits per byte", "95% interval", "tokens", "seconds", "diverged"), rows)
    echo("")
    for words in meaning(result):
        print_wrapped(words)
    if result["flattery"]:
        echo("")
        rows = [
            (f"{'picked by' if one['half'] == 'pick' else 'not picked by'}, {_seeds(result[one['seeds']])}",
             _value(one["base"]), _value(one["winner"]), _value(one["difference"], "+"))
            for one in result["flattery"]
        ]  # fmt: skip
        print_table(("documents", result["base"], "picked", "difference"), rows)
        echo("")
    for words in result["warnings"]:
        print_wrapped(f"note: {words}")
    print_wrapped(result["scope"])
    if result["verdict"] == "better":
        (winner,) = (one for one in result["points"] if one["name"] == result["winner"])
        echo(
            shlex.join(
                ["curate", "train", str(config), *(f"--set={one}" for one in (*result["overrides"], *winner["set"]))]
            )
        )


def _value(value: float | None, sign: str = "") -> str:
    return "-" if value is None else f"{value:{sign}.4f}"


def _seeds(seeds: list[int]) -> str:
    return f"seeds {seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"seed {seeds[0]}"
