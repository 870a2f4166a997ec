"""What is wrong with a conversation, counted: roles, order, empty turns, tool calls, refusals. Pure functions of its turns.

    order      a system turn first if any, then a user's; after a user's an assistant's; after calls what the tools answer
    calls      an answer for each, by id where both have one, else in number; the last turn's may stand open (that is learned)
    arguments  an object, with what the tool's JSON schema requires and nothing that it does not name
    refusals   turns of the assistant at whose beginning (200 characters) a sentence begins by saying that it will not, after an
               apology or not; phrases of English, whole words

A conversation is a list of `{role, content, tool_calls}` as `chat_format` leaves it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from curate.jsontext import loads

__all__ = ["COUNTS", "REFUSALS", "ROLES", "calls_of", "content_of", "counts", "parsed", "refuses"]

Messages = list[dict[str, Any]]
ROLES = ("system", "user", "assistant", "tool")
COUNTS = (
    "turns", "answers", "unknown_roles", "misplaced_turns", "empty_turns", "tools", "calls", "bad_calls",
    "unmatched_calls", "bad_arguments", "unknown_tools", "wrong_arguments", "refusals", "reasoning", "open_reasoning",
)  # fmt: skip
"""What is counted of each conversation."""
REFUSALS = (
    "i can't", "i cannot", "i can not", "i am unable", "i'm unable", "i am not able to", "i'm not able to", "i won't",
    "i will not", "i must decline", "i have to decline", "as an ai", "as a language model", "as a large language model",
    "i'm sorry, but", "i am sorry, but", "sorry, but i", "i apologize, but", "unfortunately, i",
)  # fmt: skip
"""How refusals begin, in lower case."""
_BEGINNING = 200
_SENTENCE = (
    r"(?:^|[.!?\n\u3002\uff01\uff1f])[\W_]*(?:(?:i'm |i am )?(?:so |very )?(?:sorry|but|however|unfortunately|no)\W+)*"
)
"""Where a sentence begins, and words before what it says."""
_UNSPACED = "\u2e80"
"""The first character of scripts that write no spaces between words."""
_MEMBERS = ("reasoning_content", "thinking", "reasoning")
_THOUGHT = re.compile(r"<(/?)think(?:ing)?>")


def parsed(value: Any) -> Messages | None:
    """The turns that a column's value is, JSON text or a list; None where it is no list of objects with at least one."""
    if isinstance(value, str):
        try:
            value = loads(value)
        except ValueError:
            return None
    given = isinstance(value, list) and bool(value) and all(isinstance(turn, dict) for turn in value)
    return value if given else None


def content_of(turn: Mapping[str, Any]) -> str:
    """What a turn says; nothing where that is no text."""
    content = turn.get("content")
    return content if isinstance(content, str) else ""


def calls_of(turn: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The functions that a turn calls, each with `id`, `name` (null where that is no text) and `arguments`."""
    found = []
    given = turn.get("tool_calls")
    for call in given if isinstance(given, list) else ():
        inner = call.get("function") if isinstance(call, dict) else None
        inner = inner if isinstance(inner, dict) else call if isinstance(call, dict) else {}
        identity = call.get("id") if isinstance(call, dict) else None
        name = inner.get("name")
        name = name if isinstance(name, str) and name else None
        found.append({"id": identity, "name": name, "arguments": inner.get("arguments")})
    return found


def _bad_calls(turn: Mapping[str, Any]) -> int:
    """Calls that name no function, and calls that are no list."""
    given = turn.get("tool_calls")
    listed = isinstance(given, list) or not given
    return sum(call["name"] is None for call in calls_of(turn)) + (not listed)


def refuses(turn: Mapping[str, Any], phrases: Sequence[str] = REFUSALS) -> bool:
    """Whether an assistant's turn begins by refusing; calls are none."""
    begin = content_of(turn)[:_BEGINNING].lower().replace("\u2019", "'")
    return turn.get("role") == "assistant" and _refusing(tuple(phrases)).search(begin) is not None


@cache
def _refusing(phrases: tuple[str, ...]) -> re.Pattern[str]:
    """What finds a sentence that begins with one of some phrases."""
    ends = (re.escape(one) + (r"(?!\w)" if one[-1] < _UNSPACED else "") for one in phrases if one)
    return re.compile(f"{_SENTENCE}(?:{'|'.join(ends) or '(?!)'})")


def counts(messages: Messages, tools: Any = None, phrases: Sequence[str] = REFUSALS) -> dict[str, int]:
    """All of `COUNTS`.

    Args:
        messages: The turns, at least one.
        tools: What may be called, a list of functions or its JSON text; None: nobody says.
        phrases: How refusals begin, in lower case.
    """
    roles = [turn.get("role") for turn in messages]
    said = [turn for turn in messages if turn.get("role") == "assistant"]
    calls = [call for turn in said for call in calls_of(turn)]
    known = _schemas(tools)
    objects = [(call, _arguments(call)) for call in calls]
    thoughts = [turn for turn in said if any(turn.get(name) for name in _MEMBERS) or _THOUGHT.search(content_of(turn))]
    values = {
        "turns": len(messages),
        "answers": len(said),
        "unknown_roles": sum(role not in ROLES for role in roles),
        "misplaced_turns": _misplaced(messages),
        "empty_turns": sum(not _says(turn) for turn in messages),
        "tools": len(known or ()),
        "calls": len(calls),
        "bad_calls": sum(map(_bad_calls, said)),
        "unmatched_calls": _unmatched(messages),
        "bad_arguments": sum(found is None for _, found in objects),
        "unknown_tools": 0 if known is None else sum(call["name"] not in known for call in calls),
        "wrong_arguments": sum(_wrong(known.get(call["name"]), found) for call, found in objects) if known else 0,
        "refusals": sum(refuses(turn, phrases) for turn in said),
        "reasoning": len(thoughts),
        "open_reasoning": sum(not _closed(content_of(turn)) for turn in thoughts),
    }
    assert tuple(values) == COUNTS
    return values


def _says(turn: Mapping[str, Any]) -> bool:
    """Whether there is anything in a turn; a tool may answer nothing."""
    return bool(content_of(turn).strip() or turn.get("tool_calls")) or turn.get("role") == "tool"


def _misplaced(messages: Messages) -> int:
    """Turns that do not stand behind the one before them, and one for an end without an answer."""
    wrong, before = 0, "begin"
    for turn in messages:
        role = str(turn.get("role"))
        wrong += role not in _BEHIND.get(before, ROLES)
        before = "calls" if role == "assistant" and turn.get("tool_calls") else role
    return wrong + (before not in ("assistant", "calls"))


_BEHIND = {
    "begin": ("system", "user"), "system": ("user",), "user": ("assistant",), "assistant": ("user",), "calls": ("tool",),
    "tool": ("tool", "assistant"),
}  # fmt: skip


def _unmatched(messages: Messages) -> int:
    """Calls without an answer and answers without a call; calls of the last turn may stand open."""
    wrong, place = 0, 0
    while place < len(messages):
        turn = messages[place]
        place += 1
        calls = calls_of(turn) if turn.get("role") == "assistant" else []
        begin = place
        while place < len(messages) and messages[place].get("role") == "tool":
            place += 1
        answers = messages[begin:place]
        if calls and place == len(messages) and not answers:
            continue
        wrong += _apart([call["id"] for call in calls], [answer.get("tool_call_id") for answer in answers])
    return wrong + (bool(messages) and messages[0].get("role") == "tool")


def _apart(called: Sequence[Any], answered: Sequence[Any]) -> int:
    """How many of two lists have no partner: by id where all have one, else in number."""
    if called and answered and all(called) and all(answered):
        left, right = Counter(map(str, called)), Counter(map(str, answered))
        return (left - right).total() + (right - left).total()
    return abs(len(called) - len(answered))


def _arguments(call: Mapping[str, Any]) -> dict[str, Any] | None:
    """A call's arguments; None where they are no object, nor the JSON text of one."""
    given = call["arguments"]
    if isinstance(given, str):
        try:
            given = loads(given)
        except ValueError:
            return None
    return given if isinstance(given, dict) else None


def _schemas(tools: Any) -> dict[Any, Mapping[str, Any]] | None:
    """The JSON schema of each function's arguments, by its name; None where it is not told which there are."""
    given = parsed(tools)
    if given is None:
        return None
    functions = [tool["function"] if isinstance(tool.get("function"), dict) else tool for tool in given]
    named = [one for one in functions if isinstance(one.get("name"), str)]
    return {one["name"]: one.get("parameters") or one.get("input_schema") or {} for one in named}


def _wrong(schema: Mapping[str, Any] | None, arguments: Mapping[str, Any] | None) -> bool:
    """Whether arguments lack one that is required, or have one that the schema does not name."""
    if not isinstance(schema, Mapping) or arguments is None:
        return False
    required, named = schema.get("required"), schema.get("properties")
    lacking = isinstance(required, list) and any(name not in arguments for name in required)
    others = (
        isinstance(named, dict)
        and not schema.get("additionalProperties")
        and any(name not in named for name in arguments)
    )
    return bool(lacking or others)


def _closed(content: str) -> bool:
    """Whether every `<think>` ends; a template may have written the first, so an end alone is closed."""
    marks = [mark[1] for mark in _THOUGHT.finditer(content)]
    return not marks or marks[-1] == "/"
