"""Documents to hold the quality filters against datatrove's on: books, what Debian's packages say, web pages, and nasty texts.

All are read from this machine. Nasty texts are drawn with a seed: pieces that tell `str.split`, `str.splitlines`, `str.strip`
and spaCy apart, alone, and thrown into pieces of the others.
"""

from __future__ import annotations

import gzip
import random
from collections.abc import Iterator
from pathlib import Path

from minhash import read_books

__all__ = ["mixed_texts", "parity_texts", "read_debian", "read_pages"]

PIECES = [
    "", " ", "  ", "\n", "\n\n", "\r\n", "\r", "\t", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x1f", "\x85", "\xa0",
    "\u1680", "\u2003", "\u2028", "\u2029", "\u202f", "\u205f", "\u3000", "\u200b", "\ufeff", "\x00", "\x07", "\x7f", ".",
    "..", "...", "....", "\u2026", "!", "?", "\"", "'", "\u201d", "\u2019s", "\u3002", "\u061f", "#", "##", "-", "- ",
    "\u2022", "\u2022 ", "*", "{", "}", "[1]", "[]", "[edit]", "[citation needed]", "[\u0661]", "[12", "[[3]]",
    "lorem ipsum", "LOREM Ipsum", "JavaScript", "terms of use", "Privacy Policy", "use coo\u212aies", "uses cookies", ":)",
    ":-(", ": (", ": )", "(:", ")-:", "8 )", "' s", "'s", "o.O", "XD", "x: (:", "(-_-)", "don't", "\"I'm", "can't've",
    "IS_ALPHA", "xIS_ALPHAy", "IS_ASCII", "U.S.", "e.g.", "a.m.", "10a.m.", "5 p.m .", "http://a.b/c?d=e#f", "x@y.zz", "$5",
    "10km", "C++", "co-op", "and/or", "the", "and", "of", "to", "be", "that", "have", "with", "The", "word", "words", "ab c",
    "a bc", "abc", "a" * 1001, "x" * 70, "\xe9t\xe9", "e\u0301", "\u0301", "\u05e9\u05dc\u05d5\u05dd",
    "\u0645\u0631\u062d\u0628\u0627", "\u202e", "\u4e2d\u6587\u3002", "\U0001f600", "\U0001f469\u200d\U0001f4bb", "\xbd",
    "\u0660", "\U0001d54f", "I went home.", "It is so!", "Is it?", "one two three.", "Home", "Menu",
]  # fmt: skip


def read_debian(megabytes: float, folder: Path = Path("/usr/share/doc")) -> Iterator[str]:
    """What packages say of themselves, cut at blank lines into documents of at most 8 KB; files in the order of their names."""
    size = 0
    for path in sorted(folder.rglob("*")):
        if (
            path.is_symlink()
            or not path.is_file()
            or path.suffix in (".png", ".jpg", ".svg", ".pdf", ".js", ".css", ".ttf")
        ):
            continue
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rb") as file:
            text = file.read(1_000_000).decode("utf-8", errors="replace")
        if text.count("\ufffd") > len(text) / 100:
            continue
        document: list[str] = []
        for paragraph in text.split("\n\n"):
            if document and sum(map(len, document)) + len(paragraph) > 8000:
                yield "\n\n".join(document)
                size += sum(map(len, document))
                document = []
            document.append(paragraph)
        if document:
            yield "\n\n".join(document)
            size += sum(map(len, document))
        if size > megabytes * 1e6:
            return


def read_pages(folder: Path) -> list[str]:
    """102 web pages: their articles as people marked them, and all of the text between their tags."""
    import json

    from resiliparse.extract.html2text import extract_plain_text

    gold = json.loads((folder / "zyte_article_extraction" / "ground-truth.json").read_text())
    pages = [page["articleBody"] for page in gold.values()]
    for path in sorted((folder / "zyte_article_extraction" / "html").glob("*.gz")):
        pages.append(extract_plain_text(gzip.decompress(path.read_bytes()).decode("utf-8", errors="replace")))
    return pages


def nasty_texts(count: int, others: list[str], seed: int = 11) -> list[str]:
    """Random joints of `PIECES`, half of them within a piece of another text."""
    chance = random.Random(seed)
    texts = list(PIECES)
    while len(texts) < count:
        pieces = [chance.choice(PIECES) for _ in range(chance.choice([1, 2, 4, 10, 40, 150]))]
        joint = chance.choice(["", " ", " ", "\n", " . ", ".\n"])
        text = joint.join(pieces) * chance.choice([1, 1, 1, 2, 5])
        if chance.random() < 0.5:
            words = chance.choice(others)[: chance.choice([200, 900, 2500])].split(" ")
            for piece in pieces[:40]:
                words.insert(chance.randrange(len(words) + 1), piece)
            text = " ".join(words)
        texts.append(text)
    return texts


def parity_texts(data: Path, count: int) -> dict[str, list[str]]:
    """Documents by kind, of 200 to 6,000 characters: a fifth is nasty, the others are half books, half of Debian's packages."""
    pages = read_pages(data)
    books = read_books(data, count * 1.6e-3)[: count * 4 // 10]
    debian = list(read_debian(200))
    random.Random(3).shuffle(debian)
    debian = debian[: count * 4 // 10]
    chance = random.Random(5)
    books, debian = (
        [text[: chance.choice([200, 600, 1000, 1500, 2500, 6000])] for text in texts] for texts in (books, debian)
    )
    return {"pages": pages, "books": books, "debian": debian, "nasty": nasty_texts(count // 5, books + debian)}


def mixed_texts(data: Path, megabytes: float) -> list[str]:
    """Books and what Debian's packages say, a quarter of them books if there are as many, in random order."""
    books = [text.replace("\r\n", "\n") for text in read_books(data, megabytes / 4)]
    texts = books + list(read_debian(megabytes - sum(len(text.encode()) for text in books) / 1e6))
    random.Random(2).shuffle(texts)
    return texts
