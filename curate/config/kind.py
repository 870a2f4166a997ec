"""Which kind of file a YAML file is: a pipeline has sources, a training file has a run."""

from __future__ import annotations

from pathlib import Path

from curate.config.yamlfile import load_yaml

__all__ = ["is_training_file"]


def is_training_file(path: Path) -> bool:
    """Whether the file is one for `curate train`: it has `run`, or `steps`, and none of what only pipelines have."""
    keys = load_yaml(path).value
    if not isinstance(keys, dict) or keys.keys() & {"sources", "stages", "include"}:
        return False
    return bool(keys.keys() & {"run", "steps", "epochs", "model", "objective"})
