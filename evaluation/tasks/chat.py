"""Conversations and preferences, token by token as the training reads them.

Of a conversation only what the assistant says is predicted, its end among it; of a preference the two answers and their
ends. Columns and template are those of a run's training, else the usual columns, and the chat_template.jinja beside the
model or the template of this package.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from curate.dataset.fillers import without_fillers
from curate.errors import CurateError
from curate.evaluation.models.tokens import TokenModel
from curate.evaluation.tasks.data import Rows, column
from curate.evaluation.tasks.settings import ConversationTask, PreferenceTask
from curate.jsontext import loads
from curate.tokenize.chat import DEFAULT_TEMPLATE, ChatTemplate, Rendered
from curate.tokenize.fields import parsed_list
from curate.tokenize.roles import CHAT, require, roles_of
from curate.tokenize.turns import EXCHANGE, encode_exchange, exchange
from curate.train.settings.blocks import DataSettings
from curate.train.weights.origin import checkpoint_of, read_stored
from curate.train.weights.tokenizer_files import read_chat_template

__all__ = ["assistant_losses", "chat_template", "columns_of_training", "preferred"]


def columns_of_training(task: ConversationTask | PreferenceTask, model: TokenModel) -> dict[str, str]:
    """The columns that a task reads, by setting: its own, else those of the training."""
    settings, _ = _settings(model)
    names = ("messages",) if isinstance(task, ConversationTask) else ("prompt", "chosen", "rejected")
    return {name: getattr(task, name) or getattr(settings, name) for name in names}


def assistant_losses(task: ConversationTask, rows: Rows, model: TokenModel) -> dict[str, list[Any]]:
    """Facts of each row: `nats`, `tokens`, `greedy_tokens` and `bytes` of what the assistant says; `cut` tokens at its end.

    Raises:
        CurateError: A conversation is not what it should be, or the model has no template for it.
    """
    given = column(rows, columns_of_training(task, model)["messages"], task.name, "messages")
    template = _template(model, _settings(model)[1])
    said = [_parsed(task, row, value) for row, value in zip(rows.rows, given, strict=True)]
    rendered = [_rendered(task, row, template, messages) for row, messages in zip(rows.rows, said, strict=True)]
    encoded, room = template.encode(rendered), model.length + 1
    losses = model.losses([tokens[:room] for tokens, _ in encoded])
    facts: dict[str, list[Any]] = {name: [] for name in ("cut", "nats", "tokens", "greedy_tokens", "bytes")}
    for messages, (tokens, mask), (nats, greedy) in zip(said, encoded, losses, strict=True):
        wanted, cut = mask[1 : len(nats) + 1], max(len(tokens) - room, 0)
        contents = [message.get("content") or "" for message in messages if message["role"] == "assistant"]
        if cut:
            read = np.array(tokens[1 : len(nats) + 1])[wanted].tolist()
            contents = [model.tokenizer.decode(read, skip_special_tokens=True)]
        facts["cut"].append(cut)
        facts["nats"].append(float(nats[wanted].sum(dtype=np.float64)))
        facts["tokens"].append(int(wanted.sum()))
        facts["greedy_tokens"].append(int(greedy[wanted].sum()))
        facts["bytes"].append(sum(len(one.encode()) for one in contents))
    return facts


def _rendered(task: ConversationTask, row: dict[str, Any], template: ChatTemplate, messages: Any) -> Rendered:
    try:
        return template.rendered(messages, _parsed(task, row, row["tools"]) if row.get("tools") else None)
    except CurateError as error:
        raise CurateError(f"the row {row['id']}: {error.problem}", f"task {task.name}", error.hint) from None


def _parsed(task: ConversationTask, row: dict[str, Any], value: Any) -> Any:
    try:
        return loads(value.encode()) if isinstance(value, str) else without_fillers(value)
    except ValueError:
        raise CurateError(
            f"the row {row['id']} has a string that is no JSON, where a list should be", f"task {task.name}: messages"
        ) from None


def _settings(model: TokenModel) -> tuple[DataSettings, str | None]:
    """Columns of the model's training, and the template of the conversations that it was trained on, if it was."""
    if model.training is not None:
        return model.training
    path = Path(model.name)
    checkpoint = checkpoint_of(path)
    if checkpoint is None:
        return DataSettings(), read_chat_template(path) if path.is_dir() else None
    stored = read_stored(checkpoint)
    return stored.config.data, stored.chat_template


def chat_template(model: TokenModel) -> ChatTemplate | None:
    """The template of the conversations that a model was trained on; None where it was trained on none."""
    source = _settings(model)[1]
    return None if source is None else _template(model, source)


def _template(model: TokenModel, source: str | None) -> ChatTemplate:
    known = roles_of(model.tokenizer, Path(model.name))
    if source in (None, DEFAULT_TEMPLATE):
        require(CHAT, known, Path(model.name))
    return ChatTemplate(model.tokenizer, known, None if source == DEFAULT_TEMPLATE else source)


def preferred(task: PreferenceTask, rows: Rows, model: TokenModel) -> dict[str, list[Any]]:
    """Facts of each row: `accuracy` (1: the chosen is likelier, 0.5: as likely), `log_probabilities`, `cut` prompt tokens.

    Prompts and answers are turns of a conversation where the model was trained on conversations, unless its training says
    `data.chat: false`.

    Raises:
        CurateError: A row lacks a column, or its turns are not what they should be.
    """
    (settings, source), known = _settings(model), roles_of(model.tokenizer, Path(model.name))
    values = [column(rows, name, task.name, setting) for setting, name in columns_of_training(task, model).items()]
    chat = source is not None if settings.chat is None else settings.chat
    template = _template(model, source) if chat else None
    triples = zip(
        *(values if template else ([model.encode([str(one) for one in some]) for some in values])), strict=True
    )
    pairs, cuts = list[tuple[list[int], int]](), list[int]()
    for row, (prompt, *both) in zip(rows.rows, triples, strict=True):
        if template:
            prompt, *both = _turns(task, row, template, (prompt, *both))
            both = [answer[: model.length] for answer in both]
        else:
            prompt = [known["start"], *prompt]
            both = [[*answer[: model.length - 1], known["end_of_text"]] for answer in both]
        cuts.append(max(len(prompt) + max(map(len, both)) - model.length - 1, 0))
        kept = prompt[cuts[-1] :] if template else [*prompt[:1], *prompt[1 + cuts[-1] :]]
        pairs += [([*kept, *answer], len(answer)) for answer in both]
    losses = model.losses([row for row, _ in pairs])
    logs = [-float(nats[-size:].sum(dtype=np.float64)) for (nats, _), (_, size) in zip(losses, pairs, strict=True)]
    both = list(zip(logs[::2], logs[1::2], strict=True))
    return {
        "cut": cuts,
        "accuracy": [0.5 * ((chosen > rejected) + (chosen >= rejected)) for chosen, rejected in both],
        "log_probabilities": [list(pair) for pair in both],
    }


def _turns(
    task: PreferenceTask, row: dict[str, Any], template: ChatTemplate, values: tuple[Any, ...]
) -> list[list[int]]:
    """Tokens of the prompt, the chosen and the rejected answer."""
    try:
        prompt, answers = exchange(dict(zip(EXCHANGE, values, strict=True)))
        tools = parsed_list(row["tools"]) if row.get("tools") else None
        asked, *wholes = template.exchange(prompt, [answers["chosen"], answers["rejected"]], tools)
    except CurateError as error:
        raise CurateError(f"the row {row['id']}: {error.problem}", f"task {task.name}", error.hint) from None
    return encode_exchange(template, asked, wholes)
