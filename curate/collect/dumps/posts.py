"""Posts of a Stack Exchange dump, on disk: answers are found by their question, wherever in the file they stand.

A row is a line. Rows go into a table of SQLite in a temporary folder, as large as the file unpacked, so in memory
are the posts of one question at a time: Stack Overflow has 60 million posts, and some answers stand before their questions.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple
from xml.parsers import expat

__all__ = ["Post", "Posts", "parse_row"]

BATCH = 2000
QUESTION, ANSWER = "1", "2"


class Post(NamedTuple):
    """A question or an answer.

    Attributes:
        offset: Where its row stands in the file.
        id: Its number.
        question: That of its question; a question's own.
        score: Votes.
        fields: All attributes of the row.
    """

    offset: int
    id: int
    question: int
    score: int
    fields: dict[str, str]


def parse_row(line: bytes) -> dict[str, str] | None:
    """The attributes of a row; None for the elements around them.

    Raises:
        ExpatError: It is no well-formed XML.
    """
    if not line.startswith(b"<row"):
        return None
    found: dict[str, str] = {}
    parser = expat.ParserCreate("utf-8")
    parser.StartElementHandler = lambda name, attributes: found.update(attributes)
    parser.Parse(line, True)
    return found


class Posts:
    """Posts by question.

    Args:
        folder: Where the table is.
    """

    def __init__(self, folder: Path) -> None:
        self._table = sqlite3.connect(folder / "posts.sqlite", isolation_level=None)
        for setting in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-65536", "temp_store=FILE"):
            self._table.execute(f"PRAGMA {setting}")
        columns = "question INTEGER, kind INTEGER, score INTEGER, id INTEGER, offset INTEGER, row BLOB"
        self._table.execute(f"CREATE TABLE posts ({columns})")

    def close(self) -> None:
        """Let go of the table."""
        self._table.close()

    def add(self, rows: Iterable[tuple[int, int, int, int, int, bytes]]) -> None:
        """Add posts: number of the question, 0 for it and 1 for answers, score, number, offset, row."""
        self._table.execute("BEGIN")
        self._table.executemany("INSERT INTO posts VALUES (?, ?, ?, ?, ?, ?)", rows)
        self._table.execute("COMMIT")

    def threads(self) -> Iterator[list[Post]]:
        """Posts of one question: it first where it is there, then answers, the best first, of equals the older one."""
        self._table.execute("CREATE INDEX by_question ON posts (question, kind, score DESC, id)")
        found: list[Post] = []
        rows = self._table.execute("SELECT * FROM posts ORDER BY question, kind, score DESC, id, offset")
        while some := rows.fetchmany(BATCH):
            for question, _, score, number, offset, row in some:
                if found and found[0].question != question:
                    yield found
                    found = []
                found.append(Post(offset, number, question, score, parse_row(row) or {}))
        if found:
            yield found
