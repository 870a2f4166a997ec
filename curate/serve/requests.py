"""What is asked over HTTP, as OpenAI's interface has it: read, checked, and made tokens.

Parameters that would change the answer and are not done here are refused unless they have the value that changes nothing;
those that change nothing in an answer (`user`, `metadata`) are taken and not used; others are refused by name, as OpenAI
does. `top_k`, `min_p` and `ignore_eos` are the further ones that vLLM has. Of a prompt errors repeat a role and what a template
says, both short. What is counted is counted before anything is made tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from secrets import randbits
from typing import Annotated, Any, ClassVar, Self, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from curate.errors import CurateError, did_you_mean
from curate.evaluation.models.generation import Sampling
from curate.evaluation.models.tokens import TokenModel
from curate.tokenize.chat import ChatTemplate
from curate.tokenize.turns import encode_exchange

__all__ = ["Asked", "ChatRequest", "CompletionRequest", "HeadRequest", "Refused", "body_of", "chat", "completion"]

T = TypeVar("T")
TOPS = 20
"""Most likely tokens that are told, as in OpenAI's chat and vLLM."""
STOPS, STOP_LENGTH = 16, 1000
COLDEST = 1e-4
"""Temperatures below it are 0: logits divided by them would not be finite."""
DEFAULT = 16
"""Most new tokens of a completion that does not say, as OpenAI has it."""
ROLE, SAID = 40, 200
"""Most characters that an error repeats of a role, and of what a template says."""
Many: TypeAlias = Annotated[list[T], Field(fail_fast=True)]
"""A list whose first mistake is told: a body may have millions."""
UNUSED = frozenset(
    (
        "user",
        "metadata",
        "store",
        "service_tier",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_retention",
        "verbosity",
    )
)
"""Parameters of OpenAI's that change nothing in an answer here."""
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "presence_penalty": (0,), "frequency_penalty": (0,), "logit_bias": ({},), "suffix": ("",), "best_of": (1,),
    "tools": ([],), "functions": ([],), "tool_choice": ("none",), "function_call": ("none",),
    "parallel_tool_calls": (True, False),
    "response_format": ({"type": "text"},), "modalities": (["text"],), "audio": (), "prediction": (), "reasoning_effort": (),
    "web_search_options": (), "dimensions": (),
}  # fmt: skip
"""Parameters of OpenAI's that are not done here, and the values, beside null, that ask for nothing."""


class Refused(CurateError):
    """A request that cannot be answered as it is.

    Args:
        problem: What is wrong.
        param: Where in the request.
        hint: The next step.
        status: Of HTTP.
        code: OpenAI's, for programs.
    """

    def __init__(
        self,
        problem: str,
        param: str | None = None,
        hint: str | None = None,
        *,
        status: int = 400,
        code: str | None = None,
    ) -> None:
        super().__init__(problem, param, hint)
        self.status, self.code = status, code


class _Request(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    model: str | None = None


class StreamOptions(BaseModel):
    """What a stream tells besides."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    include_usage: bool = False
    include_obfuscation: bool = False


class _Writing(_Request):
    temperature: float | None = Field(default=None, ge=0, le=100, allow_inf_nan=False)
    top_p: float | None = Field(default=None, gt=0, le=1, allow_inf_nan=False)
    top_k: int | None = Field(default=None, ge=-1, le=1 << 31)
    min_p: float | None = Field(default=None, ge=0, le=1, allow_inf_nan=False)
    n: int | None = Field(default=None, ge=1, le=128)
    seed: int | None = Field(default=None, ge=-(1 << 63), lt=1 << 63)
    stop: str | Many[str] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    ignore_eos: bool | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        stops = self.stops
        if any(not one for one in stops):
            raise ValueError("`stop` has an empty string, which would end all at once")
        if len(stops) > STOPS or any(len(one) > STOP_LENGTH for one in stops):
            raise ValueError(f"`stop` is at most {STOPS} strings of at most {STOP_LENGTH:,} characters")
        if self.stream_options and not self.stream:
            raise ValueError("`stream_options` is for `stream: true`")
        return self

    @property
    def stops(self) -> list[str]:
        return [self.stop] if isinstance(self.stop, str) else self.stop or []

    @property
    def sampling(self) -> Sampling:
        """How tokens are chosen; without a seed it is drawn."""
        heat = 1.0 if self.temperature is None else float(self.temperature)
        heat = heat if heat >= COLDEST else 0.0
        top_k = 0 if self.top_k in (None, -1) else self.top_k
        seed = randbits(63) if self.seed is None else self.seed % (1 << 64)
        return Sampling(heat, top_k or 0, self.top_p or 1.0, self.min_p or 0.0, seed)


class CompletionRequest(_Writing):
    """`POST /v1/completions`."""

    prompt: str | Many[str] | Many[int] | Many[Many[int]]
    max_tokens: int | None = Field(default=None, ge=0)
    logprobs: Annotated[int, Field(ge=0, le=TOPS)] | None = None
    echo: bool | None = None


class ChatRequest(_Writing):
    """`POST /v1/chat/completions`."""

    messages: Annotated[Many[dict[str, Any]], Field(min_length=1)]
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=TOPS)] | None = None

    @model_validator(mode="after")
    def _scores(self) -> Self:
        if self.top_logprobs and not self.logprobs:
            raise ValueError("`top_logprobs` is for `logprobs: true`")
        return self


class HeadRequest(_Request):
    """`POST /v1/embeddings` and `POST /v1/classify`: texts, or pairs of texts."""

    ENCODINGS: ClassVar = ("float", "base64")
    input: str | Many[str | tuple[str, str]]
    encoding_format: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _pairs(cls, given: Any) -> Any:
        """JSON has lists where pairs are meant."""
        if isinstance(given, dict) and isinstance(given.get("input"), list):
            made = [tuple(one) if isinstance(one, list) and len(one) == 2 else one for one in given["input"]]
            given = {**given, "input": made}
        return given

    @model_validator(mode="after")
    def _known(self) -> Self:
        if not self.input:
            raise ValueError("`input` has no text")
        if self.encoding_format not in (None, *self.ENCODINGS):
            raise ValueError(f"`encoding_format` is one of: {', '.join(self.ENCODINGS)}")
        return self


@dataclass(frozen=True, slots=True)
class Asked:
    """Texts that are to be written.

    Attributes:
        prompts: Their tokens.
        shown: The prompts as texts, where they are echoed.
        most: Most new tokens of each.
        count: Texts for each prompt.
        sampling: How tokens are chosen.
        stop: Strings that end a text.
        end: Tokens that end one.
        stream: Pieces are sent as they come.
        usage: A stream ends with how many tokens there were.
        tops: How many of the likeliest tokens are told with each; None: no scores.
        echo: The prompt is given back before its text.
    """

    prompts: list[list[int]]
    shown: list[str]
    most: int
    count: int
    sampling: Sampling
    stop: list[str]
    end: frozenset[int]
    stream: bool
    usage: bool
    tops: int | None
    echo: bool


def body_of(kind: type[_Request], content: bytes) -> Any:
    """A request of this kind.

    Raises:
        Refused: It is no JSON, or not such a request.
    """
    import orjson

    try:
        given = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise Refused(
            f"the body is no JSON ({where})", hint="NaN, infinities and nesting beyond 1,000 levels are none"
        ) from None
    if not isinstance(given, dict):
        raise Refused("the body is no JSON object")
    kept = {name: value for name, value in given.items() if name not in UNUSED and not _neutral(kind, name, value)}
    try:
        return kind.model_validate(kept)
    except ValidationError as error:
        raise _refused(kind, error) from None


def _neutral(kind: type[_Request], name: str, value: Any) -> bool:
    if name not in NEUTRAL or name in kind.model_fields:
        return False
    if value is None or value in NEUTRAL[name]:
        return True
    raise Refused(f"`{name}` is not done by this server", name, "leave it out", code="unsupported_parameter")


def _refused(kind: type[_Request], error: ValidationError) -> Refused:
    first = error.errors(include_input=False, include_url=False)[0]
    param = str(first["loc"][0]) if first["loc"] else None
    if first["type"] == "extra_forbidden" and param in kind.model_fields | {str(param): None}:
        name = str(param)[:100]
        near = did_you_mean(name, kind.model_fields) or "docs/serving.md lists what there is"
        return Refused(f"there is no parameter `{name}`", name, near, code="unknown_parameter")
    said = first["msg"].removeprefix("Value error, ")
    told = said if param is None else f"`{param}`: {said[:1].lower()}{said[1:]}"
    return Refused(told, param or (said.split("`")[1] if "`" in said else None))


def completion(asked: CompletionRequest, model: TokenModel, most: int, texts: int, characters: int) -> Asked:
    """The texts of a completion.

    Args:
        asked: The request.
        model: What writes.
        most: Most new tokens that the server allows.
        texts: Most texts in a request.
        characters: More of them are more tokens than the model reads, whatever they are.

    Raises:
        Refused: The model cannot read it.
    """
    given: Any = asked.prompt
    whole: list[Any] = [given] if isinstance(given, str) or (given and isinstance(given[0], int)) else list(given)
    if not whole:
        raise Refused("`prompt` has no text", "prompt")
    _check_count(len(whole) * (asked.n or 1), texts, "prompt" if len(whole) > 1 else "n")
    for one in whole:
        _check_size(len(one), characters if isinstance(one, str) else model.length, model, "prompt")
    prompts = [model.encode([one])[0] if isinstance(one, str) else list(one) for one in whole]
    prompts = [one or [model.prefix] for one in prompts]
    wanted = DEFAULT if asked.max_tokens is None else asked.max_tokens
    if not wanted and not asked.echo:
        raise Refused("`max_tokens` 0 asks for nothing", "max_tokens", "with `echo` the prompt is given back")
    wanted = _checked(asked, prompts, wanted, model, most, said=asked.max_tokens is not None)
    shown = [one if isinstance(one, str) else model.tokenizer.decode(one, skip_special_tokens=False) for one in whole]
    return _asked(asked, model, prompts, shown, wanted, asked.logprobs, model.end, echo=bool(asked.echo))


def chat(
    asked: ChatRequest, model: TokenModel, template: ChatTemplate | None, most: int, texts: int, characters: int
) -> Asked:
    """The texts of a conversation's next turn; the arguments are those of `completion`.

    Raises:
        Refused: The model cannot read it, or was not trained on conversations.
    """
    if template is None:
        raise Refused(
            "this model has no chat template: it was trained on no conversations", "messages",
            "ask /v1/completions; or train with `objective: {kind: sft}`, or put chat_template.jinja into its folder",
            code="no_chat_template",
        )  # fmt: skip
    _check_count(asked.n or 1, texts, "n")
    _check_size(len(asked.messages), model.length, model, "messages")
    said = (one.get("content") for one in asked.messages)
    _check_size(sum(len(one) for one in said if isinstance(one, str)), characters, model, "messages")
    try:
        rendered = template.exchange([_turn(one, number) for number, one in enumerate(asked.messages, 1)], [])
        prompt = encode_exchange(template, rendered[0], [])[0]
    except Refused:
        raise
    except CurateError as error:
        # its own hints are for who trains
        hint = "each message has a `role` that the template knows and a text in `content`; a user's or a tool's is the last"
        raise Refused(error.problem[:SAID], "messages", hint) from None
    wanted = asked.max_completion_tokens or asked.max_tokens
    room = min(most, max(model.length - len(prompt), 1))
    wanted = _checked(asked, [prompt], wanted or room, model, most, said=wanted is not None)
    tops = (asked.top_logprobs or 0) if asked.logprobs else None
    end = model.end if template.turn_end is None else model.end | {template.turn_end}
    return _asked(asked, model, [prompt], [""], wanted, tops, end, echo=False)


def _turn(message: dict[str, Any], number: int) -> dict[str, Any]:
    """A message as templates know it: parts of text are one text, a developer speaks as the system."""
    content, role = message.get("content"), message.get("role")
    if not isinstance(role, str) or len(role) > ROLE:
        raise Refused(f"message {number} has no `role` of at most {ROLE} characters", "messages")
    if isinstance(content, list):
        parts = [one.get("text") if isinstance(one, dict) and one.get("type") == "text" else None for one in content]
        if not all(isinstance(one, str) for one in parts):
            raise Refused(f"message {number} has parts that are no text", "messages", "this server reads texts alone")
        content = "".join(map(str, parts))
    return {**message, "role": "system" if role == "developer" else role, "content": content}


def _check_count(count: int, most: int, param: str) -> None:
    if count > most:
        raise Refused(f"a request is for at most {most:,} texts", param)


def _check_size(size: int, most: int, model: TokenModel, param: str) -> None:
    """Refuse what is too much before it is made tokens, which takes its time."""
    if size > most:
        raise Refused(
            f"this model reads {model.length:,} tokens at once, and this is more than can be as few", param,
            "shorten the prompt", code="context_length_exceeded",
        )  # fmt: skip


def _checked(
    asked: _Writing, prompts: Sequence[list[int]], wanted: int, model: TokenModel, most: int, *, said: bool
) -> int:
    """How many new tokens each text may have.

    Raises:
        Refused: More is asked for than the model reads, or the server allows.
    """
    if said and wanted > most:
        raise Refused(f"at most {most:,} new tokens are written here", "max_tokens", "see `curate serve --max-tokens`")
    vocabulary, longest = _vocabulary(model), max(map(len, prompts))
    if any(not 0 <= token < vocabulary for prompt in prompts for token in prompt):
        raise Refused(f"token numbers are from 0 to {vocabulary - 1:,}", "prompt")
    # as servers do, room is asked for the new tokens too; what was not said gives way
    wanted = wanted if said else max(min(wanted, most, model.length - longest), 1)
    if longest + wanted > model.length:
        raise Refused(
            f"this model reads {model.length:,} tokens at once: {longest:,} of the prompt and {wanted:,} new ones are too many",
            "messages" if isinstance(asked, ChatRequest) else "prompt", "shorten the prompt, or lower `max_tokens`",
            code="context_length_exceeded",
        )  # fmt: skip
    return wanted


def _vocabulary(model: TokenModel) -> int:
    trunk: Any = getattr(model, "trunk", None)
    rows = trunk.embedding.num_embeddings if trunk is not None else model.model.config.get_text_config().vocab_size  # type: ignore[attr-defined]
    return min(rows, model.tokenizer.get_vocab_size())


def _asked(
    asked: _Writing, model: TokenModel, prompts: list[list[int]], shown: list[str], most: int, tops: int | None,
    end: frozenset[int], *, echo: bool,
) -> Asked:  # fmt: skip
    usage = asked.stream_options is not None and asked.stream_options.include_usage
    return Asked(
        prompts, shown, most, asked.n or 1, asked.sampling, asked.stops, frozenset() if asked.ignore_eos else end,
        bool(asked.stream), usage, tops, echo,
    )  # fmt: skip
