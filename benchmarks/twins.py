"""The same Llama twice: as our trainer steps it, and as Hugging Face's; on random tokens, which cost what text costs.

Both have float32 parameters, compute in the same precision, clip at a norm of 1, and are moved by the same AdamW. What
is measured of ours is `Trainer.step`, all of it; of theirs the loop that transformers' Trainer comes down to, without its
logging. Neither reads data.
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import torch
from torch.nn import functional

from curate.train.build import Parts
from curate.train.models.trunk import build_trunk
from curate.train.objectives.contract import Loss, trunk_inputs
from curate.train.objectives.language import Causal
from curate.train.parallel.shard import shard_model
from curate.train.parallel.world import joined
from curate.train.settings.config import TrainConfig
from curate.train.trainer import Trainer
from curate.train.weights.origin import fill_first

__all__ = ["PlainCausal", "hugging_face", "hugging_face_step", "our_config", "our_step", "random_batch"]

DOCUMENT = 400
"""Tokens of a document, where they are masked from each other."""
CLIP = 1.0


class PlainCausal(Causal):
    """With all logits at once, and PyTorch's cross entropy."""

    def forward(self, batch):
        """The sum of the cross entropy."""
        hidden = self.model(batch["tokens"], **trunk_inputs(self.model, batch)).flatten(0, 1)
        logits = hidden @ self.model.unembedding.T
        return Loss(functional.cross_entropy(logits.float(), batch["targets"].flatten(), reduction="sum"), {})


def our_config(model, *, rows, length, steps, **settings):
    """Settings of a run of ours: AdamW as Hugging Face's Trainer has it, clipped, without validation."""
    return TrainConfig.model_validate(
        {
            "dataset": "random",
            "run": "speed",
            "steps": steps,
            "model": model,
            "batch": {"sequences": rows, "length": length, "document_mask": settings.pop("masked", False)},
            "optimizer": {"learning_rate": 3e-4, "beta2": 0.999, "weight_decay": 0.0, "clip": CLIP},
            "schedule": {"kind": "constant", "warmup": 0},
            **settings,
        }
    )


def random_batch(config, vocabulary):
    """Tokens and targets, and documents of DOCUMENT tokens where they are masked; on the CPU, as the loader gives them."""
    rows, length = config.batch.sequences, config.batch.length
    tokens = torch.randint(0, vocabulary, (rows, length + 1), generator=torch.Generator().manual_seed(1))
    batch = {"tokens": tokens[:, :-1].contiguous(), "targets": tokens[:, 1:].contiguous()}
    if config.batch.document_mask:
        places = torch.arange(length).expand(rows, length)
        batch |= {"documents": places // DOCUMENT, "positions": places % DOCUMENT}
    return batch


@contextmanager
def our_step(config, vocabulary, *, plain_loss=False):
    """A function from a step's number to its loss: the trainer's step, in this process alone."""
    cls = PlainCausal if plain_loss else Causal
    with _as_before(), joined(0, 1, device=config.device) as world:
        with torch.device("meta"):
            trunk = build_trunk(config.model.architecture, vocabulary=vocabulary, length=config.batch.length)
            objective = cls(trunk, config.objective, token_bytes=None, end_of_text=0)
        shard_model(objective, world, config)
        fill_first(objective, None, seed=config.seed, world=world)
        batch = random_batch(config, vocabulary)
        feed = SimpleNamespace(step=lambda number: dict(batch))
        trainer = Trainer(config, Parts(objective, {"": objective}, feed, {}, 0), world)
        yield lambda number: trainer.step(number).loss


@contextmanager
def _as_before():
    """Deterministic algorithms, which our runs ask for on a GPU, are not forced on the others."""
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def hugging_face(config, vocabulary):
    """`LlamaForCausalLM` of the same shape, float32, random weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = config.model.architecture
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=sizes.width,
            intermediate_size=sizes.feed_forward,
            num_hidden_layers=sizes.layers,
            num_attention_heads=sizes.heads,
            num_key_value_heads=sizes.key_value_heads,
            max_position_embeddings=config.batch.length,
            rms_norm_eps=sizes.norm_epsilon,
            tie_word_embeddings=sizes.tied,
            attn_implementation="sdpa",
            use_cache=False,
        )
    )


@contextmanager
def hugging_face_step(config, vocabulary, *, device="cpu"):
    """A function from a step's number to its loss: forward under autocast, backward, clip, fused AdamW."""
    torch.manual_seed(config.seed)
    model = hugging_face(config, vocabulary).to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, weight_decay=0.0, fused=True)
    run = torch.compile(model) if config.compile else model
    batch = random_batch(config, vocabulary)

    def step(number):
        tokens, targets = batch["tokens"].to(device), batch["targets"].to(device)
        half = config.precision != "fp32"
        with torch.autocast(torch.device(device).type, torch.bfloat16) if half else nullcontext():
            loss = run(input_ids=tokens, labels=targets, shift_labels=targets).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    yield step
