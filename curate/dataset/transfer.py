"""Versions from one store to another: `push` and `pull` are the same, with the ends exchanged.

    1. what the version needs is listed, and what is missing at the other end is copied: each object read, its sha256
       compared with its name, written whole or not at all
    2. the manifest is written, which its id is the hash of
    3. the names are swapped: the version becomes the newest one there, if this end knows the one that is the newest there now

Killed anywhere, nothing names what is not whole, and the same command copies the rest. Of two that push different versions at
once, the second finds a newest version that it does not know, and is told. Numbers (v1, v2) are each store's own.
Cost: a listing of the objects at both ends, and one object in memory (about 32 MB of documents).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from curate.dataset import refs
from curate.dataset.leases import lease
from curate.dataset.manifest import objects_of
from curate.dataset.refs import Reference
from curate.dataset.store import Store, friendly_os_errors, object_name
from curate.errors import CurateError, DamagedError

__all__ = ["Transferred", "copy_version", "sizes_of", "transfer"]

NAMED = 5
RESTORE = "`curate data verify` at the other end lists what is affected; nothing was published here"


@dataclass(slots=True)
class Transferred:
    """What a transfer did.

    Attributes:
        reference: The version as the other store calls it.
        copied: Objects that were missing there.
        bytes: Their size.
        there: Objects that were there already.
        pruned: What an erasure has replaced and was removed there: numbers of `versions` and `objects`, and `bytes`.
        outdated: Versions there that an erasure has replaced, and that were not removed.
        beside: The newest version there, where it stays so, as the source does not know it.
    """

    reference: Reference
    copied: int = 0
    bytes: int = 0
    there: int = 0
    pruned: dict[str, int] = field(default_factory=dict)
    outdated: int = 0
    beside: str | None = None


def transfer(source: Store, target: Store, name: str, *, pull: bool = False) -> Transferred:
    """Copy a version into another store, and make it the newest of its dataset there.

    An older version than the newest one there is copied where somebody gave it a tag, and gets that tag there.

    Args:
        source: Where it is.
        target: Where it goes.
        name: `NAME`, `NAME@TAG` or `NAME@ID-PREFIX`.
        pull: Whether the target is one's own: objects that are there are hashed too, and copied again where they are damaged;
            and where the newest version is one's own, the version comes beside it, with the tag `pulled-<id>`.

    Raises:
        CurateError: The other store's newest version is not known here, or became another one meanwhile.
        DamagedError: Objects are missing or damaged; all others were copied, and nothing was published.
    """
    reference = refs.resolve(source, name)
    with lease(source, "read", reference.version), lease(target, "run"):
        known, _ = refs.read(source, reference.dataset)
        _check_gate(known, reference)
        before, _ = refs.read(target, reference.dataset)
        apart = before["head"] is not None and before["head"] not in refs.known_ids(known)
        if apart and not pull:
            raise _unknown(before, source, target)
        done = Transferred(reference)
        copy_version(source, target, reference.version, sizes_of(source), sizes_of(target), done, check=pull)
        if apart:
            done.beside, done.reference = before["head"], _put_beside(target, reference)
        else:
            done.reference = _publish(source, target, reference, before["head"])
    return done


def sizes_of(store: Store) -> dict[str, int]:
    """The objects of a store, and their sizes."""
    return {blob.name.rpartition("/")[2].partition(".")[0]: blob.size for blob in store.blobs.list("objects")}


def copy_version(
    source: Store,
    target: Store,
    version: str,
    sizes: dict[str, int],
    there: dict[str, int],
    done: Transferred,
    *,
    check: bool = False,
) -> None:
    """Copy what a version needs and the other store has not, and then its manifest.

    Args:
        source: Where it is.
        target: Where it goes.
        version: Its whole id.
        sizes: The objects of the source.
        there: The objects of the target; what is copied is added.
        done: Counts.
        check: Whether objects of the right size are hashed too.
    """
    content = source.blobs.read(f"versions/{version}.json") if source.blobs.exists(f"versions/{version}.json") else b""
    manifest = source.manifest(version)
    if hashlib.sha256(content).hexdigest() != version:
        where = f"{source.location}/versions/{version}.json"
        raise DamagedError(f"the manifest of version {version[:12]} is damaged", where, RESTORE)
    problems: dict[str, str] = {}
    for name in dict.fromkeys(name for name, _ in objects_of(source, manifest)):
        if name in there and there[name] == sizes.get(name) and not (check and target.problem(name)):
            done.there += 1
        elif problem := _copy(source, target, name):
            problems[name] = problem
        else:
            done.copied, done.bytes, there[name] = done.copied + 1, done.bytes + sizes.get(name, 0), sizes.get(name, 0)
    if problems:
        raise _damaged(source, version, problems)
    with friendly_os_errors(target.location):
        target.blobs.publish(f"versions/{version}.json", content)


def _copy(source: Store, target: Store, name: str) -> str | None:
    """Copy an object; what is wrong with it where that cannot be done."""
    try:
        content = source.blobs.read(object_name(name))
    except FileNotFoundError:
        return "is missing"
    if hashlib.sha256(content).hexdigest() != name:
        return "is damaged"
    with friendly_os_errors(target.location):
        target.blobs.publish(object_name(name), content)
    return None


def _damaged(source: Store, version: str, problems: dict[str, str]) -> DamagedError:
    told = [f"object {name[:12]} {problem}" for name, problem in problems.items()]
    more = [f"{len(told) - NAMED} more"] if len(told) > NAMED else []
    needs = (
        f"{', '.join([*told[:NAMED], *more])}, and version {version[:12]} needs {'it' if len(told) == 1 else 'them'}"
    )
    return DamagedError(needs, f"{source.location}/{object_name(next(iter(problems)))}", RESTORE)


# ---- names


def _check_gate(known: dict[str, Any], reference: Reference) -> None:
    actions = {entry["action"] for entry in known["log"] if entry["version"] == reference.version}
    if actions == {"refuse"}:
        raise CurateError(
            f"version {reference.version[:12]} of `{reference.dataset}` failed a gate, and would be the newest elsewhere",
            hint=f"`curate data log {reference.dataset}` names the gate",
        )


def _unknown(there: dict[str, Any], source: Store, target: Store) -> CurateError:
    """The newest version at the other end is one that this end does not know: it would be lost from sight."""
    head, dataset = there["head"], there["dataset"]
    return CurateError(
        f"somebody else has made the newest version of `{dataset}` there ({head[:12]}): it is not known to {source.location}",
        target.location,
        f"bring it here first (`curate data pull {target.location} {dataset}`): it comes beside yours; `{dataset}` there stays "
        "as it is",
    )


def _put_beside(target: Store, reference: Reference) -> Reference:
    """Let a version be known, and not the newest."""
    tag = f"pulled-{reference.version[:12]}"
    refs.set_tag(target, Reference(reference.dataset, reference.version, None), tag)
    return Reference(reference.dataset, reference.version, tag)


def _publish(source: Store, target: Store, reference: Reference, head: str | None) -> Reference:
    """Give the version its names there, if nobody has given the dataset another newest version meanwhile."""
    dataset, version, tag = reference
    known, _ = refs.read(source, dataset)
    order = [entry["version"] for entry in known["log"] if entry["action"] in ("commit", "erase")]
    given = tag if tag in known["tags"] else None
    if _is_older(order, version, head and refs.became(known, head)):
        if not given:
            raise CurateError(
                f"there is a newer version of `{dataset}` than {version[:12]} there ({str(head)[:12]})", target.location,
                f"to have the older one there too, tag it (`curate data tag {dataset}@{version[:12]} TAG`): `{dataset}@TAG`",
            )  # fmt: skip
    else:

        def still(there: dict[str, Any]) -> None:
            if there["head"] not in (head, version):
                raise CurateError(
                    f"somebody else has published another version of `{dataset}` there meanwhile ({there['head'][:12]})",
                    target.location,
                    "it stays the newest one; what was copied is kept: bring that version here, and do the same again",
                )
            if given:
                refs.check_tag(there, version, given)

        refs.commit(target, dataset, version, onto=still)
    if given:
        refs.set_tag(target, Reference(dataset, version, None), given)
    return refs.resolve(target, f"{dataset}@{version}") if not given else Reference(dataset, version, given)


def _is_older(order: Iterable[str], version: str, head: str | None) -> bool:
    """Whether a version was made before the one that is the newest at the other end."""
    last = {one: at for at, one in enumerate(order)}
    return head is not None and head in last and last.get(version, -1) < last[head]
