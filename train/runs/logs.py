"""Metrics for other programs: TensorBoard's event files, and Weights & Biases where it is installed.

Both get the numbers of each step's record, those of a validation as `validation/NAME`; sampled texts go to TensorBoard
alone, whose files stay in the run folder. A run that goes back to a checkpoint has each step once: TensorBoard is told to
forget those after it, and W&B, which knows the run by its id, takes no step twice.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from math import isfinite
from typing import Any, Protocol, Self

from curate.errors import CurateError
from curate.train.runs.folder import RunFolder
from curate.train.runs.samples import shown
from curate.train.settings.config import TrainConfig

__all__ = ["Logs", "check_logs", "scalars"]


class Log(Protocol):
    """Something that takes the records of the steps."""

    def go_on(self, after: int) -> None:
        """The next record is that of the step after this one, whatever came before."""

    def add(self, record: dict[str, Any]) -> None:
        """Take the record of a step."""

    def close(self) -> None:
        """The run ends here, or goes on later."""


class Logs:
    """The logs that the settings ask for.

    Args:
        config: The run's settings.
        folder: Its folder.

    Raises:
        CurateError: A package that is asked for is not installed.
    """

    def __init__(self, config: TrainConfig, folder: RunFolder) -> None:
        self.logs: list[Log] = []
        if config.log.tensorboard:
            self.logs.append(_TensorBoard(folder))
        if config.log.wandb:
            self.logs.append(_WeightsAndBiases(config.log.wandb, config, folder))
        self.last: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for log in self.logs:
            log.close()

    def __call__(self, record: dict[str, Any]) -> None:
        """Take the record of a step."""
        goes_back = self.last is None or record["step"] <= self.last
        self.last = record["step"]
        for log in self.logs:
            if goes_back:
                log.go_on(record["step"] - 1)
            log.add(record)


def check_logs(config: TrainConfig) -> None:
    """Refuse what `Logs` would refuse, before any work is done.

    Raises:
        CurateError: A package that is asked for is not installed.
    """
    if config.log.tensorboard:
        _tensorboard()
    if config.log.wandb:
        _wandb()


def _tensorboard() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        problem, hint = "`log.tensorboard` needs tensorboard, which is not installed", "pip install 'curate-lm[train]'"
        raise CurateError(problem, "log.tensorboard", hint) from None
    return SummaryWriter


def _wandb() -> Any:
    try:
        import wandb  # pyright: ignore[reportMissingImports]
    except ImportError:
        problem, hint = "`log.wandb` needs wandb, which is not installed", "pip install wandb"
        raise CurateError(problem, "log.wandb", hint) from None
    return wandb


class _TensorBoard:
    """Event files in the run's `tensorboard` folder."""

    def __init__(self, folder: RunFolder) -> None:
        self.open, self.folder = _tensorboard(), folder
        self.writer: Any = None

    def go_on(self, after: int) -> None:
        """A new file, in which later steps of the older ones are taken back."""
        self.close()
        self.writer = self.open(str(self.folder.tensorboard), purge_step=after + 1)

    def add(self, record: dict[str, Any]) -> None:
        """Write a step's numbers."""
        assert self.writer
        for name, value in scalars(record):
            self.writer.add_scalar(name, value, record["step"])
        if record.get("samples"):
            self.writer.add_text("completions", shown(record["samples"]), record["step"])

    def close(self) -> None:
        """Write what is left."""
        if self.writer:
            self.writer.close()


class _WeightsAndBiases:
    """A run of Weights & Biases; where it goes and in whose name is the matter of its own configuration."""

    def __init__(self, project: str, config: TrainConfig, folder: RunFolder) -> None:
        wandb = _wandb()
        known = folder.read("wandb.json") or {"id": f"{config.run}-{secrets.token_hex(4)}"}
        folder.write("wandb.json", known)
        self.run = wandb.init(
            project=project,
            name=config.run,
            id=known["id"],
            resume="allow",
            dir=str(folder.path),
            config=config.model_dump(mode="json"),
        )

    def go_on(self, after: int) -> None:
        """Nothing to do: steps that it has are ignored there."""

    def add(self, record: dict[str, Any]) -> None:
        """Send a step's numbers."""
        self.run.log(dict(scalars(record)), step=record["step"])

    def close(self) -> None:
        """Send what is left."""
        self.run.finish()


def scalars(record: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """The finite numbers of a record but its step, by name; those in a block as `BLOCK/NAME`."""
    for name, value in record.items():
        if isinstance(value, dict):
            yield from scalars(value, f"{prefix}{name}/")
        elif isinstance(value, (int, float)) and isfinite(value) and (prefix or name != "step"):
            yield f"{prefix}{name}", float(value)
