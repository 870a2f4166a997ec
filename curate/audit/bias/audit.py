"""The bias audit of a version: all families of measures that apply to data, each tested within itself.

Measures of models (pairs of sentences, counterfactual fairness, what is generated) are the evaluation's, and not here. Nothing
is drawn from a clock or a machine: equal versions, lexicons and questions give equal results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from curate.audit.bias.association import association
from curate.audit.bias.classifier import classifier, no_shares, not_truths, power_means, truths
from curate.audit.bias.corpus import collect
from curate.audit.bias.embedding import embedding
from curate.audit.bias.impact import impact
from curate.audit.bias.labels import agreement, annotators, labels
from curate.audit.bias.lexicon import Lexicon
from curate.audit.bias.measure import LEAST_DOCUMENTS, Measure
from curate.audit.bias.representation import Evenness, evenness, representation
from curate.audit.bias.scored import Instrument, find_scores, instrument, scored
from curate.audit.bias.statistics import effective_n
from curate.audit.bias.tables import Corpus, Wanted
from curate.audit.bias.values import weights_of
from curate.dataset.annotations import read_annotations
from curate.dataset.reader import Dataset
from curate.errors import CurateError, did_you_mean
from curate.stages.selectors import is_plain, joined, roots

__all__ = ["FAMILIES", "NOT_HERE", "Audited", "Question", "audit"]

FAMILIES = ("impact", "representation", "association", "scores", "classifier", "labels", "annotators", "embedding")
NOT_HERE = "measures of trained models"
WEIGHT = "weight"
"""The column that `reweigh` writes and the trainer is told to take."""


@dataclass(frozen=True, slots=True)
class Question:
    """What an audit is asked.

    Attributes:
        lexicon: The words.
        on: Selectors of the strings that are looked at.
        by: Columns or features whose values are groups, too.
        scores: Scores to compare by group; None is what is called like one.
        label: Column with the truth, or the label given.
        annotations: Project whose annotations are looked at, `annotator` and `label` naming their columns.
        annotator: Column of the annotations.
        cluster: Column whose equal values are one observation.
        embedding: Whether to train one.
        weight: Column of how much each document counts; None is `weight` where the version has one.
        unweighted: All documents count alike, whatever columns there are.
    """

    lexicon: Lexicon
    on: tuple[str, ...] = ("text",)
    by: tuple[str, ...] = ()
    scores: tuple[str, ...] | None = None
    label: str | None = None
    annotations: str | None = None
    annotator: str = "annotator"
    cluster: str | None = None
    embedding: bool = True
    weight: str | None = None
    unweighted: bool = False


@dataclass
class Audited:
    """What was found.

    Attributes:
        families: Measures by family, without groups that nothing mentions.
        skipped: By family why there are none.
        absent: Groups that no document mentions.
    """

    question: Question
    corpus: Corpus
    families: dict[str, list[Measure]]
    skipped: dict[str, str]
    absent: list[tuple[str, str]]
    evenness: list[Evenness]
    instruments: dict[str, Instrument]
    power_means: dict[str, dict[str, dict[str, Any] | None]] = field(default_factory=dict)
    agreement: list[dict[str, Any]] = field(default_factory=list)
    weight: str | None = None

    def with_verdict(self, verdict: str) -> list[Measure]:
        """The measures with a verdict, of all families."""
        return [one for measures in self.families.values() for one in measures if one.verdict == verdict]

    def cautions(self) -> list[str]:
        """What a reader has to know of this audit before believing it, in sentences."""
        corpus, told = self.corpus, list[str]()
        texts, without = corpus.foreign
        languages = {str(one["language"]) for one in self.question.lexicon.files}
        if languages == {"en"} and texts >= LEAST_DOCUMENTS and without > texts / 2:
            told.append(f"the lexicon is English, and {without:,} of {texts:,} texts that were tried seem not to be: groups "
                        "that they mention were not found")  # fmt: skip
        if corpus.weights is not None:
            told.append(f"documents count by the column `{self.weight}`, but for removal by stages and for false alarms, where "
                        f"all count alike; {len(corpus.weights[corpus.alive]):,} weighted ones are worth "
                        f"{effective_n(corpus.weights):,.0f}")  # fmt: skip
        if corpus.rewritten:
            told.append(f"{corpus.rewritten:,} documents of this version were edited by a stage after they were first there: "
                        "they were looked at as they were, so what edits changed is seen by the embedding alone")  # fmt: skip
        if self.question.cluster:
            told.append(f"equal values of `{self.question.cluster}` are one observation, but for removal by stages and for "
                        "representation, where each document is: these intervals may be too narrow")  # fmt: skip
        for name, (values, documents) in corpus.left_out.items():
            told.append(f"`{name}` has too many values: {values:,} less common ones, of {documents:,} documents, are no groups "
                        "and in no comparison of their own")  # fmt: skip
        return told

    def to_json(self) -> dict[str, Any]:
        """All of it, for scripts."""
        verdicts = ("flagged", "explained", "none", "insufficient")
        return {
            "lexicon": self.question.lexicon.files,
            "looked_at": self.corpus.looked,
            "not_looked_at": self.corpus.unseen,
            "documents": {"read": int(self.corpus.read[-1]), "kept": int(self.corpus.kept[-1]),
                          "without_text": self.corpus.without_text, "measured": self.corpus.measured},
            "weight": (self.corpus.weights is not None and self.weight) or None,
            "values_left_out": {name: {"values": values, "documents": documents}
                                for name, (values, documents) in self.corpus.left_out.items()},
            "documents_edited_later": self.corpus.rewritten,
            "texts_without_english": dict(zip(("texts", "without"), self.corpus.foreign, strict=True)),
            "cautions": self.cautions(),
            "verdicts": {name: len(self.with_verdict(name)) for name in verdicts},
            "findings": [one.to_json() for one in self.with_verdict("flagged")],
            "families": {name: [one.to_json() for one in measures] for name, measures in self.families.items()},
            "skipped": self.skipped,
            "groups_without_documents": [f"{axis}.{group}" for axis, group in self.absent],
            "evenness": [one.to_json() for one in self.evenness],
            "instruments": {name: {"problem": tool.problem, "sentences": tool.sentences,
                                   "gaps": {f"{axis}.{group}": gap for (axis, group), gap in tool.gaps.items()}}
                            for name, tool in self.instruments.items()},
            "power_means": self.power_means,
            "agreement": self.agreement,
            "examples": [
                {"stage": stage, "group": ".".join(self.corpus.groups[group]), "id": one.id, "reason": one.reason}
                for (stage, group), some in self.corpus.examples.items() for one in some
            ],
        }  # fmt: skip


def audit(
    dataset: Dataset, question: Question, tell: Callable[[str, int], None] = lambda phase, documents: None
) -> Audited:
    """Measure everything that applies.

    Args:
        dataset: The version; documents that its stages removed are looked at, too.
        question: What to look at.
        tell: Called with a phase and the documents that are done in it.

    Raises:
        CurateError: A column, score, axis or project that was asked for is not there.
    """
    asker = _Asker(dataset, question)
    scores = question.scores if question.scores is not None else tuple(asker.found_scores)
    columns = tuple(name for name in (question.label if not question.annotations else None,) if name)
    weight = question.weight or (WEIGHT if WEIGHT in dataset.columns else None)
    weight = None if question.unweighted else weight
    wanted = Wanted(
        question.on,
        question.by,
        scores,
        (*columns, *(("id",) if question.annotations else ())),
        question.cluster,
        weight,
    )
    corpus = collect(dataset, question.lexicon, wanted, lambda documents: tell("count", documents))
    tools = {
        name: instrument(dataset.manifest["stages"], name, question.lexicon, corpus.terms) for name in corpus.values
    }
    families: dict[str, list[Measure]] = {
        "impact": impact(corpus),
        "representation": representation(corpus, question.lexicon),
        "association": association(corpus),
        "scores": scored(corpus, tools),
    }
    skipped = asker.skipped(scores)
    absent = [pair for number, pair in enumerate(corpus.groups) if not corpus.read[number]]
    audited = Audited(
        question, corpus, families, skipped, absent, evenness(corpus, question.lexicon), {**tools}, weight=weight
    )
    _labelled(audited, dataset)
    if question.embedding:
        tell("embedding", 0)
        families["embedding"] = embedding(_texts(dataset, question.on, weight), question.lexicon)
    else:
        skipped["embedding"] = "it was left out"
    for name, measures in families.items():
        families[name] = [one for one in measures if one.n or name in ("representation", "embedding")]
    return audited


def _labelled(audited: Audited, dataset: Dataset) -> None:
    """Labels, the annotators who gave them, and the classifier that is held against them."""
    question, corpus = audited.question, audited.corpus
    if question.annotations:
        said = _said(dataset, question, corpus)
        audited.families["annotators"] = annotators(corpus, said)
        audited.agreement = agreement(corpus, said)
        return
    audited.skipped["annotators"] = "no annotations were named (--annotations PROJECT)"
    values = corpus.labels.get(question.label or "")
    if values is None:
        return
    assert question.label
    audited.families["labels"] = labels(corpus, question.label, values)
    if problem := not_truths(values):
        audited.skipped["classifier"] = problem
        return
    truth = truths(values)
    for name, score in corpus.values.items():
        if no_shares(score):
            audited.skipped["classifier"] = f"`{name}` is no score from 0 to 1"
            continue
        audited.families.setdefault("classifier", []).extend(classifier(corpus, truth, score))
        audited.power_means[name] = power_means(corpus, truth, score)


def _said(dataset: Dataset, question: Question, corpus: Corpus) -> list[tuple[int, Any, Any]]:
    table = read_annotations(dataset.store, question.annotations or "")
    names = ("id", question.annotator, question.label or "label")
    for name in names:
        if name not in table.column_names:
            there = did_you_mean(name, table.column_names) or f"there are: {', '.join(table.column_names)}"
            raise CurateError(f"the annotations of `{question.annotations}` have no column `{name}`", hint=there)
    places = {identity: at for at, identity in enumerate(corpus.labels.get("id", []))}
    rows = zip(*(table.column(name).to_pylist() for name in names), strict=True)
    return [(places[one], by, label) for one, by, label in rows if one in places and label is not None]


def _texts(dataset: Dataset, on: Sequence[str], weight: str | None) -> Iterator[tuple[str, float]]:
    try:
        columns = roots(on, dataset.schema)
    except CurateError:
        return
    of = weight if weight in dataset.columns else None
    for batch in dataset.batches(columns=[*columns, *([of] if of and of not in columns else [])]):
        table = pa.Table.from_batches([batch])
        column = table.column("text") if is_plain(on) else joined(table, on)
        weights = weights_of(table.column(of).to_pylist(), of).tolist() if of else [1.0] * len(column)
        yield from ((text, one) for text, one in zip(column.to_pylist(), weights, strict=True) if text)


class _Asker:
    """What of a question the version can answer."""

    def __init__(self, dataset: Dataset, question: Question) -> None:
        self.question = question
        features: dict[str, list[str]] = {}
        for shard in dataset.ledger():
            for step in shard.steps:
                if step.features and step.stage not in features:
                    schema = dataset.store.read_schema(step.features)
                    features[step.stage] = [
                        one.name
                        for one in schema
                        if not one.name.startswith("#")
                        and (pa.types.is_floating(one.type) or pa.types.is_integer(one.type))
                    ]
        self.features = features
        numeric = [one.name for one in dataset.schema if pa.types.is_floating(one.type)]
        self.found_scores = find_scores(features, numeric)

    def skipped(self, scores: Sequence[str]) -> dict[str, str]:
        told: dict[str, str] = {}
        if not scores:
            known = [f"{stage}.{name}" for stage, names in self.features.items() for name in names if name != "row"]
            listed = f"; there are {', '.join(known[:8])}{', ...' if len(known) > 8 else ''}" if known else ""
            told["scores"] = (
                f"no stage measured what is called toxicity, sentiment or regard (--score NAME compares any{listed})"
            )
        if not self.question.label:
            told["labels"] = "no label was named (--label COLUMN)"
        if not (self.question.label and scores) or self.question.annotations:
            told["classifier"] = "it needs a label and a score (--label COLUMN --score NAME)"
        return told
