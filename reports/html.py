"""From facts to one HTML file: no script, no network, everything escaped.

Three walls stand between a hostile document and the reader: Jinja2 escapes every value, `visible` names what a browser
would hide or obey, and the Content-Security-Policy allows the page's own style sheet (by its hash) and nothing else.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from functools import cache
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.reports import figures, numbers
from curate.reports.compare import compare, compare_lines
from curate.reports.conversations import tools_figure, turns_figure
from curate.reports.data import ReportData, RunData, StageData
from curate.reports.fold import fold
from curate.reports.text import mask, visible

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

    from curate.reports.card import Card

__all__ = ["STYLE", "environment", "render", "render_run", "render_version"]

TEMPLATES = Path(__file__).parent / "templates"
STYLE = TEMPLATES / "style.css"
FIRST_KEYS = ("dataset", "id", "stage", "use", "run")
INPUTS_SHOWN = 500
SPLITS = ("train", "validation", "test")


def render_version(data: ReportData) -> str:
    """The report of a version."""
    shown = [(f"stage-{number}", stage) for number, stage in enumerate(data.stages, start=1)]
    inputs, lineage = data.inputs, data.manifest["lineage"]
    return render(
        "version.html",
        data=data,
        manifest=data.manifest,
        counts={"made": 0, "expanded": 0} | data.manifest["documents"],
        stages=shown,
        measured={anchor: figures.features_figure(stage, f"{anchor}-measured") for anchor, stage in shown},
        contents=_contents(data, shown),
        splits=_splits(data.manifest["splits"]),
        shares=_shares(data),
        removed=_removed(data),
        funnel_chart=figures.funnel_figure(data),
        lengths=figures.lengths_figure(data.lengths),
        languages=figures.languages_figure(data.languages) if data.languages else None,
        turns=turns_figure(data.conversations) if data.conversations else None,
        tools=tools_figure(data.conversations) if data.conversations else None,
        clusters=[
            (found, figures.clusters_figure(found, f"clusters-{number}"))
            for number, found in enumerate(data.clusters, start=1)
        ],
        personal=data.personal,
        personal_chart=figures.personal_figure(data.personal) if data.personal else None,
        run_figures=figures.run_figures(data.runs),
        inputs=inputs[:INPUTS_SHOWN],
        more_inputs=max(0, len(inputs) - INPUTS_SHOWN),
        pipeline=yaml_text(lineage["pipeline"]) if lineage["pipeline"] else None,
        derived=yaml_text({"parents": lineage["parents"], **lineage["made_by"]}) if lineage["parents"] else None,
    )


def render_run(run: RunData, card: Card | None = None) -> str:
    """The page of a training run, with its model card where there is one."""
    validation = [(figures.metric_name(name), *map(numbers.measure, values)) for name, values in run.validation]
    sections = {"use": "Intended use", "data": "Data", "evaluation": "Evaluation", "results": "Results of the training",
                "validation": "Validation", "curves": "Training curves", "settings": "Settings",
                "limits": "Limits"}  # fmt: skip
    there = {"validation": validation, **dict.fromkeys(("use", "data", "evaluation", "limits"), card)}
    return render(
        "run.html",
        run=run,
        card=card,
        validation=validation,
        run_figures=figures.run_figures((run,)),
        config=yaml_text(run.config) if run.config else None,
        contents=[(name, title, []) for name, title in sections.items() if there.get(name, True)],
    )


def _removed(data: ReportData) -> str:
    """What happened to the documents that are not in the version, in a sentence."""
    counts = data.manifest["documents"]
    verdicts = ("dropped", "quarantined", "expanded")
    lost = [(counts[verdict], verdict) for verdict in verdicts if counts.get(verdict)]
    if not lost:
        return "No stage removed any."
    verb = "was" if lost[0][0] == 1 else "were"
    parts = [f"{numbers.number(count)} {verdict}" for count, verdict in lost]
    told = " and ".join([*([", ".join(parts[:-1])] if parts[1:] else []), parts[-1]]).replace(" ", f" {verb} ", 1)
    made = f"; {numbers.number(counts['made'])} were made of the expanded" if counts.get("made") else ""
    removing = sum(1 for stage in data.stages if stage.removed)
    return f"{told} by {removing} of {len(data.stages)} stages{made}."


def _contents(data: ReportData, shown: list[tuple[str, StageData]]) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """The table of contents: anchor, title, entries below."""
    sections = [
        ("funnel", "From raw text to this version"),
        ("documents", "Documents"),
        ("stages", "Stages"),
        ("duplicates", "Duplicates"),
        ("personal-data", "Personal data"),
        ("quarantine", "Quarantine"),
        ("training", "Training"),
        ("lineage", "Lineage"),
    ]
    below = {"stages": [(anchor, stage.id) for anchor, stage in shown]}
    return [(anchor, title, below.get(anchor, [])) for anchor, title in sections]


def _shares(data: ReportData) -> list[tuple[str, ...]]:
    """What each source gave: documents and text, and its share of the version's text."""
    whole = sum(one.bytes_kept for one in data.shares)
    return [
        (
            one.source,
            numbers.number(one.read),
            numbers.number(one.kept),
            numbers.size(one.bytes_read),
            numbers.size(one.bytes_kept),
            numbers.share(one.bytes_kept, whole),
        )
        for one in data.shares
    ]


def _splits(splits: dict[str, dict[str, int]]) -> list[tuple[str, dict[str, int]]]:
    names = [name for name in SPLITS if name in splits] + sorted(splits.keys() - set(SPLITS))
    return [(name, splits[name]) for name in names]


def render(template: str, **facts: Any) -> str:
    """A page of a template, with the style sheet and its hash; `contents` is the table of contents."""
    style = _style()
    digest = b64encode(hashlib.sha256(style.encode()).digest()).decode()
    text = environment().get_template(template).render(style=style, style_hash=digest, **facts)
    # Lone surrogates cannot be written; `visible` has named those in values, so this is for what nobody thought of.
    return text.encode("utf-8", errors="replace").decode()


@cache
def _style() -> str:
    return STYLE.read_text(encoding="utf-8").strip()


@cache
def environment(*folders: Path) -> Environment:
    """Jinja's environment over the templates of these folders, and the reports': every value is escaped, nothing is hidden."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader([*folders, TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )
    environment.filters |= {
        "number": numbers.number,
        "size": numbers.size,
        "measure": numbers.measure,
        "mask": mask,
        "metric": figures.metric_name,
        "name": _name,
        "value": _value_text,
    }
    environment.globals |= {"share": numbers.share, "compare": compare, "compare_lines": compare_lines, "fold": fold}
    return environment


def _finalize(value: Any) -> Any:
    """Every value of every expression passes here, before it is escaped."""
    if value is None:
        return ""
    return visible(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _name(value: str) -> Markup:
    """An identifier or a path; lines may end after its underscores and slashes, so that its words are not broken."""
    from markupsafe import Markup, escape

    return Markup(re.sub("([_/])", r"\1<wbr>", str(escape(visible(value)))))  # noqa: S704 - it is escaped


def _value_text(value: Any) -> str:
    """A setting's value as YAML would have it, in one line where it is short."""
    return yaml_text(value).removesuffix("...\n").strip()


def yaml_text(value: Any) -> str:
    """A JSON value as YAML, with the keys that name things first."""
    from ruamel.yaml import YAML

    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.allow_unicode = True
    yaml.width = 100
    yaml.sort_base_mapping_type_on_output = False  # pyright: ignore[reportAttributeAccessIssue]
    stream = StringIO()
    yaml.dump(_ordered(value), stream)
    return stream.getvalue()


def _ordered(value: Any) -> Any:
    if isinstance(value, dict):
        first = [key for key in FIRST_KEYS if key in value]
        return {key: _ordered(value[key]) for key in (*first, *(key for key in value if key not in FIRST_KEYS))}
    if isinstance(value, list):
        return [_ordered(part) for part in value]
    return value
