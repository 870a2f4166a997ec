"""Croissant metadata of an export: JSON-LD by which data set searches and loaders find its files, columns and hashes.

Vocabulary of Croissant 1.0 (MLCommons, docs.mlcommons.org/croissant) over schema.org. Files that Croissant's readers know
(`READABLE`) have a record set with a field for each column of plain values; all others are named with size and hash alone.
Lists and structures have no field: their types in Croissant are not settled. Tested with `mlcroissant` 1.1.1.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from curate.dataset.card import DataFile
from curate.dataset.facts import Facts

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["croissant"]

READABLE = {".jsonl": "application/jsonlines", ".csv": "text/csv", ".parquet": "application/x-parquet"}
SPDX = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,60}")
NUMBER = re.compile(r"v(\d+)")
_WORDS = """
citeAs column equivalentProperty extract field fileObject fileProperty fileSet format includes isLiveDataset jsonPath key md5
parentField path recordSet references regex repeated replace samplingRate separator source subField transform
"""
CONTEXT = {
    "@language": "en", "@vocab": "https://schema.org/", "sc": "https://schema.org/", "dct": "http://purl.org/dc/terms/",
    "cr": "http://mlcommons.org/croissant/", "rai": "http://mlcommons.org/croissant/RAI/", "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"}, "examples": {"@id": "cr:examples", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"}, **{word: f"cr:{word}" for word in _WORDS.split()},
}  # fmt: skip


def croissant(facts: Facts, schema: pa.Schema, files: Sequence[DataFile]) -> bytes:
    """The metadata as JSON.

    Args:
        facts: What is known of the version.
        schema: The columns that were written.
        files: The files, by their names from the metadata's folder.
    """
    kept = facts.documents["kept"]
    number = NUMBER.fullmatch(facts.tag or "")
    described: dict[str, Any] = {
        "@context": CONTEXT,
        "@type": "Dataset",
        "conformsTo": ["http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0"],
        "name": facts.dataset,
        "description": f"{kept:,} documents with {facts.text_bytes:,} bytes of text, made by curate; version {facts.version}.",
        "version": f"{number[1]}.0.0" if number else facts.version,
        "identifier": facts.version,
        "isLiveDataset": False,
        "rai:dataPreprocessingProtocol": [
            f"{row['id']}: {row['in']} documents, {row['kept']} kept" for row in facts.stages
        ],
        "rai:dataLimitations": facts.gaps,
        "rai:personalSensitiveInformation": [
            f"{name}: {one['found']} marked or replaced" for name, one in (facts.personal or {}).items()
        ],
        "distribution": [_file(one) for one in files],
        "recordSet": [_records(one, schema) for one in files if _media_type(one)],
    }
    licenses = [name for name in (facts.licenses.values if facts.licenses else ()) if SPDX.fullmatch(name)]
    if licenses:
        described["license"] = [f"https://spdx.org/licenses/{name}" for name in licenses]
    if facts.created:
        described["datePublished"] = facts.created[:10]
    return (
        json.dumps({key: value for key, value in described.items() if value != []}, indent=2, sort_keys=True).encode()
        + b"\n"
    )


def _media_type(one: DataFile) -> str | None:
    return next((kind for ending, kind in READABLE.items() if one.name.endswith(ending)), None)


def _file(one: DataFile) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject", "@id": one.name, "name": one.name, "contentUrl": one.name, "contentSize": f"{one.bytes} B",
        "encodingFormat": _media_type(one) or "application/octet-stream", "sha256": one.hash,
    }  # fmt: skip


def _records(one: DataFile, schema: pa.Schema) -> dict[str, Any]:
    name = one.name.rpartition(".")[0]
    fields = [(column.name, kind) for column in schema if (kind := _data_type(column.type))]
    return {
        "@type": "cr:RecordSet", "@id": name, "name": name,
        "description": f"Documents of the split {one.split}." if one.split else "All documents.",
        "field": [
            {
                "@type": "cr:Field", "@id": f"{name}/{column}", "name": f"{name}/{column}", "dataType": kind,
                "source": {"fileObject": {"@id": one.name}, "extract": {"column": column}},
            }
            for column, kind in fields
        ],
    }  # fmt: skip


def _data_type(kind: pa.DataType) -> str | None:
    """What Croissant calls a type; None where it has no name for it."""
    import pyarrow as pa

    types = pa.types
    if types.is_string(kind) or types.is_large_string(kind) or types.is_decimal(kind):
        return "sc:Text"
    if types.is_boolean(kind):
        return "sc:Boolean"
    if types.is_integer(kind):
        return "sc:Integer"
    if types.is_floating(kind):
        return "sc:Float"
    return "sc:Date" if types.is_temporal(kind) and not (types.is_time(kind) or types.is_duration(kind)) else None
