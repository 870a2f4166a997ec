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
MAGIC = re.compile(r"__[A-Z]{3,30}__")
LEFT = re.compile(r"\{\{+|\}\}+|\[\[+|\]\]+|\{\||\|\}")
TABLE = re.compile(r"^[ \t:*#]*\{\|.*?^[ \t:*#]*\|\}", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^\x00(\d)", re.MULTILINE)
QUOTE = re.compile(r"\x01(\d+)\x02")
EMPTY_BRACKETS = re.compile(r" ?\((?:[\s,;:]*)\)")


class WikiText(Mapper):
    """Makes plain text of wiki text; pages of which nothing is left are dropped."""

    version: ClassVar[int] = 1
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
            for row, (text, names) in enumerate(zip(texts, media, strict=True)):
                known = {*NAMES, *map(str.lower, self.namespaces), *(names or "").lower().split("|")} - {""}
                found = _Page(frozenset(known)).text(Parser().parse(_without_marks(text), skip_style_tags=False))
                if found:
                    verdicts.edit(row, found, "wiki_text", value=float(len(text) - len(found)))
                else:
                    verdicts.drop(row, "no_text")
            return Effect(verdicts.table())

        return plain


def _without_marks(text: str) -> str:
    """A text without the characters that stand for headings and quotes below."""
    return text.replace("\x00", "").replace("\x01", "").replace("\x02", "")


class _Page:
    """What is read of a page: quotes are put aside, so that what cleans prose leaves them alone."""

    def __init__(self, media: frozenset[str]) -> None:
        self.media, self.quotes = media, list[str]()

    def text(self, code: Any) -> str:
        """The plain text."""
        text = TABLE.sub("", "".join(map(self._node, code.nodes)))
        lines = [" ".join(LEFT.sub("", MAGIC.sub("", line)).split()) for line in text.split("\n")]
        text = EMPTY_BRACKETS.sub("", "\n".join(line for line in lines if line not in ("-", "- ")))
        text = _with_headings(re.sub(r"\n{3,}", "\n\n", text))
        return QUOTE.sub(lambda found: self.quotes[int(found[1])], text).strip()

    def _node(self, node: Any) -> str:
        from mwparserfromhell import nodes

        if isinstance(node, nodes.Text):
            return str(node.value)
        if isinstance(node, nodes.Wikilink):
            return self._link(node)
        if isinstance(node, nodes.Tag):
            return self._tag(node)
        if isinstance(node, nodes.Heading):
            return f"\x00{node.level}{self._inner(node.title)}\n"
        if isinstance(node, nodes.ExternalLink):
            return (self._inner(node.title) if node.title else "") if node.brackets else str(node.url)
        if isinstance(node, nodes.HTMLEntity):
            return self._quoted(node.normalize()) if node.normalize() in "{}[]|" else node.normalize()
        return ""  # templates, their arguments, comments

    def _inner(self, code: Any) -> str:
        return "".join(map(self._node, code.nodes)) if code is not None else ""

    def _link(self, node: Any) -> str:
        from mwparserfromhell import nodes

        title = str(node.title).strip()
        prefix, colon, _ = title.partition(":")
        if colon and prefix.strip().lower() in self.media:
            return ""
        if colon and node.text is None and LANGUAGE.fullmatch(prefix.strip()):
            return ""
        if node.text is not None:
            parts = any("|" in str(one.value) for one in node.text.nodes if isinstance(one, nodes.Text))
            return "" if parts else self._inner(node.text)  # a file, whatever its namespace is called
        return self._inner(node.title).strip().lstrip(":").replace("_", " ")

    def _tag(self, node: Any) -> str:
        name = str(node.tag).strip().lower()
        if node.wiki_markup in BULLETS:
            return BULLETS[node.wiki_markup]
        if name in GONE:
            return ""
        if name in ("br", "hr"):
            return "\n"
        if name == "math":
            return self._quoted(f"${str(node.contents).strip()}$")
        if name in QUOTED:
            return self._quoted(str(node.contents).strip("\n"))
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
