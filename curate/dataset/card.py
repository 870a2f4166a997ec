"""A version's dataset card: README.md with the YAML that the Hugging Face Hub reads, made of the version's facts alone.

The same version, records and files give the same text: no clock, no host, no text of a document. Keys of the YAML are those of
the Hub's documentation ("Dataset Cards"): `license` in the Hub's names, with `other` for an SPDX id that it has no name for and
`unknown` where documents have none; `configs` says which file is which split, where `datasets` reads the format.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from curate.dataset.facts import Facts, Shares

__all__ = ["DataFile", "cell", "dataset_card", "shares", "table"]

SHOWN = 30
"""Rows of a table of values, which come from data."""
READ_BY_DATASETS = ("jsonl", "csv", "parquet", "arrow", "hf", "webdataset")
HUB_SPLIT = re.compile(r"\w+(\.\w+)*")
LANGUAGE_CODE = re.compile(r"[a-z]{2,3}")
SIZES = ("1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T")
_HUB = """
apache-2.0 mit afl-3.0 artistic-2.0 bsl-1.0 bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc0-1.0 cc-by-2.0 cc-by-2.5
cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0
cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 cdla-permissive-1.0 cdla-permissive-2.0
wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 agpl-3.0 gpl-2.0 gpl-3.0 lgpl-2.1 lgpl-3.0 isc lppl-1.3c ms-pl
mpl-2.0 odbl osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib pddl
"""
HUB_LICENSES = frozenset(_HUB.split())
OTHER_NAMES = {"odc-by-1.0": "odc-by", "odbl-1.0": "odbl", "pddl-1.0": "pddl", "gfdl-1.3": "gfdl"}


class DataFile(NamedTuple):
    """A file of an export.

    Attributes:
        name: Its path from the card's folder, with forward slashes.
        split: Whose documents it has; None is all of them.
        bytes: Its size.
        hash: sha256, in hexadecimal.
    """

    name: str
    split: str | None
    bytes: int
    hash: str


def dataset_card(facts: Facts, format: str | None = None, files: Sequence[DataFile] = ()) -> str:
    """The card in Markdown.

    Args:
        facts: What is known of the version.
        format: The format of the files beside the card; None where there are none.
        files: These files.
    """
    parts = [
        ["---", *_metadata(facts, format, files), "---", "", f"# {facts.dataset}", "", _summary(facts)],
        ["## Composition", "", *_composition(facts)],
        ["## Licences", "", *_licenses(facts)],
        ["## Languages", "", *(shares(facts.languages, "language") if facts.languages else ["Not recorded."])],
        [
            "## Columns",
            "",
            *table(("column", "type"), ([f"`{cell(one['name'])}`", cell(one["type"])] for one in facts.columns)),
        ],
        ["## What each stage did", "", *_stages(facts)],
        ["## Personal data", "", *_personal(facts)],
        ["## Bias", "", *_bias(facts)],
        ["## Known gaps", "", *(f"- {gap}" for gap in facts.gaps or ["None that the store knows of."])],
        ["## How it was made", "", *_origin(facts)],
    ]
    return "\n".join(line for part in parts for line in [*part, ""])


# ---- for the Hub


def _metadata(facts: Facts, format: str | None, files: Sequence[DataFile]) -> Iterator[str]:
    """Lines of YAML; a JSON value is one."""
    yield f"pretty_name: {json.dumps(facts.dataset)}"
    if facts.licenses:
        yield f"license: {json.dumps(_hub_licenses(facts.licenses))}"
    languages = [name for name in (facts.languages.values if facts.languages else ()) if LANGUAGE_CODE.fullmatch(name)]
    if languages:
        yield f"language: {json.dumps(languages[:SHOWN])}"
    yield f"size_categories: {json.dumps([_size(facts.documents['kept'])])}"
    yield 'tags: ["curate"]'
    named = [one for one in files if one.split is None or facts.splits.get(one.split, {}).get("documents")]
    if format in READ_BY_DATASETS and named and all(HUB_SPLIT.fullmatch(one.split or "train") for one in named):
        yield from ("configs:", "- config_name: default", "  data_files:")
        for split, some in groupby(named, lambda one: one.split or "train"):
            paths = [one.name for one in some if format != "hf" or one.name.endswith(".arrow")]
            yield from (f"  - split: {json.dumps(split)}", f"    path: {json.dumps(paths)}")


def _hub_licenses(found: Shares) -> list[str]:
    plain = (re.sub("-(only|or-later)$", "", name.lower()) for name in found.values)
    names = [OTHER_NAMES.get(name, name if name in HUB_LICENSES else "other") for name in plain]
    return list(dict.fromkeys([*names, *(["unknown"] if found.unknown else [])]))


def _size(documents: int) -> str:
    """The Hub's name of a size: `1K<n<10K`."""
    at = sum(documents >= 1000 * 10**power for power in range(len(SIZES)))
    if at == len(SIZES):
        return f"n>{SIZES[-1]}"
    return f"{SIZES[at - 1]}<n<{SIZES[at]}" if at else f"n<{SIZES[0]}"


# ---- for people


def _summary(facts: Facts) -> str:
    name = f"version {facts.tag}, " if facts.tag else ""
    return (
        f"{facts.documents['kept']:,} documents with {facts.text_bytes:,} bytes of text ({name}`{facts.version}`), made of "
        f"{facts.documents['in']:,} that were read."
    )


def _composition(facts: Facts) -> Iterator[str]:
    if facts.sources:
        header = ("source", "kind", "read", "in the version", "share", "bytes of text", *facts.splits)
        yield from table(header, ([
            f"`{cell(one.id)}`", cell(one.stage or ""), one.read, one.kept, share(one.kept, facts.documents["kept"]),
            one.bytes_kept, *(one.splits.get(split, 0) for split in facts.splits),
        ] for one in facts.sources))  # fmt: skip
    else:
        yield "The version has no ledger of its sources."
    yield ""
    counted = {name: facts.tokens[name] for name in sorted(facts.tokens)}
    header = ("split", "documents", "bytes of text", *(f"tokens ({name})" for name in counted))
    yield from table(header, (
        [cell(split), one["documents"], one["text_bytes"], *(counts.get(split) for counts in counted.values())]
        for split, one in facts.splits.items()
    ))  # fmt: skip
    if not counted:
        yield from ("", "Tokens were not counted.")


def _licenses(facts: Facts) -> Iterator[str]:
    if facts.licenses is None:
        yield "Not recorded: the version has no column `license`."
    else:
        yield from shares(facts.licenses, "licence (SPDX)")
        yield from ("", "They are what the column `license` says; whether that is right was not judged.")
    for name, count in facts.attribution.items():
        yield f"\n{count:,} of {facts.documents['kept']:,} documents have a value in the column `{name}`."


def shares(found: Shares, name: str) -> Iterator[str]:
    """A table of values with their documents and shares."""
    total = sum(found.values.values()) + found.unknown
    rows: list[list[Any]] = [[f"`{cell(value)}`", count, share(count, total)] for value, count in found.values.items()]
    more = sum(row[1] for row in rows[SHOWN:])
    others = [[f"{len(rows) - SHOWN:,} others", more, share(more, total)]] if more else []
    unknown = [["not known", found.unknown, share(found.unknown, total)]] if found.unknown else []
    yield from table((name, "documents", "share"), [*rows[:SHOWN], *others, *unknown])


def _stages(facts: Facts) -> Iterator[str]:
    keys = ("in", "kept", "dropped", "edited", "quarantined")
    yield from table(("stage", "kind", *keys), (
        [f"`{cell(row['id'])}`" + ("" if row["stage"] == row["id"] else f" ({cell(row['stage'])})"), row["kind"],
         *(row[key] for key in keys)] for row in facts.stages
    ))  # fmt: skip
    reasons = [
        [f"`{cell(row['id'])}`", verdict, cell(reason), count]
        for row in facts.stages for verdict, counts in row["reasons"].items() for reason, count in counts.items()
    ]  # fmt: skip
    if reasons:
        yield from ("", *table(("stage", "verdict", "reason", "documents"), reasons))


def _personal(facts: Facts) -> Iterator[str]:
    if facts.personal is None:
        yield "No stage looked for personal data: what the sources have of it is in the texts."
    elif not facts.personal:
        yield "The stage `pii` looked for personal data, and found none."
    else:
        yield "What stages found and marked or replaced, in all documents that they saw. What they did not find is still there."
        yield ""
        rows = ([cell(name), one["found"], one["documents"]] for name, one in facts.personal.items())
        yield from table(("type", "found", "documents"), rows)


def _bias(facts: Facts) -> Iterator[str]:
    if facts.audits is None:
        yield "It was not audited."
        return
    verdicts = ", ".join(f"{count:,} {word}" for word, count in facts.audits["verdicts"].items())
    yield f"The newest audit compared groups of people: {verdicts}."
    flagged = facts.audits["flagged"]
    if flagged:
        yield ""
        yield from table(("measure", "about", "axis", "group"), ([cell(one) for one in row] for row in flagged[:SHOWN]))
    if len(flagged) > SHOWN:
        yield f"\n{len(flagged) - SHOWN:,} more were flagged."


def _origin(facts: Facts) -> Iterator[str]:
    origin = facts.origin
    if origin["made_by"]:
        yield f"- made by `{cell(origin['made_by'].get('kind', ''))}` of version " + ", ".join(
            f"`{one}`" for one in origin["parents"]
        )
    elif origin["pipeline"]:
        yield f"- made by `curate run {cell(origin['pipeline'])}`"
    yield f"- version `{facts.version}`: the hash of its manifest; the same pipeline, inputs and versions give it again"
    yield f"- inputs: {origin['inputs']:,}, {origin['input_bytes']:,} bytes" + (
        f"; the list of their hashes is object `{origin['inputs_hash']}`" if origin["inputs_hash"] else ""
    )
    yield f"- versions: {', '.join(f'{name} {version}' for name, version in sorted(origin['tools'].items())) or 'not recorded'}"


# ---- Markdown


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    """A table; columns whose cells are numbers are set to the right."""
    listed = list(rows)
    right = [bool(listed) and all(isinstance(row[at], int) for row in listed) for at in range(len(header))]
    yield f"| {' | '.join(header)} |"
    yield f"|{'|'.join('---:' if one else '---' for one in right)}|"
    for row in listed:
        cells = (f"{one:,}" if isinstance(one, int) else "" if one is None else str(one) for one in row)
        yield f"| {' | '.join(cells)} |"


def cell(value: object) -> str:
    """Text that comes from data or settings, as it may stand in a table: in one line, without markup, not endless."""
    text = " ".join(str(value).split())
    text = text if len(text) <= 100 else f"{text[:100]}..."
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("`", "'")


def share(count: int, total: int) -> str:
    """A share in percent; of nothing, none."""
    return f"{100 * count / total:.1f} %" if total else ""
