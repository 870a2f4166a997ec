"""Files are there whole or not at all, whatever dies while they are written, and whoever else writes beside."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from curate import files
from curate.files import WRITING, file_hash, replacing, replacing_folder, sweep, sync_folder, write_durably


def leftovers(folder):
    return sorted(path.name for path in folder.glob(f"{WRITING}*"))


def start(code, *arguments, before=()):
    """A process that does something, and says so; it is given arguments as `sys.argv[1:]`."""
    command = [*before, sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)


def is_there(process):
    assert process.stdout.readline() == "there\n"
    return process


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_a_file_is_written_and_replaced_with_the_folders_that_it_needs(tmp_path):
    path = tmp_path / "a" / "b" / "file"
    for content in (b"one", b"two", memoryview(b"three")):
        write_durably(path, content)
        assert path.read_bytes() == bytes(content)
    assert [one.name for one in path.parent.iterdir()] == ["file"]


def test_a_file_is_written_in_another_folder_first(tmp_path):
    (tmp_path / "aside").mkdir()
    with replacing(tmp_path / "file", aside=tmp_path / "aside") as stream:
        stream.write(b"one")
        assert len(leftovers(tmp_path / "aside")) == 1
    assert leftovers(tmp_path / "aside") == []
    assert (tmp_path / "file").read_bytes() == b"one"


def test_an_error_while_writing_leaves_the_old_content_and_nothing_else(tmp_path):
    write_durably(tmp_path / "file", b"old")
    with pytest.raises(ValueError, match="ours"), replacing(tmp_path / "file") as stream:
        stream.write(b"new")
        raise ValueError("ours")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_content_is_on_the_disk_before_its_name_and_the_name_before_the_end(tmp_path, monkeypatch):
    done = []
    sync, replace = os.fsync, type(tmp_path).replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (done.append("fsync"), sync(descriptor))[1])
    monkeypatch.setattr(type(tmp_path), "replace", lambda *paths: (done.append("rename"), replace(*paths))[1])
    write_durably(tmp_path / "file", b"one")
    assert done == ["fsync", "rename", "fsync"]


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_permissions_are_what_the_umask_leaves(tmp_path, mask):
    before = os.umask(mask)
    try:
        write_durably(tmp_path / "file", b"")
        with replacing_folder(tmp_path / "folder") as folder:
            (folder / "inside").write_bytes(b"")
    finally:
        os.umask(before)
    modes = [(tmp_path / name).stat().st_mode & 0o777 for name in ("file", "folder", "folder/inside")]
    assert modes == [0o666 & ~mask, 0o777 & ~mask, 0o666 & ~mask]


HALF = """
import sys, time
from pathlib import Path
from curate.files import replacing
with replacing(Path(sys.argv[1])) as stream:
    stream.write(b"half of the new content")
    stream.flush()
    print("there", flush=True)
    sys.stdin.readline()
"""


def test_a_writer_that_is_killed_leaves_the_old_content(tmp_path):
    write_durably(tmp_path / "file", b"old")
    process = is_there(start(HALF, tmp_path / "file"))
    kill(process)
    assert (tmp_path / "file").read_bytes() == b"old"
    assert len(leftovers(tmp_path)) == 1


def test_what_the_dead_left_is_swept_and_what_the_living_write_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "SWEEP_SECONDS", -1.0)
    dead, alive = is_there(start(HALF, tmp_path / "a")), is_there(start(HALF, tmp_path / "b"))
    kill(dead)
    (tmp_path / "other").write_bytes(b"")
    assert sweep(tmp_path) == 1
    assert len(leftovers(tmp_path)) == 1
    alive.communicate("go on\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "other"]


def test_what_is_younger_than_a_minute_is_left_alone(tmp_path):
    path = tmp_path / f"{WRITING}abc"
    path.write_bytes(b"")
    assert sweep(tmp_path) == 0
    os.utime(path, (time.time() - 61,) * 2)
    assert sweep(tmp_path) == 1
    assert sweep(tmp_path / "not-there") == 0


MANY = """
import os, sys
from pathlib import Path
from curate.files import write_durably
for number in range(60):
    write_durably(Path(sys.argv[1]) / f"{sys.argv[2]}-{number}", sys.argv[2].encode() * 1000, aside=Path(sys.argv[1]))
    write_durably(Path(sys.argv[1]) / "shared", sys.argv[2].encode() * 1000, aside=Path(sys.argv[1]))
print(os.getpid())
"""


def test_containers_with_one_host_name_do_not_take_each_others_files(tmp_path):
    """In process namespaces of their own both are process 1 of the same host."""
    apart = ["unshare", "--pid", "--fork", "--kill-child"]
    if not shutil.which("unshare") or subprocess.run([*apart, "true"], capture_output=True).returncode:
        pytest.skip("process namespaces are not permitted here")
    both = [start(MANY, tmp_path, letter, before=apart) for letter in "ab"]
    told = [process.communicate()[0].strip() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert told[0] == told[1]
    for letter in "ab":
        for number in range(60):
            assert (tmp_path / f"{letter}-{number}").read_bytes() == letter.encode() * 1000
    assert (tmp_path / "shared").read_bytes() in (b"a" * 1000, b"b" * 1000)
    assert leftovers(tmp_path) == []


# ---- folders


@pytest.mark.parametrize("exchanged", [True, False])
def test_a_folder_takes_the_place_of_another_whole(tmp_path, monkeypatch, exchanged):
    if not exchanged:
        monkeypatch.setattr(files, "_exchange", lambda *_: False)
    for content in ("one", "two"):
        with replacing_folder(tmp_path / "folder") as folder:
            (folder / content).write_text(content)
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["two"]
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@pytest.mark.skipif(sys.platform != "linux", reason="renameat2 is Linux's")
def test_there_is_no_moment_without_a_folder_where_one_was(tmp_path, monkeypatch):
    with replacing_folder(tmp_path / "folder"):
        pass
    renamed = []
    monkeypatch.setattr("pathlib.Path.rename", lambda *names: renamed.append(names))
    with replacing_folder(tmp_path / "folder") as folder:
        (folder / "new").touch()
    assert ((tmp_path / "folder" / "new").exists(), renamed) == (True, [])


def test_files_that_a_library_wrote_for_their_owner_alone_get_ordinary_permissions(tmp_path):
    with replacing_folder(tmp_path / "folder") as folder:
        (folder / "plain").touch()
        (folder / "private").touch(0o600)
    modes = {path.stat().st_mode for path in (tmp_path / "folder").iterdir()}
    assert len(modes) == 1


def test_an_error_while_a_folder_is_filled_leaves_the_old_one(tmp_path):
    with replacing_folder(tmp_path / "folder") as folder:
        (folder / "old").write_text("")
    with pytest.raises(ValueError, match="ours"), replacing_folder(tmp_path / "folder") as folder:
        (folder / "new").write_text("")
        raise ValueError("ours")
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["old"]
    assert leftovers(tmp_path) == []


def test_a_folder_that_cannot_be_put_in_its_place_leaves_the_old_one(tmp_path, monkeypatch):
    with replacing_folder(tmp_path / "folder") as folder:
        (folder / "old").write_text("")
    rename = type(tmp_path).rename

    def fails(path, target):
        if target == tmp_path / "folder" and not path.name.endswith("-old"):
            raise OSError("no")
        return rename(path, target)

    monkeypatch.setattr(type(tmp_path), "rename", fails)
    monkeypatch.setattr("curate.files._exchange", lambda *_: False)
    with pytest.raises(OSError, match="no"), replacing_folder(tmp_path / "folder") as folder:
        (folder / "new").write_text("")
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["old"]


def test_the_hash_of_a_file_is_that_of_its_bytes(tmp_path):
    (tmp_path / "file").write_bytes(b"abc" * 1000)
    assert file_hash(tmp_path / "file") == hashlib.sha256(b"abc" * 1000).hexdigest()


def test_a_folder_that_is_not_there_cannot_be_made_durable(tmp_path):
    with pytest.raises(FileNotFoundError):
        sync_folder(tmp_path / "not-there")
