"""Which model a name stands for: a run becomes the candidate, the candidate the champion, and the one before it comes back.

    candidate    put forward; nobody uses it yet
    champion     what `NAME` stands for
    previous     the champion before this one: what `rollback` brings back

Every change is one swap of one small file (curate/dataset/models.py), with its entry in the log. A verdict of gates is about
two models: where another champion has come meanwhile it is worth nothing, and is told to be asked for again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from curate.dataset.models import ALIASES, change_names, read_names, require_names
from curate.dataset.store import Store
from curate.errors import CurateError, GateError
from curate.registry.trained import data_notes, find_trained, lineage_notes, weights_problem

if TYPE_CHECKING:
    from curate.registry.gates import GateFile, Outcome

__all__ = ["Promotion", "judge_named", "model_at", "promote", "propose", "require_model", "rollback"]


@dataclass(frozen=True, slots=True)
class Promotion:
    """What a name stands for after a change.

    Attributes:
        names: See `read_names`.
        changed: Whether anything did.
        outcome: Of gates, where they were asked.
        notes: What people should know of the model.
    """

    names: dict[str, Any]
    changed: bool
    outcome: Outcome | None = None
    notes: tuple[str, ...] = ()

    def json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {
            "model": self.names["model"], "changed": self.changed,
            **{alias: model_at(self.names, alias) for alias in ALIASES},
            "gates": self.outcome.json() if self.outcome else [],
            "evaluations": self.outcome.evaluations if self.outcome else {},
            "notes": [*self.notes, *(self.outcome.notes if self.outcome else ())],
        }  # fmt: skip


def model_at(names: dict[str, Any], alias: str) -> dict[str, Any] | None:
    """What is known of the model that an alias stands for."""
    return names["models"].get(names["aliases"].get(alias))


def require_model(names: dict[str, Any], alias: str) -> dict[str, Any]:
    """What is known of the model that an alias stands for.

    Raises:
        CurateError: There is no such alias, or nothing is called so.
    """
    if alias not in ALIASES:
        raise CurateError(f"there is no alias `{alias}`", hint=f"there are: {', '.join(ALIASES)}")
    found = model_at(names, alias)
    if found is None:
        name, there = names["model"], ", ".join(one for one in ALIASES if one in names["aliases"])
        hints = {
            "candidate": f"`curate model promote {name} RUN --as candidate` puts one forward",
            "champion": f"`curate model promote {name} --gates gates.yaml` makes the candidate the champion",
            "previous": f"`curate model log {name}` lists what it stood for",
        }
        raise CurateError(f"model `{name}` has no {alias}", f"it has: {there or 'nothing'}", hints[alias])
    return found


def propose(store: Store, name: str, run: str) -> Promotion:
    """Make the model of a run the candidate.

    Raises:
        CurateError: See `find_trained`.
    """
    read_names(store, name)  # what is wrong with the name is told first
    entry, changed = find_trained(store, run), False

    def change(names: dict[str, Any]) -> dict[str, Any] | None:
        nonlocal changed
        changed = names["aliases"].get("candidate") != entry["id"]
        if not changed:
            return None
        names["models"][entry["id"]] = entry
        names["aliases"]["candidate"] = entry["id"]
        return {"action": "candidate", "model": entry["id"], "run": entry["run"]}

    return Promotion(change_names(store, name, change), changed)


def judge_named(store: Store, name: str, gates: GateFile) -> Promotion:
    """What gates say of the candidate, as the `outcome`; nothing is changed.

    Raises:
        CurateError: There is no candidate; or see `judge_candidate`.
    """
    from curate.registry.gates import judge_candidate

    names = require_names(store, name)
    candidate = require_model(names, "candidate")
    outcome = judge_candidate(store, gates.gates, candidate, model_at(names, "champion"))
    return Promotion(names, changed=False, outcome=outcome, notes=tuple(lineage_notes(store, candidate)))


def promote(
    store: Store, name: str, *, gates: GateFile | None, force: str | None, only: str | None = None
) -> Promotion:
    """Make the candidate the champion, if it passes all gates.

    Args:
        store: The store.
        name: Of the model.
        gates: What it has to show.
        force: Why it becomes the champion whatever gates say; stands in the log.
        only: The id that the candidate has to have; None: any.

    Raises:
        GateError: Gates are not passed; the log has it.
        CurateError: There is no candidate, its weights are not there, another one or another champion came meanwhile, or
            gates cannot be asked.
    """
    from curate.registry.gates import judge_candidate  # numpy, scipy and scorers, which a rollback does without

    names = require_names(store, name)
    candidate, champion = require_model(names, "candidate"), model_at(names, "champion")
    if only not in (None, candidate["id"]):
        raise _overtaken(name, "candidate")
    notes = tuple(data_notes(store, candidate))
    if champion and champion["id"] == candidate["id"]:
        return Promotion(_keep(store, name, names, force), changed=False, notes=notes)
    _check_weights(name, candidate)
    outcome = judge_candidate(store, gates.gates, candidate, champion) if gates else None
    said = {"gates": outcome.json(), "file": gates.hash} if gates and outcome else {}
    if outcome and outcome.missed and force is None:
        _refuse(store, name, candidate, champion, said)
        problem = f"run `{candidate['run']}` does not become the champion of `{name}`: not passed: " + "; ".join(
            one.gate.text for one in outcome.missed
        )
        reasons = "; ".join(words for one in outcome.missed for words in one.missing)
        told = Promotion(require_names(store, name), changed=False, outcome=outcome, notes=notes).json()
        raise GateError(
            problem, reasons, f"`curate model promote {name} --force WHY` does it all the same", result=told
        )

    def change(now: dict[str, Any]) -> dict[str, Any]:
        _check_same(name, names, now, "candidate", "champion")
        now["aliases"] = {"champion": candidate["id"]} | ({"previous": champion["id"]} if champion else {})
        return {
            "action": "promote", "model": candidate["id"], "run": candidate["run"],
            "before": champion and champion["id"], **said, **({"forced": force} if force is not None else {}),
        }  # fmt: skip

    return Promotion(change_names(store, name, change), changed=True, outcome=outcome, notes=notes)


def _keep(store: Store, name: str, names: dict[str, Any], force: str | None) -> dict[str, Any]:
    """Take the candidate back that is the champion already; the log has it, with the reason that was given."""

    def change(now: dict[str, Any]) -> dict[str, Any]:
        _check_same(name, names, now, "candidate", "champion")
        kept = now["aliases"].pop("candidate")
        entry = {"action": "keep", "model": kept, "run": now["models"][kept]["run"], "before": kept}
        return entry | ({"forced": force} if force is not None else {})

    return change_names(store, name, change)


def _refuse(
    store: Store, name: str, candidate: dict[str, Any], champion: dict[str, Any] | None, said: dict[str, Any]
) -> None:
    """Write into the log that gates were not passed; the same once more is no news."""
    entry = {
        "action": "refuse", "model": candidate["id"], "run": candidate["run"], "before": champion and champion["id"], **said
    }  # fmt: skip

    def change(now: dict[str, Any]) -> dict[str, Any] | None:
        last = {key: value for key, value in now["log"][-1].items() if key != "time"}
        return None if last == entry else entry

    change_names(store, name, change)


def _check_same(name: str, before: dict[str, Any], now: dict[str, Any], *aliases: str) -> None:
    """Refuse where somebody else has changed what was decided about."""
    for alias in aliases:
        if before["aliases"].get(alias) != now["aliases"].get(alias):
            raise _overtaken(name, alias)


def _overtaken(name: str, alias: str) -> CurateError:
    return CurateError(
        f"model `{name}` has got another {alias} meanwhile", f"`curate model log {name}`", "run it again"
    )


def _check_weights(name: str, entry: dict[str, Any], *, whole: bool = True) -> None:
    if problem := weights_problem(entry, whole=whole):
        raise CurateError(
            f"run `{entry['run']}` cannot become the champion of `{name}`: {problem}", entry["folder"],
            "restore the folder from a backup, or train it again",
        )  # fmt: skip


def rollback(store: Store, name: str, *, why: str | None = None) -> Promotion:
    """Bring back the champion before this one, which takes its place; done twice, all is as it was.

    Of its weights only the sizes are looked at before, so that it takes no longer for a large model; `lineage_notes` reads
    them whole.

    Raises:
        CurateError: There was none, or its weights are not there.
    """
    names = require_names(store, name)
    previous = require_model(names, "previous")
    _check_weights(name, previous, whole=False)

    def change(now: dict[str, Any]) -> dict[str, Any]:
        _check_same(name, names, now, "champion", "previous")
        left = now["aliases"]["champion"]
        now["aliases"] |= {"champion": previous["id"], "previous": left}
        entry = {"action": "rollback", "model": previous["id"], "run": previous["run"], "before": left}
        return entry | ({"why": why} if why else {})

    return Promotion(change_names(store, name, change), changed=True)
