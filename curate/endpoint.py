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
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from curate.errors import CurateError, ResumableError

__all__ = ["TOKEN", "Busy", "Refused", "answer", "ask", "chat_place"]

TOKEN = "CURATE_LLM_TOKEN"  # noqa: S105
SECONDS = 120.0
TRIES = 4
LONGEST_PAUSE = 300.0
MOST_BYTES = 64 << 20
_BUSY = (429, 502, 503, 504)


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


class Refused(CurateError):
    """The endpoint refuses a question; `code` is its status."""

    def __init__(self, code: int, place: str) -> None:
        super().__init__(f"the endpoint refuses the question ({code})", place)
        self.code = code


class Busy(ResumableError):
    """The endpoint cannot be reached, or says that it has no time, whatever it is asked."""


class _Garbage(Exception):
    """What came is no answer; `said` is its JSON, if it is any."""

    def __init__(self, said: Any = None) -> None:
        super().__init__("no answer")
        self.said = said


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
    body = {"model": model, "temperature": 0, "messages": list(messages)}
    said = ask(place, body, seconds=seconds, token=os.environ.get(TOKEN))
    try:
        return str(said["choices"][0]["message"]["content"])
    except (KeyError, IndexError, TypeError):
        raise CurateError("what answers there speaks no chat completions", place) from None


def ask(
    place: str,
    body: dict[str, Any],
    *,
    seconds: float,
    tries: int = TRIES,
    token: str | None = None,
    check: Callable[[Any], object] | None = None,
    failed: Callable[[Any], object] | None = None,
) -> Any:
    """The JSON that an endpoint answers; one that is busy or broken is asked again, no sooner than its `Retry-After` says.

    Args:
        place: Where.
        body: What is asked.
        seconds: That a try may take.
        tries: How often it is asked.
        token: Goes along, and to no other place.
        check: Raises ValueError for what is no answer; it is then asked again. None: no JSON is an error at once.
        failed: Told of each try without an answer that may cost something, with the JSON that came, or None.

    Raises:
        Refused: It refuses this question.
        CurateError: It refuses the token, sends elsewhere, or says no JSON.
        Busy: It cannot be reached, or has no time.
        ResumableError: It does not answer.
    """
    tell = failed or (lambda said: None)
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
    request = urllib.request.Request(place, json.dumps(body).encode(), headers)  # noqa: S310
    problem, busy = "", False
    for attempt in range(1, tries + 1):
        pause, busy = 0.5 * 2**attempt, False
        try:
            return _tried(request, place, seconds, check)
        except urllib.error.HTTPError as error:
            problem, busy = f"it answers {error.code}", error.code in _BUSY
            pause = max(pause, _retry_after(error))
        except urllib.error.URLError as error:  # before it has the question
            problem, busy = str(error.reason), True
        except (TimeoutError, ConnectionError, http.client.HTTPException) as error:  # it breaks off, or is no HTTP
            problem = str(error) if isinstance(error, OSError) else f"it breaks off ({type(error).__name__})"
            tell(None)
        except _Garbage as error:
            problem = "what it says is no answer"
            tell(error.said)
        if attempt < tries:
            time.sleep(min(pause, LONGEST_PAUSE))
    said = f"the endpoint does not answer: {problem}", place, "the same command goes on"
    raise Busy(*said) if busy else ResumableError(*said)


def _tried(request: urllib.request.Request, place: str, seconds: float, check: Callable[[Any], object] | None) -> Any:
    """One try; what another one may change is raised as it comes."""
    try:
        with urllib.request.build_opener(_Stays).open(request, timeout=seconds) as answered:
            content = answered.read(MOST_BYTES)
            if answered.length:
                raise http.client.IncompleteRead(content, answered.length)
            said = json.loads(content)
        if check:
            _checked(said, check)
        return said
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in (401, 403):
            raise CurateError(f"the endpoint refuses ({error.code})", place, f"its token is {TOKEN}") from None
        if 300 <= error.code < 400:
            hint = "name the address where it answers; token and question go to no other"
            raise CurateError(f"the endpoint sends elsewhere ({error.code})", place, hint) from None
        if error.code != 429 and error.code < 500:
            raise Refused(error.code, place) from None
        raise
    except (ValueError, RecursionError):
        if check:
            raise _Garbage from None
        raise CurateError("what the endpoint says is no JSON", place) from None


def _checked(said: Any, check: Callable[[Any], object]) -> None:
    try:
        check(said)
    except (ValueError, RecursionError):
        raise _Garbage(said) from None


def _retry_after(error: urllib.error.HTTPError) -> float:
    """Seconds that an endpoint asks to wait; 0 where it does not say, or names a day."""
    try:
        return max(0.0, float(error.headers.get("Retry-After") or 0))
    except ValueError:
        return 0.0


class _Stays(urllib.request.HTTPRedirectHandler):
    """Follows no redirection: the token would go along."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> None:
        """Nothing: the answer is an error with its number."""
