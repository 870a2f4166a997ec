"""The card of the packaged toxicity model: what it learned from, how well it does, whom it hits, what it cannot see.

`measure` is also what the suite holds the packaged weights to. Intervals are 95 % bootstraps over texts (1,000 draws).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import rankdata
from toxicity_data import IDENTITIES, Text, books, holds_profanity, lexicon_terms, madlibs, prose, sets

from curate.audit.toxicity.linear import Model, score_texts
from curate.audit.toxicity.words import buffers, terms

__all__ = ["auc", "card", "measure", "scores"]

SOURCES = {
    "davidson": ("Davidson et al. 2017, hate speech and offensive language: tweets", "MIT"),
    "tweeteval": (
        "OLID by TweetEval (Zampieri et al. 2019, Barbieri et al. 2020): tweets",
        "terms of its authors, research",
    ),
    "vicomtech": ("de Gibert et al. 2018: sentences of a white supremacist forum", "CC BY-SA 3.0"),
    "prose": ("WikiText-2, valid: paragraphs of Wikipedia, taken as not toxic", "CC BY-SA 3.0"),
    "books": ("every second of 68 English books, taken as not toxic", "public domain"),
    "templates": ("sentences of this project (benchmarks/toxicity_data.py)", "Apache-2.0"),
}
LIMITS = (
    "English only; what it says of other languages means nothing.",
    "It knows words and pairs of words. Hate without a word used for it is seen little better than by chance: look at "
    "`hate_without_profanity`. So are irony and threats in plain words.",
    "It does not know who speaks: quotations, counter-speech and reclaimed words score as what they quote.",
    "Its labels are of people who took casual African-American English for offensive more often than other English (Sap et al. "
    "2019, of the Davidson set), and nothing here takes that out. Measure whom a threshold hits before dropping.",
    "Words that only name a group are taken out before scoring, slurs are not.",
    "In a text of many windows the greatest of them is high by chance alone: look at `toxicity_mean` there.",
    "The Jigsaw sample is small: 31 toxic comments, which whoever wrote the templates had read. Take the interval for the "
    "number.",
    "Probabilities are for half toxic, half not, in the mixture of tweets that they were fitted on.",
)


def auc(score: Sequence[float] | np.ndarray, toxic: Sequence[bool] | np.ndarray) -> float:
    """The chance that a toxic text scores higher than one that is not; ties count half."""
    labels = np.asarray(toxic, bool)
    ranks, positive = rankdata(score), labels.sum()
    return float((ranks[labels].sum() - positive * (positive + 1) / 2) / (positive * (len(labels) - positive)))


def scores(texts: Sequence[str], model: Model) -> np.ndarray:
    """The greatest probability over the windows of each text."""
    return score_texts(*buffers(texts), model)[0].astype(float)


def _interval(score: np.ndarray, toxic: np.ndarray, draws: int) -> list[float]:
    draw = np.random.default_rng(0)
    drawn = []
    for _ in range(draws):
        rows = draw.integers(0, len(score), len(score))
        if 0 < toxic[rows].sum() < len(rows):
            drawn.append(auc(score[rows], toxic[rows]))
    return [round(float(one), 3) for one in np.quantile(drawn, [0.025, 0.975])]


def _of_set(texts: Sequence[str], toxic: np.ndarray, model: Model, draws: int) -> dict[str, Any]:
    score = scores(texts, model)
    return {
        "texts": len(texts), "toxic": int(toxic.sum()), "auc": round(auc(score, toxic), 4),
        **({"interval": _interval(score, toxic, draws)} if draws else {}),
        "found_at_half": round(float((score[toxic] >= 0.5).mean()), 3),
        "false_at_half": round(float((score[~toxic] >= 0.5).mean()), 3),
    }  # fmt: skip


def _planted(texts: Sequence[Text], model: Model, draws: int) -> dict[str, Any]:
    """Tweets in the middle of 1,500 characters of a book: is it the toxic ones that show?"""
    tweets = [one for one in texts if one.source == "davidson"][:1200]
    around = list(books("test"))
    mixed = [
        f"{around[place % len(around)][:750]} {one.text} {around[place % len(around)][750:]}"
        for place, one in enumerate(tweets)
    ]
    return _of_set(mixed, np.array([one.toxic for one in tweets]), model, draws)


def _identities(model: Model) -> dict[str, Any]:
    """AUCs (Borkan et al. 2019) and false positive rates by identity term, on the Jigsaw templates."""
    rows = list(madlibs())
    score, toxic = scores([one[0] for one in rows], model), np.array([one[1] for one in rows])
    template, term = np.array([one[2] for one in rows]), np.array([one[3] for one in rows])
    told = {}
    for name, chosen in (
        ("kept_aside", ("name_adj", "being_adj")),
        ("looked_at", ("you_are_adj", "verb_adj", "am_hate_adj")),
    ):
        here = np.isin(template, chosen)
        by_term = {
            str(one): _of_term(score[here], toxic[here], term[here] == one) for one in sorted({*term[here]} - {""})
        }
        told[name] = {
            "templates": list(chosen), "texts": int(here.sum()), "auc": round(auc(score[here], toxic[here]), 4),
            **{kind: _power_mean([one[kind] for one in by_term.values()]) for kind in ("bpsn", "bnsp", "subgroup")},
            "worst_bpsn": min((one["bpsn"], name) for name, one in by_term.items()), "terms": by_term,
        }  # fmt: skip
    return told


def _of_term(score: np.ndarray, toxic: np.ndarray, mine: np.ndarray) -> dict[str, float]:
    bpsn, bnsp = mine & ~toxic | ~mine & toxic, mine & toxic | ~mine & ~toxic
    clean = score[mine & ~toxic]
    numbers = {
        "bpsn": auc(score[bpsn], toxic[bpsn]), "bnsp": auc(score[bnsp], toxic[bnsp]), "subgroup": auc(score[mine], toxic[mine]),
        "false_at_half": float((clean >= 0.5).mean()), "false_at_0.9": float((clean >= 0.9).mean()),
    }  # fmt: skip
    return {name: round(value, 3) for name, value in numbers.items()}


def _power_mean(values: Sequence[float]) -> float:
    return round(float(np.mean(np.array(values) ** -5.0) ** (-1 / 5)), 4)


def measure(model: Model, draws: int = 1000) -> dict[str, Any]:
    """All numbers of the card, of texts that the model did not learn from; without draws no intervals."""
    texts = [one for one in sets() if one.part == "test"]
    told: dict[str, Any] = {}
    for name in ("davidson", "tweeteval", "vicomtech", "jigsaw"):
        mine = [one for one in texts if one.source.partition("_")[0] == name]
        told[name] = _of_set([one.text for one in mine], np.array([one.toxic for one in mine]), model, draws)
    listed = lexicon_terms()
    plain = [one for one in texts if one.source == "vicomtech" and not holds_profanity(one.text, listed)]
    told["planted"] = _planted(texts, model, draws)
    told["hate_without_profanity"] = _of_set(
        [one.text for one in plain], np.array([one.toxic for one in plain]), model, draws
    )
    for name, clean in (("prose", list(prose("test"))), ("books", list(books("test")))):
        score = scores(clean, model)
        false = {f"false_at_{at}": round(float((score >= at).mean()), 4) for at in (0.5, 0.8, 0.9, 0.95)}
        told[name] = {"texts": len(score), **false}
    return {"sets": told, "identities": _identities(model)}


def card(weights: np.ndarray, numbers: dict[str, float], counted: dict[str, Any]) -> dict[str, Any]:
    """The card of new weights."""
    listed = [one.replace("-", " ") for one in IDENTITIES]
    model = Model(weights.astype(np.float32), numbers["bias"], numbers["slope"], numbers["intercept"], terms(listed))
    return {
        "schema": 1, "name": "curate toxicity, linear, 1", "made_by": "benchmarks/toxicity_model.py", "model": numbers,
        "learned_from": {
            name: {"what": what, "licence": licence, **({"texts": counted[name]} if name in counted else {})}
            for name, (what, licence) in SOURCES.items()
        },
        "limits": LIMITS, "measured": measure(model), "taken_out": listed,
    }  # fmt: skip
