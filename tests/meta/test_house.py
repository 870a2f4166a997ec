"""The house rules that a machine can check."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import curate

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = ("curate", "train", "reports", "labeling", "evaluation")
OUR_FILES = sorted(
    path
    for package in PACKAGES
    for path in (REPOSITORY / package).rglob("*.py")
    if not any(part.is_symlink() for part in path.parents)
)


def _modules():
    return sorted(one.name for one in pkgutil.walk_packages(curate.__path__, "curate.") if "templates" not in one.name)


def test_no_file_is_longer_than_400_lines():
    long = {str(path): count for path in OUR_FILES if (count := len(path.read_text().splitlines())) > 400}
    assert not long


def test_no_function_is_longer_than_50_lines():
    long = []
    for path in OUR_FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno + 1 > 50:
                long.append(f"{path.name}:{node.name}")
    assert not long


def test_folders_are_at_most_three_deep():
    deep = [path for path in OUR_FILES if len(path.relative_to(REPOSITORY).parent.parts) > 3]
    assert not deep


def test_files_are_plain_ascii():
    assert [str(path) for path in OUR_FILES if not path.read_bytes().isascii()] == []


def test_every_module_has_a_docstring():
    assert [str(path) for path in OUR_FILES if not ast.get_docstring(ast.parse(path.read_text()))] == []


@pytest.mark.parametrize("name", _modules())
def test_public_names_exist(name):
    module = importlib.import_module(name)
    for public in getattr(module, "__all__", ()):
        assert hasattr(module, public), f"{name}.__all__ names {public}"


def test_names_of_the_package_itself_can_be_imported():
    for public in curate.__all__:
        assert getattr(curate, public) is not None


@pytest.mark.parametrize("name", ["train", "reports", "labeling", "evaluation"])
def test_top_level_folders_refuse_their_bare_names(name):
    done = subprocess.run([sys.executable, "-c", f"import {name}"], cwd=REPOSITORY, capture_output=True, text=True)
    assert f"import curate.{name}, not {name}" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["lint-imports"], ["pyright"]]
)
def test_checkers_pass(command):
    tool = Path(sys.executable).parent / command[0]
    done = subprocess.run([str(tool), *command[1:]], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    # a warning where a foreign class lacks something is a failure where a name of ours is not there (lxml's are made in C)
    assert [
        line for line in done.stdout.splitlines() if "unknown import symbol" in line and '"etree"' not in line
    ] == []
