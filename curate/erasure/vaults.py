"""Vaults that pipelines of versions name: what pseudonyms of the person stand for is taken out, where the key is at hand."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from curate.errors import CurateError
from curate.privacy.keys import load_key
from curate.privacy.vault import purge

if TYPE_CHECKING:
    from curate.erasure.found import Version
    from curate.erasure.matching import Matcher

__all__ = ["purge_vaults"]


def purge_vaults(there: Collection[Version], matcher: Matcher) -> list[dict[str, str]]:
    """Take the person out of every vault; for each its `place` and what was `done`, in words."""
    named = {
        (stage["settings"]["vault"], stage["settings"].get("key"))
        for one in there
        for stage in one.manifest["stages"]
        if stage["settings"].get("vault")
    }
    return [
        {"place": matcher.redacted(folder), "done": _purged(Path(folder).expanduser(), key, matcher)}
        for folder, key in sorted(named, key=str)
    ]


def _purged(folder: Path, key: str | None, matcher: Matcher) -> str:
    if not folder.is_dir():
        return "not there"
    try:
        count = purge(folder, load_key(key, "the vault"), lambda value: bool(matcher.find(value)))
    except CurateError as error:
        return f"not looked into ({matcher.redacted(error.problem)}): mend that, and run the same command again"
    return f"{count:,} entries removed"
