"""Conversations, prompts and answers that the template cannot write, left out (`Fields.unfit`).

A first pass over a split renders every document, 0.1 ms a turn; what does not fit is then missing in all its files, so that
streams, numbers and labels stay in step.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from curate.errors import CurateError
from curate.tokenize.fields import Fields, parsed_list, rows_of
from curate.tokenize.turns import exchange

if TYPE_CHECKING:
    from curate.dataset.reader import Dataset
    from curate.tokenize.chat import ChatTemplate

__all__ = ["facts_of", "told", "unfit"]

_NAMED = 100
"""Most documents that are named for one reason."""


def unfit(dataset: Dataset, split: str, fields: Fields, template: ChatTemplate | None) -> dict[int, str]:
    """Why a document of a split cannot be written, by its number.

    Raises:
        CurateError: The documents cannot be read.
    """
    found: dict[int, str] = {}
    if template is None:
        return found
    columns = [*fields.turns.values(), *([fields.messages] if fields.messages else [])]
    for number, row in enumerate(rows_of(dataset, split, [*columns, *([fields.tools] if fields.tools else [])])):
        try:
            tools = parsed_list(row[-1]) if fields.tools else None
            if fields.messages:
                template.rendered(parsed_list(row[len(columns) - 1]), tools)
            if fields.turns:
                prompt, answers = exchange(dict(zip(fields.turns, row, strict=False)))
                template.exchange(prompt, [*answers.values()], tools)
        except CurateError as error:
            found[number] = error.problem
        except ValueError:
            found[number] = "a string that is no JSON, where a list should be"
    return found


def facts_of(left_out: Mapping[int, str]) -> dict[str, dict[str, Any]]:
    """By reason: how many documents, and the numbers of the first ones in their split."""
    reasons: dict[str, list[int]] = {}
    for number, reason in left_out.items():
        reasons.setdefault(reason, []).append(number)
    return {
        reason: {"count": len(numbers), "documents": numbers[:_NAMED]} for reason, numbers in sorted(reasons.items())
    }


def told(facts: Mapping[str, Mapping[str, Any]]) -> str:
    """The facts in words, the most frequent reasons first."""
    count = sum(fact["count"] for fact in facts.values())
    frequent = sorted(facts.items(), key=lambda pair: -pair[1]["count"])
    listed = [f"{fact['count']:,}: {reason} (document {fact['documents'][0]})" for reason, fact in frequent[:5]]
    listed += [f"and {len(facts) - 5} reasons more"] if len(facts) > 5 else []
    return f"{count:,} document{'s' * (count != 1)} left out; {'; '.join(listed)}"
