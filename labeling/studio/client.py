"""A connection to a Label Studio, and the one project there of each task. The SDK is imported here and nowhere else.

A project belongs to a task by a mark in its description, so that nothing local says where it is:

    [curate {"configuration": ..., "dataset": ..., "id": ..., "pushed": ..., "task": ...}]

`id` is random and stands in the source of every answer; `configuration` is a hash of the XML that we gave, and tells when
somebody changed it there; `pushed` is one of all that the last push wanted there. The SDK's own retries are off: an import
that failed half way would be done twice.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from curate.errors import CurateError, ResumableError
from curate.jsontext import dumps, loads
from curate.labeling.studio.interface import configuration, instructions
from curate.labeling.task import Task

if TYPE_CHECKING:
    from label_studio_sdk import LabelStudio

__all__ = ["TOKEN", "Client", "Project", "connect", "find_project", "open_project", "write_mark"]

TOKEN = "CURATE_LABEL_STUDIO_TOKEN"  # noqa: S105
MARK = re.compile(r"\[curate (\{.*\})\]")
SECONDS = 300.0


@dataclass(frozen=True)
class Client:
    """A connection.

    Attributes:
        url: Where Label Studio is.
        api: The SDK's client.
        seconds: How long an answer may take.
        close: Ends it; leaving a `with` block does.
    """

    url: str
    api: LabelStudio
    seconds: float
    close: Callable[[], None]

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def asking(self, what: str) -> AbstractContextManager[None]:
        """Errors of the SDK in our words; `what` is being done, as in `Label Studio could not ...`.

        Raises:
            CurateError: It is down, or refuses.
            ResumableError: It failed or was too slow: what was done is kept, and the same command goes on.
        """
        return _asking(self.url, self.seconds, what)


@contextmanager
def _asking(url: str, seconds: float, what: str) -> Iterator[None]:
    import httpx
    from label_studio_sdk.core.api_error import ApiError

    kept = "what is there is kept: the same command goes on"
    try:
        yield
    except httpx.TimeoutException:
        raise ResumableError(f"Label Studio could not {what} within {seconds:g} seconds", url, kept) from None
    except httpx.ConnectError:
        raise CurateError(
            "no Label Studio answers", url, "`curate label serve` starts one; `--url` names another one"
        ) from None
    except httpx.HTTPError as error:
        problem = f"the connection broke while Label Studio was to {what}: {type(error).__name__}"
        raise ResumableError(problem, url, kept) from None
    except ApiError as error:
        raise _worded(url, what, error.status_code or 0, error.body) from None


def _worded(url: str, what: str, status: int, body: Any) -> CurateError:
    """What an HTTP status of Label Studio means, and what to do."""
    said = _said(body)
    if status == 401:
        if "legacy token" in said:
            hint = (
                f"put a personal access token into {TOKEN}, or allow legacy tokens: Organization > API Tokens Settings "
                "(LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN=true before the first start)"
            )
            return CurateError("this Label Studio does not take legacy tokens", url, hint)
        return CurateError("Label Studio does not know the token", url, f"Account & Settings there has it, for {TOKEN}")
    if status == 403 and ("reserved network" in said or "block:" in said):
        hint = "start it with ML_BLOCK_LOCAL_IP=false for a model on this machine, SSRF_PROTECTION_ENABLED=false for webhooks"
        return CurateError(f"Label Studio refuses to {what}: it does not call addresses of its own network", url, hint)
    if status == 403:
        return CurateError(f"Label Studio does not let this account {what}{said and f': {said}'}", url)
    if status == 404:
        return CurateError(
            f"Label Studio could not {what}: it is not there any more", url, "`curate label push` makes it"
        )
    if 400 <= status < 500:
        return CurateError(f"Label Studio refused to {what} ({status}){said and f': {said}'}", url)
    if status >= 500:
        return ResumableError(
            f"Label Studio failed ({status}) while it was to {what}", url, "its log says why; the same command goes on"
        )
    return CurateError("what answers there is not a Label Studio", url)


def _said(body: Any) -> str:
    """The message in an error's body; none in pages of HTML."""
    if not isinstance(body, dict):
        return ""
    found = body.get("validation_errors") or body.get("detail") or ""
    return (found if isinstance(found, str) else dumps(found))[:500]


def connect(url: str, token: str | None = None, *, seconds: float = SECONDS) -> Client:
    """Connect to a Label Studio.

    Args:
        url: Where it is.
        token: A legacy or personal access token; by default that of the environment, CURATE_LABEL_STUDIO_TOKEN.
        seconds: How long an answer may take.

    Raises:
        CurateError: The URL or the token is none, or nothing answers, or it refuses.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise CurateError(f"`{url.rpartition('@')[2]}` is not the URL of a Label Studio", hint="http://127.0.0.1:8080")
    token = token or os.environ.get(TOKEN)
    if not token:
        raise CurateError(
            f"no token for Label Studio: {TOKEN} is not set",
            url,
            "Account & Settings there has one; never write it in a file",
        )
    try:
        import httpx
        from label_studio_sdk import LabelStudio
    except ImportError:
        raise CurateError("label-studio-sdk is not installed", hint="pip install 'curate-lm[labeling]'") from None

    url = url.rstrip("/")
    with ExitStack() as stack:
        http = httpx.Client(timeout=seconds, follow_redirects=True, trust_env=not _is_loopback(parts.hostname))
        stack.callback(http.close)
        with _asking(url, seconds, "let us in"):
            api = LabelStudio(base_url=url, api_key=token, timeout=seconds, max_retries=0, httpx_client=http)
            if not getattr(api.users.whoami(), "email", None):
                raise CurateError("what answers there is not a Label Studio", url)
        return Client(url, api, seconds, stack.pop_all().close)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(frozen=True)
class Project:
    """The project of a task.

    Attributes:
        number: Its id at Label Studio.
        id: Ours.
        tasks: How many tasks it has.
        model: Version of the model whose predictions are shown.
        pushed: Of the last push that came to its end.
        changed: Whether its configuration is not that which we gave.
    """

    number: int
    id: str
    tasks: int
    model: str
    pushed: str | None
    changed: bool


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def find_project(client: Client, task: Task) -> Project | None:
    """The project of a task; None where it was not pushed, or was deleted.

    Raises:
        CurateError: Label Studio is down, or refuses.
    """
    with client.asking("list its projects"):
        return _project(client, min(found)) if (found := _made(client, task)) else None


def _made(client: Client, task: Task) -> dict[int, str]:
    """Our ids of the task's projects by their numbers: of two made at one moment, everybody takes the first."""
    listed = [(one.id, _mark(one.description or "")) for one in client.api.projects.list(include="id,description")]
    return {
        number: mark["id"]
        for number, mark in listed
        if number is not None and (mark.get("task"), mark.get("dataset")) == (task.name, task.dataset)
    }


def _mark(description: str) -> dict[str, Any]:
    found = MARK.search(description)
    try:
        mark = loads(found[1]) if found else {}
    except ValueError:
        return {}
    return mark if isinstance(mark, dict) and isinstance(mark.get("id"), str) else {}


def _project(client: Client, number: int | None) -> Project:
    assert number is not None
    found = client.api.projects.get(id=number)
    mark = _mark(found.description or "")
    return Project(
        number, mark["id"], found.task_number or 0, found.model_version or "", mark.get("pushed"),
        _hash(found.label_config or "") != mark.get("configuration"),
    )  # fmt: skip


def open_project(client: Client, task: Task, *, restore: bool = False) -> Project:
    """The project of a task, made where there is none, with the configuration that the task has now.

    Args:
        client: The connection.
        task: The task.
        restore: Put our configuration back where somebody changed it there.

    Raises:
        CurateError: The configuration was changed there; it does not go with annotations that are there; Label Studio
            is down, or refuses.
    """
    xml, project = configuration(task), find_project(client, task)
    if project is None:
        with client.asking(f"make a project for the task `{task.name}`"):
            ours = secrets.token_hex(6)
            made = client.api.projects.create(
                title=f"curate: {task.name}", label_config=xml, expert_instruction=instructions(task),
                show_instruction=bool(task.instructions), show_collab_predictions=True, maximum_annotations=1,
                description=_described(task, {"id": ours, "configuration": _hash(xml)}),
            )  # fmt: skip
            found = _made(client, task)
            number = min(found, default=made.id)
            # Somebody else was faster, or Label Studio found its database locked and made it twice.
            for other in (other for other, id in found.items() if id == ours and other != number):
                client.api.projects.delete(id=other)
            return _project(client, number)
    if project.changed and not restore:
        raise CurateError(
            f"the labeling configuration of `{task.name}` was changed at Label Studio",
            f"{client.url}/projects/{project.number}/settings/labeling",
            "make the change in task.yaml; `--restore` puts its configuration back",
        )
    with client.asking(f"change the configuration of `{task.name}`"):
        found = client.api.projects.get(id=project.number)
        if found.label_config != xml or (found.expert_instruction or "") != instructions(task):
            mark = _mark(found.description or "")
            client.api.projects.update(
                id=project.number, label_config=xml, expert_instruction=instructions(task),
                show_instruction=bool(task.instructions), description=_described(task, {**mark, "configuration": _hash(xml)}),
            )  # fmt: skip
        return _project(client, project.number)


def _described(task: Task, mark: dict[str, Any]) -> str:
    mark = {**mark, "task": task.name, "dataset": task.dataset}
    return f"The task `{task.name}` of curate, which finds it by the next line.\n[curate {dumps(dict(sorted(mark.items())))}]"


def write_mark(client: Client, task: Task, project: Project, pushed: str | None) -> None:
    """Note what the last push wanted there; None while one is going on.

    Raises:
        CurateError: Label Studio is down, or refuses.
    """
    with client.asking(f"keep what was pushed of `{task.name}`"):
        mark = _mark(client.api.projects.get(id=project.number).description or "")
        client.api.projects.update(id=project.number, description=_described(task, {**mark, "pushed": pushed}))
