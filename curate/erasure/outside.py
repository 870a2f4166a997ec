"""What stands outside of the store's objects and yet was made of a person's data: exports, reports, models, labels.

Run records say what there is. An export whose files are still what was written is written anew, from the successor; a report
is removed, and can be made again. What somebody has changed since is only named: it may be theirs. Models cannot be erased
from; they are named with their checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.dataset.annotations import hashes
from curate.dataset.erased import erasures
from curate.dataset.export import export
from curate.dataset.reader import Dataset
from curate.dataset.refs import Reference
from curate.dataset.runs import records
from curate.dataset.store import Store, canonical_json
from curate.erasure.scan import redacted_json
from curate.errors import CurateError
from curate.files import file_hash, write_durably
from curate.jsontext import loads
from curate.table.recipe import RECIPE
from curate.tokenize.binaries import TOKEN_FORMATS, export_tokens

if TYPE_CHECKING:
    import pyarrow as pa

    from curate.erasure.found import Found, Version
    from curate.erasure.learned import Learned
    from curate.erasure.matching import Matcher
    from curate.erasure.rewrite import Rewriter
    from curate.erasure.successor import Successor

__all__ = [
    "exports", "named_tables", "remove_report", "reports", "rewritten_annotations", "tables", "trainings", "write_anew",
    "write_table_anew",
]  # fmt: skip

ANEW, REMOVED, GONE, CHANGED = "written anew", "removed", "not there", "changed since: erase it by hand"
UNKNOWN = "of a version that is no more: look at it by hand"


# ---- exports and reports


def exports(store: Store, made: Collection[Successor], matcher: Matcher) -> Iterator[dict[str, Any]]:
    """The exports of versions that had the data, as they are asked for again; of one file the newest.

    `told` is how the proof is to call the place: whoever goes on with the erasure need not know whom it is about.

    What was in a version that garbage collection has removed nobody can tell: its exports are named.
    """
    becomes = {one.of: one for one in made if one.removed or one.redacted or _renamed(store, one)}
    newest = {name: one for one in records(store, "export") for name in _files(one)}
    for one in {one["id"]: one for one in newest.values()}.values():
        place, version = one["facts"]["folder"], one["inputs"][0]["id"]
        told = matcher.redacted(place)
        if not store.blobs.exists(f"versions/{version}.json") and _state(_files(one)) != "missing":
            yield {"place": place, "told": told, "files": _files(one), "done": UNKNOWN}
        if version in becomes:
            columns = one["facts"]["columns"] and [matcher.redacted(name) for name in one["facts"]["columns"]]
            asked = {key: one["facts"][key] for key in ("format", "split", "escape_formulas")}
            after = becomes[version]
            asked |= {key: one["facts"].get(key) for key in ("shard_bytes", "tokenizer")}
            asked |= {"columns": columns, "dataset": after.dataset, "version": after.version}
            yield {"place": place, "told": told, "files": _files(one), **asked}


def _renamed(store: Store, one: Successor) -> bool:
    """Whether a column is called otherwise."""
    before, after = (store.manifest(name)["columns"] for name in (one.of, one.version))
    return before != after


def reports(store: Store, made: Collection[Successor], matcher: Matcher) -> Iterator[dict[str, Any]]:
    """The files about versions that had the data: reports, audits and samples to review."""
    held = {one.of for one in made if one.held or _renamed(store, one)}
    for one in (*records(store, "report"), *records(store, "audit")):
        if one["outputs"] and any(thing.get("id") in held for thing in one["inputs"]):
            place = one["outputs"][0]["name"]
            yield {"place": place, "told": matcher.redacted(place), "files": _files(one)}


def _files(one: dict[str, Any]) -> dict[str, str]:
    return {thing["name"]: thing["id"] for thing in one["outputs"]}


def write_anew(store: Store, one: dict[str, Any]) -> str:
    """Write an export anew; what was done, in words. Done twice, it is done once."""
    for again in records(store, "export"):
        asked = {**again["facts"], "place": again["facts"]["folder"], "version": again["inputs"][0]["id"]}
        same = all(asked[key] == one[key] for key in ("place", "version", "format", "split"))
        if same and _state(_files(again)) == "sound":
            return ANEW
    state = _state(one["files"])
    if state != "sound":
        return GONE if state == "missing" else CHANGED
    try:
        dataset = Dataset(store, Reference(one["dataset"], one["version"], None))
        if one["format"] in TOKEN_FORMATS:
            export_tokens(
                dataset, one["format"], Path(one["place"]), tokenizer=one["tokenizer"], split=one["split"],
                column=one["columns"][0], overwrite=True,
            )  # fmt: skip
            return ANEW
        export(
            dataset, one["format"], Path(one["place"]), split=one["split"], columns=one["columns"],
            escape_formulas=one["escape_formulas"], shard_bytes=one.get("shard_bytes"), overwrite=True,
        )  # fmt: skip
    except CurateError as error:
        return f"cannot be written anew ({error.problem}): erase it by hand"
    return ANEW


def remove_report(one: dict[str, Any]) -> str:
    """Remove a report; what was done, in words."""
    state = _state(one["files"])
    if state == "sound":
        for name in one["files"]:
            Path(name).unlink()
        return REMOVED
    return GONE if state == "missing" else CHANGED


def _state(files: Mapping[str, str]) -> str:
    """`sound` where all files are what was recorded, `missing` where none is there, else `changed`."""
    there = [name for name in files if Path(name).is_file()]
    if not there:
        return "missing"
    return (
        "sound"
        if len(there) == len(files) and all(file_hash(Path(name)) == files[name] for name in there)
        else "changed"
    )


# ---- models


def trainings(store: Store, made: Collection[Successor]) -> list[dict[str, Any]]:
    """The training runs that saw the documents, and those that began with what they made."""
    seen, current = {one.of for one in made if one.removed or one.redacted}, _current(store)
    runs, found = records(store, "training"), dict[str, dict[str, Any]]()
    while True:
        before = len(found)
        for one in runs:
            if one["id"] not in found and seen & {current(str(thing.get("id"))) for thing in one["inputs"]}:
                found[one["id"]] = one
                seen |= {str(thing.get("id")) for thing in one["outputs"]}
        if len(found) == before:
            break
    return [
        {
            "run": one["name"], "folder": one["facts"]["folder"], "state": one["state"], "began": one["began"],
            "outputs": one["outputs"], "checkpoints": _checkpoints(Path(one["facts"]["folder"])),
            "texts": _texts(Path(one["facts"]["folder"])),
        }
        for one in found.values()
    ]  # fmt: skip


_RUNS = ("", "earlier/")
"""Where a run's folder has runs: its own, and the one that `--fresh` replaces, until there is a checkpoint."""


def _checkpoints(folder: Path) -> list[str]:
    return [f"{run}{path.name}" for run in _RUNS for path in sorted((folder / run / "checkpoints").glob("step-*"))]


def _texts(folder: Path) -> list[str]:
    """What of a run may hold texts word for word: prompts and completions that it has logged."""
    return [
        run + name for run in _RUNS for name in ("completions.jsonl", "tensorboard") if (folder / run / name).exists()
    ]


# ---- what runs know of a table


def tables(store: Store, there: Collection[Version], learned: Learned, matcher: Matcher) -> Iterator[dict[str, Any]]:
    """What runs keep of the tables that they learned from (`table.json`), where it holds something: as it is to be."""
    versions, current = {one.id: one for one in there}, _current(store)
    for one, path in _tables(store):
        before = loads(path.read_bytes())
        after, known = before, False
        for thing in one["inputs"]:
            version = versions.get(current(str(thing.get("id"))))
            if version is not None:
                known = True
                cells = learned.of(version)
                stages = [
                    {**stage, "fitted": learned.fitted(stage["fitted"], cells)} for stage in after.get("stages", ())
                ]
                after = {**after, "stages": stages}
        after = redacted_json(after, matcher)
        told = {"place": str(path), "told": matcher.redacted(str(path))}
        if after != before:
            yield {**told, "content": after}
        elif not known and before.get("stages"):
            yield {**told, "done": UNKNOWN}


def write_table_anew(one: dict[str, Any]) -> str:
    """Write what a run keeps of its table; what was done, in words."""
    path = Path(one["place"])
    if not path.is_file():
        return GONE
    write_durably(path, canonical_json(one["content"]))
    return ANEW


def named_tables(store: Store, matcher: Matcher) -> list[str]:
    """The files of runs that name the person."""
    return [str(path) for _, path in _tables(store) if matcher.find(path.read_text("utf-8", "replace"))]


def _tables(store: Store) -> Iterator[tuple[dict[str, Any], Path]]:
    for one in {one["facts"]["folder"]: one for one in records(store, "training")}.values():
        paths = [Path(one["facts"]["folder"]) / run / RECIPE for run in _RUNS]
        yield from ((one, path) for path in paths if path.is_file())


def _current(store: Store) -> Callable[[str], str]:
    """What earlier erasures made of a version."""
    becomes = {two["of"]: two["version"] for one in erasures(store) for two in one["versions"]}

    def of(version: str) -> str:
        while version in becomes:
            version = becomes[version]
        return version

    return of


# ---- labels


def rewritten_annotations(
    store: Store, there: Collection[Version], found: Found, rewriter: Rewriter
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Entries of annotations as they are to be, by name, and the projects that held something.

    What was said of a document that goes, goes; what was said of one in which something was replaced is still about it: the
    hash of what was judged becomes that of what stands there now.
    """
    import pyarrow as pa
    import pyarrow.compute as compute

    entries, projects = dict[str, dict[str, Any]](), set[str]()
    becomes: dict[tuple[str, ...], dict[str, str]] = {}
    went: dict[tuple[str, ...], set[str]] = {}
    for blob in store.blobs.list("annotations"):
        entry = store.read_json(blob.name) or {}
        table = store.read_table(entry["object"])
        ids = table.column("id")
        gone = compute.is_in(ids, pa.array(sorted(found.names - found.others), pa.string()))
        if found.others:  # a document of another dataset has the id, too: only what was judged tells them apart
            on = tuple(entry["on"])
            if on not in went:
                went[on] = set(_of_gone(store, there, found, on))
            same = compute.is_in(ids, pa.array(sorted(found.others), pa.string()))
            said = compute.is_in(table.column("hash"), pa.array(sorted(went[on]), pa.string()))
            gone = compute.or_(gone, compute.and_(same, said))
        noted = compute.is_in(ids, pa.array(sorted(found.noted), pa.string()))
        name = rewriter.plain(entry["object"])
        if name == entry["object"] and not compute.any(compute.or_(gone, noted)).as_py():
            continue
        projects.add(blob.name.split("/")[1])
        after = store.read_table(str(name)).filter(compute.invert(gone))
        on = tuple(entry["on"])
        if on not in becomes:
            becomes[on] = dict(_hashes(store, there, found, rewriter, on))
        new = [becomes[on].get(one, one) for one in after.column("hash").to_pylist()]
        where = after.schema.get_field_index("hash")
        after = after.set_column(where, after.schema.field(where), pa.chunked_array([pa.array(new, pa.string())]))
        facts = {**entry, "object": store.write_table(after), "rows": after.num_rows}
        if facts != entry:
            entries[blob.name] = facts
    return entries, sorted(projects)


def _hashes(
    store: Store, there: Collection[Version], found: Found, rewriter: Rewriter, on: tuple[str, ...]
) -> Iterator[tuple[str, str]]:
    """What was judged, and what stands there now, as hashes."""
    import pyarrow as pa

    for version in there:
        for shard, fragment in version.pairs():
            rows = found.mentions.get(shard.object, set()) - found.gone.get(shard.object, set())
            if fragment is None or not rows:
                continue
            take = pa.array(sorted(rows), pa.int64())
            names = fragment.object, rewriter.documents(fragment.object, shard.object)
            before, after = (_judged(store.read_table(name).take(take), on) for name in names)
            yield from ((one, other) for one, other in zip(before, after, strict=True) if one and other)


def _of_gone(store: Store, there: Collection[Version], found: Found, on: tuple[str, ...]) -> Iterator[str]:
    """Hashes of what was judged of documents that go."""
    import pyarrow as pa

    for version in there:
        for shard, fragment in version.pairs():
            rows = found.gone.get(shard.object)
            if fragment and rows:
                table = store.read_table(fragment.object).take(pa.array(sorted(rows), pa.int64()))
                yield from (one for one in _judged(table, on) if one)


def _judged(table: pa.Table, on: tuple[str, ...]) -> list[str | None]:
    try:
        return hashes(table, on).to_pylist()
    except CurateError:  # it has no such column
        return [None] * table.num_rows
