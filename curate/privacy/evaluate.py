"""How well the stage `pii` finds what people marked: precision, recall, F1, F2 and leaked characters, with intervals.

Gold texts are those of presidio-research: a JSON list of `full_text` and `spans` (`entity_type`, `start_position`,
`end_position` exclusive). A span is found `strict`ly where type, start and end are the same, and by `overlap` where the
type is the same and the two share at least half of what they cover together. Leaked are the characters of a marked span that
no found span covers, whatever it is called. F2 counts recall for four times as much as precision.

Intervals are of 95 %: by bootstrap over the texts (what stands in one text is no independent evidence), 2,000 draws, or, where
that is wider, Wilson's: of 20 found in 20 the bootstrap would say that recall is 1 for certain.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from curate.errors import CurateError, did_you_mean
from curate.privacy.recognizers import TYPES
from curate.stages.contract import Span

if TYPE_CHECKING:
    import numpy as np

    from curate.privacy.pii import Pii

__all__ = ["ALIASES", "Gold", "evaluate", "read_gold"]

DRAWS, SEED, HALF = 2000, 1, 0.5
_Z, _BETAS = 1.959964, {"f1": 1.0, "f2": 2.0}
ALIASES = {
    "SSN": "US_SSN",
    "IBAN": "IBAN_CODE",
    "EMAIL": "EMAIL_ADDRESS",
    "PHONE": "PHONE_NUMBER",
    "IP": "IP_ADDRESS",
    "GPE": "LOCATION",
    "ADDRESS": "LOCATION",
    "STREET_ADDRESS": "LOCATION",
}
"""Other names of types in gold files."""
KNOWN = frozenset({
    *TYPES.values(), *ALIASES, "PERSON", "LOCATION", "GPE", "STREET_ADDRESS", "ADDRESS", "ORGANIZATION", "DATE_TIME", "DATE",
    "TIME", "NRP", "AGE", "TITLE", "ZIP_CODE", "DOMAIN_NAME", "URL", "USERNAME", "PASSWORD", "US_DRIVER_LICENSE", "US_PASSPORT",
    "US_ITIN", "US_BANK_NUMBER", "UK_NHS", "MEDICAL_LICENSE", "PREFIX", "NATIONALITY", "CARDISSUER", "ID", "O",
})  # fmt: skip
"""Types that gold files may have; those that nothing looks for are counted as such."""


class Gold(NamedTuple):
    """A text, and the disjoint spans that people marked in it."""

    text: str
    spans: list[Span]


def read_gold(path: Path, more: Iterable[str] = ()) -> list[Gold]:
    """The texts of a gold file.

    Args:
        path: The file.
        more: Types that it may have beside `KNOWN`: what the user's recognizers find.

    Raises:
        CurateError: It is no such file, or a span overlaps another, lies outside of its text, or has an unknown type.
    """
    try:
        records = json.loads(path.read_bytes())
    except OSError as error:
        raise CurateError(f"gold texts cannot be read: {error.strerror}", str(path)) from None
    except (ValueError, RecursionError) as error:
        raise CurateError(f"gold texts are no JSON: {error}", str(path)) from None
    hint = 'a list of {"full_text": ..., "spans": [{"entity_type", "start_position", "end_position"}]}'
    if not isinstance(records, list) or not records:
        raise CurateError("gold texts are a JSON list, and this is none or empty", str(path), hint)
    known = KNOWN.union(more)
    return [_gold(record, f"{path}, text {number}", hint, known) for number, record in enumerate(records)]


def _gold(record: Any, where: str, hint: str, known: frozenset[str]) -> Gold:
    text = record.get("full_text") if isinstance(record, dict) else None
    if not isinstance(text, str) or not isinstance(record.get("spans", []), list):
        raise CurateError("a gold text needs `full_text` and `spans`", where, hint)
    if not text.isascii() and any("\ud800" <= one <= "\udfff" for one in text):
        raise CurateError("a gold text has half of a surrogate pair, which is no character", where)
    spans: list[Span] = []
    for number, one in enumerate(record.get("spans", [])):
        place = f"{where}, span {number}"
        try:
            start, end, kind = one["start_position"], one["end_position"], str(one["entity_type"])
        except (KeyError, TypeError):
            start = end = kind = None
        if type(start) is not int or type(end) is not int or kind is None:
            raise CurateError("a gold span needs `entity_type`, `start_position` and `end_position`", place, hint)
        if kind not in known:
            raise CurateError(f"no entity is called `{kind}`", place, did_you_mean(kind, sorted(known)) or "see `pii`")
        if not 0 <= start < end <= len(text):
            raise CurateError(
                f"the span {start}-{end} lies outside of the text, which has {len(text)} characters", place
            )
        spans.append(Span(start, end, ALIASES.get(kind, kind)))
    spans.sort()
    for before, after in pairwise(spans):
        if after.start < before.end:
            raise CurateError(
                f"the spans {before.start}-{before.end} and {after.start}-{after.end} overlap",
                where,
                "keep one of them",
            )
    return Gold(text, spans)


def evaluate(golds: Sequence[Gold], stage: Pii) -> dict[str, Any]:
    """What the stage finds of the gold spans.

    Returns:
        `texts`; `entities`: for each type that the stage looks for, and `all` of them together, `n` (marked) and `found`,
        `strict` and `overlap` (each `precision`, `recall`, `f1`, `f2` as `value`, `low`, `high`), and `leaked` (characters
        of `characters`); the numbers of `overlap` stand beside them, too. `others`: what the stage does not look for:
        `n` and `leaked`.
    """
    import numpy as np
    import pyarrow as pa

    looked = list(dict.fromkeys(stage.types().values()))
    counts = {kind: np.zeros((len(golds), 7), np.int64) for kind in looked}
    others: dict[str, dict[str, int]] = {}
    found_in = {row: spans for row, _, spans in stage.finder()(pa.array([gold.text for gold in golds], pa.string()))}
    for row, gold in enumerate(golds):
        found = found_in.get(row, [])
        for kind in looked:
            counts[kind][row] = _counts([s for s in gold.spans if s.type == kind], found, kind)
        for span in gold.spans:
            if span.type not in counts:
                other = others.setdefault(span.type, {"n": 0, "characters": 0, "leaked": 0})
                other["n"] += 1
                other["characters"] += span.end - span.start
                other["leaked"] += _leaked(span, found)
    draw = np.random.default_rng(SEED).multinomial(len(golds), np.full(len(golds), 1 / len(golds)), size=DRAWS)
    told = {kind: _told(table, draw) for kind, table in counts.items()}
    told["all"] = _told(np.sum(list(counts.values()), axis=0), draw)
    return {"texts": len(golds), "entities": told, "others": dict(sorted(others.items()))}


def _counts(gold: Sequence[Span], found: Sequence[Span], kind: str) -> list[int]:
    """Marked, found, strict hits, marked that overlap, found that overlap, characters, leaked characters."""
    mine = [span for span in found if span.type == kind]
    strict = {span[:2] for span in gold} & {span[:2] for span in mine}
    marked = sum(any(_alike(one, span) for span in mine) for one in gold)
    right = sum(any(_alike(one, span) for one in gold) for span in mine)
    characters = sum(span.end - span.start for span in gold)
    return [len(gold), len(mine), len(strict), marked, right, characters, sum(_leaked(one, found) for one in gold)]


def _alike(left: Span, right: Span) -> bool:
    shared = min(left.end, right.end) - max(left.start, right.start)
    both = max(left.end, right.end) - min(left.start, right.start)
    return shared > 0 and shared >= HALF * both


def _leaked(gold: Span, found: Sequence[Span]) -> int:
    covered = sum(max(0, min(gold.end, span.end) - max(gold.start, span.start)) for span in found)
    return gold.end - gold.start - covered


def _told(table: np.ndarray, draw: np.ndarray) -> dict[str, Any]:
    whole, drawn = table.sum(axis=0), draw @ table
    strict, overlap = ((2, 2), (3, 4))
    measures = {name: _measures(whole, drawn, *hits) for name, hits in (("strict", strict), ("overlap", overlap))}
    plain = {name: one["value"] for name, one in measures["overlap"].items()}
    return {
        "n": int(whole[0]), "found": int(whole[1]), **plain, **measures,
        "leaked": int(whole[6]), "characters": int(whole[5]),
    }  # fmt: skip


def _measures(whole: np.ndarray, drawn: np.ndarray, marked: int, right: int) -> dict[str, dict[str, float | None]]:
    import numpy as np

    values, draws = _rates(whole[None], marked, right), _rates(drawn, marked, right)
    recall, precision = _wilson(whole[marked], whole[0]), _wilson(whole[right], whole[1])
    bounds = {"precision": precision, "recall": recall}
    for name, beta in _BETAS.items():
        bounds[name] = _f(precision[0], recall[0], beta), _f(precision[1], recall[1], beta)
    told: dict[str, dict[str, float | None]] = {}
    for name, drawn_values in draws.items():
        value, known = float(values[name][0]), drawn_values[~np.isnan(drawn_values)]
        low, high = np.quantile(known, [0.025, 0.975]) if len(known) else (np.nan, np.nan)
        low, high = float(np.fmin(low, bounds[name][0])), float(np.fmax(high, bounds[name][1]))
        told[name] = {key: None if value != value else round(one, 4) for key, one in zip(
            ("value", "low", "high"), (value, low, high), strict=True)}  # fmt: skip
    return told


def _wilson(hits: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a share."""
    if not of:
        return float("nan"), float("nan")
    middle = (hits + _Z**2 / 2) / (of + _Z**2)
    half = _Z / (of + _Z**2) * (hits * (of - hits) / of + _Z**2 / 4) ** 0.5
    return max(0.0, middle - half), min(1.0, middle + half)


def _f(precision: float, recall: float, beta: float) -> float:
    below = beta**2 * precision + recall
    return (1 + beta**2) * precision * recall / below if below else 0.0


def _rates(table: np.ndarray, marked: int, right: int) -> dict[str, np.ndarray]:
    import numpy as np

    with np.errstate(invalid="ignore", divide="ignore"):
        recall, precision = table[:, marked] / table[:, 0], table[:, right] / table[:, 1]
        rates = {"precision": precision, "recall": recall}
        for name, beta in _BETAS.items():
            both = (1 + beta**2) * precision * recall / (beta**2 * precision + recall)
            nothing = (table[:, marked] == 0) & (table[:, 0] + table[:, 1] > 0)
            rates[name] = np.where(nothing, 0.0, both)
    return rates
