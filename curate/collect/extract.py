"""From the bytes of files to their text: web pages, PDF, Office and OpenDocument files, books, mail, notebooks, LaTeX, text.

One function for each kind, in curate/collect/documents/; figures in benchmarks/extraction.py. HTML goes through Resiliparse's
rules (figures in benchmarks/main_text.py); what is read as text is decoded as a browser does it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import ClassVar, Literal

from pydantic import Field

from curate.collect.charsets import decode_page, decode_text
from curate.collect.documents.blocks import Structure
from curate.stages.extractor import Extracted, Extractor
from curate.stages.missing import needing

__all__ = ["Extract"]

HTML_TYPES = ("text/html", "application/xhtml+xml")
OFFICE, OPEN = "application/vnd.openxmlformats-officedocument.", "application/vnd.oasis.opendocument."
DOCUMENT_TYPES = (
    "application/pdf",
    OFFICE + "wordprocessingml.document",
    OFFICE + "presentationml.presentation",
    OFFICE + "spreadsheetml.sheet",
    OPEN + "text",
    OPEN + "presentation",
    OPEN + "spreadsheet",
    "application/epub+zip",
    "message/rfc822",
    "application/x-ipynb+json",
    "text/x-tex",
)


class Extract(Extractor):
    """Makes text of the files that `format: binary` reads: web pages, PDF, Word, EPUB and others, text in any encoding.

    HTML is decoded by what it declares, text as UTF-8 where it is that, or by what its bytes look like. PDF needs the extra
    `documents`. Macros are never run; old Office files (.doc) are not read: save them as .docx.
    """

    version: ClassVar[int] = 3
    libraries: ClassVar[tuple[str, ...]] = ("Resiliparse", "lxml", "pypdfium2")
    media_types: ClassVar[tuple[str, ...]] = ("text/*", "application/xhtml+xml", "application/json", *DOCUMENT_TYPES)
    gives: ClassVar[Mapping[str, str]] = {"title": "string", "pages": "int64"}
    reasons: ClassVar[Mapping[str, str]] = {
        "extracted": "edited: its text was made of its `content`",
        "no_text": "dropped: no text in it",
        "not_read:TYPE": "quarantined: a media type that no extractor of the pipeline reads",
        "password": "quarantined: it is encrypted",
        "no_text_layer": "quarantined: a PDF of pictures, which needs OCR",
        "garbled_text": "quarantined: a PDF that does not say which characters its glyphs are",
        "truncated": "quarantined: the end of the file is not there",
        "corrupt": "quarantined: it is not what it says that it is, or is damaged",
        "expansion_limit": "quarantined: it unpacks to far more than a document is (a bomb)",
        "too_many_cells": "quarantined: a spreadsheet of more than two million cells",
        "entity_bomb": "quarantined: its XML declares entities",
        "memory_limit": "quarantined: reading it takes more than `memory_limit`",
    }

    html: Literal["main", "all", "markup"] = Field(
        "main",
        description="What becomes of HTML: its main content without navigation, side bars and footers, by rules; all visible "
        "text; or the markup as it is, for `html_text`, which is more exact with articles.",
    )
    structure: Structure = Field(
        "plain",
        description="How headings, lists and tables of documents are written: as plain lines (the cells of a table with tabs "
        "between them), or as Markdown. PDF has lines only, and HTML is as `html` says.",
    )

    @needing("extract")
    def reader(self) -> Callable[[bytes, str], Extracted]:
        """Decodes, parses, and takes text, title and number of pages."""
        readers = self._readers()

        def read(content: bytes, media_type: str) -> Extracted:
            found = readers.get(media_type)
            return found(content) if found else Extracted(decode_text(content))

        return read

    def _readers(self) -> dict[str, Callable[[bytes], Extracted]]:
        from curate.collect.documents.epub import read_epub
        from curate.collect.documents.latex import read_latex
        from curate.collect.documents.message import read_message
        from curate.collect.documents.notebook import read_notebook
        from curate.collect.documents.opendocument import read_odf
        from curate.collect.documents.pdf import read_pdf
        from curate.collect.documents.sheets import read_xlsx
        from curate.collect.documents.slides import read_pptx
        from curate.collect.documents.word import read_docx

        structured = [
            read_docx, read_pptx, read_xlsx, read_odf, read_odf, read_odf, read_epub, read_message, read_notebook, read_latex,
        ]  # fmt: skip
        bound = [partial(reader, structure=self.structure) for reader in structured]
        html = self._html()
        return {**dict(zip(DOCUMENT_TYPES, [read_pdf, *bound], strict=True)), **dict.fromkeys(HTML_TYPES, html)}

    def _html(self) -> Callable[[bytes], Extracted]:
        from resiliparse.extract.html2text import extract_plain_text
        from resiliparse.parse.html import HTMLTree

        def read(content: bytes) -> Extracted:
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
