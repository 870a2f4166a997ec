"""A Label Studio of one's own: it starts, keeps its data, shows no secret, and leaves no process."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from curate.errors import CurateError, ResumableError
from curate.labeling.studio import server as module
from curate.labeling.studio.client import TOKEN
from curate.labeling.studio.server import environment, installed, login, running

ROOT = Path(__file__).resolve().parents[3]


def test_the_login_is_made_once_and_for_its_owner_alone(tmp_path):
    first = login(tmp_path / "data")
    assert login(tmp_path / "data") == first and len(first["token"]) == 40
    assert (tmp_path / "data" / "login.json").stat().st_mode & 0o777 == 0o600


def test_a_login_that_others_can_read_is_refused(tmp_path):
    login(tmp_path)
    (tmp_path / "login.json").chmod(0o644)
    with pytest.raises(CurateError, match="others can read the login") as caught:
        login(tmp_path)
    assert "chmod 600" in caught.value.hint


def test_a_damaged_login_is_named(tmp_path):
    login(tmp_path)
    (tmp_path / "login.json").write_text("{")
    with pytest.raises(CurateError, match="login of Label Studio is damaged"):
        login(tmp_path)


def test_an_environment_that_cannot_be_installed_can_be_tried_again(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    real, tried = subprocess.run, []

    def run(command, **given):
        tried.append(command)
        return real([sys.executable, "-c", "import sys; sys.exit('ERROR: no such package')"], **given)

    monkeypatch.setattr(module.subprocess, "run", run)
    with pytest.raises(ResumableError, match="cannot be installed: ERROR: no such package"):
        environment()
    assert installed() is None and tried


@pytest.mark.slow
def test_a_port_that_is_taken_is_named(environment, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(CurateError, match=f"port {port} is taken"), running(tmp_path / "data", port=port):
            pass


@pytest.mark.slow
def test_data_that_a_server_uses_are_not_given_to_another(studio, studio_data):
    with pytest.raises(CurateError, match="runs already on these data") as caught, running(studio_data):
        pass
    assert studio.url in caught.value.problem


@pytest.mark.slow
def test_a_server_that_does_not_start_says_where_its_log_is(environment, tmp_path, monkeypatch):
    data = tmp_path / "data"
    login(data)
    (data / "label_studio.sqlite3").write_bytes(b"no database" * 100)
    with pytest.raises(CurateError, match="did not start") as caught, running(data):
        pass
    assert caught.value.where.endswith("label-studio.log")


@pytest.mark.slow
def test_it_listens_on_this_machine_alone_and_keeps_secrets(studio, studio_data):
    assert httpx.get(f"{studio.url}/health").json() == {"status": "UP"}
    port = int(studio.url.rpartition(":")[2])
    with socket.socket() as one, pytest.raises(OSError, match="refused"):
        one.connect(("127.0.0.2", port))
    log = (studio_data / "label-studio.log").read_text()
    command = Path(f"/proc/{studio.process.pid}/cmdline").read_text()
    for secret in (studio.token, studio.password):
        assert secret not in log and secret not in command and secret not in repr(studio)


SERVE = """
import os, sys
from pathlib import Path
from curate.labeling.studio.server import running

with running(Path(sys.argv[1])) as server:
    print(server.process.pid, server.token in "".join(f"{k}={v}" for k, v in os.environ.items()), flush=True)
    server.wait()
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_no_process_is_left_and_a_later_start_goes_on_with_the_data(studio_data, tmp_path, number):
    data = shutil.copytree(studio_data, tmp_path / "data")
    (data / "export").mkdir(exist_ok=True)
    (data / "export" / "project-1.json").write_text("texts")
    environ = {**os.environ, "PYTHONPATH": f"{ROOT}:{os.environ['PYTHONPATH']}", TOKEN: "a" * 40}
    with subprocess.Popen(
        [sys.executable, "-c", SERVE, str(data)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ
    ) as started:
        line = started.stdout.readline()
        assert line, started.stderr.read()
        pid = int(line.split()[0])
        assert TOKEN.encode() not in Path(f"/proc/{pid}/environ").read_bytes()
        gone = os.pidfd_open(pid)
        started.send_signal(number)
        started.communicate()
    select.select([gone], [], [])
    os.close(gone)
    assert not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2]
    assert not list((data / "export").glob("*"))
    assert json.loads((data / "login.json").read_text()) == json.loads((studio_data / "login.json").read_text())
