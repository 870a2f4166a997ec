"""Which documents a stage looks at: `where` beside its settings.

    {stage: gopher_quality, language: deu, where: {language: de}}
    {stage: pii, where: {source: [mail, forum], year: 2024}}     all of them; of a list one is enough; null: no value

The others go on as if the stage were not there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from curate.errors import CurateError
from curate.stages.contract import Audit, Filter, Mapper, Stage

__all__ = ["Where", "checked_where"]

Where = Mapping[str, tuple[str | int | float | bool | None, ...]]
"""For each column the values of which a document has one."""
EXAMPLE = "where: {language: [de, fr]}"


def checked_where(given: Any, stage: Stage, place: str) -> Where:
    """What a pipeline file says, checked.

    Raises:
        CurateError: It is no map of columns to values, or the stage does not look at documents one by one.
    """
    if given is None:
        return {}
    if not isinstance(stage, Mapper | Filter | Audit):
        kinds = "`where` is for stages that look at each document by itself: mappers, filters and audits"
        raise CurateError(f"this is a {stage.kind} stage", place, kinds)
    if not isinstance(given, dict) or not given:
        raise CurateError("`where` is a map of columns to values", place, EXAMPLE)
    found: dict[str, tuple[Any, ...]] = {}
    for column, values in given.items():
        listed = values if isinstance(values, list) else [values]
        if not isinstance(column, str) or not listed or not all(_is_plain(one) for one in listed):
            raise CurateError("`where` is a map of columns to texts, numbers, true, false or null", place, EXAMPLE)
        found[column] = tuple(listed)
    return found


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | bool)
