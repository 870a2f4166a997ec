"""The forms that conversations come in, each to one: lists of `{role, content}` with tool calls as OpenAI has them.

    openai               {"messages": [{"role": "user", "content": "..."}, ...], "tools": [...]}
    sharegpt             {"conversations": [{"from": "human", "value": "..."}, ...], "system": "...", "tools": "..."}
    alpaca               {"instruction": "...", "input": "...", "output": "...", "system": "...", "history": [["...", "..."]]}
    prompt_completion    {"prompt": "..." or messages, "completion": "..." or messages}
    preference           {"prompt": ..., "chosen": ..., "rejected": ...}, or whole conversations or transcripts without `prompt`

Sources: OpenAI's chat completions (messages, tool_calls, functions before them, parts of contents, the form of preference
fine-tuning), FastChat's ShareGPT, Stanford Alpaca, LLaMA-Factory's `system`, `history` and function calls, trl's dataset
types, the transcripts of HH-RLHF. Pure functions of one row; what does not fit is a `Misfit` with a reason that is a contract.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from curate.jsontext import loads

__all__ = ["COLUMNS", "READERS", "REASONS", "Chat", "Misfit", "detect", "is_call", "role_of"]

Messages = list[dict[str, Any]]

COLUMNS: dict[str, tuple[str, ...]] = {
    "openai": ("messages", "tools", "functions"),
    "sharegpt": ("conversations", "system", "tools"),
    "alpaca": ("instruction", "input", "output", "system", "history"),
    "prompt_completion": ("prompt", "completion"),
    "preference": ("prompt", "chosen", "rejected", "input", "preferred_output", "non_preferred_output", "tools"),
}
"""What each form reads, by its own names."""

REASONS = {
    "unknown_form": "quarantined: no column of the form has a value",
    "not_messages": "quarantined: no list of turns where one should be",
    "no_turns": "quarantined: a conversation without a turn",
    "unknown_role": "quarantined: a turn of a role that is not among the known ones (`roles` names others)",
    "content_not_text": "quarantined: a turn with an image, a sound or something else that is no text",
    "bad_tool_call": "quarantined: a tool call without a function's name",
    "bad_tools": "quarantined: `tools` is no list of functions",
    "no_prompt": "quarantined: nothing that is answered",
    "no_answer": "quarantined: no answer",
    "pairs_differ": "quarantined: two answers that do not belong to the same prompt",
    "is_a_pair": "quarantined: a row with `chosen` and `rejected`, which `form: preference` reads",
}
_ROLES = {
    "system": "system", "developer": "system", "user": "user", "human": "user", "prompter": "user", "assistant": "assistant",
    "gpt": "assistant", "chatgpt": "assistant", "bing": "assistant", "bard": "assistant", "bot": "assistant",
    "model": "assistant", "ai": "assistant", "function_call": "assistant", "tool": "tool", "function": "tool",
    "observation": "tool", "tool_response": "tool", "function_response": "tool", "ipython": "tool",
}  # fmt: skip
_SAFE_NAME = re.compile(r"[A-Za-z][\w-]{0,30}", re.ASCII)
_SPEAKER = re.compile(r"(?:^|\n\n)(Human|Assistant): ?")


class Misfit(Exception):
    """A row that is not of the form: `reason` is one of `REASONS`, `detail` says where, without any text of the row."""

    def __init__(self, reason: str, detail: str | None = None) -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail


class Chat(NamedTuple):
    """A row in the one form: `messages`, or of a pair `prompt`, `chosen` and `rejected`; `tools` where it has some."""

    messages: Messages | None = None
    tools: list[dict[str, Any]] | None = None
    prompt: Messages | None = None
    chosen: Messages | None = None
    rejected: Messages | None = None


Row = Mapping[str, Any]
Roles = Mapping[str, str]
Reader = Callable[[Row, Roles], Chat]


def role_of(name: object, more: Roles = {}) -> str | None:  # noqa: B006  it is only read
    """The role that a name stands for, whatever its case; None where it is none of those known."""
    if not isinstance(name, str):
        return None
    plain = name.strip().lower()
    return more.get(name) or more.get(plain) or _ROLES.get(plain)


def is_call(name: object) -> bool:
    """Whether a role's name says that the content is a call."""
    return isinstance(name, str) and name.strip().lower() == "function_call"


def detect(row: Row) -> str:
    """The form of a row of a conversation; of several the first of `openai, sharegpt, alpaca, prompt_completion`.

    Raises:
        Misfit: It is none of these.
    """
    if row.get("messages") is not None:
        return "openai"
    if row.get("conversations") is not None:
        return "sharegpt"
    if row.get("instruction") is not None and row.get("output") is not None:
        return "alpaca"
    if row.get("prompt") is not None and row.get("completion") is not None:
        return "prompt_completion"
    raise Misfit("is_a_pair" if row.get("chosen") is not None else "unknown_form")


# ---- turns


def _value(given: Any, wanted: type | tuple[type, ...]) -> Any:
    """A value of a type, or the one that its JSON text is; None where it is neither."""
    if isinstance(given, str) and given.lstrip()[:1] in ("[", "{"):
        try:
            given = loads(given)
        except ValueError:
            return None
    return given if isinstance(given, wanted) else None


def _turns(given: Any, roles: Roles) -> Messages:
    turns = _value(given, list)
    if turns is None:
        raise Misfit("not_messages")
    if not turns:
        raise Misfit("no_turns")
    return [_turn(turn, number, roles) for number, turn in enumerate(turns, 1)]


def _turn(turn: Any, number: int, roles: Roles) -> dict[str, Any]:
    """One turn; members that no form knows (`name`, `weight`, `reasoning_content`) stay as they are."""
    if not isinstance(turn, dict):
        raise Misfit("not_messages", f"turn {number} is no object")
    told = turn["role"] if "role" in turn else turn.get("from")
    role = role_of(told, roles)
    if role is None:
        shown = f" `{told}`" if isinstance(told, str) and _SAFE_NAME.fullmatch(told) else ""
        raise Misfit("unknown_role", f"turn {number} has the role{shown}")
    others = {name: value for name, value in turn.items() if name not in _OWN and value is not None}
    calls = _calls(turn, number)
    content = turn["content"] if "content" in turn else turn.get("value")
    if is_call(told) and calls is None:
        calls, content = [_call(one, number) for one in _several(content)], None
    found: dict[str, Any] = {"role": role, "content": _text(content, number), **others}
    if calls:
        found["tool_calls"] = calls
    return found


_OWN = ("role", "from", "content", "value", "tool_calls", "function_call")


_OF_TEXT = ("text", "input_text", "output_text")


def _text(content: Any, number: int) -> str | None:
    """A content as text: parts of text are joined."""
    if content is None or isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else [content]
    texts: list[str] = []
    for part in parts:
        text = part.get("text") if isinstance(part, dict) else part
        if not isinstance(text, str) or (isinstance(part, dict) and part.get("type", "text") not in _OF_TEXT):
            raise Misfit("content_not_text", f"turn {number}")
        texts.append(text)
    return "".join(texts)


def _calls(turn: Mapping[str, Any], number: int) -> Messages | None:
    if turn.get("tool_calls"):
        return [_call(one, number) for one in _several(turn["tool_calls"])]
    return [_call(turn["function_call"], number)] if turn.get("function_call") else None


def _several(given: Any) -> list[Any]:
    found = _value(given, (list, dict))
    return found if isinstance(found, list) else [found]


def _call(given: Any, number: int) -> dict[str, Any]:
    """A call as OpenAI has it, its arguments as the object that their JSON text is (templates read objects)."""
    outer = given if isinstance(given, dict) else {}
    inner = _value(outer.get("function"), dict) or outer
    name = inner.get("name")
    if not isinstance(name, str) or not name:
        raise Misfit("bad_tool_call", f"turn {number}")
    arguments = inner.get("arguments", inner.get("parameters"))
    arguments = {} if arguments in (None, "") else _value(arguments, dict) or arguments
    identity = {"id": outer["id"]} if outer.get("id") is not None else {}
    return {**identity, "type": "function", "function": {"name": name, "arguments": arguments}}


def _tools(given: Any) -> list[dict[str, Any]] | None:
    if given in (None, "", [], "[]"):
        return None
    tools = _value(given, list)
    tools = None if tools is None else [_value(tool, dict) for tool in tools]
    if not tools or not all(tools):
        raise Misfit("bad_tools")
    wrapped = [
        tool if isinstance(tool.get("function"), dict) else {"type": "function", "function": tool} for tool in tools
    ]
    if not all(isinstance(tool["function"].get("name"), str) for tool in wrapped):
        raise Misfit("bad_tools")
    return wrapped


# ---- rows


def _openai(row: Row, roles: Roles) -> Chat:
    tools = row.get("tools") if row.get("tools") is not None else row.get("functions")
    return Chat(_turns(row.get("messages"), roles), _tools(tools))


def _sharegpt(row: Row, roles: Roles) -> Chat:
    turns = _turns(row.get("conversations"), roles)
    return Chat([*_system(row, turns), *turns], _tools(row.get("tools")))


def _system(row: Row, turns: Messages = []) -> Messages:  # noqa: B006  it is only read
    """The turn that a column `system` is, unless the conversation has one."""
    said = row.get("system")
    given = isinstance(said, str) and bool(said.strip()) and not (turns and turns[0]["role"] == "system")
    return [{"role": "system", "content": said}] if given else []


def _alpaca(row: Row, roles: Roles) -> Chat:
    asked, more, said = (row.get(name) for name in ("instruction", "input", "output"))
    if not isinstance(asked, str) or not (asked.strip() or (isinstance(more, str) and more.strip())):
        raise Misfit("no_prompt")
    if not isinstance(said, str):
        raise Misfit("no_answer")
    before: Messages = []
    for pair in _value(row.get("history"), list) or ():
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(text, str) for text in pair)):
            raise Misfit("not_messages", "`history` is no list of pairs of texts")
        before += _exchange(*pair)
    whole = "\n\n".join(part for part in (asked, more) if isinstance(part, str) and part.strip())
    return Chat([*_system(row), *before, *_exchange(whole, said)])


def _exchange(asked: str, said: str) -> Messages:
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]


def _prompt_completion(row: Row, roles: Roles) -> Chat:
    prompt = _said(row.get("prompt"), "user", roles, "no_prompt")
    return Chat([*prompt, *_said(row.get("completion"), "assistant", roles, "no_answer")])


def _said(given: Any, role: str, roles: Roles, lacking: str) -> Messages:
    """A text as a turn, or turns as they are."""
    if isinstance(given, str):
        given = _value(given, list) or given
    if isinstance(given, str):
        if not given.strip():
            raise Misfit(lacking)
        return [{"role": role, "content": given}]
    if given is None:
        raise Misfit(lacking)
    return _turns(given, roles)


def _preference(row: Row, roles: Roles) -> Chat:
    given: Any = row.get("prompt"), row.get("chosen"), row.get("rejected")
    asked = _value(row.get("input"), dict)
    if given[1] is None and asked is not None:  # OpenAI's form of pairs
        given = asked.get("messages"), row.get("preferred_output"), row.get("non_preferred_output")
        row = {**row, "tools": asked.get("tools")}
    answers = [_said(_transcript(one), "assistant", roles, "no_answer") for one in given[1:]]
    prompt = [] if given[0] is None else _said(given[0], "user", roles, "no_prompt")
    (*before, chosen), (*other, rejected) = answers
    if before != other or (before and before[: len(prompt)] != prompt):
        raise Misfit("pairs_differ")
    prompt = before or prompt
    if not prompt:
        raise Misfit("no_prompt")
    if {chosen["role"], rejected["role"]} != {"assistant"}:
        raise Misfit("no_answer", "the last turn is not the assistant's")
    return Chat(None, _tools(row.get("tools")), prompt, [chosen], [rejected])


def _transcript(given: Any) -> Any:
    """The turns of a text as HH-RLHF has them, behind an empty line and `Human:` or `Assistant:`; other values as they are."""
    if not isinstance(given, str) or not given.startswith("\n\nHuman:"):
        return given
    _, *parts = _SPEAKER.split(given)
    return [{"role": name, "content": text.strip()} for name, text in zip(parts[::2], parts[1::2], strict=True)]


READERS: dict[str, Reader] = {
    "openai": _openai,
    "sharegpt": _sharegpt,
    "alpaca": _alpaca,
    "prompt_completion": _prompt_completion,
    "preference": _preference,
}
"""By form, the function from a row to the one form."""
