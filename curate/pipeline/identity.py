"""Whether a file is still the one that was hashed, here and on other machines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from curate.files import file_hash

__all__ = ["file_identity", "is_as"]

_alike: dict[str, tuple[list[int], str]] = {}


def file_identity(location: str) -> list[int] | None:
    """What tells that a local file is still the same: size, inode and times; None for what is no local file."""
    if "://" in location:
        return None
    try:
        facts = Path(location).stat()
    except OSError:
        return None
    return [facts.st_size, facts.st_ino, facts.st_mtime_ns, facts.st_ctime_ns]


def is_as(path: str, planned: Sequence[Any]) -> bool:
    """Whether a file is as it was hashed: its identity and sha256; on another machine its content tells."""
    identity, digest = planned
    now = file_identity(path)
    if now is None or now == identity:
        return now is not None
    if _alike.get(path) != (now, digest):
        if file_hash(Path(path)) != digest or file_identity(path) != now:
            return False
        _alike[path] = (now, digest)
    return True
