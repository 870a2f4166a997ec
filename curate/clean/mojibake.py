"""Finding text that was decoded with the wrong encoding, fast.

ftfy decides by one large regular expression whether a text looks mis-decoded; in Python's `re` it takes 0.14 CPU seconds
a megabyte. The expression has no look-around, so it is handed, without its blanks and comments, to RE2 through pyarrow,
which runs over whole columns at about 800 MB per CPU second. What it finds goes to ftfy, line by line.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["mojibake_pattern", "mojibake_repair"]

WORD = r"\p{L}\p{N}_"
SPACE = r"\x09-\x0d\x1c-\x20\x{85}\p{Z}"


def mojibake_pattern() -> str:
    """The expression of ftfy in the syntax of RE2; it finds every text with a line that ftfy would look at.

    RE2 has no verbose mode, and its classes of word characters and spaces are those of ASCII.
    """
    from ftfy.badness import BADNESS_RE

    pattern = BADNESS_RE.pattern
    compact: list[str] = []
    in_class = in_comment = False
    place = 0
    while place < len(pattern):
        character = pattern[place]
        if in_comment:
            in_comment = character != "\n"
        elif character == "\\":
            compact.append(_escape(pattern[place : place + 2], in_class=in_class))
            place += 1
        elif in_class or character == "[":
            in_class = character != "]"
            compact.append(character)
        elif character == "#":
            in_comment = True
        elif not character.isspace():
            compact.append(character)
        place += 1
    return "(?m)" + "".join(compact)


def _escape(escape: str, *, in_class: bool) -> str:
    wide = {r"\w": WORD, r"\s": SPACE}.get(escape)
    if wide is None:
        return escape
    return wide if in_class else f"[{wide}]"


def mojibake_repair() -> Callable[[str], tuple[str, int]]:
    """A function that repairs the mis-decoded lines of a text, and says how many they were."""
    import ftfy

    def repair(text: str) -> tuple[str, int]:
        if text.isascii():
            return text, 0
        repaired = 0
        lines = text.split("\n")
        for number, line in enumerate(lines):
            fixed = line if line.isascii() else ftfy.fix_encoding(line)
            if fixed != line:
                lines[number], repaired = fixed, repaired + 1
        return ("\n".join(lines), repaired) if repaired else (text, 0)

    return repair
