"""What a stage needs of a machine: for backends that place tasks on several."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Resources", "most_of"]


class Resources(BaseModel):
    """What one task of a stage needs of a machine; no part of what the stage is, so a version's id does not depend on it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cpus: int = Field(1, ge=1, description="processors, and threads of its libraries")
    memory: float | None = Field(None, gt=0, description="GB (10^9 bytes); null leaves it to the cluster's default")
    gpus: int = Field(0, ge=0, description="graphics processors")

    def in_words(self) -> str:
        """What is asked for, as a person would say it: `2 CPUs, 1 GPU and 8 GB of memory`."""
        parts = [f"{self.cpus} CPU{'s' * (self.cpus > 1)}"]
        parts += [f"{self.gpus} GPU{'s' * (self.gpus > 1)}"] if self.gpus else []
        memory = [] if self.memory is None else [f"{self.memory:g} GB of memory"]
        return " and ".join([part for part in (", ".join([*parts, *memory][:-1]), [*parts, *memory][-1]) if part])


def most_of(needs: Iterable[Resources | None]) -> Resources:
    """What stages need that are done in one task: of each thing the most that one of them asks for."""
    known = [one for one in needs if one is not None] or [Resources.model_validate({})]
    memory = [one.memory for one in known if one.memory is not None]
    return Resources(
        cpus=max(one.cpus for one in known), memory=max(memory, default=None), gpus=max(one.gpus for one in known)
    )
