"""What a model writes, against what is right.

exact_match and token_f1 are SQuAD's (Rajpurkar et al. 2016): lower case, without punctuation, articles and extra white
space; the best of several answers counts. Where nothing else is left of both (`A`, `+`), they must be the same as they are.
ROUGE is rouge-score's F-measure with stemming. BLEU and chrF are made of `hypothesis` and `references` by sacrebleu
(metrics.py).
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable
from typing import Any

from curate.errors import CurateError, did_you_mean
from curate.evaluation.models.contract import LanguageModel
from curate.evaluation.tasks.data import Rows
from curate.evaluation.tasks.prompts import Template, prompts
from curate.evaluation.tasks.settings import GenerationTask

__all__ = ["answers", "exact_match", "judged", "token_f1"]

ROUGE = ("rouge1", "rouge2", "rougeL")


def answers(task: GenerationTask, rows: Rows, model: LanguageModel) -> dict[str, list[Any]]:
    """Facts of each row: what was generated, and what `task.metrics` need.

    Raises:
        CurateError: A template does not fit, or `most` leaves no room for a prompt.
    """
    right = _references(task, rows)
    references = [right(row) for row in rows.rows]
    first = {id(row): some[0] for row, some in zip(rows.rows, references, strict=True)}
    asked = prompts(task, rows, lambda row: " " + (first.get(id(row)) or right(row)[0]))
    given = model.complete(asked, most=task.most, stop=task.stop, temperature=task.temperature, seed=task.seed)
    said = [_matched(task, one.text) for one in given]
    return {
        "cut": [one.cut for one in given],
        "prompt": asked,
        "generated": [one.text for one in given],
        "finish": [one.finish for one in given],
        "generated_tokens": [one.tokens for one in given],
        **judged(said, references, task.metrics),
    }


def judged(said: list[str], references: list[list[str]], metrics: tuple[str, ...]) -> dict[str, list[Any]]:
    """The facts that metrics need: a score in [0, 1] of each text, or the texts themselves (BLEU, chrF).

    Args:
        said: A text of each item.
        references: What would be right, one or several of each item.
        metrics: `exact_match`, `token_f1`, `bleu`, `chrf`, `rouge1`, `rouge2`, `rougeL`.
    """
    facts: dict[str, list[Any]] = {}
    pairs = list(zip(said, references, strict=True))
    if "exact_match" in metrics:
        facts["exact_match"] = [max(exact_match(one, right) for right in some) for one, some in pairs]
    if "token_f1" in metrics:
        facts["token_f1"] = [max(token_f1(one, right) for right in some) for one, some in pairs]
    wanted = [name for name in ROUGE if name in metrics]
    if wanted:
        facts |= _rouge(pairs, wanted)
    if {"bleu", "chrf"} & set(metrics):
        facts |= {"hypothesis": said, "references": references}
    return facts


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


def _rouge(pairs: list[tuple[str, list[str]]], wanted: list[str]) -> dict[str, list[Any]]:
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(wanted, use_stemmer=True)
    found = [scorer.score_multi(some, one) for one, some in pairs]
    return {name: [float(one[name].fmeasure) for one in found] for name in wanted}


def _references(task: GenerationTask, rows: Rows) -> Callable[[dict[str, Any]], list[str]]:
    """What gives the right answers of a row: a column, or a template."""
    where, known = f"task {task.name}: answer", dict.fromkeys(key for row in rows.rows for key in row)
    template = None if task.answer in known else Template(task.answer, where)
    if template:
        if task.answer.isidentifier():
            near = did_you_mean(task.answer, known) or f"the rows have: {', '.join(known)}"
            raise CurateError(f"no row has a column `{task.answer}`", where, near)
        template.check(known)

    def right(row: dict[str, Any]) -> list[str]:
        given = template(row) if template else row.get(task.answer)
        found = given if isinstance(given, list) else [] if given is None else [given]
        if not found:
            raise CurateError(f"the row {row['id']} has no answer", where)
        return [_counting(task, str(one)) for one in found]

    return right


def _counting(task: GenerationTask, text: str) -> str:
    """The part of a right answer that counts: what the pattern finds, or all of one that has only that part."""
    return _matched(task, text) or text.strip()


def _matched(task: GenerationTask, text: str) -> str:
    """What the pattern's last match says; nothing where it matches nowhere."""
    if task.pattern is None:
        return text.strip()
    matches = re.findall(task.pattern, text)
    last = matches[-1] if matches else ""
    return (last[0] if isinstance(last, tuple) else last).strip()
