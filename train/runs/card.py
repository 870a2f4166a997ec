"""The model card of a run: README.md in its folder, made of what the folder says and nothing else.

The same folder gives the same text: no clock, no host. Sections follow Mitchell et al. 2019 as far as a run knows them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from curate.train.runs.folder import RunFolder
from curate.train.runs.metrics import read_metrics
from curate.train.settings.config import TrainConfig

__all__ = ["model_card", "write_card"]

NAME = "README.md"
_OBJECTIVES = {
    "causal": "the next token from those before it",
    "masked": "tokens that were hidden",
    "multi_token": "the next tokens, several at once",
    "seq2seq": "a text from a text",
    "classification": "a label of a text",
    "token_classification": "a label of each word",
    "sft": "what the assistant says in conversations",
    "preference": "better answers over worse ones",
    "reward": "how good an answer to a prompt is",
    "reinforcement": "texts that a rule rewards",
    "distillation": "the next token as a teacher predicts it",
}


def write_card(folder: RunFolder) -> None:
    """Write the model card into the folder of a complete run."""
    folder.write_text(NAME, model_card(folder))


def model_card(folder: RunFolder) -> str:
    """The model card of a complete run, in Markdown.

    Args:
        folder: The run's folder, with config.json, environment.json and result.json.
    """
    begun, environment, result = (folder.read(f"{name}.json") for name in ("config", "environment", "result"))
    assert begun and environment and result
    config = TrainConfig.model_validate(begun["config"])
    parts = [
        [f"# {config.run}", "", *_model(config, result)],
        ["## Data", "", *_data(begun["data"])],
        ["## Training", "", *_training(config, result, folder)],
        ["## Results", "", *_results(result)],
        ["## Limits", "", *_limits(config, begun["data"], result)],
        ["## To make it again", "", *_again(result, environment)],
    ]
    return "\n".join(line for part in parts for line in [*part, ""])


def _model(config: TrainConfig, result: dict[str, Any]) -> Iterator[str]:
    kind, count = config.model.kind.replace("_", "-"), result["parameters"]
    article = "An" if kind[0] in "aeiou" else "A"
    kinds = [task.objective.kind for task in config.tasks.values()] if config.tasks else [config.objective.kind]
    learned = "; ".join(_OBJECTIVES[kind] for kind in dict.fromkeys(kinds))
    yield f"{article} {kind} with {count:,} parameters that has learned {learned}."
    if config.model.path:
        yield f"It began with the weights of `{_cell(config.model.path)}`."
    if config.lora:
        yield f"Only adapters of rank {config.lora.rank} were trained."


def _data(data: dict[str, Any]) -> Iterator[str]:
    packs = {data["dataset"]: data} if "dataset" in data else data
    yield from ("| dataset | version | split | documents | tokens |", "|---|---|---|---:|---:|")
    for name, pack in packs.items():
        title = pack["dataset"] if pack["dataset"] == name else f"{pack['dataset']} ({name})"
        for split, counts in sorted(pack["splits"].items()):
            numbers = " | ".join(f"{counts[key]:,}" if key in counts else "" for key in ("documents", "tokens"))
            yield f"| {title} | `{pack['version'][:12]}` | {split} | {numbers} |"


def _training(config: TrainConfig, result: dict[str, Any], folder: RunFolder) -> Iterator[str]:
    yield f"- {result['steps']:,} steps, {result['tokens']:,} tokens, with {config.precision}"
    if result.get("stopped_early"):
        yield f"- stopped early: the weights are those of `{result['checkpoint']}`, the best in validation"
    skipped = sum(bool(record.get("skipped")) for record in read_metrics(folder.metrics))
    if skipped:
        yield f"- steps skipped, because loss or gradients were not finite: {skipped:,}"
    for change in _changes(folder):
        was, now = (json.dumps(change[key]) if key in change else "not there" for key in ("was", "is"))
        yield f"- `{change['name']}` was changed after step {change['step']:,}: from {was} to {now}"
    yield from ("", "Settings that are not the defaults:", "", "| setting | value |", "|---|---|")
    for name, value in _settings(config):
        yield f"| `{name}` | {_cell(value)} |"


def _changes(folder: RunFolder) -> list[dict[str, Any]]:
    path = folder.path / "changes.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def _settings(config: TrainConfig) -> Iterator[tuple[str, Any]]:
    """Names and values of what was set; a kind is named even where it is the default of its block."""
    given = config.model_dump(mode="json", exclude_defaults=True)
    if "objective" in given:
        given["objective"] = {"kind": config.objective.kind, **given["objective"]}
    for name, task in (config.tasks or {}).items():
        given["tasks"][name]["objective"] = {
            "kind": task.objective.kind,
            **given["tasks"][name].get("objective", {}),
        }
    yield from _leaves(given)


def _leaves(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _results(result: dict[str, Any]) -> Iterator[str]:
    yield from ("| | |", "|---|---:|", f"| training loss at the last step | {_number(result['loss'])} |")
    for split in ("validation", "test"):
        for name, value in _leaves(result.get(split, {})):
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                yield f"| {split}: {name.replace('_', ' ').replace('.', ', ')} | {_number(value)} |"


def _limits(config: TrainConfig, data: dict[str, Any], result: dict[str, Any]) -> Iterator[str]:
    yield "- It knows what is in these texts, with their errors and gaps; it was not tested for safety or bias."
    yield f"- It has seen sequences of at most {config.batch.length:,} tokens."
    packs = [data] if "dataset" in data else list(data.values())
    if not any(pack["splits"].get("validation", {}).get("tokens") for pack in packs):
        yield "- There was no validation split: nothing here tells how it does on other texts."
    else:
        splits = (
            "the validation and the test split, which come" if "test" in result else "the validation split, which comes"
        )
        yield f"- Results are of {splits} from the same sources as the training texts."
    yield "- The licenses of the texts are in the datasets' versions, and were not judged here."


def _again(result: dict[str, Any], environment: dict[str, Any]) -> Iterator[str]:
    yield "The same data, settings, processes, threads and versions give the same weights, to the bit."
    yield from ("", "| | |", "|---|---|")
    for name in ("weights", "tokenizer", "dataset_version"):
        if result.get(name):
            yield f"| sha256 of {name.replace('_', ' ')} | `{result[name]}` |"
    yield f"| device | {environment['cuda'] or 'CPU'} |"
    yield f"| processes, threads of each | {environment['processes']}, {environment['threads']} |"
    versions = ", ".join(f"{name} {version}" for name, version in sorted(environment["versions"].items()))
    yield f"| versions | Python {environment['python']}, {versions} |"


def _number(value: float | None) -> str:
    if value is None:
        return "not known"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def _cell(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text.replace("|", "\\|").replace("\n", " ")
