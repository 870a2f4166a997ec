"""From the bytes of web pages and text files to their text.

HTML goes through Resiliparse (figures in curate/clean/html.py); what is read as text is decoded as a browser does it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar, Literal

from pydantic import Field

from curate.stages.extractor import Extracted, Extractor
from curate.stages.missing import needing

__all__ = ["Extract"]

HTML_TYPES = ("text/html", "application/xhtml+xml")


class Extract(Extractor):
    """Makes text of the files that `format: binary` reads: web pages, and text in any encoding.

    HTML is decoded by what it declares, all else as UTF-8 where it is that, or by what its bytes look like. PDF, Word and
    other documents need an extractor of your own (CONTRIBUTING.md) before this one, with `other_types: pass`.
    """

    libraries: ClassVar[tuple[str, ...]] = ("Resiliparse",)
    media_types: ClassVar[tuple[str, ...]] = ("text/*", "application/xhtml+xml", "application/json")
    gives: ClassVar[Mapping[str, str]] = {"title": "string"}
    reasons: ClassVar[Mapping[str, str]] = {
        "extracted": "edited: its text was made of its `content`",
        "no_text": "dropped: no text in it",
        "not_read:TYPE": "quarantined: a media type that no extractor of the pipeline reads",
    }

    html: Literal["main", "all", "markup"] = Field(
        "main",
        description="What becomes of HTML: its main content without navigation, side bars and footers; all visible text; or "
        "the markup as it is, for `html_text`.",
    )

    @needing("extract")
    def reader(self) -> Callable[[bytes, str], Extracted]:
        """Decodes; of HTML it takes the text and the title."""
        from resiliparse.extract.html2text import extract_plain_text
        from resiliparse.parse.html import HTMLTree

        from curate.collect.charsets import decode_page, decode_text

        def read(content: bytes, media_type: str) -> Extracted:
            if media_type not in HTML_TYPES:
                return Extracted(decode_text(content))
            page = decode_page(content)
            tree = HTMLTree.parse(page)
            title = {"title": " ".join((tree.title or "").split()) or None}
            if self.html == "markup":
                return Extracted(page, title)
            text = extract_plain_text(
                tree, main_content=self.html == "main", comments=False, alt_texts=False, links=False
            )
            return Extracted(text.strip(), title)

        return read
