"""What a setting takes, in words: `whole number from 1 to 64`, `list of text, or null`; made from its JSON schema."""

from __future__ import annotations

from typing import Any

__all__ = ["kind_in_words"]

WORDS = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false", "null": "null"}


def kind_in_words(schema: dict[str, Any], definitions: dict[str, Any] | None = None) -> str:
    """The words for a schema; `definitions` are those that it refers to."""
    known = definitions or {}
    if "$ref" in schema:
        return kind_in_words(known[schema["$ref"].rpartition("/")[2]], known)
    if "anyOf" in schema:
        return ", or ".join(dict.fromkeys(kind_in_words(one, known) for one in schema["anyOf"]))
    if "const" in schema:
        return str(schema["const"])
    if "enum" in schema:
        *most, last = map(str, schema["enum"])
        return f"{', '.join(most)} or {last}" if most else last
    if schema.get("type") == "array":
        return _list_in_words(schema, known)
    if schema.get("type") == "object":
        return _object_in_words(schema, known)
    return WORDS.get(schema.get("type", ""), "anything") + _bounds(schema)


def _list_in_words(schema: dict[str, Any], known: dict[str, Any]) -> str:
    if "prefixItems" in schema:
        kinds = dict.fromkeys(kind_in_words(one, known) for one in schema["prefixItems"])
        return f"list of {len(schema['prefixItems'])}: {'; '.join(kinds)}"
    least = f" (at least {schema['minItems']})" if schema.get("minItems") else ""
    return f"list of {kind_in_words(schema.get('items', {}), known)}{least}"


def _object_in_words(schema: dict[str, Any], known: dict[str, Any]) -> str:
    values = schema.get("additionalProperties")
    if not isinstance(values, dict):
        return "settings of its own"
    names = kind_in_words(schema["propertyNames"], known) if "propertyNames" in schema else "names"
    return f"mapping of {names} to {kind_in_words(values, known)}"


def _bounds(schema: dict[str, Any]) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if low is not None and high is not None:
        return f" from {_number(low)} to {_number(high)}"
    told = [(low, "at least"), (above, "above"), (high, "at most"), (below, "below")]
    if schema.get("minLength") == schema.get("maxLength") == 1:
        return " of one character"
    parts = [f"{words} {_number(value)}" for value, words in told if value is not None]
    return f" {' and '.join(parts)}" if parts else ""


def _number(value: float) -> str:
    if isinstance(value, int) and value >= 1 << 53 and value.bit_count() == 1:
        return f"2^{value.bit_length() - 1}"
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"
