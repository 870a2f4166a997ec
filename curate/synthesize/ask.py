"""Prompts to an endpoint, and its answers, each paid once: `answers/ab/<key>.json` in the store, written as it comes.

The key is a hash of the model, the messages, the parameters and the number of the sample, so a fetch that was killed, and
any other that asks the same, finds what was answered. What is under way when the process dies is asked again: at most
`concurrency` prompts.
The budget is held against what all answers cost, those that were found among them, so a kill changes nothing. Before a
prompt is sent the most that it can cost is put aside: the bytes of its messages as tokens, and `max_tokens` of answer. A try
without an answer counts, too: by the `usage` that came with what is no answer, else as the most, for it may have been billed;
the next one is made only if the budget reaches. Equal prompts have one key: they are asked, and count, once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, NamedTuple

from curate.dataset.runs import now
from curate.dataset.store import Store, canonical_json
from curate.endpoint import Busy, Refused, ask
from curate.errors import GateError, ResumableError

__all__ = ["Answer", "Asker", "Budget", "Prompt"]

Messages = Sequence[Mapping[str, str]]
REFUSED, UNANSWERED, _BUSY = "endpoint_refused", "endpoint_failed", "endpoint_busy"


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
        read: Tokens of the prompt, in all tries that count.
        written: Tokens of the answer, likewise.
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

    def spend(self, read: int, written: int) -> None:
        """Count tokens."""
        self.read += read
        self.written += written

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
    _aside: list[int] = field(default_factory=lambda: [0, 0], init=False)
    _counted: set[str] = field(default_factory=set, init=False)
    _lock: Lock = field(default_factory=Lock, init=False)

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
        found = self._kept(self.key(prompt))
        return found if found and not found.problem else None

    def _kept(self, key: str) -> Answer | None:
        """An answer; or what tries without one have cost."""
        found = self.store.read_sealed(_place(key))
        return Answer(**{"key": key, **found}) if found else None

    def count(self, prompt: Prompt) -> bool:
        """Count what is there of a prompt, once; whether it is the first one of its key."""
        key = self.key(prompt)
        if key in self._counted:
            return False
        self._counted.add(key)
        if found := self._kept(key):
            self.budget.spend(found.read, found.written)
        return True

    def answers(self, prompts: Sequence[Prompt]) -> list[Answer]:
        """The answers to some prompts, in their order; known ones cost nothing and are counted.

        Raises:
            GateError: The budget does not reach for the next one.
            ResumableError: None of them was ever answered, or the endpoint cannot be reached.
        """
        keys = [self.key(prompt) for prompt in prompts]
        found: dict[str, Answer] = {}
        missing: dict[str, Prompt] = {}
        for key, prompt in zip(keys, prompts, strict=True):
            self.count(prompt)
            if key not in missing and key not in found:
                answer = self.known(prompt)
                found |= {key: answer} if answer else {}
                missing |= {} if answer else {key: prompt}
        asked = {answer.key: answer for answer in self._ask(list(missing.values()))}
        problems = {answer.problem for answer in asked.values()}
        if asked and (problems == {_BUSY} or (problems <= {_BUSY, UNANSWERED} and not found)):
            raise ResumableError(
                f"the endpoint answers none of {len(asked)} prompts",
                self.place,
                "what was answered is kept; the same command goes on",
            )
        found |= {key: one._replace(problem=UNANSWERED) if one.problem == _BUSY else one for key, one in asked.items()}
        return [found[key] for key in keys]

    def _ask(self, prompts: Sequence[Prompt]) -> Iterator[Answer]:
        """Ask as many at once as are allowed, in the order given."""
        under_way: dict[Future[Answer], Prompt] = {}
        waiting = list(prompts)
        with ThreadPoolExecutor(self.concurrency) as pool:
            while waiting or under_way:
                while waiting and len(under_way) < self.concurrency and self._put_aside(waiting[0]):
                    prompt = waiting.pop(0)
                    under_way[pool.submit(self._one, prompt)] = prompt
                    self.sent += 1
                if not under_way:
                    raise self._spent()
                for done in wait(under_way, return_when=FIRST_COMPLETED).done:
                    most = self.most(under_way.pop(done))
                    with self._lock:
                        self._aside = [self._aside[0] - most[0], self._aside[1] - most[1]]
                    yield done.result()

    def _put_aside(self, prompt: Prompt) -> bool:
        """Put aside the most that a prompt can cost, if the budget reaches."""
        read, written = self.most(prompt)
        with self._lock:
            aside = [self._aside[0] + read, self._aside[1] + written]
            if not self.budget.allows(*aside):
                return False
            self._aside = aside
        return True

    def _spent(self) -> GateError:
        return GateError(
            f"the budget does not reach for the next prompt: {self.budget.told}", None,
            "what was answered is kept; raise the budget, and the same command goes on; or ask less (`limit`)",
        )  # fmt: skip

    def _one(self, prompt: Prompt) -> Answer:
        """Ask, and keep the answer before anything else is done with it. A failure is asked again; what it cost is kept."""
        key, most = self.key(prompt), self.most(prompt)
        kept = self._kept(key)
        cost = [kept.read, kept.written] if kept else [0, 0]

        def spend(read: int, written: int) -> None:
            cost[:] = [cost[0] + read, cost[1] + written]
            with self._lock:
                self.budget.spend(read, written)

        def failed(said: Any) -> None:
            read, written = _used(said)
            spend(most[0] if read is None else read, most[1] if written is None else written)
            self._keep(Answer(key, None, None, None, cost[0], cost[1], now(), UNANSWERED))
            with self._lock:
                if not self.budget.allows(*self._aside):  # the next try's is still aside
                    raise self._spent()

        seed = {"seed": self.parameters["seed"] + prompt.sample} if "seed" in self.parameters else {}
        body = {**self.parameters, **seed, "messages": list(prompt.messages)}
        ways = {"seconds": self.seconds, "tries": self.tries, "token": self.token}
        try:
            said = ask(self.place, body, **ways, check=_parts, failed=failed)
        except Refused as error:
            return Answer(key, None, None, None, cost[0], cost[1], now(), f"{REFUSED}_{error.code}")
        except ResumableError as error:
            return Answer(
                key, None, None, None, cost[0], cost[1], now(), _BUSY if isinstance(error, Busy) else UNANSWERED
            )
        text, finish, model = _parts(said)
        read, written = _used(said)
        size = len((text or "").encode())  # where the endpoint does not say what it counted
        spend(most[0] if read is None else read, size if written is None else written)
        return self._keep(Answer(key, text, finish, model, cost[0], cost[1], now()))

    def _keep(self, answer: Answer) -> Answer:
        record = answer._asdict()
        self.store.write_sealed(_place(record.pop("key")), record)
        return answer


def _place(key: str) -> str:
    return f"answers/{key[:2]}/{key}.json"


def _parts(said: Any) -> tuple[str | None, str | None, str | None]:
    """Text, finish and model.

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
    model = said.get("model")
    return text, finish, model if isinstance(model, str) else None


def _used(said: Any) -> tuple[int | None, int | None]:
    """Tokens read and written, where it is told."""
    used = said.get("usage") if isinstance(said, dict) else None
    used = used if isinstance(used, dict) else {}
    counts = (used.get(name) for name in ("prompt_tokens", "completion_tokens"))
    read, written = (one if isinstance(one, int) and one >= 0 else None for one in counts)
    return read, written
