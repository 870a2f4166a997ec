"""`curate generate`: what a model says to prompts, one by one or many at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.errors import CurateError
from curate.evaluation.models.contract import Completion
from curate.evaluation.models.generation import Generation, Sampling
from curate.evaluation.models.tokens import TokenModel, rows_of
from curate.evaluation.tasks.chat import chat_template
from curate.evaluation.tasks.data import read_files
from curate.tokenize.chat import ChatTemplate
from curate.tokenize.fields import messages_in
from curate.tokenize.roles import FILL, fill_roles
from curate.tokenize.turns import encode_exchange

__all__ = ["Prompt", "Speaker", "best_of", "read_prompts"]

Messages = list[dict[str, Any]]
MOST = 256
Prompt = str | Messages
"""A text, or the turns of a conversation."""


@dataclass
class Speaker:
    """A model, and how it is to speak.

    Attributes:
        model: A language model on this machine.
        template: Of its conversations; None: it goes on with plain text.
        system: What a conversation begins with.
        most: Most new tokens.
        stop: Strings that end what it says.
        sampling: How a token is chosen.
        rows: Most texts at a time; None: as many as fit in some thousand tokens.
        suffix: What stands behind what it says: it fills in between.
    """

    model: TokenModel
    template: ChatTemplate | None
    system: str | None
    most: int
    stop: Sequence[str]
    sampling: Sampling
    rows: int | None = None
    suffix: str | None = None

    @classmethod
    def of(cls, model: Any, *, plain: bool, system: str | None, most: int | None, **how: Any) -> Speaker:
        """A speaker of an opened model; `most` None is MOST, or half of what it reads.

        Raises:
            CurateError: It does not predict the next token here, has no room for an answer, no template for what is asked,
                or no tokens for a text whose middle is to be filled in.
        """
        if not isinstance(model, TokenModel):
            raise CurateError(
                f"the model {model.name} writes no text here", "MODEL", "`curate predict` asks models with a head"
            )
        fills = how.get("suffix") is not None
        if fills and len(fill_roles(model.tokenizer)) < len(FILL):
            raise CurateError(
                f"{model.name} cannot fill in a middle: its tokenizer has no tokens for one",
                "--suffix",
                "train with `objective.fill_in_the_middle`",
            )
        template = None if plain or fills else chat_template(model)
        if system is not None and template is None:
            raise CurateError(
                "there is no system's turn in plain text",
                "--system",
                "it is of models that were trained on conversations",
            )
        made = cls(model, template, system, most or min(MOST, model.length // 2), **how)
        if made.room < 1:
            raise CurateError(
                f"{made.most} new tokens leave no room for a prompt: {model.name} reads {model.length} tokens at once",
                "--new-tokens", f"at most {model.length - 1}",
            )  # fmt: skip
        return made

    @property
    def room(self) -> int:
        """Most tokens of a prompt."""
        return self.model.length - self.most

    def encode(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """The tokens of prompts, however long.

        Raises:
            CurateError: A conversation is given to a model that knows none, or is not what it should be.
        """
        return [self._encode(prompt, number) for number, prompt in enumerate(prompts, 1)]

    def _encode(self, prompt: Prompt, number: int) -> list[int]:
        if self.template is None:
            if not isinstance(prompt, str):
                raise CurateError(
                    f"prompt {number} is a conversation, and {self.model.name} was trained on none", hint="give a text"
                )
            if self.suffix is not None:
                return self._around(prompt, self.suffix)
            return self.model.encode([prompt])[0] or [self.model.prefix]
        turns: Messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        if self.system is not None:
            turns = [{"role": "system", "content": self.system}, *turns]
        try:
            (asked,) = self.template.exchange(turns, [])
        except CurateError as error:
            raise CurateError(f"prompt {number}: {error.problem}", hint=error.hint) from None
        return encode_exchange(self.template, asked, [])[0]

    def _around(self, before: str, behind: str) -> list[int]:
        """A text with a gap, as documents are rearranged in training (`curate.train.data.middle`)."""
        first, last = self.model.encode([before, behind])
        prefix, suffix, middle = (fill_roles(self.model.tokenizer)[role] for role in FILL)
        made = [self.model.prefix, prefix, *first, suffix, *last, middle]
        if len(made) > self.room:
            raise CurateError(
                f"the text around the gap has {len(made):,} tokens, and {self.model.name} has room for {self.room:,}",
                hint="give less of it, or fewer --new-tokens",
            )
        return made

    def say(
        self,
        prompts: Sequence[list[int]],
        *,
        done: Callable[[int], None] = lambda count: None,
        tell: Callable[[int, str], None] | None = None,
    ) -> list[Completion]:
        """What it says to prompts of `encode`; one that is too long loses its begin, which is counted.

        Args:
            prompts: Their tokens.
            done: Is told how many have ended.
            tell: Is told pieces of text as they come, by the number of the prompt.
        """
        kept = [prompt[-self.room :] for prompt in prompts]
        turn_end = None if self.template is None else self.template.turn_end
        end = self.model.end if turn_end is None else self.model.end | {turn_end}
        generation = Generation(
            self.model, most=self.most, end=end, stop=self.stop, sampling=self.sampling, done=done, tell=tell
        )
        rows = self.rows or rows_of(max(map(len, kept), default=0) + self.most)
        found = generation.continued(kept, rows=rows)
        return [
            one._replace(cut=len(prompt) - len(rest)) for one, prompt, rest in zip(found, prompts, kept, strict=True)
        ]


def best_of(
    rows: Sequence[dict[str, Any]],
    each: int,
    *,
    system: str | None,
    score: Callable[[Sequence[Any], Sequence[Any]], list[float]],
) -> list[dict[str, Any]]:
    """Of the texts for each prompt the one with the highest score, of equal ones the first (rejection sampling).

    A score that is no number is null, and the best one only where all are.

    Args:
        rows: `prompt`, `text` and more, `each` of them for a prompt, one after the other.
        each: Texts of a prompt.
        system: What the conversations began with.
        score: From prompts and answers to scores.

    Returns:
        Its row with `score`, `scores` of all texts of the prompt, and `messages`: a conversation to fine-tune on.
    """
    before: Messages = [] if system is None else [{"role": "system", "content": system}]
    prompts = [row["prompt"] for row in rows]
    asked = [[*before, *([{"role": "user", "content": one}] if isinstance(one, str) else one)] for one in prompts]
    given = [one if isinstance(one, str) and not before else turns for one, turns in zip(prompts, asked, strict=True)]
    scores, found = score(given, [row["text"] for row in rows]), list[dict[str, Any]]()
    shown = [one if math.isfinite(one) else None for one in scores]
    ranks = [-math.inf if one is None else one for one in shown]
    for start in range(0, len(rows), each):
        place = start + ranks[start : start + each].index(max(ranks[start : start + each]))
        messages = [*asked[place], {"role": "assistant", "content": rows[place]["text"]}]
        found.append({
            **rows[place], "score": shown[place], "scores": shown[start : start + each], "messages": messages,
        })  # fmt: skip
    return found


def read_prompts(path: Path, column: str | None) -> list[Prompt]:
    """The prompts of a file: a text a line, or rows with a column `prompt` or `messages`.

    Raises:
        CurateError: There is no such file or column, or no prompt in it.
    """
    if not path.is_file():
        raise CurateError("there is no such file", str(path))
    if path.suffix in ("", ".txt"):
        try:
            found: list[Prompt] = [line for line in path.read_text("utf-8").splitlines() if line.strip()]
        except UnicodeDecodeError as error:
            raise CurateError(f"this is no UTF-8 text: byte {error.start + 1:,}", str(path)) from None
        if not found:
            raise CurateError("there is no prompt in this file", str(path), "a prompt is a line of text")
        return found
    rows, _ = read_files((str(path),), (), where=str(path))
    if not rows:
        raise CurateError("there is no prompt in this file", str(path))
    name = column or next((one for one in ("prompt", "messages") if one in rows[0]), None)
    if name is None or name not in rows[0]:
        there = ", ".join(key for key in rows[0] if key != "id")
        raise CurateError(f"no column `{name or 'prompt'}`", str(path), f"--column is one of: {there}")
    values = [(row["id"], row.get(name)) for row in rows]
    empty = next((identity for identity, value in values if not value), None)
    if empty is not None:
        raise CurateError(
            f"the row {empty} has no `{name}`", str(path), "all rows of a file have their prompt in one column"
        )
    strange = next((row for row, value in values if not isinstance(value, str) and messages_in(value) is None), None)
    if strange is not None:
        raise CurateError(f"the row {strange} has neither a text nor messages in `{name}`", str(path))
    return [messages_in(value) or str(value) for _, value in values]
