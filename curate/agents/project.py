"""What a client may name: files in the project's folder, versions, numbers and words, and nothing elsewhere.

The folder is the server's only place: it is entered at the start, so nothing depends on where the client stands. A path
is followed to its end, through every symbolic link, before it is used. Settings that a client changes are numbers,
truth values and plain words, and none of a source: where data comes from, what is sent there and what that may cost is
the owner's to say.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from curate.config.pipeline import BESIDE
from curate.errors import CurateError, did_you_mean
from curate.workbench.desk import Desk

if TYPE_CHECKING:
    from curate.dataset.store import Store

__all__ = ["VERBS", "Project", "Value"]

VERBS = ("run", "collect", "train", "eval", "label")
"""What `--allow` may name."""
Value = bool | int | float | str | list[str] | None
"""What a client may set a setting to."""
_KEY = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+){0,5}")
_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+ -]{0,99}")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}(@[A-Za-z0-9][A-Za-z0-9._-]{0,99})?")
_ENDS_ELSEWHERE = "paths are told from the project's folder, and end in it, symbolic links followed"


@dataclass(slots=True)
class Project:
    """A folder, its store, and what may be done there.

    Attributes:
        folder: The folder, without symbolic links in its path.
        store: What `--store` says; None: the nearest, as for commands.
        allowed: Verbs that a client may use.
        limit_minutes: Most minutes that a call may take.
        limit_spend: Most money that fetches may cost, all calls together, by the prices in the files.
        spent: What those that were begun may cost, each by what it asks.
    """

    folder: Path
    store: str | None = None
    allowed: Collection[str] = ()
    limit_minutes: float = 30.0
    limit_spend: float = 0.0
    spent: dict[str, float] = field(default_factory=dict[str, float])
    _desk: Desk | None = field(default=None, repr=False)

    def desk(self) -> Desk:
        """The store, with the columns of the versions that were looked at last.

        Raises:
            CurateError: There is none yet, or several could be meant.
        """
        found = self.opened()
        if self._desk is None or self._desk.store.location != found.location:
            self._desk = Desk(found, read_only=True)
        return self._desk

    def opened(self) -> Store:
        """The store.

        Raises:
            CurateError: There is none yet, or several could be meant.
        """
        from curate.dataset.find import find_store

        return find_store(self.store, anywhere=self.folder)

    def named(self, version: str | None) -> str:
        """The version that is meant: the one named, or the newest of the only dataset.

        Raises:
            CurateError: It is no name of a version, or several datasets could be meant.
        """
        if version is not None:
            return checked_version(version)
        from curate.dataset.refs import datasets

        names = datasets(self.opened())
        if len(names) == 1:
            return names[0]
        hint = f"`version` is one of: {', '.join(names[:20])}" if names else "run a pipeline: that makes a version"
        raise CurateError("which version is meant?" if names else "the store has no version", hint=hint)

    def path(self, given: str, *, folder: bool = False) -> Path:
        """A file, or a folder, of the project that is there.

        Raises:
            CurateError: It is elsewhere, or not there.
        """
        found = self.place(given)
        if not (found.is_dir() if folder else found.is_file()):
            what = "folder" if folder else "file"
            raise CurateError(f"there is no {what} `{given}` in the project", hint=self._there(found, folder=folder))
        return found

    def place(self, given: str) -> Path:
        """A place in the project, whether there is something or not, by its path without symbolic links.

        Raises:
            CurateError: It is elsewhere.
        """
        try:
            found = (self.folder / given).resolve()
        except (OSError, ValueError, RuntimeError):
            raise CurateError(f"`{given[:200]!r}` is no path", hint=_ENDS_ELSEWHERE) from None
        if "\0" in given or not found.is_relative_to(self.folder):
            raise CurateError(f"`{given[:200]}` is not in the project's folder", hint=_ENDS_ELSEWHERE)
        return found

    def _there(self, missing: Path, *, folder: bool) -> str:
        around = missing.parent if missing.parent.is_dir() else self.folder
        names = sorted(one.name for one in around.iterdir() if not one.name.startswith(".") and one.is_dir() == folder)
        where = "the project's folder" if around == self.folder else f"`{around.relative_to(self.folder)}`"
        return f"in {where}: {', '.join(names[:20]) or 'none'}"

    def overrides(
        self, settings: Mapping[str, Value], file: Path, *, stages: Collection[str] | None = None
    ) -> list[str]:
        """Settings of a file as `--set` takes them.

        Args:
            settings: By name, their values.
            file: The file.
            stages: Of a pipeline the ids of its stages, whose settings these must be; None: a training file.

        Raises:
            CurateError: One is not for a client to change, or has a value that is none of numbers, truth values and words.
        """
        found: list[str] = []
        for key, value in settings.items():
            if not _KEY.fullmatch(key):
                raise CurateError(f"`{key[:100]}` is no setting", hint="such as STAGE.SETTING, or SETTING")
            name, dot, _ = key.partition(".")
            if stages is not None and not (dot and name in stages):
                hint = did_you_mean(name, stages) or f"its stages: {', '.join(stages)}"
                raise CurateError(
                    f"`{key}` is no setting of a stage: sources, gates and the dataset are for the pipeline's owner to say",
                    hint=f"{hint}; for all else, ask for a change of the file",
                )
            if stages is not None and key.split(".")[1] in BESIDE:
                raise CurateError(
                    f"`{key}` is no setting of a stage: which stage it is, and for which documents, is for the pipeline's "
                    "owner to say",
                    hint="ask for a change of the file",
                )
            words = value if isinstance(value, list) else [value]
            for one in words:
                if isinstance(one, str):
                    self._check_word(key, one, file.parent)
            shown = [_written(one) for one in words]
            found.append(f"{key}=[{', '.join(shown)}]" if isinstance(value, list) else f"{key}={shown[0]}")
        return found

    def _check_word(self, key: str, value: str, beside: Path) -> None:
        if not _WORD.fullmatch(value) or ".." in value:
            raise CurateError(
                f"`{key}` cannot be set to that here: a value is a number, true, false, null, or words without punctuation",
                hint="ask for a change of the file",
            )
        for folder in (Path(), beside.relative_to(self.folder)):  # a symbolic link that leads out of here
            self.place(str(folder / value))


def checked_version(version: str) -> str:
    """The name of a version, as it is.

    Raises:
        CurateError: It is none.
    """
    if not _VERSION.fullmatch(version):
        raise CurateError(f"`{version[:100]}` names no version", hint="NAME, NAME@TAG or NAME@ID-PREFIX")
    return version


def _written(value: bool | int | float | str | None) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return f"{value}"
