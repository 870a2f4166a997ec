"""`curate init`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from curate.commands.options import Json
from curate.terminal import echo

__all__ = ["TEMPLATES", "init"]

TEMPLATES = {
    "quickstart": "real text that this machine has already; runs as it is",
    "files": "your own files in in/",
    "gopher": "your files, by the published recipe of Gopher's MassiveWeb",
    "c4": "by that of C4",
    "fineweb": "by that of FineWeb",
    "fineweb2": "by that of FineWeb-2, for German",
    "dclm-like": "by that of DCLM-Baseline, without its classifier",
}
FOLDERS = ("quickstart", "files")
"""Templates that are folders; the others are a pipeline file each, in the folder of `files`."""


def init(
    folder: Annotated[Path, typer.Argument(help="Folder to make.", metavar="DIR")],
    template: Annotated[
        str, typer.Option(help="; ".join(f"{name}: {what}" for name, what in TEMPLATES.items()))
    ] = "quickstart",
    as_json: Json = False,
) -> None:
    """Make a working project: pipeline.yaml, train.yaml, README."""
    from curate.commands.options import print_json
    from curate.errors import CurateError, did_you_mean

    if template not in TEMPLATES:
        hint = did_you_mean(template, TEMPLATES) or f"there are: {', '.join(TEMPLATES)}"
        raise CurateError(f"there is no template `{template}`", "--template", hint)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CurateError(f"`{folder}` is there already and not empty", hint="name a new folder")
    try:
        _copy(template, folder)
    except OSError as error:
        raise CurateError(f"`{folder}` cannot be made: {error.strerror}", str(error.filename or folder)) from error
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    if as_json:
        print_json({"folder": str(folder), "template": template, "files": files})
    else:
        first = "" if template in FOLDERS else f"put your files into {folder}/in, then "
        echo(f"{folder}: {', '.join(files)}\nnext: {first}cd {folder} && curate run pipeline.yaml")


def _copy(template: str, folder: Path) -> None:
    import shutil

    templates = Path(__file__).resolve().parent.parent / "templates"
    if template in FOLDERS:
        shutil.copytree(templates / template, folder, dirs_exist_ok=True)
        return
    shutil.copytree(templates / "files", folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("example.jsonl"))
    shutil.copyfile(templates / "recipes" / f"{template}.yaml", folder / "pipeline.yaml")
