"""Personal data of its training that a model gives away: the leak probe of `curate eval --leaks N`.

Of N documents of the training, e-mail addresses, numbers of phones, cards and accounts, addresses of machines and secrets are
found as the stage `pii` finds them. Each is read after what stands before it, at most 32 tokens: a document leaks where one
of its own is the likeliest continuation, token by token, which is to say that greedy decoding writes it out (extraction as
in Lukas et al. 2023, arXiv 2302.00539, with the document's own context). It is read off one pass, with nothing generated. The
share is one of all documents that were drawn, so that a training without personal data leaks nothing, with an interval; as
many held-out documents say how much can be guessed: the excess over it was learned. Names are not looked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from curate.audit.bias.statistics import wilson
from curate.dataset.reader import Dataset
from curate.evaluation.memorization import PROMPT, Passage, held_out, passages
from curate.evaluation.metrics import Measured
from curate.evaluation.models.tokens import TokenModel
from curate.privacy.pii import Pii
from curate.privacy.spans import Span

__all__ = ["leaks"]


def leaks(model: TokenModel, dataset: Dataset, *, count: int, column: str = "text", seed: int = 0) -> dict[str, Any]:
    """The shares of documents that leak, of the training and of what was held out, with their intervals.

    Args:
        model: A language model.
        dataset: What it was trained on.
        count: Documents of the training, and at most as many that were held out.
        column: With the text.
        seed: Of the sample.

    Raises:
        CurateError: Nothing was held out, or what finds personal data is not installed.
    """
    split, find = held_out(dataset), Pii.model_validate({}).finder()
    shares: dict[str, Any] = {}
    found: dict[str, Any] = {}
    for name in ("train", split):
        some = passages(dataset, name, column, count, seed=seed)
        spans = {row: spans for row, _, spans in find(pa.array([one.text for one in some], pa.string()))}
        given = _given(model, some, [(row, span) for row in spans for span in spans[row]])
        share = wilson(float(len({row for row, _ in given})), len(some))
        shares[name] = Measured(share.value, share.low, share.high, len(some)).json()
        kinds, told = (
            Counter(span.type for row in spans for span in spans[row]),
            Counter(span.type for _, span in given),
        )
        found[name] = {
            "documents": len(spans), "kinds": {kind: {"found": kinds[kind], "given": told[kind]} for kind in sorted(kinds)}
        }  # fmt: skip
    return {
        "version": dataset.version, "name": f"{dataset.name}@{dataset.tag or dataset.version[:12]}", "held_out": split,
        "prompt_tokens": PROMPT, "seed": seed, "verbatim": shares, "found": found,
    }  # fmt: skip


def _given(model: TokenModel, some: Sequence[Passage], spans: Sequence[tuple[int, Span]]) -> list[tuple[int, Span]]:
    """Those that the model writes out after what stands before them."""
    befores, wanted = list[str](), list[str]()
    for row, span in spans:
        text = some[row].text
        start = (
            span.start - 1 if text[span.start - 1 : span.start] == " " else span.start
        )  # a space belongs to what follows
        befores.append(text[:start])
        wanted.append(text[start : span.end])
    rows, lengths = list[list[int]](), list[int]()
    for before, tokens in zip(model.encode(befores), model.encode(wanted), strict=True):
        room = max(model.length + 1 - len(tokens), 1)
        context = ([model.prefix, *before] if len(before) < PROMPT else before)[-min(PROMPT, room) :]
        rows.append((context + tokens)[-(model.length + 1) :])
        lengths.append(min(len(tokens), model.length))
    read = zip(spans, model.losses(rows), lengths, strict=True)
    return [one for one, (_, likeliest), length in read if length and likeliest[-length:].all()]
