"""Prompts and answers as turns of a conversation (docs/decisions/0021-chat-in-preference-and-reinforcement.md).

A prompt is a text, which is then what the user says, or a list of messages. An answer is a text or the assistant's
message; or both answers are whole conversations, alike up to their last message, as UltraFeedback has them. The template
writes what is around them: the prompt's tokens end where the assistant begins to speak, an answer's where its turn ends.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.errors import CurateError
from curate.tokenize.chat import DEFAULT_TEMPLATE, ChatTemplate, Rendered
from curate.tokenize.fields import Fields, messages_in, parsed_list, refusal, rows_of
from curate.tokenize.streams import Piece, groups
from curate.tokenize.template import uses_tools

if TYPE_CHECKING:
    from curate.dataset.reader import Dataset

__all__ = ["EXCHANGE", "PROMPT", "check_plain", "encode_exchange", "exchange", "template_source", "turns", "with_tools"]

PROMPT = "prompt"
"""Role of the prompt; all others are answers to it."""
EXCHANGE = (PROMPT, "chosen", "rejected", "completion")
"""Roles of prompts and answers."""
Messages = list[dict[str, Any]]


def exchange(values: dict[str, Any]) -> tuple[Messages, dict[str, Messages]]:
    """The messages of a prompt, and of each answer to it, by role.

    Args:
        values: A text, a list of messages, or its JSON text, by role; `prompt` is the prompt.

    Raises:
        CurateError: There is no prompt, or the answers do not belong to it.
    """
    given = {role: _messages(role, value) for role, value in values.items()}
    prompt, answers = given.pop(PROMPT), given
    if not any(len(answer) > 1 for answer in answers.values()):
        return prompt, answers
    first = next(iter(answers.values()))[:-1]
    for role, answer in answers.items():
        if answer[:-1] != first or first[: len(prompt)] != prompt:
            raise CurateError(
                f"`{role}` is a conversation that does not begin as the others do",
                hint="the answers are whole conversations with one prompt, or turns of the assistant",
            )
    return first, {role: answer[-1:] for role, answer in answers.items()}


def _messages(role: str, value: Any) -> Messages:
    found = messages_in(value)
    if found is None and not isinstance(value, str):
        raise CurateError(f"a document has no `{role}`", hint="a text, or a list of {role, content}")
    return found or [{"role": "user" if role == PROMPT else "assistant", "content": value}]


def encode_exchange(template: ChatTemplate, asked: Rendered, answers: Sequence[Rendered]) -> list[list[int]]:
    """Tokens of a prompt and of each answer, from `ChatTemplate.exchange`."""
    (prompt, _), *wholes = template.encode([asked, *answers])
    found = [prompt]
    for answer, (tokens, _) in zip(answers, wholes, strict=True):
        if tokens[: len(prompt)] != prompt:  # a token reaches over from one into the other
            ((tokens, _),) = template.encode([Rendered(answer.text[len(asked.text) :], answer.replaced, [])])
            tokens = prompt + tokens
        found.append(tokens[len(prompt) :])
    return found


def turns(dataset: Dataset, split: str, role: str, fields: Fields, template: ChatTemplate, end: int) -> Iterator[Piece]:
    """The prompts, or the answers of a role, as the template writes them; each ends in the end-of-text token.

    Raises:
        CurateError: A document's prompt or answer is not what it should be, or the template does not fit.
    """
    for group in groups(_rendered(dataset, split, role, fields, template), lambda some: len(some[-1].text)):
        for asked, *answers in group:
            *before, tokens = encode_exchange(template, asked, answers)
            size = len((answers or [asked])[0].plain.encode()) - (len(asked.plain.encode()) if before else 0)
            yield Piece([*tokens, end], size)


def _rendered(
    dataset: Dataset, split: str, role: str, fields: Fields, template: ChatTemplate
) -> Iterator[list[Rendered]]:
    """The prompt of each document, and behind it the answer that is asked for."""
    columns = [*fields.turns.values(), *([fields.tools] if fields.tools else [])]
    for number, row in enumerate(rows_of(dataset, split, columns)):
        try:
            prompt, answers = exchange(dict(zip(fields.turns, row, strict=False)))
            asked, *said = template.exchange(
                prompt, [*answers.values()], parsed_list(row[-1]) if fields.tools else None
            )
            yield [asked, *(one for name, one in zip(answers, said, strict=True) if name == role)]
        except CurateError as error:
            raise refusal(dataset, split, number, error.problem, error.hint) from None


def check_plain(dataset: Dataset, split: str, role: str, column: str) -> None:
    """Refuse conversations where plain texts are read.

    Raises:
        CurateError: A document has one.
    """
    for number, (value,) in enumerate(rows_of(dataset, split, [column])):
        if messages_in(value):
            raise refusal(
                dataset,
                split,
                number,
                f"the {role} in `{column}` is a conversation, and the model has no template of conversations",
                "`data.chat: true` takes the template of this package, `data.chat_template` names another",
            )


def template_source(path: str | None, models: str | None) -> str | None:
    """The template of conversations; None is that of this package.

    Args:
        path: File of a template.
        models: Without one, the template of the model to begin with.

    Raises:
        CurateError: The file cannot be read.
    """
    source = models
    if path:
        try:
            source = Path(path).expanduser().read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise CurateError(f"the template of conversations cannot be read: {error}", "data.chat_template") from None
    return None if source == DEFAULT_TEMPLATE else source


def with_tools(dataset: Dataset, fields: Fields, template: str | None) -> Fields:
    """The fields with the column of tools, if the template shows tools; if not, people are told that it does not."""
    column = fields.tools or "tools"
    if not fields.tools and column not in dataset.columns:
        return fields
    if template and uses_tools(template):
        return fields.model_copy(update={"tools": column})
    sys.stderr.write(
        f"tokenize {dataset.name}: the column `{column}` is not learned from: the template of conversations does not use "
        "`tools` (`data.chat_template` names another template)\n"
    )
    return fields.model_copy(update={"tools": None})
