"""Imports without the heavy packages that a library loads where they are installed, and that nothing here uses of it.

spaCy and presidio import torch and transformers so: 2.6 CPU seconds and 310 MB in every worker process.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from types import ModuleType

__all__ = ["import_lean", "without"]


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


class _Lean:
    """Finds pyarrow, pandas and numba as Python does, and adds a step to their import."""

    hides = hid = False

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module as it is found otherwise, with the step behind it."""
        if self.hides and fullname == "pandas":
            raise ModuleNotFoundError("No module named 'pandas'", name=fullname)
        after = {"pyarrow": self._hide_pandas, "pandas": self._show_pandas, "numba": self._hide_scipy}.get(fullname)
        spec = PathFinder.find_spec(fullname, path) if after else None
        if after is None or spec is None or spec.loader is None:
            return None
        load = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            load(module)
            after()

        spec.loader.exec_module = exec_module
        return spec

    def _hide_pandas(self) -> None:
        """Let pyarrow look for pandas once, and find none."""
        import pyarrow as pa

        if "pandas" not in sys.modules:
            self.hides = self.hid = True
            pa.array([0])
            self.hides = False

    def _show_pandas(self) -> None:
        """Let pyarrow look for pandas again: a series is an array of its own kind to it.

        Where it has found none before: else it may be pyarrow that imports pandas now, under a lock that it would wait for.
        """
        if self.hid:
            import pyarrow as pa

            pa.array([0]).to_pandas()

    def _hide_scipy(self) -> None:
        """Let numba look for BLAS once, and find none; what multiplies matrices looks again when it is compiled."""
        with without("scipy.linalg"):
            from numba.np import arraymath
        arraymath._HAVE_BLAS = find_spec("scipy") is not None  # pyright: ignore[reportPrivateUsage]


def import_lean() -> None:
    """From now on, pyarrow does not import pandas and numba not scipy, just to see whether they are there.

    pyarrow does at the first array that it makes (0.4 CPU seconds and 30 MB), and knows of pandas as soon as something else has
    imported it; numba at the first function (0.2). Called before these are imported; what is loaded already stays as it is.
    """
    if not any(isinstance(finder, _Lean) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Lean())  # pyright: ignore[reportArgumentType]  that much of a finder is enough
