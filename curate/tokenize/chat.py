"""Conversations as tokens, and which of them the assistant says.

A template (`curate.tokenize.template`) turns messages into one text; `curate.tokenize.spans` finds what the assistant says.

A message must not become a token that the template alone may set: a user who writes `<|end|>` would end a turn. Where a
content spells a special token, the template sees a private character in its place; the special tokens of the result are
then the template's own, and the content is put back and encoded as ordinary text. The limits: a template that looks
into contents (their length, a part of them) sees that character, and one that writes half of a special token beside a
content can still be completed by it. Rendering takes 0.1 ms for four messages of 150 characters, encoding 0.2.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from curate.errors import CurateError
from curate.tokenize.roles import special_tokens
from curate.tokenize.spans import Found, Render, Span, marked_spans, prefix_spans
from curate.tokenize.template import compiled, has_marks, marks, tests_null_content

if TYPE_CHECKING:
    import numpy as np
    from tokenizers import Encoding, Tokenizer

__all__ = ["DEFAULT_TEMPLATE", "ChatTemplate", "Rendered"]

Messages = Sequence[dict[str, Any]]
Tools = Sequence[dict[str, Any]]

# As in Qwen, what a tool answers comes to the model as a user's turn.
DEFAULT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|user|>' if message.role == 'tool' else '<|' + message.role + '|>' }}{{ message.content }}<|end|>"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
_ROLES = ("system", "user", "assistant", "tool")
_ROLE = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_REASONING = ("reasoning_content", "thinking", "reasoning")
"""Names that what the assistant thought goes by; templates read one of the first two."""
_PRIVATE = range(0xF0000, 0xFFFFD)


class Rendered(NamedTuple):
    """A conversation as text.

    Attributes:
        text: The template's, in which a content's special tokens are replaced.
        replaced: The special tokens, by the characters that stand for them.
        spans: Where the assistant speaks, from and to, in characters of `plain`.
        marked: The template says so itself: a token that reaches into a span belongs to it, as in transformers.
    """

    text: str
    replaced: dict[str, str]
    spans: list[Span]
    marked: bool = False

    @property
    def plain(self) -> str:
        """The text with everything put back."""
        return _restored(self.text, self.replaced)


class ChatTemplate:
    """A template and the tokenizer that it was made for.

    Args:
        tokenizer: Encodes; special tokens in its texts become tokens nowhere but where the template wrote them.
        roles: Numbers of special tokens by role (`curate.tokenize.roles`).
        source: The template; None is `DEFAULT_TEMPLATE`.

    Raises:
        CurateError: The template is no valid Jinja.
    """

    def __init__(self, tokenizer: Tokenizer, roles: dict[str, int], source: str | None = None) -> None:
        self.closed = tokenizer
        self.open = _reading_special(tokenizer)
        self.special = special_tokens(tokenizer)
        self.numbers = set(self.special.values())
        longest_first = sorted(map(re.escape, self.special), key=len, reverse=True)
        self.pattern = re.compile("(" + "|".join(longest_first) + ")")
        self.own = source is None
        self.source = DEFAULT_TEMPLATE if source is None else source
        self.template = compiled(self.source)
        self.marked, self.null = has_marks(self.source), None if tests_null_content(self.source) else ""
        names = {"bos": "start", "eos": "end_of_text", "pad": "padding", "unk": "unknown"}
        self.names = {
            f"{name}_token": tokenizer.id_to_token(roles[role]) for name, role in names.items() if role in roles
        }

    def render(
        self,
        messages: Messages,
        *,
        tools: Tools | None = None,
        add_generation_prompt: bool = False,
        variables: Mapping[str, str] | None = None,
    ) -> str:
        """The template's text of these messages and tools, as they are; with further variables of its own.

        Raises:
            CurateError: The template refuses them.
        """
        try:
            return self.template.render(
                messages=messages,
                add_generation_prompt=add_generation_prompt,
                tools=tools,
                documents=None,
                **self.names,
                **(variables or {}),
            )
        except Exception as error:  # a template is a program of the user's
            raise CurateError(
                f"the template of conversations fails: {type(error).__name__}: {error}", hint="see `data.chat_template`"
            ) from None

    def rendered(self, messages: Messages, tools: Any = None) -> Rendered:
        """A conversation as text, and where the assistant speaks.

        Args:
            messages: What is said.
            tools: What the assistant may call: a list of JSON schemas, each an object or its JSON text.

        Raises:
            CurateError: It has no assistant's turn, a message is not what it should be, or the template does not fit.
        """
        given = messages if isinstance(messages, list) else []
        checked = [self._checked(message, number) for number, message in enumerate(given, 1)]
        if not any(message["role"] == "assistant" for message in checked):
            raise CurateError("the assistant says nothing in this conversation", hint="leave it out")
        guarded, replaced = self._guarded({"messages": checked, "tools": _checked_tools(tools)})
        render: Render = partial(self.render, tools=guarded["tools"])
        guarded = guarded["messages"]
        whole = render(guarded)
        found = self._marked(render, guarded, whole) if self.marked else prefix_spans(render, guarded, whole)
        if found is None:
            found = self._found(render, guarded, whole).spans()
        elif not _shown(guarded, whole):
            self._found(render, guarded, whole).shown()
        spans = [
            (len(_restored(whole[:first], replaced)), len(_restored(whole[:last], replaced))) for first, last in found
        ]
        return Rendered(whole, replaced, spans, self.marked)

    def exchange(
        self, prompt: Messages, answers: Sequence[Messages], tools: Any = None, *, blank: bool = False
    ) -> list[Rendered]:
        """A prompt as text, up to where the assistant speaks; and the conversation with each answer to it.

        Args:
            prompt: What is said before; the last turn is no assistant's.
            answers: A turn of the assistant each.
            tools: What the assistant may call: a list of JSON schemas, each an object or its JSON text.
            blank: An answer may have no words: a model wrote it.

        Raises:
            CurateError: A message is not what it should be, or the template does not fit.
        """
        checked = [self._checked(message, number) for number, message in enumerate(prompt, 1)]
        if not checked or checked[-1]["role"] in ("assistant", "system"):
            found = f"ends with a turn of `{checked[-1]['role']}`" if checked else "has no turn"
            raise CurateError(f"the prompt {found}", hint="the assistant answers what a user or a tool says")
        said = [[self._checked(message, len(checked) + 1, blank=blank) for message in answer] for answer in answers]
        for answer in said:
            if [message["role"] for message in answer] != ["assistant"]:
                turns = ", ".join(f"`{message['role']}`" for message in answer) or "none"
                raise CurateError(f"an answer is one turn of `assistant`; here are: {turns}")
        given = {"prompt": checked, "answers": said, "tools": _checked_tools(tools)}
        guarded, replaced = self._guarded(given)
        render: Render = partial(self.render, tools=guarded["tools"])
        prompt = guarded["prompt"]
        asked = render(prompt, add_generation_prompt=True)
        wholes = [[*prompt, *answer] for answer in guarded["answers"]]
        texts = [render(whole) for whole in wholes]
        if not all(text.startswith(asked) for text in texts):
            asked = self._shared(render, asked, texts, wholes)
        return [Rendered(text, replaced, []) for text in (asked, *texts)]

    def encode(self, conversations: Sequence[Rendered]) -> list[tuple[list[int], np.ndarray]]:
        """Tokens of each, and for each token whether the assistant says it (bool)."""
        encodings = self.open.encode_batch([one.plain for one in conversations], add_special_tokens=False)
        return [self._masked(*pair) for pair in zip(conversations, encodings, strict=True)]

    @property
    def turn_end(self) -> int | None:
        """The token that ends what the assistant says; None where the template has no special token for it."""
        messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "x"}]
        found = self.pattern.search(self._found(self.render, messages, self.render(messages)).behind)
        return self.special[found[0]] if found else None

    @classmethod
    def of(cls, tokenizer: Tokenizer, roles: Mapping[str, int], source: str) -> ChatTemplate:
        """The template with this source, which may be that of this package."""
        return cls(tokenizer, dict(roles), None if source == DEFAULT_TEMPLATE else source)

    # ---- one conversation

    def _marked(self, render: Render, messages: Messages, whole: str) -> list[Span]:
        begin, end = islice((chr(number) for number in _PRIVATE if chr(number) not in whole), 2)
        return marked_spans(render(messages, variables=marks(begin, end)), whole, begin, end)

    def _found(self, render: Render, messages: Messages, whole: str) -> Found:
        return Found(render, messages, whole, special=self.pattern, source=self.source)

    def _shared(self, render: Render, asked: str, texts: Sequence[str], wholes: Sequence[Messages]) -> str:
        """What a prompt and the texts with an answer have in common: the prompt may begin what an answer need not have.

        As in trl (`<think>` of DeepSeek R1).
        """
        pairs = zip(texts, wholes, strict=True)
        cuts = [text[: self._found(render, whole, text).start(len(whole) - 1)] for text, whole in pairs]
        shortest = min(cuts, key=len)
        if not all(text.startswith(shortest) for text in (asked, *texts)):
            raise CurateError(
                "what the template makes of the prompt is not how it begins with an answer behind it",
                hint="in training, a prompt must look like the beginning of the whole",
            )
        return shortest

    def _checked(self, message: Any, number: int, *, blank: bool = False) -> dict[str, Any]:
        if not isinstance(message, dict):
            raise CurateError(f"message {number} is no {{role, content}}")
        role, content = message.get("role"), message.get("content")
        known = role in _ROLES if self.own else isinstance(role, str) and _ROLE.fullmatch(role)
        if not known:
            hint = f"roles are {', '.join(_ROLES)}; a template of your own may know others (`data.chat_template`)"
            raise CurateError(f"message {number} has the role `{role}`", hint=hint)
        given = {name: value for name, value in message.items() if value is not None}
        if self.own:
            said = isinstance(content, str) and (blank or bool(content.strip()))
        else:
            reasoning = next((given[name] for name in _REASONING if name in given), None)
            if reasoning is not None:  # transformers fills these two, too
                given = {"thinking": reasoning, **given, "reasoning_content": reasoning}
            said = isinstance(content, str) or (content is None and bool(given.get("tool_calls") or reasoning))
        if not said:
            raise CurateError(f"message {number} has no text in `content`", hint="leave the conversation out")
        return {**given, "content": self.null if content is None else content}

    def _guarded(self, given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
        """Messages and tools with private characters where they spell special tokens, and what those stand for."""
        strings = list(_strings(given))
        spelled = sorted({name for text in strings for name in self.pattern.findall(text)})
        if not spelled:
            return given, {}
        used = set().union(*strings)
        free = (chr(number) for number in _PRIVATE if chr(number) not in used)
        by_name = dict(zip(spelled, free, strict=False))

        def guard(value: Any) -> Any:
            if isinstance(value, str):
                return self.pattern.sub(lambda match: by_name[match[0]], value)
            if isinstance(value, dict):
                return {guard(name): guard(inner) for name, inner in value.items()}
            return [guard(inner) for inner in value] if isinstance(value, list) else value

        return guard(given), {character: name for name, character in by_name.items()}

    def _masked(self, conversation: Rendered, encoding: Encoding) -> tuple[list[int], np.ndarray]:
        import numpy as np

        tokens, starts = encoding.ids, [start for start, _ in encoding.offsets]
        found = [number for number in tokens if number in self.numbers]
        if found != [self.special[name] for name in self.pattern.findall(conversation.text)]:
            tokens, starts = self._apart(conversation)
        places, mask = np.array(starts), np.zeros(len(tokens), dtype=bool)
        for first, last in conversation.spans:
            if conversation.marked:
                first = places[places <= first].max(initial=0)
            mask |= (places >= first) & (places < last)
        return tokens, mask

    def _apart(self, conversation: Rendered) -> tuple[list[int], list[int]]:
        """Tokens and their places, the special tokens of the template and the texts between them each by itself."""
        tokens: list[int] = []
        starts: list[int] = []
        place = 0
        for number, part in enumerate(self.pattern.split(conversation.text)):
            plain = _restored(part, conversation.replaced)
            if number % 2:
                tokens.append(self.special[part])
                starts.append(place)
            else:
                encoding = self.closed.encode(plain, add_special_tokens=False)
                tokens += encoding.ids
                starts += [place + start for start, _ in encoding.offsets]
            place += len(plain)
        return tokens, starts


def _shown(messages: Messages, whole: str) -> bool:
    """Something that the assistant says is to be seen at a glance; where it is not it may still be, in another form."""
    said = (message["content"] for message in messages if message["role"] == "assistant")
    return any(content and content.strip() in whole for content in said)


def _checked_tools(given: Any) -> list[dict[str, Any]] | None:
    if not given:
        return None
    try:
        tools: list[Any] = [json.loads(tool) if isinstance(tool, str) else tool for tool in given]
    except (TypeError, ValueError):
        tools = [None]
    if not isinstance(given, list) or not all(isinstance(tool, dict) for tool in tools):
        raise CurateError(
            "the tools of this conversation are no list of objects", hint="JSON schemas, or their JSON text"
        )
    return tools


def _strings(value: Any) -> Iterator[str]:
    """All strings in a value, names of its fields among them."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from (text for pair in value.items() for part in pair for text in _strings(part))
    elif isinstance(value, list):
        yield from (text for part in value for text in _strings(part))


def _restored(text: str, replaced: dict[str, str]) -> str:
    return text.translate(str.maketrans(replaced)) if replaced else text


def _reading_special(tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer, such that special tokens in a text are read as such."""
    from tokenizers import Tokenizer

    found = Tokenizer.from_str(tokenizer.to_str())
    found.encode_special_tokens = False
    return found
