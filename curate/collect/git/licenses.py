"""The licence of a file as an SPDX identifier, with what says so: its own header, else the licence file nearest above it.

A licence file is known where it has the sentences that only one licence has, and is about as long as that one is: with
more in it (a second licence, a clause that takes rights away) it is unknown, and so is the licence of what lies under it.
Several licence files of one folder all hold (`AND`): which of them may be chosen is not in the files. A text of the GPL
alone says nothing of later versions: `-only`. Lists of SPDX: https://spdx.org/licenses/
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
TAG = re.compile(r"SPDX-License-Identifier:[ \t]*([^\r\n]{1,200})")
ID = r"\(*[A-Za-z0-9][\w.+-]*(?::[\w.-]+)?\)*"
EXPRESSION = re.compile(rf"{ID}(?:[ \t]+(?:AND|OR|WITH)[ \t]+{ID})*")
TAG_BYTES = 4096
WORD = re.compile(r"[a-z0-9]+")
_GNU = "free software foundation"
WITHDRAWN = ("commons clause", "for good not evil", "non commercial", "noncommercial")
OWN_SENSE = (_GNU, "creative commons")
"""Whose own texts speak of non-commercial distribution."""


class Told(NamedTuple):
    """A licence.

    Attributes:
        license: An SPDX expression; None where it is not known.
        evidence: What says so, or which file is not understood.
    """

    license: str | None
    evidence: str


class _Text(NamedTuple):
    words: tuple[int, int]
    phrases: tuple[str, ...]
    without: str | None = None


_GRANT = "permission is hereby granted free of charge to any person obtaining a copy"
_KEEP = "shall be included in all copies or substantial portions"
_BSD = "redistributions in binary form must reproduce the above copyright notice"
_ISC = "permission to use copy modify and or distribute this software for any purpose"
TEXTS = {
    "MIT": _Text((140, 240), (_GRANT, _KEEP)),
    "MIT-0": _Text((110, 200), (_GRANT, "provided as is"), "permission notice"),
    "BSD-2-Clause": _Text((160, 280), (_BSD,), "endorse or promote products"),
    "BSD-3-Clause": _Text((190, 320), (_BSD, "endorse or promote products"), "advertising materials mentioning"),
    "BSD-4-Clause": _Text((210, 360), (_BSD, "endorse or promote products", "advertising materials mentioning")),
    "ISC": _Text((90, 180), (_ISC, "provided that the above copyright notice")),
    "0BSD": _Text((70, 150), (_ISC,), "provided that the above copyright notice"),
    "Apache-2.0": _Text((1350, 1640), ("apache license version 2 0", "submission of contributions"), "llvm exceptions"),
    "Apache-2.0 WITH LLVM-exception": _Text(
        (1400, 1850), ("apache license version 2 0", "llvm exceptions to the apache 2 0")
    ),
    "MPL-2.0": _Text((2200, 2800), ("mozilla public license version 2 0", "incompatible with secondary licenses")),
    "GPL-2.0-only": _Text((2300, 3200), ("gnu general public license version 2 june 1991", _GNU)),
    "GPL-3.0-only": _Text((5200, 6200), ("gnu general public license version 3 29 june 2007", _GNU)),
    "LGPL-2.1-only": _Text((3900, 4700), ("gnu lesser general public license version 2 1 february 1999", _GNU)),
    "LGPL-3.0-only": _Text((1050, 1500), ("gnu lesser general public license version 3 29 june 2007", _GNU)),
    "AGPL-3.0-only": _Text((5100, 6200), ("gnu affero general public license version 3 19 november 2007", _GNU)),
    "Unlicense": _Text((170, 260), ("free and unencumbered software released into the public domain", "unlicense")),
    "CC0-1.0": _Text((900, 1300), ("cc0 1 0 universal", "affirmer")),
    "CC-BY-4.0": _Text((2300, 3400), ("attribution 4 0 international public license",), "sharealike 4 0"),
    "CC-BY-SA-4.0": _Text((2500, 3700), ("attribution sharealike 4 0 international public license",)),
    "Zlib": _Text(
        (100, 180), ("altered source versions must be plainly marked as such", "without any express or implied")
    ),
    "BSL-1.0": _Text((180, 280), ("boost software license version 1 0",)),
    "EPL-2.0": _Text((1900, 2600), ("eclipse public license v 2 0",)),
}


def header_license(text: str) -> Told | None:
    """What the tags `SPDX-License-Identifier` in the first 4 kB of a file say; None where it has none."""
    found = [EXPRESSION.match(one) for one in TAG.findall(text[:TAG_BYTES])]
    ids = list(dict.fromkeys(_balanced(one[0]) for one in found if one))
    if not ids:
        return None
    joined = ids[0] if len(ids) == 1 else " AND ".join(f"({one})" if " OR " in one else one for one in ids)
    return Told(joined, "SPDX-License-Identifier in the file")


def _balanced(expression: str) -> str:
    """Without brackets and dashes that a comment put around it."""
    expression = expression.rstrip("-.")
    return expression if expression.count("(") == expression.count(")") else expression.strip("()")


def is_license_file(path: str) -> bool:
    """Whether a path is that of a licence's text: LICENSE, COPYING, LICENSE-MIT, UNLICENSE."""
    name = path.rpartition("/")[2]
    return bool(NAME.fullmatch(name)) and not NO_NAME.fullmatch(name)


def known_license(text: str) -> str | None:
    """The licence whose text this is; None where it is that of none, or has more in it."""
    words = WORD.findall(text.lower())
    plain = " ".join(words)
    if any(one in plain for one in WITHDRAWN) and not any(one in plain for one in OWN_SENSE):
        return None
    found = [
        name
        for name, one in TEXTS.items()
        if one.words[0] <= len(words) <= one.words[1] and all(phrase in plain for phrase in one.phrases)
        and (one.without is None or one.without not in plain)
    ]  # fmt: skip
    return found[0] if len(found) == 1 else None


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
