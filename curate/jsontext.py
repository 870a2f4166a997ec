"""JSON text to values and back, with nothing lost (the collecting work has the exact one)."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["dumps", "loads"]


def loads(text: str | bytes) -> Any:
    """The value."""
    return json.loads(text)


def dumps(value: Any) -> str:
    """Its text."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
