"""Imports without the heavy packages that a library loads where they are installed, and that nothing here uses of it.

spaCy and presidio import torch and transformers so: 2.6 CPU seconds and 310 MB in every worker process.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

__all__ = ["without"]


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
