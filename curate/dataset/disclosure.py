"""Public summaries of training content, as laws ask for them, filled in from a version's facts.

    EU          Art. 53(1)(d) of Regulation (EU) 2024/1689: the sections of the Commission's template (July 2025; C(2025) 8311)
    California  Civil Code section 3111(a), items 1 to 12 (Assembly Bill 2013, chapter 817 of 2024)

The headings are our words for what a section asks. A figure is the ledger's; what it cannot know is left open and marked, and
nothing is guessed: whether a source is public or licensed only its user knows. This is a draft for whoever answers for a model,
and no legal advice. A model's summary is about all versions that it was trained on: there is one draft for each.
Documents that name the model that wrote them (`generated_by`) are synthetic whatever source they came by, a version of another
dataset, too. Cost: where addresses are known, texts are read once, for the bytes of each host.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from curate.dataset.card import cell, share, table
from curate.dataset.facts import Facts, Source

if TYPE_CHECKING:
    from curate.dataset.reader import Dataset

__all__ = ["Point", "generated", "host_bytes", "public_summary", "summary_points"]

CRAWLED = ("crawl", "common_crawl", "sitemap", "feed")
SYNTHETIC = ("synthesize",)
_MODEL = "generated_by"
Made = Mapping[str, Mapping[str, int]]
MOST_HOSTS = 1000
"""Names that a summary lists; the template asks for a tenth of all, or for small firms a twentieth or 1,000."""
BILLION, TRILLION = 10**9, 10**12
LAWS = {
    "EU": "Summary of training content (EU AI Act, Article 53(1)(d))",
    "California": "Training data documentation (California Civil Code, section 3111)",
}


@dataclass(frozen=True, slots=True)
class Point:
    """Something that a law asks.

    Attributes:
        law: `EU` or `California`.
        number: Of the section or item.
        asks: What it asks for.
        known: What the ledger knows, as lines of Markdown.
        open: What somebody has to add; None where nothing is missing.
    """

    law: str
    number: str
    asks: str
    known: list[str]
    open: str | None

    def to_json(self) -> dict[str, Any]:
        """The point as a JSON object."""
        return asdict(self)


def public_summary(facts: Facts, points: Sequence[Point]) -> str:
    """The summary in Markdown."""
    missing = sum(one.open is not None for one in points)
    lines = [
        f"# Public summary of training content: {facts.dataset}", "",
        f"Draft made of version `{facts.version}`. {missing} of {len(points)} points have something that the store cannot "
        "know: it is marked **Open**, to be answered before this is published. All figures are of the store's ledger.", "",
    ]  # fmt: skip
    for law, title in LAWS.items():
        lines += [f"## {title}", ""]
        for one in (point for point in points if point.law == law):
            lines += [f"### {one.number} {one.asks}", "", *one.known, *([""] if one.known else [])]
            lines += [f"**Open:** {one.open}", ""] if one.open else []
    return "\n".join(lines)


def summary_points(facts: Facts, hosts: dict[str, int], made: Made | None = None) -> list[Point]:
    """All that is asked, with what is known.

    Args:
        facts: What is known of the version.
        hosts: Bytes of text by host, where addresses are known (`host_bytes`).
        made: Documents by source and model, where they name one (`generated`).
    """
    return [*_european(facts, hosts, made or {}), *_californian(facts, made or {})]


# ---- the European template


def _european(facts: Facts, hosts: dict[str, int], made: Made) -> Iterator[Point]:
    def point(number: str, asks: str, known: Sequence[str] = (), missing: str | None = None) -> Point:
        return Point("EU", number, asks, list(known), missing)

    crawled, synthetic = _of_kind(facts, CRAWLED), _synthetic_sources(facts, made)
    other = [one for one in facts.sources if one not in (*crawled, *synthetic)]
    where = "say of each whether it belongs here: sources whose kind does not tell are listed at 2.1"
    yield point("1.1", "Provider", missing="name, contact, and authorised representative of the provider")
    yield point(
        "1.2",
        "Model",
        missing="names and versions of the model, models it is based on, date it was placed on the market",
    )
    yield point("1.3.1", "Modalities and size of the training data", _size(facts), _size_missing(facts))
    yield point(
        "1.3.2",
        "Types of content",
        missing="what kinds of text these are: fiction, news, law, code, conversations, ...",
    )
    yield point("1.3.3", "Latest date of acquisition", _latest(facts), "when the newest of the data were collected")
    yield point(
        "1.3.4", "Languages", _languages(facts), None if facts.languages else "which languages the texts are in"
    )
    yield point(
        "2.1", "Publicly available data sets", _table_of(facts, other), f"names and links of large ones; {where}"
    )
    yield point("2.2", "Data that others provided: licensed by rightsholders, or bought", _licenses(facts), where)
    yield point(
        "2.3", "Data crawled and scraped", [*_table_of(facts, crawled), *_hosts(hosts)],
        "names and behaviour of the crawlers, and the period" if crawled or hosts else where,
    )  # fmt: skip
    yield point("2.4", "Data of users", missing=where)
    yield point(
        "2.5",
        "Synthetic data",
        _synthetic(facts, synthetic, made),
        "which models made what of the sources is synthetic",
    )
    yield point("2.6", "Other sources", missing=where)
    yield point("3.1", "Reservations of rights (text and data mining)", _licenses(facts),
                "how opt-outs were found and honoured when the data were collected, and the policy on copyright")  # fmt: skip
    yield point(
        "3.2", "Removal of illegal content", _stages(facts), "which of these measures are about illegal content"
    )
    yield point("3.3", "Other processing", _personal(facts))


def _californian(facts: Facts, made: Made) -> Iterator[Point]:
    def point(number: int, asks: str, known: Sequence[str] = (), missing: str | None = None) -> Point:
        return Point("California", str(number), asks, list(known), missing)

    synthetic = _synthetic_sources(facts, made)
    yield point(1, "Sources or owners", _table_of(facts, facts.sources), "who owns each source")
    yield point(
        2, "How the data further the purpose of the system", missing="what the system is for, and why these data"
    )
    yield point(3, "Number of data points", [f"{facts.documents['kept']:,} documents."])
    yield point(4, "Types of data points", _types(facts), "what labels and kinds of text mean")
    yield point(5, "Copyright, trademark, patent, or public domain", _licenses(facts), "whether any are protected")
    yield point(6, "Bought or licensed", missing="which sources were bought or licensed")
    yield point(7, "Personal information", _personal(facts), "whether what is left holds personal information")
    yield point(8, "Aggregate consumer information", missing="whether there is any (section 1798.140(b))")
    yield point(9, "Cleaning and other changes, and their purpose", _stages(facts))
    yield point(10, "When the data were collected", _latest(facts), "the period, and whether collection goes on")
    yield point(11, "When the data were first used in development", _latest(facts), "the date of the first training")
    yield point(12, "Synthetic data", _synthetic(facts, synthetic, made), "whether any of the sources is synthetic")


# ---- what is known


def _of_kind(facts: Facts, kinds: Sequence[str]) -> list[Source]:
    return [one for one in facts.sources if one.stage in kinds]


def _synthetic_sources(facts: Facts, made: Made) -> list[Source]:
    """Sources that ask a model, and those all of whose documents name one."""
    return [
        one for one in facts.sources if one.stage in SYNTHETIC or 0 < one.kept <= sum(made.get(one.id, {}).values())
    ]


def _table_of(facts: Facts, sources: Sequence[Source]) -> list[str]:
    if not sources:
        return []
    rows = ([f"`{cell(one.id)}`", cell(one.stage or ""), one.kept, share(one.kept, facts.documents["kept"]), one.bytes_kept]
            for one in sources)  # fmt: skip
    return list(table(("source", "kind", "documents", "share", "bytes of text"), rows))


def _size(facts: Facts) -> list[str]:
    lines = [f"Text: {facts.documents['kept']:,} documents, {facts.text_bytes:,} bytes."]
    for name, counts in facts.tokens.items():
        total = sum(counts.values())
        band = "less than 1 billion" if total < BILLION else "1 billion to 10 trillion" if total <= 10 * TRILLION else \
            "more than 10 trillion"  # fmt: skip
        lines.append(f"{total:,} tokens ({name}): {band} tokens.")
    return lines


def _size_missing(facts: Facts) -> str | None:
    return None if facts.tokens else "the number of tokens, in the template's ranges: no stage counted them"


def _latest(facts: Facts) -> list[str]:
    return [f"Not after {facts.created[:10]}, when the version was made."] if facts.created else []


def _languages(facts: Facts) -> list[str]:
    found = facts.languages
    if found is None:
        return []
    total = sum(found.values.values()) + found.unknown
    rows = [[cell(name), count, share(count, total)] for name, count in list(found.values.items())[:30]]
    return list(
        table(("language", "documents", "share"), [*rows, ["not known", found.unknown, share(found.unknown, total)]])
    )


def _licenses(facts: Facts) -> list[str]:
    found = facts.licenses
    if found is None:
        return ["No licences were recorded."]
    total = sum(found.values.values()) + found.unknown
    rows = [[cell(name), count, share(count, total)] for name, count in list(found.values.items())[:30]]
    return list(
        table(("licence", "documents", "share"), [*rows, ["not known", found.unknown, share(found.unknown, total)]])
    )


def _hosts(hosts: dict[str, int]) -> list[str]:
    """The largest tenth of the hosts, by bytes of text."""
    if not hosts:
        return []
    largest = sorted(hosts, key=lambda name: (-hosts[name], name))[: min(-(-len(hosts) // 10), MOST_HOSTS)]
    total = sum(hosts.values())
    rows = ([cell(name), hosts[name], share(hosts[name], total)] for name in largest)
    head = f"{len(hosts):,} hosts; the largest {len(largest):,} by bytes of text (hosts, not registered domains):"
    return ["", head, "", *table(("host", "bytes of text", "share"), rows)]


def _synthetic(facts: Facts, sources: Sequence[Source], made: Made) -> list[str]:
    count = facts.documents.get("made", 0)
    lines = [f"{count:,} documents were made of others by stages of the pipeline."] if count else []
    models: Counter[str] = Counter()
    for some in made.values():
        models.update(some)
    if models:
        rows = ([cell(name), number, share(number, facts.documents["kept"])] for name, number in models.most_common())
        head = f"{models.total():,} documents name the model that wrote them:"
        lines += ["", head, "", *table(("model", "documents", "share"), rows)]
    return [*_table_of(facts, sources), *lines] or [
        "No stage of the pipeline made texts, and no document names a model."
    ]


def _types(facts: Facts) -> list[str]:
    return list(table(("column", "type"), ([f"`{cell(one['name'])}`", cell(one["type"])] for one in facts.columns)))


def _stages(facts: Facts) -> list[str]:
    rows = ([f"`{cell(row['id'])}`", cell(row["stage"]), row["in"], row["dropped"], row["edited"]]
            for row in facts.stages if row["kind"] != "source")  # fmt: skip
    return list(table(("stage", "kind", "documents", "dropped", "edited"), rows))


def _personal(facts: Facts) -> list[str]:
    if facts.personal is None:
        return ["No stage looked for personal data."]
    if not facts.personal:
        return ["The stage `pii` looked for personal data, and found none."]
    rows = ([cell(name), one["found"], one["documents"]] for name, one in facts.personal.items())
    return ["Personal data that stages found and marked or replaced:", "", *table(("type", "found", "documents"), rows)]


# ---- hosts and models


def generated(dataset: Dataset) -> dict[str, Counter[str]]:
    """Documents by source and by the model that they name as their author (`generated_by`)."""
    found: dict[str, Counter[str]] = {}
    if _MODEL not in dataset.columns:
        return found
    shards = dataset.ledger()
    origins: dict[str, str] = {}
    for shard in shards:  # what was made of a shard is of its source
        origins[shard.object] = origins.get(shard.parent or "", shard.source)
    for shard, fragment in zip((one for one in shards if one.kept), dataset.fragments, strict=True):
        for some in dataset.tables(fragment, [_MODEL]):
            models = [str(name) for name in some.column(_MODEL).to_pylist() if name]
            found.setdefault(origins[shard.object], Counter()).update(models)
    return found


def host_bytes(dataset: Dataset) -> dict[str, int]:
    """Bytes of text by the host of each document's address: of the column `url`, else of places that are addresses."""
    import pyarrow as pa
    import pyarrow.compute as compute

    place = next((name for name in ("url", "source_uri") if name in dataset.columns), None)
    types = {field.name: field.type for field in dataset.schema}
    if place is None or "text" not in types or not pa.types.is_string(types[place]):
        return {}
    found: Counter[str] = Counter()
    for batch in dataset.batches(columns=[place, "text"]):
        sizes = compute.binary_length(batch.column("text")).to_pylist()
        for address, size in zip(batch.column(place).to_pylist(), sizes, strict=True):
            if address and address.startswith(("http://", "https://")) and (host := _host(address)):
                found[host] += size or 0
    return dict(found)


def _host(address: str) -> str | None:
    try:
        return urlsplit(address).hostname
    except ValueError:  # an address that is none
        return None
