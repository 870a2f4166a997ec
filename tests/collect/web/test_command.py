"""A crawl as people run it: collected, listed, made into a version, told of on its card, and erased from."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.collect.web.site import AGENT, page

PIPELINE = """\
dataset: pages
sources:
  - {{stage: crawl, id: site, seeds: ["{url}/"], agent: "{agent}", allow: ["{host}"], delay: 0, obey: [robots]}}
stages: [{{stage: extract}}]
"""


@pytest.mark.slow
def test_a_crawl_becomes_a_version_whose_card_tells_of_opt_outs(site):
    site.pages = {
        "/": page("/a", "/gone", text="The first page says who wrote the second one: nobody.", title="Home"),
        "/a": page(text="Second page, written by Ada Example.", head='<meta name="robots" content="noai">'),
    }  # fmt: skip
    (site.root / "pages.yaml").write_text(PIPELINE.format(url=site.web.url, agent=AGENT, host=site.web.host))

    def curate(*arguments):
        done = subprocess.run(
            [sys.executable, "-m", "curate", *arguments], cwd=site.root, env=os.environ, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + (done.stderr if arguments[0] == "run" else "")

    told = curate("collect", "pages.yaml")
    assert "site: addresses that were met: documents 2, robots_txt 1, status_404 1, tdmrep 1" in told
    facts = json.loads(curate("collect", "pages.yaml", "--json"))["snapshots"][0]["facts"]
    assert facts["addresses"] == {"documents": 2, "robots_txt": 1, "status_404": 1, "tdmrep": 1}
    listed = [json.loads(line) for line in curate("collect", "pages.yaml", "--addresses", "site").splitlines()]
    reasons = {one["url"].removeprefix(site.web.url): one["reason"] for one in listed}
    assert reasons == {
        "/": None, "/a": None, "/gone": "status_404", "/robots.txt": "robots_txt", "/.well-known/tdmrep.json": "tdmrep",
    }  # fmt: skip
    assert "2 in, 2 kept; no documents: 1 robots_txt, 1 status_404, 1 tdmrep" in curate("run", "pages.yaml")
    assert "Who published 1 document in it said that nobody is to train on that" in curate("data", "card", "pages")
    before = len(site.web.asked)
    curate("run", "pages.yaml", "--offline")
    assert len(site.web.asked) == before
