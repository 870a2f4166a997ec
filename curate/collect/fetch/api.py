"""Documents from an interface that answers in JSON over HTTP, page by page.

Records are kept as they came, one row each; each page is kept before the next one is asked for, so a fetch that was killed
goes on where it was. What is the case when servers do not keep to their own word: a page on which no record is new ends
the fetch (an endless loop, or a server that knows nothing of the parameter), a record that comes again is kept once and
counted (the order changed between pages: others may be missing), and so is one that says something else under the same id;
a total that is not the number of records is told, an address of the next page on another server is refused: the
credentials are not for it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from pydantic import Field, model_validator

from curate import jsontext
from curate.collect.columns import Selection
from curate.collect.compression import ByteStream
from curate.collect.fetch.client import Answer, Client, Limits, origin, public_url
from curate.collect.fetch.credentials import credentials_in, forms_of
from curate.collect.fetch.pages import (
    Cursor,
    NextUrl,
    Pages,
    Single,
    at_path,
    first_page,
    next_page,
    stands,
    with_parameters,
)
from curate.collect.fetch.rows import KEY
from curate.collect.jsonl import read_jsonl
from curate.dataset.schema import JSON_FIELD
from curate.errors import CurateError, ResumableError
from curate.stages.contract import Part, Passed, Rejected
from curate.stages.fetched import Desk, Fetched, erased_rows

if TYPE_CHECKING:
    import pyarrow as pa

    from curate.dataset.store import Store

__all__ = ["Api"]

RECORD = "record"
EMPTY_PAGES = 10
"""So many pages without a record, one after the other, end a fetch."""
HIDDEN = "***"
SCHEMES = frozenset({"basic", "bearer", "digest", "token", "apikey", "key"})
"""Words before a credential that are none."""


class Api(Fetched):
    """Reads documents from an interface that answers in JSON over HTTP, with five kinds of paging; fetched once, and pinned."""

    version: ClassVar[int] = 1
    libraries: ClassVar[tuple[str, ...]] = ("orjson", "pyarrow")
    pace: ClassVar[frozenset[str]] = frozenset(
        {"headers_from", "parameters_from", "rate", "retries", "seconds", "max_bytes", "max_pages", "allow", "agent"}
    )
    planning: ClassVar[frozenset[str]] = frozenset(
        {"url", "parameters", "headers", "records", "key", "pages", "total", *pace}
    )

    url: str = Field(description="Address of the first page, without credentials.")
    parameters: dict[str, str | int] = Field({}, description="Parameters of the address, sent with the first page.")
    headers: dict[str, str] = Field({}, description="Headers that are sent, without credentials.")
    headers_from: dict[str, str] = Field(
        {}, description="Headers with credentials: by header, the environment variable (`Authorization: API_TOKEN`)."
    )
    parameters_from: dict[str, str] = Field(
        {}, description="Parameters with credentials: by parameter, the environment variable (`api_key: API_KEY`)."
    )
    records: str = Field(
        "", description="Where the list of records stands in an answer: `data.items`; by default, it is one."
    )
    key: str = Field(
        "id",
        description="Where a record has what tells it from others: `id`, `meta.uuid`; it is the id of its document. Records "
        "without it are told apart by what they say.",
    )
    pages: Pages = Field(Single(), description="How the next page is asked for.")
    total: str | None = Field(
        None, description="Where an answer says how many records there are, to be held against them."
    )
    max_pages: int = Field(10_000, ge=1, description="More pages are an error: what is there would not be all.")
    rate: float = Field(5.0, gt=0, description="Most requests a second.")
    retries: int = Field(4, ge=0, description="How often a page that fails is asked for again.")
    seconds: float = Field(120.0, gt=0, description="Most seconds for an answer.")
    max_bytes: int = Field(20 << 20, ge=1, description="Most bytes of an answer, as it comes and unpacked.")
    allow: list[str] = Field(
        [], description="`host:port` that may be reached though they are not public (an intranet)."
    )
    agent: str = Field("curate", description="What the server is told who asks; a contact is polite.")
    text: str | None = Field(
        None, description="Field of a record that holds the text; by default, `text` where there is one."
    )
    columns: list[str] | None = Field(None, description="Other fields to keep; all of them by default, none with `[]`.")
    make_ids: bool = Field(False, description="Ids are made from the place of each document (its `source_uri`).")
    max_document_bytes: int = Field(
        64 << 20, ge=1, description="Longer documents, in bytes, are quarantined as `too_long`."
    )

    @model_validator(mode="after")
    def _no_credentials(self) -> Api:
        for setting, found, hint in (
            ("url", credentials_in(self.url), "parameters_from"),
            ("parameters", credentials_in("", self.parameters), "parameters_from"),
            ("headers", credentials_in("", self.headers), "headers_from"),
        ):
            if found:
                raise ValueError(
                    f"`{setting}` has a credential in it (`{found[0]}`); let an environment variable hold it, and name that "
                    f"in `{hint}`"
                )
        return self

    def secrets(self) -> Sequence[str]:
        """The values of the variables, the longest first; of a header `Bearer word` also the word."""
        values = [os.environ.get(name, "") for name in (*self.headers_from.values(), *self.parameters_from.values())]
        words = {word for value in values for word in (value, *value.split()) if word.lower() not in SCHEMES}
        return sorted((word for word in words if len(word) > 3), key=lambda word: (-len(word), word))

    def address(self, secrets: Collection[str]) -> str:
        """Where records come from: the URL, and a hash of what else says which they are."""
        address, said = public_url(self.url, secrets), [self.parameters, self.records]
        if not any(said):
            return address
        name = hashlib.sha256(jsontext.dumps(said).encode()).hexdigest()[:12]
        return f"{address}{'&' if '?' in address else '?'}asked={name}"

    def _from_environment(self, names: Mapping[str, str]) -> dict[str, str]:
        for name in names.values():
            if not os.environ.get(name):
                raise CurateError(f"the environment variable {name} is not set", hint=f"export {name}=...")
        return {key: os.environ[name] for key, name in names.items()}

    # ---- fetching

    def fetch(self, desk: Desk) -> Mapping[str, Any]:
        """Ask for page after page."""
        origin(self.url)
        credentials, hidden = self._from_environment(self.headers_from), self._from_environment(self.parameters_from)
        limits = Limits(self.max_bytes, self.seconds, self.retries, 1 / self.rate)
        secrets = self.secrets()
        walk = _Walk(self, desk, secrets)
        with Client(agent=self.agent, limits=limits, allow=self.allow, secrets=secrets) as client:
            while walk.next is not None:
                if walk.pages >= self.max_pages:
                    raise CurateError(
                        f"there are more than {self.max_pages:,} pages", hint="raise `max_pages`, or ask for less"
                    )
                url = with_parameters(walk.next, hidden) if hidden else walk.next
                answer = client.get(url, self.headers, credentials=credentials, usable=_broken)
                if answer.status == 404 and walk.pages and self.pages.kind == "number":
                    break
                walk.take(walk.next, answer)
        return walk.facts()

    # ---- reading

    def read_from(self, store: Store, part: Part) -> Iterator[pa.Table | Rejected | Passed]:
        """The records of a piece."""
        import pyarrow as pa

        table = store.read_table(part.location.partition(":")[2], [KEY, RECORD])
        keys, records = (table.column(name).to_pylist() for name in (KEY, RECORD))
        row_at, offset = {}, 0
        for row, record in enumerate(records):
            row_at[offset] = row
            offset += len(record.encode()) + 1
        data = "".join(f"{record}\n" for record in records).encode()
        columns = None if self.columns is None else tuple(self.columns)
        has_text = self.text or ("text" if _has("text", records) else None)
        own = self.key if "." not in self.key else None
        selection = Selection(has_text, None, columns, self.max_document_bytes, part.extra["address"], self.make_ids)
        selection = selection._replace(id=own if own and _has(own, records) else None)
        nowhere = self.text is not None and not _has(self.text, records)  # else only some records lack it
        stream = ByteStream(partial(BytesIO, data))
        for item in read_jsonl(stream, selection, name="", start=0, stop=None, complete=nowhere):
            if isinstance(item, Rejected):
                yield item._replace(offset=row_at[item.offset])
                continue
            rows = [row_at[int(place[1:])] for place in item.column("source_uri").to_pylist()]
            places = pa.array([f"{part.extra['address']}#{keys[row]}" for row in rows], pa.string())
            item = item.set_column(item.schema.get_field_index("source_uri"), "source_uri", places)
            if not self.make_ids:
                ids = pa.array([keys[row] for row in rows], pa.string())
                item = item.set_column(item.schema.get_field_index("id"), "id", ids)
            yield item
        yield from erased_rows(part)


def _has(name: str, records: Sequence[str]) -> bool:
    """Whether a record has a field, and not something in it."""
    written = json.dumps(name, ensure_ascii=False)
    return any(written in one and name in jsontext.loads(one) for one in records)


def _halved(text: str) -> bool:
    """Whether it has half of a pair of surrogates, which is no text."""
    return any("\ud800" <= one <= "\udfff" for one in text)


def _written(record: Mapping[str, Any]) -> str:
    """A record as JSON; halves of surrogates as they came: reading quarantines them, as it does those of files."""
    try:
        return jsontext.dumps(record)
    except TypeError:
        return json.dumps(record)


def _broken(answer: Answer) -> str | None:
    """What is wrong with an answer that was to be JSON; one that says no is none of these."""
    if answer.status >= 400:
        return None
    try:
        jsontext.loads(answer.body)
    except (ValueError, RecursionError):
        return f"the answer ({answer.status}, {len(answer.body):,} bytes) is no JSON, or cut short"
    return None


def _without(url: str, names: Collection[str], secrets: Collection[str]) -> str:
    """An address of a next page without the credentials that a server repeats in it."""
    parts = urlsplit(url)
    kept = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] not in names]
    query = urlencode([pair for pair in kept if pair[1] not in secrets])
    return urlunsplit((parts.scheme, parts.netloc, parts.path, query, ""))


class _Walk:
    """Where a fetch is: what comes next, and what came."""

    def __init__(self, source: Api, desk: Desk, secrets: Sequence[str]) -> None:
        self.source, self.desk = source, desk
        self.hidden = secrets
        self.secrets = [form for secret in secrets for form in forms_of(secret)]
        start = first_page(source.pages, with_parameters(source.url, source.parameters))
        state = {"next": start, "pages": 0, "records": 0, "again": 0, "empty": 0, "total": None, "stopped": None}
        state |= {"differing": 0, **desk.state}
        self.next: str | None = state["next"]
        self.pages, self.records, self.again = state["pages"], state["records"], state["again"]
        self.differing: int = state["differing"]
        self.empty, self.total, self.stopped = state["empty"], state["total"], state["stopped"]
        self.keys: dict[str, str] = {}
        for piece in desk.pieces:
            for row in desk.store.read_table(piece.object, [KEY, RECORD]).to_pylist():
                self.keys[row[KEY]] = hashlib.sha256(row[RECORD].encode()).hexdigest()[:32]

    def take(self, url: str, answer: Answer) -> None:
        """Keep the records of a page that are new, and find out what comes next."""
        where = answer.url
        if answer.status >= 400:
            hint = "are the credentials right?" if answer.status in (401, 403) else "is the address right?"
            raise ResumableError(f"`{where}` is answered with {answer.status}", hint=hint)
        body = jsontext.loads(answer.body)
        records = at_path(body, self.source.records)
        if not isinstance(records, list):
            keys = ", ".join(sorted(body)) if isinstance(body, dict) else type(body).__name__
            raise CurateError(
                f"`{where}` has no list at `records: {self.source.records}`", hint=f"the answer has: {keys}"
            )
        differing = self.differing
        new = self._new(records, where)
        self.pages, self.records = self.pages + 1, self.records + len(records)
        self.again += len(records) - len(new) - (self.differing - differing)
        self.empty = 0 if records else self.empty + 1
        self._check_place(body)
        told = at_path(body, self.source.total) if self.source.total else None
        self.total = told if isinstance(told, int) else self.total
        try:
            self.next = next_page(self.source.pages, url, body, answer.headers, records=len(records), seen=self.records)
            self._check_next(url, records=len(records), new=len(new))
        except ValueError:  # brackets that are no IPv6 address, half an emoji
            raise CurateError(f"what `{where}` says of the next page is no address") from None
        self.desk.keep(_table(new), self._state())

    def _new(self, records: Sequence[Any], where: str) -> dict[str, str]:
        """Records that did not come before, as JSON, by their keys."""
        found: dict[str, str] = {}
        for record in records:
            if not isinstance(record, dict):
                raise CurateError(f"a record of `{where}` is no object, but {type(record).__name__}")
            text = _written(record)
            for form in self.secrets:
                text = text.replace(form, HIDDEN)
            told, digest = at_path(record, self.source.key), hashlib.sha256(text.encode()).hexdigest()[:32]
            own = isinstance(told, str | int) and not isinstance(told, bool) and not _halved(str(told))
            key = str(told) if own else digest
            if key not in self.keys:
                found[key] = text
            self.differing += self.keys.setdefault(key, digest) != digest
        return found

    def _check_place(self, body: Any) -> None:
        """Say so where the first page has no place for the next one: it may be all there is, or mistyped."""
        pages = self.source.pages
        if self.pages == 1 and isinstance(pages, NextUrl | Cursor) and not stands(body, pages.path):
            there = ", ".join(f"`{key}`" for key in sorted(body)) if isinstance(body, dict) else "a list"
            self.desk.say(f"the first page has no `{pages.path}`, so it is taken for the only one; it has {there}")

    def _check_next(self, url: str, *, records: int, new: int) -> None:
        if self.next is None:
            return
        if origin(self.next) != origin(url):
            raise CurateError(
                f"the next page is said to be on another server: `{public_url(self.next, self.hidden)}`",
                hint="nothing was sent there, since credentials are for the server that was named; ask the other one by a "
                "source of its own",
            )
        self.next = _without(self.next, self.source.parameters_from, self.hidden)
        if self.next == url:
            self._stop(f"page {self.pages} names itself as the next one")
        elif records and not new:
            self._stop(f"page {self.pages} has no record that did not come before")
        elif self.empty >= EMPTY_PAGES:
            self._stop(f"{EMPTY_PAGES} pages without a record, one after the other")

    def _stop(self, why: str) -> None:
        self.stopped, self.next = why, None
        self.desk.say(f"stopped: {why}; what came is kept")

    def _state(self) -> dict[str, Any]:
        return {
            "next": self.next, "pages": self.pages, "records": self.records, "again": self.again, "empty": self.empty,
            "total": self.total, "stopped": self.stopped, "differing": self.differing,
        }  # fmt: skip

    def facts(self) -> dict[str, Any]:
        """What the snapshot says of itself."""
        if self.again:
            self.desk.say(
                f"{self.again:,} records came again and were kept once: the order changed between pages, and others may "
                "be missing"
            )
        if self.differing:
            self.desk.say(
                f"{self.differing:,} records have the `{self.source.key}` of another record and say something else: the first "
                "one was kept; where they are others, name what tells them apart with `key`"
            )
        if self.total is not None and self.total != len(self.keys):
            self.desk.say(f"the server speaks of {self.total:,} records, and {len(self.keys):,} came")
        address = self.source.address(self.hidden)
        facts = {
            "address": address,
            "pages": self.pages,
            "again": self.again,
            **({"differing": self.differing} if self.differing else {}),
            "total": self.total,
            "stopped": self.stopped,
        }
        return {key: value for key, value in facts.items() if value is not None}


def _table(records: Mapping[str, str]) -> pa.Table:
    import pyarrow as pa

    fields = [pa.field(KEY, pa.string()), pa.field(RECORD, pa.string(), metadata={JSON_FIELD: b"1"})]
    return pa.table([pa.array(list(one), pa.string()) for one in (records, records.values())], schema=pa.schema(fields))
