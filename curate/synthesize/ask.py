"""Prompts to an endpoint, and its answers, each paid once: `answers/ab/<key>.json` in the store, written as it comes.

The key is a hash of the model, the messages, the parameters and the number of the sample, so a fetch that was killed, and
any other that asks the same, finds what was answered. What is under way when the process dies is asked again: at most
`concurrency` prompts.
The budget is held against what all answers cost, those that were found among them, so a kill changes nothing. Before a
prompt is sent the most that it can cost is put aside: the bytes of its messages as tokens, and `max_tokens` of answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from curate.dataset.runs import now
from curate.dataset.store import Store, canonical_json
from curate.endpoint import Refused, ask
from curate.errors import GateError, ResumableError

__all__ = ["Answer", "Asker", "Budget", "Prompt"]

Messages = Sequence[Mapping[str, str]]
REFUSED, UNANSWERED = "endpoint_refused", "endpoint_failed"


class Prompt(NamedTuple):
    """What is asked.

    Attributes:
        document: Id of the document that it is about.
        sample: Which of the answers to the same it is to be.
        messages: The conversation.
        order: Of a judge: whether the answers stand `as_given` or `swapped`; else empty.
    """

    document: str
    sample: int
    messages: Messages
    order: str = ""


class Answer(NamedTuple):
    """What was answered.

    Attributes:
        key: Of the prompt.
        text: What it says; None where there is none.
        finish: Why it ended: `stop`, `length`, `content_filter`.
        model: What the endpoint says that it is.
        read: Tokens of the prompt.
        written: Tokens of the answer.
        at: When (UTC, ISO 8601).
        problem: Why there is no answer.
    """

    key: str
    text: str | None
    finish: str | None
    model: str | None
    read: int
    written: int
    at: str
    problem: str | None = None


@dataclass(slots=True)
class Budget:
    """What may be spent.

    Attributes:
        tokens: Most tokens, read and written together; None: any number.
        money: Most money, in the currency of the prices.
        read_price: Of a million tokens read.
        write_price: Of a million tokens written.
    """

    tokens: int | None = None
    money: float | None = None
    read_price: float = 0.0
    write_price: float = 0.0
    read: int = 0
    written: int = 0

    def cost(self, read: int, written: int) -> float:
        """Money for so many tokens."""
        return (read * self.read_price + written * self.write_price) / 1e6

    def allows(self, read: int, written: int) -> bool:
        """Whether so much more may be spent."""
        read, written = self.read + read, self.written + written
        over = self.tokens is not None and read + written > self.tokens
        return not over and (self.money is None or self.cost(read, written) <= self.money)

    def spend(self, answer: Answer) -> None:
        """Count an answer."""
        self.read += answer.read
        self.written += answer.written

    @property
    def told(self) -> str:
        """What was spent, in words."""
        money = f", {self.cost(self.read, self.written):,.4f}" if self.read_price or self.write_price else ""
        return f"{self.read:,} tokens read, {self.written:,} written{money}"


@dataclass
class Asker:
    """Asks an endpoint.

    Attributes:
        store: Where answers are kept.
        place: Of `chat_place`.
        token: Goes to the endpoint and nowhere else.
        parameters: `model`, `temperature`, `max_tokens` and the like.
        budget: What may be spent.
        concurrency: Prompts under way at once.
        seconds: That a try may take.
        tries: Of a prompt.
    """

    store: Store
    place: str
    token: str | None
    parameters: Mapping[str, Any]
    budget: Budget
    concurrency: int
    seconds: float
    tries: int
    sent: int = field(default=0, init=False)

    def key(self, prompt: Prompt) -> str:
        """What an answer is known by."""
        asked = [dict(self.parameters), list(prompt.messages), prompt.sample]
        return hashlib.sha256(canonical_json(asked)).hexdigest()

    def most(self, prompt: Prompt) -> tuple[int, int]:
        """The most tokens that a prompt can cost: a token has at least a byte, and a turn some more."""
        size = sum(len(turn["content"].encode()) + 16 for turn in prompt.messages)
        return size, int(self.parameters["max_tokens"])

    def known(self, prompt: Prompt) -> Answer | None:
        """The answer that is there."""
        key = self.key(prompt)
        found = self.store.read_sealed(_place(key))
        return Answer(**{"key": key, **found}) if found else None

    def answers(self, prompts: Sequence[Prompt]) -> list[Answer]:
        """The answers to some prompts, in their order; known ones cost nothing and are counted.

        Raises:
            GateError: The budget does not reach for the next one.
            ResumableError: The endpoint answered none of those that had to be asked.
        """
        found: dict[int, Answer] = {}
        for number, prompt in enumerate(prompts):
            if (answer := self.known(prompt)) is not None:
                found[number] = answer
                self.budget.spend(answer)
        missing = [number for number in range(len(prompts)) if number not in found]
        asked = dict(self._ask(prompts, missing))
        if asked and all(answer.problem == UNANSWERED for answer in asked.values()):
            raise ResumableError(
                f"the endpoint answers none of {len(asked)} prompts",
                self.place,
                "what was answered is kept; the same command goes on",
            )
        found |= asked
        return [found[number] for number in range(len(prompts))]

    def _ask(self, prompts: Sequence[Prompt], missing: Sequence[int]) -> Iterator[tuple[int, Answer]]:
        """Ask as many at once as are allowed, in the order given."""
        under_way: dict[Future[Answer], int] = {}
        aside = [0, 0]
        waiting = list(missing)
        with ThreadPoolExecutor(self.concurrency) as pool:
            while waiting or under_way:
                while waiting and len(under_way) < self.concurrency:
                    most = self.most(prompts[waiting[0]])
                    if not self.budget.allows(aside[0] + most[0], aside[1] + most[1]):
                        break
                    aside = [aside[0] + most[0], aside[1] + most[1]]
                    number = waiting.pop(0)
                    under_way[pool.submit(self._one, prompts[number])] = number
                    self.sent += 1
                if not under_way:
                    raise GateError(
                        f"the budget does not reach for the next prompt: {self.budget.told}", None,
                        "what was answered is kept; raise the budget, and the same command goes on; or ask less (`limit`)",
                    )  # fmt: skip
                for done in wait(under_way, return_when=FIRST_COMPLETED).done:
                    number = under_way.pop(done)
                    most = self.most(prompts[number])
                    aside = [aside[0] - most[0], aside[1] - most[1]]
                    answer = done.result()
                    self.budget.spend(answer)
                    yield number, answer

    def _one(self, prompt: Prompt) -> Answer:
        """Ask, and keep the answer before anything else is done with it. A failure is not kept: it is asked again."""
        key = self.key(prompt)
        seed = {"seed": self.parameters["seed"] + prompt.sample} if "seed" in self.parameters else {}
        body = {**self.parameters, **seed, "messages": list(prompt.messages)}
        try:
            said = ask(self.place, body, seconds=self.seconds, tries=self.tries, token=self.token, check=_parts)
        except Refused as error:
            return Answer(key, None, None, None, 0, 0, now(), f"{REFUSED}_{error.code}")
        except ResumableError:
            return Answer(key, None, None, None, 0, 0, now(), UNANSWERED)
        text, finish, model, read, written = _parts(said)
        most = self.most(prompt)
        size = len((text or "").encode())  # where the endpoint does not say what it counted
        answer = Answer(
            key, text, finish, model, most[0] if read is None else read, size if written is None else written, now()
        )
        record = answer._asdict()
        record.pop("key")
        self.store.write_sealed(_place(key), record)
        return answer


def _place(key: str) -> str:
    return f"answers/{key[:2]}/{key}.json"


def _parts(said: Any) -> tuple[str | None, str | None, str | None, int | None, int | None]:
    """Text, finish, model, and tokens read and written.

    Raises:
        ValueError: It is no answer of chat completions.
    """
    try:
        choice = said["choices"][0]
        text, finish = choice["message"].get("content"), choice.get("finish_reason")
        refusal = choice["message"].get("refusal")
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError("no chat completion") from error
    if text is None and isinstance(refusal, str):
        text, finish = refusal, "content_filter"
    if not isinstance(text, str | None) or not isinstance(finish, str | None):
        raise ValueError("no chat completion")
    used = said.get("usage")
    used = used if isinstance(used, dict) else {}
    counts = [used.get(name) for name in ("prompt_tokens", "completion_tokens")]
    read, written = (one if isinstance(one, int) and one >= 0 else None for one in counts)
    model = said.get("model")
    return text, finish, model if isinstance(model, str) else None, read, written
