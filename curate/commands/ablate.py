"""`curate ablate`: which data trains the better model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from curate.commands.options import Json, StoreOption
from curate.terminal import echo

__all__ = ["ablate"]

What = Annotated[
    list[str],
    typer.Argument(
        help="Versions, the first is what the others are compared with; or a pipeline, with --without.",
        metavar="V1 V2...",
    ),
]
Without = Annotated[
    list[str] | None,
    typer.Option(help="Compare the pipeline with one that lacks this stage; `all`: each in turn.", metavar="STAGE"),
]
Control = Annotated[
    list[str] | None, typer.Option(help="An arm that has to be worse: shuffled, or duplicated.", metavar="NAME")
]
Preset = Annotated[str, typer.Option(help="xs for two cores, s for one GPU, m for several.")]
HeldOutOption = Annotated[
    list[str] | None,
    typer.Option(
        "--heldout", help="What is measured on: VERSION_OR_FILE[:NAME]; by default the arms' validation splits."
    ),
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="Change the recipe of all arms, e.g. tokens=1e6.", metavar="KEY=VALUE")
]
Predict = Annotated[
    str | None, typer.Option(help="What you expect; written down before the first step.", metavar="WORDS")
]
GateOption = Annotated[
    list[str] | None,
    typer.Option(
        help='What has to be shown of every arm, else exit 3: "bits_per_byte better", '
        '"bits_per_byte on SET not worse than 0.5%".'
    ),
]
Equivalents = Annotated[
    bool,
    typer.Option(
        "--equivalents", help="Tell what arms are worth in compute; trains the first on half and twice the tokens, too."
    ),
]
Last = Annotated[int, typer.Option(min=1, max=5, help="Last checkpoints that the value of a training is the mean of.")]


def ablate(
    what: What,
    without: Without = None,
    control: Control = None,
    preset: Preset = "xs",
    seeds: Annotated[int, typer.Option(min=2, help="Trainings of each arm.")] = 5,
    heldout: HeldOutOption = None,
    by: Annotated[str | None, typer.Option(help="Column of domains, measured apart.")] = None,
    match: Annotated[Literal["tokens", "documents"], typer.Option(help="What all arms get as much of.")] = "tokens",
    equivalents: Equivalents = False,
    last: Last = 1,
    no_aa: Annotated[bool, typer.Option("--no-aa", help="Leave out the arm that is the first one again.")] = False,
    text: Annotated[str, typer.Option(help="Column that is trained and measured on.", metavar="COLUMN")] = "text",
    tokenizer: Annotated[str | None, typer.Option(help="Take this one; by default one is trained on all arms.")] = None,
    overrides: Overrides = None,
    predict: Predict = None,
    gate: GateOption = None,
    name: Annotated[str | None, typer.Option(help="Of the ablation; by default made of its arms.")] = None,
    folder: Annotated[Path, typer.Option(help="Where ablations are.", metavar="DIR")] = Path("ablations"),
    processes: Annotated[int | None, typer.Option(min=1, help="Of each training.")] = None,
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Train models on each version, several seeds each, and tell which data is better: or that no difference is shown.

    An interrupted ablation goes on when the same command is given again; what two ablations share is trained once.
    Exit 3: a gate is not shown, or the first version, trained again with other seeds (A/A), diverged or differs from itself.
    """
    from curate.evaluation.ablation.presets import recipe
    from curate.evaluation.ablation.run import Asked
    from curate.evaluation.ablation.run import ablate as run
    from curate.evaluation.gates import read_gate
    from curate.reports.ablation import build_ablation_page
    from curate.train.runs.checks import require_torch

    gates = [read_gate(one) for one in gate or ()]
    require_torch()
    recipe(preset, overrides or [], processes=processes)
    arms, opened = _arms(what, without or [], control or [], text, again=not no_aa, store=store)
    named = name or "-vs-".join(arm.name for arm in arms if not arm.again)
    asked = Asked(
        arms, opened, folder, _slug(named), seeds=seeds, preset=preset, overrides=overrides or [], tokenizer=tokenizer,
        heldout=heldout or [], by=by, predicted=predict, gates=gates, match=match, last=last,
        equivalents=equivalents, processes=processes,
    )  # fmt: skip
    result = run(asked, _say)
    page = build_ablation_page(result, folder / asked.name / "report.html")
    _tell({**result, "page": str(page)}, as_json=as_json)


def _tell(result: dict[str, Any], *, as_json: bool) -> None:
    """Print the result; an A/A arm that fails, and gates that are not shown, end the command with 3."""
    from curate.commands.options import print_json
    from curate.errors import GateError

    missed = [one for one in result["gates"] if not one["passed"]]
    if not as_json:
        _print(result)
        echo(f"\n{result['page']}")
    elif not missed and result["calibrated"] is not False:
        print_json(result)
    if missed:
        problem = f"not shown: {'; '.join(one['gate'] for one in missed)}"
        raise GateError(problem, "; ".join(words for one in missed for words in one["missing"]), result=result)
    if result["calibrated"] is False:
        raise GateError(result["doubts"][0], hint="more seeds or tokens; --no-aa leaves the arm out", result=result)


def _say(words: str) -> None:
    echo(f"ablate: {words}", err=True)


def _slug(name: str) -> str:
    import re

    return re.sub(r"[^\w.-]+", "-", name)[:80]


def _arms(
    what: list[str], without: list[str], controls: list[str], column: str, *, again: bool, store: str | None
) -> tuple[Any, Any]:
    from curate.dataset.find import find_store
    from curate.errors import CurateError
    from curate.evaluation.ablation.arms import arms_of, pipeline_arms, with_controls

    files = [one for one in what if Path(one).suffix in (".yaml", ".yml")]
    if without:
        if len(what) != 1 or not files:
            raise CurateError(
                "--without is of one pipeline file", "V1 V2...", "`curate ablate pipeline.yaml --without STAGE`"
            )
        found, opened = pipeline_arms(Path(what[0]), without, store, _say, column=column)
        return with_controls(found, controls, again=again), opened
    if files:
        raise CurateError(
            f"`{files[0]}` is a pipeline", hint="--without STAGE, or --without all, says what it is compared with"
        )
    opened = find_store(store)
    return arms_of(what, opened, controls=controls, again=again, column=column), opened


def _print(result: dict[str, Any]) -> None:
    from curate.commands.tables import print_table, print_wrapped
    from curate.reports.ablation import worth

    first = result["arms"][0]["name"]
    rows = [
        (one["arm"], one["task"], _signed(one["difference"]),
         "-" if one["low"] is None else f"{_signed(one['low'])} to {_signed(one['high'])}",
         "-" if one["holm"] is None else f"{one['holm']:.2g}", "-" if one["mde"] is None else f"{one['mde']:.4f}",
         one["verdict"])
        for one in result["comparisons"]
    ]  # fmt: skip
    print_table(("arm", "held-out set", "bits per byte", "95% interval", "p (Holm)", "would be found", "verdict"), rows)
    echo("")
    print_wrapped(
        f"Bits per byte less those of {first}: below zero is better. `macro` is the mean over "
        f"{', '.join(result['endpoint']['mean_over'])}, declared before the first step; "
        f"{result['seeds']} seeds, {result['tokens']:,} tokens each"
        f"{' of the first arm, as many documents of the others' if result['match'] == 'documents' else ''}."
    )
    for words in worth(result):
        print_wrapped(words)
    home = result["home"]
    if home["low"] is not None:
        print_wrapped(
            f"At home, on its own validation split, an arm does better than elsewhere by {_signed(home['advantage'])} bits per "
            f"byte ({_signed(home['low'])} to {_signed(home['high'])})."
        )
    for one in result["gates"]:
        echo(f"gate {'shown' if one['passed'] else 'not shown'}: {one['gate']}")
    for words in result["warnings"]:
        print_wrapped(f"note: {words}")
    print_wrapped(result["scope"])
    echo(f"{len(result['runs'])} trainings, {result['seconds']:,.0f} s of steps")


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.4f}"
