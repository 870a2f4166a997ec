"""Annotations: what people or models said of documents. Append-only, by a document's id and the hash of what was judged.

    annotations/<project>/000000001.json    {"schema": 1, "object": ..., "rows": ..., "on": ["text"], "facts": {...}}

An entry names an object with `id`, `hash` and the columns that were given; it is never changed, and a later word on a
document goes before an earlier one. So they outlive every version: `annotated` puts those beside the documents of one
whose strings are still what was judged, and counts those whose strings have changed since. Cost: annotations are held in
memory, about 200 bytes each; of documents without one only the id is read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from curate.dataset.fragments import Fragment
from curate.dataset.leases import lease
from curate.dataset.manifest import attach
from curate.dataset.reader import Dataset
from curate.dataset.store import DATASET_NAME, Store, canonical_json, friendly_os_errors
from curate.errors import CurateError
from curate.stages.selectors import framed, roots

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "Annotated",
    "annotate",
    "annotated",
    "annotation_objects",
    "entries",
    "hashes",
    "lineage",
    "put_beside",
    "read_annotations",
    "said_of",
]

KEYS = ("id", "hash")


class Annotated(NamedTuple):
    """A version with annotations beside its documents.

    Attributes:
        version: Its id; committing it is the caller's.
        documents: How many have one.
        changed: How many have one for other strings than they have now.
        absent: Annotations of documents that are not in the version, by id.
    """

    version: str
    documents: int
    changed: int
    absent: int


def hashes(documents: pa.Table, on: Sequence[str] = ("text",)) -> pa.Array:
    """sha256 of the strings that the selectors find in each document, in hexadecimal; null where they find none."""
    import pyarrow as pa

    texts = framed(documents, on).to_pylist()
    return pa.array(
        [None if text is None else hashlib.sha256(text.encode()).hexdigest() for text in texts], pa.string()
    )


def annotate(
    store: Store,
    project: str,
    table: pa.Table,
    *,
    on: Sequence[str] = ("text",),
    facts: dict[str, Any] | None = None,
    after: int | None = None,
) -> str | None:
    """Add annotations; returns the name of the entry.

    Args:
        store: The store.
        project: What they belong to.
        table: `id`, `hash` (what `hashes` gave for the document that was shown) and what was said, in other columns.
        on: What was shown of each document; the same in all entries of a project.
        facts: Who said it, and whatever else is to be known: JSON.
        after: How many entries there were when it was decided to add this one; where others came meanwhile, nothing is
            added, and the answer is None.

    Raises:
        CurateError: The project's name is none, a document has no id or hash, or other strings were shown before.
    """
    if not DATASET_NAME.fullmatch(project):
        raise CurateError(f"`{project}` is not a name", hint="letters, digits, `.`, `_` and `-`, e.g. `toxicity-1`")
    missing = [name for name in KEYS if name not in table.column_names or table.column(name).null_count]
    if missing or table.num_columns == len(KEYS):
        what = f"`{missing[0]}`" if missing else "a column beside `id` and `hash`"
        raise CurateError(f"annotations need {what} for every document")
    with lease(store, "run"):
        entry = {
            "schema": 1,
            "object": store.write_table(table),
            "rows": table.num_rows,
            "on": [*on],
            "facts": facts or {},
        }
        while True:
            names = _names(store, project)
            if after is not None and len(names) != after:
                return None
            if names and _shown(store, project) != [*on]:
                shown = ", ".join(_shown(store, project))
                raise CurateError(f"the annotations of `{project}` are about {shown}", hint="take another project")
            number = int(names[-1].rpartition("/")[2].partition(".")[0]) + 1 if names else 1
            name = f"annotations/{project}/{number:09}.json"
            with friendly_os_errors(store.location):
                if store.blobs.swap(name, None, canonical_json(entry)):
                    return name


def read_annotations(store: Store, project: str) -> pa.Table:
    """All annotations of a project, oldest first; a column that an entry has not is null in it.

    Raises:
        CurateError: There are none, or entries have columns of one name and types that do not go together.
    """
    import pyarrow as pa

    tables = [store.read_table(entry["object"]) for _, entry in entries(store, project)]
    if not tables:
        raise CurateError(f"there are no annotations of `{project}`", store.location)
    try:
        return pa.concat_tables(tables, promote_options="permissive").combine_chunks()
    except pa.ArrowException as error:
        raise CurateError(
            f"the annotations of `{project}` cannot be brought together: {error}", store.location
        ) from None


def annotated(dataset: Dataset, project: str) -> Annotated:
    """A version derived from another one: each document with the last that was said of it as it is, null in the others."""
    store = dataset.store
    made_by = {"kind": "annotations", "project": project, "objects": annotation_objects(store, project)}
    return put_beside(dataset, read_annotations(store, project), _shown(store, project), made_by)


def put_beside(
    dataset: Dataset, said: pa.Table, on: Sequence[str], made_by: dict[str, Any], *, replacing: Sequence[str] = ()
) -> Annotated:
    """A version derived from another one, with columns beside those documents that they are about.

    Args:
        dataset: The version.
        said: `id`, `hash` and the columns; of several rows for a document as it is, the last one.
        on: The strings that `hash` is of.
        made_by: What was done: a kind, and its facts.
        replacing: Columns beside the documents that are taken away first.
    """
    import pyarrow as pa

    store, names = dataset.store, [name for name in said.column_names if name not in KEYS]
    last: dict[str, dict[str | None, int]] = {}
    for place, (identity, digest) in enumerate(zip(*(said.column(key).to_pylist() for key in KEYS), strict=True)):
        last.setdefault(identity, {})[digest] = place
    documents, met = 0, 0
    columns: list[tuple[int, str, Sequence[str]]] = []
    for number, fragment in enumerate(dataset.fragments):
        found = list(_documents(dataset, fragment, on, last))
        chosen = [(row, last[identity][digest]) for row, identity, digest in found if digest in last[identity]]
        documents, met = documents + len(chosen), met + len(found)
        if chosen:
            beside = said.select(names).take(pa.array([place for _, place in chosen], pa.int64()))
            beside = beside.add_column(0, "row", pa.array([row for row, _ in chosen], pa.int32()))
            columns.append((number, store.write_table(beside), names))
    version = attach(store, dataset.version, columns, made_by, replacing=replacing)
    return Annotated(version, documents, met - documents, len(last) - met)


def said_of(dataset: Dataset, identity: str) -> list[dict[str, Any]]:
    """What was said of a document in the logs that the version's columns come from, oldest first; `project` names the log.

    Of rows that an erasure or garbage collection has taken nothing is told.
    """
    import pyarrow.compute as compute

    projects: dict[str, None] = {}
    for manifest in lineage(dataset):
        made_by = manifest["lineage"].get("made_by") or {}
        projects |= dict.fromkeys(made_by.get("logs") or ([made_by["project"]] if "project" in made_by else []))
    found: list[dict[str, Any]] = []
    for project in projects:
        for _, entry in entries(dataset.store, project):
            table = dataset.store.read_table(entry["object"])
            rows = table.filter(compute.equal(table.column("id"), identity)).to_pylist()
            found += [{"project": project, **row} for row in rows]
    return found


def lineage(dataset: Dataset) -> Iterator[dict[str, Any]]:
    """The manifests of a version and of those that it was derived from, as far as they are there."""
    left = [dataset.manifest]
    while left:
        manifest = left.pop()
        yield manifest
        if manifest["lineage"].get("made_by"):
            parents = [dataset.store.read_json(f"versions/{one}.json") for one in manifest["lineage"]["parents"]]
            left += [one for one in parents if one]


def _documents(
    dataset: Dataset, fragment: Fragment, on: Sequence[str], known: Collection[str]
) -> Iterator[tuple[int, str, str | None]]:
    """Row, id and hash of the documents of a fragment that have one of the ids."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as compute

    rows = np.arange(fragment.rows)
    if fragment.kept:
        rows = np.flatnonzero(dataset.store.read_table(fragment.kept).column("kept").to_numpy())
    ids, start = pa.array(known, pa.string()), 0
    for table in dataset.tables(fragment, list(dict.fromkeys(["id", *roots(on, dataset.schema)]))):
        here = compute.indices_nonzero(compute.is_in(table.column("id"), ids))
        some = table.take(here)
        places = rows[start + here.to_numpy()].tolist()
        yield from zip(places, some.column("id").to_pylist(), hashes(some, on).to_pylist(), strict=True)
        start += table.num_rows


def annotation_objects(store: Store, project: str | None = None) -> list[str]:
    """The objects of all annotations, or of a project's: nothing makes them again."""
    return [entry["object"] for _, entry in entries(store, project)]


def entries(store: Store, project: str | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """The entries with their names, in their order."""
    for name in _names(store, project):
        entry = store.read_json(name)
        if entry is None or "object" not in entry:
            raise CurateError(
                "an entry of annotations is damaged", f"{store.location}/{name}", "restore it from a backup"
            )
        yield name, entry


def _names(store: Store, project: str | None) -> list[str]:
    return sorted(blob.name for blob in store.blobs.list("annotations" + (f"/{project}" if project else "")))


def _shown(store: Store, project: str) -> list[str]:
    """What the annotations of a project are about."""
    return next((entry["on"] for _, entry in entries(store, project)), [])
