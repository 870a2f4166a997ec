"""The vault: what pseudonyms and surrogates stand for, encrypted, outside of the store.

A folder of files, each written by one process, record after record: a length, a nonce and what AES-256-GCM makes of new
pairs of what stands in the text and the value. A record is on the disk before the texts that it belongs to are handed on,
so a run that is killed loses nothing that a version has; a record that was being written then is cut off, and ends its
file. Each file begins with the id of its key; the key of the records is made of it (HMAC-SHA256). Nothing stands in clear.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import re
import secrets
import stat
import struct
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from curate.errors import CurateError, MachineError
from curate.files import sync_folder
from curate.privacy.keys import key_id
from curate.privacy.operators import normal_form
from curate.stages.missing import needing

__all__ = ["Revealed", "VaultWriter", "check_vault", "has_records", "purge", "read_vault", "reveal"]

MAGIC = b"curate vault 1\n"
_LENGTH, _NONCE = struct.Struct(">I"), 12
_HEAD = len(MAGIC) + 16
Pair = tuple[str, str, str]
"""Type, what stands in the text, the value."""


def check_vault(folder: Path) -> None:
    """Raise a `CurateError` unless the folder may be a vault: of its owner alone, and in no store."""
    inside = folder.absolute()
    if any((parent / "store.json").is_file() for parent in (inside, *inside.parents)):
        raise CurateError(f"the vault `{folder}` is inside a store", hint="keep it apart from the data: another folder")
    if folder.exists() and (not folder.is_dir() or stat.S_IMODE(folder.stat().st_mode) & 0o077):
        how = f"chmod 700 {folder}" if folder.is_dir() else "name a folder"
        raise MachineError(f"the vault `{folder}` must be a folder that nobody else may read", hint=how)


class VaultWriter:
    """Adds pairs to a vault; its file is made at the first one.

    Args:
        folder: The vault; made where it is not there.
        key: Of the pseudonyms.
    """

    def __init__(self, folder: Path, key: bytes) -> None:
        check_vault(folder)
        self._folder, self._key, self._cipher = folder, key, _cipher(key)
        self._file: int | None = None
        self._known: set[bytes] = set()

    def add(self, pairs: Sequence[Pair]) -> None:
        """Write those that this writer has not written, and see them on the disk."""
        new = [pair for pair in dict.fromkeys(pairs) if _mark(pair) not in self._known]
        if not new:
            return
        nonce = secrets.token_bytes(_NONCE)
        sealed = self._cipher.encrypt(nonce, json.dumps(new).encode(), MAGIC)
        if self._file is None:
            self._file = self._create()
        record = _LENGTH.pack(len(sealed)) + nonce + sealed
        try:
            while record:
                record = record[os.write(self._file, record) :]
            os.fsync(self._file)
        except BaseException:  # a record that is cut off ends its file
            os.close(self._file)
            self._file = None
            raise
        self._known.update(map(_mark, new))

    def _create(self) -> int:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_vault(self._folder)
        path = self._folder / f"{secrets.token_hex(16)}.vault"
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        os.write(file, MAGIC + key_id(self._key).encode())
        folder = os.open(self._folder, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
        return file

    def __del__(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                os.close(self._file)


def _mark(pair: Pair) -> bytes:
    return hashlib.blake2b("\0".join(pair).encode("utf-8", "surrogatepass"), digest_size=16).digest()


@needing("pii")
def _cipher(key: bytes) -> Any:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(hmac.new(key, b"curate vault", hashlib.sha256).digest())


# ---- reading


def read_vault(folder: Path, key: bytes) -> list[Pair]:
    """All pairs of a vault that were written with a key, each once.

    Raises:
        CurateError: It is no vault, was made with other keys alone, or is damaged.
    """
    try:
        paths = sorted(folder.glob("*.vault"))
    except OSError:
        paths = []
    if not paths:
        raise CurateError(
            f"there is no vault in `{folder}`", hint="`vault:` of the stage `pii` says where a run writes one"
        )
    made = {path: _made_with(path) for path in paths}
    mine, others = [path for path in paths if made[path] == key_id(key)], {one for one in made.values() if one}
    if others and not mine:
        raise CurateError(
            f"the vault was written with another key: with that of the id {', '.join(sorted(others))}, not {key_id(key)}",
            str(folder),
            "`--key` names the key of the stage `pii` at the time of the run; `curate data show VERSION --json` has its id",
        )
    return list(dict.fromkeys(pair for path in mine for pair in _pairs(path, key)))


def has_records(folder: Path, key: bytes) -> bool:
    """Whether anything in a folder was written with a key."""
    try:
        return any(_made_with(path) == key_id(key) for path in folder.glob("*.vault"))
    except OSError:
        return False


def _made_with(path: Path) -> str | None:
    """The id of the key of a file; None where its writer was killed when it began."""
    with path.open("rb") as file:
        content = file.read(_HEAD)
    if not MAGIC.startswith(content[: len(MAGIC)]):
        raise CurateError(f"`{path}` is no file of a vault")
    return content[len(MAGIC) :].decode("ascii", "replace") if len(content) == _HEAD else None


def _pairs(path: Path, key: bytes) -> Iterator[Pair]:
    content, cipher, at = path.read_bytes(), _cipher(key), _HEAD
    while at + _LENGTH.size <= len(content):
        length = _LENGTH.unpack_from(content, at)[0]
        start = at + _LENGTH.size + _NONCE
        if start + length > len(content):
            return  # cut off when its writer was killed; what it belongs to was not handed on
        try:
            plain = cipher.decrypt(content[start - _NONCE : start], content[start : start + length], MAGIC)
        except Exception as error:  # cryptography's InvalidTag, without importing it here
            raise CurateError(
                f"the vault is damaged at byte {at}", str(path), "restore the file from a copy"
            ) from error
        yield from ((kind, stands, value) for kind, stands, value in json.loads(plain))
        at = start + length


def purge(folder: Path, key: bytes, is_gone: Callable[[str], bool]) -> int:
    """Take values out of a vault, in files written with a key; returns how many pairs. Nobody may be writing to it.

    Raises:
        CurateError: See `read_vault`.
    """
    removed = 0
    read_vault(folder, key)
    for path in sorted(folder.glob("*.vault")):
        pairs = list(_pairs(path, key)) if _made_with(path) == key_id(key) else []
        left = [pair for pair in pairs if not is_gone(pair[2])]
        if len(left) < len(pairs):
            VaultWriter(folder, key).add(left)  # on the disk before the old file goes
            path.unlink()
            sync_folder(folder)
            removed += len(pairs) - len(left)
    return removed


# ---- revealing


class Revealed(NamedTuple):
    """A text with values again.

    Attributes:
        text: The text.
        revealed: How many values were put back.
        ambiguous: What stands for several values, with how many, and stays.
        unknown: Pseudonyms that are not in the vault, and stay.
    """

    text: str
    revealed: int
    ambiguous: Mapping[str, int]
    unknown: Sequence[str]


_PSEUDONYM = re.compile(r"[<\[][^\s<>\[\]]{1,64}_[a-p]{14}[>\]]")


def reveal(text: str, pairs: Sequence[Pair]) -> Revealed:
    """Put back what pseudonyms and surrogates stand for.

    A surrogate is put back wherever it stands: also where the text had the same by itself. Costs in proportion to the text
    and to the pairs, not to their product.
    """
    meant: dict[str, list[tuple[str, str]]] = {}
    for kind, stands, value in pairs:
        meant.setdefault(stands, []).append((kind, value))
    values: dict[str, list[str]] = {}
    ambiguous: dict[str, int] = {}
    pieces: list[str] = []
    count = end = 0
    for start, stop in _places(text, meant):
        stands = text[start:stop]
        if stands not in values:
            values[stands] = list({normal_form(kind, value): value for kind, value in reversed(meant[stands])}.values())
        if len(values[stands]) > 1:
            ambiguous[stands] = len(values[stands])
            continue
        pieces += [text[end:start], values[stands][0]]
        end, count = stop, count + 1
    unknown = [one for one in dict.fromkeys(_PSEUDONYM.findall(text)) if one not in meant]
    return Revealed("".join([*pieces, text[end:]]), count, ambiguous, unknown)


def _places(text: str, known: Collection[str]) -> Iterator[tuple[int, int]]:
    """Where known strings stand, disjoint, the longest first, in whole words: each place is held against a few lengths."""
    lengths: dict[str, set[int]] = {}
    for one in filter(None, known):
        lengths.setdefault(one[0], set()).add(len(one))
    longest = {first: sorted(those, reverse=True) for first, those in lengths.items()}
    first, at = re.compile(f"[{''.join(map(re.escape, longest))}]") if longest else re.compile(r"(?!)"), 0
    while found := first.search(text, at):
        start = found.start()
        stops = (start + length for length in longest[found[0]] if start + length <= len(text))
        stop = next((one for one in stops if text[start:one] in known and _is_whole(text, start, one)), None)
        if stop is not None:
            yield start, stop
        at = stop or start + 1


def _is_whole(text: str, start: int, stop: int) -> bool:
    """Whether no letter or digit goes on at either side."""
    before, after = text[start - 1 : start], text[stop : stop + 1]
    return not (text[start].isalnum() and _in_word(before)) and not (_in_word(text[stop - 1]) and _in_word(after))


def _in_word(character: str) -> bool:
    return character.isalnum() or character == "_"
