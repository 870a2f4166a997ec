"""What is known of a version, for its card and for public summaries: from its manifest, its ledger and the store's records.

Every figure is counted here and nowhere else; what nobody recorded is None, and is named among the gaps. Licences are SPDX ids
in the column `license`; tokens are what a stage counted (a column of `TOKENS`), or token shards that were made of the version.
Cost: one pass over a few short columns, and the spans of stages that replaced personal data; no text is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from curate.dataset import refs
from curate.dataset.ledger import Shard
from curate.dataset.runs import records
from curate.stages.fetched import PIECE

if TYPE_CHECKING:
    from curate.dataset.reader import Dataset

__all__ = ["LICENSE", "Facts", "Shares", "Source", "counted_by_source", "facts_of", "personal_data"]

LICENSE = "license"
OPT_OUT = "opt_out"
LANGUAGES = ("language", "lang")
TOKENS = ("tokens", "token_count")
PII = "pii"
DUPLICATES = ("exact_duplicates", "near_duplicates", "exact_lines", "exact_substrings", "semantic_duplicates")
PASSAGES = (*DUPLICATES, "decontaminate")
"""Stages whose spans are no personal data."""
ATTRIBUTION = ("attribution", "author", "license_evidence")
STAGE_KEYS = ("id", "stage", "kind", "in", "made", "kept", "dropped", "edited", "quarantined", "expanded", "reasons")


@dataclass(slots=True)
class Source:
    """A source: what it gave, and what of that is in the version; documents, and UTF-8 bytes of their texts.

    Attributes:
        id: Its id in the pipeline.
        stage: Which stage it is; None where the version's ledger names a source that its stages do not.
        splits: Documents in the version by split.
    """

    id: str
    stage: str | None
    read: int
    bytes_read: int
    kept: int
    bytes_kept: int
    splits: dict[str, int]


@dataclass(frozen=True, slots=True)
class Shares:
    """How many documents have each value of a column, most first; and how many have none."""

    values: dict[str, int]
    unknown: int


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a version.

    Attributes:
        created: When it was first committed to this store; None where its names do not tell.
        splits: Documents and bytes of text by split, in the order of the splits.
        licenses: Of the column `license`; None where there is none.
        languages: Of the column `language` or `lang`; None where there is none.
        attribution: Documents that have a value, by column.
        opted_out: Documents whose column `opt_out` says that nobody is to train on them.
        tokens: By what counted them: tokens by split.
        stages: What each stage did, sources first (`STAGE_KEYS`).
        personal: Occurrences and documents by type of personal data that was found; None where no stage looked.
        audits: The newest audit of bias: its verdicts and what it flagged; None where there is none.
        origin: How it was made: the pipeline's file, number, bytes and hash of the inputs, parents, sample, versions of tools.
        gaps: What is missing or was not looked at, in sentences.
    """

    dataset: str
    version: str
    tag: str | None
    created: str | None
    documents: dict[str, int]
    text_bytes: int
    columns: list[dict[str, str]]
    splits: dict[str, dict[str, int]]
    sources: list[Source]
    licenses: Shares | None
    languages: Shares | None
    attribution: dict[str, int]
    opted_out: int
    tokens: dict[str, dict[str, int]]
    stages: list[dict[str, Any]]
    personal: dict[str, dict[str, int]] | None
    audits: dict[str, Any] | None
    origin: dict[str, Any]
    gaps: list[str]

    def to_json(self) -> dict[str, Any]:
        """The facts as a JSON object."""
        return asdict(self)


def facts_of(dataset: Dataset) -> Facts:
    """Gather what is known of a version.

    Raises:
        CurateError: An object of its ledger is missing or damaged.
    """
    manifest, shards = dataset.manifest, dataset.ledger()
    counts, tokens = _columns(dataset)
    language = next((name for name in LANGUAGES if name in counts), None)
    stages = [{key: row[key] for key in STAGE_KEYS} for row in manifest["stages"]]
    bias = [
        one for one in records(dataset.store, "audit", version=dataset.version) if one["facts"].get("audit") == "bias"
    ]
    facts = Facts(
        dataset=dataset.name, version=dataset.version, tag=dataset.tag, created=_created(dataset),
        documents=manifest["documents"], text_bytes=manifest["text_bytes"], columns=manifest["columns"],
        splits={name: manifest["splits"][name] for name in dataset.splits if name in manifest["splits"]},
        sources=_sources(dataset, shards),
        licenses=_shares(counts[LICENSE]) if LICENSE in counts else None,
        languages=_shares(counts[language]) if language else None,
        attribution={name: counts[name].total() - counts[name][None] for name in ATTRIBUTION if name in counts},
        opted_out=counts[OPT_OUT].total() - counts[OPT_OUT][None] if OPT_OUT in counts else 0,
        tokens=tokens | _packed(dataset), stages=stages,
        personal=_personal(dataset, shards),
        audits={key: bias[-1]["facts"][key] for key in ("verdicts", "flagged")} if bias else None,
        origin=_origin(dataset), gaps=[],
    )  # fmt: skip
    facts.gaps.extend(_gaps(facts, manifest["provisional"]))
    return facts


# ---- where documents come from


def counted_by_source(dataset: Dataset, shards: Sequence[Shard]) -> dict[str, Source]:
    """What each source gave and what of it is in the version, in the order of the pipeline.

    What an expander made counts for the source of the documents that it was made of. A version without a ledger has none.
    """
    origins: dict[str, str] = {}
    for shard in shards:  # a shard stands behind the one that it was made of
        origins[shard.object] = origins.get(shard.parent or "", shard.source)
    named = {row["id"]: row["stage"] for row in dataset.manifest["stages"] if row["kind"] == "source"}
    found = {
        name: Source(name, named.get(name), 0, 0, 0, 0, {}) for name in {**named, **dict.fromkeys(origins.values())}
    }
    for shard in shards:
        if not shard.parent:
            found[shard.source].read += shard.documents + sum(shard.rejects.values())
            found[shard.source].bytes_read += shard.bytes
    kept = [shard for shard in shards if shard.kept]
    for shard, fragment in zip(kept, dataset.fragments, strict=True) if shards else ():
        one = found[origins[shard.object]]
        one.kept += fragment.documents
        one.bytes_kept += fragment.text_bytes
        for split, counts in fragment.splits.items():
            one.splits[split] = one.splits.get(split, 0) + counts["documents"]
    return found


def _sources(dataset: Dataset, shards: Sequence[Shard]) -> list[Source]:
    return list(counted_by_source(dataset, shards).values())


def _created(dataset: Dataset) -> str | None:
    """When the version was first named; erasures go on with the time of what they came after."""
    log = refs.read(dataset.store, dataset.name)[0]["log"]
    return next((entry["time"] for entry in log if entry["version"] == dataset.version), None)


def _origin(dataset: Dataset) -> dict[str, Any]:
    lineage, inputs = dataset.manifest["lineage"], dataset.inputs()
    runs = [one for one in records(dataset.store, "run", version=dataset.version) if one["state"] == "done"]
    names = [thing["name"] for one in runs for thing in one["inputs"] if thing["kind"] == "pipeline"]
    return {
        "pipeline": names[0] if names else None,
        "inputs": len(inputs), "input_bytes": _input_bytes(dataset, inputs), "inputs_hash": lineage["inputs"],
        **{key: lineage[key] for key in ("parents", "made_by", "sample", "tools")},
    }  # fmt: skip


def _input_bytes(dataset: Dataset, inputs: Sequence[dict[str, Any]]) -> int:
    """Bytes of files, and of pieces of snapshots as they are stored; those of other versions are told by these."""
    pieces = {one["content"].removeprefix(PIECE) for one in inputs if one["content"].startswith(PIECE)}
    there = sum(dataset.store.size(name) for name in pieces if dataset.store.has_object(name))
    return there + sum(one["bytes"] or 0 for one in inputs)


# ---- columns


def _columns(dataset: Dataset) -> tuple[dict[str, Counter[Any]], dict[str, dict[str, int]]]:
    """Documents by value of the columns that say something of them all, and tokens by split of those that count them."""
    import pyarrow as pa
    import pyarrow.compute as compute

    types = {field.name: field.type for field in dataset.schema}
    said = [name for name in (LICENSE, *LANGUAGES, *ATTRIBUTION, OPT_OUT) if name in types]
    counting = [name for name in TOKENS if name in types and pa.types.is_integer(types[name])]
    counts: dict[str, Counter[Any]] = {name: Counter() for name in said}
    tokens: dict[str, dict[str, int]] = {f"column `{name}`": dict.fromkeys(dataset.splits, 0) for name in counting}
    for split in dataset.splits if said or counting else ():
        for batch in dataset.batches(split, [*said, *counting], 20_000):
            for name in said:
                column = batch.column(name)
                if name in (*ATTRIBUTION, OPT_OUT):  # only whether it has one
                    column = compute.if_else(column.is_valid(), "there", None)
                counts[name].update({one["values"]: one["counts"] for one in _value_counts(column)})
            for name in counting:
                tokens[f"column `{name}`"][split] += compute.sum(batch.column(name)).as_py() or 0
    return counts, tokens


def _value_counts(column: Any) -> list[dict[str, Any]]:
    """Values as text, each with its count."""
    found = column.value_counts().to_pylist()
    return [{**one, "values": None if one["values"] is None else str(one["values"])} for one in found]


def _shares(counts: Counter[Any]) -> Shares:
    named = sorted(
        ((value, count) for value, count in counts.items() if value is not None), key=lambda one: (-one[1], one[0])
    )
    return Shares(dict(named), counts[None])


def _packed(dataset: Dataset) -> dict[str, dict[str, int]]:
    """Tokens by split of the token shards that were made of the version."""
    found: dict[str, dict[str, int]] = {}
    for blob in dataset.store.blobs.list("tokens"):
        manifest = dataset.store.read_json(blob.name) if blob.name.endswith("/manifest.json") else None
        if manifest and manifest.get("version") == dataset.version:
            splits = {name: one["tokens"] for name, one in manifest["splits"].items() if "tokens" in one}
            found[f"tokenizer {manifest['tokenizer']['sha256'][:12]}"] = splits
    return dict(sorted(found.items()))


# ---- personal data


def _personal(dataset: Dataset, shards: Sequence[Shard]) -> dict[str, dict[str, int]] | None:
    looked = any(row["stage"] == PII for row in dataset.manifest["stages"])
    return personal_data(dataset, shards) or ({} if looked else None)


def personal_data(dataset: Dataset, shards: Sequence[Shard]) -> dict[str, dict[str, int]]:
    """Occurrences and documents by type of personal data that was found: `{type: {"found", "documents"}}`.

    That is what `pii` and stages of the user's own have marked; spans of `PASSAGES` are repeated or leaked passages.
    """
    import pyarrow as pa
    import pyarrow.compute as compute

    others = {row["id"] for row in dataset.manifest["stages"] if row["stage"] in PASSAGES}
    found: Counter[str] = Counter()
    documents: Counter[str] = Counter()
    for shard in shards:
        for step in shard.steps:
            if step.stage in others or not step.verdicts or not step.number("edited"):
                continue
            edited = dataset.store.read_table(step.verdicts, ["row", "spans"]).combine_chunks()
            rows = edited.column("row").take(compute.list_parent_indices(edited.column("spans")))
            spans = pa.table(
                {"type": compute.struct_field(compute.list_flatten(edited.column("spans")), "type"), "row": rows}
            )
            counts = spans.group_by("type", use_threads=False).aggregate([("row", "count"), ("row", "count_distinct")])
            for name, occurrences, several in zip(
                *(counts.column(at).to_pylist() for at in counts.column_names), strict=True
            ):
                found[name] += occurrences
                documents[name] += several
    names = sorted(found, key=lambda name: (-found[name], name))
    return {name: {"found": found[name], "documents": documents[name]} for name in names}


# ---- what is not known


def _gaps(facts: Facts, provisional: int) -> Iterator[str]:
    kept = facts.documents["kept"]
    if facts.licenses is None:
        yield "No column says under which licences the documents are."
    elif facts.licenses.unknown:
        yield f"The licence of {facts.licenses.unknown:,} of {kept:,} documents is not known."
    if facts.opted_out:
        yield (
            f"Who published {_number(facts.opted_out)} in it said that nobody is to train on that: a source was told "
            "not to obey (the column `opt_out` has the evidence)."
        )
    if facts.languages is None:
        yield "No column says in which languages the documents are."
    if facts.personal is None:
        yield "No stage looked for personal data."
    if facts.audits is None:
        yield "It was not audited for bias."
    if not facts.tokens:
        yield "Nobody counted its tokens."
    if not any(row["stage"] in DUPLICATES for row in facts.stages):
        yield "It was not searched for duplicates across documents."
    if facts.documents["quarantined"]:
        yield f"{_number(facts.documents['quarantined'])} could not be read or processed, and are not in it."
    if provisional:
        yield f"{_number(provisional)} of these may be the machine's fault: another run tries them again."
    if facts.origin["sample"] is not None:
        yield f"It is a sample: at most {facts.origin['sample']:,} documents of each source were read."
    if not {"validation", "test"} & facts.splits.keys():
        yield "It has no validation or test split."


def _number(count: int) -> str:
    return f"{count:,} document{'' if count == 1 else 's'}"
