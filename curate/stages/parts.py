"""What a source gives the engine: its parts, and beside documents what could not be read and what is none."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from curate.dataset.store import Store
    from curate.stages.fetched import Snapshot

__all__ = ["Part", "Passed", "Rejected", "SourceContext"]


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a source that one task reads: JSON-able, made by `Source.plan`.

    Attributes:
        name: What documents and errors call it: a path relative to the pipeline file, with forward slashes.
        location: Where to read it: an absolute path or a URL.
        content: Identity of the content, whatever the modification time says: a hash of the file's bytes.
        start: First byte or row of the range.
        stop: End of the range, exclusive; None is the end.
        extra: What else `read` needs (format, compression, ...).
        files: The local files that are read, where that is not `location`: the engine looks that they stay the same.
    """

    name: str
    location: str
    content: str
    start: int = 0
    stop: int | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    files: tuple[str, ...] = ()


class SourceContext(NamedTuple):
    """What a source may use to plan.

    Attributes:
        root: Folder of the pipeline file; relative paths start there.
        shard_bytes: About how many bytes of text one shard should hold.
        content_hash: Gives the identity of a local file's content (cached by path, size, inode and times).
        prepare: Hashes many files on all cores; `content_hash` of each is at hand then.
        size: Bytes of a local file when its content was hashed: where it is cut must follow from the same content.
        glance: Only the first documents are wanted: where to cut may be told by the beginning of a file.
        snapshot: What was fetched, for a source that fetches (curate/stages/fetched.py); None where nothing was.
        store: The store, where there is one.
    """

    root: Path
    shard_bytes: int
    content_hash: Callable[[Path], str]
    prepare: Callable[[Sequence[Path]], object] = len
    size: Callable[[Path], int] = os.path.getsize
    glance: bool = False
    snapshot: Snapshot | None = None
    store: Store | None = None


class Rejected(NamedTuple):
    """Something in a source that is not a readable document: counted in, and quarantined.

    Attributes:
        offset: Byte offset (or row) in the part's file, decompressed where it is compressed.
        reason: A stable identifier: `bad_json`, `truncated`, `too_long`, ...
        detail: What is wrong, in words, without the text itself.
        inside: What is added to the name of the part, for a file inside of it: `!letters/a.txt`.
    """

    offset: int
    reason: str
    detail: str
    inside: str = ""


class Passed(NamedTuple):
    """Things in a source that are no documents and were not meant to be (an archive's requests): counted by kind."""

    kind: str
    count: int  # pyright: ignore[reportIncompatibleMethodOverride]
