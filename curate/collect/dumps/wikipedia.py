"""Pages of Wikipedia and its sisters from a dump (`pages-articles`), as wiki text.

The text is the source of each page, as it was written; `wiki_text` makes plain text of it, in a stage of its own, since
that takes a hundred times as long. Pages are counted to the last: documents, redirections, other namespaces,
pages whose text was deleted, and damage. Cost: 54 MB of XML a CPU second (benchmarks/sources.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar
from urllib.parse import quote, urljoin
from xml.parsers.expat import ExpatError

from pydantic import BeforeValidator, Field

from curate.collect.columns import Selection, document_table
from curate.collect.dumps.pages import Page, Site, parse_page, parse_site, split_pages
from curate.collect.dumps.parts import DumpStream, dump_parts
from curate.stages.contract import Part, Passed, Rejected, Source, SourceContext

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Wikipedia"]

TABLE_BYTES = 8 << 20
COLUMNS = ("title", "page_id", "revision", "timestamp", "url", "license", "media_namespaces")
OVERHEAD = 1 << 20
Paths = Annotated[
    list[str],
    BeforeValidator(lambda value: [value] if isinstance(value, str) else value, json_schema_input_type=str | list[str]),
    Field(min_length=1),
]


class Wikipedia(Source):
    """Reads the pages of a dump of Wikipedia or another MediaWiki (`pages-articles.xml.bz2`), as wiki text for `wiki_text`."""

    version: ClassVar[int] = 2
    libraries: ClassVar[tuple[str, ...]] = ("pyarrow",)
    planning: ClassVar[frozenset[str]] = frozenset({"paths"})

    paths: Paths = Field(
        description="Path, glob or URL of dump files, relative to the pipeline file: plain, .bz2 (also multistream), .gz, "
        ".xz, .zst; a part each, so a dump in many files is read by many workers."
    )
    namespaces: list[int] = Field([0], description="Namespaces to read: 0 is articles; pages of others are counted.")
    license: str | None = Field(
        "CC-BY-SA-4.0",
        description="Licence of the wiki's texts, as an SPDX identifier; null is not known.",
    )
    columns: list[str] | None = Field(
        None,
        description="Columns to keep beside the text; all of them by default. `wiki_text` needs `media_namespaces`.",
    )
    max_document_bytes: int = Field(
        16 << 20, ge=1, description="Longer pages, in bytes, are quarantined as `too_long`."
    )

    def plan(self, context: SourceContext) -> Sequence[Part]:
        """A part a file."""
        return dump_parts(self.paths, context)

    def read(self, part: Part) -> Iterator[pa.Table | Rejected | Passed]:
        """Pages, and what is none."""
        stream = DumpStream(part)
        passed: Counter[str] = Counter()
        held: list[tuple[int, Page]] = []
        size, site = 0, Site("", ())
        for item in split_pages(stream, self.max_document_bytes + OVERHEAD):
            if isinstance(item, Rejected):
                yield item
                continue
            offset, data = item
            if not data.startswith(b"<page>"):
                site = parse_site(data)
                continue
            page = self._page(offset, data)
            if isinstance(page, Page):
                held.append((offset, page))
                size += len(data)
            elif isinstance(page, str):
                passed[page] += 1
            else:
                yield page
            if size >= TABLE_BYTES:
                yield self._table(held, site, part.name)
                held, size = [], 0
        if held:
            yield self._table(held, site, part.name)
        yield from stream.damage
        for kind, count in sorted(passed.items()):
            yield Passed(kind, count)

    def _page(self, offset: int, data: bytes) -> Page | Rejected | str:
        """A page to keep; why it cannot be read; or what it is that is none."""
        try:
            page = parse_page(data)
        except ExpatError as error:
            return Rejected(offset, "corrupt", f"the page is no XML: {error}")
        if page.fields.get("namespace", "0") not in map(str, self.namespaces):
            return "other namespace"
        if page.redirect is not None:
            return "redirect"
        if page.deleted or "text" not in page.fields:
            return "text deleted"
        if page.fields.get("format", "text/x-wiki") != "text/x-wiki":
            return "no wiki text"
        if len(page.fields["text"].encode()) > self.max_document_bytes:
            return Rejected(offset, "too_long", f"the page is longer than {self.max_document_bytes} bytes")
        return page

    def _table(self, held: Sequence[tuple[int, Page]], site: Site, name: str) -> pa.Table:
        import pyarrow as pa

        columns = None if self.columns is None else tuple(self.columns)
        selection = Selection("text", None, columns, self.max_document_bytes, name)
        fields = [page.fields for _, page in held]
        titles = [one.get("title", "") for one in fields]
        values = {
            "title": titles, "page_id": [one.get("id") for one in fields], "revision": [one.get("revision") for one in fields],
            "timestamp": [one.get("timestamp") for one in fields], "license": [self.license] * len(held),
            "url": [_address(site, title) for title in titles],
            "media_namespaces": ["|".join(site.media)] * len(held),
        }  # fmt: skip
        carried = selection.carried(("text", *COLUMNS), complete=True)
        table = document_table([one["text"] for one in fields], None, [at for at, _ in held], name=name, columns={})
        for column in carried:
            table = table.append_column(column, pa.array(values[column], pa.string()))
        return table


def _address(site: Site, title: str) -> str | None:
    return urljoin(site.base, quote(title.replace(" ", "_"), safe="/,()'!*;@")) if site.base else None
