"""Errors that are the user's to solve, and the exit codes that scripts rely on.

    CurateError             problem, where, hint; exit 2
        ConfigurationErrors several at once, from one configuration; exit 2
        DamagedError        an object of a store is missing or has other bytes than it was written with; exit 2
        MachineError        this machine lacks what a run needs (a key, a model, a package); exit 2
        GateError           a gate failed (too many quarantined, ...); exit 3
        ResumableError      partial work is kept, the same command goes on; exit 4

Anything else that reaches the command line is our own mistake: exit 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any

__all__ = [
    "ConfigurationErrors",
    "CurateError",
    "DamagedError",
    "GateError",
    "MachineError",
    "ResumableError",
    "did_you_mean",
]


class CurateError(Exception):
    """A problem that the user can solve: what is wrong, where it stands, and the next step.

    Args:
        problem: One line that names the value given.
        where: The place, `file:line:column` where there is one.
        hint: The next step.
    """

    exit_code = 2

    def __init__(self, problem: str, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(problem, where, hint)
        self.problem, self.where, self.hint = problem, where, hint
        self.result: dict[str, Any] = {}
        """What was made before it: the fields that the command prints with `--json`."""

    def __str__(self) -> str:
        lines = [f"error: {self.problem}"]
        if self.where:
            lines.append(f"  at: {self.where}")
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        return "\n".join(lines)

    def records(self) -> list[dict[str, str | None]]:
        """The error as JSON records, for `--json`."""
        return [{"problem": self.problem, "where": self.where, "hint": self.hint}]


class ConfigurationErrors(CurateError):
    """Every problem found in one configuration, in the order of the file."""

    def __init__(self, errors: Sequence[CurateError]) -> None:
        super().__init__("; ".join(error.problem for error in errors))
        self.errors = list(errors)

    def __str__(self) -> str:
        return "\n".join(str(error) for error in self.errors)

    def records(self) -> list[dict[str, str | None]]:
        """One record for each problem."""
        return [record for error in self.errors for record in error.records()]


class DamagedError(CurateError):
    """An object of a store is missing, or its bytes are not those that it was written with."""


class MachineError(CurateError):
    """What a run needs is not on this machine, and may be on the one that runs: a key, a model, a package."""


class GateError(CurateError):
    """The work was done, and a limit that the user set was passed.

    Args:
        problem: As of every CurateError.
        where: As of every CurateError.
        hint: As of every CurateError.
        result: What the work made: the fields that the command prints with `--json`.
    """

    exit_code = 3

    def __init__(
        self, problem: str, where: str | None = None, hint: str | None = None, *, result: dict[str, Any] | None = None
    ) -> None:
        super().__init__(problem, where, hint)
        self.result = result or {}


class ResumableError(CurateError):
    """The work stopped half way; what was done is kept, and the same command goes on from there."""

    exit_code = 4


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """A hint that names the known names nearest to `name`, or None."""
    near = get_close_matches(name, list(known), n=2, cutoff=0.6)
    return "did you mean " + " or ".join(f"`{match}`" for match in near) + "?" if near else None
