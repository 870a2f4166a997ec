"""Files of dumps: a part each, decompressed as it is read."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from curate.collect.compression import ByteStream
from curate.collect.formats import STREAMED, file_type
from curate.collect.locations import find_locations, open_location
from curate.errors import CurateError
from curate.stages.contract import Part, SourceContext

__all__ = ["dump_parts", "dump_stream"]


def dump_parts(paths: Sequence[str], context: SourceContext) -> list[Part]:
    """One part a file.

    Raises:
        CurateError: A path matches nothing, or a file is compressed in a way that is not undone here.
    """
    locations = find_locations(paths, context.root)
    context.prepare([Path(location.location) for location in locations if location.is_local])
    parts: list[Part] = []
    for one in locations:
        compression = file_type(one.name).compression
        if compression not in (None, *STREAMED) or one.name.endswith(".7z"):
            raise CurateError(
                f"`{one.name}` is compressed in a way that is not undone here",
                hint=f"unpack it, or pack it as one of: {', '.join(STREAMED)}",
            )
        content, _ = one.content(context.content_hash, context.size)
        parts.append(Part(one.name, one.location, content, extra={"compression": compression}))
    return parts


def dump_stream(part: Part) -> ByteStream:
    """The bytes of a file, decompressed."""
    return ByteStream(partial(open_location, part.location), part.extra["compression"])
