"""Reference made from the stage classes: one class is the one source of YAML, JSON schema, documentation and help."""

from __future__ import annotations

import inspect
import json
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic.fields import FieldInfo

from curate.config.pipeline import Settings
from curate.config.resources import Resources
from curate.config.validation import member_models, tag
from curate.config.words import kind_in_words
from curate.stages.contract import Audit, Filter, Mapper
from curate.stages.registry import find_stage, stage_names

__all__ = ["pipeline_schema", "reference_page", "settings_rows", "stage_reference"]


PLAIN = {"type": ["string", "number", "boolean", "null"]}
WHERE = {
    "type": "object",
    "minProperties": 1,
    "additionalProperties": {"anyOf": [PLAIN, {"type": "array", "items": PLAIN, "minItems": 1}]},
    "description": "the documents that the stage looks at: by column a value or several; the others go on",
}
NAMED = "NAME."
"""Stands for the names in a dictionary of blocks; blocks inside them are those described elsewhere."""


def stage_reference(name: str) -> dict[str, Any]:
    """A stage's name, kind, summary, description and settings.

    Raises:
        CurateError: There is no such stage.
    """
    found = find_stage(name)
    description = inspect.cleandoc(found.__doc__ or "")
    return {
        "name": name,
        "kind": found.kind,
        "summary": description.partition("\n")[0],
        "description": description,
        "reasons": dict(found.reasons),
        "settings": _settings(found),
    }


def _types(model: type[BaseModel]) -> dict[str, str]:
    """What each setting takes, in words; a stage of one's own may have types that have none."""
    try:
        schema = model.model_json_schema()
    except PydanticInvalidForJsonSchema:
        return {name: "anything" for name in model.model_fields}
    return {name: kind_in_words(kind, schema.get("$defs")) for name, kind in schema["properties"].items()}


def pipeline_schema() -> dict[str, Any]:
    """The JSON schema of pipeline files: the stages of the registry, their settings, and nothing else."""
    definitions: dict[str, Any] = {"Resources": Resources.model_json_schema()}
    sources, stages = [], []
    for name in stage_names():
        found = find_stage(name)
        made = found.model_json_schema(ref_template="#/$defs/{model}")
        definitions.update(made.pop("$defs", {}))
        made["properties"] = {
            "stage": {"const": name}, "id": {"type": "string"}, "resources": {"$ref": "#/$defs/Resources"},
            **({"where": WHERE} if issubclass(found, Mapper | Filter | Audit) else {}), **made.get("properties", {}),
        }  # fmt: skip
        made["required"] = ["stage", *made.get("required", [])]
        definitions[name] = made
        (sources if found.kind == "source" else stages).append({"$ref": f"#/$defs/{name}"})
    own = {
        "type": "object",
        "properties": {"stage": {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_]"}},
        "required": ["stage"],
    }
    block = {
        "type": "object",
        "properties": {
            "use": {"type": "string", "description": "path of a datatrove block; its parameters stand beside"}
        },
        "required": ["use"],
    }
    whole = Settings.model_json_schema()
    whole["properties"] |= {
        "include": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
        "sources": {"type": "array", "minItems": 1, "items": {"anyOf": [*sources, own]}},
        "stages": {"type": "array", "items": {"anyOf": [*stages, own, block]}},
    }
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "curate pipeline"}
    return {**whole, **head, "$defs": definitions}


def settings_rows(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Rows of a Markdown table of a model's settings, as `curate stages` lists them."""
    rows = []
    for setting in _settings(model, prefix):
        cells = [cell.replace("|", "\\|") for cell in setting.values()]
        rows.append(f"| `{cells[0]}` | {cells[1]} | `{cells[2]}` | {cells[3]} |")
    return rows


def _settings(model: type[BaseModel], prefix: str = "") -> list[dict[str, str]]:
    """Name, type, default and description of a model's settings; those of blocks by their dotted names.

    A block that may be missing, or is one of several kinds, stands before its settings.
    """
    found, types = [], _types(model)
    for name, field in model.model_fields.items():
        blocks = member_models(field)
        named = dict in {get_origin(kind) for kind in (field.annotation, *get_args(field.annotation))}
        if name == tag(model) and field.description is None:
            continue
        if field.annotation not in blocks or NAMED in prefix:  # pyright: ignore[reportUnnecessaryContains]
            found.append(_setting(prefix + name, field, types[name], blocks))
        for block in blocks if NAMED not in prefix else []:
            kind = f"[{_tagged(block)}]." if len(blocks) > 1 else ""
            found += _settings(block, f"{prefix}{name}.{NAMED if named else kind}")
    return found


def _setting(name: str, field: FieldInfo, kind: str, blocks: list[type[BaseModel]]) -> dict[str, str]:
    default = (
        "required" if field.is_required() else json.dumps(field.get_default(call_default_factory=True), default=str)
    )
    if blocks:
        kinds = [_tagged(block) for block in blocks] if len(blocks) > 1 else []
        listed = get_origin(field.annotation) is tuple
        what, chosen = "list of blocks" if listed else "block", field.get_default()
        kind = f"{what}, by `{tag(blocks[0])}`: {', '.join(kinds)}" if kinds else what
        default = "[]" if listed else f"{{kind: {chosen.kind}}}" if kinds and chosen else "null"
    return {"name": name, "type": kind, "default": default, "description": field.description or ""}


def _tagged(block: type[BaseModel]) -> str:
    """What a block's tag is."""
    key = tag(block)
    assert key
    return str(block.model_fields[key].default)


def reference_page() -> str:
    """The reference of all built-in stages, as Markdown (docs/reference/stages.md)."""
    from curate.stages.registry import BUILT_IN

    lines = ["# Stages", "", "Made from the stage classes by `make docs`; do not edit.", ""]
    lines += [
        "Every stage and every source may have an `id`, by which it is told from others (by default its name), and",
        "`resources`, what a task of it needs of a machine:", "",
        "| setting | type | default | what it is |", "|---|---|---|---|",
        *settings_rows(Resources, "resources."), "",
        "They are for `--backend ray` and `slurm`; `local` gives each stage one thread, whatever it asks for, and says where",
        "this machine lacks it. Neighbours that ask for the same share a task; with other needs each has its own.",
        "",
        "Mappers, filters and audits may have `where`, which says at which documents they look: by column a value, or a list",
        "of which one is enough (`where: {language: [de, da]}`); `null` is no value. The others go on as if the stage were not",
        "there.",
        "",
    ]  # fmt: skip
    for name in sorted(BUILT_IN):
        one = stage_reference(name)
        lines += [f"## {name}", "", f"Kind: {one['kind']}", "", one["description"], ""]
        if one["reasons"]:
            lines += ["| reason | what the document has |", "|---|---|"]
            lines += [*(f"| `{reason}` | {meaning} |" for reason, meaning in one["reasons"].items()), ""]
        if one["settings"]:
            lines += ["| setting | type | default | what it is |", "|---|---|---|---|"]
            lines += [*settings_rows(find_stage(name)), ""]
    return "\n".join(lines)
