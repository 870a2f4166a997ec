"""A language model behind a server that speaks OpenAI's completions: `POST URL/completions`.

Log-probabilities are asked for with `echo` and `logprobs`, of prompts of token numbers: the model's tokenizer, on this
machine, cuts texts as for a model here, so that the numbers are the same. Completions can be had without it. The URL is
taken as it is given, redirections are not followed, and the key is OPENAI_API_KEY of the environment.
"""

from __future__ import annotations

import http.client
import json
import math
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any, TypeVar
from urllib.parse import urlsplit

import numpy as np
from tokenizers import Tokenizer

from curate.errors import CurateError, ResumableError
from curate.evaluation.models.contract import Completion, Likelihood, TextLosses
from curate.evaluation.models.identity import answers_hash
from curate.evaluation.models.windows import Window, batches, likelihoods, scored_windows, text_windows

__all__ = ["KEY", "EndpointModel", "open_endpoint"]

KEY = "OPENAI_API_KEY"
AT_ONCE = 8
"""Requests at a time."""
TOKENS = 8192
"""Most tokens of the prompts of a request."""
SECONDS = 120.0
TRIES = 5
LONGEST_WAIT = 60.0
LENGTH = 2048
"""Tokens read at once where the server says of no limit."""
STOPS = 4
"""Most strings that such servers stop at; all are looked for here, too."""
Request = TypeVar("Request")
Answer = TypeVar("Answer")


class EndpointModel:
    """A model that a server computes.

    Args:
        url: Of the server, up to `/v1`.
        model: What it calls the model.
        tokenizer: The model's tokenizer; None: it can only be asked for completions.
        prefix: The token that stands before a text.
        length: Most tokens that it reads at once.
        seconds: How long an answer may take.
    """

    backend = "endpoint"

    def __init__(
        self, url: str, model: str, *, tokenizer: Tokenizer | None, prefix: int, length: int, seconds: float = SECONDS
    ) -> None:
        self.url, self.model, self.seconds = url.rstrip("/"), model, seconds
        self.name, self.weights, self.length = model, f"{self.url} {model}", length
        self.identity = answers_hash(self.weights, self.backend, tokenizer, prefix=prefix)
        self.tokenizer, self.prefix = tokenizer, prefix
        self.progress: Callable[[float], None] = lambda share: None

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of texts, none added.

        Raises:
            CurateError: There is no tokenizer.
        """
        if self.tokenizer is None:
            raise CurateError(
                "log-probabilities are of tokens, and the tokenizer of the server's model is not known", self.url,
                "--endpoint-tokenizer: a folder with its tokenizer.json",
            )  # fmt: skip
        return [one.ids for one in self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[Likelihood]:
        """See `LanguageModel.score`."""
        windows, cuts = scored_windows(self.encode, pairs, self.prefix, self.length)
        read = self._read(windows)
        return likelihoods(((window, *found) for window, found in zip(windows, read, strict=True)), cuts)

    def read(self, texts: Sequence[str]) -> list[TextLosses]:
        """See `LanguageModel.read`."""
        encoded = self.encode(texts)
        windows = text_windows(encoded, self.prefix, self.length)
        losses: list[list[np.ndarray]] = [[np.zeros(0)] for _ in encoded]
        for window, (logs, _) in zip(windows, self._read(windows), strict=True):
            losses[window.request].append(-logs)
        return [
            TextLosses(np.array(tokens, np.int64), np.concatenate(parts).astype(np.float32))
            for tokens, parts in zip(encoded, losses, strict=True)
        ]

    def complete(
        self,
        prompts: Sequence[str],
        *,
        most: int,
        stop: Sequence[str] = (),
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[Completion]:
        """See `LanguageModel.complete`; what `seed` draws is the server's."""
        room = self.length - most
        if room < 1:
            raise CurateError(
                f"{most} new tokens leave no room for a prompt: {self.name} reads {self.length} tokens at once"
            )
        encoded = self.encode(prompts) if self.tokenizer else None
        asked: list[tuple[dict[str, Any], int]] = []
        for number, prompt in enumerate(prompts):
            tokens = (encoded[number] or [self.prefix]) if encoded else None
            asked.append((
                {
                    "prompt": prompt if tokens is None else tokens[-room:], "max_tokens": most,
                    "temperature": temperature, "seed": seed + number, **({"stop": list(stop[:STOPS])} if stop else {}),
                },
                0 if tokens is None else max(len(tokens) - room, 0),
            ))  # fmt: skip
        return self._all(asked, lambda one: self._completion(*one, stop))

    def _completion(self, body: dict[str, Any], cut: int, stop: Sequence[str]) -> Completion:
        answered = self._asked(body)
        try:
            choice = answered["choices"][0]
            text, finish = str(choice["text"]), choice.get("finish_reason")
            count = int((answered.get("usage") or {}).get("completion_tokens") or 0)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError):
            raise self._speaks_otherwise() from None
        first = min((place for string in stop if (place := text.find(string)) >= 0), default=None)
        return Completion(text[:first], count, "length" if finish == "length" and first is None else "stop", cut)

    def _read(self, windows: Sequence[Window]) -> list[tuple[np.ndarray, bool]]:
        """Of each window the log-probabilities of its targets, and whether each was the likeliest token."""
        found: list[tuple[np.ndarray, bool]] = [(np.zeros(0), True)] * len(windows)
        order = sorted((n for n in range(len(windows)) if windows[n].targets), key=lambda n: -len(windows[n].tokens))
        groups = list(batches(order, lambda number: len(windows[number].tokens), most=TOKENS))
        for group, answers in zip(
            groups, self._all(groups, lambda some: self._echo([windows[n] for n in some])), strict=True
        ):
            for number, answer in zip(group, answers, strict=True):
                found[number] = answer
        return found

    def _echo(self, windows: Sequence[Window]) -> list[tuple[np.ndarray, bool]]:
        prompts = [window.tokens for window in windows]
        # one new token: there are servers that refuse to make none
        answered = self._asked({"prompt": prompts, "max_tokens": 1, "temperature": 0, "echo": True, "logprobs": 1})
        try:
            choices = sorted(answered["choices"], key=lambda choice: choice["index"])
        except (KeyError, TypeError):
            raise self._speaks_otherwise() from None
        if len(choices) != len(prompts):
            raise CurateError(
                f"the server answers {len(choices)} of {len(prompts)} prompts in one request", self.url, _NEEDS
            )
        counted = (answered.get("usage") or {}).get("prompt_tokens")
        if counted == sum(map(len, prompts)) + len(prompts):
            raise self._begins_otherwise()
        return [
            self._of_targets(window, choice.get("logprobs")) for window, choice in zip(windows, choices, strict=True)
        ]

    def _of_targets(self, window: Window, told: Any) -> tuple[np.ndarray, bool]:
        logs = (told or {}).get("token_logprobs")
        if not logs or len(logs) < len(window.tokens):
            raise CurateError(
                "the server does not give the log-probabilities of the prompt's tokens: it ignores `echo` or `logprobs`",
                self.url, _NEEDS,
            )  # fmt: skip
        if len(logs) > len(window.tokens) + 1:  # the prompt's, and the new token's
            raise self._begins_otherwise()
        part = slice(len(window.tokens) - window.targets, len(window.tokens))
        values = logs[part]
        if any(value is None or not math.isfinite(value) for value in values):
            raise CurateError(f"the model {self.name} gives numbers that are not finite", self.url)
        tops = ((told or {}).get("top_logprobs") or [None] * len(logs))[part]
        greedy = all(value >= max((top or {"": -math.inf}).values()) for value, top in zip(values, tops, strict=True))
        return np.array(values, np.float64), greedy and all(tops)

    def _all(self, requests: Sequence[Request], answer: Callable[[Request], Answer]) -> list[Answer]:
        found: list[Answer] = []
        with ThreadPoolExecutor(AT_ONCE) as pool:
            try:
                for one in pool.map(answer, requests):
                    found.append(one)
                    self.progress(len(found) / len(requests))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        return found

    def _begins_otherwise(self) -> CurateError:
        return CurateError(
            "the server puts a token of its own before each prompt: its numbers would be of other places", self.url,
            "it must read prompts of token numbers as they are (`add_special_tokens: false`, `add_bos_token: false`)",
        )  # fmt: skip

    def _speaks_otherwise(self) -> CurateError:
        return CurateError("what the server says is no completion", self.url, _NEEDS)

    def _asked(self, body: Mapping[str, Any]) -> Any:
        return ask(f"{self.url}/completions", {"model": self.model, **body}, seconds=self.seconds)


_NEEDS = (
    "the server must speak OpenAI's completions with echo and logprobs, as vLLM and llama.cpp's server for Python do"
)


class _Stays(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> None:
        """The key and the texts go where the user said, and nowhere else."""


def ask(place: str, body: Mapping[str, Any] | None, *, seconds: float) -> Any:
    """What a server answers; a busy, broken or slow one is asked again, later each time.

    Raises:
        CurateError: It refuses.
        ResumableError: It did not answer, TRIES times.
    """
    headers = {"Content-Type": "application/json"}
    if os.environ.get(KEY):
        headers["Authorization"] = f"Bearer {os.environ[KEY]}"
    request = urllib.request.Request(place, None if body is None else json.dumps(body).encode(), headers)  # noqa: S310
    opener, problem = urllib.request.build_opener(_Stays()), ""
    for attempt in range(1, TRIES + 1):
        wait = 0.5 * 2**attempt
        try:
            with opener.open(request, timeout=seconds) as answered:
                return json.loads(_whole(answered, until=monotonic() + seconds))
        except urllib.error.HTTPError as error:
            with error:  # its socket stays open otherwise
                said = error.read1(2000).decode(errors="replace").strip()
            if error.code in (401, 403):
                raise CurateError(f"the server refuses ({error.code})", place, f"its key is {KEY}") from None
            if error.code != 429 and error.code < 500:
                raise CurateError(
                    f"the server refuses the question ({error.code}): {_hidden(said)[:300]}", place
                ) from None
            problem, wait = f"it answers {error.code}", max(wait, _after(error.headers.get("Retry-After")))
        except (urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            late = isinstance(reason, TimeoutError)
            problem = f"no answer within {seconds:g} s" if late else str(reason) or type(error).__name__
        except ValueError:
            raise CurateError("what the server says is no JSON", place, _NEEDS) from None
        if attempt < TRIES:
            time.sleep(min(wait, LONGEST_WAIT))
    raise ResumableError(
        f"the server does not answer, {TRIES} times: {problem}",
        place,
        "the same command goes on with the task that it was at",
    )


def _whole(answered: Any, *, until: float) -> bytes:
    """A body, which has to be there in time: a socket's timeout is for each part of it."""
    parts: list[bytes] = []
    while part := answered.read1(1 << 16):
        parts.append(part)
        if monotonic() > until:
            raise TimeoutError
    if answered.length:
        raise http.client.IncompleteRead(b"".join(parts), answered.length)
    return b"".join(parts)


def _hidden(said: str) -> str:
    """A server may repeat the key that it does not like."""
    key = os.environ.get(KEY)
    return said.replace(key, "[key]") if key else said


def _after(header: str | None) -> float:
    return float(header) if header and header.isdigit() else 0.0


def open_endpoint(
    url: str, model: str | None, *, tokenizer: str | None = None, length: int | None = None
) -> EndpointModel:
    """The model of a server.

    Args:
        url: Of the server, up to `/v1`.
        model: What it calls the model; needed unless it has a single one.
        tokenizer: A folder with the model's tokenizer.json, or that file.
        length: Most tokens read at once; by default what fits in `max_model_len` of the server, else LENGTH.

    Raises:
        CurateError: It is no URL, or the server does not know the model.
    """
    parts = urlsplit(url)
    if not parts.hostname or parts.username:
        raise CurateError(f"`{url.rpartition('@')[2]}` is no endpoint", hint="e.g. http://127.0.0.1:8000/v1")
    known = _models(url)
    if model is None and len(known) != 1:
        raise CurateError("it is not said which model of the server is meant", url, "--endpoint-model NAME")
    name = model or next(iter(known))
    if known and name not in known:
        raise CurateError(f"the server has no model `{name}`", url, f"it has: {', '.join(sorted(known))}")
    # what is scored has a token more than is read, and the server is asked for one more
    most = max((known.get(name) or 0) - 2, 0) or LENGTH
    words, prefix = _tokenizer(tokenizer) if tokenizer else (None, 0)
    return EndpointModel(url, name, tokenizer=words, prefix=prefix, length=min(length or most, most))


def _models(url: str) -> dict[str, int | None]:
    """The models that a server lists, each with the most tokens that it reads, where it says so."""
    try:
        listed = ask(f"{url.rstrip('/')}/models", None, seconds=SECONDS)["data"]
        return {str(one["id"]): one.get("max_model_len") for one in listed}
    except (KeyError, TypeError, AttributeError):
        return {}
    except CurateError as error:
        if "(404)" in error.problem or "(405)" in error.problem:
            return {}  # completions alone are enough
        raise


def _tokenizer(path: str) -> tuple[Tokenizer, int]:
    from pathlib import Path

    from curate.tokenize.roles import roles_of
    from curate.tokenize.tokenizer import load_tokenizer

    place = Path(path) / "tokenizer.json" if Path(path).is_dir() else Path(path)
    if not place.is_file():
        raise CurateError(f"there is no tokenizer `{place}`", "--endpoint-tokenizer")
    tokenizer = load_tokenizer(place)
    known = roles_of(tokenizer, place.parent)
    return tokenizer, known.get("start", known["end_of_text"])
