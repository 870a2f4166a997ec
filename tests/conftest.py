"""Shared fixtures: the real data folder, one stage applied to a few texts, no network."""

from __future__ import annotations

import compileall
import gc
import os
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["PYRIGHT_PYTHON_IGNORE_WARNINGS"] = "1"  # else it asks whether there is a newer one

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import settings

from tests.nursery import open_nurseries
from tests.object_store import ENVIRONMENT, Server, serving
from tests.offline.sitecustomize import guard
from tests.oracles import library, real_data

# no network: here, and in processes that tests start
CONNECTIONS = Path(tempfile.mkstemp(prefix="connections-")[1])
os.environ["CURATE_TEST_CONNECTIONS"] = str(CONNECTIONS)
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [str(Path(__file__).parent / "offline"), os.environ.get("PYTHONPATH")])
)
sys.addaudithook(guard)

# how long an example takes is the machine's business
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")

# a shell that starts the tests in the background lets them ignore Ctrl-C, which some of them send
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Where tests run (not in a process that hands them to others), processes of curate are born in a nursery."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        write_bytecode()
    if not getattr(session.config.option, "numprocesses", None):
        open_nurseries()


def write_bytecode() -> None:
    """Of our own modules, once, in 2 seconds: where PYTHONDONTWRITEBYTECODE is set, hundreds of processes that tests start
    would each compile all that they import, which takes up to a second."""
    for name in ("curate", "evaluation", "labeling", "reports", "train"):
        compileall.compile_dir(Path(__file__).parents[1] / name, quiet=2)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """What is collected stays to the end: nothing looks through it for what could go, neither now nor later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes have no names: a gzip member holds the second in which a worker collected it, and workers must collect alike."""
    return argname if isinstance(val, bytes) and (len(val) > 40 or b"\x1f\x8b" in val) else None


@pytest.fixture(autouse=True)
def offline() -> Iterator[None]:
    """A test that asks for anything beyond this machine fails, also where a process that it started did."""
    yield
    asked = CONNECTIONS.read_text()
    CONNECTIONS.write_text("")
    assert not asked, asked


def pytest_sessionfinish() -> None:
    """Leave nothing."""
    CONNECTIONS.unlink(missing_ok=True)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets."""
    return real_data()


def document_table(texts, **columns) -> pa.Table:
    """Texts as the engine hands them to a stage: ids `d0`, `d1`, ... and a source_uri each."""
    count = len(texts)
    return pa.table({
        "id": pa.array([f"d{i}" for i in range(count)], pa.string()),
        "text": pa.array(texts, pa.string()),
        "source_uri": pa.array([f"test#{i}" for i in range(count)], pa.string()),
        **columns,
    })  # fmt: skip


@pytest.fixture
def documents():
    return document_table


@pytest.fixture
def apply_stage():
    """Run one mapper, filter or audit on texts; gives (verdicts by row as dicts, new columns as lists by name)."""

    def apply(stage, texts, **columns):
        table = document_table(texts, **columns)
        if stage.kind == "mapper":
            verdicts, added = stage.open()(table)
        else:
            features = stage.open()(table)
            assert features.num_rows == table.num_rows
            added = {name: features.column(name) for name in features.column_names}
            verdicts = stage.decide(features) if stage.kind == "filter" else None
        rows = {row["row"]: row for row in verdicts.to_pylist()} if verdicts is not None else {}
        return rows, {name: column.to_pylist() for name, column in added.items()}

    return apply


# ---- places for stores


def pytest_generate_tests(metafunc) -> None:
    """A test that is marked `anywhere` and has a store runs with one in a folder, and with one in an object store."""
    marks = {mark.name for mark in metafunc.definition.iter_markers()}
    if "kind_of_place" in metafunc.fixturenames and "anywhere" in marks and "folder" not in marks:
        kinds = ["folder", pytest.param("s3", marks=pytest.mark.slow)]
        metafunc.parametrize("kind_of_place", kinds, indirect=True)


@pytest.fixture
def kind_of_place(request) -> str:
    """`folder` or `s3`."""
    return getattr(request, "param", "folder")


@pytest.fixture(scope="session")
def object_store() -> Iterator[Server]:
    """An S3 server, and the environment that leads to it."""
    for name in ("moto", "obstore", "flask"):
        library(name)
    with serving() as server, pytest.MonkeyPatch.context() as patch:
        for name, value in {**ENVIRONMENT, "AWS_ENDPOINT_URL": server.url}.items():
            patch.setenv(name, value)
        yield server


@dataclass(frozen=True)
class Place:
    """Where a test has its stores: a folder, or a prefix in the server's bucket."""

    root: str
    server: Server | None

    def store(self, name: str) -> str:
        """The path or URL of one of them."""
        return f"{self.root}/{name}"

    def age(self, store, days: float = 30) -> None:
        """Make everything in a store look older than it is."""
        if self.server:
            self.server.age(store.location.removeprefix("s3://bucket/"), days * 86_400)
            return
        then = time.time() - days * 86_400
        for path in store.root.rglob("*"):
            os.utime(path, (then, then))


@pytest.fixture
def place(kind_of_place, tmp_path, request) -> Place:
    """Where a test has its stores."""
    if kind_of_place == "folder":
        return Place(str(tmp_path), None)
    return Place(f"s3://bucket/{secrets.token_hex(4)}", request.getfixturevalue("object_store"))
