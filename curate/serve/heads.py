"""A thread that owns a model with a head, or an encoder, and reads one request after the other.

The texts of a request are read in batches (evaluation/models/headed.py); those of several requests are not put together.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.evaluation.models.headed import HeadedModel
from curate.serve.requests import Refused
from curate.serve.texts import Closed, Full, Late

__all__ = ["Reader"]

WAIT = 1
Inputs = Sequence[str | tuple[str, str]]


class Reader:
    """Reads texts.

    Args:
        model: What reads.
        queue: Most texts that wait, and most in a request.

    Attributes:
        counts: `texts` and `prompt_tokens` so far.
        waiting: Texts that wait, those that are being read not among them.
    """

    def __init__(self, model: HeadedModel, *, queue: int) -> None:
        self.model, self.queue, self.waiting = model, queue, 0
        self.counts: Counter[str] = Counter()
        self._thread, self._turn = ThreadPoolExecutor(1, "reader"), asyncio.Lock()
        self._closed = False

    def start(self) -> None:
        """Nothing: the thread begins with the first request."""

    def drain(self, seconds: float) -> None:
        """Take nothing more; who waits is told so, and the request that it is at is read to its end."""
        self._closed = True

    def stop(self) -> None:
        """End after the request that it is at."""
        self._thread.shutdown(cancel_futures=True)

    @property
    def alive(self) -> bool:
        """It works."""
        return True

    async def read(self, inputs: Inputs, *, embed: bool, seconds: float) -> tuple[NDArray[np.float32], int]:
        """(texts, labels) logits, or (texts, width) what stands for texts before the head; and how many tokens were read.

        Args:
            inputs: What is read.
            embed: What stands for a text is asked for.
            seconds: How long it may wait.

        Raises:
            Closed: The server is ending.
            Full: Too many texts wait.
            Late: It waited too long.
            Refused: The model cannot read them.
        """
        if self._closed:
            raise Closed.ending()
        if len(inputs) > self.queue:
            raise Refused(f"a request is for at most {self.queue:,} texts", "input")
        if self.waiting + len(inputs) > self.queue:
            raise Full(WAIT)
        self.waiting += len(inputs)
        try:
            async with asyncio.timeout(seconds):
                await self._turn.acquire()
        except TimeoutError:
            raise Late from None
        finally:
            self.waiting -= len(inputs)
        try:
            if self._closed:
                raise Closed.ending()
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._read, inputs, embed)
        finally:
            self._turn.release()

    def _read(self, inputs: Inputs, embed: bool) -> tuple[NDArray[np.float32], int]:
        pairs = [one for one in inputs if not isinstance(one, str)]
        if pairs and len(pairs) < len(inputs):
            raise Refused("`input` has texts and pairs of texts", "input", "one kind in a request")
        if self.model.columns.second and not pairs:
            raise Refused("this model reads pairs of texts", "input", 'e.g. "input": [["first", "second"]]')
        firsts = [one if isinstance(one, str) else one[0] for one in inputs]
        seconds = [one[1] for one in pairs] or None
        if "" in firsts or (seconds and "" in seconds):
            raise Refused("`input` has an empty text", "input")
        counts, special = self._lengths(firsts, seconds), 3 if seconds else 2
        if max(counts) + special > self.model.length:
            raise Refused(
                f"this model reads {self.model.length:,} tokens, {special} of its own among them: a text has {max(counts):,}",
                "input", "shorten it", code="context_length_exceeded",
            )  # fmt: skip
        made: Any = (self.model.embed if embed else self.model.read)(firsts, seconds)
        self.counts["texts"] += len(inputs)
        self.counts["prompt_tokens"] += sum(counts)
        return made[0], sum(counts)

    def _lengths(self, firsts: Sequence[str], seconds: Sequence[str] | None) -> list[int]:
        lengths = [len(one) for one in self.model.encode(firsts)]
        more = [len(one) for one in self.model.encode(seconds)] if seconds else [0] * len(lengths)
        return [one + other for one, other in zip(lengths, more, strict=True)]
