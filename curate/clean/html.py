"""From the HTML of a page to its main text, by Resiliparse.

Rules of thumb on element names and classes find the main content (Bevendorff et al. 2018, "Elastic ChatNoir"). They keep much
that is around an article, so on pages that say that they are one a linear model chooses among the blocks (`main_text.py`):
benchmarks/main_text.py has both figures. The model has learned from articles alone: of a page of documentation it would keep
the prose and lose the rest.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from curate.stages.contract import Effect, Mapper, Verdicts
from curate.stages.missing import needing

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["HtmlText", "says_article"]

PAGE = r"(?is)^.{0,1000}<(?:!doctype\s+html|html|body)[\s>]"
FRAGMENT = r"(?is)^\s*<[a-z!][^<>]*>.*>\s*$"
"""A text that starts and ends with a tag; Markdown may start with one."""
HTML_TYPES = ("text/html", "application/xhtml+xml")
OPEN_GRAPH = re.compile("og:type")
GRAPH_ARTICLE = re.compile(r"""\bcontent=["']?\s*article\b""")
KINDS = "(?:News|OpinionNews|AnalysisNews|BackgroundNews|ReportageNews|Satirical)?Article|BlogPosting"
SCHEMA_ARTICLES = (
    re.compile(rf"""@type"\s*:\s*\[?\s*"(?:{KINDS})\b"""),
    re.compile(rf"""itemtype=["']https?://schema\.org/(?:{KINDS})\b"""),
)


class HtmlText(Mapper):
    """Takes the main text out of HTML; documents that are not HTML stay as they are."""

    version: ClassVar[int] = 2
    libraries: ClassVar[tuple[str, ...]] = ("Resiliparse",)
    reasons: ClassVar[Mapping[str, str]] = {
        "html_text": "edited: HTML, of which the text was taken",
        "html_text_by_rules": "edited: HTML of an article in which the model found too little, so rules took the text",
        "no_main_text": "dropped: HTML without any text",
    }
    batch: ClassVar[int] = 200

    main_content: bool = Field(
        True, description="Only the main content, without navigation, side bars and footers; else all visible text."
    )
    articles: Literal["declared", "all", "none"] = Field(
        "declared",
        description="Where a model for articles finds the main content, which leaves out more than rules do (boxes, teasers, "
        "captions, by-lines): on pages that say that they are articles (Open Graph, schema.org), on all, on none.",
    )
    comments: bool = Field(False, description="Readers' comments count as main content.")
    links: bool = Field(False, description="Write the address after the text of each link.")
    alt_texts: bool = Field(False, description="Write the alternative text of images.")
    list_bullets: bool = Field(True, description="Write a bullet or the number before each list item.")
    drop_empty: bool = Field(
        True, description="Drop pages without any text, for `no_main_text`; else they become empty documents."
    )

    def columns(self) -> Sequence[str]:
        """Nothing but the text."""
        return ()

    def adds(self) -> Sequence[str]:
        """Nothing."""
        return ()

    @needing("html_text")
    def open(self) -> Callable[[pa.Table], Effect]:
        """Edits HTML documents for `html_text`; `value` is the number of characters that went.

        HTML is what the column `content_type` says is HTML, and where there is none, what looks like a page or a
        fragment of one.
        """
        import pyarrow.compute as compute
        import resiliparse.extract.html2text  # noqa: F401  # pyright: ignore[reportUnusedImport]  that it is there

        def extract(batch: pa.Table) -> Effect:
            verdicts = Verdicts()
            texts = batch.column("text")
            rows = compute.indices_nonzero(_is_html(batch))
            for row, text in zip(rows.to_pylist(), texts.take(rows).to_pylist(), strict=True):
                plain, reason = self._main_text(text)
                if self.drop_empty and not plain:
                    verdicts.drop(row, "no_main_text")
                else:
                    verdicts.edit(row, plain, reason, value=float(len(text) - len(plain)))
            return Effect(verdicts.table())

        return extract

    def _main_text(self, source: str) -> tuple[str, str]:
        """The text of a page, and the reason that says where it comes from."""
        modelled = self.articles == "all" or (self.articles == "declared" and says_article(source))
        if not (self.main_content and modelled):
            return self._plain(source, main_content=self.main_content), "html_text"
        from curate.clean.main_text import main_markup

        markup = main_markup(source, comments=self.comments)
        if markup is None:
            return self._plain(source, main_content=True), "html_text_by_rules"
        return self._plain(markup, main_content=False), "html_text"

    def _plain(self, source: str, *, main_content: bool) -> str:
        from resiliparse.extract.html2text import extract_plain_text

        return extract_plain_text(
            source,
            main_content=main_content,
            comments=self.comments,
            links=self.links,
            alt_texts=self.alt_texts,
            list_bullets=self.list_bullets,
        ).strip()


def says_article(source: str) -> bool:
    """Whether a page says that it is an article, to Open Graph's readers or schema.org's."""
    for told in OPEN_GRAPH.finditer(source):
        tag = source[source.rfind("<", 0, told.start()) : source.find(">", told.end())].lower()
        if tag.startswith("<meta") and GRAPH_ARTICLE.search(tag):
            return True
    return any(schema.search(source) for schema in SCHEMA_ARTICLES)


def _is_html(batch: pa.Table) -> pa.ChunkedArray:
    import pyarrow as pa
    import pyarrow.compute as compute

    texts = batch.column("text")
    looks = compute.or_(compute.match_substring_regex(texts, PAGE), compute.match_substring_regex(texts, FRAGMENT))
    if "content_type" not in batch.column_names or not pa.types.is_string(batch.column("content_type").type):
        return looks
    declared = compute.utf8_lower(batch.column("content_type"))
    told = [compute.starts_with(declared, kind) for kind in HTML_TYPES]
    return compute.if_else(compute.is_valid(declared), compute.or_(*told), looks)
