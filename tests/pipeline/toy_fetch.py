"""A source that fetches pages from a folder beside the pipeline file, and notes each one; it is killed where a page says so."""

from __future__ import annotations

import os
import signal
from typing import ClassVar

import pyarrow as pa

from curate.collect.columns import Selection
from curate.collect.fetch.rows import KEY, documents_of_piece
from curate.stages.fetched import Fetched


class Pages(Fetched):
    """Fetches `NUMBER.txt`, one row a line; `token_from` names a variable with a secret."""

    planning: ClassVar[frozenset[str]] = frozenset({"folder", "token_from", "rate"})
    pace: ClassVar[frozenset[str]] = frozenset({"rate"})
    folder: str = "served"
    token_from: str | None = None
    upper: bool = False
    rate: int = 1

    def secrets(self):
        return [os.environ.get(self.token_from, "")] if self.token_from else []

    def fetch(self, desk):
        place = desk.root / self.folder
        number = desk.state.get("number", 0)
        while (path := place / f"{number}.txt").exists():
            with (desk.root / "asked.log").open("a") as log:
                log.write(f"{number}\n")
            lines = path.read_text().splitlines()
            if "KILL" in lines and not (place / "killed").exists():
                (place / "killed").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            if "LEAK" in lines:
                raise OSError(5, f"cannot log in with {self.secrets()[0]}")
            lines = [line for line in lines if line != "KILL"]
            number += 1
            rows = {KEY: [f"{number}-{row}" for row in range(len(lines))], "text": lines}
            desk.keep(pa.table(rows, schema=pa.schema([(KEY, pa.string()), ("text", pa.string())])), {"number": number})
        return {"address": f"pages:{self.folder}", "pages": number}

    def read_from(self, store, part):
        yield from documents_of_piece(store, part, Selection("text", None, None, 1 << 20, part.name), ids=True)
