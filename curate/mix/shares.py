"""How often each cell of a mixture is seen: from sizes, shares, a temperature, a budget and a cap of repeats.

share       of a cell: its weight (or its size, where none is given) to the power 1 / temperature, over the sum
rate        share x total / size: 0.3 keeps three of ten documents, 2.5 repeats each twice or three times
total       the budget; without one as much as the shares allow within the cap
over budget what a capped cell cannot give the others give, by their shares (UniMax, Chung et al. 2023)
effective   U + U R* (1 - exp(-R / R*)) of U unique words that are repeated R more times, R* = 15.39: what they are worth in
            words seen once (Muennighoff et al. 2023, equation 5)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import accumulate
from typing import NamedTuple

__all__ = ["WORTH", "Cell", "effective", "shares"]

WORTH = 15.39
"""R* of Muennighoff et al. 2023: the scale on which repeats lose their worth."""

SMALLEST = 1e-250
"""Least part of the heaviest cell's power that a cell has, so that it takes what the others leave."""


class Cell(NamedTuple):
    """A cell of a mixture.

    Attributes:
        size: Of its documents.
        share: That it is to have, 0 to 1.
        rate: How often each of its documents is seen, in the mean.
    """

    size: float
    share: float
    rate: float


def shares(
    sizes: Mapping[str, float],
    *,
    weights: Mapping[str, float] | None = None,
    temperature: float = 1.0,
    budget: float | None = None,
    most: float = 1.0,
) -> dict[str, Cell]:
    """The rates of cells; those without weight have none, those without size take nothing of the budget and stay.

    Args:
        sizes: Of each cell, 0 or more.
        weights: Of each cell that is to be there; only their proportions count.
        temperature: Above 1 evens the shares out.
        budget: Of all cells together.
        most: Greatest rate.
    """
    asked = {
        name: (weights[name] if weights else size) for name, size in sizes.items() if not weights or name in weights
    }
    asked = {name: weight for name, weight in asked.items() if weight > 0 or not weights}
    free = {name: min(1.0, most) for name in asked if sizes[name] <= 0}
    asked = {name: weight for name, weight in asked.items() if name not in free}
    if not asked:
        return {name: Cell(size, 0.0, free.get(name, 0.0)) for name, size in sizes.items()}
    heaviest = max(asked.values())  # of which parts are taken, so that no power is too large; nor may one vanish
    powers = {name: max((weight / heaviest) ** (1 / temperature), SMALLEST) for name, weight in asked.items()}
    whole = math.fsum(powers.values())
    wanted = {name: power / whole for name, power in powers.items()}
    if budget is not None:
        total = float(budget)
    elif weights:
        total = min(most * sizes[name] / share for name, share in wanted.items())
    else:
        total = float(sum(sizes.values()))
    rates = free | _rates(sizes, wanted, total, most)
    return {name: Cell(size, wanted.get(name, 0.0), rates.get(name, 0.0)) for name, size in sizes.items()}


def _rates(sizes: Mapping[str, float], wanted: Mapping[str, float], total: float, most: float) -> dict[str, float]:
    """Fill the budget: cells that reach the cap stay there, and the others share what is left."""
    rates: dict[str, float] = {}
    open_cells = sorted(wanted, key=lambda name: most * (sizes[name] / wanted[name]))
    # what the cells from here on are to have, in sums: in differences a small share would vanish
    whole, *rests = reversed(list(accumulate((wanted[name] for name in reversed(open_cells)), initial=0.0)))
    left, each = total, total / whole
    for name, rest in zip(open_cells, rests, strict=True):
        rate = each * wanted[name] / sizes[name]
        rates[name] = min(most, rate)
        if rate > most * (1 + 1e-12) and rest:
            left = max(left - most * sizes[name], 0.0)
            each = left / rest
    return rates


def effective(unique: float, seen: float) -> float:
    """What `unique` words that are seen `seen` times in all are worth, in words seen once."""
    if unique <= 0 or seen <= unique:
        return seen
    repeats = seen / unique - 1
    return unique * (1 + WORTH * (1 - math.exp(-repeats / WORTH)))
