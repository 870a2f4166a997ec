"""Erasing: look, write what comes after, say what is to be done, do it, look again, prove it.

    look       every object and small file of the store
    write      what versions, annotations and records become, beside what is there
    journal    erasures/<id>.json, state `applying`: from here on the work can be finished without knowing whom it is about
    do         names of versions, annotations, records, exports; then the old goes: receipts, manifests, objects, tokens
    look again until nothing is found; the journal becomes the proof, state `done`

Killed before the journal, nothing has changed; killed later, the same command goes on. Nobody may run, plan or collect
garbage beside it, nor read a version that is to go.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib import metadata
from typing import Any

from curate.dataset import refs
from curate.dataset.annotations import annotation_objects
from curate.dataset.care import BROWSE
from curate.dataset.erased import ERASED, erasure_objects, erasures, hashed, open_key, read_key, write_suppressed
from curate.dataset.leases import lease, versions_in_use
from curate.dataset.manifest import objects_of
from curate.dataset.runs import Thing, now, record
from curate.dataset.snapshots import snapshot_objects
from curate.dataset.store import Store, canonical_json, object_name
from curate.erasure import outside
from curate.erasure.fetched import rewritten_snapshots
from curate.erasure.found import Found, Version, find, versions
from curate.erasure.learned import Learned
from curate.erasure.matching import Matcher
from curate.erasure.rewrite import Rewriter
from curate.erasure.scan import FETCHED, redacted_json, small_files
from curate.erasure.stale import stale, strings, token_folders
from curate.erasure.subject import KINDS, Subject
from curate.erasure.successor import successors
from curate.erasure.vaults import purge_vaults
from curate.errors import CurateError, ResumableError
from curate.files import sweep, sync_all
from curate.tokenize.place import packs_folder

__all__ = ["erase"]

REWRITTEN = ("runs/", "models/")
"""Small files of which the names of the person alone go."""
PASSES = 4
"""How often the store is looked through at most: once to erase, once to see that it is done, and once more for each
erasure that was interrupted while others wrote."""
Say = Callable[[str], None]


def erase(store: Store, subject: Subject, *, remove: bool = False, dry_run: bool = False, say: Say) -> dict[str, Any]:
    """Erase a person from everything that the store holds.

    Args:
        store: The store.
        subject: The identifiers.
        remove: Whether documents that mention the person go as a whole; by default the mentions are replaced.
        dry_run: Only look and count.
        say: Told what is going on; never with data.

    Returns:
        The proof: see docs/format.md.

    Raises:
        CurateError: The store is in use, or something in it cannot be read.
        ResumableError: Somebody began to read an old version meanwhile; the same command goes on.
    """
    matcher = Matcher(subject)
    if dry_run:
        with lease(store, "plan"):
            return _counted(store, subject, matcher, remove=remove, say=say)
    with lease(store, "collect"):
        _sweep(store)
        key = open_key(store)
        hashes, journals = _subject_hashes(subject, key), list[dict[str, Any]]()
        for journal in [one for one in erasures(store) if one["state"] != "done"]:
            say(f"going on with erasure {journal['id']}")
            _apply(store, journal, say)
            if journal["subject"] == hashes:
                journals.append(journal)
            else:  # of somebody else: whether anything is left, only who has that file can ask
                _prove(store, journal, matcher, left=None)
        for _ in range(PASSES):
            say("looking through the store")
            there = versions(store)
            found, matcher = _find(store, there, subject, matcher, key, remove=remove)
            files = list(small_files(store, matcher))
            if not found and not _to_change(files):
                own = {f"erasures/{one['id']}.json" for one in journals}  # what they were to write is still in them
                left = [name for name, _, _ in files if name not in own] + outside.named_tables(store, matcher)
                vaults = purge_vaults(there, matcher)
                proofs = [
                    _prove(store, {**one, "vaults": vaults}, matcher, left=left)
                    for one in journals or [_nothing(hashes, subject, found, matcher, remove=remove)]
                ]
                return proofs[-1]
            identity = _identity(store, hashes)
            journals.append(_prepare(store, there, found, matcher, files, identity, hashes, subject, remove=remove))
            _apply(store, journals[-1], say)
        raise AssertionError("what was erased is still found")


# ---- looking


def _find(
    store: Store, there: list[Version], subject: Subject, matcher: Matcher, key: bytes, *, remove: bool
) -> tuple[Found, Matcher]:
    """What there is; where whole files go, looked for again with their names."""
    found = find(store, there, subject, matcher, key, remove=remove)
    new = {name: f"{ERASED[:-1]} {hashed(key, 'mark', name)[:12]}>" for name in sorted(found.files)}
    if new.keys() <= matcher.files.keys():
        return found, matcher
    matcher = Matcher(subject, matcher.files | new)
    return find(store, there, subject, matcher, key, remove=remove), matcher


def _counted(store: Store, subject: Subject, matcher: Matcher, *, remove: bool, say: Say) -> dict[str, Any]:
    say("looking through the store")
    there = versions(store)
    key = read_key(store) or b"\0" * 32  # what is hashed by it is not kept
    found = find(store, there, subject, matcher, key, remove=remove)
    told = []
    for one in there:
        removed = redacted = 0
        for shard in one.shards:
            gone, noted = (len(rows.get(shard.object, ())) for rows in (found.gone, found.mentions))
            removed, redacted = removed + gone, redacted + noted
        if removed or redacted:
            told.append({"dataset": one.manifest["dataset"], "of": one.id, "removed": removed, "redacted": redacted})
    named = [*(name for name, _, _ in small_files(store, matcher)), *outside.named_tables(store, matcher)]
    files = [matcher.redacted(name) for name in named]
    return {
        "dry_run": True, "counts": dict(found.counts), "identifiers": _identifiers(found, subject),
        "documents": _documents(found), "objects": len(found.hits),
        "files": sorted(files), "similar": sorted(found.similar), "copies": len(found.copies), "copied": sorted(found.copies),
        "shared": found.shared, "apart": _apart(found, matcher), "versions": told, "inputs": _inputs(found, matcher),
    }  # fmt: skip


def _documents(found: Found) -> dict[str, int]:
    gone = {(name, row) for name, rows in found.gone.items() for row in rows}
    noted = {(name, row) for name, rows in found.mentions.items() for row in rows}
    return {"removed": len(gone), "redacted": len(noted - gone)}


def _identifiers(found: Found, subject: Subject) -> list[dict[str, Any]]:
    """Where each identifier was found, and how often; by its number in the file, never what it is."""
    told = []
    for key, kind in KINDS.items():
        for number in range(1, len(getattr(subject, key)) + 1):
            where = found.identifiers.get((kind, number), {})
            counts = {name: where.get(name, 0) for name in ("documents", "elsewhere")}
            told.append({"kind": kind, "number": number, **counts})
    return told


def _apart(found: Found, matcher: Matcher) -> list[dict[str, Any]]:
    """Pairs of columns that hold a name without being called so, and in how many documents."""
    return [
        {"name": number, "columns": [matcher.redacted(one) for one in columns], "documents": count}
        for (number, *columns), count in sorted(found.apart.items())
    ]


def _inputs(found: Found, matcher: Matcher) -> list[str]:
    """The files that still name the person, as the documents' places name them."""
    return sorted({matcher.redacted(place.partition("#")[0]) for place in found.inputs})


def _to_change(files: list[tuple[str, Any, Any]]) -> list[str]:
    """The small files that are written anew or removed; names that people gave are theirs to change."""
    return [
        name
        for name, _, _ in files
        if name.startswith(("receipts/", "measured/", "annotations/", "runs/", "models/", "plans/", *FETCHED))
    ]


def _subject_hashes(subject: Subject, key: bytes) -> dict[str, list[str]]:
    return {
        kind: sorted(hashed(key, f"subject {kind}", str(value).casefold()) for value in getattr(subject, name))
        for name, kind in KINDS.items()
    }


def _identity(store: Store, hashes: dict[str, list[str]]) -> str:
    """The id of an erasure: of the same person the same, so that what is begun twice is one, and a number behind it."""
    import hashlib

    stem = hashlib.sha256(canonical_json(hashes)).hexdigest()[:16]
    done = sum(one["id"].startswith(stem) for one in erasures(store))
    return f"{stem}-{done + 1}"


# ---- writing what comes after


def _prepare(
    store: Store, there: list[Version], found: Found, matcher: Matcher, files: list[tuple[str, Any, Any]], identity: str,
    hashes: dict[str, list[str]], subject: Subject, *, remove: bool,
) -> dict[str, Any]:  # fmt: skip
    """Write what versions and annotations become, and the journal of what is to be done."""
    rewriter = Rewriter(
        store, matcher, hits=found.hits, gone=found.gone, ids=found.ids, naming=found.naming, places=found.places,
        scopes=found.scopes, key=open_key(store),
    )  # fmt: skip
    learned = Learned(store, there, found.gone)
    made = successors(store, there, found, rewriter, learned, identity)
    reading = versions_in_use(store) & {one.of for one in made}
    if reading:
        names = ", ".join(f"{one.dataset}@{one.of[:12]}" for one in made if one.of in reading)
        raise CurateError(f"somebody is reading {names}, which has to go", store.location, "try again when it is done")
    entries, projects = outside.rewritten_annotations(store, there, found, rewriter)
    for name, said, new in files:  # facts of entries
        if name.startswith("annotations/"):
            entries[name] = {
                **new,
                "object": (entries.get(name) or said)["object"],
                "rows": (entries.get(name) or said)["rows"],
            }
    touched = {*found.hits, *rewriter.replaced, *found.naming, *found.gone, *found.mentions}
    touched |= {str((store.read_json(name) or {}).get("object")) for name in entries}
    touched |= {
        after for (_, scope), after in rewriter.made.items() if not scope
    }  # labels on the way to what they become
    named = {name: new for name, _, new in files if name.startswith(REWRITTEN) and new} | _less_similar(store, found)
    pieces = rewritten_snapshots(store, there, found, matcher, {name for name, _, _ in files})
    receipts, also = stale(store, touched | pieces.objects, {name for name, _, _ in files})
    old = {name for one in there if one.id in {two.of for two in made} for name, _ in objects_of(store, one.manifest)}
    journal = {
        "schema": 1, "id": identity, "state": "applying", "began": now(), "ended": None, "subject": hashes,
        "tool": metadata.version("curate-lm"), "mentions": "removed" if remove else "replaced",
        "counts": dict(found.counts), "identifiers": _identifiers(found, subject), "documents": _documents(found),
        "versions": [one._asdict() for one in made],
        "exports": list(outside.exports(store, made, matcher)), "reports": list(outside.reports(store, made, matcher)),
        "learned": [told for one in there if (told := _learned(one, learned))],
        "tables": list(outside.tables(store, there, learned, matcher)),
        "trainings": outside.trainings(store, made), "labeling": projects, "inputs": _inputs(found, matcher),
        "similar": sorted(found.similar), "copies": len(found.copies), "shared": found.shared,
        "apart": _apart(found, matcher), "snapshots": len(pieces.write),
        "suppressed": write_suppressed(store, found.suppressed), "write": {**named, **entries, **pieces.write},
        "purge": {"files": [*receipts, *pieces.files], "objects": sorted(touched | also | old | pieces.objects),
                  "tokens": sorted(token_folders(store, {one.of for one in made}))},
    }  # fmt: skip
    store.write(f"erasures/{identity}.json", canonical_json(journal))
    return journal


def _less_similar(store: Store, found: Found) -> dict[str, dict[str, Any]]:
    """Proofs that name what was only like a document that went, and goes now: as they are to be."""
    named = dict[str, dict[str, Any]]()
    for one in erasures(store):
        if one["state"] == "done" and found.names.intersection(one["similar"]):
            left = [name for name in one["similar"] if name not in found.names]
            named[f"erasures/{one['id']}.json"] = {**one, "similar": left}
    return named


def _learned(one: Version, learned: Learned) -> dict[str, Any] | None:
    """The stages of a version whose numbers were counted with rows that go."""
    stages = learned.stages(one)
    return {"dataset": one.manifest["dataset"], "of": one.id, "stages": stages} if stages else None


# ---- doing it


def _apply(store: Store, journal: dict[str, Any], say: Say) -> None:
    """Do what a journal says; done twice, it is done once."""
    becomes = {one["of"]: one["version"] for one in journal["versions"]}
    for dataset in refs.datasets(store):
        refs.succeed(store, dataset, becomes, journal["id"])
    for name, content in journal["write"].items():
        store.write(name, canonical_json(content))
    for one in journal["exports"]:
        one["done"] = one.get("done") or outside.write_anew(store, one)
    for one in journal["reports"]:
        one["done"] = one.get("done") or outside.remove_report(one)
    for one in journal.get("tables", ()):
        one["done"] = one.get("done") or outside.write_table_anew(one)
    store.write(f"erasures/{journal['id']}.json", canonical_json(journal))
    say("removing what was there")
    store.blobs.delete(*journal["purge"]["files"])
    manifests = [f"versions/{version}.json" for version in becomes]
    store.blobs.delete(*manifests)
    if versions_in_use(store) & becomes.keys():
        raise ResumableError(
            "somebody began to read a version that has to go",
            store.location,
            "run the same command again when it is done",
        )
    needed = _needed(store)
    gone = [name for name in journal["purge"]["objects"] if name not in needed]
    store.blobs.delete(*map(object_name, gone))
    store.blobs.delete_folder(BROWSE)  # nobody can read what goes any more, and make it anew
    here = packs_folder(store)
    for folder in journal["purge"]["tokens"]:
        store.blobs.delete_folder(folder)
        shutil.rmtree(here / folder.removeprefix("tokens/"), ignore_errors=True)
    root = store.blobs.local_path("store.json")
    if root is not None:
        sync_all(root.parent)
    journal["purge"] = {**journal["purge"], "objects": gone}


def _needed(store: Store) -> set[str]:
    """Objects that something left needs."""
    needed = {*annotation_objects(store), *erasure_objects(store), *snapshot_objects(store)}
    for blob in store.blobs.list("versions"):
        manifest = store.manifest(blob.name.rpartition("/")[2].partition(".")[0])
        needed |= {name for name, _ in objects_of(store, manifest)}
    for folder in ("receipts", "measured"):
        for blob in store.blobs.list(folder):
            needed |= set(strings(store.read_json(blob.name)))
    return needed


def _sweep(store: Store) -> None:
    """Remove what dead writers left half written: nobody else is writing now."""
    for folder in ("temporary", "tokens"):
        path = store.blobs.local_path(folder)
        if path is not None:
            sweep(path, age=0)


# ---- the proof


def _nothing(
    hashes: dict[str, list[str]], subject: Subject, found: Found, matcher: Matcher, *, remove: bool
) -> dict[str, Any]:
    return {
        "schema": 1, "id": None, "state": "done", "began": now(), "ended": now(), "subject": hashes,
        "tool": metadata.version("curate-lm"), "mentions": "removed" if remove else "replaced", "counts": {},
        "identifiers": _identifiers(found, subject),
        "documents": {"removed": 0, "redacted": 0}, "versions": [], "exports": [], "reports": [],
        "learned": [], "tables": [], "trainings": [],
        "labeling": [], "snapshots": 0, "inputs": [], "similar": [], "copies": 0, "shared": 0, "apart": _apart(found, matcher),
        "suppressed": None, "purge": {"files": 0, "objects": [], "tokens": []},
    }  # fmt: skip


def _prove(store: Store, journal: dict[str, Any], matcher: Matcher, *, left: list[str] | None) -> dict[str, Any]:
    """The journal as a proof: without what was to be written, and without data.

    Args:
        store: The store.
        journal: What was done.
        matcher: Finds the person in names of files.
        left: Small files that name the person and are not ours to change; None where nobody has looked.
    """
    proof = redacted_json({key: value for key, value in journal.items() if key != "write"}, matcher)
    objects = sum(1 for _ in store.blobs.list("objects"))
    proof |= {
        "state": "done", "ended": now(), "left": left and sorted(map(matcher.redacted, left)),
        "checked": None if left is None else {"objects": objects, "found": 0},
    }  # fmt: skip
    for one in (*proof["exports"], *proof["reports"], *proof.get("tables", ())):
        one.pop("files", None)
        one.pop("content", None)
        one["place"] = one.pop("told", one["place"])
    if proof["id"] is None:
        return proof
    proof["purge"] = {**proof["purge"], "files": len(journal["purge"]["files"])}
    inputs, outputs = (
        [Thing(kind="version", id=one[key], name=f"{one['dataset']}@{one[key][:12]}") for one in proof["versions"]]
        for key in ("of", "version")
    )
    facts = {"documents": proof["documents"], "counts": proof["counts"], "folder": f"erasures/{proof['id']}.json"}
    record(
        store, "erasure", proof["id"], name=proof["id"], state="done", began=proof["began"], inputs=inputs,
        outputs=outputs, facts=facts,
    )  # fmt: skip
    store.write(f"erasures/{proof['id']}.json", canonical_json(proof))
    return proof
