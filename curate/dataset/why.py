"""`curate why`: the whole story of one document, from the ledger of a version."""

from __future__ import annotations

from typing import Any

from curate.dataset.ledger import Shard, story
from curate.dataset.reader import Dataset
from curate.errors import CurateError

__all__ = ["why"]


def why(dataset: Dataset, document: str) -> dict[str, Any]:
    """What became of a document.

    Returns:
        `id, source, verdict, stage, reason, value, threshold, duplicate_of, edits, history`: whether it was kept, dropped or
        quarantined, the stage that removed it and why, and everything that happened to it in order. Edits tell what, how
        much and where (spans in characters), and the lengths; not the text.

    Raises:
        CurateError: No document of that id went into the version.
    """
    shards = [Shard.from_json(record) for record in dataset.manifest["ledger"]]
    events = list(story(dataset.store, shards, document))
    if not events:
        raise CurateError(
            f"no document `{document}` went into {dataset.name}@{dataset.version[:12]}",
            hint=f"`curate data sample {dataset.name}` prints some documents with their ids",
        )
    first, last = events[0], events[-1]
    if first["event"] == "rejected":
        first = last = {**first, "event": "quarantined", **{key: first["document"][key] for key in ("reason", "detail")}}
    length = len(first["document"].get("text") or "")
    edits, history = [], [{"stage": first["stage"], "event": "read", "characters": length}]
    if last is first and first["event"] == "quarantined":
        history = [{"stage": first["stage"], "event": "quarantined", "reason": first["reason"], "detail": first["detail"]}]
    for event in events[1:]:
        told = {key: event[key] for key in ("stage", "event", "reason", "value", "threshold", "duplicate_of", "detail")}
        if event["event"] == "edited":
            told |= {"spans": event["spans"] or [], "characters_before": length, "characters_after": len(event["text"])}
            length = len(event["text"])
            edits.append({key: value for key, value in told.items() if value is not None and key != "event"})
        history.append({key: value for key, value in told.items() if value is not None})
    verdict = last["event"] if last["event"] in ("dropped", "quarantined") else "kept"
    decisive = last if verdict != "kept" else {}
    facts = {key: decisive.get(key) for key in ("stage", "reason", "value", "threshold", "duplicate_of", "detail")}
    return {"id": document, "source": first["source"], "verdict": verdict, **facts, "edits": edits, "history": history}
