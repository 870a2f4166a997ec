"""Files and folders that are there whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from curate import files
from curate.files import WRITING, replacing, replacing_folder, sweep, write_durably


def test_a_file_that_fails_leaves_the_old_one_and_nothing_else(tmp_path):
    path = tmp_path / "a"
    write_durably(path, b"old")
    with pytest.raises(ValueError), replacing(path) as stream:
        stream.write(b"new")
        raise ValueError
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_a_new_file_has_the_permissions_that_the_umask_leaves(tmp_path):
    before = os.umask(0o027)
    try:
        write_durably(tmp_path / "a", b"")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("exchanged", [True, False])
def test_a_folder_takes_the_place_of_the_old_one_whole(tmp_path, monkeypatch, exchanged):
    if not exchanged:
        monkeypatch.setattr(files, "_exchange", lambda *_: False)
    for name in ("old", "new"):
        with replacing_folder(tmp_path / "out") as folder:
            (folder / "below").mkdir()
            (folder / "below" / name).write_text(name)
    assert [path.name for path in (tmp_path / "out/below").iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


@pytest.mark.skipif(sys.platform != "linux", reason="renameat2 is Linux's")
def test_there_is_no_moment_without_a_folder_where_one_was(tmp_path, monkeypatch):
    with replacing_folder(tmp_path / "out"):
        pass
    renamed = []
    monkeypatch.setattr("pathlib.Path.rename", lambda *names: renamed.append(names))
    with replacing_folder(tmp_path / "out") as folder:
        (folder / "new").touch()
    assert (tmp_path / "out/new").exists() and renamed == []


def test_a_folder_that_fails_leaves_the_old_one_and_nothing_else(tmp_path):
    with replacing_folder(tmp_path / "out") as folder:
        (folder / "old").touch()
    with pytest.raises(ValueError), replacing_folder(tmp_path / "out") as folder:
        raise ValueError
    assert (tmp_path / "out/old").exists() and list(tmp_path.iterdir()) == [tmp_path / "out"]


HALF = """
import os, signal, sys
from pathlib import Path
from curate.files import replacing, replacing_folder
with replacing(Path(sys.argv[1], "file")) as stream, replacing_folder(Path(sys.argv[1], "folder")) as folder:
    (folder / "half").touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_dead_process_left_half_written_is_swept_and_what_is_being_written_is_not(tmp_path, monkeypatch):
    subprocess.run([sys.executable, "-c", HALF, str(tmp_path)], check=False)
    assert len(list(tmp_path.iterdir())) == 2 and sweep(tmp_path) == 0  # they are too young to tell
    monkeypatch.setattr(files, "SWEEP_SECONDS", 0.0)
    with replacing(tmp_path / "other"), replacing_folder(tmp_path / "folder"):
        assert sweep(tmp_path) == 2
        assert len(list(tmp_path.glob(f"{WRITING}*"))) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "other"]
