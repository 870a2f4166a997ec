"""What the conversations of a version are like: turns, tokens, calls of tools, refusals, reasoning.

A pass over the column `messages` (and `tools`), of at most MEASURED conversations, counted as the stage `chat` counts
(benchmarks/chat.py), and the tokenizer's time. Tokens are those of the contents alone, by the tokenizer that the store has
for the version, else words.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from curate.chat.measure import calls_of, content_of, counts, parsed
from curate.dataset.reader import Dataset
from curate.reports.charts import Figure, bars, histogram
from curate.reports.data import Histogram
from curate.reports.measures import log_histogram, quantiles
from curate.reports.numbers import measure, number, share
from curate.tokenize.count import tokens_of

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Conversations", "collect_conversations", "tools_figure", "turns_figure"]

MEASURED = 100_000
"""Most conversations that are looked at; of more, every n-th."""
TOOLS_SHOWN = 15
MESSAGES, TOOLS = "messages", "tools"


@dataclass(frozen=True, slots=True)
class Conversations:
    """The conversations that were looked at.

    Attributes:
        documents: How many the version has.
        measured: How many of them were looked at and are conversations.
        turns: Turns of all roles of each.
        roles: Turns by role.
        unit: What `size` counts: tokens of a tokenizer, which is named, or words.
        size: Quantiles of the length of a conversation.
        total: Length of all that were looked at.
        with_tools: Conversations that may call tools.
        calls: Calls by the name of the tool.
        refusing: Conversations in which an answer begins with a refusal.
        reasoning: Conversations in which an answer is thought over.
    """

    documents: int
    measured: int
    turns: Histogram
    turn_quantiles: dict[str, float]
    roles: dict[str, int]
    unit: str
    size: dict[str, float]
    total: int
    with_tools: int
    calls: dict[str, int]
    refusing: int
    reasoning: int

    @property
    def sentence(self) -> str:
        """All of it in short."""
        told = [f"{number(self.measured)} conversations", f"{number(self.total)} {self.unit}"]
        for count, what in (
            (self.with_tools, "may call tools"), (self.refusing, "have an answer that begins with a refusal"),
            (self.reasoning, "have an answer with its reasoning"),
        ):  # fmt: skip
            told.append(f"{number(count)} ({share(count, self.measured)}) {what}")
        return "; ".join(told) + "."


def collect_conversations(dataset: Dataset) -> Conversations | None:
    """What the column `messages` holds; None where there is none, or nothing in it is a conversation."""
    import numpy as np

    if MESSAGES not in dataset.columns:
        return None
    columns = [MESSAGES, *([TOOLS] if TOOLS in dataset.columns else [])]
    documents = sum(dataset.splits.values())
    every = max(1, -(-documents // MEASURED))
    unit, length = tokens_of(dataset)
    roles, calls, seen = Counter[str](), Counter[str](), Counter[str]()
    turns, sizes, place = [], [], 0
    for batch in dataset.batches(columns=columns, batch_size=1000):
        rows = [row for number, row in enumerate(batch.to_pylist(), place) if number % every == 0]
        place += batch.num_rows
        found = [(messages, row.get(TOOLS)) for row in rows if (messages := parsed(row[MESSAGES]))]
        for messages, tools in found:
            turns.append(_look(messages, tools, roles, calls, seen))
        sizes += length(["\n".join(content_of(turn) for turn in messages) for messages, _ in found])
    if not turns:
        return None
    lengths, many = np.array(sizes), np.array(turns)
    return Conversations(
        documents, len(turns), _histogram(many), quantiles(many), dict(roles.most_common()), unit, quantiles(lengths),
        int(lengths.sum()), seen["tools"], dict(calls.most_common()), seen["refusals"], seen["reasoning"],
    )  # fmt: skip


def _look(
    messages: list[dict[str, Any]], tools: Any, roles: Counter[str], calls: Counter[str], seen: Counter[str]
) -> int:
    """Count one conversation; its turns."""
    found = counts(messages, tools)
    roles.update(str(turn.get("role")) for turn in messages)
    calls.update(str(call["name"]) for turn in messages for call in calls_of(turn))
    seen.update(name for name in ("tools", "refusals", "reasoning") if found[name])
    return len(messages)


def _histogram(turns: np.ndarray) -> Histogram:
    return log_histogram({"kept": turns})


def turns_figure(found: Conversations) -> Figure:
    """Conversations by how many turns they have."""
    return histogram(
        "turns",
        "Turns of a conversation",
        f"The median conversation has {measure(found.turn_quantiles['median'])} turns.",
        found.turns.edges,
        {"kept": found.turns.counts["kept"]},
        unit="turns",
        legend=(("kept", "in this version"),),
    )


def tools_figure(found: Conversations) -> Figure | None:
    """Calls by tool; the rare ones together."""
    if not found.calls:
        return None
    names = list(found.calls)
    shown = {name: float(found.calls[name]) for name in names[:TOOLS_SHOWN]}
    others = sum(found.calls[name] for name in names[TOOLS_SHOWN:])
    if others:
        shown[f"{len(names) - TOOLS_SHOWN} others"] = float(others)
    return bars(
        "tools",
        "Calls of tools",
        f"{number(sum(found.calls.values()))} calls of {number(len(names))} tools.",
        shown,
        header=("tool", "calls"),
    )
