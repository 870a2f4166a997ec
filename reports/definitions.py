"""What the numbers of an evaluation are, in a sentence each, for people who read a page."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["DEFINITIONS", "definitions", "shown", "signed"]

DEFINITIONS = {
    "bits_per_byte": "negative log-likelihood of all texts in bits, over their bytes in UTF-8: of the corpus, not the mean of "
    "its documents, and comparable between tokenizers",
    "byte_perplexity": "2 to the power of bits per byte",
    "word_perplexity": "e to the power of the negative log-likelihood over the number of words, which white space parts",
    "token_perplexity": "e to the power of the negative log-likelihood over the number of tokens: comparable "
    "with models of the same tokenizer alone",
    "token_accuracy": "share of tokens that are the likeliest ones",
    "accuracy": "share of items whose likeliest answer is the right one",
    "accuracy_normalized": "the same, with the log-likelihood of each answer over its bytes",
    "macro_f1": "mean over the labels of the F1 of each: rare labels count as much as common ones",
    "matthews": "correlation of what is right with what is predicted, over all labels: 0 is chance",
    "pearson": "linear correlation of what is right with what is predicted",
    "spearman": "correlation of their ranks",
    "calibration_error": "how far confidence and accuracy are apart on average, in 15 bins of confidence",
    "f1": "F1 of one label: the harmonic mean of its precision and its recall",
    "span_f1": "F1 of the spans that were found, with their types and borders",
    "exact_match": "share of answers with the right words, without case, punctuation and articles",
    "token_f1": "mean F1 of the words of an answer",
    "bleu": "sacrebleu's BLEU, from 0 to 100",
    "chrf": "sacrebleu's chrF, from 0 to 100",
    "rouge1": "mean F-measure of the words that the answer shares with the reference, stemmed",
    "rouge2": "the same of pairs of words",
    "rougeL": "the same of the longest common subsequence of words",
}  # fmt: skip


def definitions(metrics: Iterable[str]) -> list[tuple[str, str]]:
    """Metrics as people read them, and what they are."""
    return [(name.replace("_", " "), DEFINITIONS[name]) for name in dict.fromkeys(metrics) if name in DEFINITIONS]


def shown(value: float | None) -> str:
    """A value of a metric."""
    return "\u2013" if value is None else f"{value:,.4f}"


def signed(value: float | None) -> str:
    """A difference of two."""
    return "\u2013" if value is None else f"{value:+,.4f}"
