"""The command line loads what a command needs and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from curate.cli import COMMANDS, GROUPS

HEAVY = (
    "torch", "pydantic", "pyarrow", "numpy", "numba", "polars", "scipy", "spacy", "presidio_analyzer", "datasets",
    "datatrove", "ruamel", "rich.progress", "fastwarc", "resiliparse", "tokenizers", "jinja2", "transformers", "fsspec",
)  # fmt: skip
TYPER_NEEDS = {"pydantic"}
"""What typer loads by itself to show the options of a command."""
COUNT = """
import json, sys
try:
    from curate.cli import main
    sys.argv = ["curate", *sys.argv[1:]]
    main()
finally:
    print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


def loaded(folder, *arguments):
    """(heavy modules that the command loads, how many it loads in all)."""
    done = subprocess.run([sys.executable, "-c", COUNT, *arguments], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-500:]
    modules = json.loads(done.stderr.splitlines()[-1])
    return [name for name in HEAVY if name in modules], len(modules)


def test_help_loads_no_heavy_module_and_few_in_all(tmp_path):
    heavy, count = loaded(tmp_path, "--help")
    assert heavy == []
    assert count < 200  # 154, in a tenth of a second


def test_help_of_the_data_commands_loads_no_heavy_module(tmp_path):
    assert set(loaded(tmp_path, "data", "--help")[0]) <= TYPER_NEEDS


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_loads_no_heavy_module(name, tmp_path):
    assert set(loaded(tmp_path, name, "--help")[0]) <= TYPER_NEEDS


TEN_STAGES = """\
dataset: ten
sources:
  - {stage: files, paths: ["in/*.jsonl"]}
stages:
  - {stage: html_text}
  - {stage: unicode}
  - {stage: language}
  - {stage: gopher_quality}
  - {stage: gopher_repetition}
  - {stage: c4}
  - {stage: exact_duplicates}
  - {stage: near_duplicates}
  - {stage: pii}
  - {stage: split}
"""


def test_validating_ten_stages_loads_no_engine_and_few_modules_in_all(tmp_path):
    (tmp_path / "pipeline.yaml").write_text(TEN_STAGES)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_text('{"text": "a document"}\n')
    heavy, count = loaded(tmp_path, "validate", "pipeline.yaml")
    assert set(heavy) <= {"pydantic", "ruamel", "pyarrow", "numpy", "fastwarc", "resiliparse", "xxhash"}
    assert count < 1000  # the first documents are read with Arrow


def test_importing_the_package_loads_nothing(tmp_path):
    code = "import sys, curate; print(sorted(name for name in sys.modules if name.startswith('curate')))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "['curate']\n"


def test_an_unknown_name_of_the_package_is_an_attribute_error():
    import curate

    with pytest.raises(AttributeError, match="module 'curate' has no attribute 'nothing'"):
        _ = curate.nothing


def test_every_command_of_the_table_is_there():
    from importlib import import_module

    for target, summary in (*COMMANDS.values(), *(one for group in GROUPS.values() for one in group.values())):
        module, _, function = target.partition(":")
        assert callable(getattr(import_module(module), function))
        assert summary.endswith(".")


@pytest.fixture
def complete(tmp_path):
    """What bash would offer after these words."""

    def words(line):
        environment = {
            **os.environ,
            "_CURATE_COMPLETE": "complete_bash",
            "COMP_WORDS": line,
            "COMP_CWORD": str(line.count(" ")),
        }
        done = subprocess.run([sys.executable, "-c", "from curate.cli import main; import sys; sys.argv[0] = 'curate'; main()"],
                              cwd=tmp_path, capture_output=True, text=True, env=environment)  # fmt: skip
        return done.stdout.split()

    return words


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("curate va", ["validate"]),
        ("curate ", [*COMMANDS, *GROUPS]),
        ("curate data ", list(GROUPS["data"])),
        ("curate audit ", list(GROUPS["audit"])),
        ("curate privacy ", list(GROUPS["privacy"])),
        ("curate validate --s", ["--set"]),
        ("curate data sample --s", ["--split", "--seed", "--store"]),
    ],
)
def test_the_shell_completes_commands_and_options(complete, line, offered):
    assert complete(line) == offered
