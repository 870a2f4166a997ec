"""Models that answer without a prompt: classes of texts or words, numbers, and texts from texts.

Runs of ours, and Hugging Face folders of the families that our trunks compute. Rows are those of the training
(train/data/examples.py); what is too long is cut at its end.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn

from curate.errors import CurateError, did_you_mean
from curate.evaluation.models.contract import not_finite
from curate.evaluation.models.identity import answers_hash
from curate.jsontext import loads
from curate.table.contract import FEATURES
from curate.table.recipe import RECIPE, Recipe, needed, put_all
from curate.tokenize.roles import roles_of
from curate.tokenize.tokenizer import load_tokenizer
from curate.train.data.batch import filled
from curate.train.data.examples import labelled_row
from curate.train.models.perceptron import Perceptron, beside_text
from curate.train.models.trunk import build_trunk
from curate.train.objectives.contract import trunk_inputs
from curate.train.settings.blocks import DataSettings
from curate.train.settings.methods import ClassificationSettings, Seq2SeqSettings
from curate.train.weights.export import Trained, load_trained, targets_of
from curate.train.weights.huggingface import read_huggingface
from curate.train.weights.origin import checkpoint_of, find_model, model_hash, read_stored

__all__ = ["HEADS", "HeadedModel", "headed_of", "open_encoder", "open_headed"]

HEADS = ("classification", "token_classification", "seq2seq")
ROWS = 32
Integers = NDArray[np.int64]


@dataclass
class HeadedModel:
    """A trunk and its head.

    Attributes:
        name: As it was asked for.
        weights: sha256 over its weights, configuration and labels.
        kind: What it predicts; of `masked` there is no head, and `embed` alone answers.
        trunk: Whole, without dropout.
        head: `weight` and `bias` of its last layer; none where it writes texts.
        tokenizer: Its tokenizer.
        length: Most tokens that it reads.
        labels: Names of its classes; none of a number.
        pooling: What stands for a text; None: as built.
        columns: Those of its training.
        target_length: Most tokens of a text that it writes.
        beside: Layers over what stands for the text and the numbers of a table, if it reads both.
        recipe: What the stages of the table have learned, to make those numbers of new rows.
        progress: Is told the share of a request that is done.
    """

    backend: ClassVar[str] = "ours"
    name: str
    weights: str
    kind: Literal["classification", "token_classification", "seq2seq", "masked"]
    trunk: Any
    head: dict[str, Tensor]
    tokenizer: Tokenizer
    length: int
    labels: tuple[str, ...]
    pooling: str | None = None
    columns: DataSettings = field(default_factory=DataSettings)
    target_length: int = 64
    beside: Perceptron | None = None
    recipe: Recipe = field(default_factory=list)
    progress: Callable[[float], None] = lambda share: None

    @cached_property
    def identity(self) -> str:
        """sha256 over all that decides its answers."""
        return answers_hash(self.weights, self.backend, self.tokenizer)

    @property
    def regression(self) -> bool:
        """It predicts a number."""
        return self.kind == "classification" and not self.labels

    @property
    def reads_text(self) -> bool:
        """It reads more than the numbers of a table."""
        return not isinstance(self.trunk, Perceptron)

    def features(self, rows: Sequence[dict[str, Any]]) -> NDArray[np.float32] | None:
        """(rows, numbers) of a table, as they are in the rows, or made of their columns; None where it reads none.

        Raises:
            CurateError: A row has neither.
        """
        for row in rows:
            self.check_row(row)
        name = self.columns.features
        if name is None:
            return None
        if any(row.get(name) is None for row in rows):
            rows = self._made(rows, name)
        wanted = self.trunk.embedding.num_embeddings
        if self.beside:
            wanted = self.beside.embedding.num_embeddings - self.trunk.sentence_width
        for row in rows:
            if len(row[name]) != wanted:
                raise CurateError(
                    f"`{name}` has {len(row[name])} numbers, and the model reads {wanted}", hint="train it on these"
                )
        return np.array([row[name] for row in rows], np.float32).reshape(len(rows), wanted)

    def check_row(self, row: dict[str, Any]) -> None:
        """Whether a row has the numbers of a table, or each column that they are made of (null: an empty cell).

        Raises:
            CurateError: It has not.
        """
        name = self.columns.features
        if name is None or row.get(name) is not None:
            return
        lacking = [column for column in self._needed if column not in row]
        if len(lacking) == len(self._needed):
            columns = ", ".join(self._needed) or "none: no stage `table_features` was in its pipeline"
            raise CurateError(f"the rows have no `{name}`, nor columns that it is made of", hint=f"columns: {columns}")
        if lacking:
            near = did_you_mean(lacking[0], row.keys() - set(self._needed))
            raise CurateError(
                f"row {row.get('id')} has no column `{lacking[0]}`, which the model reads",
                hint=near or f"an empty cell is null; it reads {', '.join(self._needed)}",
            )

    def check_recipe(self, recipe: Recipe, source: str) -> None:
        """Whether a version has the numbers that the model learned from: they are those of its own train split.

        Raises:
            CurateError: Its stages have learned something else.
        """
        if self.columns.features == FEATURES and self.recipe and _told(self.recipe) != _told(recipe):
            raise CurateError(
                f"`{FEATURES}` of {source} are other numbers than those that the model learned from", source,
                "take the version of its training, or the files of the table: of their columns it makes the numbers itself",
            )  # fmt: skip

    @cached_property
    def _needed(self) -> list[str]:
        return needed(self.recipe) if self.columns.features == FEATURES else []

    def _made(self, rows: Sequence[dict[str, Any]], name: str) -> list[dict[str, Any]]:
        return put_all(self.recipe, [{key: one for key, one in row.items() if key != name} for row in rows]).to_pylist()

    def encode(self, texts: Sequence[str]) -> list[Integers]:
        """The tokens of texts, none added."""
        encoded = self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(one.ids, np.int64) for one in encoded]

    def read(
        self, texts: Sequence[str], seconds: Sequence[str] | None, table: NDArray[np.float32] | None = None
    ) -> tuple[NDArray[np.float32], list[int]]:
        """(rows, labels) logits of texts or pairs, one column of a number; and how many tokens of each were cut.

        Args:
            texts: The texts; of a model of numbers alone they are not read.
            seconds: Those of pairs.
            table: The numbers of the rows (`features`).
        """
        features, cuts = self.embed(texts, seconds, table)
        return self._logits(torch.from_numpy(features)), cuts

    def embed(
        self, texts: Sequence[str], seconds: Sequence[str] | None, table: NDArray[np.float32] | None = None
    ) -> tuple[NDArray[np.float32], list[int]]:
        """(rows, width) what stands for texts or pairs before the head; and how many tokens of each were cut."""
        first, second = self.encode(texts), None if seconds is None else self.encode(seconds)
        known, special = roles_of(self.tokenizer, Path(self.name)), 2 if seconds is None else 3
        rows, cuts = list[tuple[Integers, Integers | None]](), list[int]()
        for number, tokens in enumerate(first):
            other = None if second is None else second[number]
            rows.append(labelled_row(tokens, other, length=self.length, roles=known))
            whole = len(tokens) + (0 if other is None else len(other)) + special
            cuts.append(max(whole - self.length, 0))
        pooling = {"pooling": self.pooling} if self.pooling else {}
        width = self.beside.width if self.beside else self.trunk.sentence_width
        found = np.zeros((len(rows), width), np.float32)
        for numbers, batch in self._batches(rows):
            if table is not None:
                batch["features"] = torch.from_numpy(table[numbers])
            features = self.trunk.sentence(batch.pop("tokens"), **trunk_inputs(self.trunk, batch), **pooling)
            if self.beside is not None:
                features = self.beside(torch.cat([features, batch["features"].to(features.dtype)], dim=-1))
            found[numbers] = features.float().numpy()
        return found, cuts

    def tag(self, rows: Sequence[tuple[Integers, NDArray[np.bool_]]]) -> tuple[list[NDArray[np.float32]], list[int]]:
        """(words, labels) logits at the first tokens of words, and how many tokens of each row were cut.

        Args:
            rows: Tokens, and which of them begin a word.
        """
        known, room = roles_of(self.tokenizer, Path(self.name)), self.length - 2
        framed = [np.concatenate([[known["start"]], tokens[:room], [known["separator"]]]) for tokens, _ in rows]
        found: list[NDArray[np.float32]] = [np.zeros((0, len(self.labels)), np.float32)] * len(rows)
        for numbers, batch in self._batches([(row, None) for row in framed]):
            states = self.trunk(batch.pop("tokens"), **trunk_inputs(self.trunk, batch))
            for place, number in enumerate(numbers):
                first = np.flatnonzero(rows[number][1][:room]) + 1
                found[number] = self._logits(states[place, first])
        return found, [max(len(tokens) - room, 0) for tokens, _ in rows]

    def translate(self, texts: Sequence[str], *, beams: int, most: int | None = None) -> tuple[list[str], list[int]]:
        """Target texts, and how many tokens of each source were cut."""
        lengths = [len(tokens) for tokens in self.encode(texts)]
        order, found = sorted(range(len(texts)), key=lambda number: -lengths[number]), [""] * len(texts)
        for start in range(0, len(order), ROWS):
            some = order[start : start + ROWS]
            targets = targets_of(
                self.trunk, self.tokenizer, [texts[number] for number in some],
                length=self.length, target_length=most or self.target_length, beams=beams,
            )  # fmt: skip
            for number, target in zip(some, targets, strict=True):
                found[number] = target
            self.progress((start + len(some)) / len(order))
        return found, [max(length + 1 - self.length, 0) for length in lengths]

    def _batches(
        self, rows: Sequence[tuple[Integers, Integers | None]]
    ) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
        order, padding = (
            sorted(range(len(rows)), key=lambda number: -len(rows[number][0])),
            roles_of(self.tokenizer, Path(self.name)),
        )
        for start in range(0, len(order), ROWS):
            numbers = order[start : start + ROWS]
            tokens = [rows[number][0] for number in numbers]
            segments = [rows[number][1] for number in numbers]
            made = {
                "tokens": filled(list(tokens), value=padding["padding"], most=self.length),
                "documents": filled([np.zeros_like(row) for row in tokens], value=-1, most=self.length),
            }
            if segments[0] is not None:
                made["segments"] = filled(segments, value=0, most=self.length)
            with torch.inference_mode():
                yield numbers, {name: torch.from_numpy(values) for name, values in made.items()}
            self.progress((start + len(numbers)) / len(order))

    def _logits(self, features: Tensor) -> NDArray[np.float32]:
        logits = nn.functional.linear(features, self.head["weight"], self.head.get("bias")).float().numpy()
        if not np.isfinite(logits).all():
            raise not_finite(self.name)
        return logits


def open_headed(path: str, *, length: int | None = None) -> HeadedModel | None:
    """The model with a head that a folder has; None where it predicts the next token, or a hidden one.

    Args:
        path: Of a run, a checkpoint, or a Hugging Face model.
        length: Most tokens read; by default those of its training.

    Raises:
        CurateError: There is none, it is damaged, or it has no tokenizer.
    """
    checkpoint = checkpoint_of(Path(path))
    if checkpoint is None:
        return _of_folder(path, length)
    config = read_stored(checkpoint).config
    if config.tasks:
        raise CurateError(f"the model in `{path}` was trained for several tasks, whose heads are not evaluated", path)
    return _of_run(path, length) if config.objective.kind in HEADS else None


def open_encoder(path: str, *, length: int | None = None) -> HeadedModel | None:
    """The encoder that a folder has, without a head; None where it has another model. The arguments are those of `open_headed`.

    A text is the mean of its tokens' states: the state of the first token was not trained for it (Reimers & Gurevych 2019).
    """
    checkpoint = checkpoint_of(Path(path))
    if checkpoint is None:
        return _of_folder(path, length, heads=(None, "masked"))
    config = read_stored(checkpoint).config
    if config.tasks or config.objective.kind != "masked":
        return None
    return replace(_of_run(path, length), pooling="mean", head={})


def _of_run(path: str, length: int | None) -> HeadedModel:
    return headed_of(load_trained(Path(path)), path, model_hash(find_model(path)), length)


def headed_of(trained: Trained, name: str, weights: str, length: int | None = None) -> HeadedModel:
    """The model with a head that a run has come to; its kind is one of HEADS, or `masked`."""
    config, settings, table = trained.config, trained.config.objective, _table(trained.tokenizer.parent / RECIPE)
    regression = isinstance(settings, ClassificationSettings) and settings.regression
    return HeadedModel(
        name, weights, settings.kind, trained.trunk(), _scaled(_head(trained.tensors), table),  # pyright: ignore[reportArgumentType]
        _tokenizer(name, trained.tokenizer), min(config.batch.length, length or config.batch.length),
        () if regression else tuple(trained.labels or ()), getattr(settings, "pooling", None), config.data,
        settings.target_length if isinstance(settings, Seq2SeqSettings) else 0,
        _beside(trained.tensors), table.get("stages", []),
    )  # fmt: skip


def _of_folder(path: str, length: int | None, heads: Container[str | None] = HEADS) -> HeadedModel | None:
    origin, found = find_model(path, setting="MODEL"), read_huggingface(Path(path))
    encoder = found.head in (None, "masked")
    if found.head not in heads or (encoder and found.sizes.kind != "encoder"):
        return None
    tensors = {name: tensor.float() for name, tensor in found.tensors}
    with torch.device("meta"):
        pooler = "model.pooler.weight" in tensors
        trunk = build_trunk(found.sizes, vocabulary=found.vocabulary, length=found.length, pooler=pooler)
    trunk.load_state_dict({name: tensors[f"model.{name}"] for name, _ in trunk.named_parameters()}, assign=True)
    longest = min(found.length, length or found.length)
    tokenizer = _tokenizer(path, origin.tokenizer / "tokenizer.json" if origin.tokenizer else None)
    labels = found.labels if len(found.labels) > 1 or found.head == "token_classification" else ()
    return HeadedModel(
        path, model_hash(origin), "masked" if encoder else found.head, trunk.eval(), {} if encoder else _head(tensors),  # pyright: ignore[reportArgumentType]
        tokenizer, longest, () if encoder else labels, "mean" if encoder else None,
    )  # fmt: skip


def _told(recipe: Recipe) -> str:
    return json.dumps(recipe, sort_keys=True)


def _head(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix("head."): tensor for name, tensor in tensors.items() if name.startswith("head.")}


def _beside(tensors: dict[str, Tensor]) -> Perceptron | None:
    own = {name.removeprefix("columns."): tensor for name, tensor in tensors.items() if name.startswith("columns.")}
    if not own:
        return None
    with torch.device("meta"):
        layers = beside_text(len(own["embedding.weight"]))
    layers.load_state_dict(own, assign=True)
    return layers.eval()


def _table(path: Path) -> dict[str, Any]:
    """What a run keeps of the table that it learned from; nothing where it learned from none."""
    return loads(path.read_bytes()) if path.is_file() else {}


def _scaled(head: dict[str, Tensor], table: dict[str, Any]) -> dict[str, Tensor]:
    """A head that gives numbers as the labels have them."""
    if table.get("scale", 1.0) == 1.0 and not table.get("centre"):
        return head
    return {"weight": head["weight"] * table["scale"], "bias": head["bias"] * table["scale"] + table["centre"]}


def _tokenizer(path: str, file: Path | None) -> Tokenizer:
    if file is None or not file.is_file():
        raise CurateError(
            f"the model in `{path}` has no tokenizer.json beside it",
            hint="copy the tokenizer.json that it was trained with into its folder",
        )
    return load_tokenizer(file)
