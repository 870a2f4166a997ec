"""From what somebody named to a model that can be asked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from curate.errors import CurateError
from curate.evaluation.models.contract import LanguageModel
from curate.jsontext import loads

if TYPE_CHECKING:
    from curate.evaluation.models.headed import HeadedModel

__all__ = ["Backend", "is_endpoint", "natural_kind", "open_model"]

Backend = Literal["auto", "ours", "transformers"]


def open_model(
    model: str,
    *,
    length: int | None = None,
    backend: Backend = "auto",
    endpoint_model: str | None = None,
    endpoint_tokenizer: str | None = None,
    encoders: bool = False,
) -> LanguageModel | HeadedModel:
    """The model that a folder or a server has.

    Args:
        model: A run folder, one of its checkpoints, a Hugging Face folder, or the URL of a server.
        length: Most tokens read at once; by default what it takes.
        backend: Who computes a Hugging Face folder; `auto`: our trunks where they know its family, else transformers.
        endpoint_model: What a server calls the model.
        endpoint_tokenizer: A folder with the tokenizer of a server's model.
        encoders: An encoder without a head is opened, too, to embed texts.

    Raises:
        CurateError: There is none, or it cannot be asked.
    """
    from curate.train.runs.checks import require_torch

    if is_endpoint(model):
        from curate.evaluation.models.endpoint import open_endpoint

        return open_endpoint(model, endpoint_model, tokenizer=endpoint_tokenizer, length=length)
    if endpoint_model or endpoint_tokenizer:
        raise CurateError(f"`{model}` is no server", hint="--endpoint-model and --endpoint-tokenizer are of a URL")
    require_torch()
    if not Path(model).is_dir():
        raise CurateError(
            f"there is no folder `{model}`",
            hint="name a run folder, a checkpoint, a Hugging Face model or a server (http://HOST/v1)",
        )
    if backend == "transformers" or (backend == "auto" and _foreign(Path(model))):
        from curate.evaluation.models.huggingface import open_transformers

        return open_transformers(model, length=length)
    from curate.evaluation.models.headed import open_encoder, open_headed
    from curate.evaluation.models.ours import open_trunk

    if encoders and (found := open_encoder(model, length=length)):
        return found
    return open_headed(model, length=length) or open_trunk(model, length=length)


Kind = Literal["perplexity", "labels", "conversations", "preferences"]
_KINDS: dict[str, Kind] = {
    **dict.fromkeys(("classification", "token_classification", "seq2seq"), "labels"),
    "sft": "conversations",
    "preference": "preferences",
}
_CLASSES = ("ForSequenceClassification", "ForTokenClassification", "ForConditionalGeneration")


def natural_kind(model: str) -> Kind:
    """The kind of task that measures what a model was trained for, by its config.json; nothing of it is loaded."""
    for place in (Path(model), Path(model).parent.parent):
        try:
            config = loads((place / "config.json").read_bytes())
        except (OSError, ValueError):
            continue
        if "config" in config:
            return _KINDS.get(config["config"]["objective"]["kind"], "perplexity")
        if any(str(name).endswith(_CLASSES) for name in config.get("architectures") or ()):
            return "labels"
    return "perplexity"


def is_endpoint(model: str) -> bool:
    """It names a server, not a folder."""
    return model.startswith(("http://", "https://"))


def _foreign(folder: Path) -> bool:
    """A Hugging Face model of a family that our trunks do not compute."""
    from curate.train.models.trunk import families
    from curate.train.weights.origin import checkpoint_of

    config = folder / "config.json"
    if checkpoint_of(folder) or not config.is_file():
        return False
    try:
        named = loads(config.read_bytes()).get("model_type")
    except (ValueError, AttributeError):
        return False
    return all(family.model_type != named for family in families())
