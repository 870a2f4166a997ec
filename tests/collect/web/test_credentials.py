"""Credentials in addresses, and those that a server sends back: nothing keeps or shows them."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from curate.collect.web.crawl import Crawl
from curate.collect.web.feed import Feed
from curate.collect.web.sitemap import Sitemap
from curate.config.pipeline import load_pipeline
from curate.errors import CurateError
from tests.collect.web.site import AGENT, page

SECRET = "s3cr3t-v4lue"
PIPELINE = """\
dataset: pages
sources:
  - {{stage: crawl, id: site, seeds: ["{url}"], agent: "{agent}"}}
stages: [{{stage: extract}}]
"""


@pytest.mark.parametrize("url", [f"https://a.example/?api_key={SECRET}", f"https://jane:{SECRET}@a.example/"])
@pytest.mark.parametrize("stage", [Crawl, Sitemap, Feed])
def test_a_setting_with_a_credential_in_its_address_is_refused_and_not_shown(stage, url):
    with pytest.raises(ValidationError, match=r"has a credential in it .* name that in `headers_from`") as caught:
        stage(**{"seeds" if stage is Crawl else "urls": [url]}, agent=AGENT)
    assert all(SECRET not in one["msg"] for one in caught.value.errors())


def test_no_message_shows_the_credential_of_a_seed(tmp_path):
    path = tmp_path / "pages.yaml"
    path.write_text(PIPELINE.format(url=f"https://a.example/?api_key={SECRET}", agent=AGENT))
    with pytest.raises(CurateError, match="has a credential in it") as caught:
        load_pipeline(path, [])
    assert SECRET not in str(caught.value)


def test_no_column_shows_the_credential_of_a_link_a_redirection_or_a_header(site):
    away = {
        "Location": f"//jane:{SECRET}@{site.web.host}/x?X-Amz-Signature={SECRET}",
        "Link": f"<?sig={SECRET}>; rel=x",
    }
    site.pages = {"/": page("/r", f"/l?api_key={SECRET}"), "/r": (302, away, b"")}
    site.fetch()
    assert SECRET not in str([{**row, "body": None} for row in site.rows().values()])
    assert site.reasons()["/l?api_key=***"] == site.reasons()["/x?X-Amz-Signature=***"] == "credential"


def test_an_address_with_a_credential_hides_no_other_one(site):
    site.pages = {"/": page(f"/a?token={SECRET}", "/a"), "/a": page()}
    assert set(site.fetch()) == {"/", "/a"}
    assert site.reasons() == {"/a?token=***": "credential"}


def test_a_secret_that_a_server_sends_back_is_in_no_list_and_no_header(site, monkeypatch):
    monkeypatch.setenv("WEB_TOKEN", SECRET)
    feed = f"<rss version='2.0'><channel><item><guid>1</guid><description>{SECRET}</description></item></channel></rss>"
    headers = {"Content-Type": "application/rss+xml", "X-Asked": SECRET}
    site.pages = {"/feed": (200, headers, feed.encode()), "/robots.txt": (200, {}, f"# {SECRET}".encode())}
    site.fetch(Feed, urls=[f"{site.web.url}/feed"], headers_from={"X-Token": "WEB_TOKEN"})
    assert any(one.headers.get("x-token") == SECRET for one in site.web.asked)
    assert "***" in str(site.rows())
    assert SECRET not in str(site.rows())
