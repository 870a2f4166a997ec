"""A Label Studio of one's own: an environment that is made once, a process that listens on this machine alone, a login.

Label Studio brings 160 packages (a gigabyte), so it gets a virtual environment in the cache,
`$XDG_CACHE_HOME/curate/label-studio/VERSION-pyX.Y`. What people do is in the data folder: an SQLite file, `login.json`
(readable by its owner alone) and `label-studio.log`. The first start takes 40 CPU seconds, later ones 3; 400 MB of memory.
Nothing is sent anywhere: no analytics, no look for newer versions.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.errors import CurateError, ResumableError
from curate.labeling.studio.client import TOKEN

__all__ = ["VERSION", "Server", "environment", "installed", "login", "running"]

VERSION = "1.23.2"
START_SECONDS = 300.0
STOP_SECONDS = 10.0
EMAIL = "admin@curate.local"
DIES_WITH_US = "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 15); os.execv(sys.argv[1], sys.argv[1:])"
"""PR_SET_PDEATHSIG: whoever kills us with -9 leaves no server."""
SETTINGS = {
    "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",  # without it the token that we give is refused
    "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK": "true",
    "COLLECT_ANALYTICS": "false",
    "LATEST_VERSION_CHECK": "false",
    "SENTRY_DSN": "",
    "FRONTEND_SENTRY_DSN": "",
    "ML_BLOCK_LOCAL_IP": "false",  # a model that predicts while people work is on this machine
    "SSRF_PROTECTION_ENABLED": "false",  # so are its webhooks
}


def _folder() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "curate" / "label-studio" / f"{VERSION}-py{sys.version_info.major}.{sys.version_info.minor}"


def installed() -> Path | None:
    """The folder of the environment; None where it was not made."""
    return _folder() if (_folder() / "installed").is_file() else None


def environment(say: Callable[[str], None] = lambda text: None) -> Path:
    """The folder of Label Studio's environment, made where it is missing; one process makes it, others wait.

    Raises:
        ResumableError: It cannot be installed; what was downloaded is kept.
    """
    folder = _folder()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if installed() is None:
            say(f"making an environment for Label Studio {VERSION} in {folder}: a gigabyte, some minutes")
            clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
            for command in (
                [sys.executable, "-m", "venv", str(folder)],
                [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
                 f"label-studio=={VERSION}"],
            ):  # fmt: skip
                done = subprocess.run(command, env=clean, capture_output=True, text=True)
                if done.returncode:
                    last = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
                    raise ResumableError(
                        f"Label Studio cannot be installed: {last}", str(folder), "the same command goes on"
                    )
            (folder / "installed").touch()
    return folder


@dataclass(frozen=True)
class Server:
    """A Label Studio that runs.

    Attributes:
        url: Where it is.
        email: Who logs in.
        password: With what.
        token: For the API; not to be shown.
        process: Its process, which leads a group.
    """

    url: str
    email: str
    password: str
    token: str
    process: subprocess.Popen[bytes]

    def __repr__(self) -> str:
        """Without secrets."""
        return f"Server({self.url})"

    def wait(self) -> None:
        """Until it ends, or somebody interrupts.

        Raises:
            CurateError: It ended by itself.
        """
        code = self.process.wait()
        raise CurateError(
            f"Label Studio ended by itself (exit {code})", self.url, "label-studio.log in its data says why"
        )


def login(data: Path) -> dict[str, str]:
    """E-mail, password and token of the Label Studio in a data folder, made where there are none.

    Raises:
        CurateError: Others may read the file, or it is damaged.
    """
    path = data / "login.json"
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        made = {"email": EMAIL, "password": secrets.token_urlsafe(12), "token": secrets.token_hex(20)}
        with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as stream:
            json.dump(made, stream)
    if path.stat().st_mode & 0o077:
        raise CurateError("others can read the login of Label Studio", str(path), f"chmod 600 {path}")
    try:
        found: Any = json.loads(path.read_text())
        return {name: str(found[name]) for name in ("email", "password", "token")}
    except (ValueError, KeyError, TypeError):
        raise CurateError("the login of Label Studio is damaged", str(path)) from None


@contextmanager
def running(
    data: Path,
    *,
    port: int | None = None,
    seconds: float = START_SECONDS,
    say: Callable[[str], None] = lambda text: None,
) -> Iterator[Server]:
    """A Label Studio on this machine alone, until the block is left; SIGTERM leaves it as SIGINT does.

    Args:
        data: Its data folder; a later start goes on with it.
        port: Where it listens; by default one that is free.
        seconds: How long the start may take.
        say: Is told what is being waited for.

    Raises:
        CurateError: One runs already on these data, the port is taken, or it does not start.
    """
    program = environment(say) / "bin" / "label-studio"
    account = login(data)
    with (data / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise CurateError(
                f"a Label Studio runs already on these data, at {lock.read().strip() or 'a port that it has not said yet'}",
                str(data),
            ) from None  # fmt: skip
        lock.truncate(0)
        port = _free(port)
        url = f"http://127.0.0.1:{port}"
        with _interruptible():
            _forget_exports(data)
            process = _start(program, data, url, port, account)
            try:
                _wait(process, url, data, seconds, say)
                lock.write(url)
                lock.flush()
                yield Server(url, account["email"], account["password"], account["token"], process)
            finally:
                _stop(process)
                _forget_exports(data)


def _forget_exports(data: Path) -> None:
    """Label Studio keeps a copy of each export, with the texts; an erasure would not find them."""
    shutil.rmtree(data / "export", ignore_errors=True)


def _free(port: int | None) -> int:
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind(("127.0.0.1", port or 0))
        except OSError:
            raise CurateError(f"port {port} is taken", hint="`--port` names another one") from None
        return one.getsockname()[1]


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM is as SIGINT, so that a block is left in order."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _start(program: Path, data: Path, url: str, port: int, account: dict[str, str]) -> subprocess.Popen[bytes]:
    ours = ("PYTHON", "LABEL_STUDIO_", "DJANGO_")
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith(ours) and name != TOKEN},
        **SETTINGS,
        "LABEL_STUDIO_BASE_DATA_DIR": str(data.resolve()),
        "LABEL_STUDIO_HOST": url,
        "LABEL_STUDIO_USERNAME": account["email"],
        "LABEL_STUDIO_PASSWORD": account["password"],
        "LABEL_STUDIO_USER_TOKEN": account["token"],
    }
    command = [
        str(program),
        "start",
        "--no-browser",
        "--host",
        url,
        "--internal-host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    command += ["--log-level", "WARNING"]
    if sys.platform == "linux":
        command = [sys.executable, "-c", DIES_WITH_US, *command]
    with (data / "label-studio.log").open("ab") as log:
        return subprocess.Popen(
            command, env=environ, cwd=data, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )  # fmt: skip


def _wait(process: subprocess.Popen[bytes], url: str, data: Path, seconds: float, say: Callable[[str], None]) -> None:
    say(f"waiting for Label Studio at {url} (the first start makes its database: a minute or more)")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for _ in range(max(1, int(seconds * 2))):
        try:
            with opener.open(f"{url}/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            pass
        try:
            code = process.wait(0.5)
        except subprocess.TimeoutExpired:
            continue
        raise CurateError(
            f"Label Studio did not start (exit {code})", str(data / "label-studio.log"), "its log says why"
        )
    raise CurateError(
        f"Label Studio did not start within {seconds:g} seconds", str(data / "label-studio.log"), "its log says why"
    )


def _stop(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        os.killpg(process.pid, number)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            continue
