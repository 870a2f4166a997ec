"""Scaling laws: the loss of a model of N parameters trained on D tokens, U of which differ.

    L(N, D) = E + A / N^a + B / D^b                     Hoffmann et al. 2022, third approach

with the constants of Besiroglu et al. 2024 (arXiv 2404.10102, table 1), who fitted the same 240 runs again: E 1.8172
(standard error 0.03), A 482.01 (124.58), B 2085.43 (1293.23), a 0.3478 (0.02), b 0.3658 (0.02). Of C = 6 N D floating
point operations the best model has N = G (C / 6)^(b / (a + b)) parameters, G = (a A / b B)^(1 / (a + b)).

Repeated tokens are worth less than new ones, and parameters beyond what the unique tokens can fit less than the first
(Muennighoff et al. 2023, arXiv 2305.16264, appendix A, 182 runs of 7 million to 9 billion parameters and 1 to 500
epochs): D and N are replaced by

    D' = U + U R (1 - exp(-(D / U - 1) / R)),  R = 15.387756
    N' = V + V S (1 - exp(-(N / V - 1) / S)),  S = 5.309743,  V = min(N, the best N for U tokens)

The errors of the five constants are far from independent (A and a: 0.999), so the standard errors alone would give
intervals that are many times too wide. The covariance here is that of 4000 bootstrap samples of the same runs
(benchmarks/scaling_law.py), whose standard errors are the published ones within 17%. An interval holds the uncertainty
of the fit; it says nothing of how another corpus, tokenizer or recipe differs from theirs.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = [
    "FITTED",
    "REFIT",
    "SAMPLES",
    "Law",
    "best_parameters",
    "best_tokens",
    "effective",
    "flop_of_epochs",
    "loss",
    "optimum",
    "sampled_laws",
    "useful_flop",
    "useful_tokens",
]

FITTED = (70e6, 16e9)
"""Parameters of the smallest and the largest run that the law was fitted to; beyond them it is extrapolated."""
REPEATS = 15.387756
EXCESS = 5.309743
SPENT = 8.0
"""Repeats (excess parameters) of more than this times REPEATS (EXCESS) add nothing: 0.03% of their worth is left."""
SAMPLES = 500
CENTRE = (2e7, 7e8)
"""Parameters and tokens at which the errors of the terms and of their exponents are about independent."""
DEVIATIONS = (0.0096, 0.0108, 0.0137, 0.0154, 0.0201)
"""Of the logarithms of A / N^a and B / D^b at CENTRE, of log E, and of a and b."""
CORRELATIONS = (
    (1.00, -0.43, 0.15, -0.08, 0.34),
    (-0.43, 1.00, 0.16, 0.22, 0.10),
    (0.15, 0.16, 1.00, 0.59, 0.59),
    (-0.08, 0.22, 0.59, 1.00, -0.28),
    (0.34, 0.10, 0.59, -0.28, 1.00),
)

Numbers = Any
"""A float, or an array of floats of the shape of the others."""


class Law(NamedTuple):
    """The constants; each a float, or an array of samples.

    Attributes:
        irreducible: E, nats per token.
        parameter_term: A.
        token_term: B.
        parameter_exponent: a.
        token_exponent: b.
    """

    irreducible: Numbers
    parameter_term: Numbers
    token_term: Numbers
    parameter_exponent: Numbers
    token_exponent: Numbers


REFIT = Law(1.8172, 482.01, 2085.43, 0.3478, 0.3658)


@cache
def sampled_laws() -> Law:
    """SAMPLES laws (an array in each field) from the normal distribution around REFIT; always the same ones."""
    import numpy as np

    deviations = np.array(DEVIATIONS)
    covariance = np.array(CORRELATIONS) * np.outer(deviations, deviations)
    changes = np.random.default_rng(1).multivariate_normal(np.zeros(5), covariance, SAMPLES).T
    a, b = REFIT.parameter_exponent + changes[3], REFIT.token_exponent + changes[4]
    return Law(
        irreducible=REFIT.irreducible * np.exp(changes[2]),
        parameter_term=REFIT.parameter_term * np.exp(changes[0] + changes[3] * np.log(CENTRE[0])),
        token_term=REFIT.token_term * np.exp(changes[1] + changes[4] * np.log(CENTRE[1])),
        parameter_exponent=a,
        token_exponent=b,
    )


def _balance(law: Law) -> Numbers:
    """G of the closed form."""
    _, a_term, b_term, a, b = law
    return (a * a_term / (b * b_term)) ** (1 / (a + b))


def best_parameters(tokens: Numbers, law: Law = REFIT) -> Numbers:
    """The parameters for which `tokens` new tokens are the best number."""
    balance = _balance(law)
    return balance * (balance * tokens) ** (law.token_exponent / law.parameter_exponent)


def best_tokens(parameters: Numbers, law: Law = REFIT) -> Numbers:
    """The new tokens for which `parameters` are the best number: what `best_parameters` undoes."""
    balance = _balance(law)
    return (parameters / balance) ** (law.parameter_exponent / law.token_exponent) / balance


def effective(
    parameters: Numbers, tokens: Numbers, unique: Numbers, law: Law = REFIT
) -> tuple[NDArray[Any], NDArray[Any]]:
    """N' and D': the parameters and new tokens that would do as well."""
    import numpy as np

    unique = np.minimum(unique, tokens)
    seen = unique * (1 - REPEATS * np.expm1(-(tokens / unique - 1) / REPEATS))
    fitting = np.minimum(best_parameters(unique, law), parameters)
    worth = fitting * (1 - EXCESS * np.expm1(-(parameters / fitting - 1) / EXCESS))
    return worth, seen


def loss(parameters: Numbers, tokens: Numbers, unique: Numbers = float("inf"), law: Law = REFIT) -> Numbers:
    """Nats per token (of Hoffmann et al.'s text and tokenizer), `unique` of the tokens being new."""
    worth, seen = effective(parameters, tokens, unique, law)
    spent = law.parameter_term / worth**law.parameter_exponent + law.token_term / seen**law.token_exponent
    return law.irreducible + spent


def optimum(flop: Numbers, unique: Numbers = float("inf"), law: Law = REFIT) -> tuple[NDArray[Any], NDArray[Any]]:
    """The parameters and tokens with the least loss for 6 N D = `flop`, `unique` tokens being there.

    Where repeats add nothing any more (SPENT), fewer operations are used than given.
    """
    import numpy as np

    flop, unique = np.asarray(flop, dtype=np.float64), np.asarray(unique, dtype=np.float64)
    share = law.token_exponent / (law.parameter_exponent + law.token_exponent)
    parameters = _balance(law) * (flop / 6) ** share
    tokens = flop / (6 * parameters)
    scarce = tokens > unique
    if not np.any(scarce):
        return parameters, tokens
    # scarce tokens: the best model is at least the one that fits them, and sees each of them at least once
    some = np.where(scarce, unique, tokens)
    fitting = best_parameters(some, law)
    most_parameters, most_tokens = fitting * (1 + SPENT * EXCESS), some * (1 + SPENT * REPEATS)
    usable = np.minimum(flop, 6 * most_parameters * most_tokens)
    low = np.log(np.maximum(fitting, usable / (6 * most_tokens)))
    high = np.log(np.maximum(np.minimum(most_parameters, usable / (6 * some)), np.exp(low)))
    found = np.exp(_least(lambda size: loss(np.exp(size), usable / (6 * np.exp(size)), some, law), low, high))
    return np.where(scarce, found, parameters), np.where(scarce, usable / (6 * found), tokens)


def flop_of_epochs(epochs: float, unique: float) -> float:
    """6 N D of the best model that sees `unique` tokens so often."""

    def reached(flop: float) -> bool:
        return float(optimum(flop, unique)[1]) >= epochs * unique

    return _first(reached, *_range(unique))


def useful_flop(unique: float, worth: float) -> float:
    """6 N D from which on more of it lowers the loss on `unique` tokens by less than `worth`, however much."""
    if unique == math.inf:
        return math.inf
    low, high = _range(unique)
    end = loss(*optimum(high, unique), unique) + worth
    return _first(lambda flop: bool(loss(*optimum(flop, unique), unique) < end), low, high)


def useful_tokens(parameters: float, unique: float, worth: float) -> float:
    """Tokens from which on more of them lower the loss of this model by less than `worth`, however many."""
    if unique == math.inf:
        return math.inf
    most = unique * (1 + SPENT * REPEATS)
    end = loss(parameters, most, unique) + worth
    return _first(lambda tokens: bool(loss(parameters, tokens, unique) < end), unique, most)


def _range(unique: float) -> tuple[float, float]:
    """6 N D of one epoch of the best model, and of more epochs and parameters than are worth anything."""
    low = float(6 * best_parameters(unique) * unique)
    return low, 2 * low * (1 + SPENT * REPEATS) * (1 + SPENT * EXCESS)


def _first(holds: Callable[[float], bool], low: float, high: float) -> float:
    """The least number from `low` to `high` for which it holds, as it does for all greater ones: bisection."""
    for _ in range(45):
        middle = (low * high) ** 0.5
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _least(value: Any, low: NDArray[Any], high: NDArray[Any]) -> NDArray[Any]:
    """Where `value` is least between `low` and `high`, element by element: golden section (it has one valley)."""
    import numpy as np

    ratio = (5**0.5 - 1) / 2
    for _ in range(60):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        lower = value(left) < value(right)
        low, high = np.where(lower, low, left), np.where(lower, right, high)
    return (low + high) / 2
