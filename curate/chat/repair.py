"""What can be put right in conversations in one way only; everything else is left for `chat` to judge.

    role                  a name that stands for a role (`human`, `Assistant `) as that role; not `function_call`, whose content
                          is a call and no word
    parts                 a content of parts of text as text
    arguments             arguments that are the JSON text of an object as that object, none as `{}`
    empty_turn            a system turn without a word goes, and an empty turn at the end: one with a role and no other value
    repeated_turn         a turn that says the same as the one before it goes
    joined_turns          system turns at the beginning, and users' turns that follow each other, as one
    unanswered_turn       turns behind the last thing that the assistant says go: nothing is learned from them

Pure and idempotent: what was repaired is not repaired again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from curate.chat.forms import is_call, role_of
from curate.chat.measure import ROLES, content_of, parsed
from curate.jsontext import dumps, loads
from curate.stages.contract import Effect, Mapper

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ChatRepair", "repaired"]

Messages = list[dict[str, Any]]


class ChatRepair(Mapper):
    """Puts right in conversations what can be put right in one way only, and records each repair as an edit.

    What it cannot repair it leaves as it is; `chat` behind it judges. The verdict's value is how many places were repaired.
    """

    version: ClassVar[int] = 2
    reads_text: ClassVar[bool] = False
    reasons: ClassVar[Mapping[str, str]] = {
        "role": "edited: a role by another name; reasons of several edits are joined by `+`",
        "parts": "edited: a content in parts of text",
        "arguments": "edited: arguments of a call that were JSON text, or missing",
        "empty_turn": "edited: an empty system turn, or an empty turn at the end",
        "repeated_turn": "edited: a turn that said the same as the one before it",
        "joined_turns": "edited: system turns at the beginning, or users' turns that followed each other",
        "unanswered_turn": "edited: turns behind the last one of the assistant",
    }

    column: str = Field("messages", description="Column of the conversations, which is edited.")

    def columns(self) -> Sequence[str]:
        """The conversations."""
        return (self.column,)

    requires = columns

    def adds(self) -> Sequence[str]:
        """Nothing."""
        return ()

    def open(self) -> Callable[[pa.Table], Effect]:
        """A conversation at a time; reasons in the order of `reasons`."""

        def repair(batch: pa.Table) -> Effect:
            import numpy as np

            from curate.stages.decide import verdict_table

            rows, why, values, texts = [], [], [], []
            for row, value in enumerate(batch.column(self.column).to_pylist()):
                messages = parsed(value)
                turns, done = repaired(messages) if messages else ([], Counter[str]())
                if done:
                    rows.append(row)
                    why.append("+".join(name for name in self.reasons if done[name]))
                    values.append(float(done.total()))
                    texts.append(dumps(turns))
            given = {"value": np.array(values), "text": texts, "path": [self.column] * len(rows)}
            return Effect(verdict_table(np.array(rows, np.int64), "edited", np.array(why, dtype=object), **given))  # type: ignore[arg-type]

        return repair


def repaired(messages: Messages) -> tuple[Messages, Counter[str]]:
    """The conversation put right, and how often what was done; one that has nothing to repair comes back as it was."""
    done: Counter[str] = Counter()
    turns = [_turn(turn, done) for turn in messages]
    before: Messages = []
    while turns != before:  # what one repair leaves may be another's
        before = turns
        turns = _answered(_joined(_without_empty(turns, done), done), done)
    return (turns, +done) if turns else (messages, Counter())


def _turn(turn: dict[str, Any], done: Counter[str]) -> dict[str, Any]:
    new = dict(turn)
    role = turn.get("role")
    if role not in ROLES and (known := role_of(role)) and not is_call(role):
        new["role"] = known
        done["role"] += 1
    parts = turn.get("content")
    if isinstance(parts, list) and parts and all(_is_text(part) for part in parts):
        new["content"] = "".join(part["text"] for part in parts)
        done["parts"] += 1
    if isinstance(turn.get("tool_calls"), list):
        new["tool_calls"] = [_call(call, done) for call in turn["tool_calls"]]
    return new


def _is_text(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type", "text") == "text" and isinstance(part.get("text"), str)


def _call(call: Any, done: Counter[str]) -> Any:
    inner = call.get("function") if isinstance(call, dict) else None
    if not isinstance(inner, dict):
        return call
    given = inner.get("arguments")
    found = {} if given is None or given == "" else _object(given)
    if found is None or isinstance(given, dict):
        return call
    done["arguments"] += 1
    return {**call, "function": {**inner, "arguments": found}}


def _object(text: Any) -> dict[str, Any] | None:
    try:
        found = loads(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _is_empty(turn: Mapping[str, Any]) -> bool:
    """Whether nothing but its role has a value: a refusal, a call or a thought beside an empty content says something."""
    return all(name == "role" or _is_blank(value) for name, value in turn.items())


def _is_blank(value: Any) -> bool:
    return not value.strip() if isinstance(value, str) else value is None or value == [] or value == {}


def _without_empty(turns: Messages, done: Counter[str]) -> Messages:
    left = [turn for turn in turns if not (turn.get("role") == "system" and _is_empty(turn))]
    while left and left[-1].get("role") in ("user", "assistant") and _is_empty(left[-1]):
        left.pop()
    done["empty_turn"] += len(turns) - len(left)
    return left


def _joined(turns: Messages, done: Counter[str]) -> Messages:
    """Without repeated turns; system turns at the beginning and users' turns that follow each other are one."""
    left: Messages = []
    for turn in turns:
        before = left[-1] if left else {}
        role = turn.get("role")
        if role == before.get("role") and role != "tool" and turn == before:
            done["repeated_turn"] += 1
        elif role == before.get("role") and role in ("system", "user") and _is_plain(turn) and _is_plain(before):
            left[-1] = {**before, "content": f"{content_of(before)}\n\n{content_of(turn)}"}
            done["joined_turns"] += 1
        else:
            left.append(turn)
    return left


def _answered(turns: Messages, done: Counter[str]) -> Messages:
    """Without what nobody answers, at the end."""
    left = list(turns)
    while any(turn.get("role") == "assistant" for turn in left) and left[-1].get("role") in ("system", "user"):
        left.pop()
        done["unanswered_turn"] += 1
    return left


def _is_plain(turn: Mapping[str, Any]) -> bool:
    """Nothing but a role and a text with words in it."""
    return {*turn} == {"role", "content"} and bool(content_of(turn).strip())
