"""Token shards: columns of a dataset's splits as flat files, and a manifest that says where they come from.

    <store>/tokens/<key>/
      tokenizer.json
      train-00000.ds          tokens of the column with the role `text` (streams.py), and beside it .index
      train.target-00000.ds   those of other roles
      train.weight.f64        numbers and labels (columns.py)
      validation-00000.ds ...
      manifest.json           written last: hashes, counts, the dataset's version, labels, special tokens

The format is datatrove's (`DatatroveFileDataset` reads it). The key is the hash of the dataset's version, the columns
and the tokenizer: packing again finds the folder. It is written aside, fsynced and renamed as a whole, under a lock;
place.py says where, and what is done with a store that is in no folder.
About 2 MB of text a CPU second.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.errors import CurateError, ResumableError
from curate.files import alone, file_hash, sweep
from curate.tokenize.chat import DEFAULT_TEMPLATE
from curate.tokenize.fields import Fields, check_fields
from curate.tokenize.place import packs_folder, put_pack
from curate.tokenize.roles import CHAT, missing_names, require, roles, special_tokens
from curate.tokenize.streams import write_file
from curate.tokenize.tokenizer import (
    TokenizerSettings,
    load_tokenizer,
    tokenizer_file,
    tokenizer_hash,
    train_tokenizer,
)
from curate.tokenize.turns import template_source, with_tools
from curate.tokenize.unfit import told
from curate.tokenize.writer import Writer, say

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from curate.dataset.reader import Dataset
    from curate.tokenize.rows import Rows

__all__ = ["Fields", "Pack", "open_pack", "pack_dataset"]

SCHEMA = 2
RENDERING = 2
"""How conversations are written: raised where the same ones give other tokens or masks, so that none of before is found."""


@dataclass(frozen=True, slots=True)
class Pack:
    """A folder of token shards.

    Attributes:
        folder: Where they are.
        manifest: What they are.
        hash: sha256 of the manifest's bytes: equal packs have equal hashes.
    """

    folder: Path
    manifest: dict[str, Any]
    hash: str

    @property
    def tokenizer(self) -> str:
        """The tokenizer's hash."""
        return self.manifest["tokenizer"]["sha256"]

    @property
    def tokenizer_path(self) -> Path:
        """The tokenizer's file."""
        return self.folder / "tokenizer.json"

    @property
    def vocabulary(self) -> int:
        """Number of tokens in the vocabulary."""
        return self.manifest["tokenizer"]["vocabulary"]

    @property
    def end_of_text(self) -> int:
        """The token that ends every document."""
        return self.roles["end_of_text"]

    @property
    def roles(self) -> dict[str, int]:
        """Number of the special token of each role (`curate.tokenize.roles`)."""
        return self.manifest["roles"]

    @property
    def special_tokens(self) -> list[int]:
        """Numbers of all tokens that are no text."""
        return self.manifest["special_tokens"]

    @property
    def chat_template(self) -> str | None:
        """The template that the conversations were written with; None where there are none."""
        fields = self.manifest["fields"]
        return (fields["chat_template"] or DEFAULT_TEMPLATE) if fields["messages"] or fields.get("turns") else None

    @property
    def has_turns(self) -> bool:
        """Prompts and answers are turns of a conversation: a template has written how they begin and end."""
        return bool(self.manifest["fields"].get("turns"))

    @property
    def ends(self) -> tuple[int, ...]:
        """The tokens that end an answer to a prompt: the end of a turn, where there are turns, and that of a text."""
        turn = self.manifest.get("turn_end")
        return (self.end_of_text,) if turn in (None, self.end_of_text) else (turn, self.end_of_text)

    @property
    def labels(self) -> list[str | int]:
        """The different labels of the train split, sorted; none where no column has labels."""
        return self.manifest["labels"]

    def width(self, role: str) -> int:
        """How many numbers the lists have that were packed as this; 0 where none were."""
        splits = self.manifest["splits"].values()
        return next((split["columns"][role]["width"] for split in splits if role in split["columns"]), 0)

    def rows(self, split: str) -> Rows:
        """The documents of a split.

        Raises:
            CurateError: The split is not there or has no documents.
        """
        from curate.tokenize.rows import Rows

        return Rows(self.folder, self.manifest, split)

    def verify(self) -> None:
        """Compare every file with the manifest; reads them all, at about 1 GB/s.

        Raises:
            CurateError: A shard or the tokenizer is missing or was changed.
        """
        if not self.tokenizer_path.is_file() or tokenizer_hash(self.tokenizer_path) != self.tokenizer:
            self._refuse("tokenizer.json")
        for split in self.manifest["splits"].values():
            for part in [*split["shards"], *split["columns"].values()]:
                for name, wanted in part["sha256"].items():
                    path = self.folder / name
                    if not path.is_file() or file_hash(path) != wanted:
                        self._refuse(name)

    def _refuse(self, name: str) -> None:
        raise CurateError(
            f"`{name}` is not the file that was packed",
            str(self.folder),
            "remove this folder; it is packed again from the dataset",
        )


def open_pack(folder: Path) -> Pack:
    """The pack in a folder.

    Raises:
        CurateError: There is none, or its manifest cannot be read.
    """
    path = folder / "manifest.json"
    try:
        content = path.read_bytes()
        manifest = json.loads(content)
        if manifest["schema"] != SCHEMA:
            newer = manifest["schema"] > SCHEMA
            raise CurateError(
                f"the tokens were packed by {'a newer' if newer else 'an older'} curate",
                str(path),
                "upgrade curate-lm" if newer else "remove this folder; it is packed again from the dataset",
            )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CurateError(f"the packed tokens cannot be read: {error}", str(path), "remove this folder") from None
    return Pack(folder, manifest, hashlib.sha256(content).hexdigest())


@dataclass(frozen=True, slots=True)
class _Job:
    """What is packed, and how."""

    dataset: Dataset
    settings: TokenizerSettings
    fields: Fields
    needs: tuple[str, ...]
    tokenizer: Path | None
    template: str | None
    """Of conversations; None is that of this package."""

    def key(self) -> str:
        """A hash of all that decides the files."""
        if self.tokenizer:
            tokens: dict[str, Any] = {
                "sha256": tokenizer_hash(self.tokenizer),
                "end_of_text": self.settings.end_of_text,
            }
        else:
            tokens = {**self.settings.model_dump(mode="json", exclude={"path"}), "needs": list(self.needs)}
        columns = {**self.fields.facts(), "chat_template": self.template}
        wanted = {"version": self.dataset.version, "tokenizer": tokens, "fields": columns, "schema": SCHEMA}
        if self.fields.speaks:
            wanted["rendering"] = RENDERING
        return hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()

    def roles(self, tokenizer: Tokenizer) -> dict[str, int]:
        """Special tokens by role.

        Raises:
            CurateError: No token ends a text.
        """
        first = self.settings.special_tokens[0]
        return roles(tokenizer, self.settings.end_of_text or (first if first in special_tokens(tokenizer) else None))


def pack_dataset(
    dataset: Dataset,
    settings: TokenizerSettings,
    fields: Fields | None = None,
    *,
    needs: Sequence[str] = (),
    tokenizer: Path | None = None,
    template: str | None = None,
) -> Pack:
    """The token shards of a dataset's version, made now or found.

    Args:
        dataset: The version.
        settings: The tokenizer to train, or to take.
        fields: The columns; by default `text`.
        needs: Roles of special tokens (`curate.tokenize.roles`) that must be there; a tokenizer that is trained gets them.
        tokenizer: Take this tokenizer, whatever the settings say: packs that are used together share one.
        template: Of conversations, where the fields name no file; None is that of this package.

    Raises:
        CurateError: The columns are not there or hold something else, the dataset has no train split to learn from, the
            tokenizer lacks a token, or what was found is not what was packed.
        ResumableError: The disk is full.
    """
    job = _job(dataset, settings, fields or Fields(), tuple(needs), tokenizer, template)
    folder = packs_folder(dataset.store) / job.key()
    with alone(folder.with_name(f"{folder.name}.lock")):
        _put(job, folder)
    pack = open_pack(folder)
    pack.verify()
    for split, facts in pack.manifest["splits"].items():
        if left_out := facts.get("left_out"):
            say(dataset, f"{split}: {told(left_out)}")
    return pack


def _job(
    dataset: Dataset,
    settings: TokenizerSettings,
    fields: Fields,
    needs: tuple[str, ...],
    tokenizer: Path | None,
    template: str | None,
) -> _Job:
    template = template_source(fields.chat_template, template) if fields.speaks else None
    if fields.speaks and template is None:
        needs = (*needs, *CHAT)
    if fields.speaks:
        fields = with_tools(dataset, fields, template)
    check_fields(dataset, fields)
    given = tokenizer or (Path(settings.path).expanduser() if settings.path else None)
    job = _Job(dataset, settings, fields, needs, tokenizer_file(given) if given else None, template)
    if job.tokenizer:
        require(needs, job.roles(load_tokenizer(job.tokenizer)), job.tokenizer)
    return job


def _put(job: _Job, folder: Path) -> None:
    """See that the folder is there; nothing is left of one that is not whole."""
    try:
        if not folder.exists():
            sweep(folder.parent)
        put_pack(job.dataset.store, folder, lambda aside: _write_pack(job, aside))
    except OSError as error:
        raise ResumableError(
            f"the tokens cannot be written: {error.strerror or error}",
            str(folder.parent),
            "the dataset is intact; make room, and run the same command again",
        ) from error


def _write_pack(job: _Job, folder: Path) -> None:
    from importlib.metadata import version

    path = folder / "tokenizer.json"
    write_file(path, _tokenizer_content(job))
    tokenizer = load_tokenizer(path)
    vocabulary = max(tokenizer.get_vocab().values()) + 1
    dtype = "uint16" if vocabulary <= 1 << 16 else "uint32"
    made = Writer(job.dataset, job.fields, folder, tokenizer, job.roles(tokenizer), job.template, dtype)
    manifest = {
        "schema": SCHEMA,
        "dataset": job.dataset.name,
        "version": job.dataset.version,
        "dtype": made.dtype,
        "tokenizer": {
            "sha256": tokenizer_hash(path),
            "vocabulary": vocabulary,
            "settings": job.settings.model_dump(mode="json", exclude={"path"}),
            "trained": job.tokenizer is None,
        },
        "roles": made.roles,
        "special_tokens": sorted(special_tokens(tokenizer).values()),
        "fields": {**job.fields.facts(), "chat_template": job.template},
        **({"turn_end": made.template.turn_end} if job.fields.turns and made.template else {}),
        "labels": made.labels,
        "splits": {split: made.split(split) for split in sorted(job.dataset.splits)},
        "tools": {"tokenizers": version("tokenizers")},
    }
    write_file(folder / "manifest.json", json.dumps(manifest, sort_keys=True, indent=1).encode())


def _tokenizer_content(job: _Job) -> bytes:
    if job.tokenizer:
        return job.tokenizer.read_bytes()
    given = job.settings.special_tokens
    special = [*given, *missing_names(job.needs, given)]
    if job.fields.text_columns:
        say(job.dataset, f"learning a tokenizer of {job.settings.vocabulary:,} tokens")
    return train_tokenizer(job.dataset, job.settings, job.fields, special_tokens=special).encode()
