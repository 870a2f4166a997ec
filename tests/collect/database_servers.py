"""Database servers on this machine for tests: a PostgreSQL and a MariaDB from Debian's packages, one of each a session."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

START_SECONDS = 120.0
PASSWORD = "pa:ss w%rd/7"
"""With characters that stand otherwise in a URL."""


def free_port() -> int:
    with closing(socket.socket()) as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def program(name: str) -> str | None:
    """A server's program: Debian has them beside the path of users."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return shutil.which(name, path=os.pathsep.join([*map(str, folders), os.environ["PATH"], "/usr/sbin"]))


@contextmanager
def folder_of(user: str) -> Iterator[tuple[Path, dict]]:
    """A folder that a user can write, and how to start programs as that user: servers do not run as root."""
    folder = Path(tempfile.mkdtemp(prefix="database-"))
    options: dict = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    if os.geteuid() == 0:
        shutil.chown(folder, user, user)
        options |= {"user": user, "group": user, "extra_groups": []}
    options["env"] = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "HOME")}
    options["cwd"] = folder
    try:
        yield folder, options
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def postgresql() -> Iterator[str]:
    """The address of one, with a password."""
    from sqlalchemy import URL

    with folder_of("postgres") as (folder, options):
        port, secret = free_port(), folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        made = [program("initdb"), "-D", folder / "data", "-A", "scram-sha-256", "-U", "curate", f"--pwfile={secret}"]
        subprocess.run([*made, "--no-sync", "-E", "UTF8", "--locale=C.UTF-8"], check=True, **options)
        settings = [
            "fsync=off",
            "full_page_writes=off",
            "shared_buffers=16MB",
            f"port={port}",
            "listen_addresses=127.0.0.1",
        ]
        given = [word for one in (*settings, f"unix_socket_directories={folder}") for word in ("-c", one)]
        server = subprocess.Popen([program("postgres"), "-D", str(folder / "data"), *given], **options)
        try:
            url = URL.create("postgresql+pg8000", "curate", PASSWORD, "127.0.0.1", port, "postgres")
            _wait(server, url)
            yield url.set(drivername="postgresql").render_as_string(hide_password=False)
        finally:
            _stop(server)


@contextmanager
def mariadb() -> Iterator[str]:
    """The address of one, with a password."""
    from sqlalchemy import URL, create_engine, text

    with folder_of("mysql") as (folder, options):
        port = free_port()
        made = [program("mariadb-install-db"), "--no-defaults", f"--datadir={folder / 'data'}", "--skip-test-db"]
        subprocess.run([*made, "--auth-root-authentication-method=normal", "--innodb-flush-log-at-trx-commit=0"],
                       check=True, **options)  # fmt: skip
        server = subprocess.Popen(
            [program("mariadbd"), "--no-defaults", f"--datadir={folder / 'data'}", f"--socket={folder / 'socket'}",
             f"--port={port}", "--bind-address=127.0.0.1", f"--pid-file={folder / 'pid'}", "--skip-name-resolve",
             "--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=16M", "--skip-log-bin"],
            **options,
        )  # fmt: skip
        try:
            root = URL.create("mysql+pymysql", "root", None, "127.0.0.1", port)
            _wait(server, root)
            engine = create_engine(root)
            with engine.begin() as connection:
                connection.execute(text("CREATE DATABASE texts CHARACTER SET utf8mb4"))
                connection.execute(text("CREATE USER curate IDENTIFIED BY :password"), {"password": PASSWORD})
                connection.execute(text("GRANT ALL ON texts.* TO curate"))
            engine.dispose()
            yield URL.create("mariadb", "curate", PASSWORD, "127.0.0.1", port, "texts").render_as_string(False)
        finally:
            _stop(server)


def _wait(server: subprocess.Popen, url) -> None:
    from sqlalchemy import create_engine
    from sqlalchemy.exc import SQLAlchemyError

    begun, engine = time.monotonic(), create_engine(url)
    while True:
        try:
            engine.connect().close()
            engine.dispose()
            return
        except SQLAlchemyError:
            if server.poll() is not None or time.monotonic() - begun > START_SECONDS:
                raise RuntimeError("the database server does not come up") from None
            time.sleep(0.1)


def _stop(server: subprocess.Popen) -> None:
    server.terminate()
    try:
        server.wait(timeout=20)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
