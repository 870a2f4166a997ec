"""From an answer to rows: what became of an address, and where it leads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from curate import jsontext
from curate.collect.charsets import decode_page
from curate.collect.web.addresses import canonical
from curate.collect.web.hosts import Came, Host
from curate.collect.web.page import Page, opt_out, parse_page, robots_words
from curate.collect.web.records import HTML, MARK, Row, charset_of, kind_of, row_of
from curate.collect.web.robots import product

if TYPE_CHECKING:
    from curate.collect.web.source import Web

__all__ = ["became", "page_row", "plain_row", "told", "unchanged"]

TIMES = ("fetched_at", "headers")
REDIRECTIONS = (301, 302, 303, 307, 308)


def plain_row(url: str, came: Came, reason: str | None, /, **values: Any) -> Row:
    """What came, as it came.

    Args:
        url: What was asked for.
        came: The answer.
        reason: Why it is no document; what went wrong, where something did.
        values: Other columns.
    """
    return row_of(
        url, **{
            "reason": came.reason or reason, "detail": came.detail, "status": came.status, "fetched_at": came.fetched,
            "headers": jsontext.dumps(dict(came.headers)), "bytes": len(came.body), "links": "[]", **values,
        }
    )  # fmt: skip


def became(source: Web, url: str, came: Came, host: Host, kind: str, values: Mapping[str, Any]) -> list[Row]:
    """What a source makes of an answer; what it, or a reader of its format, cannot take costs that answer alone."""
    try:
        return source.rows(url, came, host, kind, values)
    except Exception as error:  # whoever publishes writes what is read here, and a crawl goes on for days
        told = {**values, "detail": f"it cannot be read: {type(error).__name__}"}
        return [plain_row(url, came, "damaged", **told)]


def page_row(url: str, came: Came, source: Web, host: Host, **values: Any) -> Row:
    """A page, what it says of itself, and what it leads to: `links` are those to follow, then those not to."""
    if came.reason:
        return plain_row(url, came, None, **values | {"bytes": source.page_bytes if came.reason == "too_large" else 0})
    status = came.status or 0
    if status in REDIRECTIONS and (target := canonical(came.headers.get("location", ""), url)):
        return plain_row(url, came, "redirect", detail=target, **values | {"links": jsontext.dumps([[target], []])})
    if not 200 <= status < 300:
        return plain_row(url, came, f"status_{status}", **values)
    media = came.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not source.takes(media):
        return plain_row(url, came, "media_type", detail=media, **values)
    body = came.body
    kind, agent = kind_of(body, url, came.headers), product(source.agent)
    page = None
    if kind in HTML or kind.startswith("text/"):
        text = decode_page(body, declared=charset_of(came.headers))
        page = parse_page(text, url, agent) if kind in HTML else None
        plain = text.encode("utf-8", "replace")
        body = body if body.removeprefix(MARK) == plain else MARK + plain  # what an erasure can look into
    said = opt_out(came.headers, page, agent)
    refused = [text for name, text in said if name in source.obey]
    words = robots_words(came.headers.get("x-robots-tag", ""), agent) | (page.robots if page else frozenset())
    indexed = "robots" not in source.obey or not {"noindex", "none"} & words
    reason = "opt_out" if refused else None if indexed and body else "noindex" if body else "empty"
    cut = [page.cut] if page and page.cut else []
    evidence = [text for _, text in said] + host.noted(url)
    return plain_row(
        url, came, reason, media_type=kind, body=None if reason else body, opt_out="; ".join(evidence) or None,
        detail="; ".join([*refused, *cut]) or None, **_said(page, words, source), **values,
    )  # fmt: skip


def _said(page: Page | None, words: frozenset[str], source: Web) -> Mapping[str, Any]:
    if page is None:
        return {}
    links, unfollowed = page.links, page.unfollowed
    if "robots" not in source.obey:
        links, unfollowed = [*links, *unfollowed], []
    elif {"nofollow", "none"} & words:
        links, unfollowed = [], [*links, *unfollowed]
    return {
        "license": page.license, "license_evidence": page.evidence, "title": page.title, "canonical": page.canonical,
        "links": jsontext.dumps([links, unfollowed]),
    }  # fmt: skip


def unchanged(row: Row, before: Row) -> bool:
    """Whether a page says what it said before, in the same encoding; when it was asked, and other headers, are no matter."""
    same = all(row.get(name) == before.get(name) for name in {*row, *before} if name not in TIMES)
    return same and told(row, "content-type") == told(before, "content-type")


def told(row: Row, name: str) -> str | None:
    """A header that a row came with."""
    return jsontext.loads(row.get("headers") or "{}").get(name)
