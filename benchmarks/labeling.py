"""What the statistics of labeling are worth on real labelled sets, with gold hidden from the loop.

    python benchmarks/labeling.py active|certify|errors|crowd|weak|peers [SEEDS [SET]]
    python benchmarks/labeling.py many [THOUSANDS]

SMS spam, SST-2, TREC and movie reviews lie in ../shared/data (or `CURATE_DATA`). Each seed draws 1,000 texts to test on, which
nothing else sees; the rest is the pool. Methods of one row share seeds; intervals are 95 % over seeds (Student). `peers` needs
scikit-learn.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from labeling_data import Labelled, sets, sms
from scipy import stats

from curate import open_dataset, run
from curate.labeling.aggregation import dawid_skene, majority_vote
from curate.labeling.calibration import expected_calibration_error, probabilities
from curate.labeling.certification import certify, choose_threshold, error_of_attempt
from curate.labeling.classifier import Fitted, fit, learnable
from curate.labeling.documents import documents, find
from curate.labeling.features import spread, weighted
from curate.labeling.learning_curve import macro_f1, outcomes
from curate.labeling.logistic import Problem, rotate, solve
from curate.labeling.selection import diverse, margin, margins, mixture
from curate.labeling.suspects import suspects
from curate.labeling.task import Task
from curate.labeling.weak import label_model, weak_majority, weakly

SIZES = (100, 200, 400)
PENALTY = (0.01,)
TESTED = 1000


def parted(data: Labelled, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Texts to test on, and the pool."""
    order = np.random.default_rng([seed, 7]).permutation(len(data.labels))
    return order[:TESTED], order[TESTED:]


def learned(data: Labelled, rows: np.ndarray, labels: np.ndarray | None = None, seed: int = 0) -> Fitted:
    """The model of these texts."""
    given = data.labels[rows] if labels is None else labels
    return fit(data.features[rows], given, data.classes, seed=seed, penalties=PENALTY)


def logits(data: Labelled, rows: np.ndarray, labels: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """What a model of these texts says of others, without cross-validation."""
    features, columns, scale = learnable(data.features[rows])
    rotated, back = rotate(features)
    theta = solve(rotated, Problem(np.eye(data.classes)[labels], np.ones(data.classes), False), PENALTY[0])
    seen = weighted(data.features[asked], spread(scale, columns, data.features.shape[1]))[:, columns]
    return seen @ back(theta[:-1]) + theta[-1]


def scores(predicted: np.ndarray, truth: np.ndarray, classes: int) -> tuple[float, float]:
    """Accuracy and macro-F1, in percent."""
    f1 = macro_f1(outcomes(truth, predicted, classes).sum(0)[None])[0]
    return 100 * float((predicted == truth).mean()), 100 * float(f1)


def interval(values: list[float]) -> str:
    """The mean over seeds and half of its interval."""
    if len(values) < 2:
        return "-"
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    return f"{np.mean(values):.1f} +- {half:.1f}"


def show(*cells: object) -> None:
    """Print a row."""
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


# ---- random against active


def _round(data: Labelled, rows: np.ndarray, pool: np.ndarray, strategy: str, count: int, seed: int) -> np.ndarray:
    sureness = margins(probabilities(logits(data, rows, data.labels[rows], pool)))
    if strategy == "margin":
        chosen = margin(sureness, count, seed=seed)
    else:
        chosen = diverse(_rows(data, pool), count, seed=seed, sureness=sureness)
    return pool[mixture(chosen, len(pool), count, seed=seed).rows]


def _rows(data: Labelled, rows: np.ndarray) -> Any:
    return weighted(data.features[rows], np.ones(data.features.shape[1], np.float32))


def active(seeds: int) -> None:
    """Test accuracy and macro-F1 at 100, 200 and 400 labels: 50 random ones, then rounds of 50, 100, 100 and 100."""
    show("set", "labels", "strategy", "accuracy", "macro-F1", "accuracy - random", "macro-F1 - random")
    for data in sets():
        found: dict[tuple[int, str], list[tuple[float, float]]] = {}
        for seed in range(seeds):
            test, pool = parted(data, seed)
            for strategy in ("random", "margin", "margin and diverse"):
                rows = pool[:50]
                for size in (100, 200, 300, 400):
                    if strategy == "random":
                        rows = pool[:size]
                    else:
                        left = np.setdiff1d(pool, rows)
                        drawn = _round(data, rows, left, strategy, size - len(rows), seed * 1000 + size)
                        rows = np.concatenate([rows, drawn])
                    if size in SIZES:
                        own = _end_model(data, rows, data.labels[rows], test)
                        found.setdefault((size, strategy), []).append(own)
        for (size, strategy), values in sorted(found.items(), key=lambda one: one[0][0]):
            gain = np.array(values) - np.array(found[size, "random"])
            means = (interval(list(column)) for column in np.array(values).T)
            gains = ("-", "-") if strategy == "random" else tuple(interval(list(column)) for column in gain.T)
            show(data.name, size, strategy, *means, *gains)


# ---- certified labels, calibration, and what a model of them is worth


def _certified(
    data: Labelled, pool: np.ndarray, human: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, Fitted]:
    """Rows that people labelled, rows that are certified and their labels, and the first model."""
    rows, rest = pool[:human], pool[human:]
    fitted = learned(data, rows, seed=seed)
    held, probable = fitted.out_of_fold(), fitted.model.predict_proba(data.features[rest])
    confidence, right = held.max(1), held.argmax(1) == data.labels[rows]
    above, random = None, np.random.default_rng([seed, 9])
    for attempt in (1, 2, 3):
        error = error_of_attempt(0.95, attempt)
        chosen = choose_threshold(confidence, right, probable.max(1), target=0.95, audit=150, error=error, above=above)
        if chosen is None:
            break
        over = np.flatnonzero(probable.max(1) >= chosen.value)
        drawn = random.choice(over, min(150, len(over)), replace=False)
        correct = probable[drawn].argmax(1) == data.labels[rest[drawn]]
        rows = np.concatenate([rows, rest[drawn]])
        found = certify(int(correct.sum()), len(drawn), target=0.95, confidence=0.95, attempt=attempt, pool=len(over))
        if found.certified:
            return np.unique(rows), rest[over], probable[over].argmax(1), fitted
        confidence, right = np.append(confidence, probable[drawn].max(1)), np.append(right, correct)
        above = chosen.value
    return np.unique(rows), rest[:0], rest[:0], fitted


def _end_model(data: Labelled, rows: np.ndarray, labels: np.ndarray, test: np.ndarray) -> tuple[float, float]:
    return scores(logits(data, rows, labels, test).argmax(1), data.labels[test], data.classes)


def certified(seeds: int) -> None:
    """Labels at a certified precision of .95 from 400 human ones and audits of 150, calibration, and models of both."""
    show("set", "certified runs", "share, %", "true precision, %", "below target", "ECE before", "after", "human, accuracy",
         "with certified", "full gold", "macro-F1: human", "with certified", "full gold")  # fmt: skip
    for data in sets():
        shares, truths, before, after = [], [], [], []
        ends: list[tuple[tuple[float, float], ...]] = []
        for seed in range(seeds):
            test, pool = parted(data, seed)
            rows, own, labels, fitted = _certified(data, pool, 400, seed)
            shares.append(100 * len(own) / (len(pool) - 400))
            if len(own):
                truths.append(100 * (labels == data.labels[own]).mean())
            said = fitted.model.logits(data.features[test])
            for heat, errors in ((1.0, before), (fitted.model.temperature, after)):
                errors.append(100 * expected_calibration_error(probabilities(said / heat), data.labels[test]))
            if len(own) and data.name in ("sms_spam", "trec"):
                automatic = ~np.isin(own, rows)
                both = np.concatenate([rows, own[automatic]])
                given = np.concatenate([data.labels[rows], labels[automatic]])
                ends.append((
                    _end_model(data, rows, data.labels[rows], test), _end_model(data, both, given, test),
                    _end_model(data, pool, data.labels[pool], test),
                ))  # fmt: skip
        table = np.array(ends).reshape(len(ends), 3, 2)
        models = (interval(list(table[:, one, score])) for score in (0, 1) for one in range(3))
        below = sum(one < 95 for one in truths)
        first = (data.name, f"{len(truths)} of {seeds}", interval(shares), interval(truths), below)
        show(*first, interval(before), interval(after), *models)


# ---- errors that are found, crowds, labeling functions


def errors(seeds: int) -> None:
    """5 % of 1,000 labels are turned into others."""
    show(
        "set",
        "precision at 25, %",
        "at 50",
        "at 100",
        "recall at 50, %",
        "at 100",
        "by margin: at 50",
        "random",
    )
    for data in sets():
        found = []
        for seed in range(seeds):
            rows = parted(data, seed)[1][:1000]
            random = np.random.default_rng([seed, 3])
            wrong = random.choice(len(rows), len(rows) // 20, replace=False)
            labels = data.labels[rows].copy()
            labels[wrong] = (labels[wrong] + random.integers(1, data.classes, len(wrong))) % data.classes
            held = learned(data, rows, labels, seed).out_of_fold()
            ranked = suspects(labels, held).texts
            hits = [100 * np.isin(ranked[:size], wrong).sum() for size in (25, 50, 100)]
            other = suspects(labels, held, ranking="normalized_margin").texts[:50]
            found.append([hits[0] / 25, hits[1] / 50, hits[2] / 100, hits[1] / len(wrong), hits[2] / len(wrong),
                          100 * np.isin(other, wrong).sum() / 50])  # fmt: skip
        show(data.name, *(interval(list(column)) for column in np.array(found).T), "5.0")


def crowd(seeds: int) -> None:
    """1,000 texts, three answers each by five people who are right in .9, .85, .7, .7 and .55 of theirs."""
    show("set", "errors of people", "majority, %", "Dawid-Skene", "difference")
    skill = np.array([0.9, 0.85, 0.7, 0.7, 0.55])
    for data in sets():
        for kind in ("any label alike", "towards the most frequent"):
            found = []
            for seed in range(seeds):
                random = np.random.default_rng([seed, 5])
                truth = data.labels[parted(data, seed)[1][:1000]]
                items = np.repeat(np.arange(1000), 3)
                workers = random.permuted(np.tile(np.arange(5), (1000, 1)), axis=1)[:, :3].ravel()
                other = (truth[items] + random.integers(1, data.classes, len(items))) % data.classes
                if kind != "any label alike":
                    other = np.full(len(items), np.bincount(truth).argmax())
                labels = np.where(random.random(len(items)) < skill[workers], truth[items], other)
                vote, model = (
                    method(items, workers, labels, data.classes, count=1000) for method in (majority_vote, dawid_skene)
                )
                ahead = vote.probabilities >= vote.probabilities.max(1, keepdims=True) - 1e-9
                # a tie is right as often as one draws the truth from it
                of_vote = 100 * float((ahead[np.arange(1000), truth] / ahead.sum(1)).mean())
                found.append((of_vote, 100 * float((model.probabilities.argmax(1) == truth).mean())))
            table = np.array(found)
            show(
                data.name, kind, *(interval(list(one)) for one in (table[:, 0], table[:, 1], table[:, 1] - table[:, 0]))
            )


FUNCTIONS: list[Callable[[str], int]] = [
    lambda text: 1 if "free" in text.lower() else -1,
    lambda text: 1 if any(word in text.lower() for word in ("win", "won", "prize", "award")) else -1,
    lambda text: 1 if any(word in text.lower() for word in ("claim", "urgent", "call now", "reply")) else -1,
    lambda text: 1 if sum(one.isdigit() for one in text) > 8 else -1,
    lambda text: 1 if "\u00a3" in text or "http" in text or "www." in text else -1,
    lambda text: 1 if " txt " in text.lower() or "ringtone" in text.lower() else -1,
    lambda text: 0 if not any(one.isdigit() for one in text) else -1,
    lambda text: 0 if len(text) < 50 else -1,
    lambda text: (
        0 if any(f" {word} " in f" {text.lower()} " for word in ("i", "i'm", "me", "my", "ok", "lol", "ur")) else -1
    ),
]


def weak(seeds: int) -> None:
    """Nine labeling functions on SMS spam: their labels on the pool, and models of them on the test."""
    data = next(sets())
    votes = np.array([[function(text) for function in FUNCTIONS] for text in data.texts])
    balance = np.bincount(data.labels) / len(data.labels)
    found: dict[str, list[tuple[float, ...]]] = {}
    for seed in range(seeds):
        test, pool = parted(data, seed)
        human = pool[:100]
        gold = np.where(np.isin(pool, human), data.labels[pool], -1)
        of_human = _end_model(data, human, data.labels[human], test)
        found.setdefault("100 human labels alone", []).append((np.nan, np.nan, *of_human))
        for name, made in (
            ("majority", weak_majority(votes[pool], 2)), ("model, balance estimated", label_model(votes[pool], 2)),
            ("model, balance known", label_model(votes[pool], 2, balance=balance)),
            ("model, 100 human labels", label_model(votes[pool], 2, gold=gold)),
        ):  # fmt: skip
            known = np.flatnonzero(made.labels >= 0)
            own = scores(made.labels[known], data.labels[pool[known]], 2)
            found.setdefault(name, []).append((*own, *_end_model(data, pool[known], made.labels[known], test)))
        both = np.where(gold >= 0, gold, weak_majority(votes[pool], 2).labels)
        known = np.flatnonzero(both >= 0)
        own = scores(both[known], data.labels[pool[known]], 2)
        found.setdefault("majority and 100 human labels", []).append(
            (*own, *_end_model(data, pool[known], both[known], test))
        )
    show("labels by", "accuracy on the pool, %", "macro-F1", "model on the test: accuracy", "macro-F1")
    for name, values in found.items():
        show(name, *(interval([one for one in column if one == one]) for column in np.array(values).T))


def peers(seeds: int) -> None:
    """Accuracy and CPU seconds beside scikit-learn's TF-IDF of the same n-grams and LogisticRegressionCV."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.pipeline import make_union

    show(
        "set",
        "labels",
        "accuracy",
        "scikit-learn",
        "fit, CPU s",
        "scikit-learn",
        "predict 1,000, CPU ms",
        "scikit-learn",
    )
    for data in sets():
        for size in (400, 2000) if data.name != "movie_reviews" else (400,):
            found = []
            for seed in range(seeds):
                test, pool = parted(data, seed)
                rows = pool[:size]
                texts, new = ([data.texts[row] for row in part] for part in (rows, test))
                clock = [time.process_time()]
                model = fit(texts, data.labels[rows], data.classes, seed=seed).model
                clock.append(time.process_time())
                ours = model.predict_proba(new).argmax(1)
                clock.append(time.process_time())
                grams = {"ngram_range": (3, 5), "analyzer": "char_wb", "sublinear_tf": True}
                vectors = make_union(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), TfidfVectorizer(**grams))
                theirs = LogisticRegressionCV(
                    Cs=[1, 10, 100],
                    cv=5,
                    scoring="neg_log_loss",
                    max_iter=1000,
                    l1_ratios=(0,),
                    use_legacy_attributes=False,
                ).fit(vectors.fit_transform(texts), data.labels[rows])
                clock.append(time.process_time())
                predicted = theirs.predict(vectors.transform(new))
                clock.append(time.process_time())
                right = [100 * float((one == data.labels[test]).mean()) for one in (ours, predicted)]
                fits = np.diff(clock)
                found.append([*right, fits[0], fits[2], 1000 * fits[1], 1000 * fits[3]])
            middle = np.median(np.array(found), axis=0)
            show(data.name, size, *(f"{one:.1f}" for one in middle[:2]), *(f"{one:.2f}" for one in middle[2:4]),
                 *(f"{one:.0f}" for one in middle[4:]))  # fmt: skip


RULES = """\
functions:
  - {name: prize, label: spam, words: [prize, winner, free, claim]}
  - {name: number, label: spam, regex: "[0-9]{5,}"}
  - {name: short, label: ham, python: "rules:short"}
  - {name: long, label: spam, column: size, above: 140}
"""


def many(thousands: int) -> None:
    """`weak` and looking documents up, on so many thousand short messages: CPU seconds."""
    texts = [text for text, _ in sms()]
    count = 1000 * thousands
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        with (folder / "in.jsonl").open("w") as file:
            for number in range(count):
                text = f"{texts[number % len(texts)]} {number}"
                file.write(json.dumps({"id": f"m{number}", "text": text, "size": len(text)}) + "\n")
        (folder / "pipeline.yaml").write_text(
            "dataset: sms\nsources: [{stage: files, paths: [in.jsonl]}]\nstages: []\n"
        )
        run(folder / "pipeline.yaml", store=folder / "store")
        data = open_dataset("sms", folder / "store")
        task = Task.model_validate(
            {"task": "spam", "dataset": "sms", "kind": "classification", "labels": ["ham", "spam"]}
        )
        (folder / "functions.yaml").write_text(RULES)
        (folder / "rules.py").write_text("def short(text):\n    return len(text) < 60\n")
        for what, work in (
            ("weak, four functions", lambda: weakly(data, task, folder)),
            ("weak --write", lambda: weakly(data, task, folder, write=True)),
            ("200 documents by id", lambda: find(data, task, [f"m{number * count // 200}" for number in range(200)])),
            ("every document", lambda: sum(len(some) for _, some in documents(data, task))),
        ):
            began = time.process_time()
            work()
            show(what, f"{count:,}", f"{time.process_time() - began:.1f}")


PARTS = {"active": active, "certify": certified, "errors": errors, "crowd": crowd, "weak": weak, "peers": peers,
         "many": many}  # fmt: skip

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in PARTS:
        sys.exit(__doc__)
    begun = time.process_time()
    PARTS[sys.argv[1]](int(sys.argv[2]) if len(sys.argv) > 2 else 10)
    print(json.dumps({"cpu_seconds": round(time.process_time() - begun, 1)}), file=sys.stderr)
