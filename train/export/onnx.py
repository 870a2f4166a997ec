"""Our own forward pass as an ONNX graph, without a cache: encoders, classifiers, and the logits of decoders.

    input_ids       int64 (rows, length)      any number of rows, and of tokens up to the model's length
    attention_mask  int64 (rows, length)      1 where there is a token; what is filled stands at the end of a row
    token_type_ids  int64 (rows, length)      0 in the first text of a pair and 1 in the second, of encoders
    logits          float32                   (rows, labels) of a classifier, else (rows, length, labels or tokens)

The graph is computed by ONNX Runtime for two shapes, one of them with filled rows, and compared with our forward pass. Export
takes about 8 CPU seconds, whatever the size; a file holds at most 2 GB.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from curate.errors import CurateError
from curate.tokenize.roles import roles as known_roles
from curate.tokenize.tokenizer import load_tokenizer
from curate.train.export.formats import Form, Made
from curate.train.export.forward import TOLERANCE, Forward, check_tokens, head_of, refuse_difference
from curate.train.weights.export import Trained, plain
from curate.train.weights.origin import Stored
from curate.train.weights.tokenizer_files import write_tokenizer

__all__ = ["refuse", "write"]

FILE = "model.onnx"
_KINDS = ("encoder", "decoder", "cnn")
_MOST = 2**31 - 2**24
"""Bytes of weights that one file can hold beside the graph."""


class _Graph(nn.Module):
    """`Forward` by the names that tokenizers give.

    Args:
        forward: What it computes.
    """

    def __init__(self, forward: Forward) -> None:
        super().__init__()
        self.inner = forward
        self.accepts: frozenset[str] = forward.trunk.accepts

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        """See the head of this file."""
        beside = {"documents": torch.where(attention_mask > 0, 0, -1)}
        if "positions" in self.accepts:
            beside["positions"] = torch.arange(input_ids.shape[1], device=input_ids.device)
        if token_type_ids is not None:
            beside["segments"] = token_type_ids
        return self.inner(input_ids, **beside)


def refuse(stored: Stored, path: Path) -> None:
    """Refuse a model whose forward pass is not written, before it is read.

    Raises:
        CurateError: It says which are.
    """
    sizes, objective = stored.sizes, stored.config.objective.kind
    if sizes.kind not in _KINDS or sizes.experts or head_of(objective) == "seq2seq":
        kind = f"{sizes.kind} with experts" if sizes.experts else sizes.kind
        raise CurateError(
            f"a model of the kind {kind} trained for `{objective}` is not written as ONNX here",
            str(path),
            f"kinds that are: {', '.join(_KINDS)}, without experts",
        )


def write(trained: Trained, path: Path, folder: Path, form: Form) -> Made:
    """Write FOLDER/model.onnx and the tokenizer, and compare the graph with the model.

    Raises:
        CurateError: The model is too large, or what was written is not the model.
    """
    trained = plain(trained)
    window = trained.sizes.window if trained.sizes.windowed else None
    if window and window < trained.length:
        raise CurateError(f"a graph of all lengths has no window, and the model has one of {window} tokens", str(path))
    if 4 * sum(tensor.numel() for tensor in trained.tensors.values()) > _MOST:
        raise CurateError("the model has more than 2 GB of weights, which no ONNX file holds", str(path))
    roles = known_roles(load_tokenizer(trained.tokenizer))
    write_tokenizer(folder, trained.tokenizer, roles, length=trained.length, chat_template=trained.chat_template)
    graph = _Graph(Forward(trained))
    names = ["input_ids", "attention_mask", *(["token_type_ids"] if trained.sizes.segments else [])]
    _export(graph, names, trained.length, folder / FILE)
    facts = {"inputs": names, "length": trained.length, "labels": trained.labels}
    return Made(trained, _compare(trained, graph.inner, names, folder / FILE), facts=facts)


def _export(graph: nn.Module, names: list[str], length: int, file: Path) -> None:
    rows, tokens = torch.export.Dim("rows", min=1, max=2**20), torch.export.Dim("length", min=2, max=length)
    example = tuple(torch.ones(2, min(8, length), dtype=torch.int64) for _ in names)
    with torch.no_grad(), _silence():
        made = cast(
            Any,
            torch.onnx.export(
                graph,
                example,
                dynamo=True,
                input_names=names,
                output_names=["logits"],
                dynamic_shapes={name: {0: rows, 1: tokens} for name in names},
                verbose=False,
            ),
        )
    for node in made.model.graph:  # they name files of this machine
        node.metadata_props.clear()
        node.doc_string = None
    made.save(str(file), external_data=False)


@contextmanager
def _silence() -> Iterator[None]:
    """Without what the exporter says of packages that nobody needs, and of its own old calls."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


@torch.no_grad()
def _compare(trained: Trained, forward: Forward, names: list[str], file: Path) -> dict[str, Any]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    drawn = check_tokens(trained)
    largest, count = 0.0, drawn.shape[1]
    for tokens, ends in ((drawn.expand(3, -1), [count, count // 2, 1]), (drawn[:, : count // 2 + 1], [count // 2 + 1])):
        mask = (torch.arange(tokens.shape[1]) < torch.tensor(ends)[:, None]).long()
        given = {"input_ids": tokens, "attention_mask": mask, "token_type_ids": torch.zeros_like(tokens)}
        found = torch.from_numpy(session.run(None, {name: given[name].numpy() for name in names})[0])
        wanted = forward(tokens, documents=mask - 1)
        if wanted.ndim > 2:  # what a filled place would say is nobody's business
            found, wanted = found[mask > 0], wanted[mask > 0]
        largest = max(largest, refuse_difference(found, wanted, what="ONNX Runtime"))
    by = (
        f"onnxruntime {version('onnxruntime')}, rows of {count}, {count // 2} and 1 tokens, and one of {count // 2 + 1}"
    )
    return {
        "compared": "logits", "by": by, "tokens": count, "largest_difference": largest, "tolerance": TOLERANCE
    }  # fmt: skip
