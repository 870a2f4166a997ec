"""An S3 server for tests: moto's, as a process of its own, with what S3 promises and moto's does not.

    python tests/object_store.py        prints its port, and serves until its input ends

moto looks at `If-Match` and `If-None-Match` first and writes then, in one of many threads: of six processes that counted up one
blob 360 times, 8 counts were lost (`sys.setswitchinterval(1e-6)`). Here one write is done at a time.

The bucket `bucket` is an ordinary one. Others are names for it, with faults:

    reading      writes are denied
    denied       everything is
    careless     writes whatever the condition
    incapable    answers that it does not know conditions
    forgetful    does a write with a condition, and fails to say so the first time

`GET /-/requests` lists what was asked of it since the last time, `GET /-/wait?method=M&part=P&count=N` answers when something
was asked so often; `POST /-/age?prefix=P&seconds=N` makes blobs older, `POST /-/copy?folder=F&prefix=P` makes them of files;
`GET /-/kill?process=N&part=P&after=N` kills a process at a write.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from datetime import timedelta
from functools import cache
from pathlib import Path
from urllib.parse import parse_qs, quote

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_REGION": "us-east-1",
    "AWS_ALLOW_HTTP": "true",
}
DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
INCAPABLE = b"<Error><Code>NotImplemented</Code><Message>A header is not implemented</Message></Error>"


class Server:
    """A running server."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def requests(self) -> list[tuple[str, str]]:
        """Method and path of the requests since this was last asked."""
        with urllib.request.urlopen(f"{self.url}/-/requests") as answer:
            return [(method, path) for method, path in json.load(answer)]

    def wait_for(self, method: str, part: str, count: int = 1) -> None:
        """Wait until it has been asked so often for a path with this part, and has answered."""
        urllib.request.urlopen(f"{self.url}/-/wait?method={method}&part={quote(part)}&count={count}").close()

    def kill(self, process: int, part: str, after: int) -> None:
        """Kill a process at so many writes from now on to paths with this part; 0: nobody any more."""
        urllib.request.urlopen(f"{self.url}/-/kill?process={process}&part={quote(part)}&after={after}").close()

    def copy(self, folder: Path, prefix: str) -> None:
        """Put the files of a folder below a prefix of the bucket."""
        asked = f"{self.url}/-/copy?folder={quote(str(folder))}&prefix={quote(prefix)}"
        urllib.request.urlopen(urllib.request.Request(asked, method="POST")).close()

    def age(self, prefix: str, seconds: float) -> None:
        """Make the blobs below a prefix of the bucket older than they are."""
        asked = f"{self.url}/-/age?prefix={quote(prefix)}&seconds={seconds}"
        urllib.request.urlopen(urllib.request.Request(asked, method="POST")).close()


@contextmanager
def serving() -> Iterator[Server]:
    """A server, as long as the block runs."""
    process = subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        yield Server(int(process.stdout.readline()))
    finally:
        process.communicate("")


class Application:
    """moto's S3 behind the promises and faults that stand above."""

    def __init__(self) -> None:
        from moto.core import DEFAULT_ACCOUNT_ID, serialize
        from moto.moto_server.werkzeug_app import create_backend_app
        from moto.s3.models import s3_backends

        # each blob of each list has a time that is written and parsed again: 40% of a list
        serialize.parse_to_aware_datetime = cache(serialize.parse_to_aware_datetime)
        self.moto = create_backend_app(
            "s3"
        )  # behind its dispatcher, which lists a folder of 175 others at each request
        self.backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
        self.backend.create_bucket("bucket", "us-east-1")
        self.asked: list[tuple[str, str]] = []
        self.told = 0
        self.trap: tuple[int, str, int] | None = None
        self.change = threading.Condition()
        self.answered: set[str] = set()
        self.writing = threading.Lock()

    def __call__(self, environ, start):
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        bucket = path.split("/")[1]
        if bucket == "-":
            start("200 OK", [("Content-Type", "application/json")])
            return [self.control(path, parse_qs(environ["QUERY_STRING"]))]
        try:
            return self.answer(environ, start, method, path, bucket)
        finally:
            with self.change:
                self.asked.append((method, path))
                self.change.notify_all()
                self.spring(method, path)

    def spring(self, method: str, path: str) -> None:
        """Kill who is to be killed, before the answer is sent."""
        if self.trap and method == "PUT" and self.trap[1] in path:
            process, part, left = self.trap
            self.trap = (process, part, left - 1) if left > 1 else None
            if self.trap is None:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)

    def answer(self, environ, start, method: str, path: str, bucket: str) -> list[bytes]:
        writes = method in ("PUT", "POST", "DELETE")
        conditional = writes and ("HTTP_IF_MATCH" in environ or "HTTP_IF_NONE_MATCH" in environ)
        if bucket == "denied" or (bucket == "reading" and writes):
            return refuse(start, "403 Forbidden", DENIED)
        if bucket == "incapable" and conditional:
            return refuse(start, "501 Not Implemented", INCAPABLE)
        if bucket == "careless":
            environ.pop("HTTP_IF_MATCH", None)
            environ.pop("HTTP_IF_NONE_MATCH", None)
        if bucket in ("reading", "careless", "incapable", "forgetful"):
            environ["PATH_INFO"] = environ["RAW_URI"] = environ["REQUEST_URI"] = path.replace(bucket, "bucket", 1)
        with self.writing if writes else nullcontext():
            if bucket == "forgetful" and conditional and path not in self.answered:
                self.answered.add(path)
                list(self.moto(environ, lambda *_: None))
                return refuse(start, "500 Internal Server Error", b"")
            return list(self.moto(environ, start))

    def control(self, path: str, asked: dict[str, list[str]]) -> bytes:
        if path == "/-/requests":
            first, self.told = self.told, len(self.asked)
            return json.dumps(self.asked[first : self.told]).encode()
        if path == "/-/wait":
            [method], [part], [count] = asked["method"], asked["part"], asked["count"]
            with self.change:
                self.change.wait_for(lambda: sum(one == method and part in at for one, at in self.asked) >= int(count))
            return b"{}"
        if path == "/-/kill":
            process, after = int(asked["process"][0]), int(asked["after"][0])
            self.trap = (process, asked["part"][0], after) if after else None
            return b"{}"
        if path == "/-/copy":
            folder = Path(asked["folder"][0])
            for file in (file for file in folder.rglob("*") if file.is_file()):
                name = f"{asked['prefix'][0]}/{file.relative_to(folder).as_posix()}"
                self.backend.put_object("bucket", name, file.read_bytes())
            return b"{}"
        for name, key in self.backend.buckets["bucket"].keys.items():
            if name.startswith(asked["prefix"][0]):
                key.last_modified -= timedelta(seconds=float(asked["seconds"][0]))
        return b"{}"


def refuse(start, status: str, body: bytes) -> list[bytes]:
    start(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
    return [body]


def main() -> None:
    from moto.moto_server.werkzeug_app import MotoRequestHandler
    from werkzeug.serving import make_server

    server = make_server("127.0.0.1", 0, Application(), threaded=True, request_handler=MotoRequestHandler)
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
