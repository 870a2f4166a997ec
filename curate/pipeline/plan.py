"""What a run reads: the parts of its sources, the content of its files, and which parts one task reads together."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from curate.config.pipeline import ConfiguredStage, Pipeline
from curate.config.resources import most_of
from curate.config.validation import mask
from curate.dataset.store import Store, canonical_json
from curate.errors import ConfigurationErrors, CurateError, ResumableError
from curate.pipeline.identity import file_identity
from curate.pipeline.task import engine_key
from curate.stages.contract import Expander, Global, Part, Source, SourceContext
from curate.stages.fetched import Fetched, Snapshot

__all__ = ["Bundle", "Inputs", "bundle", "collect_key", "hash_file", "plan_parts", "sections"]

RACY_SECONDS = 2.0
ATTEMPTS = 3
BUNDLES = 32
Planned = tuple[ConfiguredStage, Part]


class Bundle(NamedTuple):
    """Parts of one source that one task reads."""

    entry: ConfiguredStage
    parts: tuple[Part, ...]


def sections(
    stages: Sequence[ConfiguredStage],
) -> list[tuple[list[ConfiguredStage], ConfiguredStage | None]]:
    """The stages cut behind every one that is not done shard by shard, or makes other shards: what runs fused, and that one.

    Stages that need other resources of a machine are cut apart, too: a task asks only for what all of it uses.
    """
    cut: list[tuple[list[ConfiguredStage], ConfiguredStage | None]] = []
    fused: list[ConfiguredStage] = []
    for entry in stages:
        if fused and most_of([entry.resources]) != most_of([fused[-1].resources]):
            cut.append((fused, None))
            fused = []
        if isinstance(entry.stage, Global | Expander):
            cut.append((fused, entry))
            fused = []
        else:
            fused.append(entry)
    return [*cut, (fused, None)] if fused else cut


class Inputs:
    """The local files that are read: what they are like now, and hashes of their content.

    A hash is remembered by path, size, inode and times; the time of the last change of the inode is one of them: nobody
    can set it back. A file that was changed within the last two seconds is hashed every time: it could change again unseen.
    """

    def __init__(self, store: Store | None) -> None:
        self.store = store
        self.identities: dict[str, list[int]] = {}
        self._hashes: dict[str, str] = {}
        self._known: dict[str, Any] = (store and store.read_json("inputs.json")) or {}
        self._changed = False

    def content_hash(self, path: Path) -> str:
        """The hash of a file's content, as it was when this plan first looked.

        Raises:
            CurateError: It cannot be read.
            ResumableError: It does not stay the same while it is read.
        """
        self.prepare([path])
        return self._hashes[str(path)]

    def prepare(self, paths: Sequence[Path]) -> None:
        """Hash files on all cores."""
        new = [name for name in dict.fromkeys(map(str, paths)) if name not in self._hashes]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            self._hashes |= zip(new, pool.map(self._hash, new), strict=True)

    def remember(self) -> None:
        """Keep the hashes for later plans, where the store can be written: without them all is hashed again."""
        if self._changed and self.store is not None:
            with suppress(OSError):
                self.store.blobs.write("inputs.json", canonical_json(self._known))

    def _hash(self, name: str) -> str:
        try:
            for _ in range(ATTEMPTS):
                identity = file_identity(name)
                content = self._content(Path(name), identity)
                if identity is not None and file_identity(name) == identity:
                    self.identities[name] = identity
                    return content
        except OSError as error:
            raise CurateError(
                f"`{name}` cannot be read: {error.strerror}", hint="check that it is there, and its permissions"
            ) from None
        raise ResumableError(
            f"`{name}` changes while it is read", hint="run the same command again when it is not written to"
        )

    def _content(self, path: Path, identity: list[int] | None) -> str:
        from xxhash import xxh3_128_hexdigest

        name = xxh3_128_hexdigest(str(path).encode())  # a path may hold a value from the environment
        remembered = self._known.get(name)
        if identity and isinstance(remembered, list) and remembered[:-1] == identity:
            return remembered[-1]
        content = hash_file(path)
        if identity and time.time() - identity[3] / 1e9 > RACY_SECONDS:
            self._known[name], self._changed = [*identity, content], True
        return content

    def size(self, part: Part) -> int | None:
        """Bytes of a part's file, as it was planned."""
        identity = self.identities.get(part.location)
        return identity[0] if identity else None

    def hashed_size(self, path: Path) -> int:
        """Bytes of a file, as it was hashed."""
        return self.identities[str(path)][0]


def plan_parts(pipeline: Pipeline, inputs: Inputs, fetched: Mapping[str, Snapshot] | None = None) -> list[Planned]:
    """Every part of every source, in order.

    Args:
        pipeline: The pipeline.
        inputs: Knows the content of files.
        fetched: By source that fetches, what it is read from; what is not fetched has no parts where this is given.

    Raises:
        CurateError: A source matches nothing, or a file cannot be read.
    """
    shard_bytes = int(pipeline.settings.shard_megabytes * 1_000_000)
    context = SourceContext(pipeline.root, shard_bytes, inputs.content_hash, inputs.prepare, inputs.hashed_size)
    parts: list[Planned] = []
    for entry in pipeline.sources:
        assert isinstance(entry.stage, Source)
        snapshot = (fetched or {}).get(entry.id)
        if fetched is not None and snapshot is None and isinstance(entry.stage, Fetched):
            continue
        try:
            found = entry.stage.plan(context._replace(snapshot=snapshot, store=inputs.store))
        except ConfigurationErrors as error:
            raise ConfigurationErrors([entry.placed(one) for one in error.errors]) from None
        except CurateError as error:
            raise entry.placed(error) from None
        parts.extend((entry, replace(part, name=mask(part.name, entry.written))) for part in found)
    inputs.remember()
    return parts


def bundle(parts: Sequence[Planned], inputs: Inputs, shard_bytes: int) -> list[Bundle]:
    """The parts that are read by one task: small files together.

    Fewer than `BUNDLES` small files are read, and cached, one by one; of more, some 16 to 64 bundles are made, none larger
    than a shard. A bundle ends at names that are chosen by their hash, so one more file changes the bundle that it falls
    into and no other.
    """
    from xxhash import xxh3_64_intdigest

    sizes = [_small_size(part, inputs, shard_bytes) for _, part in parts]
    counts = Counter(entry.id for (entry, _), size in zip(parts, sizes, strict=True) if size is not None)
    bundles: list[Bundle] = []
    is_open, total = False, 0
    for (entry, part), size in zip(parts, sizes, strict=True):
        if size is not None and is_open and bundles[-1].entry is entry:
            bundles[-1] = Bundle(entry, (*bundles[-1].parts, part))
        else:
            bundles.append(Bundle(entry, (part,)))
            total = 0
        total += size or 0
        files = 1 << (counts[entry.id] // BUNDLES).bit_length() if counts[entry.id] >= BUNDLES else 1
        is_open = size is not None and total < shard_bytes and xxh3_64_intdigest(part.name.encode()) % files != 0
    return bundles


def _small_size(part: Part, inputs: Inputs, shard_bytes: int) -> int | None:
    """Bytes of a file that is read with others; None for all else."""
    size = inputs.size(part)
    whole = part.start == 0 and part.stop is None
    return size if whole and size is not None and size < shard_bytes / 8 else None


def hash_file(path: Path) -> str:
    """`xxh3-128:...` of a file's bytes, at the speed of the disk."""
    from xxhash import xxh3_128

    digest = xxh3_128()
    with path.open("rb") as stream:
        while block := stream.read(8 << 20):
            digest.update(block)
    return f"xxh3-128:{digest.hexdigest()}"


def collect_key(
    bundled: Bundle, fingerprint: str, shard_bytes: int, limit: int | None, dataset: str | None = None
) -> str:
    """Key of the receipt of parts that were read by a source with this fingerprint (`planning_fingerprint`).

    The dataset is part of it where documents were erased by ids, which are those of a dataset.
    """
    facts = [[part.name, part.content, part.start, part.stop, part.extra] for part in bundled.parts]
    return engine_key(
        "collect", fingerprint, bundled.entry.id, facts, shard_bytes, limit, *([dataset] if dataset else [])
    )
