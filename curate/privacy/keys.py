"""The key of pseudonyms: from the environment or from a file, never from YAML, and never written anywhere.

What is written is the key's id, a hash by which two runs can tell whether they had the same key. Who destroys the key makes
the pseudonyms irreversible: without it nobody can try names until one fits.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from pathlib import Path

from curate.errors import CurateError, MachineError

__all__ = ["FEWEST_BYTES", "key_id", "keyed_hash", "load_key"]

FEWEST_BYTES = 32
_HOW = "make one: python -c 'import secrets; print(secrets.token_hex(32))'"


def load_key(source: str | None, user: str, how: str = _HOW) -> bytes:
    """The key.

    Args:
        source: `env:NAME` or `file:PATH`; None where none was named.
        user: What needs it, for errors.
        how: The next step where it is not there; unless told, how one is made.

    Raises:
        CurateError: No key was named.
        MachineError: There is none here, it is too short, or others may read its file.
    """
    if source is None:
        raise CurateError(f"{user} needs a key", hint=f"`key: env:CURATE_PII_KEY` or `key: file:PATH`; {_HOW}")
    kind, _, name = source.partition(":")
    if kind == "env" and name:
        key = os.environ.get(name, "").encode("utf-8", "surrogateescape")
        if not key:
            raise MachineError(f"{user} needs the key in the variable `{name}`, which is not set", hint=how)
    elif kind == "file" and name:
        key = _from_file(Path(name).expanduser(), user, how)
    else:
        raise CurateError(
            "the key itself does not stand in a pipeline file, only where it is",
            hint="`key: env:CURATE_PII_KEY` or `key: file:PATH`",
        )
    if len(key) < FEWEST_BYTES:
        raise MachineError(f"the key of {user} has {len(key)} bytes; {FEWEST_BYTES} are needed", hint=how)
    return key


def _from_file(path: Path, user: str, how: str) -> bytes:
    try:
        facts, key = path.stat(), path.read_bytes().strip()
    except OSError as error:
        raise MachineError(f"{user} needs the key in `{path}`: {error.strerror}", hint=how) from None
    if facts.st_mode & 0o077:
        raise MachineError(f"others may read the key in `{path}`", hint=f"chmod 600 {path}")
    return key


def key_id(key: bytes) -> str:
    """What the key is called in versions: 16 hexadecimal digits, from which nothing of it follows."""
    return hmac.new(key, b"curate key id", hashlib.sha256).hexdigest()[:16]


def keyed_hash(key: bytes, purpose: str, value: str) -> bytes:
    """32 bytes that only who has the key can compute: HMAC-SHA256 of the value, for one purpose."""
    return hmac.new(key, f"{purpose}\0{value}".encode("utf-8", "surrogatepass"), hashlib.sha256).digest()
