"""Generated texts that are kept in the repository: `python -m tests.golden` writes them, tests compare them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


def _stages() -> str:
    from curate.config.reference import reference_page

    return reference_page()


def _commands() -> str:
    from typer.testing import CliRunner

    from curate.cli import COMMANDS, GROUPS, app

    lines = ["# Commands", "", "Made from the commands themselves by `make docs`; do not edit.", ""]
    for name in [*([name] for name in COMMANDS), *([group, name] for group, names in GROUPS.items() for name in names)]:
        environment = {"COLUMNS": "100", "TERMINAL_WIDTH": "100", "NO_COLOR": "1"}
        shown = CliRunner(env=environment).invoke(app, [*name, "--help"], prog_name="curate").output
        text = [line.rstrip() for line in shown.strip().splitlines()]
        lines += [f"## curate {' '.join(name)}", "", "```text", *text, "```", ""]
    return "\n".join(lines)


def _train() -> str:
    from curate.config.reference import settings_rows
    from curate.train.settings.config import TrainConfig

    head = ["# train.yaml", "", "Made from the configuration classes by `make docs`; do not edit.", ""]
    return "\n".join(
        [*head, "| setting | type | default | what it is |", "|---|---|---|---|", *settings_rows(TrainConfig), ""]
    )


def _pipeline() -> str:
    from curate.config.pipeline import Settings
    from curate.config.reference import settings_rows

    head = ["# pipeline.yaml", "", "Made from the configuration classes by `make docs`; do not edit.", ""]
    rows = ["| setting | type | default | what it is |", "|---|---|---|---|", *settings_rows(Settings)]
    lists = [
        "| `sources` | list | `required` | sources, read one after the other: [stages](stages.md) of the kind `source` |",
        "| `stages` | list | `[]` | stages, in their order: [stages](stages.md), `module:Class`, or `use:` a datatrove block |",
        "| `include` | file or list | `null` | other files: keys where this one has none, lists before this one's |",
    ]
    return "\n".join([*head, *rows, *lists, ""])


def _tasks() -> str:
    from curate.evaluation.tasks.settings import tasks_page

    return tasks_page()


def _schema() -> str:
    from curate.config.reference import pipeline_schema

    return json.dumps(pipeline_schema(), indent=2, sort_keys=True) + "\n"


def _names() -> str:
    from curate.stages.registry import BUILT_IN

    return "\n".join(sorted(BUILT_IN)) + "\n"


def _versions() -> str:
    from tests.pipeline.golden_projects import golden

    return golden()


def _stage_code() -> str:
    from tests.stage_code import stage_code

    return stage_code()


GOLDEN: dict[str, Callable[[], str]] = {
    "docs/reference/stages.md": _stages,
    "docs/reference/commands.md": _commands,
    "docs/reference/pipeline.md": _pipeline,
    "docs/reference/train.md": _train,
    "docs/reference/tasks.md": _tasks,
    "docs/reference/pipeline.schema.json": _schema,
    "tests/goldens/stage_names.txt": _names,
    "tests/goldens/stage_code.json": _stage_code,
}

RUNS: dict[str, Callable[[], str]] = {"tests/goldens/version_ids.txt": _versions}
"""The same of things that take runs; tests/pipeline/test_golden_versions.py compares them."""

if __name__ == "__main__":
    for name, make in {**GOLDEN, **RUNS}.items():
        path = REPOSITORY / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(make())
        print(path)
