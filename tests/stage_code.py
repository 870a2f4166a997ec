"""What code each built-in stage reaches, as a hash: so that nobody changes a result and forgets to raise `version`.

The hash is of the syntax trees, without docstrings, of the stage's module and all modules of curate's stage folders that it
imports, anywhere. A change that alters no result is declared: `CURATE_SAME_RESULTS=1 python -m tests.golden`.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
GOLDEN = REPOSITORY / "tests" / "goldens" / "stage_code.json"
FOLDERS = (
    "collect", "clean", "filter", "dedup", "privacy", "audit", "mix", "contamination", "quality", "chat", "synthesize",
    "stages", "table",
)  # fmt: skip
CONTRACT = {"curate.stages.contract", "curate.stages.registry", "curate.stages.work", "curate.stages.selectors"}


def stage_code() -> str:
    """The golden text: version and hash of the code, by stage.

    Raises:
        AssertionError: The code of a stage has changed, and its version has not.
    """
    from curate.stages.registry import BUILT_IN, find_stage

    now = {
        name: {"version": find_stage(name).version, "code": digest(target.partition(":")[0])}
        for name, target in sorted(BUILT_IN.items())
    }
    known = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    forgotten = [
        name
        for name, facts in now.items()
        if name in known and known[name]["version"] == facts["version"] and known[name]["code"] != facts["code"]
    ]
    if forgotten and not os.environ.get("CURATE_SAME_RESULTS"):
        raise AssertionError(
            f"the code that {', '.join(forgotten)} reach has changed, and their `version` has not: raise it where results "
            "may differ; else `CURATE_SAME_RESULTS=1 python -m tests.golden` declares that they do not"
        )
    return json.dumps(now, indent=1) + "\n"


def digest(module: str) -> str:
    """Hash of all the code of stage folders that a module reaches."""
    found: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = file_of(name)
        if name in found or name in CONTRACT or path is None:
            continue
        tree = ast.parse(path.read_text())
        waiting += imports(tree)
        found[name] = ast.dump(without_docstrings(tree))
    return hashlib.sha256(json.dumps(sorted(found.items())).encode()).hexdigest()[:16]


def file_of(name: str) -> Path | None:
    parts = name.split(".")
    if parts[0] != "curate" or len(parts) < 3 or parts[1] not in FOLDERS:
        return None
    path = REPOSITORY.joinpath(*parts)
    return next((one for one in (path.with_suffix(".py"), path / "__init__.py") if one.is_file()), None)


def imports(tree: ast.Module) -> list[str]:
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return names


def without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return tree
