"""Keeps the conversations that can be learned from: by roles, order, tools, length, refusals, languages.

All that is counted is kept as features, so another threshold measures nothing again, and `curate what-if` tells what it
would do. Cost: benchmarks/chat.py; a tokenizer and the languages cost several times the rest.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, model_validator

from curate.chat.measure import COUNTS, REFUSALS, content_of, counts, parsed
from curate.errors import CurateError
from curate.filter.language import Language
from curate.stages.contract import Filter, Rule
from curate.stages.missing import needing

if TYPE_CHECKING:
    import pyarrow as pa

    from curate.tokenize.chat import ChatTemplate

__all__ = ["Chat"]

Messages = list[dict[str, Any]]
_CODE = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
_LEAST_LETTERS = 40
_CERTAIN = 0.8


class Chat(Filter):
    """Drops conversations with something wrong in them: turns, tool calls, length, refusals, a mixture of languages.

    It reads `messages` and `tools` as `chat_format` leaves them; `chat_repair` before it puts right what can be. Each thing is
    counted, and the count is held against its setting; null turns a rule off.
    """

    version: ClassVar[int] = 2
    reads_text: ClassVar[bool] = False
    libraries: ClassVar[tuple[str, ...]] = ("tokenizers", "jinja2", "fasttext-predict")
    batch: ClassVar[int] = 256
    thresholds: ClassVar[frozenset[str]] = frozenset({
        "max_unknown_roles", "max_misplaced_turns", "max_empty_turns", "min_answers", "max_bad_calls",
        "max_unmatched_calls", "max_bad_arguments", "max_unknown_tools", "max_wrong_arguments", "max_open_reasoning",
        "min_turns", "max_turns", "min_tokens", "max_tokens", "max_refusals", "max_other_language",
    })  # fmt: skip
    reasons: ClassVar[Mapping[str, str]] = {
        "not_a_conversation": "no list of turns in its column",
        "unknown_role": "more turns of roles other than system, user, assistant and tool than `max_unknown_roles`",
        "misplaced_turn": "more turns out of order than `max_misplaced_turns`: two of a role in a row, no answer at the end",
        "empty_turn": "more turns without a word or a call than `max_empty_turns`",
        "no_answer": "fewer turns of the assistant than `min_answers`",
        "bad_call": "more calls without a function's name, or in place of a list of calls something else, than `max_bad_calls`",
        "unmatched_call": "more tool calls without an answer, or answers without a call, than `max_unmatched_calls`",
        "bad_arguments": "more calls whose arguments are no JSON object than `max_bad_arguments`",
        "unknown_tool": "more calls of functions that are not among `tools` than `max_unknown_tools`",
        "wrong_arguments": "more calls that lack a required argument or have one that the tool does not name than "
        "`max_wrong_arguments`",
        "open_reasoning": "more turns that do not come to the end of their `<think>` than `max_open_reasoning`",
        "too_few_turns": "fewer turns than `min_turns`",
        "too_many_turns": "more turns than `max_turns`",
        "template_refuses": "the chat template cannot write it",
        "too_short": "fewer tokens than `min_tokens`",
        "too_long": "more tokens than `max_tokens`",
        "refusal": "more turns that begin with a refusal than `max_refusals`",
        "mixed_languages": "a larger share of answers in another language than the turn before than `max_other_language`",
    }

    column: str = Field("messages", description="Column of the conversations.")
    tools: str = Field("tools", description="Column of the tools that they may call; documents need not have it.")
    max_unknown_roles: int | None = Field(0, ge=0, description="Most turns of unknown roles.")
    max_misplaced_turns: int | None = Field(
        0,
        ge=0,
        description="Most turns out of order: a system turn first if any, users and assistants in turns, tools behind calls, "
        "an assistant last.",
    )
    max_empty_turns: int | None = Field(0, ge=0, description="Most turns without a word or a call.")
    min_answers: int | None = Field(1, ge=0, description="Fewest turns of the assistant.")
    max_bad_calls: int | None = Field(0, ge=0, description="Most calls that name no function, or are no list.")
    max_unmatched_calls: int | None = Field(
        0, ge=0, description="Most calls and results without each other; calls of the last turn may stand open."
    )
    max_bad_arguments: int | None = Field(0, ge=0, description="Most calls whose arguments are no JSON object.")
    max_unknown_tools: int | None = Field(
        0,
        ge=0,
        description="Most calls of functions that are not among the tools. Conversations without tools have none.",
    )
    max_wrong_arguments: int | None = Field(
        0,
        ge=0,
        description="Most calls whose arguments the tool's schema does not allow: one lacks, or is not named there.",
    )
    max_open_reasoning: int | None = Field(0, ge=0, description="Most answers with a `<think>` that does not end.")
    min_turns: int | None = Field(None, ge=1, description="Fewest turns, all roles counted.")
    max_turns: int | None = Field(None, ge=1, description="Most turns.")
    tokenizer: str | None = Field(
        None,
        description="A tokenizer.json, or a folder that has one, to count tokens by; without it words are not counted.",
    )
    chat_template: str | None = Field(
        None,
        description="File of the Jinja template that writes conversations; by default `chat_template.jinja` beside the "
        "tokenizer, else that of this package. Not used without `tokenizer`.",
    )
    min_tokens: int | None = Field(
        None, ge=0, description="Fewest tokens, as the template writes it. Needs `tokenizer`."
    )
    max_tokens: int | None = Field(None, ge=1, description="Most tokens. Needs `tokenizer`.")
    max_refusals: int | None = Field(
        None, ge=0, description="Most answers that begin with a refusal; by default they are counted and kept."
    )
    refusals: tuple[str, ...] = Field(
        REFUSALS,
        description="How refusals begin, in lower case; looked for where sentences begin in the first 200 characters of each "
        "answer.",
    )
    languages: bool = Field(
        False,
        description="Tell the languages of turns of at least 40 letters, code left out, where lid.176 is at least 0.8 sure.",
    )
    max_other_language: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Largest share of answers in another language than the turn before. Needs `languages`.",
    )

    @model_validator(mode="after")
    def _settings_agree(self) -> Self:
        if self.tokenizer is None and (self.min_tokens, self.max_tokens, self.chat_template) != (None, None, None):
            raise ValueError("`min_tokens`, `max_tokens` and `chat_template` need `tokenizer:`, which counts tokens")
        if self.max_other_language is not None and not self.languages:
            raise ValueError("`max_other_language` needs `languages: true`, which tells them")
        return self

    def columns(self) -> Sequence[str]:
        """The conversations and their tools."""
        return self.column, self.tools

    def requires(self) -> Sequence[str]:
        """The conversations."""
        return (self.column,)

    def model_files(self) -> Sequence[Path]:
        """The tokenizer, what says what its special tokens are for, the template, the model of languages."""
        found = list(Language.model_validate({}).model_files()) if self.languages else []
        path, template = self._files()
        beside = [path, *(path.parent / name for name in ("tokenizer_config.json", "config.json"))] if path else []
        return [*found, *(one for one in (*beside, template) if one and one.is_file())]

    def _files(self) -> tuple[Path | None, Path | None]:
        """The tokenizer's and the template's file."""
        from curate.tokenize.tokenizer import tokenizer_file

        if self.tokenizer is None:
            return None, None
        path = tokenizer_file(Path(self.tokenizer).expanduser())
        beside = path.parent / "chat_template.jinja"
        template = Path(self.chat_template).expanduser() if self.chat_template else beside if beside.is_file() else None
        if template and not template.is_file():
            raise CurateError("there is no chat template here", str(template), "name a Jinja file in `chat_template:`")
        return path, template

    @needing("chat")
    def open(self) -> Callable[[pa.Table], pa.Table]:
        """Measures all that is counted, `tokens`, `written` (by the template) and `other_language`."""
        import pyarrow as pa

        template = self._template()
        language = Language.model_validate({}).open() if self.languages else None

        def measure(batch: pa.Table) -> pa.Table:
            there = self.tools in batch.column_names
            tools = batch.column(self.tools).to_pylist() if there else [None] * batch.num_rows
            found = list(map(parsed, batch.column(self.column).to_pylist()))
            rows = [_counted(turns, tool, self.refusals) for turns, tool in zip(found, tools, strict=True)]
            columns = {name: pa.array([row and row[name] for row in rows], pa.int32()) for name in COUNTS}
            columns["conversation"] = pa.array([int(row is not None) for row in rows], pa.int8())
            if template:
                sizes = [turns and _tokens(template, turns, tool) for turns, tool in zip(found, tools, strict=True)]
                columns["tokens"] = pa.array(sizes, pa.int32())
                columns["written"] = pa.array([int(size is not None) for size in sizes], pa.int8())
            if language:
                columns["other_language"] = pa.array(_other_language(found, language), pa.float64())
            return pa.table(columns)

        return measure

    def rules(self) -> Sequence[Rule]:
        """What makes it no conversation first, then tools, lengths, and what it says."""
        lengths = (
            (
                Rule("template_refuses", "written", minimum=1),
                Rule("too_short", "tokens", minimum=self.min_tokens),
                Rule("too_long", "tokens", maximum=self.max_tokens),
            )
            if self.tokenizer
            else ()
        )
        return (
            Rule("not_a_conversation", "conversation", minimum=1),
            Rule("unknown_role", "unknown_roles", maximum=self.max_unknown_roles),
            Rule("no_answer", "answers", minimum=self.min_answers),
            Rule("empty_turn", "empty_turns", maximum=self.max_empty_turns),
            Rule("misplaced_turn", "misplaced_turns", maximum=self.max_misplaced_turns),
            Rule("bad_call", "bad_calls", maximum=self.max_bad_calls),
            Rule("bad_arguments", "bad_arguments", maximum=self.max_bad_arguments),
            Rule("unknown_tool", "unknown_tools", maximum=self.max_unknown_tools),
            Rule("wrong_arguments", "wrong_arguments", maximum=self.max_wrong_arguments),
            Rule("unmatched_call", "unmatched_calls", maximum=self.max_unmatched_calls),
            Rule("open_reasoning", "open_reasoning", maximum=self.max_open_reasoning),
            Rule("too_few_turns", "turns", minimum=self.min_turns),
            Rule("too_many_turns", "turns", maximum=self.max_turns),
            *lengths,
            Rule("refusal", "refusals", maximum=self.max_refusals),
            *((Rule("mixed_languages", "other_language", maximum=self.max_other_language),) if self.languages else ()),
        )

    def _template(self) -> ChatTemplate | None:
        from curate.tokenize.chat import ChatTemplate
        from curate.tokenize.roles import roles_of
        from curate.tokenize.tokenizer import load_tokenizer

        path, source = self._files()
        if path is None:
            return None
        tokenizer = load_tokenizer(path)
        written = source.read_text(encoding="utf-8") if source else None
        return ChatTemplate(tokenizer, roles_of(tokenizer, path.parent), written)


def _counted(turns: Messages | None, tools: Any, phrases: Sequence[str]) -> dict[str, int] | None:
    return None if turns is None else counts(turns, tools, phrases)


def _tokens(template: ChatTemplate, turns: Messages, tools: Any) -> int | None:
    """How many tokens the template makes of a conversation; None where it cannot write it."""
    said = [{**turn, "content": template.null} if turn.get("content") is None else turn for turn in turns]
    try:
        text = template.render(said, tools=parsed(tools))
    except CurateError:
        return None
    return len(template.open.encode(text, add_special_tokens=False))


def _other_language(found: Sequence[Messages | None], language: Callable[[pa.Table], pa.Table]) -> list[float | None]:
    """Of each conversation the share of answers in another language than the turn before, of those where both are sure."""
    import pyarrow as pa

    texts: list[str] = []
    pairs: list[list[tuple[int, int]]] = []
    for turns in found:
        mine: list[tuple[int, int]] = []
        for before, turn in zip(turns or (), (turns or [])[1:], strict=False):
            if (before.get("role"), turn.get("role")) == ("user", "assistant"):
                mine.append((len(texts), len(texts) + 1))
                texts += [_prose(before), _prose(turn)]
        pairs.append(mine)
    told = language(pa.table({"text": pa.array(texts, pa.string())}))
    names, scores = told.column("language").to_pylist(), told.column("language_score").to_pylist()
    sure = [
        name if score is not None and score >= _CERTAIN and sum(map(str.isalpha, text)) >= _LEAST_LETTERS else None
        for name, score, text in zip(names, scores, texts, strict=True)
    ]
    shares: list[float | None] = []
    for turns, mine in zip(found, pairs, strict=True):
        both = [(sure[one], sure[other]) for one, other in mine if sure[one] and sure[other]]
        other = sum(one != two for one, two in both)
        shares.append(None if turns is None else other / len(both) if both else 0.0)
    return shares


def _prose(turn: Mapping[str, Any]) -> str:
    return _CODE.sub(" ", content_of(turn))
