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
from curate.tokenize.chat import ChatTemplate, Rendered
from curate.tokenize.roles import CHAT, require, roles_of
from curate.train.settings.blocks import DataSettings
from curate.train.weights.origin import checkpoint_of, read_stored

__all__ = ["assistant_losses", "columns_of_training", "preferred"]


def columns_of_training(task: ConversationTask | PreferenceTask, model: TokenModel) -> dict[str, str]:
    """The columns that a task reads, by setting: its own, else those of the training."""
    settings = _settings(model)
    names = ("messages",) if isinstance(task, ConversationTask) else ("prompt", "chosen", "rejected")
    return {name: getattr(task, name) or getattr(settings, name) for name in names}


def assistant_losses(task: ConversationTask, rows: Rows, model: TokenModel) -> dict[str, list[Any]]:
    """Facts of each row: `nats`, `tokens`, `greedy_tokens` and `bytes` of what the assistant says; `cut` tokens at its end.

    Raises:
        CurateError: A conversation is not what it should be, or the model has no template for it.
    """
    given = column(rows, columns_of_training(task, model)["messages"], task.name, "messages")
    template = _template(model, _settings(model))
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


def _settings(model: TokenModel) -> DataSettings:
    checkpoint = checkpoint_of(Path(model.name))
    return read_stored(checkpoint).config.data if checkpoint else DataSettings()


def _template(model: TokenModel, settings: DataSettings) -> ChatTemplate:
    known, beside = roles_of(model.tokenizer, Path(model.name)), Path(model.name) / "chat_template.jinja"
    path = Path(settings.chat_template) if settings.chat_template else beside
    if settings.chat_template or path.is_file():
        try:
            return ChatTemplate(model.tokenizer, known, path.read_text())
        except (OSError, UnicodeDecodeError) as error:
            raise CurateError(f"the template of conversations cannot be read: {error}", str(path)) from None
    require(CHAT, known, Path(model.name))
    return ChatTemplate(model.tokenizer, known)


def preferred(task: PreferenceTask, rows: Rows, model: TokenModel) -> dict[str, list[Any]]:
    """Facts of each row: `accuracy` (the chosen answer is likelier), `log_probabilities` of both, `cut` tokens of the prompt.

    Raises:
        CurateError: A row lacks a column.
    """
    known = roles_of(model.tokenizer, Path(model.name))
    texts = [
        [str(one) for one in column(rows, name, task.name, setting)]
        for setting, name in columns_of_training(task, model).items()
    ]
    prompts, *answers = map(model.encode, texts)
    pairs, cuts = list[tuple[list[int], int]](), list[int]()
    for prompt, *both in zip(prompts, *answers, strict=True):
        room = model.length - 1 - min(max(map(len, both)), model.length - 1)
        cuts.append(max(len(prompt) - room, 0))
        for answer in both:
            kept = answer[: model.length - 1]
            row = [known["start"], *prompt[cuts[-1] :], *kept, known["end_of_text"]]
            pairs.append((row, len(kept) + 1))
    losses = model.losses([row for row, _ in pairs])
    logs = [-float(nats[-size:].sum(dtype=np.float64)) for (nats, _), (_, size) in zip(losses, pairs, strict=True)]
    both = list(zip(logs[::2], logs[1::2], strict=True))
    return {
        "cut": cuts,
        "accuracy": [float(chosen > rejected) for chosen, rejected in both],
        "log_probabilities": [list(pair) for pair in both],
    }
