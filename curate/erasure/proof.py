"""What an erasure did, or would do, in words for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["lines"]

_NOT_KNOWN = (
    "What this cannot know: backups, and copies that an object store or a file system keeps of what was deleted; exports and "
    "reports of which there is no record, or on other machines; machines that have token shards in their cache; the person by "
    "other names than those in the subject file, or in a document whose file was changed since; vaults that no pipeline of a "
    "version names; who has the key of pseudonyms can still link them."
)

_PLACES = {"documents": "documents as they were read", "elsewhere": "caches, labels, and what stages made"}


def lines(told: dict[str, Any]) -> list[str]:
    """The lines, without data."""
    return list(_counted(told) if told.get("dry_run") else _proof(told))


def _counts(told: dict[str, Any]) -> str:
    found = ", ".join(f"{kind} {count:,}" for kind, count in sorted(told["counts"].items()) if count)
    return found or "nothing"


def _counted(told: dict[str, Any]) -> Iterator[str]:
    documents = told["documents"]
    yield f"found in documents as they were read: {_counts(told)}"
    yield from _identifiers(told)
    yield f"would remove {documents['removed']:,} document(s), and replace mentions in {documents['redacted']:,}"
    yield from _copies(told)
    yield from _apart(told)
    yield f"in {told['objects']:,} object(s), {len(told['versions'])} version(s) and {len(told['files'])} small file(s)"
    for one in told["versions"]:
        yield f"  {one['dataset']}@{one['of'][:12]}: {one['removed']:,} to remove, {one['redacted']:,} with mentions"
    yield from _inputs(told)


def _identifiers(told: dict[str, Any]) -> Iterator[str]:
    for one in told["identifiers"]:
        where = [f"{one[name]:,} in {words}" for name, words in _PLACES.items() if one[name]]
        yield f"  {one['kind']} {one['number']} of the subject file: {', '.join(where) or 'nowhere'}"


def _copies(told: dict[str, Any]) -> Iterator[str]:
    if told["copies"]:
        which = f": {', '.join(told['copied'])}" if told.get("copied") else ""
        yield f"of these {told['copies']:,} were not named, but say exactly what one of them says{which}"
    if told["shared"]:
        yield f"{told['shared']:,} documents say exactly what one of them says, as many do: they stay; name those of the person"


def _apart(told: dict[str, Any]) -> Iterator[str]:
    for one in told.get("apart", ()):
        where = f"in columns `{one['columns'][0]}` and `{one['columns'][1]}` of {one['documents']:,} document(s)"
        yield f"name {one['name']} of the subject file may stand {where}, which stay: where it does, name them by their ids"


def _inputs(told: dict[str, Any]) -> Iterator[str]:
    if told["similar"]:
        yield f"near copies of removed documents, to be looked at: {', '.join(told['similar'])}"
    if told["inputs"]:
        yield "the input files still hold the data, and are yours to change:"
        yield from (f"  {name}" for name in told["inputs"])
        if any("<ERASED" in name for name in told["inputs"]):
            yield "  (the name of a file in which nothing else was is erased, too: the dry run and the subject's ids tell it)"


def _proof(told: dict[str, Any]) -> Iterator[str]:
    if told["id"] is None:
        yield "nothing of this person is in the store"
    else:
        documents = told["documents"]
        yield f"erasure {told['id']}, {told['began']} to {told['ended']}, curate-lm {told['tool']}"
        yield f"found in documents as they were read: {_counts(told)}; mentions were {told['mentions']}"
        yield from _identifiers(told)
        yield f"documents: {documents['removed']:,} removed, {documents['redacted']:,} with mentions replaced"
        yield from _copies(told)
        for one in told["versions"]:
            fewer = f"{one['removed']:,} document{'' if one['removed'] == 1 else 's'} fewer"
            yield f"  {one['dataset']}: {one['of'][:12]} -> {one['version'][:12]}, {fewer}"
        purge = told["purge"]
        yield (
            f"purged: {len(purge['objects']):,} objects, {len(told['versions'])} manifests, {purge['files']:,} cached records, "
            f"{len(purge['tokens'])} folders of token shards"
        )
    for kind in ("exports", "reports"):
        yield from (f"{kind[:-1]} {one['place']}: {one['done']}" for one in told[kind])
    yield from (f"vault {one['place']}: {one['done']}" for one in told.get("vaults", ()))
    for one in told["trainings"]:
        steps = f", checkpoints {', '.join(one['checkpoints'])}" if one["checkpoints"] else ""
        logged = f", logged texts in {', '.join(one['texts'])}" if one.get("texts") else ""
        yield f"training run {one['run']} in {one['folder']} saw the documents{steps}{logged}"
    for one in told.get("tables", ()):
        yield f"what a run knows of its table, {one['place']}: {one['done']}"
    for one in told.get("learned", ()):
        yield (
            f"{', '.join(one['stages'])} of {one['dataset']}: means, bounds and counts were learned with these rows, and "
            "stay until the pipeline runs again; cells that only these rows had are gone from them"
        )
    if told["labeling"]:
        yield f"labeling projects that held documents: {', '.join(told['labeling'])}"
        yield "  where they are in a Label Studio, `curate label forget` deletes their tasks there"
    yield from _apart(told)
    yield from _inputs(told)
    if told["left"]:
        yield f"these name the person and are yours to change: {', '.join(told['left'])}"
    if told["checked"]:
        yield f"looked through again: {told['checked']['objects']:,} objects and all small files, nothing found"
    yield _NOT_KNOWN
