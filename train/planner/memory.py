"""How much memory a run takes on each device, before it is started.

    weights      4 bytes for each parameter of the shard; gradients as much; AdamW 8 more, SGD and Muon's matrices 4,
                 an average 4. Adapters (LoRA): gradients and optimizer of the adapters only, and 2 bytes for
                 each of the model's own parameters with `lora.base: bf16`; with nf4 0.52 for those of the blocks' linear
                 layers, in each process
    whole        of the embedding and two blocks, which FSDP puts together for their computation
    activations  what the backward pass needs of each token in each block (`_block_bytes`), of one piece of the batch, and
                 once more of one block, for gradients; with `recompute` of all others only what they read
    loss         logits and their gradients of CHUNK positions, and a gradient of the output matrix
    runtime      of libraries, once they compute; on a GPU its context

They are not all there at once: the peak is the backward pass's begin (activations, no gradients) or the optimizer's step
(gradients, no activations). Not counted: PyTorch's own code (0.3 GiB on the CPU), the data (mapped, not read), the
teacher of a distillation, the cache of sampled texts.

On the CPU the estimate is within MARGIN of what was measured (docs/planner.md), but for deep models with `recompute`,
which take up to half as much again: the C library keeps the small pieces that are freed. On a GPU nothing was measured
yet. `compile` may need less. Nothing here imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from curate.errors import CurateError

if TYPE_CHECKING:
    from collections.abc import Callable

    from curate.train.settings.architecture import Architecture
    from curate.train.settings.config import TrainConfig

__all__ = ["MARGIN", "Estimate", "check_fits", "count_parameters", "estimate"]

CHUNK = {"cpu": 256, "cuda": 2048}
"""Positions whose logits are held at once (curate.train.objectives.loss)."""
MARGIN = 0.25
"""Share by which a run may differ from its estimate."""
GIB = 1 << 30
RUNTIME = {"cpu": 50 << 20, "cuda": 600 << 20}
"""Bytes that libraries take: on the CPU measured, on a GPU about what CUDA's context and cuBLAS take."""
WORKING = {"cpu": 1.0, "cuda": 0.5}
"""Activations of one block that the backward pass takes besides: gradients, and on the CPU what the C library has not
given back of what was freed."""
DISTANCES = 32
"""Biases of relative positions, for each head."""
NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
"""Bytes of a number in 4 bits, with its share of the scales (curate.train.models.nf4)."""
_PARTS = ("weights", "gradients", "optimizer", "activations", "loss")
_WITHOUT_TOKENS = {"classification", "token_classification", "reward"}
"""Objectives that predict no tokens, and so have no logits of the vocabulary."""

Device = Literal["cpu", "cuda"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Bytes on one device.

    Attributes:
        weights: Its shard of the parameters, of the reference model too where there is one.
        gradients: Of the shard.
        optimizer: Its state of the shard, and the average.
        whole: Parameters that are put together for their computation.
        activations: What is kept for the backward pass.
        loss: What the loss takes while it is computed.
        step: What the optimizer takes while it steps.
        runtime: What libraries take.
    """

    weights: int
    gradients: int
    optimizer: int
    whole: int
    activations: int
    loss: int
    step: int
    runtime: int

    @property
    def total(self) -> int:
        """The peak."""
        backward = self.whole + self.activations + self.loss
        return self.runtime + self.weights + self.optimizer + max(backward, self.gradients + self.step)


def estimate(
    config: TrainConfig,
    sizes: Architecture,
    vocabulary: int,
    *,
    processes: int | None = None,
    device: Device = "cuda",
) -> Estimate:
    """What a run takes on each device.

    Args:
        config: The run's settings; its model's own sizes do not count.
        sizes: The model's architecture.
        vocabulary: Number of tokens.
        processes: Instead of the settings'.
        device: Where it runs; the CPU has no fused norms and needs a dense mask for documents.
    """
    processes = processes or config.processes
    readers = max(1, processes // config.parallel.tensor)
    shards = max(1, processes // config.parallel.replicate)
    rows = -(-config.batch.sequences // (readers * config.batch.accumulate))
    number = 4 if config.precision == "fp32" else 2
    root, blocks = _root(config, sizes, vocabulary), _blocks(sizes)
    trained = _adapters(config, sizes) if config.lora else root + blocks
    kinds = {task.objective.kind for task in (config.tasks or {}).values()} or {config.objective.kind}
    head = 0 if kinds <= _WITHOUT_TOKENS else vocabulary * sizes.width
    logits = 3 * 4 * min(CHUNK[device], rows * config.batch.length) * vocabulary if head else 0
    texts = 2 if getattr(config.objective, "paired", False) else 1  # of a row; those without gradients take no room
    activations = _activations(config, sizes, rows * texts, device)
    return Estimate(
        weights=_weights(config, sizes, root + blocks, trained, shards) * (2 if _has_reference(config) else 1),
        gradients=4 * trained // shards,
        optimizer=_optimizer(config, trained, blocks) // shards,
        whole=number * (root + _together(config, sizes, blocks)),
        activations=activations // config.parallel.tensor,
        # the sum of the matrix's gradients, and what autograd multiplies it to
        loss=logits + (0 if config.lora else 2 * 4 * head),
        step=_step(config, sizes, trained // shards),
        runtime=RUNTIME[device],
    )


def count_parameters(config: TrainConfig, sizes: Architecture, vocabulary: int) -> int:
    """Parameters of the model, without heads for labels."""
    return _root(config, sizes, vocabulary) + _blocks(sizes)


def check_fits(
    config: TrainConfig,
    sizes: Architecture,
    vocabulary: int,
    *,
    available: int,
    processes: int | None = None,
    device: Device = "cuda",
) -> Estimate:
    """The estimate, if it may fit into the `available` bytes of each process.

    Only what cannot fit is refused: less MARGIN it would still be too much.

    Raises:
        CurateError: Says by how much it does not fit, what takes the room, and which settings would fit.
    """

    def fits(count: int | None, **settings: Any) -> bool:
        changed = config.model_copy(update=settings)
        return estimate(changed, sizes, vocabulary, processes=count, device=device).total <= available

    found = estimate(config, sizes, vocabulary, processes=processes, device=device)
    if found.total * (1 - MARGIN) <= available:
        return found
    parts = ", ".join(f"{name} {getattr(found, name) / GIB:.2f}" for name in _PARTS)
    raise CurateError(
        f"training takes about {found.total / GIB:.2f} GiB in each process, {(found.total - available) / GIB:.2f} GiB more "
        f"than the {available / GIB:.2f} GiB that are free ({parts})",
        hint=_remedy(config, fits, processes or config.processes),
    )


def _remedy(config: TrainConfig, fits: Callable[..., bool], processes: int) -> str:
    """The mildest change of settings that fits: smaller pieces, recomputing, both, then more processes."""
    readers = max(1, processes // config.parallel.tensor)
    share = config.batch.sequences // readers
    pieces = [count for count in range(config.batch.accumulate + 1, share + 1) if share % count == 0]
    for recompute in sorted({config.recompute, True}):
        also = "" if recompute == config.recompute else "`recompute: true`"
        if also and fits(processes, recompute=True):
            return f"{also} would fit"
        for count in pieces:
            batch = config.batch.model_copy(update={"accumulate": count})
            if fits(processes, recompute=recompute, batch=batch):
                return f"`batch.accumulate: {count}`{' with ' + also if also else ''} would fit"
    for more in (2, 4, 8, 16, 32, 64):
        if config.batch.sequences % (more * readers) == 0 and fits(more * processes, recompute=True):
            return f"`processes: {more * processes}`, each with a device of its own, and `recompute: true` would fit"
    return "a smaller model, shorter sequences (`batch.length`), or adapters only (`lora`)"


# ---- parameters


def _count(sizes: Architecture) -> int:
    """Blocks that FSDP puts together one by one."""
    if sizes.kind == "cnn":
        return len(sizes.kernels)
    if sizes.kind == "mlp":
        return sizes.layers
    return sizes.layers * (2 if sizes.kind == "encoder_decoder" else 1)


def _blocks(sizes: Architecture) -> int:
    """Parameters of all blocks."""
    width, inner = sizes.width, sizes.feed_forward
    if sizes.kind == "lstm":
        half = width // 2 if sizes.bidirectional else width
        return sizes.layers * (width // half) * 4 * half * (width + half + 2)
    if sizes.kind == "cnn":
        return sum(inner * (width * kernel + 1) for kernel in sizes.kernels)
    if sizes.kind == "mlp":
        return sizes.layers * (2 * width * inner + inner + 3 * width)
    norm = width * (2 if sizes.norm == "layer" and sizes.bias else 1)
    attention = 2 * width * sizes.head_width * (sizes.heads + sizes.key_value_heads)
    biases = sizes.head_width * (sizes.heads + 2 * sizes.key_value_heads) + 2 * width if sizes.bias else 0
    biases += inner * (2 if sizes.gated else 1) if sizes.bias else 0
    narrow = sizes.head_width * sizes.key_value_heads
    wide = sizes.head_width * sizes.heads
    block = sizes.block_parameters() + _norms(sizes) * norm + biases
    block += wide + 2 * narrow if sizes.projection_bias and not sizes.bias else 0
    block += {"head": 2 * sizes.head_width, "width": wide + narrow, None: 0}[sizes.query_key_norm]
    return sizes.layers * (2 * block + attention + norm if sizes.kind == "encoder_decoder" else block)


def _norms(sizes: Architecture) -> int:
    """Norms of a block, without those of queries and keys."""
    return 2 * sizes.norm_inputs + 2 * sizes.norm_outputs


def _root(config: TrainConfig, sizes: Architecture, vocabulary: int) -> int:
    """Parameters outside the blocks: embeddings, the last norm, the output matrix."""
    width = sizes.width
    if sizes.kind in ("cnn", "mlp"):
        return vocabulary * width
    embedding = vocabulary * width * (1 if sizes.tied else 2)
    if sizes.kind == "lstm":
        return embedding
    norm = width * (2 if sizes.norm == "layer" and sizes.bias else 1)
    if sizes.kind == "encoder_decoder":
        return embedding + 2 * norm + 2 * DISTANCES * sizes.heads
    learned = config.batch.length * width if sizes.positions == "learned" else 0
    norms = 2 * norm if sizes.kind == "encoder" and not sizes.norm_after else norm
    return embedding + learned + sizes.segments * width + norms


def _adapters(config: TrainConfig, sizes: Architecture) -> int:
    """Parameters of the adapters."""
    assert config.lora
    settings, found = config.lora, 0
    for name, (count, outputs, inputs) in _linear_layers(sizes).items():
        if settings.targets == "all-linear" or name in settings.targets:
            found += count * (settings.rank * (outputs + inputs) + (outputs if settings.dora else 0))
    return found


def _linear_layers(sizes: Architecture) -> dict[str, tuple[int, int, int]]:
    """How many linear layers of each last name the blocks have, and their outputs and inputs."""
    width, inner, blocks = sizes.width, sizes.feed_forward, _count(sizes)
    wide, narrow = sizes.heads * sizes.head_width, sizes.key_value_heads * sizes.head_width
    attentions = blocks + (sizes.layers if sizes.kind == "encoder_decoder" else 0)
    found = {
        "query": (attentions, wide, width),
        "key": (attentions, narrow, width),
        "value": (attentions, narrow, width),
    }
    each = blocks * (sizes.experts or 1)
    found |= {"output": (attentions, width, wide), "up": (each, inner, width), "down": (each, width, inner)}
    if sizes.experts:
        found["router"] = (blocks, sizes.experts, width)
    return found | ({"gate": (each, inner, width)} if sizes.gated else {})


def _weights(config: TrainConfig, sizes: Architecture, own: int, trained: int, shards: int) -> int:
    """Bytes of a shard of the model's own parameters and of its adapters; matrices in 4 bits are whole in each process."""
    if config.lora is None:
        return 4 * own // shards
    if config.lora.base != "nf4":
        return ((2 if config.lora.base == "bf16" else 4) * own + 4 * trained) // shards
    matrices = _matrices(sizes)
    return int(NF4_BYTES * matrices) + (2 * (own - matrices) + 4 * trained) // shards


def _matrices(sizes: Architecture) -> int:
    """Numbers in the linear layers of the blocks."""
    return sum(count * outputs * inputs for count, outputs, inputs in _linear_layers(sizes).values())


def _together(config: TrainConfig, sizes: Architecture, blocks: int) -> int:
    """Numbers of the blocks that are put together at once: two blocks, or of those in 4 bits one matrix."""
    if config.lora is None or config.lora.base != "nf4":
        return 2 * blocks // _count(sizes)
    return max(outputs * inputs for _, outputs, inputs in _linear_layers(sizes).values())


def _has_reference(config: TrainConfig) -> bool:
    """A copy of the model as it began stands beside it."""
    objective = config.objective
    if config.lora and config.lora.path is None:
        return False
    return (
        objective.compares if objective.kind == "preference" else objective.kind == "reinforcement" and objective.kl > 0
    )


def _optimizer(config: TrainConfig, trained: int, blocks: int) -> int:
    settings = config.optimizer
    each = {"adamw": 8, "sgd": 4, "muon": 8}[settings.kind]
    matrices = min(blocks, trained) if settings.kind == "muon" else 0  # muon keeps one number for those, adamw two
    return each * trained - 4 * matrices + (4 * trained if settings.average else 0)


def _step(config: TrainConfig, sizes: Architecture, trained: int) -> int:
    """What the optimizer holds while it steps: AdamW is fused, SGD adds its decay to a copy, Muon turns whole matrices."""
    if config.optimizer.kind == "muon":
        return 5 * 4 * sizes.width * max(sizes.width, sizes.feed_forward)
    return 4 * trained if config.optimizer.kind == "sgd" else 0


# ---- activations


def _activations(config: TrainConfig, sizes: Architecture, rows: int, device: Device) -> int:
    """Bytes kept for the backward pass of `rows` sequences."""
    number = 4 if config.precision == "fp32" else 2
    length, width = config.batch.length, sizes.width
    if sizes.kind == "mlp":
        return rows * number * (sizes.layers + 1) * (4 * width + 3 * sizes.feed_forward)
    positions = rows * length
    if sizes.kind == "cnn":
        return positions * number * (width + 2 * len(sizes.kernels) * sizes.feed_forward)
    outside = 4 * width * number  # the embedded tokens, the last norm, and the gradient of its result
    if sizes.kind == "lstm":
        return positions * ((sizes.layers + 1) * 9 * width * number + outside)
    if sizes.kind == "encoder_decoder":
        return _pair_bytes(config, sizes, rows, device) + positions * outside
    masked = device == "cpu" and (config.batch.document_mask or sizes.kind != "decoder" or sizes.windowed)
    block = _block_bytes(sizes, number, device) + (length * number if masked else 0)
    # capped scores, and what softmax makes of them, are held in float32
    block += length * (2 * 4 + number) * sizes.heads if sizes.attention_cap else 0
    kept = sizes.layers * width * number + block if config.recompute else sizes.layers * block
    return positions * (kept + outside + int(WORKING[device] * block))


def _pair_bytes(config: TrainConfig, sizes: Architecture, rows: int, device: Device) -> int:
    """Bytes of the blocks of both sides: the decoder reads keys and values of the source, too.

    On the CPU attention with learned biases keeps its weights, in float32, and so what they come from.
    """
    number = 4 if config.precision == "fp32" else 2
    objective = config.objective
    length = config.batch.length
    answer = objective.target_length if objective.kind == "seq2seq" else length
    inner = sizes.heads * sizes.head_width
    weights, exact = (4 * sizes.heads, 3 * inner * (4 - number)) if device == "cpu" else (0, 0)
    block = _block_bytes(sizes, number, device)
    encoder = length * (block + weights * length + exact)
    more = _norm_bytes(sizes, number, device) + 2 * inner * number
    decoder = answer * (block + more + weights * answer + exact) + length * 2 * inner * number
    working = int(WORKING[device] * max(encoder, decoder))
    if config.recompute:
        kept = sizes.layers * sizes.width * number * (length + answer)
        return rows * (kept + max(encoder, decoder) + working)
    return rows * (sizes.layers * (encoder + decoder) + working)


def _norm_bytes(sizes: Architecture, number: int, device: Device) -> int:
    """Bytes of one token in one norm: what it reads and gives.

    On the CPU a root-mean-square norm computes in float32 and keeps what it reads, and that divided by its root.
    """
    if sizes.norm == "rms" and device == "cpu":
        return sizes.width * (2 * 4 + number)
    return 2 * number * sizes.width


def _block_bytes(sizes: Architecture, number: int, device: Device) -> int:
    """Bytes of one token in one block.

    What each norm reads and gives; queries, keys, values and their mixture; the hidden states of the feed-forward layer
    (with a gate four of them, without two, with relu one); the masks of dropout.
    """
    attention = 4 * sizes.heads * (sizes.head_width * number + 1)
    hidden = 4 if sizes.gated else 1 if sizes.activation == "relu" else 2
    dropped = 2 * sizes.width * (number if device == "cpu" else 1) if sizes.dropout else 0
    inner = hidden * sizes.feed_forward * number
    if sizes.experts:  # and of each expert what it reads and gives
        inner = sizes.active_experts * (inner + 2 * sizes.width * number)
    return _norms(sizes) * _norm_bytes(sizes, number, device) + attention + inner + dropped
