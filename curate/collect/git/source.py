"""Documents from a repository of git at one commit: a file each, with what is known of it.

`fetch` finds out which commit is meant, and keeps every path of it: contents of text files, and of all others what they are, so
that counts add up to the paths of the commit. `read` says of each file its encoding, language, licence with evidence, and
whether a program made it or it is from elsewhere; that is a function of what was kept.
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, model_validator

from curate.collect.columns import Selection, document_table
from curate.collect.fetch.client import public_url
from curate.collect.fetch.credentials import credentials_in
from curate.collect.fetch.rows import KEY
from curate.collect.git.imports import dependency_order, imported
from curate.collect.git.languages import language_of
from curate.collect.git.licenses import Told, header_license, is_license_file, known_license, nearest
from curate.collect.git.marks import generated, vendored
from curate.collect.git.remote import fetch_commit
from curate.collect.git.repository import Commit, Entry, MissingCommitError, Repository
from curate.collect.git.text import TEXT, decoded, kind_of
from curate.stages.contract import Part, Passed, Rejected
from curate.stages.fetched import Desk, Fetched, erased_rows

if TYPE_CHECKING:
    import pyarrow as pa

    from curate.dataset.store import Store

__all__ = ["Git"]

PIECE_BYTES = 8 << 20
ROWS = 500
COLUMNS = (
    "path", "language", "license", "license_evidence", "generated", "vendored", "encoding", "size", "position", "commit",
    "author_date",
)  # fmt: skip
KEPT = (
    KEY, "kind", "text", "encoding", "detail", "size", "position", "license", "license_evidence", "commit", "author_date",
)  # fmt: skip
"""Columns of a snapshot: text and not bytes, so that an erasure finds a person in whatever encoding a file is in."""
REJECTED = frozenset({"corrupt", "too_long"})


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


Globs = Annotated[list[str], BeforeValidator(_listed, json_schema_input_type=str | list[str])]


class File(NamedTuple):
    """A path of the commit, as it is kept.

    Attributes:
        key: The path, as text.
        entry: What git says of it.
        kind: `text`, or what it is instead: `binary`, `symbolic link`, `submodule`, `LFS pointer`, `excluded by path`,
            `corrupt`, `too_long`. Which of the first and the last it is, its content tells.
    """

    key: str
    entry: Entry
    kind: str


class Git(Fetched):
    """Reads the text files of a git repository at a commit, with language, licence and evidence; fetched once, and pinned."""

    version: ClassVar[int] = 1
    libraries: ClassVar[tuple[str, ...]] = ("pyarrow", "Resiliparse", "packaging")
    pace: ClassVar[frozenset[str]] = frozenset({"allow", "seconds", "max_bytes", "max_files"})
    planning: ClassVar[frozenset[str]] = frozenset(
        {"path", "url", "commit", "include", "exclude", "order", "max_file_bytes", *pace}
    )

    path: str | None = Field(
        None, description="Folder of a repository, relative to the pipeline file; or name a `url`."
    )
    url: str | None = Field(
        None,
        description="Address of a repository, `https://host/name.git`, without credentials; what is not public is cloned by "
        "you, and named with `path`.",
    )
    commit: str = Field(
        "HEAD",
        description="Branch, tag or full hash. The commit that it means when it is fetched is pinned; a refresh asks again.",
    )
    include: Globs = Field(
        ["**"],
        description="Paths to read: `src/**/*.py`; a pattern without a slash is held against file names in all folders.",
    )
    exclude: Globs = Field([], description="Paths not to read, of those.")
    order: Literal["path", "imports"] = Field(
        "path",
        description="The order of documents: that of the paths, or files that are imported before those that import them (C, "
        "C++, Go, Java, JavaScript, Kotlin, Python, Rust, Scala, TypeScript); cycles are cut by the order of paths.",
    )
    license: Literal["any", "required"] = Field(
        "any", description="`required` quarantines files whose licence is not known as `no_license`."
    )
    skip: list[Literal["generated", "vendored"]] = Field(
        [], description="Files not to take, beside what is no text: they are counted."
    )
    max_file_bytes: int = Field(1 << 20, ge=1, description="Larger files are quarantined as `too_long`.")
    columns: list[str] | None = Field(
        None, description="Columns to keep beside the id and the text; all of them by default, none with `[]`."
    )
    max_files: int = Field(1_000_000, ge=1, description="More paths in the commit are an error.")
    max_bytes: int = Field(4 << 30, ge=1, description="Most bytes that come from a `url`, in one file of git's.")
    seconds: float = Field(3600, gt=0, description="Most seconds that fetching from a `url` takes.")
    allow: list[str] = Field(
        [], description="`host:port` that may be reached though they are not public (an intranet)."
    )

    @model_validator(mode="after")
    def _one_place(self) -> Git:
        if (self.path is None) == (self.url is None):
            raise ValueError("it needs either `path` or `url`")
        if self.url is not None and not self.url.startswith(("http://", "https://")):
            raise ValueError(
                "`url` is no http or https address; clone what is elsewhere, and name the folder with `path`"
            )
        if self.url is not None and (credentials_in(self.url) or "@" in urlsplit(self.url).netloc):
            raise ValueError("`url` has a credential in it; clone it yourself, and name the folder with `path`")
        return self

    # ---- fetching

    def fetch(self, desk: Desk) -> Mapping[str, Any]:
        """Keep every path of the commit."""
        try:
            return self._fetched(desk, str(desk.state.get("commit", self.commit)))
        except MissingCommitError:
            if not desk.state:
                raise
            desk.say("the commit of the fetch that was killed is gone: it begins anew")
            desk.start_over()
            return self._fetched(desk, self.commit)

    def _fetched(self, desk: Desk, revision: str) -> Mapping[str, Any]:
        if self.path is not None:
            return self._keep(desk, Repository(desk.root / Path(self.path).expanduser(), self.path), revision)
        assert self.url is not None
        with tempfile.TemporaryDirectory(prefix="curate-git-") as folder:
            repository = fetch_commit(
                self.url, revision, Path(folder), allow=self.allow, seconds=self.seconds, most=self.max_bytes
            )
            return self._keep(desk, repository, "FETCH_HEAD")

    def _keep(self, desk: Desk, repository: Repository, revision: str) -> Mapping[str, Any]:
        commit = repository.commit(revision)
        files = self._ordered(repository, self._files(repository, commit))
        licenses = _license_files(repository, files)
        desk.say(f"commit {commit.id[:12]}: {len(files):,} paths")
        done = int(desk.state.get("done", 0))
        for some in _pieces(files[done:]):
            rows = list(_rows(some, repository, licenses, done, commit))
            done += len(some)
            desk.keep(_table(rows), {"commit": commit.id, "done": done})
        return {
            "address": public_url(self.url) if self.url else str(self.path),
            "commit": commit.id,
            "paths": len(files),
        }

    def _files(self, repository: Repository, commit: Commit) -> Sequence[File]:
        entries = list(repository.entries(commit.id, self.max_files))
        keys = _unique(one.path.decode("utf-8", "backslashreplace") for one in entries)
        wanted, unwanted = _matching(keys, self.include), _matching(keys, self.exclude)
        return [
            File(key, entry, self._kind(entry) if key in wanted and key not in unwanted else "excluded by path")
            for key, entry in zip(keys, entries, strict=True)
        ]

    def _kind(self, entry: Entry) -> str:
        if entry.mode in ("120000", "160000"):
            return "symbolic link" if entry.mode == "120000" else "submodule"
        if entry.size is None:
            return "corrupt"
        return "too_long" if entry.size > self.max_file_bytes else TEXT

    def _ordered(self, repository: Repository, files: Sequence[File]) -> Sequence[File]:
        if self.order == "path":
            return files
        texts = [one for one in files if one.kind == TEXT]
        imports: dict[str, Sequence[str]] = {}
        for one, content in zip(texts, repository.contents([one.entry.object for one in texts]), strict=True):
            if isinstance(content, bytes) and (found := imported(one.key, content.decode("utf-8", "replace"))):
                imports[one.key] = found
        known = {one.key: one for one in files}
        return [known[key] for key in dependency_order(list(known), imports)]

    # ---- reading

    def read_from(self, store: Store, part: Part) -> Iterator[pa.Table | Rejected | Passed]:
        """The files of a piece."""
        passed: Counter[str] = Counter()
        row = 0
        with store.parquet(part.location.partition(":")[2]) as piece:
            for batch in piece.iter_batches(ROWS, use_threads=False):
                found: list[dict[str, Any]] = []
                for kept in batch.to_pylist():
                    one = self._document(row, kept)
                    row += 1
                    if isinstance(one, Rejected):
                        yield one
                    elif isinstance(one, Passed):
                        passed[one.kind] += one.count
                    else:
                        found.append(one)
                if found:
                    yield self._documents(found, str(part.extra["address"]))
        for kind, count in sorted(passed.items()):
            yield Passed(kind, count)
        yield from erased_rows(part)

    def _document(self, row: int, kept: Mapping[str, Any]) -> dict[str, Any] | Passed | Rejected:
        path, kind = kept[KEY], kept["kind"]
        if kind in REJECTED:
            return Rejected(row, kind, f"{path}: {kept['detail']}")
        if kind != TEXT:
            return Passed(kind, 1)
        text = kept["text"]
        made, carried = generated(path, text), vendored(path)
        for name, reason in (("generated", made), ("vendored", carried)):
            if reason and name in self.skip:
                return Passed(name, 1)
        told = header_license(text) or Told(kept["license"], kept["license_evidence"])
        if self.license == "required" and told.license is None:
            return Rejected(row, "no_license", f"{path}: {told.evidence or 'no licence file, and no tag in the file'}")
        return {
            "text": text, "path": path, "language": language_of(path, text), "license": told.license,
            "license_evidence": told.evidence, "generated": made, "vendored": carried,
            **{name: kept[name] for name in ("encoding", "size", "position", "commit", "author_date")},
        }  # fmt: skip

    def _documents(self, found: Sequence[Mapping[str, Any]], address: str) -> pa.Table:
        import pyarrow as pa

        columns = None if self.columns is None else tuple(self.columns)
        selection = Selection("text", None, columns, self.max_file_bytes, address)
        types = {"size": pa.int64(), "position": pa.int64()}
        carried = {
            name: pa.array([one[name] for one in found], types.get(name, pa.string()))
            for name in selection.carried(("text", *COLUMNS), complete=True)
        }
        table = document_table([one["text"] for one in found], None, range(len(found)), name="", columns={})
        places = pa.array([f"{address}#{one['path']}" for one in found], pa.string())
        table = table.set_column(table.schema.get_field_index("source_uri"), "source_uri", places)
        for name, values in carried.items():
            table = table.append_column(name, values)
        return table


def _unique(names: Iterable[str]) -> list[str]:
    """Names, with a quote and a number behind those that are there: one that is no UTF-8, and one that spells its bytes."""
    found: dict[str, None] = {}
    quotes = Counter[str]()
    for name in names:
        key = name
        while key in found:
            quotes[name] += 1
            key = f"{name}'{quotes[name]}"
        found[key] = None
    return list(found)


def _matching(names: Sequence[str], globs: Sequence[str]) -> set[str]:
    """The names that one of the globs is about; RE2, so the time is linear whatever the glob."""
    import pyarrow as pa
    import pyarrow.compute as compute

    if not globs:
        return set()
    column = pa.array(names, pa.string())
    pattern = rf"\A(?:{'|'.join(map(_pattern, globs))})\z"
    return set(column.filter(compute.match_substring_regex(column, pattern)).to_pylist())


def _pattern(glob: str) -> str:
    """A glob as a regular expression: `**` goes through folders, `*` and `?` do not."""
    found = re.sub(
        r"\*\*/|\*\*|\*|\?|[^*?]+",
        lambda one: {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}.get(one[0]) or re.escape(one[0]),
        glob.removeprefix("/"),
    )
    return f"(?s:{found if '/' in glob else f'(?:.*/)?{found}'})"


def _license_files(repository: Repository, files: Sequence[File]) -> Mapping[str, Mapping[str, str | None]]:
    """The licence of each licence file, by folder and path; None, and not that of a folder above, where it is not read."""
    found: defaultdict[str, dict[str, str | None]] = defaultdict(dict)
    some: list[File] = []
    for one in files:
        if is_license_file(one.key) and one.entry.mode != "160000":
            found[one.key.rpartition("/")[0]][one.key] = None
            if one.entry.mode.startswith("100") and 0 < (one.entry.size or 0) <= PIECE_BYTES:
                some.append(one)
    for one, content in zip(some, repository.contents([one.entry.object for one in some]), strict=True):
        if isinstance(content, bytes):
            found[one.key.rpartition("/")[0]][one.key] = known_license(decoded(content)[0])
    return found


def _pieces(files: Sequence[File]) -> Iterator[list[File]]:
    """Files as they are kept together: by their sizes, so that they are the same whenever a fetch goes on."""
    rest = iter(files)
    while some := list(islice(rest, 1)):
        size = some[0].entry.size or 0
        while size < PIECE_BYTES and len(some) < 10_000 and (following := next(rest, None)):
            some.append(following)
            size += (following.entry.size or 0) if following.kind == TEXT else 0
        yield some


def _rows(
    files: Sequence[File],
    repository: Repository,
    licenses: Mapping[str, Mapping[str, str | None]],
    position: int,
    commit: Commit,
) -> Iterator[dict[str, Any]]:
    """What is kept of some files."""
    contents = repository.contents([one.entry.object for one in files if one.kind == TEXT])
    for one in files:
        text = encoding = None
        kind = one.kind
        detail = (
            f"{one.entry.size:,} bytes" if kind == "too_long" else "git cannot read it" if kind == "corrupt" else None
        )
        if kind == TEXT:
            found = next(contents)
            if isinstance(found, str):
                kind, detail = "corrupt", found
            else:
                kind = kind_of(found)
                text, encoding = decoded(found) if kind == TEXT else (None, None)
        told = (nearest(one.key, licenses) if kind == TEXT else None) or Told(None, "")
        yield {
            KEY: one.key, "kind": kind, "text": text, "encoding": encoding, "detail": detail, "size": one.entry.size,
            "position": position,
            "license": told.license, "license_evidence": told.evidence or None, "commit": commit.id,
            "author_date": commit.date,
        }  # fmt: skip
        position += 1


def _table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    import pyarrow as pa

    kinds = {"size": pa.int64(), "position": pa.int64()}
    return pa.table({name: pa.array([row[name] for row in rows], kinds.get(name, pa.string())) for name in KEPT})
