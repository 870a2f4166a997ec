"""`curate why`: the whole story of one document, from the ledger of a version."""

from __future__ import annotations

from typing import Any

from curate.dataset.ledger import DUPLICATE_ID, REMOVED, Shard, came_from, story
from curate.dataset.reader import Dataset
from curate.errors import CurateError

__all__ = ["why"]

REASONS = ("reason", "value", "threshold", "duplicate_of", "detail")


def why(dataset: Dataset, document: str) -> dict[str, Any]:
    """What became of a document, given by its id or by where it came from (its `source_uri`).

    Returns:
        `id, source, verdict, stage, reason, value, threshold, duplicate_of, edits, history`: whether it was kept, dropped or
        quarantined, the stage that removed it and why, and everything that happened to it in order. Edits tell what, how
        much and where (spans in characters), and the lengths; not the text.

    Raises:
        CurateError: No document of that id or from that place went into the version, or several came from there.
    """
    shards = [Shard.from_json(record) for record in dataset.manifest["ledger"]]
    events = list(story(dataset.store, shards, document))
    if not events:
        source, document = document, _only_id(dataset, shards, document)
        events = _from(source, list(story(dataset.store, shards, document)))
    first, copies = events[0], [event for event in events if event.get("reason") == DUPLICATE_ID]
    history, edits = _history(events)
    removed = [event for event in events if event["event"] in REMOVED and (event is first or event not in copies)]
    decisive = _reasons(removed[-1]) if removed else {}
    if first["event"] == "rejected":
        decisive = {"event": "quarantined", "stage": first["stage"], **_reasons(first["document"])}
    facts = {key: decisive.get(key) for key in ("stage", *REASONS)}
    verdict = decisive.get("event", "kept")
    return {"id": document, "source": first["source"], "verdict": verdict, **facts, "edits": edits, "history": history}


def _only_id(dataset: Dataset, shards: list[Shard], source: str) -> str:
    """The id of the one document that came from there."""
    names = list(dict.fromkeys(came_from(dataset.store, shards, source)))
    if not names:
        raise CurateError(
            f"no document `{source}` went into {dataset.name}@{dataset.version[:12]}",
            hint=f"`curate data sample {dataset.name}` prints some documents with their ids",
        )
    if len(names) > 1:
        listed = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
        raise CurateError(f"{len(names)} documents came from `{source}`", hint=f"ask for one by its id: {listed}")
    return names[0]


def _from(source: str, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The story of the document from there: where another one has its id, that it was quarantined for it."""
    if events[0]["source"] == source:
        return events
    first = events[0]["source"]
    return [{**event, "detail": _taken(first)} for event in events if event.get("source") == source]


def _taken(source: str) -> str:
    return f"another document with this id, from {source}"


def _history(events: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Everything that happened, in order, and the edits apart."""
    history, edits = [], []
    length = 0
    for event in events:
        told = _reasons(event)
        if event["event"] == "read":
            length = len(event["document"]["text"])
            told["characters"] = length
        elif event["event"] == "rejected":
            told |= _reasons(event["document"]) | {"event": "quarantined"}
        elif event.get("reason") == DUPLICATE_ID:
            told.setdefault("detail", _taken(event["source"]))
        elif event["event"] == "edited":
            told |= {"spans": event["spans"] or [], "characters_before": length, "characters_after": len(event["text"])}
            length = len(event["text"])
            edits.append({key: value for key, value in told.items() if key != "event"})
        history.append(told)
    return history, edits


def _reasons(event: dict[str, Any]) -> dict[str, Any]:
    return {key: event[key] for key in ("stage", "event", *REASONS) if event.get(key) is not None}
