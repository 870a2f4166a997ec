"""`curate model list | show | log | promote | rollback | gate`: models by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from curate.commands.options import Json, StoreOption
from curate.terminal import echo, visible

if TYPE_CHECKING:
    from curate.registry.gates import Outcome
    from curate.registry.promotion import Promotion

__all__ = ["gate", "list_models", "log", "promote", "rollback", "show"]

Name = Annotated[str, typer.Argument(help="Name of the model.", metavar="NAME")]
SHORT = 12
"""Digits of an id that people are shown."""


def list_models(store: StoreOption = None, as_json: Json = False) -> None:
    """List the models of the store that have a name: champion, candidate, and the champion before."""
    from curate.commands.options import print_json
    from curate.commands.tables import print_table
    from curate.dataset.find import find_store
    from curate.dataset.models import ALIASES, model_names, require_names
    from curate.errors import CurateError
    from curate.registry.promotion import model_at

    opened = find_store(store)
    found, unread = list[dict[str, Any]](), list[dict[str, str]]()
    for name in model_names(opened):
        try:
            found.append(require_names(opened, name))
        except CurateError as error:
            unread.append({"model": name, "problem": str(error)})
    if as_json:
        rows = [{"model": one["model"], **{alias: model_at(one, alias) for alias in ALIASES}} for one in found]
        print_json({"store": opened.location, "models": rows, "unread": unread})
        return
    rows = [
        [one["model"], *(_called(model_at(one, alias)) for alias in ALIASES), one["log"][-1]["time"]] for one in found
    ]
    print_table(("model", *ALIASES, "changed"), rows)
    _print_notes([one["problem"] for one in unread])


def show(
    name: Annotated[str, typer.Argument(help="NAME, or NAME@ALIAS; by default the champion.", metavar="NAME[@ALIAS]")],
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Show a model: its run, weights, tokenizer, what it was trained on, and what is to be known of it today."""
    from curate.commands.options import print_json
    from curate.commands.tables import print_table
    from curate.dataset.find import find_store
    from curate.dataset.models import require_names
    from curate.registry.promotion import require_model
    from curate.registry.trained import lineage_notes

    opened = find_store(store)
    called, _, alias = name.partition("@")
    names = require_names(opened, called)
    alias = alias or ("champion" if "champion" in names["aliases"] else "candidate")
    one = require_model(names, alias)
    notes = lineage_notes(opened, one)
    if as_json:
        print_json({"model": called, "alias": alias, **one, "notes": notes})
        return
    echo(f"{called}@{alias}  {one['id']}\n")
    rows = [(key, one[key]) for key in ("folder", "checkpoint", "weights", "tokenizer")]
    rows += [("trained on", f"{thing['name']} {thing['id'][:SHORT]}") for thing in one["versions"]]
    rows += [(f"began with ({thing['name']})", thing["id"]) for thing in one["begins_with"]]
    print_table(("run", one["run"]), rows)
    for words in notes:
        echo(visible(f"note: {words}", in_one_line=True))


def log(name: Name, store: StoreOption = None, as_json: Json = False) -> None:
    """Show what a name has stood for, newest first, with the gates that were asked and the reasons that were given."""
    from curate.commands.options import print_json
    from curate.commands.tables import print_table
    from curate.dataset.find import find_store
    from curate.dataset.models import require_names

    entries = list(reversed(require_names(find_store(store), name)["log"]))
    if as_json:
        print_json({"model": name, "log": entries})
        return
    print_table(
        ("time", "action", "run", "model", "gates", "why"),
        [
            [one["time"], one["action"], one["run"], one["model"][:SHORT], _passed(one.get("gates")),
             one.get("forced") or one.get("why") or ""]
            for one in entries
        ],
    )  # fmt: skip


def gate(
    name: Name,
    gates: Annotated[Path, typer.Argument(help="The file of gates.", metavar="gates.yaml")],
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Say what gates say of the candidate, and change nothing; exit 3 where one is not passed."""
    from curate.commands.options import print_json
    from curate.dataset.find import find_store
    from curate.errors import GateError
    from curate.registry.gates import read_gate_file
    from curate.registry.promotion import judge_named

    asked = read_gate_file(gates)
    found = judge_named(find_store(store), name, asked)
    told, outcome = found.json(), found.outcome
    assert outcome is not None
    if not as_json:
        _print_gates(outcome)
        _print_notes(found.notes)
    elif not outcome.missed:
        print_json(told)
    if outcome.missed:
        problem = f"not passed: {'; '.join(one.gate.text for one in outcome.missed)}"
        raise GateError(problem, "; ".join(words for one in outcome.missed for words in one.missing), result=told)


def promote(
    name: Name,
    run: Annotated[
        str | None,
        typer.Argument(help="A run of `curate train`, or its folder; by default the candidate.", metavar="RUN"),
    ] = None,
    as_: Annotated[
        Literal["candidate", "champion"],
        typer.Option("--as", help="Only put it forward, or go on to make it the champion."),
    ] = "champion",
    gates: Annotated[Path | None, typer.Option(help="What it has to show: a gates.yaml.", metavar="FILE")] = None,
    force: Annotated[
        str | None, typer.Option(help="Promote it whatever gates say; why stands in the log.", metavar="WHY")
    ] = None,
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Make a run's model the candidate, and if it passes the gates, the champion; exit 3 where it does not."""
    from curate.commands.options import print_json
    from curate.dataset.find import find_store
    from curate.errors import CurateError, GateError
    from curate.registry.gates import read_gate_file
    from curate.registry.promotion import promote as to_champion
    from curate.registry.promotion import propose

    asked = read_gate_file(gates) if gates else None
    _check_asked(name, run, as_, asked is not None, force)
    opened = find_store(store)
    found = propose(opened, name, run) if run else None
    if as_ == "champion":
        only = found.names["aliases"]["candidate"] if found else None
        try:
            found = to_champion(opened, name, gates=asked, force=force, only=only)
        except GateError as error:
            if not as_json:
                for one in error.result["gates"]:
                    echo(f"{one['verdict']}: {one['gate']}")
                _print_notes(error.result["notes"])
            raise
    if found is None:
        raise CurateError("no run is named to be the candidate", "--as candidate", f"`curate model promote {name} RUN`")
    if as_json:
        print_json(found.json())
        return
    if found.outcome:
        _print_gates(found.outcome)
    _print_change(found, as_)
    _print_notes(found.notes)


def rollback(
    name: Name,
    why: Annotated[str | None, typer.Option(help="Stands in the log.", metavar="WHY")] = None,
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Bring back the champion before this one, at once; done twice, all is as it was."""
    from curate.commands.options import print_json
    from curate.dataset.find import find_store
    from curate.registry.promotion import rollback as back
    from curate.registry.trained import lineage_notes

    opened = find_store(store)
    found = back(opened, name, why=why)
    told = found.json()
    told["notes"] = lineage_notes(opened, told["champion"])
    if as_json:
        print_json(told)
        return
    _print_change(found, "champion")
    _print_notes(told["notes"])


def _check_asked(name: str, run: str | None, as_: str, gates: bool, force: str | None) -> None:
    """Refuse words that do not go together, before anything is done."""
    from curate.errors import CurateError

    if as_ == "candidate" and (gates or force is not None):
        raise CurateError(
            "gates are asked when a model becomes the champion", "--as candidate", "leave --gates and --force out"
        )
    if as_ == "champion" and not gates and force is None:
        raise CurateError(
            "a champion has to pass gates", f"curate model promote {name}",
            "--gates FILE names them; --force WHY does without, and is logged",
        )  # fmt: skip
    if force is not None and not force.strip():
        raise CurateError("--force needs a reason, which stands in the log", "--force", '--force "why it has to be"')


def _print_notes(notes: Sequence[str]) -> None:
    for words in notes:
        echo(visible(f"note: {words}", in_one_line=True), err=True)


def _called(one: dict[str, Any] | None) -> str:
    return f"{one['run']} {one['id'][:SHORT]}" if one else "-"


def _passed(gates: list[dict[str, Any]] | None) -> str:
    return f"{sum(one['passed'] for one in gates)} of {len(gates)} passed" if gates is not None else ""


def _print_gates(outcome: Outcome) -> None:
    from curate.commands.tables import print_table

    told = outcome.json()
    print_table(("gate", "verdict"), [(one["gate"], one["verdict"]) for one in told])
    for one in told:
        for words in one["missing"]:  # pyright: ignore[reportGeneralTypeIssues]
            echo(f"{one['gate']}: {words}")
    for words in outcome.notes:
        echo(f"note: {words}")
    for alias, folder in outcome.evaluations.items():
        echo(f"{alias}: {folder}")


def _print_change(found: Promotion, alias: str) -> None:
    told = found.json()
    already = "" if found.changed else " already"
    before = f"; before it: {_called(told['previous'])}" if alias == "champion" and told["previous"] else ""
    echo(f"{told['model']}: {_called(told[alias])} is the {alias}{already}{before}")
