"""`curate serve`: a process that listens, answers, and ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress

import httpx
import pytest

from curate.errors import CurateError
from curate.serve.server import open_model_server
from curate.serve.service import Limits
from tests.evaluation.language_model import llama_folder
from tests.serve.conftest import KEY


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return llama_folder(tmp_path_factory.mktemp("served"))


@contextmanager
def started(folder, *options, port="0", **environment):
    """A server in a process of its own, which does not outlive the test."""
    command = [sys.executable, "-m", "curate", "serve", str(folder), "--port", port, *options]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def address(process):
    """The address that it prints, once it answers."""
    url = process.stdout.readline().strip()
    assert url.startswith("http://127.0.0.1:"), process.stderr.read()
    return url


@pytest.mark.slow
def test_it_prints_its_address_answers_and_writes_what_was_begun_to_its_end_when_told_to_stop(folder):
    with started(folder) as process:
        url = address(process)
        [card] = httpx.get(f"{url}/models", timeout=60).json()["data"]
        assert (card["id"], card["max_model_len"]) == (folder.name, 64)
        body = {"prompt": "do not log me", "max_tokens": 40, "stream": True, "ignore_eos": True}
        with httpx.stream("POST", f"{url}/completions", json=body, timeout=60) as answer:
            events = answer.iter_lines()
            next(events)
            process.send_signal(signal.SIGTERM)
            assert [line for line in events if line][-1] == "data: [DONE]"
        out, err = process.communicate()
        assert process.returncode == 0
    assert out == "" and "completions; reads 64 tokens at once" in err and "do not log me" not in err
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/models")


@pytest.mark.slow
def test_killed_in_the_middle_it_leaves_nothing_and_starts_again(folder):
    def there():
        return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}

    before = there()
    with started(folder, "--json", CURATE_SERVE_KEY=KEY) as process:
        lines = []
        while not lines or lines[-1] != "}\n":
            lines.append(process.stdout.readline())
        facts = json.loads("".join(lines))
        assert (facts["schema"], facts["model"], facts["endpoints"]) == (1, folder.name, ["completions"])
        headers = {"authorization": f"Bearer {KEY}"}
        body = {"prompt": "x", "max_tokens": 60, "stream": True, "ignore_eos": True}
        with httpx.stream("POST", f"{facts['url']}/completions", json=body, headers=headers, timeout=60) as answer:
            events = answer.iter_lines()
            next(events)
            process.kill()
            with suppress(httpx.HTTPError):  # unless all was sent already
                list(events)
    assert there() == before
    with started(folder, port=str(facts["port"])) as again:
        url = address(again)
        assert url == facts["url"] and httpx.get(f"{url}/models", timeout=60).status_code == 200
        again.send_signal(signal.SIGINT)
        again.communicate()
        assert again.returncode == 0


def opened(folder, **options):
    return open_model_server(str(folder), **{"host": "127.0.0.1", "port": 0, "limits": Limits(), **options})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"host": "0.0.0.0"}, ["0.0.0.0 can be reached from other machines, and there is no key", "CURATE_SERVE_KEY"]),
        ({"host": "::"}, [":: can be reached from other machines"]),
        ({"key": "short"}, ["the key has to have 16 characters at least"]),
        ({"key": "with a space in it, and long"}, ["none a space"]),
        ({"host": "203.0.113.1", "key": KEY}, ["203.0.113.1:0 cannot be used: Cannot assign requested address"]),
        ({"host": "no such host", "key": KEY}, ["no such host:0 cannot be used"]),
    ],
)
def test_an_address_or_a_key_that_will_not_do_is_told(folder, options, words):
    with pytest.raises(CurateError) as error:
        opened(folder, **options)
    told = f"{error.value.problem} {error.value.where} {error.value.hint}"
    assert all(one in told for one in words), told


def test_a_port_that_is_taken_and_a_model_that_is_none_are_told(folder, tmp_path):
    server = opened(folder)
    with pytest.raises(CurateError, match=f"port {server.port} cannot be used: Address already in use") as error:
        opened(folder, port=server.port)
    assert error.value.hint == "--port 0 takes a free one"
    server.close()
    with pytest.raises(CurateError, match="there is no model `none`"):
        opened("none")
    with pytest.raises(CurateError, match="is a server already"):
        opened("http://127.0.0.1:1/v1")


def test_beyond_this_machine_the_key_lets_in_whatever_the_host_is_called(folder):
    server = opened(folder, host="0.0.0.0", key=KEY, name="own name")
    assert (server.app.hosts, server.service.name) == (None, "own name")
    server.close()


@pytest.mark.parametrize("kind", ["tags", "german"])
def test_models_that_are_asked_with_rows_are_not_served(trained, kind):
    with pytest.raises(CurateError, match="which is not served") as error:
        opened(trained(kind))
    assert "curate predict" in error.value.hint


def test_the_key_is_read_from_a_file(tmp_path):
    from curate.commands.serve import _key

    (tmp_path / "key").write_text(f"{KEY}\n")
    assert _key(tmp_path / "key") == KEY
    (tmp_path / "key").write_text("\n")
    with pytest.raises(CurateError, match="no key in this file"):
        _key(tmp_path / "key")
    with pytest.raises(CurateError, match="the key cannot be read: No such file"):
        _key(tmp_path / "none")
