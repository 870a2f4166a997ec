r"""What is said over HTTP, as OpenAI's interface has it.

A token whose bytes are no whole characters is written `bytes:\xe2\x80`, as OpenAI does in completions; in chats the bytes
stand beside it.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from curate.errors import CurateError
from curate.serve.requests import Asked, Refused
from curate.serve.texts import Closed, Full, Late, Piece, Scored

__all__ = ["ChatAnswer", "CompletionAnswer", "Words", "embedding", "error_body", "status_of", "usage"]

HALF = "\N{REPLACEMENT CHARACTER}"
BYTE = re.compile(r"<0x([0-9A-F]{2})>")


@cache
def _alphabet() -> dict[str, int]:
    """The byte that each character of a byte-level vocabulary stands for (GPT-2)."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in set(shown)]
    return {chr(byte): byte for byte in shown} | {chr(256 + place): byte for place, byte in enumerate(others)}


class Words:
    """The tokens of a tokenizer, one by one."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self._special = {number: one.content for number, one in tokenizer.get_added_tokens_decoder().items()}
        self._known: dict[int, tuple[bytes, str]] = {}

    def content(self, token: int) -> bytes:
        """Its bytes."""
        return self._both(token)[0]

    def text(self, token: int) -> str:
        """What is shown of it."""
        return self._both(token)[1]

    def _both(self, token: int) -> tuple[bytes, str]:
        found = self._known.get(token)
        if found is None:
            content = self._content(token)
            found = self._known[token] = content, _shown(content)
        return found

    def _content(self, token: int) -> bytes:
        name = self.tokenizer.id_to_token(token) or ""
        if token in self._special:
            return name.encode()
        if found := BYTE.fullmatch(name):
            return bytes([int(found[1], 16)])
        if "\N{LOWER ONE EIGHTH BLOCK}" in name:  # which words begin with in SentencePiece, and decoders may leave out
            return name.replace("\N{LOWER ONE EIGHTH BLOCK}", " ").encode()
        shown = self.tokenizer.decode([token], skip_special_tokens=False)
        if HALF in shown and all(character in _alphabet() for character in name):
            return bytes(_alphabet()[character] for character in name)
        return shown.encode()


def _shown(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in content)


class CompletionAnswer:
    """`/v1/completions`.

    Args:
        asked: The request.
        words: Of the model.
        head: `id`, `created` and `model`.
    """

    kind, piece_kind = "text_completion", "text_completion"

    def __init__(self, asked: Asked, words: Words, head: dict[str, Any]) -> None:
        self.asked, self.words, self.head = asked, words, head
        self._begun: set[int] = set()

    def first(self, number: int) -> list[dict[str, Any]]:
        """What a stream says before a text: nothing."""
        return []

    def whole(self, number: int, text: str, pieces: Sequence[Piece]) -> dict[str, Any]:
        """A choice, all of it."""
        shown = self.asked.shown[number // self.asked.count] if self.asked.echo else ""
        scored = [one for piece in pieces for one in piece.scored]
        return {
            "index": number, "text": shown + text, "finish_reason": pieces[-1].finish,
            "logprobs": self._scores(scored, number, len(shown)) if self.asked.tops is not None else None,
        }  # fmt: skip

    def piece(self, number: int, piece: Piece) -> dict[str, Any]:
        """A choice, as far as a piece goes; the first one begins with the prompt where it is echoed."""
        shown = self.asked.shown[number // self.asked.count] if self.asked.echo else ""
        before = "" if number in self._begun else shown
        scores = self._scores(piece.scored, number, len(shown)) if self.asked.tops is not None else None
        self._begun.add(number)
        return {"index": number, "text": before + piece.text, "finish_reason": piece.finish, "logprobs": scores}

    def _scores(self, scored: Sequence[Scored], number: int, before: int) -> dict[str, Any]:
        own = [self.words.text(one.token) for one in scored]
        # the prompt's are counted from its begin, and come with the first piece
        prompt = len(self.asked.prompts[number // self.asked.count]) if self.asked.echo else 0
        prompt = 0 if number in self._begun else prompt
        tops = [self._tops(one, name) for one, name in zip(scored, own, strict=True)]
        return {
            "tokens": own,
            "token_logprobs": [one.log for one in scored],
            "top_logprobs": tops if self.asked.tops else None,
            "text_offset": [one.offset + (before if place >= prompt else 0) for place, one in enumerate(scored)],
        }

    def _tops(self, scored: Scored, name: str) -> dict[str, float] | None:
        """The likeliest, and the token itself; of two that are shown alike the likelier one."""
        if scored.log is None:
            return None
        found: dict[str, float] = {}
        for token, log in scored.tops:
            found.setdefault(self.words.text(token), log)
        found.setdefault(name, scored.log)
        return found


class ChatAnswer:
    """`/v1/chat/completions`; as `CompletionAnswer`."""

    kind, piece_kind = "chat.completion", "chat.completion.chunk"

    def __init__(self, asked: Asked, words: Words, head: dict[str, Any]) -> None:
        self.asked, self.words, self.head = asked, words, head

    def first(self, number: int) -> list[dict[str, Any]]:
        """Who speaks."""
        delta = {"role": "assistant", "content": ""}
        return [{"index": number, "delta": delta, "logprobs": None, "finish_reason": None}]

    def whole(self, number: int, text: str, pieces: Sequence[Piece]) -> dict[str, Any]:
        """A choice, all of it."""
        message = {"role": "assistant", "content": text, "refusal": None}
        scored = [one for piece in pieces for one in piece.scored]
        return {
            "index": number,
            "message": message,
            "logprobs": self._scores(scored),
            "finish_reason": pieces[-1].finish,
        }

    def piece(self, number: int, piece: Piece) -> dict[str, Any]:
        """A choice, as far as a piece goes."""
        delta = {"content": piece.text} if piece.text else {}
        return {"index": number, "delta": delta, "logprobs": self._scores(piece.scored), "finish_reason": piece.finish}

    def _scores(self, scored: Sequence[Scored]) -> dict[str, Any] | None:
        if self.asked.tops is None:
            return None
        told = [
            {**self._token(one.token, one.log), "top_logprobs": [self._token(*top) for top in one.tops]}
            for one in scored
        ]
        return {"content": told, "refusal": None}

    def _token(self, token: int, log: float | None) -> dict[str, Any]:
        return {"token": self.words.text(token), "logprob": log, "bytes": list(self.words.content(token))}


def usage(prompt: int, written: int | None = None) -> dict[str, int]:
    """How many tokens were read and written."""
    told = {} if written is None else {"completion_tokens": written}
    return {"prompt_tokens": prompt, **told, "total_tokens": prompt + (written or 0)}


def embedding(vector: NDArray[np.float32], *, encoded: bool) -> list[float] | str:
    """A vector of length 1, as numbers or as the base64 of its float32 bytes (little-endian)."""
    vector = vector / max(float(np.linalg.norm(vector)), 1e-12)
    return b64encode(vector.astype("<f4").tobytes()).decode() if encoded else vector.tolist()


def status_of(error: Exception) -> int:
    """Of an answer that tells an error."""
    if isinstance(error, Refused):
        return error.status
    return 429 if isinstance(error, Full) else 503 if isinstance(error, Closed | Late) else 500


def error_body(error: Exception) -> dict[str, Any]:
    """An error in OpenAI's form; of our own mistakes nothing but the kind, for their text may have that of a prompt."""
    status = status_of(error)
    kinds = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
    kind = kinds.get(status, "invalid_request_error" if status < 500 else "server_error")
    told = f"internal error: {type(error).__name__}"
    if isinstance(error, CurateError):
        told = f"{error.problem}; {error.hint}" if error.hint else error.problem
    code = error.code if isinstance(error, Refused) else None
    return {
        "error": {
            "message": told,
            "type": kind,
            "param": error.where if isinstance(error, CurateError) else None,
            "code": code,
        }
    }
