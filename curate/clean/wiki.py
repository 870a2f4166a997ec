"""Plain text of wiki text, through mwparserfromhell's tree: what a reader of the page reads, without its furniture.

What goes: templates, tables, references, files, galleries, categories, links to other languages, comments, magic words,
and headings with nothing under them. What stays: prose, what links say, list items (`- `), formulas as LaTeX (`$...$`),
code and what `nowiki` quotes, as it is. Braces and brackets that belong to no markup are taken out of prose, so none of
`{{ }} [[ ]]` is left outside of code, formulas and quoted text. Cost: .4 MB a CPU second (benchmarks/sources.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from curate.stages.contract import Effect, Mapper, Verdicts
from curate.stages.missing import needing

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["WikiText"]

MEDIA = "media_namespaces"
NAMES = ("file", "image", "media", "category")
LANGUAGE = re.compile(r"[a-z]{2,3}(?:-[a-z]{2,12})?|simple")
GONE = frozenset(
    {"ref", "references", "gallery", "timeline", "imagemap", "score", "graph", "mapframe", "maplink", "templatestyles", "table",
     "indicator", "categorytree", "inputbox", "section", "style", "script"}
)  # fmt: skip
QUOTED = frozenset({"nowiki", "pre", "code", "syntaxhighlight", "source"})
BULLETS = {"*": "- ", "#": "- ", ":": "", ";": ""}
MAGIC = re.compile(
    r"__(?:(?:NO|FORCE)?TOC|NOEDITSECTION|(?:NO)?NEWSECTIONLINK|NOGALLERY|HIDDENCAT|EXPECTUNUSED(?:CATEGORY|TEMPLATE)|NOCC|NOTC"
    r"|NO(?:CONTENT|TITLE)CONVERT|START|END|(?:NO)?INDEX|STATICREDIRECT|NOGLOBAL|DISAMBIG|ARCHIVEDTALK|NOTALK)__"
    r"|^[ \t]*__[^\W\da-z]{3,40}__[ \t]*$"
)
"""Magic words: the English ones, and what stands alone on a line as those of other languages do."""
LEFT = re.compile(r"\{\{+|\}\}+|\[\[+|\]\]+")
TABLE_ENDS = re.compile(
    r"^([ \t:*#-]*)(?:\{\|(?:[ \t]*[\w-]{1,40}[ \t]*=[ \t]*(?:\"[^\"]*\"|'[^']*'|[^\s\"'|]++))*[ \t]*$|\{\||\|\})"
)
HTML = (
    "div|span|small|big|center|font|blockquote|poem|tr|td|th|caption|sub|sup|s|u|b|i|em|strong|del|ins|p|li|ul|ol|dl|dt|dd"
    "|noinclude|includeonly|onlyinclude|math|cite|abbr|var|kbd|samp|tt|bdi|q"
)
STRAY = re.compile(rf"<!--|</?(?:{HTML}|{'|'.join(sorted(GONE | QUOTED))})(?:[ \t/][^<>\n]{{0,500}})?>", re.IGNORECASE)
"""Tags without their other half, which the tree has as text."""
FILE = re.compile(
    r"[^\s:][^:]*:.*\.(?:jpe?g|png|gif|svg|webp|tiff?|xcf|pdf|djvu|og[agv]|opus|webm|mp[34]|wav|flac|midi?|stl)",
    re.IGNORECASE,
)
TABLE = re.compile(r"^[ \t:*#]*\{\|.*?^[ \t:*#]*\|\}", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^\x00(\d)", re.MULTILINE)
QUOTE = re.compile(r"\x01(\d+)\x02")
GAP = "\x03"
"""Stands where a template, tag or file went."""
EMPTIED_BRACKETS = re.compile(r" ?\([\s,;:]*\x03[\s,;:\x03]*\)")
NO_TEXT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


class WikiText(Mapper):
    """Makes plain text of wiki text; pages of which nothing is left are dropped.

    Where documents come from a dump (the source `wikipedia`), those of other sources are left as they are.
    """

    version: ClassVar[int] = 2
    batch: ClassVar[int] = 50
    libraries: ClassVar[tuple[str, ...]] = ("mwparserfromhell",)
    reasons = {"wiki_text": "edited: its markup went", "no_text": "dropped: nothing but markup"}

    namespaces: tuple[str, ...] = Field(
        (),
        description="More names that links to files and categories begin with (`Datei`, `Kategorie`), beside the English "
        "ones and those that the dump names.",
    )

    def columns(self) -> Sequence[str]:
        """What the dump says of its namespaces."""
        return (MEDIA,)

    def adds(self) -> Sequence[str]:
        """Nothing."""
        return ()

    def consumes(self, columns: pa.Schema) -> Sequence[str]:
        """What the dump says of its namespaces."""
        return (MEDIA,) if MEDIA in columns.names else ()

    @needing("wiki_text")
    def open(self) -> Callable[[pa.Table], Effect]:
        """Edits all documents; `value` is the number of characters that went."""
        from mwparserfromhell.parser import Parser

        def plain(batch: pa.Table) -> Effect:
            verdicts = Verdicts()
            texts = batch.column("text").to_pylist()
            media = batch.column(MEDIA).to_pylist() if MEDIA in batch.column_names else [None] * len(texts)
            from_dumps = MEDIA in batch.column_names
            for row, (text, names) in enumerate(zip(texts, media, strict=True)):
                if from_dumps and names is None:
                    continue
                known = {*NAMES, *map(str.lower, self.namespaces), *(names or "").lower().split("|")} - {""}
                found = _Page(frozenset(known)).text(Parser().parse(_without_marks(text), skip_style_tags=False))
                if found:
                    verdicts.edit(row, found, "wiki_text", value=float(len(text) - len(found)))
                else:
                    verdicts.drop(row, "no_text")
            return Effect(verdicts.table())

        return plain


def _without_marks(text: str) -> str:
    """A text without the characters that stand for headings, quotes and gaps below."""
    return re.sub(r"[\x00-\x03]", "", text)


class _Page:
    """What is read of a page: quotes are put aside, so that what cleans prose leaves them alone."""

    def __init__(self, media: frozenset[str]) -> None:
        self.media, self.quotes = media, list[str]()

    def text(self, code: Any) -> str:
        """The plain text."""
        text = EMPTIED_BRACKETS.sub("", "".join(map(self._node, code.nodes))).replace(GAP, "")
        lines = [
            " ".join(LEFT.sub("", TABLE_ENDS.sub(r"\1", MAGIC.sub("", line))).split())
            for line in TABLE.sub("", text).split("\n")
        ]
        text = "\n".join(line for line in lines if line not in ("-", "- "))
        text = _with_headings(re.sub(r"\n{3,}", "\n\n", text))
        return QUOTE.sub(lambda found: self.quotes[int(found[1])], text).strip()

    def _node(self, node: Any) -> str:
        from mwparserfromhell import nodes

        if isinstance(node, nodes.Text):
            return STRAY.sub("", str(node.value))
        if isinstance(node, nodes.Wikilink):
            return self._link(node)
        if isinstance(node, nodes.Tag):
            return self._tag(node)
        if isinstance(node, nodes.Heading):
            return f"\x00{node.level}{self._inner(node.title)}\n"
        if isinstance(node, nodes.ExternalLink):
            return (self._inner(node.title) if node.title else "") if node.brackets else str(node.url)
        if isinstance(node, nodes.HTMLEntity):
            return self._entity(node)
        return "" if isinstance(node, nodes.Comment) else GAP  # templates and their arguments

    def _entity(self, node: Any) -> str:
        """A character; none for one that no text has, as which numbers may be written."""
        try:
            found = NO_TEXT.sub("", node.normalize())
        except (ValueError, OverflowError):
            return ""
        return self._quoted(found) if found and found in "{}[]|" else found

    def _inner(self, code: Any) -> str:
        return "".join(map(self._node, code.nodes)) if code is not None else ""

    def _link(self, node: Any) -> str:
        from mwparserfromhell import nodes

        title = str(node.title).strip()
        prefix, colon, _ = title.partition(":")
        if (colon and prefix.strip().lower() in self.media) or FILE.fullmatch(title):
            return GAP
        if colon and node.text is None and LANGUAGE.fullmatch(prefix.strip()):
            return GAP
        if node.text is not None:
            parts = any("|" in str(one.value) for one in node.text.nodes if isinstance(one, nodes.Text))
            return (
                GAP if parts and prefix and colon else self._inner(node.text)
            )  # a file's, whatever its namespace is called
        return self._inner(node.title).strip().lstrip(":").replace("_", " ")

    def _tag(self, node: Any) -> str:
        name = str(node.tag).strip().lower()
        if node.wiki_markup in BULLETS:
            return BULLETS[node.wiki_markup]
        if name in GONE:
            return GAP
        if name in ("br", "hr"):
            return "\n"
        if name == "math":
            formula = str(node.contents).strip()
            return self._quoted(f"${formula}$") if formula else GAP
        if name in QUOTED:
            quote = str(node.contents).strip("\n")
            return self._quoted(quote) if quote else ""
        return self._inner(node.contents)

    def _quoted(self, text: str) -> str:
        self.quotes.append(_unescaped(text))
        return f"\x01{len(self.quotes) - 1}\x02"


def _unescaped(text: str) -> str:
    from html import unescape

    return unescape(text)


def _with_headings(text: str) -> str:
    """Headings as lines of their own, but for those with nothing under them."""
    parts = HEADING.split(text)
    kept = [parts[0].strip()] if parts[0].strip() else []
    sections = [(int(level), *_titled(body)) for level, body in zip(parts[1::2], parts[2::2], strict=True)]
    for number, (level, title, body) in enumerate(sections):
        inner = []
        for deeper in sections[number + 1 :]:
            if deeper[0] <= level:
                break
            inner.append(deeper[2])
        if body or any(inner):
            kept += [title, *([body] if body else [])]
    return "\n\n".join(kept)


def _titled(body: str) -> tuple[str, str]:
    title, _, rest = body.partition("\n")
    return title.strip(), rest.strip()
