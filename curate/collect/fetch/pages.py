"""How an interface says what comes next: five kinds of paging, and one for interfaces that have no pages.

    single     one answer
    link       the header Link: <...>; rel="next"                 (RFC 8288)
    next_url   an address in the answer
    cursor     a word in the answer, sent as a parameter
    offset     how many records to pass over, sent as a parameter
    number     the number of the page, sent as a parameter

The vocabulary is that of dlt's REST client (dlt-hub/dlt, helpers/rest_client/paginators.py), and page numbers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit, urlunsplit

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Pages", "at_path", "first_page", "next_page", "stands", "with_parameters"]

LINK = re.compile(r'<([^>]*)>((?:\s*;\s*[\w*-]+\s*=\s*(?:"[^"]*"|[^\s,;]+))*)')
NEXT = re.compile(r'rel\s*=\s*(?:"(?:[^"]*\s)?next(?:\s[^"]*)?"|next(?=\s|;|$))', re.IGNORECASE)


class _Paging(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Single(_Paging):
    """One answer has all records."""

    kind: Literal["single"] = "single"


class LinkHeader(_Paging):
    """The header `Link` has the address of the next page."""

    kind: Literal["link"] = "link"


class NextUrl(_Paging):
    """The answer has the address of the next page."""

    kind: Literal["next_url"] = "next_url"
    path: str = Field("next", description="Where it stands: `next`, `meta.links.next`.")


class Cursor(_Paging):
    """The answer has a word that asks for the next page."""

    kind: Literal["cursor"] = "cursor"
    path: str = Field(description="Where it stands: `meta.cursor`.")
    parameter: str = Field("cursor", description="The parameter that it is sent as.")


class Offset(_Paging):
    """A parameter says how many records to pass over."""

    kind: Literal["offset"] = "offset"
    parameter: str = Field("offset", description="The parameter.")
    size_parameter: str | None = Field("limit", description="The parameter that says how many to give; null is none.")
    size: int = Field(100, ge=1, description="How many records to ask for.")


class Number(_Paging):
    """A parameter has the number of the page."""

    kind: Literal["number"] = "number"
    parameter: str = Field("page", description="The parameter.")
    first: int = Field(1, ge=0, description="The number of the first page: 0 for servers that count from 0.")


Pages = Annotated[Single | LinkHeader | NextUrl | Cursor | Offset | Number, Field(discriminator="kind")]


def at_path(value: Any, path: str) -> Any:
    """What stands at a place such as `data.items`; None where there is nothing."""
    for part in path.split(".") if path else ():
        if isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        elif isinstance(value, dict):
            value = value.get(part)
        else:
            return None
    return value


def stands(value: Any, path: str) -> bool:
    """Whether a place is there, whatever stands in it."""
    above, _, name = path.rpartition(".")
    there = at_path(value, above)
    return name in there if isinstance(there, dict) else at_path(value, path) is not None


def with_parameters(url: str, parameters: Mapping[str, str | int]) -> str:
    """The address with parameters, in place of those of the same names."""
    parts = urlsplit(url)
    kept = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] not in parameters]
    query = urlencode([*kept, *((name, str(value)) for name, value in parameters.items())])
    return urlunsplit((parts.scheme, parts.netloc, parts.path, query, ""))


def first_page(pages: Pages, url: str) -> str:
    """The address of the first page."""
    if isinstance(pages, Offset):
        size = {pages.size_parameter: pages.size} if pages.size_parameter else {}
        return with_parameters(url, {pages.parameter: 0, **size})
    return with_parameters(url, {pages.parameter: pages.first}) if isinstance(pages, Number) else url


def next_page(pages: Pages, url: str, body: Any, headers: Mapping[str, str], *, records: int, seen: int) -> str | None:
    """The address of the page behind one; None where there is none.

    Args:
        pages: The kind of paging.
        url: Of this page.
        body: Its JSON.
        headers: By name in lower case.
        records: How many records this page has.
        seen: How many this one and those before have.
    """
    if isinstance(pages, LinkHeader):
        found = [one[1] for one in LINK.finditer(headers.get("link", "")) if NEXT.search(one[2])]
        return urljoin(url, found[0]) if found else None
    if isinstance(pages, NextUrl | Cursor):
        told = at_path(body, pages.path)
        if told is None or told == "" or told is False:
            return None
        return (
            urljoin(url, str(told))
            if isinstance(pages, NextUrl)
            else with_parameters(url, {pages.parameter: str(told)})
        )
    if isinstance(pages, Offset) and records:
        return with_parameters(url, {pages.parameter: seen})
    if isinstance(pages, Number) and records:
        here = dict(parse_qsl(urlsplit(url).query)).get(pages.parameter, str(pages.first))
        return with_parameters(url, {pages.parameter: int(here) + 1})
    return None
