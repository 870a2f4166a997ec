"""Answers with texts: as they are written, or when all is there."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
import orjson

from curate.serve.answers import ChatAnswer, error_body, status_of, usage
from curate.serve.engine import Engine
from curate.serve.guard import FAILED
from curate.serve.requests import Asked
from curate.serve.service import Service
from curate.serve.stream import Stream
from curate.serve.texts import Piece, Text

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

__all__ = ["EVENTS", "json_answer", "left_by", "written"]

EVENTS = "text/event-stream"


def json_answer(told: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """An answer of JSON; what is no number is null."""
    from starlette.responses import Response

    return Response(orjson.dumps(told), status, headers, media_type="application/json")


class Gone(Exception):
    """Nobody waits for the answer any more."""


class Writing:
    """The texts of a request, in the making."""

    def __init__(self, service: Service, asked: Asked, began: float) -> None:
        loop, self.queue = asyncio.get_running_loop(), asyncio.Queue[tuple[int, Piece] | None]()
        until = began + service.limits.seconds

        def tell(number: int, piece: Piece) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self.queue.put_nowait, (number, piece))

        def text(number: int) -> Text:
            sampling = asked.sampling
            # of its place among the texts of a prompt alone: in a list a prompt gives what it gives by itself
            draws = np.random.default_rng((sampling.seed, number % asked.count)) if sampling.temperature else None
            return Text(
                asked.prompts[number // asked.count], asked.most, asked.end,
                Stream(service.model.tokenizer, asked.stop), sampling, draws, until, partial(tell, number),
                eager=asked.stream, tops=asked.tops,
                echo=asked.echo and asked.tops is not None and bool(asked.shown[number // asked.count]),
            )  # fmt: skip

        self.work: Engine = service.work  # type: ignore[assignment]
        self.texts = [text(number) for number in range(len(asked.prompts) * asked.count)]
        self.work.submit(self.texts)

    def leave(self) -> None:
        """Nobody waits any more."""
        self.work.leave(self.texts)

    async def pieces(self) -> AsyncIterator[tuple[int, Piece]]:
        """What comes, by the number of the text, until all have ended.

        Raises:
            Gone: The client went away.
            Exception: Why there is no more.
        """
        going = len(self.texts)
        while going:
            found = await self.queue.get()
            if found is None:
                raise Gone
            number, piece = found
            if piece.error is not None:
                raise piece.error
            going -= piece.finish is not None
            yield number, piece

    async def watch(self, request: Request) -> None:
        """Until the client goes away."""
        await left_by(request)
        self.leave()
        self.queue.put_nowait(None)


async def left_by(request: Request) -> None:
    """Wait until its client goes away."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def written(service: Service, request: Request, asked: Asked, kind: Any) -> Response:
    """The answer with the texts that are asked for.

    Args:
        service: Writes them.
        request: Whose client may go away.
        asked: What is asked for.
        kind: `CompletionAnswer` or `ChatAnswer`.

    Raises:
        CurateError: There is no room, no time, or the model gives no numbers.
    """
    prefix = "chatcmpl" if kind is ChatAnswer else "cmpl"
    head = {"id": f"{prefix}-{uuid4().hex}", "created": int(time.time()), "model": service.name}
    answer, writing = kind(asked, service.words, head), Writing(service, asked, request.state.began)
    if asked.stream:
        return _stream(_events(service, request, answer, writing), writing)
    watching = asyncio.create_task(writing.watch(request))
    pieces: list[list[Piece]] = [[] for _ in writing.texts]
    try:
        async for number, piece in writing.pieces():
            pieces[number].append(piece)
    except Gone:
        return json_answer({}, 499)  # nobody reads it: counted
    finally:
        watching.cancel()
        writing.leave()
    return await asyncio.to_thread(_whole, answer, pieces)  # scores of many tokens take their time


def _whole(answer: Any, pieces: list[list[Piece]]) -> Response:
    choices = [answer.whole(n, "".join(piece.text for piece in some), some) for n, some in enumerate(pieces)]
    told = usage(_read(answer.asked), sum(some[-1].tokens for some in pieces))
    return json_answer({**answer.head, "object": answer.kind, "choices": choices, "usage": told})


def _stream(events: AsyncIterator[bytes], writing: Writing) -> Response:
    """Events as they come; whose client goes away before the first one leaves its slots, too."""
    from starlette.responses import StreamingResponse

    class Stream(StreamingResponse):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            try:
                await super().__call__(scope, receive, send)
            finally:
                writing.leave()

    return Stream(events, media_type=EVENTS)


def _read(asked: Asked) -> int:
    return asked.count * sum(map(len, asked.prompts))


async def _events(service: Service, request: Request, answer: Any, writing: Writing) -> AsyncIterator[bytes]:
    """A stream of server-sent events; an error in the middle is one of them, and the last."""
    head, asked, written = {**answer.head, "object": answer.piece_kind}, answer.asked, Counter[int]()
    if asked.usage:
        head["usage"] = None
    begun = set[int]()
    try:
        async for number, piece in writing.pieces():
            if number not in begun:
                if not begun:
                    service.first.add(time.monotonic() - request.state.began)
                begun.add(number)
                for choice in answer.first(number):
                    yield _event({**head, "choices": [choice]})
            written[number] = piece.tokens
            yield _event({**head, "choices": [answer.piece(number, piece)]})
        if asked.usage:
            yield _event({**head, "choices": [], "usage": usage(_read(asked), written.total())})
        yield b"data: [DONE]\n\n"
    except Exception as error:  # the answer has begun: there is no status any more
        request.scope[FAILED] = status_of(error)
        yield _event(error_body(error))
    finally:
        service.seconds.add(time.monotonic() - request.state.began)


def _event(told: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(told) + b"\n\n"
