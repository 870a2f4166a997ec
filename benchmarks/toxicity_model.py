"""Makes the weights and the card of the packaged toxicity model.

    python benchmarks/toxicity_model.py [--out curate/audit/toxicity] [--l2 3e-6]

Logistic regression over hashed word 1- and 2-grams (curate/audit/toxicity/linear.py), L-BFGS, no randomness: the same data
give the same bytes on the same machine. A text that is not toxic is learned window by window, a toxic one as a whole. Each
set weighs as `SHARES` says, toxic and not toxic of a set the same. Platt's line is fitted on texts that were not learned from.
About a CPU minute, most of it the intervals of the card. `benchmarks/toxicity.py` measures the packaged weights again.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.sparse import csr_matrix, vstack
from toxicity_data import IDENTITIES, Text, books, prose, sets, templates

from curate.audit.toxicity.linear import BLOCK, window_features
from curate.audit.toxicity.words import Terms, buffers, terms

BUCKETS = 1 << 18


def matrix(texts: Sequence[str], identities: Terms, block: int = BLOCK) -> tuple[csr_matrix, np.ndarray]:
    """Windows by buckets, each row counts over the square root of their sum, and the text of each window."""
    columns, starts, owners = window_features(*buffers(texts), identities, BUCKETS, block=block)
    sizes = np.diff(starts)
    values = np.repeat(1 / np.sqrt(np.maximum(sizes, 1)), sizes)
    return csr_matrix((values, columns, starts), shape=(len(owners), BUCKETS)), owners


def fit(features: csr_matrix, toxic: np.ndarray, weight: np.ndarray, l2: float) -> tuple[np.ndarray, float]:
    """Weights and bias of least weighted cross-entropy plus l2/2 of the squared weights."""
    sign = np.where(toxic, 1.0, -1.0)
    transposed = features.T.tocsr()

    def loss(point: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (features @ point[:-1] + point[-1])
        slack = weight * -sign / (1 + np.exp(np.minimum(margin, 500)))
        value = weight @ np.logaddexp(0, -margin) + l2 / 2 * point[:-1] @ point[:-1]
        return value, np.append(transposed @ slack + l2 * point[:-1], slack.sum())

    found = minimize(loss, np.zeros(BUCKETS + 1), jac=True, method="L-BFGS-B", options={"maxiter": 300, "maxcor": 20})
    return found.x[:-1], float(found.x[-1])


def platt(scores: np.ndarray, toxic: np.ndarray) -> tuple[float, float]:
    """Slope and intercept of the line that makes probabilities of scores; both classes weigh the same."""
    share = toxic.mean()
    weight = np.where(toxic, 0.5 / share, 0.5 / (1 - share)) / len(toxic)
    sign = np.where(toxic, 1.0, -1.0)

    def loss(point: np.ndarray) -> float:
        return float(weight @ np.logaddexp(0, -sign * (point[0] * scores + point[1])))

    slope, intercept = minimize(loss, np.array([1.0, 0.0]), method="BFGS").x
    return float(slope), float(intercept)


def learned_from(texts: Sequence[Text], shares: dict[str, float]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Texts, labels, and what each weighs: a set its share, half of it for the toxic ones."""
    chosen = [(one.text, one.toxic, one.source) for one in texts if one.part == "train"]
    chosen += [(text, toxic, "templates") for text, toxic in templates()]
    chosen += [(text, False, "prose") for text in prose("train")]
    chosen += [(text, False, "books") for text in books("train")]
    counts = Counter((source, toxic) for _, toxic, source in chosen)
    weights = [
        shares[source] / (2 if (source, not toxic) in counts else 1) / counts[source, toxic]
        for _, toxic, source in chosen
    ]
    return [text for text, _, _ in chosen], np.array([toxic for _, toxic, _ in chosen]), np.array(weights)


SHARES = {"davidson": 0.25, "tweeteval": 0.3, "vicomtech": 0.1, "templates": 0.35, "prose": 0.1, "books": 0.5}


def train(l2: float, shares: dict[str, float] = SHARES) -> tuple[np.ndarray, dict[str, float], dict[str, Any]]:
    """Weights (float16), numbers of the model, and how many texts of each kind went in."""
    identities = terms([one.replace("-", " ") for one in IDENTITIES])
    texts = list(sets())
    learned, toxic, weight = learned_from(texts, shares)
    rows, parts = [], []
    for label, block in ((True, 10_000), (False, BLOCK)):
        chosen = np.flatnonzero(toxic == label)
        features, owners = matrix([learned[one] for one in chosen], identities, block)
        rows.append(features)
        parts.append(chosen[owners])
    owners = np.concatenate(parts)
    windows = np.bincount(owners, minlength=len(learned))
    features = vstack(rows, format="csr")
    exact, bias = fit(features, toxic[owners], (weight / np.maximum(windows, 1))[owners], l2)
    weights = exact.astype(np.float16)
    kept = [one for one in texts if one.part == "calibrate"]
    held, owners = matrix([one.text for one in kept], identities)
    scores = np.full(len(kept), -np.inf)
    np.maximum.at(scores, owners, held @ weights.astype(np.float64) + bias)
    read = np.isfinite(scores)
    slope, intercept = platt(scores[read], np.array([one.toxic for one in kept])[read])
    counted: dict[str, Counter[str]] = defaultdict(Counter)
    for one in texts:
        counted[one.source][one.part] += 1
    numbers = {"buckets": BUCKETS, "bias": bias, "slope": slope, "intercept": intercept, "l2": l2}
    return weights, numbers, {name: dict(parts) for name, parts in counted.items()}


def main() -> None:
    """Train, write, and say what was written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parents[1] / "curate/audit/toxicity")
    parser.add_argument("--l2", type=float, default=3e-6)
    options = parser.parse_args()
    from safetensors.numpy import save_file
    from toxicity_card import card

    weights, numbers, counted = train(options.l2)
    model = json.dumps({**numbers, "identity_terms": [one.replace("-", " ") for one in IDENTITIES]})
    save_file({"weights": weights}, options.out / "weights.safetensors", {"model": model})
    (options.out / "weights.safetensors").chmod(0o644)
    (options.out / "card.json").write_text(json.dumps(card(weights, numbers, counted), indent=1) + "\n")


if __name__ == "__main__":
    main()
