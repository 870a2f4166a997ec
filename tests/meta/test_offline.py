"""The guard that keeps the tests off the network: it refuses, and it tells."""

import os
import socket
import subprocess
import sys

import pytest

from tests.conftest import CONNECTIONS
from tests.offline.sitecustomize import is_local

BEYOND = "192.0.2.1"  # reserved for documentation: RFC 5737


@pytest.mark.parametrize("host", ["localhost", "127.8.0.1", "::1", None, "", b"localhost", "0.0.0.0"])
def test_this_machine_is_local(host):
    assert is_local(host)


@pytest.mark.parametrize("host", [BEYOND, "example.org", b"example.org", "10.0.0.1", "169.254.169.254", "::2"])
def test_others_are_not(host):
    assert not is_local(host)


def asked() -> str:
    """What was asked for; the test that asks does so on purpose."""
    found = CONNECTIONS.read_text()
    CONNECTIONS.write_text("")
    return found


def test_a_connection_and_a_name_beyond_this_machine_are_refused_and_written_down():
    with socket.socket() as one, pytest.raises(ConnectionRefusedError, match="tests are offline"):
        one.connect((BEYOND, 80))
    with pytest.raises(ConnectionRefusedError, match="tests are offline"):
        socket.getaddrinfo("example.org", 80)
    assert asked() == f"socket.connect '{BEYOND}'\nsocket.getaddrinfo 'example.org'\n"


def test_processes_that_a_test_starts_are_refused_too():
    code = f"import socket; socket.create_connection(('{BEYOND}', 80), 1)"
    done = subprocess.run([sys.executable, "-P", "-c", code], env={**os.environ}, capture_output=True, text=True)
    assert "tests are offline" in done.stderr
    assert BEYOND in asked()
