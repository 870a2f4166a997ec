"""The command `curate`: a table of verbs, each imported when it is used.

`curate --help` prints the table without loading typer's arguments, pydantic, pyarrow or torch: under 0.25 CPU seconds.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from typing import Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from curate.errors import CurateError
from curate.stages.lean import import_lean
from curate.terminal import echo

__all__ = ["COMMANDS", "GROUPS", "app", "main"]

INTERRUPTED, BROKEN_PIPE, TERMINATED = 130, 141, 143
COMMANDS: dict[str, tuple[str, str]] = {
    "init": ("curate.commands.init:init", "Make a working project: pipeline.yaml, train.yaml, README."),
    "run": ("curate.commands.run:run", "Run a pipeline file and commit a dataset version."),
    "collect": ("curate.commands.collect:collect", "Fetch what sources read from elsewhere, and pin it."),
    "add": ("curate.commands.add:add", "Add a text that you write to the store."),
    "worker": ("curate.commands.worker:worker", "Do tasks of a run from a folder, as Slurm's job arrays do."),
    "plan": ("curate.commands.plan:plan", "Say what a run would do, and why."),
    "what-if": ("curate.commands.what_if:what_if", "Tell what other thresholds would do, without a run."),
    "validate": ("curate.commands.validate:validate", "Check a pipeline or training file without running it."),
    "schema": ("curate.commands.schema:schema", "Print the JSON schema of pipeline files, for editors."),
    "stages": ("curate.commands.stages:stages", "List the stages, or show one with all its settings."),
    "why": ("curate.commands.why:why", "Tell what became of a document, and why."),
    "browse": ("curate.commands.browse:browse", "Look at versions and documents in a web browser."),
    "mcp": ("curate.commands.mcp:mcp", "Serve a project to language models: the Model Context Protocol."),
    "train": ("curate.commands.train:train", "Train a model on a dataset version."),
    "eval": ("curate.commands.eval:evaluate", "Measure what a model can do, with intervals."),
    "compare": ("curate.commands.compare:compare", "Compare models on the same items; gates for scripts."),
    "ablate": ("curate.commands.ablate:ablate", "Tell which data trains the better model."),
    "sweep": ("curate.commands.sweep:sweep", "Tell which settings train the better model."),
    "generate": ("curate.commands.generate:generate", "Let a model go on with prompts, or talk to it."),
    "serve": ("curate.commands.serve:serve", "Serve a model over HTTP as OpenAI's interface has it."),
    "trace": ("curate.commands.trace:trace", "Tell where a text stands in what a model was trained on."),
    "inspect": ("curate.commands.inspect:inspect", "Show what each token of a text cost a model, and why."),
    "predict": ("curate.commands.predict:predict", "Write labels, numbers or texts that a model gives to rows."),
    "export": ("curate.commands.export:export", "Write a trained model as a Hugging Face folder."),
    "report": ("curate.commands.report:report", "Write the HTML report of a version or a training run."),
    "bench": ("curate.commands.bench:bench", "Measure curate against datatrove: speed, memory, equal decisions."),
    "doctor": ("curate.commands.doctor:doctor", "Say what is installed, what is missing, and how to get it."),
}
GROUPS: dict[str, dict[str, tuple[str, str]]] = {
    "data": {
        "list": ("curate.commands.data:list_datasets", "List the datasets of the store."),
        "show": ("curate.commands.data:show", "Show a version: documents, columns, splits, lineage."),
        "log": ("curate.commands.data:log", "Show the history of a dataset."),
        "diff": ("curate.commands.data:diff", "Compare two versions: documents added, removed, changed."),
        "drift": ("curate.commands.data_drift:drift", "Tell in which columns two versions differ, and by how much."),
        "tag": ("curate.commands.data:tag", "Give a version one more name, or take one away."),
        "sample": ("curate.commands.data:sample", "Print some documents of a version."),
        "verify": ("curate.commands.data_care:verify", "Check every object of a version against its hash."),
        "export": ("curate.commands.data_care:export", "Write a version in another format, with its card."),
        "card": (
            "curate.commands.data_card:card",
            "Print the dataset card of a version, or summaries that laws ask for.",
        ),
        "push": ("curate.commands.data_transfer:push", "Copy a version to another store, only what is missing there."),
        "pull": ("curate.commands.data_transfer:pull", "Copy a version from another store, and check all of it."),
        "erase": ("curate.commands.erase:erase", "Erase a person from every version, and prove it."),
        "gc": ("curate.commands.data_care:gc", "Remove objects that no version needs."),
        "upgrade": ("curate.commands.data_care:upgrade", "Bring a store of an older curate to the format of today."),
    },
    "audit": {
        "bias": ("curate.commands.audit:bias", "Measure how groups of people differ in a version."),
        "compare": ("curate.commands.audit:compare", "Show what a mitigation changed for each group, and its cost."),
        "toxicity": ("curate.commands.audit:toxicity", "Tell how toxic documents are, by source and split."),
    },
    "label": {
        "init": ("curate.commands.label:init", "Make a labeling task: labels, what is shown, instructions."),
        "next": ("curate.commands.label:next_round", "Draw the documents that are labelled next."),
        "annotate": ("curate.commands.label:annotate", "Label in the terminal."),
        "serve": ("curate.commands.label_studio:serve", "Run a Label Studio on this machine."),
        "push": ("curate.commands.label_studio:push", "Ask in Label Studio about what is to be labelled."),
        "pull": ("curate.commands.label_studio:pull", "Bring what people answered there into the store."),
        "backend": ("curate.commands.label_studio:backend", "Answer Label Studio with the task's model."),
        "forget": ("curate.commands.label_studio:forget", "Delete tasks of erased documents there."),
        "status": ("curate.commands.label:status", "Show what was asked for and what was answered."),
        "fit": ("curate.commands.label_models:fit", "Fit a model to what people said."),
        "preannotate": (
            "curate.commands.label_models:preannotate",
            "Suggest answers for what is still to be labelled.",
        ),
        "weak": ("curate.commands.label_models:weak", "Ask labeling functions about every document."),
        "auto": ("curate.commands.label_models:auto", "Label automatically, with a certificate."),
        "agree": ("curate.commands.label_quality:agree", "Tell how far people agree, with intervals."),
        "aggregate": ("curate.commands.label_quality:aggregate", "Show what several people's answers are together."),
        "review": (
            "curate.commands.label_quality:review",
            "Draw what to ask about once more: ties, suspicious labels.",
        ),
        "report": ("curate.commands.label_quality:report", "Write the page of a task."),
        "commit": ("curate.commands.label:commit", "Make a version with the labels as columns."),
    },
    "model": {
        "list": ("curate.commands.model:list_models", "List the models that have a name."),
        "show": ("curate.commands.model:show", "Show a model: run, weights, data, what is to be known of it."),
        "log": ("curate.commands.model:log", "Show what a name has stood for, and why."),
        "promote": ("curate.commands.model:promote", "Make a run the candidate, and through gates the champion."),
        "rollback": ("curate.commands.model:rollback", "Bring back the champion before this one."),
        "gate": ("curate.commands.model:gate", "Say what gates say of the candidate; exit 3 where one is not passed."),
    },
    "privacy": {
        "evaluate": ("curate.commands.privacy:evaluate", "Measure what the stage `pii` finds of what people marked."),
        "reveal": (
            "curate.commands.privacy:reveal",
            "Put back what pseudonyms and surrogates stand for, from a vault.",
        ),
        "risk": ("curate.commands.privacy:risk", "Estimate how likely somebody is recognized in a version."),
    },
}
"""Commands with a subject before the verb: `curate data list`."""


class _Lazy(TyperCommand):
    """Name and help of a command; the command itself is imported when it is called."""

    def __init__(self, name: str, target: str, summary: str) -> None:
        super().__init__(name=name, help=summary, callback=None, params=[])
        self.target = target

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """The context of the real command."""
        module, _, function = self.target.partition(":")
        single = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
        single.command(self.name)(getattr(import_module(module), function))
        return typer.main.get_command(single).make_context(info_name, args, parent=parent, **extra)


class _Table(TyperGroup):
    """A group whose commands come from a table."""

    table = COMMANDS

    def invoke(self, ctx: Any) -> Any:
        """Run the command; typer must not see a closed pipe, which it answers with the exit code of our own mistakes."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise typer.Exit(BROKEN_PIPE) from None

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, (target, summary) in self.table.items():
            self.commands[name] = _Lazy(name, target, summary)

    def list_commands(self, ctx: Any) -> list[str]:
        """In the order of the table: that of the work."""
        return [*self.table, *(name for name in self.commands if name not in self.table)]


class _DataTable(_Table):
    table = GROUPS["data"]


class _AuditTable(_Table):
    table = GROUPS["audit"]


class _PrivacyTable(_Table):
    table = GROUPS["privacy"]


class _ModelTable(_Table):
    table = GROUPS["model"]


class _LabelTable(_Table):
    table = GROUPS["label"]


app = typer.Typer(
    cls=_Table, add_completion=True, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True,
    help="Build training data for language models, with every document accounted for, and train on it.",
)  # fmt: skip
data = typer.Typer(
    cls=_DataTable, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True,
    help="Datasets and their versions: list, show, compare, export, check.",
)  # fmt: skip
app.add_typer(data, name="data")
audit = typer.Typer(
    cls=_AuditTable, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True,
    help="Audits: what a version holds of whom, and what its stages did to whom.",
)  # fmt: skip
app.add_typer(audit, name="audit")
label = typer.Typer(
    cls=_LabelTable, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True,
    help="Labels: tasks for people and models, in the terminal and in Label Studio, and a version with what they say.",
)  # fmt: skip
app.add_typer(label, name="label")
model = typer.Typer(
    cls=_ModelTable, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True,
    help="Models by name: which is the champion, what a new one has to show to become it, and the way back.",
)  # fmt: skip
app.add_typer(model, name="model")
privacy = typer.Typer(
    cls=_PrivacyTable, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True,
    help="Personal data: how well it is found, what stays, and what pseudonyms stand for.",
)  # fmt: skip
app.add_typer(privacy, name="privacy")


def _version(show: bool) -> None:
    if show:
        from importlib.metadata import version

        typer.echo(f"curate {version('curate-lm')}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    pass


def main() -> None:
    """Run the command line; errors that the user can solve are printed as such, with their exit code."""
    import_lean()
    try:
        code = app(standalone_mode=False, prog_name="curate")
        sys.stdout.flush()
    except CurateError as error:
        echo(error, err=True)
        _end(error.exit_code, {**error.result, "errors": error.records()})
    except typer.TyperException as error:  # a command, option or argument that is not there
        _usage(error)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except SystemExit as error:
        if error.code != TERMINATED:
            raise
        code = TERMINATED
    except BrokenPipeError:
        code = BROKEN_PIPE
    except Exception as error:  # the outermost edge: what reaches it is our own mistake
        if isinstance(error.__cause__, KeyboardInterrupt):  # Ctrl-C in the making of a class, while a library is loaded
            _interrupted(INTERRUPTED)
        if os.environ.get("CURATE_DEBUG"):
            raise
        problem = f"internal error: {type(error).__name__}: {error}"
        echo(f"{problem}\n  hint: CURATE_DEBUG=1 shows the traceback; please report it", err=True)
        _end(1, {"errors": [{"problem": problem, "where": None, "hint": None}]})
    if code in (INTERRUPTED, TERMINATED):
        _interrupted(code)
    if code == BROKEN_PIPE:  # whoever read our output has gone; nobody is left to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.exit(code if isinstance(code, int) else 0)


def _interrupted(code: int) -> NoReturn:
    typer.echo("interrupted; finished work is kept, the same command goes on from there", err=True)
    _end(code, {"errors": [{"problem": "interrupted", "where": None, "hint": "run the same command again"}]})


def _usage(error: typer.TyperException) -> NoReturn:
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "curate"
    problem, hint = error.format_message(), f"`{command} --help` shows how it is used"
    if type(error).__name__ == "NoArgsIsHelpError":
        echo(problem, err=True)
        sys.exit(error.exit_code)
    problem = problem[:1].lower() + problem[1:].rstrip(".")
    echo(CurateError(problem, hint=hint), err=True)
    _end(error.exit_code, {"errors": [{"problem": problem, "where": None, "hint": hint}]})


def _end(code: int, record: dict[str, Any]) -> NoReturn:
    if "--json" in sys.argv:
        typer.echo(json.dumps({"schema": 1, **record}))
    sys.exit(code)


if __name__ == "__main__":
    main()
