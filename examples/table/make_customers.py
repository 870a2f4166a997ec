"""Write in/customers.csv: made-up customers of a telephone company, as untidy as tables are, and which of them left."""

from __future__ import annotations

import csv
import random
from math import exp
from pathlib import Path

CITIES = {"Lyon": ("Lyon", "lyon", "LYON "), "Nantes": ("Nantes", "nantes"), "Lille": ("Lille", " Lille")}


def customers(count: int) -> list[dict[str, str]]:
    """So many customers; who pays more than is used, and is new, tends to leave."""
    draw = random.Random(7)  # noqa: S311
    rows = []
    for number in range(count):
        plan, city = draw.choice(["basic", "plus", "max"]), draw.choice([*CITIES])
        age, months = draw.gauss(44, 13), draw.randint(1, 60)
        bill, used = draw.lognormvariate(3.4, 0.4), draw.random()
        leaning = 1.2 * (plan == "max") - 0.06 * months + 0.05 * (bill - 30) + 3.0 * (0.5 - used) + 0.9
        day, month, year = draw.randint(1, 28), draw.randint(1, 12), 2024 - months // 12
        rows.append({
            "customer": f"{number * 37 % 100_000:05}",
            "age": draw.choice(["", "n/a"]) if draw.random() < 0.12 else str(round(age)),
            "plan": plan,
            "city": draw.choice(CITIES[city]),
            "since": f"{day:02}/{month:02}/{year}",
            "months": str(months),
            "bill": f"1,{draw.randint(100, 400)}.00" if draw.random() < 0.01 else f"{bill:.2f}",
            "used": f"{round(100 * used)}%",
            "left": "yes" if draw.random() < 1 / (1 + exp(-2 * leaning)) else "no",
        })  # fmt: skip
    rows[3]["age"], rows[8]["left"] = "unknown", ""
    return [*rows, dict(rows[5]), dict(rows[11])]


def write(path: Path, count: int = 800) -> None:
    """Write a file of them."""
    rows = customers(count)
    with path.open("w", newline="") as stream:
        table = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


if __name__ == "__main__":
    write(Path(__file__).parent / "in" / "customers.csv")
