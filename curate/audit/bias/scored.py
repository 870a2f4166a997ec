"""Scores by group (toxicity, sentiment, regard), with what the instrument says of a name alone taken off.

A model of toxicity may score a neutral sentence higher because it names a group. So where the stage that measured the score can
be run again, it is run on the lexicon's templates with the terms of every group, and the group's own gap (its mean less that
of all groups) is subtracted before documents are compared. The plain difference is told beside. Templates are short: in long
documents a name weighs less, so the corrected difference is the careful one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from curate.audit.bias.lexicon import Lexicon
from curate.audit.bias.measure import LEAST_DOCUMENTS, Measure, decide
from curate.audit.bias.scores import cliffs_delta, detectable_delta, difference
from curate.audit.bias.statistics import effective_n
from curate.audit.bias.tables import Corpus
from curate.errors import CurateError
from curate.stages.contract import Audit, Filter, Mapper
from curate.stages.registry import stage_of

__all__ = ["SCORES", "Instrument", "find_scores", "instrument", "scored"]

SCORES = ("toxic", "sentiment", "regard", "hate", "insult", "offens")
"""What names of scores that are compared unless told begin with."""
MOST_TERMS = 12
"""Terms of a group that an instrument is tried with."""


class Instrument(NamedTuple):
    """What an instrument says of names alone.

    Attributes:
        gaps: By axis and group.
        problem: Why it could not be run, or None.
        sentences: How many it was shown.
    """

    gaps: Mapping[tuple[str, str], float]
    problem: str | None
    sentences: int


def find_scores(features: Mapping[str, list[str]], columns: list[str]) -> list[str]:
    """Scores that are compared unless somebody says which: numeric features (by stage) and columns with such names."""
    named = [f"{stage}.{name}" for stage, names in features.items() for name in names if name.startswith(SCORES)]
    known = {one.rpartition(".")[2] for one in named}
    return named + [name for name in columns if name.startswith(SCORES) and name not in known]


def scored(corpus: Corpus, instruments: Mapping[str, Instrument]) -> list[Measure]:
    """A measure for every score and group, of the version's documents that have the score, by their weights."""
    found = []
    for name, values in corpus.values.items():
        there = np.isfinite(values) & corpus.alive & (corpus.weights is None or corpus.weights > 0)
        tool = instruments.get(name, Instrument({}, "no stage measured it", 0))
        for number, pair in enumerate(corpus.groups):
            mine = corpus.members[:, number]
            x, y = there & mine, there & ~mine
            found.append(_measure(corpus, name, pair, values, x, y, tool))
    return decide(found)


def _measure(
    corpus: Corpus, name: str, pair: tuple[str, str], values: np.ndarray, x: np.ndarray, y: np.ndarray, tool: Instrument
) -> Measure:
    n, others = int(x.sum()), int(y.sum())
    measure = Measure(
        "scores",
        name,
        *pair,
        n,
        others,
        "delta",
        facts={"instrument": tool.problem or ("subtracted" if pair in tool.gaps else "not known")},
    )
    if min(n, others) < LEAST_DOCUMENTS:
        return measure
    gap = tool.gaps.get(pair, 0.0)
    weights = (None, None) if corpus.weights is None else (corpus.weights[x], corpus.weights[y])
    sides = corpus.clusters[x], corpus.clusters[y], *weights
    plain, corrected = (cliffs_delta(values[x] - one, values[y], *sides) for one in (0.0, gap))
    means = difference(values[x] - gap, values[y], *sides)
    worth = (
        (n, others) if corpus.weights is None else tuple(round(effective_n(one)) for one in weights if one is not None)
    )
    facts = {
        **measure.facts,
        "mean": float(np.average(values[x], weights=weights[0])),
        "mean_others": float(np.average(values[y], weights=weights[1])),
        "gap": gap if pair in tool.gaps else None,
        "difference": means._asdict() | {"p": None},
        "plain": plain._asdict() | {"p": None},
    }
    estimate = corrected if corrected.p is not None else None
    return replace(measure, estimate=estimate, facts=facts, detectable=detectable_delta(*worth))


def instrument(stages: list[dict[str, Any]], score: str, lexicon: Lexicon, found: np.ndarray) -> Instrument:
    """Run the stage that measured a score on the templates.

    Args:
        stages: Those of the version's manifest.
        score: `stage.feature`.
        lexicon: Terms and templates.
        found: How often each term was found: a group's gap is that of its terms as they occur.
    """
    stage, _, feature = score.rpartition(".")
    record = next((one for one in stages if one["id"] == stage), None)
    if record is None:
        return Instrument({}, "no stage of this version measured it", 0)
    by_group: dict[tuple[str, str], list[int]] = {}
    for number in np.argsort(-found, kind="stable").tolist():
        term = lexicon.terms[number]
        chosen = by_group.setdefault((term.axis, term.group), [])
        if term.section == "groups" and len(chosen) < MOST_TERMS:
            chosen.append(number)
    numbers = [number for chosen in by_group.values() for number in chosen]
    texts = [one.replace("{term}", " ".join(lexicon.terms[at].words)) for at in numbers for one in lexicon.templates]
    if not texts:
        return Instrument({}, "the lexicon has no templates", 0)
    try:
        values = np.array(_run(record, feature, texts)).reshape(len(numbers), -1).mean(axis=1)
    except Exception as error:  # a stage's own code, which may need what is not on this machine
        told = error.problem if isinstance(error, CurateError) else f"{type(error).__name__}: {error}"
        return Instrument({}, f"`{stage}` could not be run again: {told}", 0)
    by_term = {at: value for at, value in zip(numbers, values.tolist(), strict=True) if np.isfinite(value)}
    means: dict[tuple[str, str], float] = {}
    for pair, chosen in by_group.items():
        some = [at for at in chosen if at in by_term]
        if some:
            weights = [max(found[at], 1e-6) for at in some]
            means[pair] = float(np.average([by_term[at] for at in some], weights=weights))
    if not means:
        return Instrument({}, f"`{stage}` gives neutral sentences no score", 0)
    middle = float(np.mean([*means.values()]))
    return Instrument({pair: mean - middle for pair, mean in means.items()}, None, len(texts))


def _run(record: dict[str, Any], feature: str, texts: list[str]) -> list[float]:
    """A feature of texts, as the stage with its settings measures it."""
    stage = stage_of(record["stage"], {**record["settings"], "on": ["text"]})
    names = [f"template-{number}" for number in range(len(texts))]
    batch = pa.table({"id": names, "text": texts, "source_uri": names})
    if isinstance(stage, Mapper):
        column = stage.open()(batch).columns[feature]
    elif isinstance(stage, Audit | Filter):
        column = stage.open()(batch).column(feature)
    else:
        raise CurateError(f"a stage of the kind `{stage.kind}` measures no texts")
    return [float("nan") if one is None else float(one) for one in column.to_pylist()]
