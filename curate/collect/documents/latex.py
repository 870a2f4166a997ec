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

COMMENT = re.compile(r"(?<!\\)((?:\\\\)*)%[^\n]*\n?[ \t]*")
BODY = re.compile(r"\\begin\s*\{document\}(.*?)(?:\\end\s*\{document\}|\Z)", re.DOTALL)
BRACED = r"\{((?:[^{}]|\{[^{}]*\})*)\}"
OPTION = r"(?:\s*\[[^\]]*\])?"
TITLE = re.compile(rf"\\title{OPTION}\s*{BRACED}")
KEPT = re.compile(
    r"\\begin\{(equation|align|gather|multline|eqnarray|displaymath|math|verbatim|lstlisting|minted)(\*?)\}.*?\\end\{\1\2\}"
    r"|\$\$.*?\$\$|(?<!\\)\$(?:[^$\\]|\\.)+\$|\\\[.*?\\\]|\\\(.*?\\\)",
    re.DOTALL,
)
"""Formulas and code, which stay as they are."""
LEVELS = {"part": 1, "chapter": 1, "section": 2, "subsection": 3, "subsubsection": 4, "paragraph": 5}
HEADING = re.compile(rf"\\({'|'.join(LEVELS)})\*?{OPTION}\s*{BRACED}")
DROPPED = re.compile(
    r"\\(?:label|cite[a-z]*|ref|eqref|autoref|cref|pageref|index|includegraphics|bibliography|bibliographystyle|input|include|"
    r"vspace|hspace|usepackage|maketitle|tableofcontents|newpage|clearpage|centering|noindent|bigskip|medskip|smallskip|hfill|"
    r"thispagestyle|pagestyle|setlength|addcontentsline)(?![a-zA-Z])\*?(?:\s*\[[^\]]*\])*(?:\{[^{}]*\})*"
)
ENVIRONMENT = re.compile(rf"\\(?:begin|end)\s*\{{[^{{}}]*\}}{OPTION}")
ITEM = re.compile(r"\\item(?![a-zA-Z])\s*(?:\[([^\]]*)\])?[ \t]*")
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
    source = COMMENT.sub(r"\1", decode_text(content).replace("\r\n", "\n").replace("\ue000", ""))
    title = TITLE.search(source)
    body = BODY.search(source)
    text = body[1] if body else source
    kept: list[str] = []

    def keep(found: re.Match[str]) -> str:
        kept.append(found[0])
        return f"\ue000{len(kept) - 1}\ue001"

    text = KEPT.sub(keep, text)
    text = _plain(text, structure)
    text = re.sub(r"[ \t]{2,}", " ", text)
    text = PLACE.sub(lambda found: kept[int(found[1])], text)
    text = re.sub(r"\n{3,}", "\n\n", "\n".join(line.strip() for line in text.split("\n"))).strip()
    return Extracted(text, {"title": " ".join(_plain(title[1], "plain").split()) or None if title else None})


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
    text = LETTER.sub(lambda found: LETTERS[found[1]], ACCENT.sub(accent, ENVIRONMENT.sub("\n", text)))
    for _ in range(8):  # the innermost braces first
        shorter = WRAPPED.sub(r"\1", text)
        if shorter == text:
            break
        text = shorter
    for sign, meant in SIGNS:
        text = text.replace(sign, meant)
    return ESCAPED.sub(r"\1", re.sub(r"(?<!\\)[{}]", "", text))
