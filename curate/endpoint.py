"""Models behind an endpoint that speaks OpenAI's chat completions: a question, and what is said to it.

A busy or broken endpoint is asked again, a little later each time. What is asked leaves this machine if the endpoint is
elsewhere. The token is CURATE_LLM_TOKEN of the environment, and goes to the endpoint that was named: redirections are refused.
"""

from __future__ import annotations

import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from curate.errors import CurateError, ResumableError

__all__ = ["TOKEN", "answer", "chat_place"]

TOKEN = "CURATE_LLM_TOKEN"  # noqa: S105
SECONDS = 120.0
TRIES = 4


def chat_place(url: str, where: str) -> str:
    """Where chat completions are asked for.

    Args:
        url: Of the endpoint, `http://127.0.0.1:8000/v1`.
        where: What a refusal names.

    Raises:
        CurateError: The URL is none, or has a password in it.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise CurateError(f"`{url.rpartition('@')[2]}` is no endpoint", where, "e.g. http://127.0.0.1:8000/v1")
    return f"{url.rstrip('/')}/chat/completions"


def answer(place: str, model: str, messages: Sequence[dict[str, str]], *, seconds: float = SECONDS) -> str:
    """What the model says, with temperature 0.

    Args:
        place: Of `chat_place`.
        model: Its name there.
        messages: The conversation, each {role, content}.
        seconds: That a try may take.

    Raises:
        CurateError: It refuses, or does not speak chat completions.
        ResumableError: It does not answer.
    """
    said = _asked(place, {"model": model, "temperature": 0, "messages": list(messages)}, seconds)
    try:
        return str(said["choices"][0]["message"]["content"])
    except (KeyError, IndexError, TypeError):
        raise CurateError("what answers there speaks no chat completions", place) from None


def _asked(place: str, body: dict[str, Any], seconds: float) -> Any:
    headers = {"Content-Type": "application/json"}
    if os.environ.get(TOKEN):
        headers["Authorization"] = f"Bearer {os.environ[TOKEN]}"
    opener = urllib.request.build_opener(_Stays)
    request = urllib.request.Request(place, json.dumps(body).encode(), headers)  # noqa: S310
    problem = ""
    for attempt in range(1, TRIES + 1):
        try:
            with opener.open(request, timeout=seconds) as answered:
                return json.loads(answered.read())
        except urllib.error.HTTPError as error:
            error.close()
            if error.code in (401, 403):
                raise CurateError(f"the endpoint refuses ({error.code})", place, f"its token is {TOKEN}") from None
            if 300 <= error.code < 400:
                hint = "name the address where it answers; token and question go to no other"
                raise CurateError(f"the endpoint sends elsewhere ({error.code})", place, hint) from None
            if error.code != 429 and error.code < 500:
                raise CurateError(f"the endpoint refuses the question ({error.code})", place) from None
            problem = f"it answers {error.code}"
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            problem = str(getattr(error, "reason", error))
        except http.client.HTTPException as error:  # an answer that breaks off, or is no HTTP
            problem = f"it breaks off ({type(error).__name__})"
        except (ValueError, RecursionError):
            raise CurateError("what the endpoint says is no JSON", place) from None
        if attempt < TRIES:
            time.sleep(0.5 * 2**attempt)
    raise ResumableError(f"the endpoint does not answer: {problem}", place, "the same command goes on")


class _Stays(urllib.request.HTTPRedirectHandler):
    """Follows no redirection: the token would go along."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> None:
        """Nothing: the answer is an error with its number."""
