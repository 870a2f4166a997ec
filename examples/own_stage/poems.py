"""A source and a filter of one's own: what a stage must have, and no more."""

from pathlib import Path

from curate.stages.contract import Filter, Part, Rule, Source


class Poems(Source):
    """Read poems.txt: so many lines are one document."""

    lines: int = 4

    def plan(self, context):
        path = context.root / "poems.txt"
        return [Part("poems.txt", str(path), context.content_hash(path))]

    def read(self, part):
        import pyarrow as pa

        lines = [line for line in Path(part.location).read_text(encoding="utf-8").splitlines() if line.strip()]
        texts = ["\n".join(lines[start : start + self.lines]) for start in range(0, len(lines), self.lines)]
        places = [f"{part.name}#{start}" for start in range(0, len(lines), self.lines)]
        yield pa.table({"id": pa.nulls(len(texts), pa.string()), "text": texts, "source_uri": places})


class Shouting(Filter):
    """Drop documents that are mostly capitals."""

    most: float = 0.5
    thresholds = frozenset({"most"})  # a changed threshold decides again, and measures nothing

    def open(self):
        import pyarrow as pa

        def measure(batch):
            texts = batch.column("text").to_pylist()
            return pa.table({"capitals": [sum(map(str.isupper, text)) / max(len(text), 1) for text in texts]})

        return measure

    def rules(self):
        return [Rule("shouting", "capitals", maximum=self.most)]
