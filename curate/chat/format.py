"""Rows of conversations in whatever form, as `messages`; of pairs as `prompt`, `chosen` and `rejected`.

Cost: about 14,000 rows of two turns a CPU second, 4,000 with several tool calls (benchmarks/chat.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, field_validator

from curate.chat.forms import COLUMNS, READERS, REASONS, Chat, Misfit, detect
from curate.chat.measure import content_of
from curate.dataset.fillers import without_fillers
from curate.stages.contract import Effect, Mapper, Verdicts

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ChatFormat"]

Role = Literal["system", "user", "assistant", "tool"]
_CONVERSATION, _PAIR = ("messages", "tools"), ("prompt", "chosen", "rejected", "tools")


class ChatFormat(Mapper):
    """Turns conversations of any of the usual forms into `messages`, and pairs into `prompt`, `chosen`, `rejected`.

    The columns hold lists of `{role, content}`, with `tool_calls` as OpenAI has them (arguments as objects) and `tools` beside
    them: what `curate train` and the chat templates of Hugging Face read. Behind a form that is named its own columns are
    gone; with `auto` they stay, since a row may have a column that is not of its form. A row that does not fit is
    quarantined, with the reason and the number of the turn.
    """

    reads_text: ClassVar[bool] = False
    json_columns: ClassVar[frozenset[str]] = frozenset({*_CONVERSATION, *_PAIR})
    reasons: ClassVar[Mapping[str, str]] = REASONS

    form: Literal["auto", "openai", "sharegpt", "alpaca", "prompt_completion", "preference"] = Field(
        "auto",
        description="The form that the rows have; `auto` tells it for each row by the columns that have a value (of several "
        "the first of `openai`, `sharegpt`, `alpaca`, `prompt_completion`). Pairs are never guessed.",
    )
    names: dict[str, str] = Field(
        {},
        description="Columns that are called otherwise, by the form's own names: `{prompt: question, completion: answer}`.",
    )
    roles: dict[str, Role] = Field(
        {}, description="Names of roles beside the usual ones (`human`, `gpt`, `observation`, ...): `{Kunde: user}`."
    )

    first_prompt: str | None = Field(
        None,
        description="Name of a further column for what the user says first, as plain text: to find duplicates by it "
        "(`exact_duplicates: on: NAME`).",
    )
    keep: bool = Field(False, description="Keep the columns of the old form, too.")

    @field_validator("first_prompt")
    @classmethod
    def _free(cls, value: str | None) -> str | None:
        if value in (*_CONVERSATION, *_PAIR, "id", "text", "source_uri"):
            raise ValueError(f"`{value}` is another column's name")
        return value

    @field_validator("names")
    @classmethod
    def _known(cls, value: dict[str, str]) -> dict[str, str]:
        names = dict.fromkeys(name for columns in COLUMNS.values() for name in columns)
        if unknown := [name for name in value if name not in names]:
            raise ValueError(f"no form has a column `{unknown[0]}`; they have {', '.join(names)}")
        return value

    def columns(self) -> Sequence[str]:
        """All that a form may have."""
        forms = [form for form in COLUMNS if form != "preference"] if self.form == "auto" else [self.form]
        names = dict.fromkeys(name for form in forms for name in COLUMNS[form])
        names |= {"chosen": None} if self.form == "auto" else {}
        return [self.names.get(name, name) for name in names]

    def adds(self) -> Sequence[str]:
        """The one form."""
        return (*self._form(), *([self.first_prompt] if self.first_prompt else []))

    def _form(self) -> tuple[str, ...]:
        return _PAIR if self.form == "preference" else _CONVERSATION

    def consumes(self, columns: pa.Schema) -> Sequence[str]:
        """What was read of a form that is named."""
        read = () if self.form == "auto" or self.keep else self.columns()
        return [name for name in columns.names if name in read and name not in self.adds()]

    def open(self) -> Callable[[pa.Table], Effect]:
        """A row at a time."""

        def convert(batch: pa.Table) -> Effect:
            import pyarrow as pa

            verdicts = Verdicts()
            own = {theirs: ours for ours, theirs in self.names.items()}
            wanted = [name for name in self.columns() if name in batch.column_names]
            rows = batch.select(wanted).rename_columns([own.get(name, name) for name in wanted]).to_pylist()
            plain = map(without_fillers, rows or [{}] * batch.num_rows)  # JSON text has its own nulls
            found = [self._converted(row, number, verdicts) for number, row in enumerate(plain)]
            columns = {name: _column([getattr(one, name) for one in found]) for name in self._form()}
            if self.first_prompt:
                columns[self.first_prompt] = pa.array(list(map(_first_prompt, found)), pa.string())
            return Effect(verdicts.table(), columns)

        return convert

    def _converted(self, row: dict[str, Any], number: int, verdicts: Verdicts) -> Chat:
        try:
            return READERS[detect(row) if self.form == "auto" else self.form](row, self.roles)
        except Misfit as problem:
            verdicts.quarantine(number, problem.reason, detail=problem.detail)
            return Chat()


def _first_prompt(chat: Chat) -> str | None:
    """What the user says first."""
    turns = chat.messages or chat.prompt or ()
    return next((content_of(turn) for turn in turns if turn["role"] == "user"), None)


def _column(values: Sequence[Any]) -> pa.Array:
    """Values as their JSON text."""
    import pyarrow as pa

    from curate.jsontext import dumps

    return pa.array([None if value is None else dumps(value) for value in values], pa.string())
