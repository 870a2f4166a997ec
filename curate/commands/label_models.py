"""`curate label fit | preannotate | weak | auto`: models and rules that suggest labels, or give them with a certificate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from curate.commands.label_options import TaskOption, VersionArgument, opened
from curate.commands.options import Json, StoreOption
from curate.terminal import echo

__all__ = ["auto", "fit", "preannotate", "weak"]


def fit(
    version: VersionArgument = None,
    seed: Annotated[int, typer.Option(help="Of the folds, and of the draw of --documents.")] = 0,
    automatic: Annotated[
        bool, typer.Option("--automatic", help="Learn from certified automatic labels, too (self-training).")
    ] = False,
    words: Annotated[
        bool,
        typer.Option(
            "--words", help="Look at words and pairs alone: the stage quality_classifier is then 5 times as fast."
        ),
    ] = False,
    column: Annotated[
        str | None,
        typer.Option(help="Learn the values of a column of VERSION, without a task; words alone.", metavar="COLUMN"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="With --column: where the model is written; by default COLUMN.safetensors.", metavar="FILE"),
    ] = None,
    text: Annotated[str, typer.Option(help="With --column: the column with the texts.", metavar="COLUMN")] = "text",
    documents: Annotated[
        int, typer.Option(min=2, help="With --column: most documents; of more, these are drawn.")
    ] = 20_000,
    task: TaskOption = None,
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Fit a model to what people said, or to a column: cross-validated, calibrated, with the learning curve."""
    from curate.commands.options import print_json
    from curate.errors import CurateError
    from curate.labeling.model import fit_model

    if column is not None:
        if version is None or task is not None or automatic:
            raise CurateError(
                "`--column` is of a version, without a task", "--column", "curate label fit NAME --column COLUMN"
            )
        told = _fit_column(version, store, (column, text, documents, seed), out)
    elif out is not None:
        raise CurateError("`--out` is of a model of `--column`: that of a task lies beside task.yaml", "--out")
    else:
        said, path, dataset = opened(task, version, store)
        fitted = fit_model(dataset, said, path.parent, seed=seed, automatic=automatic, characters=not words)
        told = {**fitted.facts, "file": str(path.parent / "model.safetensors")}
    (print_json if as_json else _tell_fit)(told)


def _fit_column(version: str, store: str | None, asked: tuple[str, str, int, int], out: Path | None) -> dict[str, Any]:
    from curate.dataset.find import find_store
    from curate.dataset.reader import open_dataset
    from curate.labeling.column import Asked, fit_column

    column, text, documents, seed = asked
    dataset = open_dataset(version, find_store(store))
    return fit_column(dataset, Asked(column, text, documents, seed=seed), out or Path(f"{column}.safetensors"))


def _tell_fit(told: dict[str, Any]) -> None:
    from curate.commands.tables import print_table

    name = told.get("name") or f"linear-{told['sha256'][:12]}"
    echo(f"{name}: {told['documents']:,} labelled documents; {told['file']}")
    said = told["held_out"]
    echo(f"on documents that it had not seen (5 folds): accuracy {_shown(said['accuracy'])}")
    for label, area in said["auc"].items():
        echo(f"  a document that is `{label}` scores above one that is not: {_shown(area)}")
    if "macro_f1" in told:
        errors = told["calibration_error"]
        echo(f"macro-F1 {told['macro_f1']:.3f}; calibration error {errors['after']:.3f} (before temperature "
             f"{errors['before']:.3f})")  # fmt: skip
    if told.get("random"):
        drawn = told["random"]
        echo(f"on the {drawn['documents']:,} of them that were drawn at random: accuracy {_shown(drawn['accuracy'])}, "
             f"macro-F1 {_shown(drawn['macro_f1'])}; this is what to expect of the rest")  # fmt: skip
    if told.get("learning_curve"):
        echo()
        points = [(one["labels"], _shown(one["accuracy"]), _shown(one["macro_f1"])) for one in told["learning_curve"]]
        print_table(("labels", "accuracy", "macro-F1"), points)


def _shown(one: dict[str, Any] | None) -> str:
    return "insufficient" if one is None else f"{one['value']:.3f} ({one['low']:.3f} to {one['high']:.3f})"


def preannotate(
    version: VersionArgument = None,
    functions: Annotated[
        bool, typer.Option("--functions", help="By the labeling functions of functions.yaml.")
    ] = False,
    endpoint: Annotated[
        str | None,
        typer.Option(help="By a language model: URL of chat completions; token: CURATE_LLM_TOKEN.", metavar="URL"),
    ] = None,
    model: Annotated[str | None, typer.Option(help="Name of the language model there.", metavar="NAME")] = None,
    task: TaskOption = None,
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Suggest answers for what is still to be labelled, by the task's model unless told; blind documents get none."""
    from curate.commands.options import print_json
    from curate.errors import CurateError
    from curate.labeling.endpoint import by_endpoint
    from curate.labeling.suggest import by_functions, by_model, suggest
    from curate.pipeline.progress import progress_for_terminal

    said, path, dataset = opened(task, version, store)
    if (endpoint is None) != (model is None) or (endpoint and functions):
        raise CurateError("`--endpoint URL` and `--model NAME` go together, without `--functions`")
    if endpoint and model:
        name, of = by_endpoint(said, endpoint, model)
    else:
        name, of = (by_functions if functions else by_model)(said, path.parent)
    with progress_for_terminal() as progress:
        progress.begin("suggest", 1)
        told = {"task": said.name, "model": name, **suggest(dataset, said, name, of, progress.advance)}
    if as_json:
        print_json(told)
        return
    echo(f"{name}: {told['suggested']:,} suggested, {told['abstained']:,} without a suggestion, {told['again']:,} there "
         f"already, {told['blind']:,} blind")  # fmt: skip


def weak(
    version: VersionArgument = None,
    method: Annotated[str, typer.Option(help="majority, or label-model, which learns how good each is.")] = "majority",
    least: Annotated[float, typer.Option(min=0, max=1, help="Probability below which there is no label.")] = 0.0,
    write: Annotated[bool, typer.Option("--write", help="Label with them what nobody else has labelled.")] = False,
    task: TaskOption = None,
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Ask labeling functions (functions.yaml beside the task) about every document: coverage, conflicts, how often right."""
    from curate.commands.options import print_json
    from curate.commands.tables import print_table
    from curate.labeling.weak import weakly

    said, path, dataset = opened(task, version, store)
    told = weakly(dataset, said, path.parent, method=method, least=least, write=write)
    if as_json:
        print_json(told)
        return
    rows = [(one["name"], ", ".join(one["labels"]), f"{one['coverage']:.1%}", f"{one['overlap']:.1%}", f"{one['conflict']:.1%}",
             _shown(one["accuracy"])) for one in told["functions"]]  # fmt: skip
    print_table(("function", "says", "coverage", "overlap", "conflict", "right on labelled ones"), rows)
    echo(f"\ntogether ({method}): {told['labelled']:,} of {told['documents']:,} documents, {told['tied']:,} tied; "
         f"right on labelled ones: {_shown(told['accuracy'])}")  # fmt: skip
    echo("written; labels of people and certified ones go before these: `curate label commit`" if write
         else "--write labels with them what nobody else has labelled")  # fmt: skip


def auto(
    version: VersionArgument = None,
    target_precision: Annotated[
        float, typer.Option("--target-precision", min=0.5, max=0.999, help="Share of automatic labels that is right.")
    ] = 0.95,
    confidence: Annotated[float, typer.Option(min=0.5, max=0.999, help="How sure of it.")] = 0.95,
    audit: Annotated[int, typer.Option(min=1, help="How many documents people look at, to prove it.")] = 150,
    certify: Annotated[
        bool, typer.Option("--certify", help="Judge the audit, and write labels if it proves them.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the folds and the audit.")] = 0,
    task: TaskOption = None,
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Label automatically what the model is sure of: draw a blind audit, then `--certify` it; without proof, no label.

    Exits with 3 where no threshold has a chance, or where the audit does not prove the precision.
    """
    from curate.commands.options import print_json
    from curate.labeling.automatic import Goal, judge, propose

    said, path, dataset = opened(task, version, store)
    if certify:
        told = judge(dataset, said)
        if as_json:
            print_json(told)
        else:
            echo(f"{told['labelled']:,} documents are labelled automatically, beside those that people have labelled")
            echo(f"{told['correct']:,} of {told['audited']:,} in the audit are right: the precision is at least "
                 f"{told['bound']:.3f} ({told['confidence']:.0%} confidence, attempt {told['attempt']})")  # fmt: skip
        return
    told = propose(dataset, said, path.parent, Goal(target_precision, confidence, audit), seed=seed)
    if as_json:
        print_json(told)
        return
    echo(
        f"{told['model']}: {told['above']:,} of {told['pool']:,} unlabelled documents score {told['threshold']:.3f} or more"
    )
    echo(f"(precision {told['expected_precision']:.3f} on labelled ones)")
    echo(
        f"round {told['round']}: {told['audited']:,} of them are to be labelled, blind; {told['allowed_errors']} may be wrong."
    )
    echo(f"The chance that this certifies is {told['chance']:.0%}")
    echo("`curate label annotate` or `push`, then `curate label auto --certify`")
