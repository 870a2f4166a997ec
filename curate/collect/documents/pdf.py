"""Text of PDF files, through PDFium (pypdfium2: BSD-3-Clause and Apache-2.0), with what a page adds to a text taken away again.

PDFium gives the text of a page in the order in which it was drawn, with a mark (U+FFFE) where a word is broken at the end of a
line. Left to us are running heads and feet, broken words, and paragraphs. A word is joined by the evidence of the document
itself: where the joined word, or the compound with its hyphen, stands elsewhere in it, that is what it is.

Quality and cost: benchmarks/extraction.py. A scan has no text, and is said to have none; a font without a map from its glyphs
to characters gives nonsense, and PDFium knows: more than a tenth of such glyphs in a document is `garbled_text`. Order is that
of drawing: a file that draws its columns line by line across the page comes out so.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from curate.stages.extractor import Extracted, Unreadable

__all__ = ["clean_pages", "read_pdf"]

EDGE_LINES = 2
"""A running head or foot stands in so many lines at the top or the bottom of a page."""
REPEATED_SHARE, REPEATED_PAGES = 0.25, 3
NEAR_PAGES = 4
"""Heads change with the chapter: three alike so near are one, however few pages of the document have it."""
OPENING, OPENING_SHARE = 8, 0.4
"""A first or last line that opens as those of so many pages do (`CHAPTER 3. `), and stands on two pages, is one, too."""
LEADERS = re.compile(r"\.(?:[ \t]*+\.){4,}[ \t]*")
"""The dots between a title and its page, in a table of contents."""
TAIL_BYTES = 4096
SAMPLED_CHARACTERS = 64
GARBLED_SHARE = 0.1
FEW_CHARACTERS = 10
"""On a page, with a picture: fewer are a stamp or a page number."""
NUMBER = re.compile(r"\d{1,18}")
DIGITS = re.compile(r"\d+|\b[ivxlc]{1,7}\b")
LAST_WORD, FIRST_WORD, LONGEST_WORD = re.compile(r"\w+\Z"), re.compile(r"\w+"), 60
WORD = re.compile(r"\w+(?:[-\u2010]\w+)*")
ENDS = tuple('.!?:;\u201d\u2019")]\u3002\uff01\uff1f')
BULLET = re.compile(r"(?:[\u2022\u25cf\u25aa\u2023\u2013*-]|\(?(?:\d{1,3}|[a-zA-Z])[.)])\s")
GLYPHS = re.compile(r"[\x00-\x08\x0e-\x1f\ue000-\uf8ff\ufffd]")
"""What stands for a glyph that has no character: controls, private use, the replacement."""


def read_pdf(content: bytes) -> Extracted:
    """The text of a PDF file, with its `title` and the number of its `pages`.

    Raises:
        Unreadable: `password`, `truncated`, `corrupt`, `no_text_layer`, `garbled_text`.
    """
    import pypdfium2

    tail = content[-TAIL_BYTES:]
    if b"%%EOF" not in tail and b"startxref" not in tail:
        raise Unreadable("truncated", "pdf: the file ends before its table of objects")
    try:
        document = pypdfium2.PdfDocument(content)
    except pypdfium2.PdfiumError as error:
        if "password" in str(error).lower():
            raise Unreadable("password", "pdf: it needs a password") from error
        raise Unreadable("corrupt", f"pdf: {error}") from error
    try:
        count = len(document)
        pages, seen = list[str](), _Seen()
        for number in range(count):
            pages.append(_page_text(document, number, seen))
        title = " ".join((document.get_metadata_dict().get("Title") or "").split()) or None
    finally:
        document.close()
    seen.judge(count)
    return Extracted(clean_pages(pages), {"title": title, "pages": count})


class _Seen:
    """What the pages hold: characters, glyphs without one, pages that are pictures."""

    def __init__(self) -> None:
        self.characters = self.sampled = self.unmapped = self.pictures = self.odd = self.broken = 0

    def judge(self, pages: int) -> None:
        """Refuse a document whose text is not there, or is not its text."""
        if self.broken == pages > 0:
            raise Unreadable("corrupt", "pdf: none of its pages can be read")
        if self.characters < FEW_CHARACTERS * max(1, pages) and self.pictures * 2 >= pages > 0:
            raise Unreadable("no_text_layer", f"pdf: {self.pictures} of {pages} pages are pictures; it needs OCR")
        if self.unmapped > GARBLED_SHARE * self.sampled or self.odd > GARBLED_SHARE * self.characters:
            raise Unreadable(
                "garbled_text", "pdf: its fonts do not say which characters their glyphs are; it needs OCR"
            )


def _page_text(document: Any, number: int, seen: _Seen) -> str:
    """The text of a page, in the order in which it was drawn."""
    import pypdfium2
    import pypdfium2.raw as raw

    try:
        page = document[number]
        text_page = page.get_textpage()
    except pypdfium2.PdfiumError:
        seen.broken += 1
        return ""
    try:
        count = text_page.count_chars()
        text = text_page.get_text_range() if count else ""
        for place in range(0, count, max(1, count // SAMPLED_CHARACTERS)):
            seen.sampled += 1
            seen.unmapped += raw.FPDFText_HasUnicodeMapError(text_page, place) == 1
        seen.characters += len(text)
        seen.odd += len(GLYPHS.findall(text))
        if len(text) < FEW_CHARACTERS:
            seen.pictures += any(page.get_objects(filter=[raw.FPDF_PAGEOBJ_IMAGE], max_depth=3))
    finally:
        text_page.close()
        page.close()
    return text


def clean_pages(pages: Sequence[str]) -> str:
    """The pages as one text: without running heads and feet, words whole, one line a paragraph."""
    lines = [[stripped for line in _lines(page) if (stripped := line.strip())] for page in pages]
    _leave_out_heads(lines)
    whole = "\n".join("\n".join(page) for page in lines)
    whole = _join_words(LEADERS.sub(" ", whole).replace("  ", " "))
    return "\n".join(_paragraphs(whole.split("\n")))


def _lines(page: str) -> list[str]:
    page = page.replace("\r\n", "\n").replace("\r", "\n")
    return page.replace("\ufffe\n", "\ufffe").replace("\ufffe", "\ufffe\n").split("\n")


def _leave_out_heads(pages: list[list[str]]) -> None:
    """Take out lines at the edges of pages that most of them have, but for their numbers."""
    seen: dict[str, dict[int, str]] = {}
    for number, page in enumerate(pages):
        for place in _edges(page):
            seen.setdefault(_masked(page[place]), {}).setdefault(number, page[place])
    where = {line: list(found) if _goes_on(found) else [] for line, found in seen.items()}
    openings = Counter(_masked(page[place])[:OPENING] for page in pages if page for place in (0, -1))
    least = max(REPEATED_PAGES, REPEATED_SHARE * len(pages))
    most = max(REPEATED_PAGES, OPENING_SHARE * len(pages))

    def is_head(line: str, number: int) -> bool:
        found = where[line]
        place = bisect_left(found, number)
        near = [other for other in found[max(0, place - 4) : place + 5] if abs(other - number) <= NEAR_PAGES]
        opens = openings[line[:OPENING]] >= most and len(found) > 1
        return len(found) >= least or len(near) >= REPEATED_PAGES or opens

    for number, page in enumerate(pages):
        heads = [place for place in _edges(page) if is_head(_masked(page[place]), number)]
        for place in reversed(heads) if len(heads) < len(page) else ():  # pages of forms are all alike, and all content
            del page[place]


def _goes_on(found: dict[int, str]) -> bool:
    """Whether the numbers in lines that differ by them alone stand still or go on with the pages: those of amounts jump."""
    steps = 0
    for (page, line), (later, following) in pairwise(found.items()):
        numbers = zip(NUMBER.findall(line), NUMBER.findall(following), strict=False)
        grown = next((int(after) - int(before) for before, after in numbers if before != after), 0)
        steps += 0 <= grown <= 2 * (later - page)
    return 2 * steps >= len(found) - 1


def _edges(page: list[str]) -> list[int]:
    count = len(page)
    return sorted({*range(min(EDGE_LINES, count)), *range(max(0, count - EDGE_LINES), count)})


def _masked(line: str) -> str:
    return DIGITS.sub("0", line)


def _join_words(text: str) -> str:
    """Words that a line's end broke, whole again."""
    for broken in ("\ufffe\n", "-\n", "\u2010\n", "\xad\n"):
        text = text.replace(broken, "\ufffe")
    pieces = text.replace("\xad", "").split("\ufffe")
    halves = [(LAST_WORD.search(before[-LONGEST_WORD:]), FIRST_WORD.match(piece)) for before, piece in pairwise(pieces)]
    known = Counter(WORD.findall(" ".join(pieces).lower().replace("\u2010", "-")))
    known.subtract(half[0].lower() for pair in halves for half in pair if half)
    for compound in [word for word in known if "-" in word]:
        for part in compound.split("-"):
            known[part] += known[compound]
    joined = [pieces[0]]
    for (left, right), piece in zip(halves, pieces[1:], strict=True):
        joined += [_between(left[0], right[0], known) if left and right else "-\n", piece]
    return "".join(joined)


def _between(left: str, right: str, known: Counter[str]) -> str:
    """Whether a hyphen stands between two halves: as the document writes the word elsewhere, else what is likelier."""
    whole, compound = (left + right).lower(), f"{left}-{right}".lower()
    if known[whole] > 0 and known[whole] >= known[compound]:
        return ""
    if known[compound] > 0 or min(known[left.lower()], known[right.lower()]) > 0 or not right[0].islower():
        return "-"
    return ""


def _paragraphs(lines: list[str]) -> Iterator[str]:
    """Lines as paragraphs: one ends where its last line is short, or ends a sentence before a new beginning."""
    lengths = sorted(len(line) for line in lines if line)
    full = lengths[len(lengths) * 9 // 10] if lengths else 0
    held: list[str] = []
    for line, following in pairwise([*lines, ""]):
        held.append(line)
        short = len(line) < 0.7 * full
        if (
            short
            or BULLET.match(following)
            or (line.endswith(ENDS) and not following[:1].islower() and len(line) < full)
        ):
            yield " ".join(held)
            held = []
    if held:
        yield " ".join(held)
