"""Repositories of git: every path of a commit has its place, and nothing of a hostile repository is run."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import socket
import subprocess
import threading
import time
import zlib
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pyarrow as pa
import pytest
from pydantic import ValidationError

import curate.collect.git.process as process
import curate.collect.git.remote as remote
import curate.collect.git.repository as repository
import curate.collect.git.source as source
from curate.collect.git.imports import dependency_order, imported
from curate.collect.git.languages import language_of
from curate.collect.git.licenses import header_license, is_license_file, known_license, nearest
from curate.collect.git.marks import generated, vendored
from curate.collect.git.source import Git
from curate.dataset.snapshots import Fetch
from curate.dataset.store import Store
from curate.erasure.matching import Matcher
from curate.erasure.scan import Hits, redact
from curate.erasure.subject import Subject
from curate.errors import CurateError
from curate.stages.parts import Part, Passed, Rejected, SourceContext

CLEAN = {
    "PATH": os.environ["PATH"], "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "HOME": os.devnull,
    **{f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in
       (("NAME", "a"), ("EMAIL", "a@example.org"), ("DATE", "2024-05-06T07:08:09+0200"))},
}  # fmt: skip

RUSSIAN = "\u043f\u0440\u0438\u0432\u0435\u0442"


def git(folder, *arguments, **more):
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, env=CLEAN, check=True, capture_output=True, **more).stdout.decode().strip()


def commit(folder, files):
    """Commit files, by path; values are bytes, text, or ("link", target)."""
    if not (folder / ".git").exists():
        folder.mkdir(exist_ok=True)
        git(folder, "init", "-q", "-b", "main")
    for path, content in files.items():
        place = folder / os.fsdecode(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, tuple):
            place.symlink_to(content[1])
        else:
            place.write_bytes(content if isinstance(content, bytes) else content.encode())
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "c")
    return git(folder, "rev-parse", "HEAD")


class Reading:
    """A store, and what is fetched into it from the folder `repo`."""

    def __init__(self, root):
        self.root, self.said = root, []
        self.store = Store.open(root / "store", create=True)
        self.repo = root / "repo"

    def desk(self):
        return Fetch(self.store, "k" * 64, self.root, None, self.said.append)

    def fetch(self, **settings):
        stage = Git(**{"path": "repo"} | settings if "url" not in settings else settings)
        desk = self.desk()
        self.snapshot = desk.finish("git", {}, stage.fetch(desk))
        desk.forget()
        return self.read(stage)

    def read(self, stage):
        self.rejected, self.passed, rows = [], Counter(), []
        for part in stage.plan(SourceContext(self.root, 1 << 20, str, snapshot=self.snapshot)):
            for item in stage.read_from(self.store, part):
                if isinstance(item, Rejected):
                    self.rejected.append((item.reason, item.detail))
                elif isinstance(item, Passed):
                    self.passed[item.kind] += item.count
                else:
                    rows += item.to_pylist()
        return {row["source_uri"].partition("#")[2]: row for row in rows}


@pytest.fixture
def at(tmp_path):
    return Reading(tmp_path)


# ---- every path has its place


def test_every_path_of_a_commit_is_a_document_or_is_counted_by_what_it_is(at):
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    head = commit(at.repo, {
        "LICENSE": "unknown words", "src/a.py": "import b\n", "src/empty.py": "", "img.png": b"\x89PNG\r\n\x1a\n\0",
        "link": ("link", "/etc/passwd"), "big.bin": pointer, "doc/\u00e4.txt": "umlaut", b"caf\xe9": "no utf-8", "x.log": "y",
        "large.txt": "x" * 3000, "wide.txt": "\ufeffwide".encode("utf-16-le"), "latin.txt": b"caf\xe9 au lait",
        "declared.py": f"# -*- coding: koi8-r -*-\n# {RUSSIAN}\n".encode("koi8-r"),
    })  # fmt: skip
    rows = at.fetch(exclude="*.log", max_file_bytes=2000)
    assert at.passed == {"binary": 1, "symbolic link": 1, "LFS pointer": 1, "excluded by path": 1}
    assert at.rejected == [("too_long", "large.txt: 3,000 bytes")]
    assert len(rows) + at.passed.total() + len(at.rejected) == int(at.snapshot.facts["paths"]) == 13
    assert rows["caf\\xe9"]["text"] == "no utf-8"
    assert (rows["wide.txt"]["text"], rows["wide.txt"]["encoding"]) == ("wide", "utf-16-le")
    assert (rows["declared.py"]["text"].split()[-1], rows["declared.py"]["encoding"]) == (RUSSIAN, "koi8-r")
    assert rows["latin.txt"]["text"] == "caf\u00e9 au lait" and rows["latin.txt"]["encoding"] != "utf-8"
    one = rows["src/a.py"]
    assert (one["language"], one["size"], one["commit"], one["author_date"]) == (
        "Python", 9, head, "2024-05-06T07:08:09+02:00",
    )  # fmt: skip
    assert one["source_uri"] == "repo#src/a.py"


def test_a_submodule_is_counted_and_not_followed(at):
    inner = commit(at.root / "inner", {"a": "b"})
    commit(at.repo, {"a.py": "1"})
    git(at.repo, "update-index", "--add", "--cacheinfo", f"160000,{inner},sub")
    git(at.repo, "commit", "-q", "-m", "c")
    assert list(at.fetch()) == ["a.py"]
    assert at.passed == {"submodule": 1}


def test_globs_choose_by_path_through_folders_or_by_name(at):
    commit(at.repo, {name: "x" for name in ("a.py", "src/a.py", "src/deep/b.py", "src/deep/b.txt", "tests/t.py")})
    assert list(at.fetch(include="src/**/*.py")) == ["src/a.py", "src/deep/b.py"]
    assert list(at.fetch(include=["*.py"], exclude=["tests/**", "b.*"])) == ["a.py", "src/a.py"]
    assert list(at.fetch(include="src/*.py", columns=[])["src/a.py"]) == ["id", "text", "source_uri"]


def test_a_branch_is_pinned_to_its_commit_and_a_fetch_that_was_killed_goes_on_at_that(at, monkeypatch):
    monkeypatch.setattr(source, "PIECE_BYTES", 10)
    files = {f"{name}.py": f"x = '{name * 9}'\n" for name in "abcdef"}
    first = commit(at.repo, files)
    whole = at.fetch(commit="main")
    pieces = at.snapshot.pieces
    desk, keep = at.desk(), Fetch.keep
    calls = []

    def killed(self, table, state):
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(keep(self, table, state))

    monkeypatch.setattr(Fetch, "keep", killed)
    with pytest.raises(KeyboardInterrupt):
        Git(path="repo", commit="main").fetch(desk)
    monkeypatch.setattr(Fetch, "keep", keep)
    commit(at.repo, {"a.py": "changed\n"})
    assert at.fetch(commit="main") == whole
    assert (at.snapshot.pieces, at.snapshot.facts["commit"]) == (pieces, first)
    assert at.fetch(commit="main")["a.py"]["text"] == "changed\n"
    assert at.fetch(commit=first) == whole


def test_a_snapshot_keeps_texts_so_that_an_erasure_finds_a_person_in_any_encoding(at):
    who = "jane.doe@example.org"
    commit(at.repo, {
        "latin.txt": f"J\u00f6rg wrote to {who}".encode("latin-1"), "wide.txt": f"\ufeff{who}".encode("utf-16-le"),
        "japan.py": f"# -*- coding: shift_jis -*-\n# \u5c71\u7530 {who}\n".encode("shift_jis"),
    })  # fmt: skip
    at.fetch()
    [piece] = at.snapshot.pieces
    matcher, hits = Matcher(Subject(emails=(who,), names=("\u5c71\u7530",))), Hits()
    redacted = redact(at.store.read_table(piece.object), matcher, hits)
    assert hits.rows == {0, 1, 2}
    assert all(text and who not in text and "\u5c71" not in text for text in redacted["text"].to_pylist())
    name = at.store.write_table(redacted)
    part = Part("p", f"object:{name}", "c", 0, 3, {"address": "repo"})
    [table] = [one for one in Git(path="repo").read_from(at.store, part) if not isinstance(one, (Rejected, Passed))]
    assert table.num_rows == 3


def test_a_fetch_that_was_killed_begins_anew_where_its_commit_is_gone(at, monkeypatch):
    monkeypatch.setattr(source, "PIECE_BYTES", 10)
    commit(at.repo, {f"{name}.py": name * 20 for name in "abc"})
    desk = at.desk()
    desk.keep(pa.table({"x": [1]}), {"commit": "1" * 40, "done": 2})
    assert list(at.fetch()) == ["a.py", "b.py", "c.py"]
    assert any("begins anew" in one for one in at.said)


def test_what_is_no_repository_or_no_commit_is_told(at):
    commit(at.root, {"outer.txt": "of the project, not of the folder in it"})
    at.repo.mkdir()
    with pytest.raises(CurateError, match="`repo` is no git repository"):
        at.fetch()
    commit(at.repo, {"a": "b"})
    with pytest.raises(CurateError, match="`repo` has no commit `nowhere`"):
        at.fetch(commit="nowhere")
    for name in ("--help", "HEAD^{/x}", ":a"):
        with pytest.raises(CurateError, match="is no name of a commit"):
            at.fetch(commit=name)
    with pytest.raises(CurateError, match="more than 1 files"):
        commit(at.repo, {"c": "d"})
        at.fetch(max_files=1)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "either `path` or `url`"),
        ({"path": "a", "url": "https://example.org/a"}, "either `path` or `url`"),
        ({"url": "ext::sh -c id"}, "no http or https address"),
        ({"url": "git@example.org:a/b"}, "no http or https address"),
        ({"url": "https://me:pw@example.org/a"}, "has a credential in it"),
    ],
)
def test_a_place_that_is_none_is_refused(settings, words):
    with pytest.raises(ValidationError, match=words):
        Git(**settings)


# ---- repositories that mean harm


def test_nothing_that_a_repository_configures_is_run_and_no_object_is_fetched_for_it(at):
    marker = at.root / "ran"
    commit(at.repo, {"a.py": "1", "b.py": "2", ".gitattributes": "*.py filter=evil diff=evil"})
    missing = git(at.repo, "rev-parse", "HEAD:b.py")
    (at.repo / ".git/objects" / missing[:2] / missing[2:]).unlink()
    run = f"touch {marker}; false"
    for name, value in {
        "core.fsmonitor": run, "core.sshCommand": run, "core.pager": run, "filter.evil.smudge": run, "filter.evil.clean": run,
        "diff.evil.textconv": run, "core.repositoryformatversion": "1", "extensions.partialClone": "origin",
        "remote.origin.promisor": "true", "remote.origin.url": f"ext::touch {marker}", "protocol.ext.allow": "always",
        "protocol.allow": "always", "core.alternateRefsCommand": run, "core.hooksPath": str(at.root),
    }.items():  # fmt: skip
        git(at.repo, "config", name, value)
    assert sorted(at.fetch()) == [".gitattributes", "a.py"]
    assert [one[0] for one in at.rejected] == ["corrupt"]
    assert not marker.exists()


def test_a_damaged_object_costs_itself_alone(at):
    commit(at.repo, {f"{number}.txt": f"text {number}\n" * 30 for number in range(5)})
    places = [git(at.repo, "rev-parse", f"HEAD:{number}.txt") for number in (1, 3)]
    for name, content in zip(places, (b"garbage", zlib.compress(b"blob 4\0evil")), strict=True):
        place = at.repo / ".git/objects" / name[:2] / name[2:]
        place.chmod(0o600)
        place.write_bytes(content)
    assert list(at.fetch()) == ["0.txt", "2.txt", "4.txt"]
    assert [reason for reason, _ in at.rejected] == ["corrupt", "corrupt"]
    assert [detail.partition(":")[0] for _, detail in at.rejected] == ["1.txt", "3.txt"]


def test_a_damaged_folder_is_an_error_that_says_what_to_do(at):
    commit(at.repo, {"a/b.txt": "x"})
    tree = git(at.repo, "rev-parse", "HEAD:a")
    (at.repo / ".git/objects" / tree[:2] / tree[2:]).unlink()
    with pytest.raises(CurateError, match="the files of `repo` cannot be listed") as caught:
        at.fetch()
    assert "git fsck" in (caught.value.hint or "")


def test_a_folder_that_is_not_what_its_hash_says_is_an_error(at):
    commit(at.repo, {"a/b.txt": "x", "c/d.txt": "y"})
    one, other = (
        at.repo / ".git/objects" / name[:2] / name[2:]
        for name in (git(at.repo, "rev-parse", f"HEAD:{x}") for x in "ac")
    )
    one.chmod(0o600)
    one.write_bytes(other.read_bytes())
    with pytest.raises(CurateError, match="cannot be listed: a folder: its content is not what its hash says"):
        at.fetch()


def test_a_repository_in_which_git_would_wait_for_ever_is_left(at, monkeypatch):
    monkeypatch.setattr(process, "SECONDS", 0.2)
    commit(at.repo, {"a.py": "1"})
    os.mkfifo(at.root / "pipe")
    git(at.repo, "config", "include.path", str(at.root / "pipe"))
    with pytest.raises(CurateError, match="git says nothing for"):
        at.fetch()


def test_paths_that_fill_the_memory_are_an_error(at, monkeypatch):
    commit(at.repo, {"n" * 200: "1"})
    monkeypatch.setattr(repository, "LIST_BYTES", 100)
    with pytest.raises(CurateError, match="the paths of `repo` are longer than"):
        at.fetch()


def test_names_that_are_there_again_and_globs_of_many_stars_cost_no_more_than_others():
    assert source._unique(["a", "a", "a'1", "a"]) == ["a", "a'1", "a'1'1", "a'2"]
    started = time.perf_counter()
    assert len(set(source._unique(["a"] * 20_000))) == 20_000
    assert source._matching(["a" * 5000, "aaaaab"], ["*a*a*a*a*a*b"]) == {"aaaaab"}
    assert time.perf_counter() - started < 1


# ---- from an address


@pytest.fixture
def served(at):
    """The repositories below the root, by git's own server over HTTP; what it was asked."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.answer(b"")

        def do_POST(self):
            self.answer(self.rfile.read(int(self.headers["Content-Length"])))

        def answer(self, body):
            asked.append(self.path)
            path, _, query = self.path.partition("?")
            environment = CLEAN | {
                "GIT_PROJECT_ROOT": str(at.root), "GIT_HTTP_EXPORT_ALL": "1", "PATH_INFO": path, "QUERY_STRING": query,
                "REQUEST_METHOD": self.command, "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(len(body)), "HTTP_GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            }  # fmt: skip
            done = subprocess.run(
                ["git", "http-backend"], input=body, env=environment, capture_output=True, check=False
            )
            head, _, content = done.stdout.partition(b"\r\n\r\n")
            fields = dict(line.split(": ", 1) for line in head.decode().splitlines())
            self.send_response(int(fields.pop("Status", "200").split()[0]))
            for name, value in fields.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_commit_is_fetched_from_an_address_and_is_what_the_folder_has(at, served):
    host, _ = served
    head = commit(at.repo, {"a.py": "1", "b/c.py": "2", "LICENSE": "?"})
    local = at.fetch()
    fetched = at.fetch(url=f"http://{host}/repo", commit="main", allow=[host])
    assert [row["text"] for row in fetched.values()] == [row["text"] for row in local.values()]
    assert at.snapshot.facts == {"address": f"http://{host}/repo", "commit": head, "paths": 3}
    assert fetched["a.py"]["source_uri"] == f"http://{host}/repo#a.py"
    commit(at.repo, {"a.py": "new"})
    assert at.fetch(url=f"http://{host}/repo", commit=head, allow=[host]) == fetched
    with pytest.raises(CurateError, match=r"`nowhere` of .* cannot be fetched"):
        at.fetch(url=f"http://{host}/repo", commit="nowhere", allow=[host])


def test_an_address_that_is_not_public_gets_nothing(at, served):
    host, asked = served
    commit(at.repo, {"a": "b"})
    for name in (host, f"localhost:{host.partition(':')[2]}", f"0x7f000001:{host.partition(':')[2]}"):
        with pytest.raises(CurateError, match="is no public address, and nothing was sent to it"):
            at.fetch(url=f"http://{name}/repo")
    assert asked == []


@pytest.mark.parametrize("host", ["pl%61in.test", "a,b.test", "-plain.test", "a b.test", "*"])
def test_a_host_that_git_would_read_otherwise_than_it_was_checked_is_refused(host):
    with pytest.raises(CurateError, match="has no plain host name"):
        remote._checked_address(f"http://{host}/x", ())


@pytest.mark.parametrize(
    ("url", "address", "pinned"),
    [
        ("https://B\u00fc.example/x?y=1", "https://xn--b-eha.example:443/x?y=1", "xn--b-eha.example:443:93.184.216.34"),
        ("http://GOOD.example.:0080/x", "http://good.example:80/x", "good.example:80:93.184.216.34"),
        ("http://[2606:4700::0001]/x", "http://[2606:4700::1]:80/x", "[2606:4700::1]:80:93.184.216.34"),
    ],
)  # fmt: skip
def test_git_is_told_the_host_in_the_spelling_that_was_checked(monkeypatch, url, address, pinned):
    monkeypatch.setattr(remote, "look_up", lambda host, port: ["93.184.216.34"])
    assert remote._checked_address(url, ()) == (address, pinned)


def test_a_git_that_does_not_keep_to_a_checked_address_is_not_used(monkeypatch):
    monkeypatch.setattr(remote, "OLDEST", (99, 0))
    with pytest.raises(CurateError, match=r"git is older than 2\.37"):
        remote._check_version()


def test_a_fetch_that_takes_too_long_ends_with_every_process_of_it(at):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        host = f"127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(CurateError, match="took longer than"):
            at.fetch(url=f"http://{host}/repo", allow=[host], seconds=0.3)
        listening.settimeout(5)
        connection, _ = listening.accept()
        with connection:
            connection.settimeout(5)
            while connection.recv(1 << 16):  # it ends where nobody is there any more
                pass


# ---- what is known of a file


@pytest.mark.parametrize(
    ("path", "text", "language"),
    [
        ("a/b.py", "", "Python"), ("A.CPP", "", "C++"), ("Makefile", "", "Makefile"), ("x/CMakeLists.txt", "", "CMake"),
        ("run", "#!/usr/bin/env python3\n", "Python"), ("run", "#!/usr/bin/env -S LANG=C perl -w\n", "Perl"),
        ("run", "#! /bin/sh\n", "Shell"), ("run", "no shebang", None), (".py", "", None), ("a.unknown", "", None),
    ],
)  # fmt: skip
def test_a_language_is_told_by_name_or_first_line(path, text, language):
    assert language_of(path, text) == language


@pytest.mark.parametrize(
    ("path", "text", "reason"),
    [
        (
            "a.go",
            "// Code generated by protoc-gen-go. DO NOT EDIT.\n",
            "header: Code generated by protoc-gen-go. DO NOT EDIT",
        ),
        ("a.py", "# @generated by tool\n", "header: @generated"),
        ("web/package-lock.json", "{}", "name: package-lock.json"),
        ("m_pb2.py", "", "name: m_pb2.py"),
        ("a.js", "x" * 500, "lines of more than 110 characters on average"),
        ("a.py", "x" * 500, None),
        ("a.py", "\n" * 40 + "# @generated", None),
        ("a.py", "# This module edits generated files\n", None),
    ],
)
def test_a_file_that_a_program_made_is_told_with_its_reason(path, text, reason):
    assert generated(path, text) == reason


def test_a_file_from_elsewhere_is_told_by_its_folder_and_both_are_left_out_on_request(at):
    assert (vendored("a/node_modules/b.js"), vendored("vendor.py"), vendored("src/Vendor/x.c")) == (
        "node_modules/",
        None,
        "Vendor/",
    )
    commit(at.repo, {"a.py": "1", "vendor/b.py": "2", "c_pb2.py": "3"})
    assert list(at.fetch(skip=["generated", "vendored"])) == ["a.py"]
    assert at.passed == {"generated": 1, "vendored": 1}


# ---- licences

MIT = """Copyright (c) 2020 Somebody Permission is hereby granted, free of charge, to any person obtaining a copy of this
software and associated documentation files (the "Software"), to deal in the Software without restriction,
including without limitation the rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is furnished to do so, subject to the following
conditions: The above copyright notice and this permission notice shall be included in all copies or substantial
portions of the Software. THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED,
INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND
NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE
SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE."""


@pytest.mark.parametrize(
    ("text", "license"),
    [
        ("// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note\n", "GPL-2.0-only WITH Linux-syscall-note"),
        ("/* SPDX-License-Identifier: (MIT OR Apache-2.0) */", "(MIT OR Apache-2.0)"),
        ("<!-- SPDX-License-Identifier: CC-BY-4.0-->", "CC-BY-4.0--"),
        (
            "# SPDX-License-Identifier: MIT\n# SPDX-License-Identifier: BSD-3-Clause OR ISC",
            "MIT AND (BSD-3-Clause OR ISC)",
        ),
    ],
)
def test_a_tag_in_a_file_is_its_licence(text, license):
    told = header_license(text)
    assert told and told.license == license.rstrip("-")


@pytest.mark.parametrize(
    "tag",
    [
        "NONE", "NOASSERTION", "see LICENSE file", "Proprietary", "MIT/Apache-2.0", "MIT AND", "MIT, ISC", "<license>",
        "MIT or later; not for commercial use",
    ],
)  # fmt: skip
def test_a_tag_that_is_no_expression_as_a_whole_is_no_licence_and_hides_the_file_of_the_folder(tag):
    assert header_license(f"# SPDX-License-Identifier: {tag}\n") == (
        None, f"SPDX-License-Identifier in the file, not understood: {tag}",
    )  # fmt: skip


def test_a_tag_is_read_whole_and_not_in_a_string_of_a_program():
    def told(line):
        return header_license(line).license

    assert told("# SPDX-License-Identifier: MIT and GPL-3.0-only") == "MIT AND GPL-3.0-only"
    assert told("// SPDX-License-Identifier: GPL-2.0-only with Classpath-exception-2.0\r\n") == (
        "GPL-2.0-only WITH Classpath-exception-2.0"
    )
    assert told("x" * 4080 + "\n# SPDX-License-Identifier: MIT OR LicenseRef-Other\n") == "MIT OR LicenseRef-Other"
    assert told("(* SPDX-License-Identifier: ISC *)") == told("{# SPDX-License-Identifier: ISC #}") == "ISC"
    assert header_license('print("SPDX-License-Identifier: MIT")\n"SPDX-License-Identifier: MIT"') is None


def test_licence_files_are_known_by_what_they_say_and_by_nothing_more():
    assert known_license(MIT) == "MIT"
    assert known_license(MIT + " The Software shall be used for Good, not Evil.") is None
    for clause in (
        "The Software shall not be used to train models, nor be sold.",
        "The rights to sell are reserved under the terms of the vendor.",
    ):
        assert (known_license(f"{MIT} {clause}"), known_license(f"{clause} {MIT}")) == (None, None)
    assert known_license(MIT.replace("to use, copy,", "to use for study and research alone, to copy for that,")) is None
    assert known_license(MIT + MIT.replace("Software", "Thing")) is None
    assert known_license("") is None
    assert [is_license_file(name) for name in ("LICENSE", "a/COPYING.LESSER", "LICENSE-MIT", "license.py", "licensed")] == [
        True, True, True, False, False,
    ]  # fmt: skip


def test_licence_texts_of_installed_packages_are_known_as_what_their_authors_call_them():
    agreed: Counter[str] = Counter()
    for package in importlib.metadata.distributions():
        said = package.metadata["License-Expression"]
        files = [one for one in package.files or [] if ".dist-info/" in str(one) and is_license_file(str(one))]
        if said not in ("MIT", "BSD-3-Clause", "MIT-0", "MPL-2.0") or len(files) != 1 or "_vendor" in str(files[0]):
            continue
        found = known_license(files[0].read_text("utf-8"))
        assert found in (said, None), package.name
        agreed[said] += found == said
    assert agreed["MIT"] >= 10 and agreed["BSD-3-Clause"] >= 5


def test_the_nearest_licence_file_holds_and_one_that_is_not_known_says_so(at):
    files = {"": {"LICENSE": "MIT"}, "a": {"a/LICENSE-A": "Zlib", "a/LICENSE-B": "ISC"}, "b": {"b/COPYING": None}}
    assert nearest("x/y.py", files) == ("MIT", "LICENSE")
    assert nearest("a/b/c.py", files) == ("ISC AND Zlib", "a/LICENSE-A, a/LICENSE-B")
    assert nearest("b/c.py", files) == (None, "b/COPYING: a text that is not known")
    assert nearest("c.py", {}) is None
    commit(
        at.repo,
        {"LICENSE": MIT, "a.py": "1", "b/COPYING": "words", "b/c.py": "2", "b/d.py": "# SPDX-License-Identifier: ISC"},
    )
    rows = at.fetch(license="required", include="*.py")
    assert {path: (row["license"], row["license_evidence"]) for path, row in rows.items()} == {
        "a.py": ("MIT", "LICENSE"), "b/d.py": ("ISC", "SPDX-License-Identifier in the file"),
    }  # fmt: skip
    assert at.rejected == [("no_license", "b/c.py: b/COPYING: a text that is not known")]


def test_a_licence_file_that_is_not_read_leaves_the_licence_unknown_and_is_not_passed_over(at):
    commit(at.repo, {
        "LICENSE": MIT, "empty/LICENSE": "", "empty/a.py": "1", "link/COPYING": ("link", "../LICENSE"), "link/a.py": "1",
        "page/LICENSE.html": "<p>All rights reserved", "page/a.py": "1", "gone/LICENSE": "words", "gone/a.py": "1",
        "long/LICENSE": MIT + " " * 3000, "long/a.py": "1",
    })  # fmt: skip
    missing = git(at.repo, "rev-parse", "HEAD:gone/LICENSE")
    (at.repo / ".git/objects" / missing[:2] / missing[2:]).unlink()
    rows = at.fetch(include="*.py", max_file_bytes=2000)
    assert {path: row["license"] for path, row in rows.items()} == {
        "empty/a.py": None, "gone/a.py": None, "link/a.py": None, "long/a.py": "MIT", "page/a.py": None,
    }  # fmt: skip
    assert rows["link/a.py"]["license_evidence"] == "link/COPYING: a text that is not known"


# ---- order


SOURCES = {
    "app/main.py": "from app.util import text\nfrom . import other\nimport os\n",
    "app/util/__init__.py": "from .text import x\n",
    "app/util/text.py": "x = 1\n", "app/other.py": "from app import main\n", "app/__init__.py": "",
    "c/a.c": '#include "deep/z.h"\n#include <stdio.h>\n', "c/deep/z.h": '#include "../y.h"\n', "c/y.h": "",
    "js/a.ts": "import { b } from './b'\n", "js/b.ts": "export const b = require('./lib')", "js/lib/index.ts": "",
    "go/a/a.go": 'package a\nimport "example.org/m/go/zoo"\nfunc A() {}\n', "go/zoo/z.go": "package zoo\n",
    "j/src/A.java": "import j.src.Z;\n", "j/src/Z.java": "", "r/src/lib.rs": "mod zeta;\n", "r/src/zeta.rs": "",
}  # fmt: skip
PAIRS = [
    ("app/util/text.py", "app/util/__init__.py"), ("app/util/text.py", "app/main.py"), ("c/y.h", "c/deep/z.h"),
    ("c/deep/z.h", "c/a.c"), ("js/b.ts", "js/a.ts"), ("js/lib/index.ts", "js/b.ts"), ("go/zoo/z.go", "go/a/a.go"),
    ("j/src/Z.java", "j/src/A.java"), ("r/src/zeta.rs", "r/src/lib.rs"),
]  # fmt: skip


def test_what_is_imported_comes_first_and_cycles_are_cut_the_same_way(at):
    commit(at.repo, SOURCES)
    order = list(at.fetch(order="imports"))
    assert sorted(order) == sorted(SOURCES)
    assert [pair for pair in PAIRS if order.index(pair[0]) > order.index(pair[1])] == []
    imports = {path: imported(path, text) for path, text in SOURCES.items()}
    assert dependency_order(sorted(SOURCES), imports) == order
    assert [row["position"] for row in at.fetch(order="imports").values()] == list(range(len(SOURCES)))


def test_a_chain_of_imports_deeper_than_the_stack_is_ordered():
    paths = [f"m{number:05}.py" for number in range(5000)]
    imports = {path: imported(path, f"import m{number + 1:05}\n") for number, path in enumerate(paths)}
    assert dependency_order(paths, imports) == paths[::-1]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("a.py", "from " + "." * 100_000), ("a.py", "from" + " " * 100_000), ("a.js", "import" + " " * 100_000 + "x"),
        ("a.js", "require(" + " " * 100_000 + "x"), ("a.go", '"' + "a/" * 50_000), ("a.rs", "\npub(" * 20_000),
        ("a.rs", "crate::" + "a::" * 30_000 + "a"), ("a.c", "#" + " " * 100_000),
    ],
)  # fmt: skip
def test_imports_of_a_hostile_file_cost_no_more_than_others(path, text):
    started = time.perf_counter()
    dependency_order([path], {path: imported(path, text)})
    assert time.perf_counter() - started < 0.5


def test_a_name_that_many_files_have_is_looked_up_once_and_means_none_of_them():
    paths = sorted(f"d{number:04}/{name}" for number in range(1500) for name in ("util.h", "x.c"))
    imports = {path: [f"util.h{path.count('1')}", "util.h"] for path in paths if path.endswith("x.c")}
    started = time.perf_counter()
    assert dependency_order(paths, imports) == paths
    assert time.perf_counter() - started < 1
    long = "a/" * 50_000 + "b"
    assert dependency_order(["m.go", "x.go"], {"m.go": [long]}) == ["m.go", "x.go"]


def test_a_hash_of_git_is_what_is_held_against(at):
    commit(at.repo, {"a.txt": "hello\n"})
    assert git(at.repo, "rev-parse", "HEAD:a.txt") == hashlib.sha1(b"blob 6\0hello\n").hexdigest()
