"""One thread that owns a language model and writes many texts at a time: continuous batching.

Before each step those that are done, given up or late leave their slots, and waiting texts take them: these are read together
(at most TOKENS tokens, padding included, so that nobody waits long for a next token), and join the memory of keys and values
of the others (train/models/cache.py). A step is one forward pass with the last token of every text.

What comes next is a function of a text's own tokens and of its own draws, up to rounding: matrix products of another shape
round otherwise, which matters where two tokens are as likely as that. A model whose memory cannot be joined (transformers')
writes those that came together in batches of their own.

Memory: slots x tokens of the longest text x 2 x layers x width of keys, float32.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from threading import Condition, Thread
from time import monotonic
from typing import Any

import torch
from torch import Tensor

from curate.evaluation.models.contract import not_finite
from curate.evaluation.models.generation import Joins, Respond, Sampling, chosen, padded
from curate.evaluation.models.tokens import CHUNK, TOKENS, TokenModel
from curate.serve.stream import Stream
from curate.serve.texts import Closed, Full, Late, Scored, Text

__all__ = ["Engine"]

MEMORY = 0.9
"""How much of the mean of seconds for a text is that of earlier ones."""
LONGEST_WAIT = 60


@dataclass
class _Batch:
    """Texts with one memory."""

    respond: Respond | None
    texts: list[Text]

    def leave(self, going: list[int]) -> None:
        """Go on with the texts at these places."""
        if 0 < len(going) < len(self.texts):
            assert self.respond is not None
            self.respond.keep(torch.tensor(going))
        self.texts = [self.texts[place] for place in going]


class Engine:
    """Writes texts.

    Args:
        model: What writes.
        slots: Most texts at a time.
        queue: Most texts that wait.

    Attributes:
        counts: `steps`, `prompt_tokens`, `generated_tokens`, `texts`, `given_up` so far.
    """

    def __init__(self, model: TokenModel, *, slots: int, queue: int) -> None:
        self.model, self.slots, self.queue = model, slots, queue
        self.counts: Counter[str] = Counter()
        self._batches: list[_Batch] = []
        self._waiting: deque[Text] = deque()
        self._changed, self._stopping, self._until = Condition(), False, math.inf
        self._closed: Callable[[], Closed] | None = None
        self._beginning, self._seconds = 0, 0.0
        self._thread = Thread(target=self._work, name="engine", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def drain(self, seconds: float) -> None:
        """Take nothing more: who waits is told so, and what is being written ends after so long with what there is."""
        with self._changed:
            self._closed, self._until = Closed.ending, monotonic() + seconds
            waiting, self._waiting = self._waiting, deque()
        for text in waiting:
            text.fail(Closed.ending())

    def stop(self) -> None:
        """End after the step that it is at; whoever is still there is told so."""
        self.drain(0)
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def alive(self) -> bool:
        """It works."""
        return self._thread.is_alive()

    @property
    def active(self) -> int:
        """Slots that are taken."""
        return self._beginning + sum(len(batch.texts) for batch in self._batches)

    @property
    def waiting(self) -> int:
        """Texts that wait for a slot."""
        return len(self._waiting)

    def submit(self, texts: Sequence[Text]) -> None:
        """Take in texts, all of them or none.

        Raises:
            Closed: Nothing is written any more.
            Full: There is no room.
        """
        with self._changed:
            if self._closed is not None:
                raise self._closed()
            free = max(self.slots - self.active, 0)
            if len(self._waiting) + len(texts) > self.queue + free:
                raise Full(self._wait(len(self._waiting)))
            self._waiting.extend(texts)
            self._changed.notify()

    def leave(self, texts: Sequence[Text]) -> None:
        """Nobody waits for these any more: they leave the queue now, and their slots before the next step."""
        with self._changed:
            for text in texts:
                text.gone = True
            kept = deque(text for text in self._waiting if not text.gone)
            self.counts["given_up"] += len(self._waiting) - len(kept)
            self._waiting = kept

    def _wait(self, before: int) -> int:
        """Seconds until as many have had their slots."""
        return min(LONGEST_WAIT, 1 + int(self._seconds * before / self.slots))

    # ---- the engine's thread

    @torch.inference_mode()
    def _work(self) -> None:
        try:
            while self._turn():
                pass
        finally:
            with self._changed:
                self._closed = self._closed or Closed.broken
                texts = [*(text for batch in self._batches for text in batch.texts), *self._waiting]
                self._batches, self._waiting = [], deque()
            for text in texts:
                text.fail(self._closed())

    def _turn(self) -> bool:
        """One step; False when it is told to stop."""
        with self._changed:
            while not (self._waiting or self._batches or self._stopping):
                self._changed.wait()
            if self._stopping:
                return False
        for batch in self._batches:
            going = [place for place, text in enumerate(batch.texts) if self._goes_on(text)]
            self._attempt(batch, lambda batch=batch, going=going: batch.leave(going))
        fresh = self._fresh()
        if fresh:
            self._begin(fresh)
        for batch in self._batches:
            self._attempt(batch, lambda batch=batch: self._step(batch, *self._last(batch)))
        self._batches = [batch for batch in self._batches if batch.texts]
        return True

    def _goes_on(self, text: Text) -> bool:
        """Whether somebody waits for it, and may."""
        late = monotonic() > min(text.until, self._until)
        if text.gone:
            self.counts["given_up"] += 1
        elif late and text.tokens:
            text.close("length")
        elif late:
            text.fail(Late())
        return not (text.gone or late)

    def _fresh(self) -> list[Text]:
        """Those that take free slots, in their order."""
        found, longest, room = list[Text](), 0, self.slots - self.active
        with self._changed:
            while self._waiting and len(found) < room:
                text = self._waiting[0]
                longest = max(longest, len(text.prompt))
                if found and longest * (len(found) + 1) > TOKENS:
                    break
                self._waiting.popleft()
                if self._goes_on(text):
                    found.append(text)
            self._beginning = len(found)
        return found

    def _begin(self, fresh: list[Text]) -> None:
        """Read prompts, and take the first token of each."""
        batch = _Batch(None, fresh)

        def read() -> None:
            batch.respond = self.model.respond()
            for text in batch.texts:
                text.began = monotonic()
                self.counts["texts"] += 1
                self.counts["prompt_tokens"] += len(text.prompt)
                if text.echo:
                    text.scores(self._score(text.prompt, text.tops or 0))
            for text in batch.texts:
                if not text.most:
                    text.close("length")
            batch.texts = [text for text in batch.texts if text.most]
            if batch.texts:
                self._step(batch, *padded([text.prompt for text in batch.texts], self.model))

        self._attempt(batch, read)
        if batch.texts:
            self._join(batch)
        self._beginning = 0

    def _join(self, batch: _Batch) -> None:
        other = next((one for one in self._batches if one.texts), None)
        if other is not None and isinstance(other.respond, Joins):
            both = _Batch(other.respond, other.texts + batch.texts)
            self._batches = [one for one in self._batches if one is not other]
            self._attempt(both, lambda: other.respond.join(batch.respond))  # pyright: ignore
            batch = both
        self._batches.append(batch)

    def _last(self, batch: _Batch) -> tuple[Tensor, Tensor]:
        """The last token of each text, as the model reads it."""
        last = torch.tensor([[text.tokens[-1]] for text in batch.texts], device=self.model.device)
        return last, torch.ones_like(last, dtype=torch.bool)

    def _step(self, batch: _Batch, tokens: Tensor, real: Tensor) -> None:
        """A token more for each text."""
        assert batch.respond is not None
        logits = batch.respond(tokens, real)
        finite = logits.amax(-1).isfinite().tolist()  # some models give -inf to tokens that are never said
        found = self._chosen(logits.nan_to_num(-torch.inf), batch.texts)
        scored = [place for place, text in enumerate(batch.texts) if text.tops is not None and finite[place]]
        scores = dict(zip(scored, self._scores(logits, scored, [found[place] for place in scored], batch), strict=True))
        going: list[int] = []
        for place, text in enumerate(batch.texts):
            if not finite[place]:
                text.fail(not_finite(self.model.name))
            elif text.advance(found[place], *scores.get(place, (None, ()))):
                going.append(place)
            else:
                self._seconds = MEMORY * self._seconds + (1 - MEMORY) * (monotonic() - text.began)
        self.counts["steps"] += 1
        self.counts["generated_tokens"] += len(batch.texts)
        batch.leave(going)

    def _chosen(self, logits: Tensor, texts: Sequence[Text]) -> list[int]:
        """The next token of each text; those that are drawn alike are drawn together."""
        alike: dict[Sampling, list[int]] = {}
        for place, text in enumerate(texts):
            alike.setdefault(replace(text.sampling, seed=0), []).append(place)
        found = [0] * len(texts)
        for sampling, places in alike.items():
            some = logits if len(places) == len(texts) else logits[torch.tensor(places, device=logits.device)]
            for place, token in zip(places, chosen(some, sampling, [texts[one].draws for one in places]), strict=True):
                found[place] = token
        return found

    def _scores(
        self, logits: Tensor, places: list[int], tokens: list[int], batch: _Batch
    ) -> list[tuple[float, tuple[tuple[int, float], ...]]]:
        if not places:
            return []
        logs = logits[torch.tensor(places, device=logits.device)].double().log_softmax(-1)
        most = [batch.texts[place].tops or 0 for place in places]
        return _likely(logs, tokens, most)

    def _score(self, prompt: list[int], tops: int) -> list[Scored]:
        """How likely each token of a prompt was; CHUNK positions at a time."""
        read, found = torch.tensor([prompt[:-1]], device=self.model.device), list[Any]([(None, ())])
        if len(prompt) > 1:
            states = self.model.states(read)[0]
            for start in range(0, len(states), CHUNK):
                logits = self.model.logits(states[start : start + CHUNK])
                if not logits.amax(-1).isfinite().all():
                    raise not_finite(self.model.name)
                wanted = prompt[start + 1 : start + 1 + len(logits)]
                found += _likely(logits.double().log_softmax(-1), wanted, [tops] * len(wanted))
        stream, scored = Stream(self.model.tokenizer, special=True), list[Scored]()
        for token, (log, likely) in zip(prompt, found, strict=True):
            scored.append(Scored(token, len(stream.text), log, likely))
            stream.take(token)
        return scored

    def _attempt(self, batch: _Batch, work: Callable[[], None]) -> None:
        """Do something with a batch; what breaks costs this batch, not the server."""
        try:
            work()
        except Exception as error:  # the worker's edge: told to all whom it concerns, and the next batch goes on
            for text in batch.texts:
                text.fail(error)
            batch.texts = []


def _likely(
    logs: Tensor, tokens: Sequence[int], most: Sequence[int]
) -> list[tuple[float, tuple[tuple[int, float], ...]]]:
    """Of each row of log-probabilities (rows, vocabulary) that of a token, and so many of the likeliest."""
    own = logs.gather(-1, torch.tensor(tokens, device=logs.device)[:, None])[:, 0].tolist()
    values, places = logs.topk(min(max(most), logs.shape[-1]), dim=-1)
    both = zip(own, places.tolist(), values.tolist(), most, strict=True)
    return [(log, tuple(zip(some, theirs, strict=True))[:count]) for log, some, theirs, count in both]
