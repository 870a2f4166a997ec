"""`curate doctor`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from curate.commands.options import Json, StoreOption
from curate.terminal import echo

__all__ = ["doctor"]

EXTRAS = {"train": ("torch",), "toxicity": ("transformers",), "s3": ("obstore",), "ray": ("ray",)}


def doctor(
    store: StoreOption = None,
    as_json: Json = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 3 if anything is missing.")] = False,
) -> None:
    """Say what is installed, what is missing, and how to get it: packages, stages' models, processors, disk."""
    from curate.commands.options import print_json
    from curate.commands.tables import print_table

    facts = {"machine": _machine(store), "packages": _packages(), "stages": _stages()}
    missing = [row for row in (*facts["packages"], *facts["stages"]) if not row["present"]]
    if as_json:
        print_json({**facts, "missing": len(missing)})
    else:
        print_table(("machine", ""), [[key, str(value)] for key, value in facts["machine"].items()])
        echo("")
        rows = [[row["name"], row["version"] or "missing", row["for"], row["how"]] for row in facts["packages"]]
        print_table(("package", "version", "for", "how to get it"), rows)
        echo("")
        rows = [[row["stage"], row["needs"], "yes" if row["present"] else "NO", row["how"]] for row in facts["stages"]]
        print_table(("stage", "needs", "there", "how to get it"), rows)
        echo(f"\n{len(missing)} missing" if missing else "\nnothing is missing")
    if strict and missing:
        raise typer.Exit(3)


def _machine(store: Any) -> dict[str, Any]:
    import os
    import platform
    import shutil
    import sys
    from pathlib import Path

    import psutil

    root = str(store or os.environ.get("CURATE_STORE") or ".curate")
    disk = shutil.disk_usage(root if Path(root).exists() else Path())
    made = "://" in root or Path(root, "store.json").exists()
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "processors": len(os.sched_getaffinity(0)),
        "memory": f"{psutil.virtual_memory().total / 1e9:.1f} GB",
        "store": root if made else f"{root} (not made yet)",
        "disk free": f"{disk.free / 1e9:.1f} GB",
    }


def _packages() -> list[dict[str, Any]]:
    import re
    from importlib import metadata

    rows = []
    for requirement in metadata.requires("curate-lm") or []:
        name = re.split(r"[\s<>=!~;\[(]", requirement)[0]
        extra = re.search(r"extra == ['\"](\w+)['\"]", requirement)
        if name == "curate-lm" or (extra and extra[1] not in EXTRAS):
            continue
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            version = None
        how = "" if version else f"pip install 'curate-lm[{extra[1]}]'" if extra else f"pip install {name}"
        purpose = f"extra `{extra[1]}`" if extra else "core"
        rows.append({"name": name, "version": version, "present": version is not None, "for": purpose, "how": how})
    return rows


def _stages() -> list[dict[str, Any]]:
    from pydantic import ValidationError

    from curate.stages.registry import find_stage, stage_names

    rows = []
    for name in stage_names():
        found = find_stage(name)
        try:
            stage = found()
        except ValidationError:  # a stage with required settings cannot be asked without them
            stage = found.model_construct()
        for asset in stage.assets():
            how = "" if asset.present else asset.how
            rows.append({"stage": name, "needs": asset.name, "present": asset.present, "how": how})
    return rows
