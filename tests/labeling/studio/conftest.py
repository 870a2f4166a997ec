"""A real Label Studio for the session, and tasks in it; each worker of the tests has its own."""

from __future__ import annotations

import fcntl
import hashlib
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from curate.labeling.log import Item, Suggestion, text_of
from curate.labeling.studio.client import Client, connect, find_project
from curate.labeling.studio.pull import Pulled, pull
from curate.labeling.studio.push import Pushed, push
from curate.labeling.studio.server import Server, installed, running
from curate.labeling.task import Task
from curate.labeling.values import shown
from tests.oracles import library, missing

LABELS = {"classification": ["ham", "spam"], "multilabel": ["ham", "spam", "rude"], "spans": ["name", "place"]}


@pytest.fixture(scope="session")
def environment() -> Path:
    library("label_studio_sdk")
    folder = installed()
    return folder if folder else missing("Label Studio is not there (make studio)")


@pytest.fixture(scope="session")
def studio_data(environment, tmp_path_factory) -> Path:
    """A data folder as the first start leaves it, which takes a minute and is kept for all sessions."""
    kept = environment / "tests"
    kept.mkdir(exist_ok=True)
    with (kept / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (kept / "made").exists():
            shutil.rmtree(kept / "data", ignore_errors=True)
            with running(kept / "data"):
                (kept / "made").touch()
    return shutil.copytree(kept / "data", tmp_path_factory.mktemp("studio") / "data")


@pytest.fixture(scope="session")
def studio(studio_data) -> Iterator[Server]:
    with running(studio_data) as server:
        yield server


@pytest.fixture(scope="session")
def client(studio) -> Iterator[Client]:
    with connect(studio.url, studio.token) as made:
        yield made


@pytest.fixture(scope="session")
def other(studio) -> Iterator[Client]:
    """A second person, who signed up by the link that the first one sends."""
    known = {"Authorization": f"Token {studio.token}"}
    invite = httpx.get(f"{studio.url}/api/invite", headers=known).json()["invite_url"]
    with httpx.Client(base_url=studio.url, follow_redirects=True) as one:
        page = one.get(invite).text
        secret = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)[1]
        form = {"email": "carol@curate.local", "password": "carol-secret-1", "csrfmiddlewaretoken": secret}
        one.post(invite, data=form, headers={"Referer": studio.url + invite}).raise_for_status()
        token = one.get("/api/current-user/token").json()["token"]
    with connect(studio.url, token) as made:
        yield made


@dataclass
class World:
    """A task, its documents and what is wanted of them."""

    client: Client
    task: Task
    documents: dict[str, dict[str, Any]]
    items: list[Item] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.shown = {id: shown(self.task, one) for id, one in self.documents.items()}
        self.hashes = {id: hashlib.sha256(repr(one).encode()).hexdigest() for id, one in self.shown.items()}
        self.items = self.round(self.documents)

    def round(self, ids, *, round=1, role="label", annotators=1, blind=False) -> list[Item]:
        return [
            Item(id, self.hashes[id], round, role, annotators, blind, place, "random") for place, id in enumerate(ids)
        ]

    def suggest(self, values: dict[str, Any], model="model-1", probability=0.75) -> list[Suggestion]:
        return [Suggestion(id, self.hashes[id], text_of(value), probability, model) for id, value in values.items()]

    def push(self, suggestions=(), *, items=None, client=None, **more) -> Pushed:
        return push(client or self.client, self.task, items or self.items, self.shown, suggestions, **more)

    def pull(self, known=(), **more) -> Pulled:
        return pull(self.client, self.task, set(known), **more)

    @property
    def number(self) -> int:
        return find_project(self.client, self.task).number

    def tasks(self) -> dict[str, Any]:
        """The tasks at Label Studio by document."""
        found = list(self.client.api.tasks.list(project=self.number, page_size=100, fields="all"))
        by_document = {one.meta["document"]: one for one in found}
        assert len(by_document) == len(found)
        return by_document

    def answer(self, id: str, result: list, *, client=None, **more) -> int:
        """Answer as a person does, or as an importer may."""
        api = (client or self.client).api
        return api.annotations.create(id=self.tasks()[id].id, result=result, lead_time=2.5, **more).id


def choice(label: str, kind="choices", to="text") -> list[dict[str, Any]]:
    """What Label Studio keeps when somebody chooses a label."""
    return [
        {"from_name": "answer", "to_name": to, "type": "choices", "value": {"choices": [label]}, "origin": "manual"}
    ]


@pytest.fixture
def make_task() -> Callable[..., Task]:
    """A task of its own name."""

    def made(kind="classification", **more) -> Task:
        given = {"labels": LABELS[kind]} if kind in LABELS else {}
        given |= {"prompt": "prompt"} if kind == "answer" else {}
        return Task.model_validate(
            {"task": f"t{uuid.uuid4().hex[:8]}", "dataset": "messages", "kind": kind, **given, **more}
        )

    return made


@pytest.fixture
def world(client, make_task) -> Callable[..., World]:
    """A task with documents."""

    def made(kind="classification", documents=None, count=4, **more) -> World:
        documents = documents or {f"d{place}": {"text": f"text number {place}"} for place in range(count)}
        return World(client, make_task(kind, **more), documents)

    return made
