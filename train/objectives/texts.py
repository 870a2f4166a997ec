"""What a model writes, against what is right: scores of texts, which validation adds up and the evaluation suite keeps.

exact_match and token_f1 are SQuAD's (Rajpurkar et al. 2016): lower case, without punctuation, articles and extra white
space; the best of several answers counts. Where nothing else is left of both (`A`, `+`), they must be the same as they are.
ROUGE is rouge-score's F-measure with stemming, BLEU and chrF are sacrebleu's, of a whole split.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.train.settings.methods import TextMetric

__all__ = ["OF_CORPUS", "corpus_counts", "exact_match", "judged", "sacrebleu", "summed", "text_scores", "token_f1"]

OF_CORPUS: tuple[TextMetric, ...] = ("bleu", "chrf")
"""Metrics of all texts together, from 0 to 100."""
ROUGE = ("rouge1", "rouge2", "rougeL")


def judged(said: Sequence[str], references: Sequence[Sequence[str]], metrics: Sequence[str]) -> dict[str, list[Any]]:
    """The facts that metrics need: a score in [0, 1] of each text, or the texts themselves (BLEU, chrF).

    Args:
        said: A text of each item.
        references: What would be right, one or several of each item.
        metrics: `exact_match`, `token_f1`, `bleu`, `chrf`, `rouge1`, `rouge2`, `rougeL`.
    """
    facts: dict[str, list[Any]] = {}
    pairs = list(zip(said, references, strict=True))
    for name, score in {"exact_match": exact_match, "token_f1": token_f1}.items():
        if name in metrics:
            facts[name] = [max(score(one, right) for right in some) for one, some in pairs]
    wanted = [name for name in ROUGE if name in metrics]
    if wanted:
        facts |= _rouge(pairs, wanted)
    if set(OF_CORPUS) & set(metrics):
        facts |= {"hypothesis": list(said), "references": [list(some) for some in references]}
    return facts


def summed(said: Sequence[str], references: Sequence[str], metrics: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Sums over texts that add up over the pieces of a split; `text_scores` makes scores of them.

    Args:
        said: A text of each item.
        references: What would be right.
        metrics: As for `judged`.
    """
    facts = judged(said, [[one] for one in references], metrics)
    sums = {f"text.{name}": np.array(float(sum(facts[name]))) for name in metrics if name in facts}
    for name in OF_CORPUS:
        if name in metrics:
            sums[f"text.{name}"] = corpus_counts(name, facts["hypothesis"], facts["references"]).sum(0)
    return {**sums, "text.count": np.array(float(len(said)))}


def text_scores(sums: Mapping[str, Any]) -> dict[str, float]:
    """Metrics by name, of sums of `summed`."""
    count = max(float(sums["text.count"]), 1.0)
    found: dict[str, float] = {}
    for key, value in sums.items():
        name = key.removeprefix("text.")
        if name in OF_CORPUS:
            found[name] = sacrebleu(name)._compute_score_from_stats([round(float(one)) for one in value]).score
        elif key.startswith("text.") and name != "count":
            found[name] = float(value) / count
    return found


def exact_match(said: str, right: str) -> float:
    """1.0 where both are the same words."""
    one, other = _words(said), _words(right)
    if not one and not other:
        return float(said.strip().lower() == right.strip().lower())
    return float(one == other)


def token_f1(said: str, right: str) -> float:
    """F1 of the words that both have, with their number."""
    one, other = _words(said), _words(right)
    if not one or not other:
        return exact_match(said, right)
    both = sum((Counter(one) & Counter(other)).values())
    return 2 * both / (len(one) + len(other))


_PUNCTUATION = str.maketrans("", "", string.punctuation)


def _words(text: str) -> list[str]:
    return re.sub(r"\b(a|an|the)\b", " ", text.lower().translate(_PUNCTUATION)).split()


def _rouge(pairs: Sequence[tuple[str, Sequence[str]]], wanted: list[str]) -> dict[str, list[Any]]:
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(wanted, use_stemmer=True)
    found = [scorer.score_multi(some, one) for one, some in pairs]
    return {name: [float(one[name].fmeasure) for one in found] for name in wanted}


@cache
def sacrebleu(metric: str) -> Any:
    """Sacrebleu's scorer."""
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    return BLEU() if metric == "bleu" else CHRF()


def corpus_counts(metric: str, said: Sequence[str], references: Sequence[Sequence[str]]) -> NDArray[np.float64]:
    """Sacrebleu's counts of each text, (texts, counts), which add up.

    Args:
        metric: `bleu` or `chrf`.
        said: The texts.
        references: What would be right of each, one or several.
    """
    if not said:
        return corpus_counts(metric, [""], [[""]])[:0]
    most = max(map(len, references))
    streams = [[one[place] if place < len(one) else None for one in references] for place in range(most)]
    counts = sacrebleu(metric)._extract_corpus_statistics(list(said), streams)
    return np.array(counts, np.float64).reshape(len(said), -1)
