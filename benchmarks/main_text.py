r"""The weights of `html_text`, and how good they are: the article extraction benchmark of Zyte, by its own metric.

    python benchmarks/main_text.py            the table, out of fold
    python benchmarks/main_text.py --write    curate/clean/main_text.tsv as well, of all pages

Precision and recall are of bags of four words in a row (`\w+`), means over pages; F1 is that of the two means. Ten folds,
no site in two of them; the blocks of each fold are judged by weights of the other nine, which also choose the threshold,
by ten folds of their own. Quantities and stems were chosen while looking at the pages that the table is about,
so it says a little more than pages that nobody has seen would. Peers that are not installed are left out. Time is CPU time
of one process.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from importlib.util import find_spec
from pathlib import Path
from statistics import mean
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_matrix, vstack
from sklearn.linear_model import LogisticRegression

from curate.clean.html import HtmlText
from curate.clean.main_text import AROUND, EDGES, Floats, Looks, Weights, living, logits, look
from curate.clean.page_blocks import MARKS, Page, read_blocks

DATA = Path(__file__).parents[2] / "shared" / "data" / "zyte_article_extraction"
WEIGHTS = Path(__file__).parents[1] / "curate" / "clean" / "main_text.tsv"
FOLDS = 10
STRENGTH = 0.03
"""Of the data against the penalty; from .015 to .06 it makes no difference."""
THRESHOLDS = (0.2, 0.25, 0.3, 0.35, 0.4)
CARD = """\
# Weights of html_text: which blocks of a page are its main text. Made by benchmarks/main_text.py --write.
# Logistic regression on blocks of {pages} pages of github.com/scrapinghub/article-extraction-benchmark (MIT); no text of them.
# Strength {strength}, threshold {threshold} (in the bias; by folds of sites). How good on other sites: benchmarks/RESULTS.md.
# News and blog articles, most of them English, of 2019. QUANTITY>EDGE or AROUND:MARK, weight.
"""
NAMES = [f"{name}>{edge}" for name, edges in EDGES.items() for edge in edges]
NAMES += [f"{around}:{mark}" for around in AROUND for mark in MARKS]


@dataclass
class Article:
    """A page with the text that is right: which blocks are of it, and what the model sees."""

    site: str
    markup: str
    gold: Counter[tuple[str, ...]]
    page: Page
    places: list[int]
    looks: Looks
    seen: csr_matrix
    right: Floats
    weights: Floats


def shingles(text: str) -> Counter[tuple[str, ...]]:
    """The bag of four words in a row; a shorter text is one of it."""
    words = re.findall(r"\w+", text)
    return Counter(tuple(words[start : start + 4]) for start in range(max(1, len(words) - 3)))


def score(texts: Sequence[str], articles: Sequence[Article]) -> tuple[float, float, float]:
    """F1, precision, recall. A text without words has no precision."""
    precisions, recalls = list[float](), list[float]()
    for text, article in zip(texts, articles, strict=True):
        found = shingles(text)
        common = (found & article.gold).total()
        if text.strip():
            precisions.append(common / found.total())
        recalls.append(common / article.gold.total())
    precision, recall = mean(precisions), mean(recalls)
    return 2 * precision * recall / (precision + recall), precision, recall


def seen(looks: Looks) -> csr_matrix:
    """Blocks x NAMES: which edges are passed, which marks are set."""
    columns = [looks.told[name] > edge for name, edges in EDGES.items() for edge in edges]
    bits = [[mark >> bit & 1 for mark in marks for bit in range(len(MARKS))] for marks in looks.marks]
    return csr_matrix(np.hstack([np.array(columns, float).T, np.array(bits, float).reshape(len(looks.marks), -1)]))


def read(markup: str, gold: str, address: str) -> Article:
    """Blocks are right where at least half of their words stand in the longest common sequences with the right text."""
    page = read_blocks(markup)
    places = living(page, comments=False)
    words = [re.findall(r"\w+", page.blocks[place].text) for place in places]
    owner = [row for row, some in enumerate(words) for _ in some]
    right = re.findall(r"\w+", gold)
    hits = np.zeros(len(places))
    matcher = SequenceMatcher(None, [word for some in words for word in some], right, autojunk=False)
    for match in matcher.get_matching_blocks():
        for place in range(match.a, match.a + match.size):
            hits[owner[place]] += 1
    lengths = np.array([len(some) for some in words], float)
    weights = (lengths / max(len(right), 50)) ** 0.75
    looks = look(page, places)
    return Article(
        urlsplit(address).netloc,
        markup,
        shingles(gold),
        page,
        places,
        looks,
        seen(looks),
        hits >= np.maximum(1, lengths) / 2,
        weights,
    )


def folds(articles: Sequence[Article], salt: str) -> list[int]:
    """A fold for each article, by its site."""
    order = sorted(
        {article.site for article in articles}, key=lambda site: hashlib.sha256(f"{site}{salt}".encode()).digest()
    )
    return [order.index(article.site) % FOLDS for article in articles]


def learn(articles: Sequence[Article]) -> dict[str, float]:
    """Logistic regression on all blocks, of what is met on at least four pages; a page's blocks weigh by its length."""
    met = sum((np.asarray(article.seen.sum(0)).ravel() > 0).astype(int) for article in articles)
    useful = np.flatnonzero(np.asarray(met) >= 4)
    table = vstack([article.seen for article in articles]).tocsr()[:, useful]
    right = np.concatenate([article.right for article in articles])
    weights = np.concatenate([article.weights for article in articles])
    model = LogisticRegression(C=STRENGTH, solver="liblinear", max_iter=300)
    model.fit(table, right, sample_weight=weights / weights.mean())
    named = {NAMES[column]: round(float(weight), 3) for column, weight in zip(useful, model.coef_[0], strict=True)}
    return {"bias": round(float(model.intercept_[0]), 3), **named}


def judged(articles: Sequence[Article], salt: str) -> list[Floats]:
    """The logits of each page's blocks, by weights of the other folds."""
    fold = folds(articles, salt)
    made = [np.zeros(0)] * len(articles)
    for one in range(FOLDS):
        weights = Weights.of(learn([article for article, its in zip(articles, fold, strict=True) if its != one]))
        for row, article in enumerate(articles):
            if fold[row] == one:
                made[row] = logits(article.looks, weights)
    return made


def text_of(article: Article, odds: Floats, threshold: float) -> str:
    """The blocks that are surer than the threshold, one a line."""
    kept = odds >= np.log(threshold / (1 - threshold))
    return "\n".join(article.page.blocks[place].text for place, keep in zip(article.places, kept, strict=True) if keep)


def chosen(articles: Sequence[Article]) -> float:
    """The threshold that is best on folds of these pages."""
    odds = judged(articles, "inner")
    return max(
        (score([text_of(*pair, threshold) for pair in zip(articles, odds, strict=True)], articles)[0], threshold)
        for threshold in THRESHOLDS
    )[1]


def out_of_fold(articles: Sequence[Article]) -> list[str]:
    """The text of each page by weights and a threshold that know no page of its site."""
    fold = folds(articles, "outer")
    texts = [""] * len(articles)
    for one in range(FOLDS):
        others = [article for article, its in zip(articles, fold, strict=True) if its != one]
        threshold = chosen(others)
        weights = Weights.of(learn(others))
        print(f"fold {one}: threshold {threshold}", file=sys.stderr)
        for row, article in enumerate(articles):
            if fold[row] == one:
                texts[row] = text_of(article, logits(article.looks, weights), threshold)
    return texts


def write(articles: Sequence[Article]) -> None:
    """The weights of all pages; the threshold goes into the bias, so that more than 0 is main text."""
    threshold = chosen(articles)
    weights = learn(articles)
    weights["bias"] = round(weights["bias"] - float(np.log(threshold / (1 - threshold))), 3)
    head = CARD.format(pages=len(articles), strength=STRENGTH, threshold=threshold)
    rows = [f"{name}\t{weight:g}" for name, weight in weights.items() if weight]
    WEIGHTS.write_text("".join(f"{line}\n" for line in [*head.splitlines(), *rows]), "utf-8")


def peers() -> dict[str, Callable[[str], str]]:
    """What else makes text of pages."""
    from resiliparse.extract.html2text import extract_plain_text

    made: dict[str, Callable[[str], str]] = {
        "Resiliparse, main content": lambda markup: extract_plain_text(markup, main_content=True, alt_texts=False)
    }
    if find_spec("trafilatura"):
        import trafilatura

        made["trafilatura"] = lambda markup: trafilatura.extract(markup) or ""
        made["trafilatura, precision, no comments"] = lambda markup: (
            trafilatura.extract(markup, favor_precision=True, include_comments=False) or ""
        )
    return made


def stage(markups: Sequence[str]) -> list[str]:
    """What `html_text` makes of pages."""
    verdicts = HtmlText(drop_empty=False).open()(pa.table({"text": markups})).verdicts.to_pylist()
    return [row["text"] for row in sorted(verdicts, key=lambda row: row["row"])]


def timed(make: Callable[[], list[str]], runs: int = 3) -> tuple[list[str], float]:
    """Texts, and pages per CPU second: the median of the runs."""
    spent, texts = list[float](), list[str]()
    for _ in range(runs):
        begun = time.process_time()
        texts = make()
        spent.append(time.process_time() - begun)
    return texts, len(texts) / sorted(spent)[len(spent) // 2]


def main() -> None:
    """The table."""
    truth: Mapping[str, Mapping[str, str]] = json.loads((DATA / "ground-truth.json").read_text("utf-8"))
    articles = [
        read(
            gzip.decompress((DATA / "html" / f"{name}.html.gz").read_bytes()).decode("utf-8"),
            truth[name]["articleBody"],
            truth[name]["url"],
        )
        for name in sorted(truth)
    ]
    if "--write" in sys.argv[1:]:
        write(articles)
    markups = [article.markup for article in articles]
    rows: dict[str, tuple[list[str], float | None]] = {
        "the model out of fold": (out_of_fold(articles), None),
        "html_text as shipped (has seen these pages)": timed(lambda: stage(markups)),
        **{name: timed(lambda extract=extract: [extract(one) for one in markups]) for name, extract in peers().items()},
    }
    print("| | F1 | precision | recall | pages per CPU s |\n|---|---|---|---|---|")
    for name, (texts, rate) in rows.items():
        f1, precision, recall = score(texts, articles)
        print(f"| {name} | {f1:.3f} | {precision:.3f} | {recall:.3f} | {'' if rate is None else f'{rate:.0f}'} |")


if __name__ == "__main__":
    main()
