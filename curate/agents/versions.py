"""Tools that look at versions and documents: what the pages of `curate browse` tell, by the same functions."""

from __future__ import annotations

from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,  # pydantic takes no other one before Python 3.12
)

from pydantic import Field
from typing_extensions import TypedDict

from curate.agents.answer import Answer
from curate.agents.project import Project
from curate.agents.tool import Arguments, Tool
from curate.browse.columns import Place
from curate.errors import CurateError
from curate.workbench import comparing, documents, overview, thresholds

__all__ = ["TOOLS"]

Version = Annotated[
    str | None, Field(None, description="NAME, NAME@TAG or NAME@ID-PREFIX; by default the newest of the only dataset.")
]
Row = dict[str, Any]


class Nothing(Arguments):
    """No arguments."""


class StoreFacts(TypedDict):
    """What a store has: `datasets` with their newest `versions`, the last `runs` of any kind, bytes on `disk` by folder."""

    store: str
    datasets: list[Row]
    runs: list[Row]
    more_runs: int
    disk: dict[str, int]


def _store(project: Project, asked: Nothing) -> Answer:
    told = overview.start(project.desk(), {}, [])
    versions = sum(len(one["versions"]) + one["more"] for one in told["datasets"])
    summary = (
        f"{len(told['datasets'])} dataset(s), {versions} version(s), {len(told['runs']) + told['more_runs']} run(s)."
    )
    return Answer(summary, {key: told[key] for key in StoreFacts.__annotations__})


class VersionAsked(Arguments):
    """A version."""

    version: Version


class VersionFacts(TypedDict):
    """What is in a version.

    A version: its counts, columns, splits, and of every stage what came in, left, and for which reasons; notes that a
    run left about it; `inputs`; `others`: the dataset's other versions.
    """

    version: str
    id: str
    tag: str | None
    documents: dict[str, int]
    text_bytes: int
    splits: dict[str, Any]
    columns: list[Row]
    stages: list[Row]
    notes: list[str]
    inputs: list[Row]
    parents: list[Any]
    others: list[str]


def _version(project: Project, asked: VersionAsked) -> Answer:
    from curate.pipeline.remarks import remarks

    desk, name = project.desk(), project.named(asked.version)
    told = overview.funnel(desk, {"version": name}, [])
    with desk.version(name) as dataset:
        told |= {"columns": dataset.manifest["columns"], "inputs": dataset.inputs(), "notes": remarks(dataset)}
    counts = told["documents"]
    gone = sum(counts.get(name, 0) for name in ("dropped", "quarantined", "expanded"))
    summary = f"{counts['in']:,} documents came in, {counts['kept']:,} are in the version, {gone:,} are not."
    return Answer(summary, {key: told[key] for key in VersionFacts.__annotations__})


class DocumentsAsked(Arguments):
    """Which documents; all filters together, and of several names in one filter any."""

    version: Version
    verdict: list[Literal["kept", "dropped", "quarantined", "expanded", "erased"]] = Field(
        [], description="What became of them; `kept` are those in the version."
    )
    stage: list[str] = Field([], description="Ids of stages that removed them.")
    reason: list[str] = Field([], description="Reasons for which they were removed.")
    names: dict[str, list[str]] = Field(
        {},
        description="By another column of names (`source`, `file`, `language`, `split`, ...: see `facets`), any of these.",
    )
    least: dict[str, float] = Field(
        {}, description="By column of numbers (STAGE.FEATURE: see `columns`), the least value."
    )
    most: dict[str, float] = Field({}, description="By column of numbers, the greatest value.")
    passed: str | None = Field(None, description="Only those that this stage let go on.")
    words: str | None = Field(
        None,
        description='Only those with all of these words in their texts; "a phrase" in quotation marks. Goes through texts for '
        "2 seconds at a time: see `next`.",
    )
    sort: str | None = Field(None, description="Column of numbers, or `value`, to sort by (not with `words`).")
    descending: bool = Field(False, description="From the greatest.")
    page: int = Field(1, ge=1, description="Page of 20 (not with `words`).")
    start: int = Field(0, ge=0, description="With `words`: the `next` of the answer before, to go on.")
    facets: bool = Field(
        False, description="Also count the names of every column under these filters, and list `columns` of numbers."
    )
    histograms: list[str] = Field([], max_length=8, description="Columns of numbers to give a histogram of.")

    def pairs(self) -> list[tuple[str, str]]:
        """The filters as an address of `curate browse` has them."""
        names = {"verdict": self.verdict, "stage": self.stage, "reason": self.reason, **self.names}
        found = [(f"is.{column}", name) for column, some in names.items() for name in some]
        found += [(f"min.{column}", repr(value)) for column, value in self.least.items()]
        found += [(f"max.{column}", repr(value)) for column, value in self.most.items()]
        found += [("past", self.passed)] if self.passed else []
        found += [("sort", self.sort)] if self.sort else []
        return [*found, *([("order", "down")] if self.descending else [])]


class DocumentsFacts(TypedDict):
    """Documents.

    `listed`: of each document its `place` (which `why` and `read_document` take), id, source, verdict, stage, reason,
    `value` against `threshold`, bytes, and the beginning of its `text` as read, personal data blocked out. `documents`
    is how many there are in all; with `words`, `looked_at` of `of` were gone through, and `next` is where to go on
    (null: all were).
    """

    version: str
    rows: int
    listed: list[Row]
    documents: NotRequired[int]
    page: NotRequired[int]
    pages: NotRequired[int]
    columns: NotRequired[list[str]]
    facets: NotRequired[list[Row]]
    ranges: NotRequired[list[Row]]
    looked_at: NotRequired[int]
    of: NotRequired[int]
    next: NotRequired[int | None]


def _documents(project: Project, asked: DocumentsAsked) -> Answer:
    desk, path = project.desk(), {"version": project.named(asked.version)}
    if asked.words is not None:
        if asked.sort or asked.page != 1 or asked.facets or asked.histograms:
            raise CurateError(
                "`words` goes with filters only",
                hint="without `sort`, `page`, `facets` and `histograms`; `start` goes on",
            )
        told = documents.found(desk, path, [*asked.pairs(), ("q", asked.words), ("from", str(asked.start))])
        keys = ("version", "rows", "listed", "looked_at", "of", "next")
        more = "" if told["next"] is None else f" There may be more: go on with start={told['next']}."
        looked = f"{told['looked_at']:,} of {told['of']:,} that were looked at"
        found = f"{len(told['listed'])} document(s) with these words in {looked}."
        return Answer(found + more, {key: told[key] for key in keys})
    pairs = [*asked.pairs(), ("page", str(asked.page)), *(("range", column) for column in asked.histograms)]
    told = documents.documents(desk, path, pairs)
    keys = ["version", "rows", "documents", "page", "pages", "listed"]
    keys += (["columns", "facets"] if asked.facets else []) + (["ranges"] if asked.histograms else [])
    summary = f"{told['documents']:,} of {told['rows']:,} documents; page {told['page']} of {told['pages']}."
    return Answer(summary, {key: told[key] for key in keys})


class DocumentAsked(Arguments):
    """A document of a version."""

    document: str | None = Field(None, max_length=2000, description="Its id, or where it was read; or else:")
    place: str | None = Field(None, pattern=r"^\d{1,9}-r?\d{1,12}$", description="Its `place`, as 0-17.")
    version: Version


class WhyFacts(TypedDict):
    """The story of a document.

    `story`: what every stage did to the document, its verdict, and what was measured against which settings;
    `neighbours`: documents that it is like; `trainings`: runs that were given it.
    """

    version: str
    place: str
    story: Row
    neighbours: list[Row]
    trainings: list[Row]


def _one(project: Project, asked: DocumentAsked, at: int = 0) -> dict[str, Any]:
    desk, name = project.desk(), project.named(asked.version)
    if (asked.document is None) == (asked.place is None):
        raise CurateError(
            "which document is meant?", hint="`document` is an id, or where it was read; or `place`, as 0-17"
        )
    place = Place.read(asked.place) if asked.place else documents.place_of(desk, name, asked.document or "")
    return documents.one(desk, {"version": name, "place": str(place)}, [("at", str(at))])


def _why(project: Project, asked: DocumentAsked) -> Answer:
    told = _one(project, asked)
    story = told["story"]
    words = f"{story['verdict']}, after {len(story['history'])} event(s)."
    return Answer(words, {key: told[key] for key in WhyFacts.__annotations__})


class TextAsked(DocumentAsked):
    """A document of a version, and which part of its text."""

    start: int = Field(0, ge=0, lt=1 << 40, description="The first character.")
    characters: int = Field(4000, ge=1, le=8000, description="How many characters.")


class TextFacts(TypedDict):
    """A part of a text.

    The text as it was read (`raw`), and as it left the last stage (`final`; null where it is the same): a part of each
    from `start` on, personal data blocked out; `characters`: how many both have; `next`: where to go on.
    """

    version: str
    place: str
    id: str | None
    verdict: str
    raw: str
    final: str | None
    characters: list[int]
    start: int
    next: int | None


def _read(project: Project, asked: TextAsked) -> Answer:
    told = _one(project, asked, asked.start)
    texts = told["texts"]
    if texts is None:
        raise CurateError("there is no text of what could not be read", hint="`why` says what was wrong with it")
    skip = min(max(0, asked.start - texts["start"]), documents.WINDOW)
    raw, final = (texts[name][skip : skip + asked.characters] for name in ("raw", "final"))
    start, behind = texts["start"] + skip, texts["start"] + skip + max(len(raw), len(final))
    more = behind < texts["start"] + max(len(texts["raw"]), len(texts["final"])) or texts["next"] is not None
    facts = {
        "version": told["version"], "place": told["place"], "id": told["story"]["id"], "verdict": told["story"]["verdict"],
        "raw": raw, "final": None if texts["same"] else final, "characters": texts["characters"], "start": start,
        "next": behind if more else None,
    }  # fmt: skip
    return Answer(f"Characters {start:,} to {behind:,} of {max(texts['characters']):,}.", facts)


class WhatIfAsked(Arguments):
    """Other thresholds."""

    version: Version
    thresholds: dict[str, float] = Field(
        {}, description="By STAGE.SETTING the value to try; with none, what can be tried is listed (`sliders`)."
    )


class WhatIfFacts(TypedDict):
    """What other thresholds would do.

    `documents`: kept `before` and `now`, and of how many it is `unknown`, as later stages never saw them; `stages`: who
    would `leave` and `stay` at each; `flips`: documents nearest to the thresholds; `sliders`: what can be moved, with
    its value and what was measured; `not_here`: why others cannot; `command`: what does it.
    """

    version: str
    documents: dict[str, int]
    stages: list[Row]
    changes: dict[str, Any]
    flips: dict[str, Any]
    not_here: dict[str, str]
    command: str
    sliders: NotRequired[list[Row]]


def _what_if(project: Project, asked: WhatIfAsked) -> Answer:
    pairs = [(f"set.{key}", repr(value)) for key, value in asked.thresholds.items()]
    told = thresholds.what_if(project.desk(), {"version": project.named(asked.version)}, pairs)
    keys = [key for key in WhatIfFacts.__annotations__ if key != "sliders" or not asked.thresholds]
    counts = told["documents"]
    unknown = f", and of {counts['unknown']:,} more it is not known" if counts["unknown"] else ""
    summary = f"{counts['before']:,} documents are kept; with these thresholds it would be {counts['now']:,}{unknown}."
    if not asked.thresholds:
        summary = f"{len(told['sliders'])} thresholds can be tried; {counts['before']:,} documents are kept now."
    return Answer(summary, {key: told[key] for key in keys})


class DiffAsked(Arguments):
    """Two versions."""

    before: str = Field(description="The version before: NAME@TAG or NAME@ID-PREFIX.")
    after: str = Field(description="The version after.")


class DiffFacts(TypedDict):
    """How two versions differ.

    How many documents were `added`, `removed`, `changed` or are `unchanged`; by stage and reason why; `settings` that
    differ; ids of some documents (`examples`).
    """

    before: str
    version: str
    added: int
    removed: int
    changed: int
    unchanged: int
    reasons: dict[str, Any]
    settings: list[Row]
    text_bytes: list[int]
    columns: dict[str, Any]
    examples: dict[str, Any]


def _diff(project: Project, asked: DiffAsked) -> Answer:
    before, after = project.named(asked.before), project.named(asked.after)
    told = comparing.differences(project.desk(), {"version": after}, [("with", before)])
    counts = ", ".join(f"{told[name]:,} {name}" for name in ("added", "removed", "changed", "unchanged"))
    return Answer(f"{counts}.", {key: told[key] for key in DiffFacts.__annotations__})


TOOLS = (
    Tool("store", "List the datasets of the project's store, their versions, and the last runs. Use it first, and to find the "
         "names of versions.", Nothing, StoreFacts, _store, material=True),
    Tool("version", "Tell what is in a version of a dataset: documents, columns, splits, and what every stage removed for "
         "which reason. Use it to see what a run did.", VersionAsked, VersionFacts, _version, material=True),
    Tool("documents", "List documents of a version by filters: kept or dropped, stage, reason, ranges of measured numbers, "
         "words in the text. Use it to look at examples, and to count.", DocumentsAsked, DocumentsFacts, _documents,
         material=True),
    Tool("why", "Tell what became of one document and why: each stage's verdict, reason, and measured value against its "
         "threshold. Use it when a document is missing, changed or surprising.", DocumentAsked, WhyFacts, _why, material=True),
    Tool("read_document", "Read the text of one document, as it was read and as it became.", TextAsked, TextFacts, _read,
         material=True),
    Tool("what_if", "Tell what other thresholds would keep and drop, from what was measured, in a second and without a run. "
         "Use it before you change a threshold.", WhatIfAsked, WhatIfFacts, _what_if, material=True),
    Tool("diff", "Compare two versions: documents added, removed and changed, and why. Use it after a run with other settings.",
         DiffAsked, DiffFacts, _diff, material=True),
)  # fmt: skip
