"""The blocks of a train.yaml: what a step sees, columns, optimizer, schedule, validation, processes, guard and logs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from curate.train.settings.methods import CausalSettings, ObjectiveSettings, Settings

__all__ = [
    "BatchSettings",
    "DataSettings",
    "GuardSettings",
    "LogSettings",
    "OptimizerSettings",
    "ParallelSettings",
    "ScheduleSettings",
    "TaskSettings",
    "ValidationSettings",
]


class BatchSettings(Settings):
    """What one step sees."""

    sequences: int = Field(
        default=16, ge=1, description="sequences in one step, of all processes and accumulated pieces together"
    )
    length: int = Field(default=256, ge=2, description="tokens in a sequence")
    accumulate: int = Field(
        default=1, ge=1, description="pieces that each process cuts its share into, one after the other: less memory"
    )
    document_mask: bool = Field(
        default=True, description="attention stays inside a document, and positions count from its start"
    )


class DataSettings(Settings):
    """Which columns of the dataset hold what; an objective uses those that it needs."""

    text: str = Field(default="text", description="text, or the first of a pair")
    second: str | None = Field(default=None, description="second text of a pair (classification)")
    label: str = Field(
        default="label",
        description="label (classification), list of labels (token_classification), whether the completion is good (kto, "
        "outcome)",
    )
    words: str = Field(default="words", description="list of words (token_classification)")
    target: str = Field(default="target", description="text to produce (seq2seq)")
    messages: str = Field(default="messages", description="list of {role, content} (sft)")
    prompt: str = Field(
        default="prompt", description="prompt (preference, reward, reinforcement): text, or list of {role, content}"
    )
    chosen: str = Field(default="chosen", description="the better answer (preference, reward)")
    rejected: str = Field(default="rejected", description="the worse answer (preference, reward)")
    completion: str = Field(default="completion", description="a single answer (kto, outcome)")
    positive: tuple[str | int, ...] | None = Field(
        default=None,
        min_length=1,
        description="labels that a good completion has (kto, outcome), or the one whose F1 is measured (classification); by "
        "default true, or 1",
    )
    margin: str | None = Field(
        default=None, description="number by which the chosen answer's score is to lead (reward: bradley_terry)"
    )
    answer: str = Field(default="answer", description="what the reward compares with (reinforcement)")
    weight: str | None = Field(default=None, description="how much a document counts in the loss")
    difficulty: str | None = Field(default=None, description="how hard a document is (curriculum)")
    features: str | None = Field(
        default=None,
        description="list of numbers, as `table_features` makes it: beside the text, or alone with `model.kind: mlp` "
        "(classification)",
    )
    chat: bool | None = Field(
        default=None,
        description="prompts and answers are turns of a conversation (preference, reward, reinforcement); by default where "
        "the model to begin with has a template, or `chat_template` names one",
    )
    chat_template: str | None = Field(
        default=None,
        description="file of a Jinja template of conversations, as in Hugging Face tokenizers; by default that of the model "
        "to begin with, else that of this package",
    )
    unfit: Literal["refuse", "leave_out"] = Field(
        default="refuse",
        description="a conversation, prompt or answer that the template cannot write: it stops the run, or its document is "
        "left out, counted by reason and told (sft, preference, reinforcement)",
    )


class TaskSettings(Settings):
    """One task of several that share a trunk."""

    dataset: str | None = Field(default=None, description="its dataset; by default that of the run")
    objective: ObjectiveSettings = Field(default=CausalSettings(), description="what is learned")
    data: DataSettings = Field(default=DataSettings(), description="its columns")
    weight: float | None = Field(default=None, gt=0, description="share of the steps; by default by its examples")


class OptimizerSettings(Settings):
    """AdamW (Loshchilov and Hutter 2019), SGD, or Muon (Jordan et al. 2024) for the matrices of the blocks."""

    kind: Literal["adamw", "sgd", "muon"] = Field(
        default="adamw", description="muon: embeddings, heads and vectors are left to adamw"
    )
    learning_rate: float = Field(
        default=2e-3,
        gt=0,
        description="highest learning rate, after the warm-up; by default of a model to begin with 2e-5, with preference "
        "5e-7 (kto 1e-6, orpo 8e-6), with reinforcement 1e-6, with reward 1e-5, and ten times that with `lora`",
    )
    matrix_learning_rate: float = Field(default=0.02, gt=0, description="highest learning rate of muon's matrices")
    momentum: float = Field(default=0.95, ge=0, lt=1, description="of sgd and muon")
    beta1: float = Field(default=0.9, ge=0, lt=1, description="decay of the mean of the gradients")
    beta2: float = Field(default=0.95, ge=0, lt=1, description="decay of the mean of their squares")
    epsilon: float = Field(default=1e-8, gt=0, description="added to the root of the mean of squares")
    weight_decay: float = Field(default=0.1, ge=0, description="decay of the matrices; norms are left alone")
    clip: float | None = Field(default=1.0, gt=0, description="most that the norm of the gradients may be; null is off")
    average: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="decay of an exponential moving average of the parameters, which is validated",
    )


class ScheduleSettings(Settings):
    """The learning rate over the steps."""

    kind: Literal["cosine", "linear", "wsd", "constant"] = Field(
        default="cosine", description="how it falls after the warm-up; wsd: it stays, and falls at the end"
    )
    warmup: int = Field(default=10, ge=0, description="steps over which it rises from zero")
    floor: float = Field(default=0.1, ge=0, le=1, description="share of the highest rate that is left at the last step")
    decay: float = Field(default=0.2, gt=0, le=1, description="share of the steps in which wsd falls")


class ValidationSettings(Settings):
    """What the model does on the validation split, during training and at its end."""

    every: int = Field(default=50, ge=1, description="steps between two validations")
    sequences: int | None = Field(
        default=256, ge=1, description="sequences used, spread evenly over the split; null is all of them"
    )
    test: bool = Field(
        default=False, description="measure the model that is kept on all of the test split, once, at the end"
    )


class ParallelSettings(Settings):
    """How processes share the model; what is left of them shards it (FSDP)."""

    replicate: int = Field(default=1, ge=1, description="copies of the sharded model (hybrid sharding)")
    tensor: int = Field(default=1, ge=1, description="processes that share each matrix (tensor parallel; decoders)")


class GuardSettings(Settings):
    """What happens when loss or gradients are not finite."""

    skip: int = Field(default=2, ge=0, description="steps that are skipped, one after the other, before going back")
    rewind: int = Field(
        default=1, ge=0, description="times to go back to the last checkpoint, and on from there without that data"
    )


class LogSettings(Settings):
    """Where metrics go besides metrics.jsonl and the terminal."""

    tensorboard: bool = Field(default=False, description="write event files into the run folder's `tensorboard`")
    wandb: str | None = Field(default=None, description="project in Weights & Biases, where it is installed")
    samples: int = Field(
        default=2,
        ge=0,
        description="prompts whose completions are written into completions.jsonl and TensorBoard at each validation (causal, "
        "sft, preference, reinforcement), and with their rewards every `samples_every` steps (reinforcement); 0: none",
    )
    samples_every: int = Field(default=50, ge=1, description="steps between two looks at what training samples")
