"""Where the assistant speaks in the text that a template makes of a conversation.

Three ways, the first that can be gone:

1. The template says it: with `{% generation %}` around what the assistant says.
2. Its text of the first messages is how its text of all of them begins. Then the assistant speaks from where the prompt for
   an answer ends to where the conversation with that answer ends.
3. Some templates write a turn in another way once more follows: they drop earlier reasoning, close the last turn otherwise,
   put into the prompt what an answer need not have. There each message is found in the whole text by what changes when
   its words do; and what the template writes behind the message before (up to the prompt's end) and behind the answer
   (up to the turn's end) is followed from there, as far as the whole text has it too.

The third way renders about seven times for each turn of the assistant: four messages of 150 characters take 0.6 ms (Phi 3) to
2.4 ms (Qwen 3), where the others take 0.1 to 0.2.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from curate.errors import CurateError

__all__ = ["Found", "Span", "marked_spans", "prefix_spans"]

Message = dict[str, Any]
Messages = Sequence[Message]
Span = tuple[int, int]
Render = Callable[..., str]
_TAG = re.compile(r"(<[^<>\s]*>)|[^\s<]+|<")
_KEPT = frozenset({"role", "type", "id", "tool_call_id", "name"})
"""Fields that are no words: a template may check them, or repeat the name of a tool where it answers."""

_ASKING = {"role": "user", "content": "x"}
"""What some templates want before the assistant speaks."""


def marked_spans(marked: str, whole: str, begin: str, end: str) -> list[Span]:
    """Where the blocks are, in characters.

    Args:
        marked: The text with a character before and one behind each block.
        whole: The text without them.
        begin: The first of these characters.
        end: The other one.

    Raises:
        CurateError: The marks change the text, or there are none in it.
    """
    spans: list[Span] = []
    place, start = 0, None
    for part in re.split(f"([{begin}{end}])", marked):
        if part == begin:
            start = place
        elif part == end and start is not None:
            spans, start = [*spans, (start, place)], None
        else:
            place += len(part)
    if start is not None or marked.replace(begin, "").replace(end, "") != whole:
        raise CurateError(
            "the template looks into what its `{% generation %}` blocks enclose",
            hint="put them around what it writes last",
        )
    found = [span for span in spans if span[0] < span[1]]
    if not found:
        raise CurateError(
            "the template encloses nothing of this conversation in `{% generation %}`",
            hint="leave the conversation out, or put it around all that the assistant says",
        )
    return found


def prefix_spans(render: Render, messages: Messages, whole: str) -> list[Span] | None:
    """Where the assistant speaks, by what the template makes of the first messages; None where that is not how it begins.

    Args:
        render: The template's text of messages, with `add_generation_prompt` or without.
        messages: All of them.
        whole: Their text.
    """
    spans: list[Span] = []
    for number, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        try:
            before = render(messages[:number], add_generation_prompt=True)
            after = render(messages[: number + 1])
        except CurateError:
            return None
        if not whole.startswith(before) or not whole.startswith(after):
            return None
        spans.append((len(before), len(after)))
    return spans


class Found:
    """Messages that were found in the text of all of them.

    Args:
        render: The template's text of messages, with `add_generation_prompt` or without.
        messages: All of them.
        whole: Their text.
        special: Finds special tokens.
        source: The template.

    Raises:
        CurateError: The template fails when words of a message change.
    """

    def __init__(
        self, render: Render, messages: Messages, whole: str, *, special: re.Pattern[str], source: str
    ) -> None:
        self.render, self.messages, self.whole, self.special, self.source = render, messages, whole, special, source
        self.other = next(chr(number) for number in range(0xF0000, 0xFFFFD) if chr(number) not in whole)
        self.places = [self._place(messages, number, whole) for number in range(len(messages))]

    def spans(self) -> list[Span]:
        """Where the assistant speaks; a turn of which the template shows nothing is left out.

        Raises:
            CurateError: It cannot be told.
        """
        said = self.shown()
        spans = [(self.start(number), self.end(number), number) for number in said]
        others = [place for number, place in enumerate(self.places) if place and number not in said]
        last = 0
        for start, end, number in spans:
            if not last <= start <= end or any(start < theirs[1] and theirs[0] < end for theirs in others):
                raise CurateError(
                    f"where the assistant speaks in message {number + 1} cannot be told from what the template writes",
                    hint="put `{% generation %}` around it in a template of your own (`data.chat_template`)",
                )
            last = end
        return [(start, end) for start, end, _ in spans]

    def shown(self) -> list[int]:
        """Numbers of the assistant's messages of which the template shows something.

        Raises:
            CurateError: There are none.
        """
        messages = enumerate(self.messages)
        found = [number for number, message in messages if message["role"] == "assistant" and self.places[number]]
        if not found:
            raise CurateError("the template shows nothing that the assistant says", hint="leave the conversation out")
        return found

    def start(self, number: int) -> int:
        """Where the answer that a message is begins: behind the prompt for it."""
        limit = (self.places[number] or (len(self.whole),))[0]
        before = next((place for place in reversed(self.places[:number]) if place), None)
        base = before[1] if before else 0
        tail, prompt = self._asked(number)
        if before and tail is not None:
            if self.whole.startswith(tail, base):
                return base + len(tail)
            shared = _common(self.whole[base:limit], tail)
            cut = max((place for place in self._ends(tail) if place <= shared), default=0)
            if cut > len(tail) - len(prompt):
                return base + cut
        for cut in [len(prompt), *reversed(list(self._ends(prompt)))] if prompt else []:
            place = self.whole.rfind(prompt[:cut], base, limit)
            if place >= 0:
                return place + cut
        return limit

    def end(self, number: int) -> int:
        """Where the turn that a message is ends: behind what the template ends it with."""
        if number == len(self.messages) - 1:
            return len(self.whole)
        place = self.places[number]
        assert place
        limit = next((later[0] for later in self.places[number + 1 :] if later), len(self.whole))
        rest = self.whole[place[1] : limit]
        tail = self._tail(self.messages[: number + 1], number)
        if tail is None:
            tail = self._tail([_ASKING, self.messages[number]], 1)
        if tail is not None and rest.startswith(tail):
            return place[1] + len(tail)
        shared = self._whole_tokens(rest, _common(rest, tail or ""))
        closing = self.special.search(rest)
        return place[1] + (max(shared, closing.end()) if closing else shared)

    @property
    def behind(self) -> str:
        """What the template writes behind the last message's words."""
        place = self.places[-1]
        return self.whole[place[1] :] if place else ""

    def _asked(self, number: int) -> tuple[str | None, str]:
        """The text behind the message before, with a prompt for an answer; and what of it is this prompt."""
        before = self.messages[:number]
        anchor = max((place for place in range(number) if self.places[place]), default=None)
        try:
            asked, plain = self.render(before, add_generation_prompt=True), self.render(before)
            tail = None if anchor is None else self._tail(before, anchor, add_generation_prompt=True)
        except CurateError:  # as where the assistant begins: some templates want a user's turn first
            tail, before = None, [_ASKING]
            try:
                asked, plain = self.render(before, add_generation_prompt=True), self.render(before)
            except CurateError:
                return None, ""
        return tail, asked[self._whole_tokens(asked, _common(asked, plain)) :]

    def _tail(self, messages: Messages, number: int, **how: bool) -> str | None:
        """What comes behind a message's words; None where they are not to be seen."""
        try:
            text = self.render(messages, **how)
            place = self._place(messages, number, text, **how)
        except CurateError:
            return None
        return text[place[1] :] if place else None

    def _place(self, messages: Messages, number: int, text: str, **how: bool) -> Span | None:
        """From the first to the last character that changes with a message's words; None where none does."""
        for kept in (_KEPT, _KEPT - {"name"}):
            message = self._changed(messages[number], kept)
            changed = self.render([*messages[:number], message, *messages[number + 1 :]], **how)
            if changed != text:
                start = _common(text, changed)
                room = min(len(text), len(changed)) - start
                return start, len(text) - min(room, _common(text[::-1], changed[::-1]))
        return None

    def _changed(self, message: Message, kept: frozenset[str]) -> Message:
        """A message with other words in it; the tags that the template asks for, as `</think>`, stay."""

        def word(match: re.Match[str]) -> str:
            return match[0] if match[1] and match[1] in self.source else self.other

        def change(value: Any) -> Any:
            if isinstance(value, dict):
                return {name: inner if name in kept else change(inner) for name, inner in value.items()}
            if isinstance(value, list):
                return [change(inner) for inner in value]
            return _TAG.sub(word, value) if isinstance(value, str) else value

        changed = change(message)
        return {**changed, "content": self.other} if changed == message and not message["content"] else changed

    def _ends(self, text: str) -> Iterator[int]:
        """Where special tokens and lines end."""
        return iter(sorted({match.end() for match in re.finditer(f"{self.special.pattern}|\n", text)}))

    def _whole_tokens(self, text: str, place: int) -> int:
        """The place, or the beginning of the special token that it is in."""
        return next(
            (match.start() for match in self.special.finditer(text) if match.start() < place < match.end()), place
        )


def _common(first: str, second: str) -> int:
    """How many characters two texts begin with alike."""
    low, high = 0, min(len(first), len(second))
    while low < high:
        middle = (low + high + 1) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
