r"""Text of LaTeX files: the document without comments, preamble and markup; formulas stay as they are written.

A pattern for each thing, no TeX: macros of one's own are left as they stand, `\input` is not followed (there is one file).
"""

from __future__ import annotations

import re
from unicodedata import normalize

from curate.collect.charsets import decode_text
from curate.collect.documents.blocks import Structure
from curate.stages.extractor import Extracted

__all__ = ["read_latex"]

BEGIN = re.compile(r"^[^%\n]*?\\begin\s*\{document\}", re.MULTILINE)
END = re.compile(r"\\end\s*\{document\}")
BRACED = r"\{((?:[^{}]|\{[^{}]*\})*)\}"
OPTION = r"(?:\s*\[[^\]]{0,1000}\])?"
TITLE = re.compile(rf"\\title{OPTION}\s*{BRACED}")
CODE = ("verbatim", "Verbatim", "lstlisting", "minted", "alltt")
ASIDE = re.compile(
    r"(?P<line>\\\\)\*?(?:[ \t]*\[[^\]\n]{0,40}\])?|\\[%$]"
    r"|(?P<comment>%[^\n]*(?:\n[ \t]*+(?!\n))?)"
    r"|\\(?:url|path|nolinkurl)[ \t]*\{(?P<address>[^{}\n]*)\}|(?P<link>\\href[ \t]*\{[^{}\n]*\})"
    r"|\\(?:verb|lstinline)\*?(?P<bar>[^\sa-zA-Z*{\[])(?P<code>[^\n]{0,1000}?)(?P=bar)"
    rf"|\\begin\{{(?P<name>(?:equation|align|gather|multline|eqnarray|displaymath|math|{'|'.join(CODE)})\*?)\}}"
    r"|(?P<formula>\$(?:[^$\\\n]|\\.|\n(?![ \t]*\n))+\$)|(?P<open>\$\$|\\\[|\\\()"
)
"""What is looked at first, from the left: ends of lines, comments, addresses, code and formulas. Code and formulas stay."""
UNSEEN = re.compile(r"(?<!\\)%[^\n]*\n?[ \t]*")
"""A comment in a formula."""
CLOSING = {"$$": "$$", "\\[": "\\]", "\\(": "\\)"}
LEVELS = {"part": 1, "chapter": 1, "section": 2, "subsection": 3, "subsubsection": 4, "paragraph": 5}
HEADING = re.compile(rf"\\({'|'.join(LEVELS)})\*?{OPTION}\s*{BRACED}")
DROPPED = re.compile(
    r"\\(?:label|cite[a-z]*|ref|eqref|autoref|cref|pageref|index|includegraphics|bibliography|bibliographystyle|input|include|"
    r"vspace|hspace|usepackage|maketitle|tableofcontents|newpage|clearpage|centering|noindent|bigskip|medskip|smallskip|hfill|"
    r"thispagestyle|pagestyle|setlength|addcontentsline|hline|toprule|midrule|bottomrule|cline)(?![a-zA-Z])\*?"
    r"(?:\s*\[[^\]]{0,1000}\])*(?:\{[^{}]*\})*"
)
COLUMNS = re.compile(
    rf"\\begin\s*\{{(?:(?:tabular|array|longtable|minipage|multicols|thebibliography)\}}|"
    rf"(?:tabular\*|tabularx|tabulary|wrapfigure)\}}{OPTION}\s*{BRACED}){OPTION}\s*{BRACED}"
)
"""The beginning of a table, with what it says of its columns."""
ENVIRONMENT = re.compile(rf"\\(?:begin|end)\s*\{{[^{{}}]*\}}{OPTION}")
ITEM = re.compile(r"\\item(?![a-zA-Z])\s*(?:\[([^\]]{0,1000})\])?[ \t]*")
ACCENT = re.compile(
    r"\\([`'^\"~=.])\s*\{?\\?([a-zA-Z])\}?|\\([uvHcdbrk])(?:\s*\{\\?([a-zA-Z])\}|\s+\\?([a-zA-Z])(?![a-zA-Z]))"
)
MARKS = {
    "`": "\u0300", "'": "\u0301", "^": "\u0302", '"': "\u0308", "~": "\u0303", "=": "\u0304", ".": "\u0307", "u": "\u0306",
    "v": "\u030c", "H": "\u030b", "c": "\u0327", "d": "\u0323", "b": "\u0331", "r": "\u030a", "k": "\u0328",
}  # fmt: skip
WRAPPED = re.compile(rf"\\[a-zA-Z]+\*?{OPTION}\s*\{{([^{{}}]*)\}}")
LETTERS = {
    "ss": "\u00df", "ae": "\u00e6", "AE": "\u00c6", "oe": "\u0153", "OE": "\u0152", "o": "\u00f8", "O": "\u00d8", "l": "\u0142",
    "L": "\u0141", "ldots": "\u2026", "dots": "\u2026", "LaTeX": "LaTeX", "TeX": "TeX", "S": "\u00a7", "copyright": "\u00a9",
}  # fmt: skip
LETTER = re.compile(rf"\\({'|'.join(LETTERS)})(?![a-zA-Z])(?:\{{\}}|[ \t]+)?")
SIGNS = (
    ("---", "\u2014"), ("--", "\u2013"), ("``", "\u201c"), ("''", "\u201d"), ("~", " "), ("\\\\", "\n"), ("\\,", " "),
    ("\\ ", " "),
)  # fmt: skip
ESCAPED = re.compile(r"\\([%&_#${}])")
PLACE = re.compile("\ue000(\\d+)\ue001")


def read_latex(content: bytes, structure: Structure) -> Extracted:
    """The text of a LaTeX file, and its `title`."""
    source = decode_text(content).replace("\r\n", "\n").replace("\ue000", "")
    begin = BEGIN.search(source)
    kept: list[str] = []
    before = _set_aside(source[: begin.end()] if begin else "", kept)
    text = _set_aside(source[begin.end() :] if begin else source, kept)
    title = TITLE.search(before) or TITLE.search(text)
    end = END.search(text) if begin else None
    text = _plain(text[: end.start()] if end else text, structure)
    text = re.sub(r"\n{3,}", "\n\n", "\n".join(line.strip() for line in re.sub(r"[ \t]{2,}", " ", text).split("\n")))

    def put_back(text: str) -> str:
        return PLACE.sub(lambda found: kept[int(found[1])], text)

    name = " ".join(put_back(_plain(title[1], "plain")).split()) if title else ""
    return Extracted(put_back(text).strip(), {"title": name or None})


def _set_aside(text: str, kept: list[str]) -> str:
    """The text without comments, with a place for each formula, address and piece of code, which `kept` gets."""
    pieces, place, absent = list[str](), 0, set[str]()
    while found := ASIDE.search(text, place):
        pieces.append(text[place : found.start()])
        place = found.end()
        name, opening = found["name"], found["open"]
        if found["comment"] is not None or found["link"]:
            continue
        literal = found["address"] if found["code"] is None else found["code"]
        if literal is not None:
            pieces.append(_place(literal, kept))
            continue
        if not (name or opening):
            formula = found["formula"]
            pieces.append(_place(UNSEEN.sub("", formula), kept) if formula else found["line"] or found[0])
            continue
        closing = f"\\end{{{name}}}" if name else CLOSING[opening]
        stop = -1 if closing in absent else text.find(closing, place)
        if stop < 0:  # it is not closed: it opens nothing, nor do those that follow
            absent.add(closing)
            pieces.append(found[0])
            continue
        content = text[found.start() : stop + len(closing)]
        pieces.append(_place(content if (name or "").rstrip("*") in CODE else UNSEEN.sub("", content), kept))
        place = stop + len(closing)
    return "".join([*pieces, text[place:]])


def _place(content: str, kept: list[str]) -> str:
    kept.append(content)
    return f"\ue000{len(kept) - 1}\ue001"


def _plain(text: str, structure: Structure) -> str:
    def heading(found: re.Match[str]) -> str:
        mark = "#" * LEVELS[found[1]] + " " if structure == "markdown" else ""
        return f"\n\n{mark}{' '.join(found[2].split())}\n\n"

    def item(found: re.Match[str]) -> str:
        mark = "- " if structure == "markdown" else ""
        return f"\n{mark}{found[1] + ': ' if found[1] else ''}"

    def accent(found: re.Match[str]) -> str:
        mark, letter = found[1] or found[3], found[2] or found[4] or found[5]
        return normalize("NFC", letter + MARKS[mark])

    text = ITEM.sub(item, HEADING.sub(heading, DROPPED.sub("", text)))
    text = LETTER.sub(
        lambda found: LETTERS[found[1]], ACCENT.sub(accent, ENVIRONMENT.sub("\n", COLUMNS.sub("\n", text)))
    )
    for _ in range(8):  # the innermost braces first
        shorter = WRAPPED.sub(r"\1", text)
        if shorter == text:
            break
        text = shorter
    for sign, meant in SIGNS:
        text = text.replace(sign, meant)
    return ESCAPED.sub(r"\1", re.sub(r"(?<!\\)[{}]", "", text))
