"""Small stages for the reports' tests: each does one thing that a report tells of."""

from __future__ import annotations

import json
import re

import pyarrow as pa

from curate.stages.contract import Audit, Effect, Expander, Expansion, Filter, Mapper, Part, Passed, Rule, Source, Span
from curate.stages.contract import Verdicts as Said

BAD = "</title><script>alert(6)</script>\x00\u202e"


class Archive(Source):
    """Three chapters in two documents, among things that are none."""

    def plan(self, context):
        return [Part("archive", "archive", "archive")]

    def read(self, part):
        texts = ["the first chapter of it|the second chapter of it", "one chapter alone and no more"]
        yield pa.table({"id": ["x", "y"], "text": texts, "source_uri": ["archive#0", "archive#1"]})
        yield Passed("request", 1200)
        yield Passed("metadata", 3)


class Chats(Source):
    """Three conversations, which have no column `text`."""

    def plan(self, context):
        return [Part("chats", "chats", "chats")]

    def read(self, part):
        said = ["hello It\u00e2\u20ac\u2122s Zebulon here", "good morning", "Zebulon said and said it again today"]
        schema = pa.schema([
            ("id", pa.string()), ("prompt", pa.string()), pa.field("messages", pa.string(), metadata={"curate.json": "1"}),
            ("source_uri", pa.string()),
        ])  # fmt: skip
        rows = [
            {"id": f"chat{number}", "prompt": "Zebulon asks", "messages": json.dumps([{"content": text}])}
            for number, text in enumerate(said)
        ]
        yield pa.Table.from_pylist([{**row, "source_uri": f"chats#{row['id']}"} for row in rows], schema=schema)


class Chapters(Expander):
    """Cuts documents at bars."""

    def open(self):
        def cut(batch):
            parts = [text.split("|") for text in batch.column("text").to_pylist()]
            parents = [row for row, some in enumerate(parts) for _ in some]
            return Expansion(pa.array(parents), {"text": pa.array([part for some in parts for part in some])})

        return cut


class Fix(Mapper):
    """Puts an apostrophe in the place of what became of it."""

    form: str = "NFC"

    def open(self):
        def fix(batch):
            said = Said()
            for row, text in enumerate(batch.column("text").to_pylist()):
                fixed = text.replace("\u00e2\u20ac\u2122", "'").replace("\x00", "")
                if fixed != text:
                    said.edit(row, fixed, "fixed", value=1)
            return Effect(said.table())

        return fix


class Short(Filter):
    """Drops texts of few words."""

    thresholds = frozenset({"min_words"})
    min_words: int = 5

    def open(self):
        def measure(batch):
            words = [float(len(text.split())) for text in batch.column("text").to_pylist()]
            symbols = [None if text.endswith("!") else 0.5 for text in batch.column("text").to_pylist()]
            return pa.table({"words": words, "symbols": pa.array(symbols, pa.float64())})

        return measure

    def rules(self):
        return [Rule("word_count", "words", minimum=self.min_words)]


class Twice(Short):
    """Measures the same twice."""

    def open(self):
        def measure(batch):
            words = [float(len(text.split())) for text in batch.column("text").to_pylist()]
            return pa.table({"words": words, "again": words})

        return measure


class Hide(Mapper):
    """Puts a mark in the place of what matches, and says that it was personal."""

    pattern: str = r"\S+@\S+\.\w+"
    type: str = "EMAIL"

    def open(self):
        def hide(batch):
            said = Said()
            for row, text in enumerate(batch.column("text").to_pylist()):
                found = list(re.finditer(self.pattern, text))
                if found:
                    spans = [Span(match.start(), match.end(), self.type) for match in found]
                    hidden = re.sub(self.pattern, f"<{self.type}>", text)
                    said.edit(row, hidden, "personal", value=len(found), spans=spans)
            return Effect(said.table())

        return hide


class Language(Mapper):
    """German where a text says so."""

    value: str = "en"

    def open(self):
        def label(batch):
            texts = batch.column("text").to_pylist()
            languages = [BAD if self.value == "bad" else "de" if "und" in text else "en" for text in texts]
            return Effect(Said().table(), {"language": pa.array(languages)})

        return label


class Hostile(Mapper):
    """Drops every other text, and edits the others, for a hostile reason."""

    label: str = BAD

    def open(self):
        def act(batch):
            said = Said()
            for row, text in enumerate(batch.column("text").to_pylist()):
                if row % 2:
                    said.drop(row, BAD, detail=BAD)
                else:
                    said.edit(row, text + BAD, BAD)
            return Effect(said.table())

        return act


class Biased(Filter):
    """Drops three of four texts with a word, and one of ten others."""

    word: str = "lesbian"

    def open(self):
        def measure(batch):
            texts, ids = batch.column("text").to_pylist(), batch.column("id").to_pylist()
            draws = [int("".join(one for one in name if one.isdigit()) or 0) % 20 for name in ids]
            bad = [draw < (15 if self.word in text else 2) for text, draw in zip(texts, draws, strict=True)]
            return pa.table({"bad": pa.array([float(one) for one in bad])})

        return measure

    def rules(self):
        return [Rule("unwanted", "bad", maximum=0.5)]


class Rude(Audit):
    """Scores texts: some words, and one innocent name."""

    def open(self):
        def measure(batch):
            texts = batch.column("text").to_pylist()
            return pa.table({"toxicity": [("hate" in one) * 0.6 + ("gay" in one) * 0.3 for one in texts]})

        return measure


class Look(Audit):
    """Measures how long texts are."""

    def open(self):
        def measure(batch):
            return pa.table({"length": [float(len(text)) for text in batch.column("text").to_pylist()]})

        return measure
