"""A package or a file that a stage needs and that is not here: an error of the run, never a fault of its documents."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from curate.errors import MachineError

__all__ = ["missing_package", "needing"]

_DISTRIBUTIONS = {"fasttext": "fasttext-predict", "indicnlp": "indic-nlp-library"}
"""Distributions by the packages they bring, where the names differ by more than `_` and `-`."""


def missing_package(error: ImportError, problem: str) -> MachineError:
    """The error of the user that a failed import is.

    Args:
        error: What the import raised; libraries often say in it what to install.
        problem: Who needs the package, as a clause: `` stage `pii` needs another package``.
    """
    words = " ".join(str(error).split())
    package = (error.name or "").partition(".")[0]
    name = _quoted(words) or _DISTRIBUTIONS.get(package, package.replace("_", "-"))
    hint = f"pip install {name}" if name else "`curate doctor` says what is installed and what is missing"
    return MachineError(f"{problem}: {words}", hint=hint)


def _quoted(words: str) -> str | None:
    """What an error says to install."""
    found = re.search(r"`pip install ([^`]+)`", words)
    return found[1] if found else None


@contextmanager
def needing(stage: str) -> Iterator[None]:
    """Around imports, or as a decorator of `open()`: a package that is missing is an error of the user.

    Raises:
        MachineError: An import failed; it names the stage, the package, and how to install it.
    """
    try:
        yield
    except ImportError as error:
        raise missing_package(error, f"stage `{stage}` needs another package") from error
