"""From a page to its blocks of text and the elements around them.

A block is the text between two borders of block elements. Resiliparse reads the page as browsers do and writes it out
again: there every element is closed and no text or attribute has a bare `<` or `>`, so that a split at `<` finds what a
walk over the parser's nodes would, in a fraction of the time.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

__all__ = ["BITS", "MARKS", "Block", "Page", "pruned", "read_blocks"]

TAGS = (
    "article main aside nav header footer form figure figcaption ul ol li table td th tr dl dt dd blockquote section p div "
    "h1 h2 h3 h4 h5 h6 pre button label body details address center fieldset"
)
STEMS = (
    "article content body story entry post text main page comment respon disqus discuss share social facebook twitter follow "
    "related recirc more promo newsletter subscri signup register caption credit byline author bio meta date time tag topic "
    "categor nav menu breadcrumb foot head side aside widget ad- ads advert sponsor cookie consent gdpr privacy banner modal "
    "popup overlay print copyright legal tool rating video player gallery slide carousel image photo figure media quote "
    "pull summary dek title headline sub teaser recommend trending popular latest recent search login btn list card item "
    "feed paywall disclos correct note info box module block section column col- row grid container wrap inner primary "
    "second right left top bottom product price review read next prev pag link embed tweet instagram lead intro para "
    "abstract description excerpt source contact about lang map survey event job shop buy deal mail notif alert app "
    "download donat member premium outbrain taboola profile user avatar reply vote thread answer question code example toc"
)
"""Parts of the words that classes and ids are made of, chosen by hand."""
MARKS = (
    *(f"<{tag}>" for tag in TAGS.split()),
    *STEMS.split(),
    "articlebody",
    "itemprop",
    "role=main",
    "role=aside",
    "unseen",
)
BITS = {name: 1 << place for place, name in enumerate(MARKS)}
BORDERS = (
    "address article aside blockquote body button caption center dd details dialog div dl dt fieldset figcaption figure "
    "footer form h1 h2 h3 h4 h5 h6 header html label legend li main menu nav ol p pre section summary table tbody td "
    "tfoot th thead tr ul"
)
SILENT = "script style svg template iframe noscript noembed noframes head textarea select canvas object audio video"
NOTHING, BEGINS, ENDS, LINK, LINK_ENDS, BREAK, RULE, SILENCE = range(8)
ACTIONS = {
    **{"a": LINK, "/a": LINK_ENDS, "br": BREAK, "hr": RULE},
    **dict.fromkeys(SILENT.split(), SILENCE),
    **{tag: BEGINS for tag in BORDERS.split()},
    **{f"/{tag}": ENDS for tag in BORDERS.split()},
}
TOLD = re.compile(r'(?:^|\s)(class|id|role|itemprop|style|hidden|aria-hidden)(?:="([^"]*)")?')
STEM = re.compile("|".join(sorted(map(re.escape, STEMS.split()), key=len, reverse=True)))
UNSEEN = re.compile(r"display:\s*none|visibility:\s*hidden")


@dataclass(slots=True)
class Block:
    """Text without markup; how many of its characters are links; the number of its element; where its pieces stand."""

    text: str
    linked: int
    element: int
    spans: list[tuple[int, int]]


@dataclass(slots=True)
class Page:
    """Blocks in their order, and the elements around them: each behind its parent, the first the page itself.

    `silent` is where scripts and the like stand.
    """

    title: str
    source: str
    blocks: list[Block] = field(default_factory=list[Block])
    parents: list[int] = field(default_factory=lambda: [-1])
    tags: list[str] = field(default_factory=lambda: [""])
    marks: list[int] = field(default_factory=lambda: [0])
    starts: list[int] = field(default_factory=lambda: [0])
    ends: list[int] = field(default_factory=lambda: [0])
    silent: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])


@lru_cache(maxsize=1 << 14)
def _marks(tag: str, attributes: str) -> int:
    """The bits of an element: its name, the stems in its class and id, what its role and style say."""
    bits = BITS.get(f"<{tag}>", 0)
    for name, value in TOLD.findall(attributes.lower()):
        if name in ("class", "id", "itemprop"):
            for stem in STEM.findall(value):
                bits |= BITS[stem]
            if name == "itemprop":
                bits |= BITS["itemprop"] | (BITS["articlebody"] if "articlebody" in value else 0)
        elif name == "role":
            bits |= BITS["role=main"] if value in ("main", "article") else 0
            bits |= BITS["role=aside"] if value in ("navigation", "complementary", "banner", "contentinfo") else 0
        elif name == "hidden" or (name == "style" and UNSEEN.search(value)):
            bits |= BITS["unseen"]
    return bits


class _Reader:
    """What is open while a page is read: elements, links, the text of a block that is not at its end."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.open: list[int] = [0]
        self.texts: list[str] = []
        self.spans: list[tuple[int, int]] = []
        self.linked = self.links = 0
        self.broken = False

    def flush(self) -> None:
        """A border: the text so far is a block."""
        self.broken = False
        if self.texts:
            text = "".join(self.texts)
            text = " ".join((html.unescape(text) if "&" in text else text).split())
            if text:
                self.page.blocks.append(Block(text, self.linked, self.open[-1], self.spans))
            self.texts, self.spans, self.linked = [], [], 0

    def text(self, text: str, start: int) -> None:
        """Text that stands there."""
        self.texts.append(text)
        self.spans.append((start, start + len(text)))
        if not text.isspace():
            self.broken = False
            if self.links:
                self.linked += len(text)

    def act(self, action: int, markup: str, start: int) -> None:
        """A tag. Two line breaks, one behind the other, are a border."""
        if action == BEGINS:
            self.flush()
            page = self.page
            tag, _, attributes = markup.partition(" ")
            page.parents.append(self.open[-1])
            page.tags.append(tag)
            page.marks.append(_marks(tag, attributes))
            page.starts.append(start)
            page.ends.append(len(page.source))
            self.open.append(len(page.parents) - 1)
        elif action == ENDS:
            self.flush()
            tag = markup[1:]
            while len(self.open) > 1:
                element = self.open.pop()
                self.page.ends[element] = start + len(markup) + 2
                if self.page.tags[element] == tag:
                    break
        elif action == LINK:
            self.links += 1
        elif action == LINK_ENDS:
            self.links = max(0, self.links - 1)
        elif action == RULE or self.broken:
            self.flush()
        elif self.texts:
            self.texts.append(" ")
        if action == BREAK:
            self.broken = True


def read_blocks(source: str) -> Page:
    """The blocks of a page; none are made of scripts, styles, frames and form fields."""
    from resiliparse.parse.html import HTMLTree

    tree = HTMLTree.parse(source)
    page = Page(tree.title or "", tree.document.html if tree.document else "")
    page.ends[0] = len(page.source)
    reader = _Reader(page)
    pieces = page.source.split("<")
    place, until, since = len(pieces[0]), "", 0
    for piece in pieces[1:]:
        markup, _, text = piece.partition(">")
        behind = place + len(piece) + 1
        if not until:
            tag = markup.partition(" ")[0]
            action = ACTIONS.get(tag, NOTHING)
            if tag[:3] == "!--":
                until, since = "-->", place
            elif action == SILENCE:
                until, since = f"/{tag}", place
            elif action:
                reader.act(action, markup, place)
        if until:
            if until == "-->":
                _, ended, text = piece.partition(until)
            else:
                ended = markup == until
            if ended:
                page.silent.append((since, behind - len(text)))
                until = ""
        if text and not until:
            reader.text(text, behind - len(text))
        place = behind
    reader.flush()
    return page


def pruned(page: Page, kept: Sequence[int]) -> str:
    """The page without the texts of the other blocks, and without elements that have nothing but those."""
    texted, live, keep = [False] * len(page.tags), [False] * len(page.tags), set(kept)
    for place, block in enumerate(page.blocks):
        texted[block.element] = True
        live[block.element] |= place in keep
    for element in range(len(page.tags) - 1, 0, -1):
        texted[page.parents[element]] |= texted[element]
        live[page.parents[element]] |= live[element]
    cuts = [
        *page.silent,
        *(span for place, block in enumerate(page.blocks) if place not in keep for span in block.spans),
    ]
    cuts += [
        (page.starts[element], page.ends[element])
        for element in range(1, len(page.tags))
        if texted[element] and not live[element] and live[page.parents[element]]
    ]
    pieces, behind = list[str](), 0
    for start, end in sorted(cuts):
        if start >= behind:
            pieces.append(page.source[behind:start])
        behind = max(behind, end)
    return "".join([*pieces, page.source[behind:]])
