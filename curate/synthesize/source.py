"""A source whose documents a language model writes: `fetch` asks and keeps the answers, `read` makes documents of them.

What is asked decides the snapshot; what is taken of the answers (refusals, copies, a schema, a verifier) is decided when they
are read, so another threshold asks nobody again. A version rests on the answers that were given, for ever.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from curate.dataset.schema import JSON_FIELD
from curate.endpoint import TOKEN, chat_place
from curate.errors import CurateError
from curate.jsontext import dumps
from curate.stages.fetched import Desk, Fetched, erased_rows
from curate.stages.parts import Part, Passed, Rejected
from curate.synthesize.tasks import REASONS, SCHEMAS, Unfit, copied, documents_of, judged, messages_for, parsed_answer

if TYPE_CHECKING:
    import pyarrow as pa

    from curate.dataset.reader import Dataset
    from curate.dataset.store import Store
    from curate.synthesize.ask import Answer, Asker, Prompt

__all__ = ["Budget", "Synthesize"]

_BATCH = 256
_JSON = ("messages", "answer", "generated_parameters")
_NGRAM = 8


class Budget(BaseModel):
    """What may be spent on a snapshot, checked before each prompt is sent."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tokens: int | None = Field(default=None, ge=1, description="most tokens, read and written together")
    money: float | None = Field(default=None, gt=0, description="most money, by the prices")
    read_price: float = Field(default=0.0, ge=0, description="price of a million tokens that the model reads")
    write_price: float = Field(default=0.0, ge=0, description="price of a million tokens that it writes")

    @model_validator(mode="after")
    def _prices(self) -> Self:
        if self.money is not None and not (self.read_price and self.write_price):
            raise ValueError("`money` needs `read_price` and `write_price`")
        return self


class Synthesize(Fetched):
    """Documents that a model behind an OpenAI-compatible endpoint writes about those of a version of this store.

    Each answer is kept as it comes and paid once, whatever is killed or asked again. The token is in the variable that
    `token_from` names, and goes to the endpoint alone. Documents say what they were made of (`generated_from`), by which model,
    prompt (its hash), parameters, and when. What an answer does not give is quarantined by reason.
    """

    version: ClassVar[int] = 2
    planning: ClassVar[frozenset[str]] = frozenset({
        "dataset", "split", "limit", "task", "on", "answers", "prompt", "response_schema", "samples", "endpoint", "model",
        "temperature", "top_p", "max_tokens", "seed", "token_from", "budget", "concurrency", "seconds", "tries",
    })  # fmt: skip
    pace: ClassVar[frozenset[str]] = frozenset({"token_from", "budget", "concurrency", "seconds", "tries"})
    reasons: ClassVar[Mapping[str, str]] = REASONS

    dataset: str = Field(
        description="The documents that it is about: a dataset of this store, `NAME`, `NAME@TAG` or `NAME@ID`."
    )
    split: str | None = Field(None, description="Only this split of it; by default all.")
    limit: int | None = Field(None, ge=1, description="Only the first so many documents.")
    task: Literal["paraphrase", "questions", "instructions", "critique", "judge", "template"] = Field(
        description="`paraphrase` (text), `questions` and `instructions` (messages), `critique` (text, critique), `judge` "
        "(prompt, chosen, rejected: asked twice, in both orders), or a `template` of your own."
    )
    on: str = Field("text", description="Column of the text that it is about; for `judge`, of the prompt.")
    answers: tuple[str, str] = Field(("chosen", "rejected"), description="For `judge`: columns of the two answers.")
    prompt: str | None = Field(
        None,
        description="For `template`: a Jinja template over the document's columns, `Translate into Latin: {{ text }}`.",
    )
    response_schema: dict[str, Any] | None = Field(
        None,
        description="For `template`: JSON schema of the answer, which is then the column `answer`; by default it is `text`.",
    )
    samples: int = Field(1, ge=1, le=1000, description="Answers to each prompt.")
    endpoint: str = Field(description="URL of an endpoint that speaks chat completions, `http://127.0.0.1:8000/v1`.")
    model: str = Field(description="Name of the model there.")
    temperature: float = Field(0.7, ge=0, description="Of sampling.")
    top_p: float | None = Field(None, gt=0, le=1, description="Of sampling; null leaves it to the endpoint.")
    seed: int | None = Field(None, ge=0, description="Sent as `seed`, plus the number of the sample; null sends none.")
    max_tokens: int = Field(1024, ge=1, description="Most tokens of an answer.")
    token_from: str = Field(TOKEN, description="Environment variable with the token; it need not be set.")
    budget: Budget = Field(Budget(), description="What may be spent.")
    concurrency: int = Field(8, ge=1, le=256, description="Prompts under way at once.")
    seconds: float = Field(120.0, gt=0, description="That one try may take.")
    tries: int = Field(
        6,
        ge=1,
        le=50,
        description="How often a busy or broken endpoint is asked, later each time, as its `Retry-After` says.",
    )
    max_copied: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Largest share of an answer's word 8-grams that stand in the document; null: any. Not for `judge`.",
    )
    verifier: str | None = Field(
        None,
        description="`module:function` beside the pipeline file, called with the document's text and the answer's columns; "
        "what it does not say `True` of is `not_verified`.",
    )
    accept: Literal["all", "first"] = Field(
        "all",
        description="Of several samples, `all` that are sound, or the `first` of each document (rejection sampling).",
    )

    @model_validator(mode="after")
    def _settings_agree(self) -> Self:
        if (self.task == "template") != (self.prompt is not None):
            raise ValueError("`prompt` is the template of `task: template`, which needs one")
        if self.response_schema is not None and self.task != "template":
            raise ValueError("`response_schema` is for `task: template`; the others have their own")
        if self.verifier is not None and ":" not in self.verifier:
            raise ValueError("`verifier` is written `module:function`")
        return self

    def secrets(self) -> Sequence[str]:
        """The token."""
        return tuple(filter(None, [os.environ.get(self.token_from)]))

    def code_modules(self) -> Sequence[str]:
        """The verifier's module."""
        return (self.verifier.partition(":")[0],) if self.verifier else ()

    # ---- asking

    def fetch(self, desk: Desk) -> Mapping[str, Any]:
        """Ask about every document, some hundred prompts at a time; a fetch that was killed goes on behind the last ones kept.

        Raises:
            GateError: The budget does not reach.
            ResumableError: The endpoint does not answer.
        """
        dataset = self._dataset(desk)
        asker = self.asker(desk.store)
        prompts, each = self._prompts(dataset), self.samples * (2 if self.task == "judge" else 1)
        while some := list(islice(prompts, max(1, _BATCH // each) * each)):  # all about one document are in one piece
            answers = asker.answers([prompt for prompt, _ in some])
            table = _piece([(*one, answer) for one, answer in zip(some, answers, strict=True)], self._parameters())
            self._keep(desk, table, dataset.version, len(some))
            desk.say(f"{desk.state['asked']:,} answers, {asker.sent:,} of them asked for now; {asker.budget.told}")
        return {
            "address": f"synthesize/{self.model}", "endpoint": asker.place, "model": self.model, "version": dataset.version,
            "dataset": dataset.name, "read_tokens": asker.budget.read, "written_tokens": asker.budget.written,
        }  # fmt: skip

    def _keep(self, desk: Desk, table: pa.Table, version: str, count: int) -> None:
        before = desk.state.get("asked", 0) if desk.pieces else 0
        desk.keep(table, {"asked": before + count, "version": version})

    def _dataset(self, desk: Desk) -> Dataset:
        """The version that is asked about; of a fetch that goes on that which it began with, whose answers are found again."""
        from curate.dataset.reader import open_dataset
        from curate.tokenize.template import variables

        began = desk.state.get("version")
        desk.start_over()
        name = f"{self.dataset.partition('@')[0]}@{began}" if began else self.dataset
        dataset = open_dataset(name, desk.store)
        dataset.check_split(self.split)
        wanted = [self.on, *(self.answers if self.task == "judge" else ())]
        wanted = sorted(variables(self.prompt)) if self.prompt else wanted
        lacking = [name for name in wanted if name not in dataset.columns]
        if lacking:
            raise CurateError(
                f"`{dataset.name}` has no column `{lacking[0]}`", hint=f"there are: {', '.join(dataset.columns)}"
            )
        return dataset

    def asker(self, store: Store) -> Asker:
        """What asks, with the budget."""
        from curate.synthesize.ask import Asker
        from curate.synthesize.ask import Budget as Spent

        place, money = chat_place(self.endpoint, "endpoint"), self.budget
        spent = Spent(money.tokens, money.money, money.read_price, money.write_price)
        token = os.environ.get(self.token_from)
        return Asker(store, place, token, self._parameters(), spent, self.concurrency, self.seconds, self.tries)

    def _parameters(self) -> dict[str, Any]:
        found: dict[str, Any] = {"model": self.model, "temperature": self.temperature, "max_tokens": self.max_tokens}
        found |= {name: value for name in ("top_p", "seed") if (value := getattr(self, name)) is not None}
        if schema := self._schema():
            told = {"name": "answer", "schema": schema}
            found["response_format"] = {"type": "json_schema", "json_schema": told}
        return found

    def _schema(self) -> dict[str, Any] | None:
        return self.response_schema or SCHEMAS.get(self.task)

    def _prompts(self, dataset: Dataset) -> Iterator[tuple[Prompt, str]]:
        """Every prompt, and the text that it is about; documents without one are not asked about."""
        from curate.synthesize.ask import Prompt
        from curate.tokenize.template import compiled

        template = compiled(self.prompt) if self.prompt else None
        for document in islice(_documents(dataset, self.split), self.limit):
            source = str(document.get(self.on) or "")
            if not source.strip() and self.task != "template":
                continue
            for sample in range(self.samples):
                for order in ("as_given", "swapped") if self.task == "judge" else ("",):
                    messages = messages_for(
                        self.task,
                        document,
                        on=self.on,
                        answers=self.answers,
                        swapped=order == "swapped",
                        template=template,
                    )
                    kept = (
                        dumps({name: document.get(name) for name in (self.on, *self.answers)})
                        if self.task == "judge"
                        else source
                    )
                    yield Prompt(document["id"], sample, messages, order), kept

    def estimate(self, store: Store) -> str:
        """What a fetch would ask and cost at most, in words; nothing is asked.

        Raises:
            CurateError: There is no such dataset.
        """
        from curate.dataset.reader import open_dataset

        asker = self.asker(store)
        prompts = read = written = known = 0
        for prompt, _ in self._prompts(open_dataset(self.dataset, store)):
            prompts += 1
            fresh = asker.count(prompt)
            if answered := asker.known(prompt) is not None:
                known += 1
            if answered or not fresh:
                continue
            most = asker.most(prompt)
            read, written = read + most[0], written + most[1]
        money = asker.budget.cost(read, written)
        priced = f", at most {money:,.4f}" if self.budget.read_price or self.budget.write_price else ""
        fits = "" if asker.budget.allows(read, written) else "; that is more than the budget"
        paid = f" ({asker.budget.told})" if asker.budget.read or asker.budget.written else ""
        return (
            f"{prompts:,} prompts, {known:,} of them answered before{paid}; at most {read:,} tokens to read (English: some "
            f"{read // 4:,}) and {written:,} to write{priced}{fits}"
        )

    # ---- reading

    def read_from(self, store: Store, part: Part) -> Iterator[pa.Table | Rejected | Passed]:
        """The documents that the answers of a piece are."""
        rows = store.read_table(part.location.partition(":")[2]).to_pylist()
        verify = self._verifier()
        made: list[dict[str, Any]] = []
        passed, accepted = 0, set[str]()
        for place, some in enumerate(_asked_together(rows)):
            try:
                if self.accept == "first" and some[0]["document"] in accepted:
                    passed += 1
                    continue
                found = self._made(some, verify)
            except Unfit as problem:
                detail = f"{some[0]['document']}, sample {some[0]['sample']}"
                yield Rejected(place, problem.reason, f"{detail}: {problem.detail}" if problem.detail else detail)
                continue
            accepted.add(some[0]["document"])
            made += [{**one, **_provenance(some[0], self, number, part)} for number, one in enumerate(found)]
        if made:
            yield _table(made)
        if passed:
            yield Passed("not_needed", passed)
        yield from erased_rows(part)

    def _made(self, some: Sequence[Mapping[str, Any]], verify: Callable[..., Any] | None) -> list[dict[str, Any]]:
        values = []
        for row in some:
            if row["problem"]:
                raise Unfit(row["problem"])
            values.append(parsed_answer(row["answer"], row["finish"], self._schema()))
        if self.task == "judge":
            if len(values) < 2:  # the other was erased
                raise Unfit("endpoint_failed")
            return [_preferred(some[0]["source"], judged([value["better"] for value in values]), self.on, self.answers)]
        source = some[0]["source"]
        found = documents_of(self.task, values[0], schema=self.response_schema is not None)
        for one in found:
            said = one.get("text") or one.get("messages") or one.get("answer") or ""
            if self.max_copied is not None and copied(said, source, _NGRAM) > self.max_copied:
                raise Unfit("copies_prompt")
            if verify is not None and verify(source, one) is not True:
                raise Unfit("not_verified")
        return found

    def _verifier(self) -> Callable[..., Any] | None:
        if self.verifier is None:
            return None
        module, _, name = self.verifier.partition(":")
        try:
            return getattr(import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise CurateError(
                f"the verifier `{self.verifier}` cannot be loaded: {error}", hint="is it beside the pipeline file?"
            ) from None


def _documents(dataset: Dataset, split: str | None) -> Iterator[dict[str, Any]]:
    for batch in dataset.batches(split, batch_size=1000):
        yield from batch.to_pylist()


def _piece(asked: Sequence[tuple[Prompt, str, Answer]], parameters: Mapping[str, Any]) -> pa.Table:
    """Answers as a piece of a snapshot."""
    import pyarrow as pa

    rows = [
        {
            "@key": "/".join(filter(None, (prompt.document, str(prompt.sample), prompt.order))), "asked": answer.key,
            "document": prompt.document, "sample": prompt.sample, "order": prompt.order, "source": source,
            "prompt": dumps(list(prompt.messages)), "answer": answer.text, "finish": answer.finish, "model": answer.model,
            "asked_at": answer.at, "problem": answer.problem, "read": answer.read, "written": answer.written,
            "parameters": dumps(parameters),
        }
        for prompt, source, answer in asked
    ]  # fmt: skip
    numbers = ("sample", "read", "written")
    return pa.table(
        {
            name: pa.array([row[name] for row in rows], pa.int64() if name in numbers else pa.string())
            for name in rows[0]
        }
    )


def _asked_together(rows: Sequence[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    """Rows one by one; the two of a judge together."""
    waiting: list[Mapping[str, Any]] = []
    for row in rows:
        waiting.append(row)
        if row["order"] != "as_given":
            yield waiting
            waiting = []


def _preferred(source: str, better: str, on: str, answers: Sequence[str]) -> dict[str, Any]:
    """A pair in the order of the judge; of a tie, as it was given."""
    from curate.jsontext import loads

    given = loads(source)
    chosen, rejected = reversed(answers) if better == "second" else answers
    turned = {"prompt": given[on], "chosen": given[chosen], "rejected": given[rejected]}
    return {**turned, "judged": better}


def _provenance(row: Mapping[str, Any], stage: Synthesize, number: int, part: Part) -> dict[str, Any]:
    name = f"{row['document']}/{row['sample']}" + (f".{number}" if stage.task == "questions" else "")
    return {
        "id": f"{stage.task}/{name}", "source_uri": f"{part.extra['address']}#{row['@key']}" + (f".{number}" if number else ""),
        "generated_from": row["document"], "generated_by": row["model"] or stage.model, "generated_task": stage.task,
        "generated_prompt": row["asked"], "generated_parameters": row["parameters"], "generated_at": row["asked_at"],
    }  # fmt: skip


def _table(made: Sequence[dict[str, Any]]) -> pa.Table:
    import pyarrow as pa

    names = dict.fromkeys(name for one in made for name in one)
    fields = [pa.field(name, pa.string(), metadata={JSON_FIELD: b"1"} if name in _JSON else None) for name in names]
    return pa.table(
        [pa.array([one.get(name) for one in made], pa.string()) for name in names], schema=pa.schema(fields)
    )
