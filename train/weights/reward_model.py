"""Scores of answers to prompts, by a reward model in a folder: a run of ours, its export, or one of Hugging Face's.

    open_reward_model("runs/scores").score(["2 + 2"], ["4"])     one number each, the higher the better

What is scored is what the model was trained on: turns of a conversation where the model has a template, else the plain
texts, as `curate.train.data.answers` has them. Models of families that our trunks do not compute are computed by
transformers. Scores do not depend on what else is scored with them, but for rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn

from curate.errors import CurateError
from curate.jsontext import loads
from curate.tokenize.chat import ChatTemplate
from curate.tokenize.roles import roles, roles_of
from curate.tokenize.tokenizer import load_tokenizer
from curate.tokenize.turns import encode_exchange, exchange
from curate.train.data.answers import scored_rows
from curate.train.data.batch import Batch, filled
from curate.train.models.trunk import build_trunk, families
from curate.train.objectives.contract import trunk_inputs
from curate.train.settings.blocks import DataSettings
from curate.train.weights.export import load_trained
from curate.train.weights.huggingface import read_huggingface
from curate.train.weights.origin import checkpoint_of, read_stored
from curate.train.weights.tokenizer_files import read_chat_template

__all__ = ["RewardModel", "open_reward_model"]

ROWS = 32
"""Texts at once."""
Integers = NDArray[np.int64]
Text = str | list[dict[str, Any]]
"""A text, or messages; of an answer the assistant's."""


@dataclass(frozen=True, slots=True)
class RewardModel:
    """A trunk and its head of one number.

    Attributes:
        name: As it was asked for.
        compute: From a batch (`tokens`, `documents`) to (rows,) scores.
        tokenizer: Its tokenizer.
        roles: Special tokens.
        length: Most tokens of a prompt with its answer; the beginning of a longer prompt is left out.
        template: Of its conversations; None: it reads plain texts.
        columns: Those of its training.
    """

    name: str
    compute: Callable[[Batch], Tensor]
    tokenizer: Tokenizer
    roles: dict[str, int]
    length: int
    template: ChatTemplate | None
    columns: DataSettings = field(default_factory=DataSettings)

    def score(self, prompts: Sequence[Text], answers: Sequence[Text]) -> list[float]:
        """The score of each answer to its prompt.

        Raises:
            CurateError: A prompt or an answer is not what it should be, by its number; or a score is not finite.
        """
        found = self._scores(prompts, answers)
        if not np.isfinite(found).all():
            raise CurateError(f"the reward model {self.name} gives scores that are not finite")
        return found

    def judge(self, prompts: Sequence[Text], texts: Sequence[str]) -> list[float]:
        """The score of each text that a model wrote, which may have no words or look like messages; it may be no number.

        Raises:
            CurateError: A prompt is not what it should be, by its number.
        """
        if self.template is None:
            return self._scores(prompts, texts)
        return self._scores(prompts, [[{"role": "assistant", "content": text}] for text in texts], blank=True)

    def _scores(self, prompts: Sequence[Text], answers: Sequence[Text], *, blank: bool = False) -> list[float]:
        pairs = enumerate(zip(prompts, answers, strict=True), 1)
        rows = [self._row(*pair, number, blank=blank) for number, pair in pairs]
        found = np.zeros(len(rows))
        order = sorted(range(len(rows)), key=lambda number: -len(rows[number]))
        for start in range(0, len(order), ROWS):
            numbers = order[start : start + ROWS]
            some = [rows[number] for number in numbers]
            batch = {
                "tokens": filled(list(some), value=self.roles["padding"], most=self.length),
                "documents": filled([np.zeros_like(row) for row in some], value=-1, most=self.length),
            }
            with torch.inference_mode():
                scores = self.compute({name: torch.from_numpy(values) for name, values in batch.items()})
            found[numbers] = scores.float().cpu().numpy()
        return found.tolist()

    def _row(self, prompt: Text, answer: Text, number: int, *, blank: bool) -> Integers:
        """The tokens of one text, as in training."""
        before, after = [self.roles["start"]], [self.roles["end_of_text"]]
        if self.template is not None:
            before, after = [], []
            try:
                asked, said = exchange({"prompt": prompt, "completion": answer})
                first, *rest = self.template.exchange(asked, [said["completion"]], blank=blank)
                tokens = encode_exchange(self.template, first, rest)
            except CurateError as error:
                raise CurateError(f"answer {number}: {error.problem}", hint=error.hint) from None
        elif isinstance(prompt, str) and isinstance(answer, str):
            tokens = [one.ids for one in self.tokenizer.encode_batch([prompt, answer], add_special_tokens=False)]
        else:
            raise CurateError(
                f"answer {number} is of a conversation, and the reward model {self.name} was trained on none",
                hint="give texts",
            )
        first, second = (np.array(some, np.int64) for some in tokens)
        padding = self.roles["padding"]
        (row,) = scored_rows(first, [second], length=self.length, before=before, after=after, padding=padding)
        return row


def open_reward_model(path: str, *, length: int | None = None, device: str = "cpu") -> RewardModel:
    """The reward model in a folder.

    Args:
        path: A run of `objective: reward`, one of its checkpoints, or a Hugging Face model with one label.
        length: Most tokens of a text; by default those of its training.
        device: Where it computes.

    Raises:
        CurateError: There is none, it gives no score, or it has no tokenizer.
    """
    folder = Path(path)
    checkpoint = checkpoint_of(folder)
    if checkpoint is not None:
        return _of_run(path, length, device)
    if not (folder / "config.json").is_file():
        raise CurateError(
            f"there is no reward model in `{path}`", hint="name a run of `objective: reward`, or its export"
        )
    named = loads((folder / "config.json").read_bytes()).get("model_type")
    known = any(family.model_type == named for family in families())
    return _of_folder(path, length, device) if known else _of_transformers(path, length, device)


def _of_run(path: str, length: int | None, device: str) -> RewardModel:
    checkpoint = checkpoint_of(Path(path))
    assert checkpoint is not None
    kind = read_stored(checkpoint).config.objective.kind
    if kind != "reward":
        raise CurateError(
            f"the run in `{path}` was trained for `{kind}`, and gives no score",
            hint="`objective: reward` trains one that does",
        )
    trained = load_trained(Path(path))
    tokenizer = load_tokenizer(trained.tokenizer)
    known = roles(tokenizer, trained.config.tokenizer.end_of_text)
    longest = trained.config.batch.length
    compute = _computed(trained.trunk(), trained.tensors, device)
    template = _template(tokenizer, known, trained.chat_template)
    columns = trained.config.data
    return RewardModel(path, compute, tokenizer, known, min(longest, length or longest), template, columns)


def _of_folder(path: str, length: int | None, device: str) -> RewardModel:
    found, folder = read_huggingface(Path(path)), Path(path)
    tensors = {name: tensor.float() for name, tensor in found.tensors}
    if found.head != "classification" or len(tensors["head.weight"]) != 1 or found.sizes.kind != "decoder":
        raise _no_score(path)
    with torch.device("meta"):
        trunk = build_trunk(found.sizes, vocabulary=found.vocabulary, length=found.length)
    trunk.load_state_dict({name: tensors[f"model.{name}"] for name, _ in trunk.named_parameters()}, assign=True)
    compute = _computed(trunk.eval(), tensors, device)
    return _described(path, folder, compute, min(found.length, length or found.length))


def _of_transformers(path: str, length: int | None, device: str) -> RewardModel:
    """One that transformers computes; no code of the folder is run."""
    try:
        import transformers
    except ImportError:
        raise CurateError("this reward model needs transformers", path, "pip install 'curate-lm[eval]'") from None
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        model: Any = transformers.AutoModelForSequenceClassification.from_pretrained(
            path, local_files_only=True, use_safetensors=True, trust_remote_code=False, dtype=torch.float32
        )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        raise CurateError(f"transformers cannot load it: {str(error).splitlines()[0]}", path) from None
    if model.config.num_labels != 1:
        raise _no_score(path)
    model.to(device).eval()

    def compute(batch: Batch) -> Tensor:
        mask = (batch["documents"] >= 0).long()
        return model(input_ids=batch["tokens"].to(device), attention_mask=mask.to(device)).logits[:, 0]

    longest = getattr(model.config.get_text_config(), "max_position_embeddings", None) or length or 2048
    made = _described(path, Path(path), compute, min(longest, length or longest))
    if model.config.pad_token_id is None:
        model.config.pad_token_id = made.roles["padding"]
    return made


def _no_score(path: str) -> CurateError:
    return CurateError(
        f"the model in `{path}` gives no score of a text that it reads up to its end",
        hint="a reward model has the class ...ForSequenceClassification and one label",
    )


def _described(path: str, folder: Path, compute: Callable[[Batch], Tensor], length: int) -> RewardModel:
    if not (folder / "tokenizer.json").is_file():
        raise CurateError(
            f"the model in `{path}` has no tokenizer.json beside it",
            hint="copy the tokenizer.json that it was trained with into its folder",
        )
    tokenizer = load_tokenizer(folder / "tokenizer.json")
    known = roles_of(tokenizer, folder)
    return RewardModel(path, compute, tokenizer, known, length, _template(tokenizer, known, read_chat_template(folder)))


def _template(tokenizer: Tokenizer, known: dict[str, int], source: str | None) -> ChatTemplate | None:
    if source is None:
        return None
    return ChatTemplate.of(tokenizer, known, source)


def _computed(trunk: nn.Module, tensors: dict[str, Tensor], device: str) -> Callable[[Batch], Tensor]:
    """Scores by a trunk of ours and the last layer."""
    model: Any = trunk.to(device)
    weight, bias = (tensors[name].to(device) if name in tensors else None for name in ("head.weight", "head.bias"))
    assert weight is not None

    def compute(batch: Batch) -> Tensor:
        rows = {name: values.to(device) for name, values in batch.items()}
        features = model.sentence(rows["tokens"], **trunk_inputs(model, rows), pooling="last")
        return nn.functional.linear(features, weight, bias)[:, 0]

    return compute
