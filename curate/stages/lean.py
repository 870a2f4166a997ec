"""Imports without the heavy packages that a library loads where they are installed, and that nothing here uses of it.

spaCy and presidio import torch and transformers so: 2.6 CPU seconds and 310 MB in every worker process.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

__all__ = ["arrow_without_pandas", "without"]


@contextmanager
def without(*names: str) -> Iterator[None]:
    """Inside, importing any of these packages fails, unless it is loaded already; afterwards they are as before.

    For the first import of a library that can do without them, at a place where no other import can run beside it.
    """
    hidden = [name for name in names if name not in sys.modules]
    blocked: dict[str, ModuleType | None] = dict.fromkeys(hidden)
    sys.modules.update(blocked)  # pyright: ignore[reportArgumentType, reportCallIssue]  None: the import fails
    try:
        yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)


class _NoPandas:
    """Finds everything but pandas, which it says is not there."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """Let the other finders look, unless it is pandas."""
        if name == "pandas":
            raise ModuleNotFoundError("No module named 'pandas'", name=name)


def arrow_without_pandas() -> None:
    """Let pyarrow believe that there is no pandas, in a process that will not ask for a data frame.

    It would import pandas at the first array that it makes: 0.35 CPU seconds and 30 MB.
    """
    finder = _NoPandas()
    sys.meta_path.insert(0, finder)  # pyright: ignore[reportArgumentType]  that much of a finder is enough
    try:
        import pyarrow as pa

        pa.array([0])
    finally:
        sys.meta_path.remove(finder)  # pyright: ignore[reportArgumentType]
