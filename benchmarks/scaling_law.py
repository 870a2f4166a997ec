"""The uncertainty of the scaling law: refit the runs of Hoffmann et al. 2022, and bootstrap the fit.

    python benchmarks/scaling_law.py RUNS.csv [--samples 4000] [--json]

RUNS.csv has the columns `Model Size`, `Training FLOP`, `loss`: 245 runs that Besiroglu et al. 2024 read from Hoffmann et
al.'s figure 4 (github.com/epoch-research/analyzing-chinchilla, data/svg_extracted_data.csv). As they do, the five runs
with the fewest tokens for each parameter are left out, and the sum of Huber losses (delta 0.001) between logarithms is
least. They publish standard errors only; what `curate.train.planner.scaling` samples from is the covariance found here, of the
logarithms of both terms at CENTRE, of log E, and of both exponents.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

DELTA = 1e-3
PUBLISHED = np.array([np.log(482.01), np.log(2085.43), np.log(1.8172), 0.3478, 0.3658])
CENTRE = np.array([np.log(2e7), np.log(7e8)])
NAMES = ("A", "B", "E", "a", "b")


def read_runs(path):
    """Logarithms of parameters, tokens and loss of 240 runs, (3, 240)."""
    with path.open() as stream:
        rows = [
            [float(row[name]) for name in ("Model Size", "Training FLOP", "loss")] for row in csv.DictReader(stream)
        ]
    sizes, flop, losses = np.array(rows).T
    tokens = flop / (6 * sizes)
    kept = np.argsort(tokens / sizes)[5:]
    return np.log(np.stack([sizes, tokens, losses])[:, kept])


def fitted(runs, weights, start):
    """Log A, log B, log E, a, b with the least weighted sum of Huber losses, going on from `start`.

    The search moves the terms at the middle of the runs and not at one parameter, where they are hard to tell apart.
    """
    sizes, tokens, losses = runs
    middle = np.eye(5)
    middle[0, 3], middle[1, 4] = sizes.mean(), tokens.mean()

    def objective(moved):
        a_term, b_term, floor, a, b = middle @ moved
        terms = np.stack([a_term - a * sizes, b_term - b * tokens, np.full_like(sizes, floor)])
        top = terms.max(0)
        shares = np.exp(terms - top)
        total = shares.sum(0)
        error = top + np.log(total) - losses
        near = np.abs(error) <= DELTA
        value = np.where(near, error**2 / 2, DELTA * (np.abs(error) - DELTA / 2))
        pull = weights * np.clip(error, -DELTA, DELTA) * shares / total
        gradient = np.array([*pull.sum(1), -(pull[0] * sizes).sum(), -(pull[1] * tokens).sum()])
        return 1e3 * (weights * value).sum(), 1e3 * middle.T @ gradient

    found = minimize(objective, np.linalg.solve(middle, start), jac=True, method="BFGS", options={"maxiter": 2000})
    return middle @ found.x, found.fun


def main():
    """Print the fit, its standard errors, and the covariance as deviations and correlations."""
    parser = argparse.ArgumentParser(description="refit the scaling law, and its uncertainty")
    parser.add_argument("runs", type=Path)
    parser.add_argument("--samples", type=int, default=4000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    runs = read_runs(options.runs)
    count = runs.shape[1]
    best, _ = fitted(runs, np.ones(count), PUBLISHED)
    random = np.random.default_rng(1)
    drawn = []
    for _ in range(options.samples):
        weights = np.bincount(random.integers(0, count, count), minlength=count).astype(float)
        drawn.append(min((fitted(runs, weights, start) for start in (best, PUBLISHED)), key=lambda one: one[1])[0])
    samples = np.array(drawn)
    plain = np.concatenate([np.exp(samples[:, :3]), samples[:, 3:]], axis=1)
    samples[:, :2] -= samples[:, 3:] * CENTRE
    result = {
        "runs": count,
        "samples": options.samples,
        "fit": dict(zip(NAMES, [*np.exp(best[:3]), *best[3:]], strict=True)),
        "standard_errors": dict(zip(NAMES, plain.std(0), strict=True)),
        "deviations": samples.std(0).round(4).tolist(),
        "correlations": np.corrcoef(samples.T).round(2).tolist(),
    }
    if options.json:
        print(json.dumps({"schema": 1, **result}))
        return
    for name in NAMES:
        print(f"{name}  {result['fit'][name]:10.4f}   standard error {result['standard_errors'][name]:.4f}")
    print("deviations  ", result["deviations"])
    print("correlations", *result["correlations"], sep="\n  ")


if __name__ == "__main__":
    main()
