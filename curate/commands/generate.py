"""`curate generate`: let a model go on with prompts, or talk to it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from curate.commands.eval import Backend
from curate.commands.options import Json
from curate.terminal import echo

if TYPE_CHECKING:
    from curate.evaluation.generate import Prompt, Speaker
    from curate.evaluation.models.contract import Completion

__all__ = ["generate"]

Judge = Callable[[Sequence[Any], Sequence[Any]], list[float]]
"""From prompts and answers to scores."""

NEXT_TURN = 1_000_003
"""Between the seeds of two turns."""

Model = Annotated[str, typer.Argument(help="A run, its folder, a checkpoint, or a Hugging Face folder.")]
Prompts = Annotated[list[str] | None, typer.Argument(help="What it goes on with; - reads one from stdin.")]
File = Annotated[
    Path | None,
    typer.Option(help="Prompts: a text a line, or jsonl, csv or parquet with `prompt` or `messages`.", metavar="FILE"),
]
Column = Annotated[str | None, typer.Option(help="Column of --file with the prompts.")]
Chat = Annotated[bool, typer.Option("--chat", help="Talk to it: a line is a turn; an empty line, or Ctrl-D, ends.")]
System = Annotated[str | None, typer.Option(help="What the conversation begins with.", metavar="TEXT")]
Plain = Annotated[
    bool, typer.Option("--plain", help="Go on with the text as it is, though the model was trained on conversations.")
]
Suffix = Annotated[
    str | None,
    typer.Option(
        help="What stands behind: the model fills in between PROMPT and this (trained with fill_in_the_middle).",
        metavar="TEXT",
    ),
]
NewTokens = Annotated[
    int | None, typer.Option(min=1, help="Most new tokens; by default 256, or half of what the model reads at once.")
]
TopP = Annotated[float, typer.Option(min=1e-9, max=1, help="Draw from the likeliest whose shares come to this.")]
MinP = Annotated[
    float, typer.Option(min=0, max=1, help="Leave out what has less than this share of the likeliest one's.")
]
BestBy = Annotated[
    str | None,
    typer.Option(help="A reward model: of the texts of each prompt (-n) only the best is kept.", metavar="MODEL"),
]
Stop = Annotated[list[str] | None, typer.Option(help="A string that ends a text; may be repeated.", metavar="TEXT")]
Out = Annotated[Path | None, typer.Option(help="Write JSON lines there, not to stdout.", metavar="FILE")]


def generate(
    model: Model,
    prompts: Prompts = None,
    file: File = None,
    column: Column = None,
    chat: Chat = False,
    system: System = None,
    plain: Plain = False,
    suffix: Suffix = None,
    new_tokens: NewTokens = None,
    temperature: Annotated[float, typer.Option(min=0, help="0 takes the likeliest token each time.")] = 0.8,
    top_k: Annotated[int, typer.Option(min=0, help="Draw from so many of the likeliest; 0: from all.")] = 0,
    top_p: TopP = 1.0,
    min_p: MinP = 0.0,
    stop: Stop = None,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    each: Annotated[int, typer.Option("--each", "-n", min=1, help="Texts for each prompt.")] = 1,
    best_by: BestBy = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Most texts at a time; by default what is quick.")] = None,
    length: Annotated[int | None, typer.Option(min=2, help="Most tokens read at once; by default the model's.")] = None,
    backend: Backend = "auto",
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Let a model go on with prompts, or talk to it.

    One prompt is answered as it comes; several, or a file, as JSON lines. A model that was trained on conversations is asked
    in its own format. The same seed gives the same texts, in whatever batch.
    """
    from curate.evaluation.generate import Speaker
    from curate.evaluation.models.generation import Sampling
    from curate.evaluation.models.opened import open_model
    from curate.evaluation.request import model_place

    asked = _asked(prompts or [], file, column, chat=chat)
    _check(stop or [], several=each > 1, out=out, chat=chat, as_json=as_json, best=best_by is not None, suffix=suffix)
    judge = _judge(best_by) if best_by else None
    opened: Any = open_model(model_place(model), length=length, backend=backend)
    speaker = Speaker.of(
        opened, plain=plain, system=system, most=new_tokens, stop=stop or [], rows=batch, suffix=suffix,
        sampling=Sampling(temperature, top_k, top_p, min_p, seed),
    )  # fmt: skip
    if chat:
        _converse(speaker)
    elif len(asked) * each == 1 and not (as_json or out or file):
        [found] = speaker.say(speaker.encode(asked), tell=_write)
        echo("")
        _tell_cut([found])
    else:
        _many(speaker, asked, each, out, as_json=as_json, judge=judge)


def _judge(model: str) -> Judge:
    from curate.evaluation.request import model_place
    from curate.train.weights.reward_model import open_reward_model

    return open_reward_model(model_place(model)).judge


def _check(
    stop: list[str], *, several: bool, out: Path | None, chat: bool, as_json: bool, best: bool, suffix: str | None
) -> None:
    if best and not several:
        raise typer.BadParameter("--best-by keeps the best of several texts: -n says of how many")
    if "" in stop:
        raise typer.BadParameter("--stop is a string that ends a text: an empty one ends all at once")
    if as_json and out:
        raise typer.BadParameter("--json is for stdout, --out writes JSON lines: take one of them")
    if chat and suffix is not None:
        raise typer.BadParameter("--suffix is for plain texts: leave out --chat")
    if chat and (several or out or as_json):
        raise typer.BadParameter("--chat is one conversation: leave out --each, --out and --json")


def _asked(prompts: list[str], file: Path | None, column: str | None, *, chat: bool) -> list[Prompt]:
    """What was asked for, before a model is loaded."""
    from curate.errors import CurateError
    from curate.evaluation.generate import read_prompts

    if sum((bool(prompts), file is not None, chat)) != 1:
        raise CurateError(
            "it is not said what to go on with" if not (prompts or file or chat) else "there are prompts of two kinds",
            hint="a PROMPT, --file FILE or --chat",
        )
    if file is not None:
        return read_prompts(file, column)
    return [_text(sys.stdin.read()).removesuffix("\n") if prompt == "-" else prompt for prompt in prompts]


def _text(given: str) -> str:
    """What came from stdin.

    Raises:
        CurateError: It was no UTF-8.
    """
    from curate.errors import CurateError

    try:
        given.encode()
    except UnicodeEncodeError:
        raise CurateError("what came from stdin is no UTF-8 text", "stdin") from None
    return given


def _write(_: int, text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _tell_cut(found: list[Completion]) -> None:
    cut = sum(one.cut > 0 for one in found)
    if cut:
        echo(f"generate: {cut:,} of {len(found):,} prompts were too long for the model, and lost their begin", err=True)


def _many(
    speaker: Speaker, asked: list[Prompt], each: int, out: Path | None, *, as_json: bool, judge: Judge | None
) -> None:
    import json

    from curate.commands.options import print_json
    from curate.evaluation.generate import best_of
    from curate.files import write_durably

    tokens = [one for one in speaker.encode(asked) for _ in range(each)]
    last = 0

    def done(count: int) -> None:
        nonlocal last
        if count * 10 // len(tokens) > last:
            last = count * 10 // len(tokens)
            echo(f"generate: {count:,} of {len(tokens):,}", err=True)

    found = speaker.say(tokens, done=done)
    rows = [
        {"prompt": asked[number // each], "sample": number % each, **one._asdict()} for number, one in enumerate(found)
    ]
    if judge is not None:
        rows = best_of(rows, each, system=speaker.system, score=judge)
    if as_json:
        print_json({"model": speaker.model.name, "completions": rows})
        return
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    if out is None:
        sys.stdout.write(lines)
    else:
        write_durably(out, lines.encode())
        echo(f"{out}: {len(rows):,} texts", err=True)
    _tell_cut(found)


def _converse(speaker: Speaker) -> None:
    from dataclasses import replace

    from curate.errors import CurateError

    if speaker.template is None:
        raise CurateError(
            f"{speaker.model.name} was trained on no conversations",
            "--chat",
            "`curate generate MODEL PROMPT` goes on with a text",
        )
    turns: list[dict[str, Any]] = []
    while True:
        sys.stderr.write("> ")
        sys.stderr.flush()
        line = _text(sys.stdin.readline()).strip()
        if not line:
            return
        turns.append({"role": "user", "content": line})
        while len(tokens := speaker.encode([turns])[0]) > speaker.room and len(turns) > 2:
            del turns[:2]
            echo("generate: the conversation is too long for the model: its first turns are left out", err=True)
        [said] = speaker.say([tokens], tell=_write)
        speaker.sampling = replace(speaker.sampling, seed=speaker.sampling.seed + NEXT_TURN)
        echo("")
        if said.text.strip():
            turns.append({"role": "assistant", "content": said.text})
        else:
            turns.pop()
            echo("generate: it said nothing", err=True)
