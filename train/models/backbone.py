"""Any text model that `transformers.AutoModel` can make from a local folder, as a trunk.

transformers computes it, and we train it: its list of layers is what is sharded, compiled and recomputed. It serves
classification in any case, and everything that needs the next token's logits where the file is a causal model whose
logits are states times one matrix.

Only safetensors are read, from the folder alone, and no code that comes with a model is run. Dropout is the file's.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from curate.errors import CurateError
from curate.train.models.cache import BackboneCache
from curate.train.models.layers import check_room, pool
from curate.train.models.positions import document_positions
from curate.train.settings.architecture import Architecture

__all__ = ["Backbone", "load_pretrained", "pretrained_limits", "pretrained_names", "quiet"]

_SCALED_LOGITS = ("final_logit_softcapping", "logit_scale", "logits_scaling", "lm_head_multiplier", "logits_soft_cap")
"""Settings of models whose logits are more than states times a matrix."""
_HERE = {"local_files_only": True, "trust_remote_code": False}


class Backbone(nn.Module):
    """A model of transformers without its head, or with the matrix of its logits.

    Its parameters are made on the meta device; `weights/backbone_files.py` reads their values. Buffers have theirs always.

    Args:
        path: A folder with config.json and safetensors.
        length: Most tokens in a sequence.

    Attributes:
        accepts: Keys of a batch that this model reads besides its tokens.
        causal: A token's state knows nothing of later tokens.
        keeps_apart: Several documents of a row can be kept apart; not by sliding windows, nor in both directions.

    Raises:
        CurateError: There is no model in the folder, or one that is not known to transformers, that follows an encoder,
            that reads more than text, that is quantized, or that has layers of no list.
    """

    def __init__(self, path: Path, *, length: int) -> None:
        super().__init__()
        config, whole = _skeleton(path)
        self.transformer, self.length = whole.base_model, min(length, _most_tokens(config, whole))
        self.causal = _is_causal(config)
        head = _head(whole)
        self._no_logits = _no_logits(config, head, causal=self.causal)
        self._tied = head is None or head.weight is self.embedding.weight
        if head is not None and not self._tied:
            self.output = head
        self._values = {name: buffer.clone() for name, buffer in self.named_buffers()}
        self._reads = frozenset(inspect.signature(self.transformer.forward).parameters)
        self.keeps_apart = self.causal and "position_ids" in self._reads and _packs(config, self.transformer)
        segments = (
            {"segments"} if "token_type_ids" in self._reads and getattr(config, "type_vocab_size", 0) > 1 else set()
        )
        self.accepts = frozenset({"documents"} | segments | ({"noise"} if "inputs_embeds" in self._reads else set()))
        self.sizes = _sizes(config, len(self.blocks), tied=self._tied)
        self.width = self.sentence_width = self.sizes.width

    @property
    def embedding(self) -> nn.Embedding:
        """The model's own."""
        return self.transformer.get_input_embeddings()

    @property
    def blocks(self) -> nn.ModuleList:
        """The model's own list of layers."""
        return _layers(self.transformer)

    @property
    def unembedding(self) -> Tensor:
        """The matrix of the logits, (vocabulary, width).

        Raises:
            CurateError: The model has no such matrix.
        """
        if self._no_logits:
            raise CurateError(self._no_logits, "model.path", "use it for classification, or take another model")
        return self.embedding.weight if self._tied else self.output.weight

    def new_cache(self) -> BackboneCache:
        """An empty memory for generation.

        Raises:
            CurateError: The model cannot go on with a text.
        """
        if not self.causal or "past_key_values" not in self._reads:
            raise CurateError(f"{type(self.transformer).__name__} does not generate here", "model.path")
        return BackboneCache()

    def forward(
        self,
        tokens: Tensor,
        *,
        documents: Tensor | None = None,
        segments: Tensor | None = None,
        noise: Tensor | None = None,
        cache: BackboneCache | None = None,
    ) -> Tensor:
        """The model's last hidden states, (rows, length, width).

        Args:
            tokens: (rows, length).
            documents: (rows, length), -1 is padding; several documents in a row only in some causal models.
            segments: (rows, length), of pairs of texts.
            noise: (rows, length, width of the embedding), added to the embedded tokens.
            cache: Holds what was seen before `tokens`, and them afterwards.

        Raises:
            CurateError: More tokens than positions, or several documents in a row that the model would not keep apart.
        """
        given: dict[str, Any] = {}
        if cache is not None:
            documents = cache.extend(torch.zeros_like(tokens) if documents is None else documents)
            given = {"past_key_values": cache.past, "use_cache": True}
        length = tokens.shape[1]
        check_room(length if cache is None else len(cache), self.length)
        padding = self.transformer.config.pad_token_id
        if documents is not None and padding is not None:  # some models find their positions by it
            tokens = tokens.masked_fill(documents[:, -length:] < 0, padding)
        if noise is None:
            given["input_ids"] = tokens
        else:
            embedded = self.embedding(tokens)
            given["inputs_embeds"] = embedded + noise.to(embedded.dtype)
        if segments is not None:
            given["token_type_ids"] = segments
        found = self.transformer(**given, **self._apart(documents, length))
        if cache is not None:
            cache.past = found.past_key_values
        return found.last_hidden_state

    def _apart(self, documents: Tensor | None, queries: int) -> dict[str, Tensor]:
        """Mask and positions of the last `queries` tokens, for what is not plain: padding, or several documents."""
        if documents is None:
            return {}
        real = documents >= 0
        several = (documents.amax(1) > documents.where(real, documents.amax()).amin(1)).any()
        several, padded = torch.stack((several, ~real.all())).tolist()
        if several and not self.keeps_apart:
            raise CurateError(
                f"{type(self.transformer).__name__} does not keep several documents of a row apart",
                "batch.document_mask",
                "set it to false, or take a model that is computed here",
            )
        if not several and not padded:
            return {}
        given = {"attention_mask": real.long()}
        if several:
            keys = documents.shape[1]
            earlier = torch.ones(queries, keys, dtype=torch.bool, device=documents.device).tril(keys - queries)
            given["attention_mask"] = earlier & (documents[:, None, -queries:, None] == documents[:, None, None, :])
        if self.causal and "position_ids" in self._reads:
            given["position_ids"] = document_positions(documents)[:, -queries:]
        return given

    def sentence(
        self,
        tokens: Tensor,
        *,
        documents: Tensor | None = None,
        segments: Tensor | None = None,
        noise: Tensor | None = None,
        pooling: Literal["first", "last", "mean"] | None = None,
    ) -> Tensor:
        """One state for each row, (rows, width): by default the first, of a causal model the last, which has seen all."""
        states = self(tokens, documents=documents, segments=segments, noise=noise)
        return pool(states, documents, pooling or ("last" if self.causal else "first"))

    def first_weights(self, name: str, tensor: Tensor, generator: torch.Generator) -> None:
        """Zeros: all values come from the file."""
        tensor.zero_()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Backbone:
        """As of any module, but `to_empty` leaves the buffers as they were: they are in no file."""
        super()._apply(fn, recurse)
        for name, value in self._values.items():
            buffer = self.get_buffer(name)
            if not buffer.is_meta:
                buffer.copy_(value)
        return self


def load_pretrained(path: Path, dtype: torch.dtype | Literal["auto"]) -> tuple[Any, dict[str, nn.Parameter]]:
    """The model of transformers in a folder, whole on the CPU, and its parameters by their names in a `Backbone`.

    Args:
        path: The folder.
        dtype: Of its numbers; auto: as they are stored.

    Raises:
        CurateError: A file is missing, damaged, or pickled; or a parameter is not in it.
    """
    config = _read_config(path)
    with _problems(path), quiet(), torch.device("cpu"), torch.random.fork_rng(devices=[]):
        whole, report = _auto_class(config).from_pretrained(
            path, config=config, dtype=dtype, use_safetensors=True, output_loading_info=True, **_HERE
        )
    tensors = _named(whole)
    absent = {id(value) for name, value in whole.named_parameters() if name in report["missing_keys"]}
    if missing := [name for name, value in tensors.items() if id(value) in absent]:
        raise CurateError(f"no values in `{path}` for `{missing[0]}` ({len(missing)} in all)", "model.path")
    return whole, tensors


def pretrained_names(path: Path) -> dict[str, tuple[str, ...]] | None:
    """The names that each parameter of a `Backbone` may have in the folder's files.

    None where transformers computes some parameters from those in the files (experts that it puts together).
    """
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightConverter

    whole = _skeleton(path)[1]
    if any(isinstance(change, WeightConverter) for change in get_model_conversion_mapping(whole)):
        return None
    prefix, theirs = f"{whole.base_model_prefix}.", {value: name for name, value in whole.named_parameters()}
    names = ((name, theirs[value]) for name, value in _named(whole).items())
    return {name: (own, prefix + own, own.removeprefix(prefix)) for name, own in names}


def pretrained_limits(path: Path) -> tuple[int, int]:
    """Tokens in the vocabulary of the model in a folder, and most tokens in a sequence.

    Raises:
        CurateError: As `Backbone`.
    """
    config, whole = _skeleton(path)
    return whole.get_input_embeddings().num_embeddings, _most_tokens(config, whole)


def _read_config(path: Path) -> Any:
    try:
        import transformers
    except ImportError:
        raise CurateError("a `pretrained` model needs transformers", "model.kind", "pip install transformers") from None
    with _problems(path), quiet():
        config = transformers.AutoConfig.from_pretrained(path, **_HERE)
    unfit = {
        "follows an encoder": config.is_encoder_decoder,
        "reads more than text": config.get_text_config() is not config,
        "is quantized": getattr(config, "quantization_config", None),
        "is an adapter of another one": (path / "adapter_config.json").exists(),
    }
    for problem in (problem for problem, found in unfit.items() if found):
        raise CurateError(f"the model in `{path}` {problem}, which cannot be trained here", "model.path")
    config.use_cache = False
    return config


def _auto_class(config: Any) -> Any:
    """With the head of a causal model where the file has it."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoModel, AutoModelForCausalLM

    causal: Any = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    named = causal is not None and causal.__name__ in (config.architectures or ())
    return AutoModelForCausalLM if named else AutoModel


def _skeleton(path: Path) -> tuple[Any, Any]:
    """The config and the model, its parameters on the meta device and its buffers on the CPU."""

    def emptied(module: nn.Module, name: str, value: nn.Parameter | None) -> nn.Parameter | None:
        if value is None or value.is_meta:
            return None
        return nn.Parameter(value.detach().to("meta"), requires_grad=value.requires_grad)

    config = _read_config(path)
    hook = register_module_parameter_registration_hook(emptied)  # pyright: ignore[reportArgumentType]
    try:
        with _problems(path), quiet(), torch.device("cpu"):
            whole = _auto_class(config).from_config(config, dtype=torch.float32, trust_remote_code=False)
    finally:
        hook.remove()
    if kept := set(whole.state_dict()) & {name for name, _ in whole.named_buffers()}:
        raise CurateError(f"the model in `{path}` keeps numbers that are no parameters: `{min(kept)}`", "model.path")
    _named(whole)
    _layers(whole.base_model)
    return config, whole


def _named(whole: Any) -> dict[str, nn.Parameter]:
    """Parameters by their names in a `Backbone`; a pooler, which would not be used, is taken off."""
    trunk = whole.base_model
    if getattr(trunk, "pooler", None) is not None:
        trunk.pooler = None
    parts = {"transformer": trunk}
    head = _head(whole)
    if head is not None and head.weight is not trunk.get_input_embeddings().weight:
        parts["output"] = head
    return {f"{part}.{name}": value for part, module in parts.items() for name, value in module.named_parameters()}


def _head(whole: Any) -> Any:
    return None if whole is whole.base_model else whole.get_output_embeddings()


def _layers(trunk: nn.Module) -> nn.ModuleList:
    """The list with most of the parameters, and of equal ones the outermost."""
    lists = [module for module in trunk.modules() if isinstance(module, nn.ModuleList)]
    if not lists:
        raise CurateError(f"{type(trunk).__name__} has no list of layers", "model.path", "take another model")
    return max(lists, key=lambda found: sum(parameter.numel() for parameter in found.parameters()))


def _is_causal(config: Any) -> bool:
    from transformers import MODEL_FOR_MASKED_LM_MAPPING

    return bool(getattr(config, "is_decoder", False)) or type(config) not in MODEL_FOR_MASKED_LM_MAPPING.keys()  # noqa: SIM118


def _no_logits(config: Any, head: Any, *, causal: bool) -> str | None:
    """Why the next token's logits are not states times a matrix; None where they are."""
    if not causal:
        return "the model reads texts in both directions, and predicts no next token"
    if head is None and not config.tie_word_embeddings:
        return "the file has no matrix of the logits"
    if getattr(head, "bias", None) is not None:
        return "the model's logits have a bias"
    scaled = [name for name in _SCALED_LOGITS if getattr(config, name, None) not in (None, 1, 1.0)]
    return f"the model's logits are changed by `{scaled[0]}`" if scaled else None


def _packs(config: Any, trunk: Any) -> bool:
    """The model takes a mask of queries and keys as it is, in all of its layers."""
    full = {"full_attention"} >= set(getattr(config, "layer_types", None) or ())
    whole = full and getattr(config, "sliding_window", None) is None
    known = "create_causal_mask" in vars(sys.modules[type(trunk).__module__])
    return whole and known and config._attn_implementation == "sdpa"


def _most_tokens(config: Any, whole: Any) -> int:
    """Positions, without those that some models (RoBERTa) leave out because padding's number comes first."""
    most = getattr(config, "max_position_embeddings", None) or sys.maxsize
    for name, module in whole.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding) and module.padding_idx is not None:
            return min(most, module.num_embeddings - module.padding_idx - 1)
    return most


def _sizes(config: Any, layers: int, *, tied: bool) -> Architecture:
    """As far as a config.json says them; what is computed is transformers' affair."""
    width, heads = config.hidden_size, getattr(config, "num_attention_heads", 1)
    return Architecture(
        kind="pretrained",
        layers=layers,
        width=width,
        heads=heads,
        key_value_heads=getattr(config, "num_key_value_heads", None) or heads,
        head_width=getattr(config, "head_dim", None) or width // heads,
        feed_forward=getattr(config, "intermediate_size", None) or 4 * width,
        tied=tied,
    )


@contextmanager
def _problems(path: Path) -> Iterator[None]:
    """Whatever transformers finds wrong with a folder is the user's to solve: its first line is the problem."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise CurateError(
            f"transformers cannot read the model in `{path}`: {lines[0][:200]}",
            "model.path",
            "a folder with config.json and model.safetensors, as `save_pretrained` writes it",
        ) from None


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' bars and reports."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
