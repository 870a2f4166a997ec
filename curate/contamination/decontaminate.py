"""Evaluation data out of training data: documents that have it are dropped, or it is cut out of them.

How overlap is measured stands in curate/contamination/index.py, what a word is in curate/contamination/words.py. What was
found is kept for every document, so another threshold, or cutting instead of dropping, measures nothing again.

Sources: Brown et al. 2020, appendix C (n-grams of 13 words; what is left of a document is dropped under 200 characters);
Touvron et al. 2023, appendix A.6 (an item is clean below a fifth). Cost: benchmarks/decontaminate.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from curate.contamination.items import EvaluationFiles, Text, evaluation_paths, evaluation_texts
from curate.errors import CurateError
from curate.stages.contract import Filter, Rule
from curate.stages.missing import needing
from curate.stages.verdicts import united_spans

if TYPE_CHECKING:
    import pyarrow as pa

    from curate.contamination.index import Found, Index

__all__ = ["MOST_MATCHES", "Decontaminate"]

MOST_MATCHES = 1000
"""Texts that are noted of one document: those that it has most of, and always the one with the longest run."""


class Decontaminate(Filter):
    """Drops documents that have texts of evaluation files, or cuts these out.

    Texts are compared word by word: case, punctuation, accents, white space and forms of Unicode do not count. Of a text of
    `ngram` words or more, `contamination` is the share of its n-grams that the document has, `contamination_words` the words of
    its longest run of them; a shorter text is found as a whole. Both are of the text that the document has most of, which
    `contaminated_by` names (`FILE:ROW FIELD`); the detail of a verdict names it with share and place.
    """

    version: ClassVar[int] = 3
    libraries: ClassVar[tuple[str, ...]] = ("numba", "numpy")
    thresholds: ClassVar[frozenset[str]] = frozenset({"max_share", "max_words", "action", "min_left"})
    carries: ClassVar[tuple[str, ...]] = ("contamination", "contamination_words", "contaminated_by")
    reasons: ClassVar[Mapping[str, str]] = {
        "contaminated": "it has a larger share of an evaluation text than `max_share`, or that was cut out of it",
        "contaminated_span": "it has more words of an evaluation text in a row than `max_words`, or they were cut out",
        "contaminated_left": "evaluation texts were cut out, and fewer characters than `min_left` are left",
    }

    evaluation: tuple[str | EvaluationFiles, ...] = Field(
        (),
        description="Files of evaluation data, or patterns, relative to the pipeline file: `gsm8k/*.jsonl`, "
        "or `{files: [...], fields: [question]}`.",
    )
    tasks: tuple[str, ...] = Field(
        (),
        description="Files of tasks as `curate eval --tasks` takes them, relative to the pipeline file: "
        "all texts of the rows that they ask about.",
    )
    ngram: int = Field(13, ge=2, le=64, description="Words in an n-gram.")
    shortest: int = Field(
        8,
        ge=2,
        le=64,
        description="Texts of fewer words than `ngram` are looked for as a whole, but for those of fewer than these.",
    )
    max_share: float | None = Field(
        0.2,
        ge=0,
        lt=1,
        description="Largest share of an evaluation text's n-grams that is kept; 0 allows none at all, null any.",
    )
    max_words: int | None = Field(
        50,
        ge=0,
        description="Most words in a row of an evaluation text that are kept, whatever its share; null is any.",
    )
    action: Literal["drop", "cut"] = Field(
        "drop", description="`drop` the document, or `cut` out the words that it has of such texts."
    )
    min_left: int = Field(
        200, ge=0, description="With `cut`: documents of which fewer characters are left are dropped."
    )

    @model_validator(mode="after")
    def _settings_agree(self) -> Self:
        if not (self.evaluation or self.tasks):
            raise ValueError("name what is looked for: `evaluation:` (files), `tasks:` (files of tasks), or both")
        if self.shortest > self.ngram:
            raise ValueError(f"`shortest: {self.shortest}` is more than `ngram: {self.ngram}`")
        if self.action == "cut" and tuple(self.on) != ("text",):
            raise ValueError("`action: cut` cuts the column `text`, and `on` names others; drop such documents")
        return self

    def model_files(self) -> Sequence[Path]:
        """The evaluation files, and those of tasks."""
        return evaluation_paths(self.evaluation, self.tasks, root=self.beside(""))

    def facts(self) -> Mapping[str, str]:
        """How many texts are looked for, and how many are too short to be."""
        _, index = self._index()
        short = int((index.words < self.shortest).sum())
        return {"evaluation_texts": str(len(index.words) - short), "evaluation_texts_too_short": str(short)}

    def columns(self) -> Sequence[str]:
        """Nothing but the text."""
        return ()

    def _index(self) -> tuple[list[Text], Index]:
        from curate.contamination.index import build_index

        texts = evaluation_texts(self.evaluation, self.tasks, root=self.beside(""))
        index = build_index([one.text for one in texts], ngram=self.ngram, shortest=min(self.shortest, self.ngram))
        if not len(index.keys):
            raise CurateError(
                f"no evaluation text has {self.shortest} words", "evaluation", "lower `shortest`, or name other fields"
            )
        return texts, index

    @needing("decontaminate")
    def open(self) -> Callable[[pa.Table], pa.Table]:
        """Measures what the class names, `characters`, and `matches`: each text with share, longest run and spans."""
        import pyarrow.compute as compute

        from curate.contamination.index import find_texts
        from curate.stages.buffers import text_buffer

        texts, index = self._index()
        names = [one.name for one in texts]

        def measure(batch: pa.Table) -> pa.Table:
            column = batch.column("text")
            found = find_texts(*text_buffer(column), index)
            return _features(found, compute.utf8_length(column), names)

        return measure

    def rules(self) -> Sequence[Rule]:
        """The share first."""
        return (
            Rule("contaminated", "contamination", maximum=self.max_share),
            Rule("contaminated_span", "contamination_words", maximum=self.max_words),
        )

    def edits(self) -> bool:
        """Where it cuts."""
        return self.action == "cut"

    def decide(self, features: pa.Table) -> pa.Table:
        """Drops, or cuts; the detail names the text that the document has most of."""
        import pyarrow as pa

        said = super().decide(features)
        verdicts = []
        rows = said.column("row").combine_chunks()
        there = features.select(["matches", "characters"]).take(rows).to_pylist()
        for verdict, known in zip(said.to_pylist(), there, strict=True):
            over = [one for one in known["matches"] if self._is_over(one)]
            verdict["detail"] = _words(over)
            if self.action == "cut" and len(known["matches"]) < MOST_MATCHES:
                self._cut(verdict, over, known["characters"])
            verdicts.append(verdict)
        return pa.Table.from_pylist(verdicts, schema=said.schema)

    def _is_over(self, match: Mapping[str, Any]) -> bool:
        return (self.max_share is not None and match["share"] > self.max_share) or (
            self.max_words is not None and match["words"] > self.max_words
        )

    def _cut(self, verdict: dict[str, Any], over: Sequence[Mapping[str, Any]], characters: int) -> None:
        """Make it an edit by spans (the engine takes them out), unless too little is left."""
        spans = united_spans((span["start"], span["end"]) for one in over for span in one["spans"])
        left = characters - sum(end - start for start, end in spans)
        if left < self.min_left:
            verdict |= {"reason": "contaminated_left", "value": left, "threshold": self.min_left}
        else:
            whole = [{"start": start, "end": end, "type": "evaluation", "score": 1.0} for start, end in spans]
            verdict |= {"verdict": "edited", "spans": whole}


def _features(found: Found, characters: Any, names: Sequence[str]) -> pa.Table:
    """A row for each document from what was found of it."""
    import numpy as np
    import pyarrow as pa

    documents = len(characters)
    share, words = np.zeros(documents), np.zeros(documents, np.int32)
    np.maximum.at(share, found.documents, found.shares)
    np.maximum.at(words, found.documents, found.longest.astype(np.int32))
    matches: list[list[dict[str, Any]]] = [[] for _ in range(documents)]
    order = np.lexsort((found.texts, -found.longest, -found.shares, found.documents))
    edges = np.searchsorted(found.spans[:, 0], np.arange(len(order) + 1))
    documents_of: list[int] = found.documents.tolist()
    texts: list[int] = found.texts.tolist()
    starts: list[int] = edges.tolist()
    longest: list[bool] = (found.longest == words[found.documents]).tolist()
    noted = [False] * documents  # whether the text with the longest run is among the matches
    for pair in order.tolist():
        document = documents_of[pair]
        here, first = matches[document], longest[pair] and not noted[document]
        if len(here) < MOST_MATCHES or first:
            here[MOST_MATCHES - 1 :] = []
            here.append({
                "item": names[texts[pair]], "share": float(found.shares[pair]), "words": int(found.longest[pair]),
                "spans": [
                    {"start": start, "end": end} for _, start, end in found.spans[starts[pair] : starts[pair + 1]].tolist()
                ],
            })  # fmt: skip
            noted[document] |= first
    span = pa.struct([("start", pa.int32()), ("end", pa.int32())])
    kind = pa.struct([("item", pa.string()), ("share", pa.float64()), ("words", pa.int32()), ("spans", _list(span))])
    return pa.table({
        "contamination": share,
        "contamination_words": words,
        "contaminated_by": pa.array([here[0]["item"] if here else None for here in matches], pa.string()),
        "characters": characters.cast(pa.int32()),
        "matches": pa.array(matches, _list(kind)),
    })  # fmt: skip


def _list(kind: pa.DataType) -> pa.DataType:
    """A list as Parquet gives it back: what is read and written again is then the same bytes."""
    import pyarrow as pa

    return pa.list_(pa.field("element", kind))


def _words(over: Sequence[Mapping[str, Any]]) -> str:
    """The text that the document has most of, in words, and how many others there are."""
    first = over[0]
    span = max(first["spans"], key=lambda span: span["end"] - span["start"])
    more = f"; and of {len(over) - 1:,} more" if over[1:] else ""
    place = f"{span['start']}-{span['end']}"
    return f"{first['item']}: share {first['share']:.2f}, {first['words']} words, at characters {place}{more}"
