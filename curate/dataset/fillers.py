"""Nulls that nobody wrote.

All structs of an Arrow column have the same fields: what a value has not is null there, and what has a null looks the
same. A tool call of `{"city": "Rome"}` beside one of `{"n": 3}` becomes `{"city": "Rome", "n": null}`, and that is what
a model would learn. Such fields are left out where values leave Arrow; in JSON text a null is one that was written.
"""

from __future__ import annotations

from typing import Any

__all__ = ["without_fillers"]


def without_fillers(value: Any) -> Any:
    """A value of a nested Arrow column without the fields that are null, at any depth; elements of lists stay."""
    if isinstance(value, dict):
        return {name: without_fillers(inner) for name, inner in value.items() if inner is not None}
    return [without_fillers(inner) for inner in value] if isinstance(value, list) else value
