"""The reports' projects, once more, behind the server of `curate browse`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest
from starlette.testclient import TestClient

from curate.browse.cache import Cache
from curate.browse.columns import Columns
from curate.dataset.reader import open_dataset
from curate.workbench.serve import open_server
from tests.reports.conftest import (  # noqa: F401 - fixtures
    archive,
    books_once,
    browser,
    chats,
    empty,
    hostile,
    make,
    measured,
)

STAGES = str(Path(__file__).resolve().parent.parent / "reports")
TOYS = str(Path(__file__).resolve().parent.parent / "pipeline")
for folder in (STAGES, TOYS):
    if folder not in sys.path:
        sys.path.append(folder)


def opened(made_project, name="books"):
    """A version and its columns."""
    dataset = open_dataset(name, made_project.store)
    return dataset, Columns(dataset, Cache(made_project.store))


def made(store, **options):
    """A server that is asked without a port, and a browser that was not let in."""
    server = open_server(store, **options)
    server.close()
    return server, TestClient(server.app, base_url=f"http://127.0.0.1:{server.port}")


def client(store, **options) -> TestClient:
    """A browser that was let in."""
    server, found = made(store, **options)
    assert found.get(f"/?token={server.app.token}").status_code == 200
    return found


def version_of(store, name="books") -> str:
    from curate.dataset.refs import resolve

    return f"{name}@{resolve(store, name).version[:12]}"


@contextmanager
def serving(store, **options) -> Iterator:
    """A server on a port, in a thread of this process."""
    import uvicorn

    server = open_server(store, **options)
    running = uvicorn.Server(uvicorn.Config(server.app, log_level="critical", access_log=False))
    running.install_signal_handlers = lambda: None
    running.capture_signals = _no_signals
    thread = Thread(target=running.run, kwargs={"sockets": [server._socket]})
    thread.start()
    try:
        yield server
    finally:
        running.should_exit = True
        thread.join()


@contextmanager
def _no_signals():
    yield


@pytest.fixture(scope="session")
def pages(books_once):  # noqa: F811
    """The pages of a version with drops, edits, duplicates, personal data and rejected input."""
    return client(books_once.store)


from toy_project import done, folder_after_a_run  # noqa: E402, F401
from toy_project import project as project  # noqa: E402
