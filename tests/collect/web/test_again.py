"""Crawls that are killed and go on, and those that are made anew."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter

import httpcore
import pytest

from curate.collect.fetch.guard import Guarded
from curate.config.pipeline import load_pipeline
from curate.dataset.snapshots import find_snapshot
from curate.dataset.store import Store
from curate.errors import ResumableError
from curate.pipeline.lock import read_lock
from tests.collect.web.site import AGENT, FILES, page
from tests.collect.web_server import serving

HTML = {"Content-Type": "text/html"}
PIPELINE = """\
dataset: pages
sources:
  - {{stage: crawl, id: site, seeds: ["{url}/"], agent: "{agent}", allow: ["{host}"], delay: 0}}
stages: [{{stage: extract}}]
"""


# ---- made anew


def test_what_did_not_change_is_asked_about_and_stays_as_it_was(site):
    def tagged(asked):
        same = asked.headers.get("if-none-match") == '"1"'
        return (304, {}, b"") if same else (200, {**HTML, "ETag": '"1"'}, page("/dated", "/plain").encode())

    def dated(asked):
        date = "Mon, 01 Jan 2024 00:00:00 GMT"
        same = asked.headers.get("if-modified-since") == date
        return (304, {}, b"") if same else (200, {**HTML, "Last-Modified": date}, page().encode())

    site.pages = {"/": tagged, "/dated": dated, "/plain": page(text="first")}
    first, before = site.fetch(), site.snapshot
    assert site.fetch(refresh=True) == first
    assert site.snapshot.pieces == before.pieces  # the same rows are the same version
    site.pages["/plain"] = page(text="second")
    later = site.fetch(refresh=True)
    assert (later["/"], later["/dated"]) == (first["/"], first["/dated"])
    assert b"second" in later["/plain"]["content"]
    assert Counter(site.asked) == {"/": 3, "/dated": 3, "/plain": 3}


def test_an_opt_out_that_came_with_nothing_new_is_obeyed(site):
    site.pages = {"/": page("/a"), "/a": (200, {**HTML, "ETag": '"1"'}, page().encode())}
    assert "/a" in site.fetch()
    site.pages["/a"] = (304, {"X-Robots-Tag": "noai"}, b"")
    assert "/a" not in site.fetch(refresh=True)
    assert site.reasons() == {"/a": "opt_out"}


def test_a_page_that_cannot_be_had_stays_and_one_that_is_gone_goes(site):
    site.pages = {"/": page("/a", "/b"), "/a": page(), "/b": page()}
    first = site.fetch()
    site.pages |= {"/a": (500, {}, b""), "/b": (410, {}, b"")}
    later = site.fetch(refresh=True)
    assert later == {path: first[path] for path in ("/", "/a")}
    assert site.reasons() == {"/b": "status_410"}
    assert any("/a cannot be had now; it stays as it was fetched at 2" in one for one in site.said)


def test_a_refresh_that_gets_nothing_is_an_error(site):
    site.pages = {"/": page()}
    site.fetch()
    site.pages = {"/": (404, {}, b"")}
    with pytest.raises(ResumableError, match=r"no page could be had: .* is status_404"):
        site.fetch(refresh=True)


# ---- a resolver that changes its answer


def test_a_name_that_means_this_machine_a_moment_later_is_not_connected_to(site, monkeypatch):
    with serving() as forbidden:
        told = {"changing.example": [["93.184.216.34"], ["127.0.0.1"]]}
        connected = []

        class Recorded(httpcore.SyncBackend):
            def connect_tcp(self, host, port, *arguments, **options):
                connected.append(host)
                if host == "93.184.216.34":
                    raise httpcore.ConnectError("not here")
                return super().connect_tcp(host, port, *arguments, **options)

        def resolve(host, port):
            return told[host].pop(0) if told.get(host) else ["127.0.0.1"]

        import curate.collect.fetch.client as client

        monkeypatch.setattr(client, "Guarded", lambda allow: Guarded(allow, resolve, Recorded()))
        seed = f"http://changing.example:{forbidden.port}/"
        site.pages = {"/": page()}
        assert set(site.fetch(seeds=[site.web.url, seed], obey=[])) == {"/"}
        assert connected.count("93.184.216.34") == 1
        assert not forbidden.asked


# ---- killed


def answered(path, pages):
    """A graph of pages, each with links to the next ones, to one that is gone, or to one that is moved."""
    if path in FILES:
        return 404, {}, b""
    number = int(path[1:] or 0)
    if number >= pages:
        return (404, {}, b"") if number % 2 else (302, {"Location": f"/{number % 7}"}, b"")
    links = [f"/{one}" for one in (number * 2 + 1, number * 2 + 2) if one < pages] + [f"/{pages + number}"]
    return 200, HTML, page(*links, title=f"page {number}", text=f"The text of page {number}.").encode()


@pytest.mark.slow
def test_twenty_kills_give_the_snapshot_of_one_run_and_ask_for_nothing_twice_but_what_was_under_way(tmp_path, web):
    process, kills, counted = [], set(), Counter()

    def answer(asked):
        counted[asked.target] += 1
        if asked.path not in FILES and asked.number % 3 == 2 and asked.target not in kills and len(kills) < 20:
            kills.add(asked.target)
            process[-1].send_signal(signal.SIGKILL)
            return None
        return answered(asked.path, 30)

    def snapshot(folder):
        folder.mkdir()
        (folder / "pipeline.yaml").write_text(PIPELINE.format(url=web.url, agent=AGENT, host=web.host))
        command = [sys.executable, "-m", "curate", "collect", "pipeline.yaml"]
        for _ in range(25):
            process.append(subprocess.Popen(command, cwd=folder, env=os.environ, stderr=subprocess.PIPE, text=True))
            said = process[-1].communicate()[1]
            if process[-1].returncode != -signal.SIGKILL:
                break
        assert process[-1].returncode == 0, said
        store, lock = Store.open(folder / ".curate"), read_lock(load_pipeline(folder / "pipeline.yaml", []))
        pieces = find_snapshot(store, lock["sources"]["site"]["snapshot"]).pieces
        rows = [row for piece in pieces for row in store.read_table(piece.object).to_pylist()]
        return [{name: value for name, value in row.items() if name not in ("fetched_at", "headers")} for row in rows]

    web.answer = answer
    killed = snapshot(tmp_path / "killed")
    assert len(kills) == 20
    assert all(count == (2 if target in kills else 1) for target, count in counted.items()), counted
    counted.clear()
    assert snapshot(tmp_path / "whole") == killed
    assert set(counted.values()) == {1}
    assert sum(row["reason"] is None for row in killed) == 31  # and `/0`, to which a redirection leads
