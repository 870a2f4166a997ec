"""`curate privacy evaluate | reveal | risk`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from curate.commands.options import Json, Overrides, StoreOption
from curate.terminal import echo

if TYPE_CHECKING:
    from curate.dataset.reader import Dataset
    from curate.privacy.pii import Pii
    from curate.privacy.risk import Missing

__all__ = ["evaluate", "reveal", "risk"]


def evaluate(
    gold: Annotated[
        Path, typer.Argument(help="JSON list of `full_text` and `spans`, as presidio-research has it.", metavar="GOLD")
    ],
    pipeline: Annotated[
        Path | None,
        typer.Option(help="Evaluate the `pii` stage of this pipeline file; by default the stage's defaults."),
    ] = None,
    stage: Annotated[str | None, typer.Option(help="Its id, where the pipeline has several.")] = None,
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Measure what the stage `pii` finds of what people marked: precision, recall, F1, F2, leaks, with intervals."""
    from curate.commands.options import print_json
    from curate.commands.tables import print_table
    from curate.privacy.evaluate import evaluate as measure
    from curate.privacy.evaluate import read_gold

    chosen = _stage(pipeline, stage, overrides or [])
    golds = read_gold(gold, chosen.types().values())
    told = measure(golds, chosen)
    if as_json:
        print_json({"gold": str(gold), **told})
        return
    rows = [
        [kind, f"{one['n']:,}", f"{one['found']:,}", *(_words(one["overlap"][name]) for name in ("precision", "recall", "f2")),
         _words(one["strict"]["f2"]), f"{one['leaked']:,} of {one['characters']:,}"]
        for kind, one in told["entities"].items() if one["n"] or one["found"]
    ]  # fmt: skip
    print_table(("entity", "marked", "found", "precision", "recall", "F2", "F2 strict", "leaked characters"), rows)
    for kind, other in told["others"].items():
        echo(f"not looked for: {other['n']:,} {kind}, {other['leaked']:,} of {other['characters']:,} characters stay")
    echo(f"{told['texts']:,} texts; in brackets 95 % intervals over texts", err=True)


def reveal(
    file: Annotated[
        Path, typer.Argument(help="A text with pseudonyms or surrogates; `-` is standard input.", metavar="FILE")
    ],
    vault: Annotated[Path, typer.Option(help="The folder that `vault:` of the stage `pii` named.")],
    key: Annotated[str, typer.Option(help="Where the key of that stage is: env:NAME or file:PATH.")],
    as_json: Json = False,
) -> None:
    """Put back what pseudonyms and surrogates stand for, from the vault that a run wrote.

    What stands for several values stays, and is told, like pseudonyms that are not in the vault.
    """
    from curate.commands.options import print_json
    from curate.errors import CurateError
    from curate.privacy.keys import load_key
    from curate.privacy.vault import read_vault
    from curate.privacy.vault import reveal as put_back

    if not key.startswith(("env:", "file:")):
        raise CurateError("`--key` says where the key is, not the key", hint="--key env:CURATE_PII_KEY or file:PATH")
    how = "the key that the run had; with a new one nothing comes back"
    pairs = read_vault(vault.expanduser(), load_key(key, "the vault", how))
    told = put_back(_text_of(file), pairs)
    if as_json:
        print_json(told._asdict())
        return
    typer.echo(told.text, nl=False)
    for stands, count in told.ambiguous.items():
        echo(f"`{stands}` stands for {count:,} values, and stays", err=True)
    unknown = f"; {len(told.unknown):,} are not in the vault" if told.unknown else ""
    echo(f"{told.revealed:,} put back{unknown}", err=True)


def _text_of(file: Path) -> str:
    import sys

    from curate.errors import CurateError

    try:
        content = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        return content.decode("utf-8")
    except OSError as error:
        raise CurateError(f"the text cannot be read: {error.strerror}", str(file)) from None
    except UnicodeDecodeError:
        raise CurateError("the text is not UTF-8", str(file)) from None


def _words(measure: dict[str, Any]) -> str:
    if measure["value"] is None:
        return "-"
    return f"{measure['value']:.3f} ({measure['low']:.3f}-{measure['high']:.3f})"


def _stage(pipeline: Path | None, name: str | None, overrides: list[str]) -> Pii:
    from curate.config.pipeline import load_pipeline
    from curate.errors import CurateError
    from curate.privacy.pii import Pii

    if pipeline is None:
        if name or overrides:
            raise CurateError("`--stage` and `--set` are about a pipeline file", hint="name it with --pipeline")
        return Pii.model_validate({})
    entries = [one for one in load_pipeline(pipeline, overrides).stages if isinstance(one.stage, Pii)]
    chosen = [one for one in entries if name in (None, one.id)]
    if len(chosen) != 1:
        known = ", ".join(f"`{one.id}`" for one in entries) or "none"
        raise CurateError("which `pii` stage?", str(pipeline), f"--stage ID; the pipeline has {known}")
    found = chosen[0].stage
    assert isinstance(found, Pii)
    return found


def risk(
    version: Annotated[str, typer.Argument(help="NAME, NAME@TAG or NAME@ID-PREFIX.", metavar="VERSION")],
    quasi: Annotated[
        str | None, typer.Option(help="Columns that somebody may know of a person.", metavar="COLUMN,COLUMN,...")
    ] = None,
    sensitive: Annotated[
        str | None, typer.Option(help="Columns that nobody shall learn.", metavar="COLUMN,COLUMN,...")
    ] = None,
    missing: Annotated[
        str, typer.Option(help="Documents without a quasi-identifier: `equal` to each other, each `unique`, or `omit`.")
    ] = "equal",
    sample: Annotated[
        int | None, typer.Option(min=1, help="Write so many documents, drawn at random, for review.", metavar="N")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File of the sample to write.", metavar="FILE")] = None,
    seed: Annotated[int, typer.Option(help="Another seed, other documents.")] = 1,
    reviewed: Annotated[
        Path | None, typer.Option(help="The sample with `found` filled in: true, false, or how many.", metavar="FILE")
    ] = None,
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Estimate how likely somebody is recognized: k-anonymity, l-diversity, and what a reviewed sample says is left.

    `--quasi` tells of columns. `--sample N --out FILE` writes documents to review; `--reviewed FILE` gives the upper bound.
    """
    from curate.commands.options import print_json
    from curate.dataset.find import find_store
    from curate.dataset.reader import open_dataset
    from curate.dataset.runs import now
    from curate.privacy.risk import anonymity, residual, write_sample

    _check_risk(quasi, sensitive, sample, out, reviewed)
    one = open_dataset(version, find_store(store))
    told: dict[str, Any] = {"dataset": one.name, "version": one.version}
    if quasi:
        told["anonymity"] = anonymity(one, _names(quasi), _names(sensitive or ""), missing=_missing(missing))
    if reviewed:
        told["residual"] = residual(one, reviewed)
    if sample and out:
        began = now()
        told["sample"] = {"file": str(out), "documents": write_sample(one, sample, out, seed=seed), "seed": seed}
        _record_sample(one, began, out, told["sample"])
    if as_json:
        print_json(told)
    else:
        _print_risk(told)


def _check_risk(
    quasi: str | None, sensitive: str | None, sample: int | None, out: Path | None, reviewed: Path | None
) -> None:
    from curate.errors import CurateError

    if sensitive and not quasi:
        raise CurateError("`--sensitive` is about classes of quasi-identifiers", hint="name them with --quasi")
    if (sample is None) != (out is None):
        raise CurateError("`--sample` and `--out` go together", hint="--sample 300 --out sample.jsonl")
    if not (quasi or sample or reviewed):
        raise CurateError("what is to be estimated?", hint="--quasi COLUMNS, --sample N --out FILE, or --reviewed FILE")


def _missing(told: str) -> Missing:
    from curate.errors import CurateError, did_you_mean

    ways: tuple[Missing, ...] = ("equal", "unique", "omit")
    for one in ways:
        if told == one:
            return one
    raise CurateError(f"`--missing` is `{told}`", hint=did_you_mean(told, ways) or f"one of {', '.join(ways)}")


def _record_sample(one: Dataset, began: str, out: Path, facts: dict[str, Any]) -> None:
    """So that an erasure finds the file."""
    from curate.dataset.runs import Thing, record, run_id
    from curate.files import file_hash

    tag = f"{one.name}@{one.tag or one.version[:12]}"
    written: list[Thing] = [{"kind": "file", "id": file_hash(out), "name": str(out.resolve())}]
    record(one.store, "audit", run_id(), name=tag, state="done", began=began,
           inputs=[{"kind": "version", "id": one.version, "name": tag}], outputs=written,
           facts={"audit": "risk", **facts})  # fmt: skip


def _names(listed: str) -> list[str]:
    return [name.strip() for name in listed.split(",") if name.strip()]


_LACKING = {
    "equal": "they count as equal where they lack the same (--missing unique: each alone; omit: left out)",
    "unique": "each counts as alone, as if nobody else could be taken for it",
    "omit": "they are left out",
}


def _print_risk(told: dict[str, Any]) -> None:
    from curate.commands.tables import print_table

    if one := told.get("anonymity"):
        echo(f"k = {one['k']}: {one['documents']:,} documents in {one['classes']:,} classes of equal quasi-identifiers")
        if one["lacking"]:
            echo(f"{one['lacking']:,} documents lack a quasi-identifier: {_LACKING[one['missing']]}")
        rows = [
            [f"below {limit}", f"{count:,}", f"{count / one['documents']:.1%}"] for limit, count in one["below"].items()
        ]
        print_table(("class size", "documents", "share"), rows)
        for name, facts in one["sensitive"].items():
            echo(f"`{name}`: l = {facts['l']}; {facts['documents']:,} documents are in classes with one value")
    if one := told.get("residual"):
        echo(f"found in {one['found']:,} of {one['reviewed']:,} reviewed documents ({one['share']:.1%})")
        most = f"{one['upper']:.2%} of the version, {one['documents']:,} documents"
        echo(f"at most {most} ({one['confidence']:.1%} confidence, Clopper-Pearson)")
    if one := told.get("sample"):
        echo(
            f"{one['documents']:,} documents in {one['file']}; fill in `found` in each line, then --reviewed {one['file']}"
        )
