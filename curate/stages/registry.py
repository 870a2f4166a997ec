"""Stage names, and the classes they stand for.

A name maps to a string `module:Class`: built in (the table below), by an entry point of the group `curate.stages`, or
written as it is in the YAML. Nothing registers on import; a class is imported when its name is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module, metadata
from traceback import extract_tb
from typing import Any

from curate.errors import CurateError, did_you_mean
from curate.stages.contract import Stage

__all__ = ["BUILT_IN", "find_stage", "stage_names", "stage_of"]

BUILT_IN: dict[str, str] = {
    "files": "curate.collect.files:Files",
    "huggingface": "curate.collect.huggingface:HuggingFace",
    "api": "curate.collect.fetch.api:Api",
    "crawl": "curate.collect.web.crawl:Crawl",
    "sitemap": "curate.collect.web.sitemap:Sitemap",
    "feed": "curate.collect.web.feed:Feed",
    "database": "curate.collect.fetch.database:Database",
    "dataset": "curate.collect.fetch.dataset:Dataset",
    "manual": "curate.collect.fetch.manual:Manual",
    "git": "curate.collect.git.source:Git",
    "common_crawl": "curate.collect.fetch.common_crawl:CommonCrawl",
    "wikipedia": "curate.collect.dumps.wikipedia:Wikipedia",
    "stackexchange": "curate.collect.dumps.stackexchange:StackExchange",
    "installed_packages": "curate.collect.installed:InstalledPackages",
    "extract": "curate.collect.extract:Extract",
    "html_text": "curate.clean.html:HtmlText",
    "wiki_text": "curate.clean.wiki:WikiText",
    "synthesize": "curate.synthesize.source:Synthesize",
    "chat": "curate.chat.check:Chat",
    "chat_repair": "curate.chat.repair:ChatRepair",
    "chat_format": "curate.chat.format:ChatFormat",
    "unicode": "curate.clean.unicode:Unicode",
    "language": "curate.filter.language:Language",
    "gopher_quality": "curate.filter.gopher:GopherQuality",
    "gopher_repetition": "curate.filter.gopher:GopherRepetition",
    "c4": "curate.filter.c4:C4",
    "c4_paragraph": "curate.filter.c4_paragraph:C4Paragraph",
    "c4_bad_words": "curate.filter.c4_bad_words:C4BadWords",
    "url": "curate.filter.url:Url",
    "fineweb": "curate.filter.fineweb:FineWeb",
    "quality_classifier": "curate.quality.classifier:QualityClassifier",
    "perplexity": "curate.quality.perplexity:Perplexity",
    "exact_duplicates": "curate.dedup.exact:ExactDuplicates",
    "exact_lines": "curate.dedup.lines:ExactLines",
    "exact_substrings": "curate.dedup.substrings:ExactSubstrings",
    "near_duplicates": "curate.dedup.near:NearDuplicates",
    "decontaminate": "curate.contamination.decontaminate:Decontaminate",
    "semantic_duplicates": "curate.dedup.semantic:SemanticDuplicates",
    "pii": "curate.privacy.pii:Pii",
    "secrets": "curate.privacy.leaks:Secrets",
    "chunk": "curate.mix.chunk:Chunk",
    "mix": "curate.mix.mix:Mix",
    "difficulty": "curate.mix.difficulty:Difficulty",
    "select": "curate.mix.select:Select",
    "sample": "curate.mix.sample:Sample",
    "split": "curate.mix.split:Split",
    "topics": "curate.mix.topics:Topics",
    "table_types": "curate.table.types:TableTypes",
    "table_duplicates": "curate.table.duplicates:TableDuplicates",
    "table_missing": "curate.table.missing:TableMissing",
    "table_outliers": "curate.table.outliers:TableOutliers",
    "table_features": "curate.table.features:TableFeatures",
    "toxicity": "curate.audit.toxicity.stage:Toxicity",
    "text_statistics": "curate.audit.statistics:TextStatistics",
    "bias_audit": "curate.audit.mentions:BiasAudit",
    "counterfactuals": "curate.audit.identities:Counterfactuals",
    "mask_identities": "curate.audit.identities:MaskIdentities",
    "reweigh": "curate.audit.balance:Reweigh",
    "balance": "curate.audit.balance:Balance",
}


@cache
def _plugins() -> dict[str, str]:
    return {entry.name: entry.value for entry in metadata.entry_points(group="curate.stages")}


def stage_names() -> list[str]:
    """Every name that `find_stage` knows, sorted."""
    return sorted({*BUILT_IN, *_plugins()})


def stage_of(name: str, settings: Mapping[str, Any]) -> Stage:
    """The stage that a version tells of, by its name and the settings as they stand there; `where` is none of its own.

    Raises:
        CurateError: As `find_stage`.
        ValidationError: It does not take these settings any more.
    """
    return find_stage(name).model_validate({key: value for key, value in settings.items() if key != "where"})


def find_stage(name: str) -> type[Stage]:
    """The class that a name or a `module:Class` stands for.

    Raises:
        CurateError: There is no such stage, its module does not import, or it is not a stage.
    """
    target = BUILT_IN.get(name) or _plugins().get(name) or name
    module_name, colon, class_name = target.partition(":")
    if not colon:
        raise CurateError(
            f"there is no stage named `{name}`",
            hint=did_you_mean(name, stage_names()) or "`curate stages` lists them; your own is written `module:Class`",
        )
    try:
        module = import_module(module_name)
    except Exception as error:  # a plugin's edge: a module of the user's own may fail in any way
        raise CurateError(
            f"stage `{name}` cannot be imported: {type(error).__name__}: {error}",
            hint=_where(error) or f"is `{module_name}` on PYTHONPATH, or beside the pipeline file?",
        ) from error
    found = getattr(module, class_name, None)
    if found is None:
        known = [key for key, value in vars(module).items() if isinstance(value, type) and issubclass(value, Stage)]
        raise CurateError(
            f"stage `{name}` cannot be imported: `{module_name}` has no class `{class_name}`",
            hint=did_you_mean(class_name, known),
        )
    if not (isinstance(found, type) and issubclass(found, Stage)):
        raise CurateError(
            f"`{target}` is not a stage",
            hint="a stage is a subclass of Source, Mapper, Filter, Audit, Expander or Global",
        )
    return found


def _where(error: Exception) -> str | None:
    """The line that failed, unless it is only that there is no such module."""
    frames = [frame for frame in extract_tb(error.__traceback__) if "importlib" not in frame.filename]
    return f"it fails at {frames[-1].filename}:{frames[-1].lineno}" if frames[1:] else None
