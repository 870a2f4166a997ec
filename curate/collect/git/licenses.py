"""The licence of a file as an SPDX identifier, with what says so: its own header, else the licence file nearest above it.

A licence file is known where it has the sentences that only one licence has, is as long from the first to the last of them as
that one is (to a few words where its length is known here; less closely for Creative Commons, the AGPL and the EPL), and has
nothing around it but a title and names: with more in it (a second licence, a clause that takes rights away) it is unknown, and
so is the licence of what lies under it. Several licence files of one folder all hold (`AND`): which may be chosen is not in
the files. A text of the GPL alone says nothing of later versions: `-only`. SPDX's list is that of `packaging`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["Told", "header_license", "is_license_file", "known_license", "nearest"]

NAME = re.compile(
    r"(?i)(?:un)?licen[cs]es?|copying|(?:licen[cs]e|copying)[-_.][\w.-]+|[\w.]+[-.]licen[cs]e(?:\.(?:txt|md))?"
)
NO_NAME = re.compile(r"(?i).*\.(?:py|js|ts|go|rs|c|h|cc|cpp|java|rb|json|ya?ml|toml|png|svg|css|sh|tmpl|spdx)")
TAG = re.compile(
    r"^(?:(?:dnl|rem)[ \t])?[^\w\r\n\"'`]{0,80}SPDX-License-Identifier:[ \t]*([^\r\n]{1,2000})\r?$",
    re.MULTILINE | re.IGNORECASE,
)
"""In a line of its own: in a string of a program it is not about the file."""
CLOSING = re.compile(r"(?:[ \t]|\*/|--+>?|#+\}?|\*+\)?|\|+|[-%]\}|%>|\]\]|\"{3}|'{3}|[.;,])+$")
TAG_BYTES = 4096
WORD = re.compile(r"[a-z0-9]+")
_GNU = "free software foundation"
WITHDRAWN = re.compile(r"\b(?:commons clause|for good not evil|non commercial|noncommercial)\b")
LIMITING = re.compile(
    r"\b(?:not?|nor|only|shall|must|may|except|exceptions?|without|prohibited|restrict(?:ed|ions?)|conditions?|additional|"
    r"subject|commercial(?:ly)?|terms|unless|provided|either|following|dual)\b"
)
"""What titles and names around a licence have not, and what changes it has."""
AROUND = 60
"""Words of a title and of who holds the rights."""
VERBATIM = "to copy and distribute verbatim copies of this license document but changing it is not allowed"


class Told(NamedTuple):
    """A licence.

    Attributes:
        license: An SPDX expression; None where it is not known.
        evidence: What says so, or which file is not understood.
    """

    license: str | None
    evidence: str


class _Text(NamedTuple):
    """How many words there are from the phrase that it begins with to one of those that it ends with."""

    ends: tuple[tuple[str, int, int], ...]
    phrases: tuple[str, ...]
    first: str = ""
    without: str | None = None
    withdrawn: int = 0


_GRANT = "permission is hereby granted free of charge to any person obtaining a copy"
_KEEP = "shall be included in all copies or substantial portions"
_BSD = "redistributions in binary form must reproduce the above copyright notice"
_ISC = "permission to use copy modify and or distribute this software for any purpose"
_DAMAGE = "possibility of such damage"
_DEALINGS = "other dealings in the software"
_END = "end of terms and conditions"
_APACHE = ("apache license version 2 0", "submission of contributions")
TEXTS = {
    "MIT": _Text(((_DEALINGS, 158, 169),), (_GRANT, _KEEP), _GRANT),
    "MIT-0": _Text(((_DEALINGS, 115, 145),), (_GRANT, "provided as is"), _GRANT, "permission notice"),
    "BSD-2-Clause": _Text(((_DAMAGE, 180, 190),), (_BSD,), "redistribution and use", "endorse or promote products"),
    "BSD-3-Clause": _Text(
        ((_DAMAGE, 205, 224),), (_BSD, "endorse or promote products"), "redistribution and use", "advertising materials"
    ),
    "BSD-4-Clause": _Text(
        ((_DAMAGE, 225, 265),), (_BSD, "endorse or promote products", "advertising materials mentioning"),
        "redistribution and use",
    ),
    "ISC": _Text((("performance of this software", 108, 125),), (_ISC, "provided that the above copyright notice"), _ISC),
    "0BSD": _Text((("performance of this software", 80, 104),), (_ISC,), _ISC, "provided that the above copyright notice"),
    "Apache-2.0": _Text(
        (
            ("limitations under the license", 1506, 1514), ("limitations under the license", 1590, 1606), (_END, 1413, 1425),
            ("additional liability", 1408, 1420),
        ),
        _APACHE, "terms and conditions for use", "llvm exceptions",
    ),
    "Apache-2.0 WITH LLVM-exception": _Text((("", 1400, 1850),), (_APACHE[0], "llvm exceptions to the apache 2 0")),
    "MPL-2.0": _Text(
        (("mozilla public license v 2 0", 2410, 2430),), ("incompatible with secondary licenses",), "1 definitions"
    ),
    "GPL-2.0-only": _Text(
        (("license instead of this license", 2930, 2960), (_END, 2455, 2480)),
        ("gnu general public license version 2 june 1991", _GNU), "preamble the licenses", withdrawn=1,
    ),
    "GPL-3.0-only": _Text(
        (("why not lgpl html", 5654, 5670), (_END, 5203, 5225)),
        ("gnu general public license version 3 29 june 2007", _GNU), "preamble the gnu",
    ),
    "LGPL-2.1-only": _Text(
        (("that s all there is to it", 4318, 4348), (_END, 3984, 4010)),
        ("gnu lesser general public license version 2 1 february 1999", _GNU), "preamble the licenses",
    ),
    "LGPL-3.0-only": _Text(
        (("version for the library", 1192, 1212),), ("gnu lesser general public license version 3 29 june 2007", _GNU),
        "this version of the gnu lesser",
    ),
    "AGPL-3.0-only": _Text(
        (("", 5100, 6200),), ("gnu affero general public license version 3 19 november 2007", _GNU), "preamble the gnu"
    ),
    "Unlicense": _Text(
        (("unlicense org", 200, 220),), ("software released into the public domain",), "this is free and unencumbered"
    ),
    "CC0-1.0": _Text((("", 950, 1100),), ("cc0 1 0 universal", "affirmer")),
    "CC-BY-4.0": _Text((("", 2300, 3400),), ("attribution 4 0 international public license",), without="sharealike 4 0"),
    "CC-BY-SA-4.0": _Text((("", 2500, 3700),), ("attribution sharealike 4 0 international public license",)),
    "Zlib": _Text(
        (("any source distribution", 125, 140),), ("altered source versions must be plainly marked as such",),
        "this software is provided as is",
    ),
    "BSL-1.0": _Text(((_DEALINGS, 198, 210),), ("boost software license version 1 0",), _GRANT.partition(" free")[0]),
    "EPL-2.0": _Text((("", 1900, 2600),), ("eclipse public license v 2 0",)),
}  # fmt: skip


def header_license(text: str) -> Told | None:
    """What the tags `SPDX-License-Identifier` in the first 4 kB of a file say; None where it has none.

    A tag that is as a whole no expression of licences that SPDX lists (or of `LicenseRef-`), such as `NONE` or
    `MIT/Apache-2.0`, says that there is one and not which.
    """
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

    found = [one[1] for one in TAG.finditer(text[: 2 * TAG_BYTES]) if one.start() < TAG_BYTES]
    ids = dict[str, None]()
    for one in found:
        expression = CLOSING.sub("", one)
        try:
            ids[canonicalize_license_expression(expression.removesuffix(")" * _open(expression)))] = None
        except InvalidLicenseExpression:
            return Told(None, f"SPDX-License-Identifier in the file, not understood: {' '.join(one.split())[:80]}")
    if not ids:
        return None
    joined = next(iter(ids)) if len(ids) == 1 else " AND ".join(f"({one})" if " OR " in one else one for one in ids)
    return Told(joined, "SPDX-License-Identifier in the file")


def _open(expression: str) -> int:
    """How many brackets close what a comment opened."""
    return max(0, expression.count(")") - expression.count("("))


def is_license_file(path: str) -> bool:
    """Whether a path is that of a licence's text: LICENSE, COPYING, LICENSE-MIT, UNLICENSE."""
    name = path.rpartition("/")[2]
    return bool(NAME.fullmatch(name)) and not NO_NAME.fullmatch(name)


def known_license(text: str) -> str | None:
    """The licence whose text this is; None where it is that of none, or has more in it."""
    plain = " ".join(WORD.findall(text.lower()))
    found = [name for name, one in TEXTS.items() if _is_this(plain, one)]
    return found[0] if len(found) == 1 else None


def _is_this(plain: str, told: _Text) -> bool:
    if not all(phrase in plain for phrase in told.phrases) or (told.without is not None and told.without in plain):
        return False
    if len(WITHDRAWN.findall(plain)) > told.withdrawn:
        return False
    start = plain.find(told.first)
    for last, low, high in told.ends:
        end = plain.rfind(last) + len(last)
        if start >= 0 and end > start and low <= plain.count(" ", start, end) + 1 <= high:
            around = f"{plain[:start].replace(VERBATIM, '')} {plain[end:]}"
            return around.count(" ") <= AROUND and not LIMITING.search(around)
    return False


def nearest(path: str, files: Mapping[str, Mapping[str, str | None]]) -> Told | None:
    """The licence of a path by licence files; None where there is none above it.

    Args:
        path: With forward slashes.
        files: By folder (`""` is the top), the licence of each licence file, by its path; None where it is not known.
    """
    folder = path
    while folder:
        folder = folder.rpartition("/")[0]
        if here := files.get(folder):
            unknown = [name for name, one in here.items() if one is None]
            if unknown:
                return Told(None, f"{unknown[0]}: a text that is not known")
            return Told(" AND ".join(sorted({one for one in here.values() if one})), ", ".join(sorted(here)))
    return None
