"""The routes: requests are read, given to the engine, and answered as they are written or when all is there."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
from scipy.special import softmax

from curate.evaluation.models.headed import HeadedModel
from curate.serve.answers import ChatAnswer, CompletionAnswer, embedding, error_body, status_of, usage
from curate.serve.engine import Engine
from curate.serve.metrics import MEDIA, exposition
from curate.serve.requests import (
    ChatRequest,
    CompletionRequest,
    HeadRequest,
    Refused,
    body_of,
    chat,
    completion,
)
from curate.serve.service import Service
from curate.serve.texts import Closed, Full
from curate.serve.writing import EVENTS, json_answer, left_by, written

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

__all__ = ["make_app"]

BODY = 4_000_000
"""Most bytes of a request."""
BODY_SECONDS = 30.0
"""How long a body may take to arrive."""


def make_app(service: Service) -> Starlette:
    """The application, without its guard; its worker lives as long as it."""
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.routing import Route

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        service.work.start()
        try:
            yield
        finally:
            await asyncio.to_thread(service.work.stop)

    gets: dict[str, Callable[[Service], Response]] = {
        "/health": _health, "/ready": _ready, "/metrics": _metrics, "/version": _version, "/v1/models": _models,
    }  # fmt: skip
    posts: dict[str, Callable[[Service, Request], Awaitable[Response]]] = {
        "/v1/completions": _completions, "/v1/chat/completions": _chat, "/v1/embeddings": _embeddings,
        "/v1/classify": _classify,
    }  # fmt: skip
    routes = [Route(path, partial(_got, service, answer), methods=["GET"]) for path, answer in gets.items()]
    routes += [Route(path, partial(_posted, service, answer), methods=["POST"]) for path, answer in posts.items()]
    routes.append(Route("/v1/models/{name:path}", partial(_model, service), methods=["GET"]))
    return Starlette(routes=routes, lifespan=lifespan, exception_handlers={HTTPException: _not_there})


# ---- around a request


async def _got(service: Service, answer: Callable[[Service], Response], request: Request) -> Response:
    return answer(service)


async def _posted(
    service: Service, answer: Callable[[Service, Request], Awaitable[Response]], request: Request
) -> Response:
    """An answer, or its error (our own mistakes without their text, which may be of a prompt); timed."""
    from starlette.requests import ClientDisconnect

    began = time.monotonic()
    request.state.began = began
    try:
        response = await answer(service, request)
    except ClientDisconnect:
        response = json_answer({}, 499)  # nobody reads it: counted
    except asyncio.CancelledError:  # the server ends, and has waited for the last step long enough
        response = _told(Closed.ending())
    except Exception as error:  # the outermost edge
        response = _told(error)
    if response.media_type != EVENTS:
        service.seconds.add(time.monotonic() - began)
    return response


def _told(error: Exception) -> Response:
    headers = {"retry-after": str(error.seconds)} if isinstance(error, Closed | Full) and error.seconds else {}
    if status_of(error) == 500:
        sys.stderr.write(f"serve: a request failed: {type(error).__name__}\n")
    return json_answer(error_body(error), status_of(error), headers)


async def _not_there(request: Request, error: Any) -> Response:
    told = f"there is no {request.method} {request.url.path[:100]}"
    problem = Refused(told, status=error.status_code, code="not_found")
    return json_answer(error_body(problem), error.status_code, dict(error.headers or {}))


async def _content(request: Request) -> bytes:
    """The body.

    Raises:
        Refused: It is of another kind, too large, or does not come.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Refused("the body has to be JSON", "content-type", "-H 'Content-Type: application/json'", status=415)
    parts, size = list[bytes](), 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                size += len(part)
                if size > BODY:
                    raise Refused(f"a request has at most {BODY:,} bytes", status=413)
                parts.append(part)
    except TimeoutError:
        raise Refused(f"the body did not come in {BODY_SECONDS:g} s", status=408) from None
    return b"".join(parts)


def _check_model(service: Service, asked: Any) -> None:
    if asked.model not in (None, service.name):
        raise _unknown(service)


def _unknown(service: Service) -> Refused:
    hint = f"it is called {service.name}"
    return Refused("there is no model of this name here", "model", hint, status=404, code="model_not_found")


# ---- texts


async def _completions(service: Service, request: Request) -> Response:
    asked = body_of(CompletionRequest, await _content(request))
    model = _writer(service, asked)
    limits = service.limits.tokens, service.limits.queue, service.characters
    found = await asyncio.to_thread(completion, asked, model, *limits)
    return await written(service, request, found, CompletionAnswer)


async def _chat(service: Service, request: Request) -> Response:
    asked = body_of(ChatRequest, await _content(request))
    model, template = _writer(service, asked), service.template
    limits = service.limits.tokens, service.limits.queue, service.characters
    found = await asyncio.to_thread(chat, asked, model, template, *limits)
    return await written(service, request, found, ChatAnswer)


def _writer(service: Service, asked: Any) -> Any:
    _check_model(service, asked)
    if not service.writes:
        raise Refused(
            "this model writes no text: it has a head that reads one", "model", "ask /v1/classify or /v1/embeddings"
        )
    return service.model


# ---- models with a head


async def _embeddings(service: Service, request: Request) -> Response:
    asked = body_of(HeadRequest, await _content(request))
    _check_model(service, asked)
    if service.writes:
        raise Refused(
            "this model has no embedding of a text: it was trained to write the next token", "model",
            "serve an encoder (`objective: {kind: masked}`) or a model with a classification head",
        )  # fmt: skip
    made, tokens = await _read_by(service, request, asked, embed=True)
    encoded = asked.encoding_format == "base64"
    data = [
        {"object": "embedding", "index": n, "embedding": embedding(one, encoded=encoded)} for n, one in enumerate(made)
    ]
    return json_answer({"object": "list", "data": data, "model": service.name, "usage": usage(tokens)})


async def _classify(service: Service, request: Request) -> Response:
    asked = body_of(HeadRequest, await _content(request))
    _check_model(service, asked)
    if service.writes or not service.model.head:
        raise Refused(
            "this model has no classification head", "model", "serve one that was trained for `classification`"
        )
    made, tokens = await _read_by(service, request, asked, embed=False)
    data = [{"index": number, **_label(service.model, one)} for number, one in enumerate(made)]
    head = {"id": f"classify-{uuid4().hex}", "object": "list", "created": int(time.time()), "model": service.name}
    return json_answer({**head, "data": data, "usage": usage(tokens)})


async def _read_by(service: Service, request: Request, asked: HeadRequest, *, embed: bool) -> tuple[Any, int]:
    """What the model says of texts, unless the client goes away before it has begun.

    Raises:
        ClientDisconnect: It did.
        CurateError: There is no room, no time, or the model cannot read them.
    """
    from starlette.requests import ClientDisconnect

    inputs = [asked.input] if isinstance(asked.input, str) else asked.input
    left = service.limits.seconds - (time.monotonic() - request.state.began)
    work: Any = service.work
    reading = asyncio.create_task(work.read(inputs, embed=embed, seconds=left))
    watching = asyncio.create_task(left_by(request))
    try:
        await asyncio.wait({reading, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not reading.done():
            raise ClientDisconnect
        return await reading
    finally:
        reading.cancel()
        watching.cancel()


def _label(model: HeadedModel, logits: Any) -> dict[str, Any]:
    if model.regression:
        return {"number": float(logits[0])}
    shares = softmax(logits.astype(np.float64))
    return {"label": model.labels[int(shares.argmax())], "probs": shares.tolist(), "num_classes": len(model.labels)}


# ---- about the server


def _health(service: Service) -> Response:
    return json_answer({"status": "ok"}) if service.work.alive else json_answer({"status": "the worker has ended"}, 503)


def _ready(service: Service) -> Response:
    full = service.work.waiting >= service.limits.queue
    ready = service.work.alive and not full
    return json_answer(
        {"status": "ready" if ready else "full" if full else "the worker has ended"}, 200 if ready else 503
    )


def _version(service: Service) -> Response:
    return json_answer({"version": version("curate-lm"), "model": service.name, "weights": service.model.weights})


def _metrics(service: Service) -> Response:
    from starlette.responses import Response

    work, values = service.work, dict[str, Any](request_seconds=service.seconds, waiting=service.work.waiting)
    values |= {f"{name}_total": work.counts[name] for name in ("texts", "prompt_tokens")}
    if isinstance(work, Engine):
        values |= {f"{name}_total": work.counts[name] for name in ("generated_tokens", "steps", "given_up")}
        values |= {"slots": work.slots, "slots_taken": work.active, "first_token_seconds": service.first}
    return Response(exposition(service.requests, values), media_type=MEDIA)


def _card(service: Service) -> dict[str, Any]:
    return {
        "id": service.name, "object": "model", "created": service.created, "owned_by": "curate",
        "max_model_len": service.model.length,
    }  # fmt: skip


def _models(service: Service) -> Response:
    return json_answer({"object": "list", "data": [_card(service)]})


async def _model(service: Service, request: Request) -> Response:
    if request.path_params["name"] != service.name:
        return _told(_unknown(service))
    return json_answer(_card(service))
