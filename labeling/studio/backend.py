"""Predictions while people work: the ML backend protocol of Label Studio, on this machine alone.

| Label Studio asks | and gets |
|---|---|
| `GET /health` (within a second) | `{"status": "UP", "model_class": "curate"}` |
| `POST /setup` (within 3 seconds) | `{"model_version": ...}` |
| `POST /predict` (within 100 seconds), with tasks | `{"results": [...]}`, one list for each task, empty for one that is blind |
| `POST /webhook`, `START_TRAINING` among others | 200 at once; training goes on beside it, one at a time |
| `GET /versions` | `{"versions": [...]}` |

Setup hands over the token of whoever registered the model, in clear, which is why this listens on the loopback alone; it is
not read. A prediction fetched so costs Label Studio 25 ms, one that is pushed 1 ms: push what is known.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from curate.errors import CurateError
from curate.labeling.studio.client import Client, Project
from curate.labeling.studio.interface import shown_at, to_result
from curate.labeling.task import Task

__all__ = ["TITLE", "Model", "register", "serving"]

TITLE = "curate"
MOST_BYTES = 256_000_000


class Model(NamedTuple):
    """What predicts.

    Attributes:
        version: Its version.
        predict: Answers and their probabilities (None: it gives none), for a list of what is shown.
    """

    version: str
    predict: Callable[[Sequence[Mapping[str, Any]]], Sequence[tuple[Any, float | None]]]


class _State:
    def __init__(
        self,
        task: Task,
        model: Model,
        train: Callable[[], Model],
        blind: Callable[[str, str], bool],
        say: Callable[[str], None],
    ) -> None:
        self.task, self.model, self.train, self.blind, self.say = task, model, train, blind, say
        self.versions = [model.version]
        self.training = threading.Lock()

    def results(self, tasks: Sequence[Any]) -> list[list[dict[str, Any]]]:
        """Predictions of each task: one, or none where it is blind, or not ours."""
        model, results = self.model, [list[dict[str, Any]]() for _ in tasks]
        asked: list[tuple[int, str, dict[str, Any]]] = []
        for place, one in enumerate(tasks):
            meta = one.get("meta") if isinstance(one, dict) else None
            if not isinstance(meta, dict) or not isinstance(one.get("data"), dict):
                continue
            id, digest = meta.get("document"), meta.get("hash")
            if isinstance(id, str) and isinstance(digest, str) and not self.blind(id, digest):
                asked.append((place, digest, shown_at(self.task, digest, one["data"])))
        if asked:
            said = model.predict([data for _, _, data in asked])
            for (place, digest, data), (value, probability) in zip(asked, said, strict=True):
                result = to_result(self.task, value, digest, data)
                results[place] = [{"result": result, "score": probability, "model_version": model.version}]
        return results

    def retrain(self) -> None:
        """Train beside what is being asked; nothing where that goes on already."""
        if not self.training.acquire(blocking=False):
            return
        try:
            self.model = self.train()
            self.versions.append(self.model.version)
            self.say(f"trained: model {self.model.version}")
        except CurateError as error:
            self.say(f"not trained: {error.problem}")
        finally:
            self.training.release()


class _Handler(BaseHTTPRequestHandler):
    state: _State

    def do_GET(self) -> None:
        """Health and versions."""
        if self.path == "/health" or self.path == "/":
            self._answer(200, {"status": "UP", "model_class": TITLE})
        elif self.path.startswith("/versions"):
            self._answer(200, {"versions": self.state.versions})
        else:
            self._answer(404, {})

    def do_POST(self) -> None:
        """Setup, predictions, training."""
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > MOST_BYTES:
            self._answer(413, {})
            return
        try:
            body = json.loads(self.rfile.read(int(length)) or b"{}")
        except ValueError:
            body = None
        if not isinstance(body, dict):
            self._answer(400, {})
        elif self.path == "/setup":
            self._answer(200, {"model_version": self.state.model.version})
        elif self.path == "/predict":
            self._predict(body.get("tasks"))
        elif self.path in ("/webhook", "/train"):
            if self.path == "/train" or body.get("action") == "START_TRAINING":
                threading.Thread(target=self.state.retrain, daemon=True).start()
            self._answer(200, {})
        else:
            self._answer(404, {})

    def _predict(self, tasks: Any) -> None:
        try:
            self._answer(200, {"results": self.state.results(tasks if isinstance(tasks, list) else [])})
        except (CurateError, KeyError) as error:
            problem = error.problem if isinstance(error, CurateError) else f"the task has no {error}"
            self.state.say(f"no prediction: {problem}")
            self._answer(500, {"error": problem})

    def _answer(self, status: int, body: Mapping[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: paths and bodies are nobody's business."""


@contextmanager
def serving(
    task: Task,
    model: Model,
    *,
    train: Callable[[], Model],
    blind: Callable[[str, str], bool],
    port: int = 0,
    say: Callable[[str], None] = lambda text: None,
) -> Iterator[str]:
    """The model behind a URL on this machine, until the block is left.

    Args:
        task: The task.
        model: What predicts at first.
        train: Makes a better one, when Label Studio asks for it.
        blind: Whether nobody may see a suggestion, by document and hash of what is shown.
        port: Where it listens; 0: one that is free.
        say: Is told of training, and of tasks without prediction.

    Raises:
        CurateError: The port is taken.
    """
    handler = type("Handler", (_Handler,), {"state": _State(task, model, train, blind, say)})
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError:
        raise CurateError(f"port {port} is taken", hint="`--port` names another one") from None
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def register(client: Client, project: Project, url: str) -> int:
    """Have Label Studio ask a model at this URL, in place of one that it asked before; the number that it has there.

    Raises:
        CurateError: Label Studio does not call this machine (it names the setting), is down, or refuses.
    """
    with client.asking("ask a model on this machine"):
        for one in client.api.ml.list(project=project.number):
            if one.title == TITLE and one.id is not None:
                client.api.ml.delete(id=one.id)
        made = client.api.ml.create(project=project.number, url=url, title=TITLE)
        client.api.projects.update(id=project.number, model_version=TITLE)
    assert made.id is not None
    return made.id
