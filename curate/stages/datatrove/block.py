"""Finds a datatrove block by its import path, checks its parameters, and runs it on documents one batch at a time.

A block must say the same of a document whatever stands beside it. What cannot (readers, writers, deduplication,
tokenized files, random samplers) is refused with the reason and what to use instead. Importing datatrove's filters
costs about 0.4 CPU-s, which `curate validate` pays only for a pipeline with a `use:` item.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from curate.errors import CurateError, did_you_mean
from curate.stages.missing import missing_package

if TYPE_CHECKING:
    import pyarrow as pa
    from datatrove.data import Document
    from datatrove.pipeline.base import PipelineStep

__all__ = ["Outcome", "attached_columns", "build_block", "runner", "try_block"]

_REFUSED: dict[str, tuple[str, str]] = {
    "datatrove.executor.": ("runs whole pipelines", "`curate run` does that"),
    "datatrove.pipeline.readers.": ("reads files", "name the files under `sources:`"),
    "datatrove.pipeline.writers.": ("writes files", "`curate data export` writes a version as files"),
    "datatrove.pipeline.dedup.": ("needs every document at once", "use `exact_duplicates` or `near_duplicates`"),
    "datatrove.pipeline.decont.": ("works on an index in files", "run it in a datatrove pipeline of its own"),
    "datatrove.pipeline.tokens.": ("writes files, or counts only", "`curate train` tokenizes a version"),
    "datatrove.pipeline.stats.": ("writes files", "use an audit stage such as `text_statistics`"),
    "datatrove.pipeline.inference.": ("needs a model server", "run it in a datatrove pipeline of its own"),
    "datatrove.pipeline.media.": ("works on media, not on text", "run it in a datatrove pipeline of its own"),
    "datatrove.pipeline.filters.sampler_filter.": (
        "draws from one stream of random numbers, so its choice depends on the order of the documents",
        "use `sample`",
    ),
}  # fmt: skip
"""Modules whose blocks cannot be stages: what the block does, and what to use instead."""

_TOKENIZING = {"GopherQualityFilter", "GopherRepetitionFilter", "C4QualityFilter", "FineWebQualityFilter"}
"""Blocks of datatrove whose `language` is a tokenizer: English ones get the cached tokenizer, which gives the same
tokens."""

_LOADING = _TOKENIZING | {
    "LanguageFilter", "FastTextClassifierFilter", "C4BadWordsFilter", "C4ParagraphFilter", "TokensCounter"
}  # fmt: skip
"""Blocks of datatrove that load a package, a model or a list at their first document."""


class Outcome(NamedTuple):
    """What a block said of one document: whether it stays, its own reason, what it counted (`label=number, ...`)."""

    kept: bool
    reason: str | None = None
    detail: str | None = None


def build_block(use: str, parameters: Mapping[str, Any], *, cached_words: bool = True) -> PipelineStep:
    """The block, constructed.

    Args:
        use: Import path of its class.
        parameters: For its constructor.
        cached_words: Give the blocks that cut English words the cached tokenizer; it costs 2 CPU-s to load.

    Raises:
        CurateError: See `curate.stages.datatrove.block_stage`.
    """
    block_class = _find_block(use)
    given = _checked(use, block_class, parameters)
    tokenizing = block_class.__name__ in _TOKENIZING and _is_datatrove(block_class)
    if cached_words and tokenizing and given.get("language", "eng") in ("eng", "en"):
        from curate.stages.words import english_tokenizer

        given["language"] = english_tokenizer()
    try:
        return block_class(**given)
    except ImportError as error:
        raise missing_package(error, f"`{use}` needs a package that is not installed") from error
    except Exception as error:  # foreign code at its edge: any error in a constructor is about the parameters given
        raise CurateError(f"`{use}` refuses its parameters: {error}", hint=_signature_hint(block_class)) from error


def _find_block(use: str) -> type[PipelineStep]:
    from datatrove.pipeline.base import PipelineStep

    module_name, _, class_name = use.rpartition(".")
    if not module_name:
        raise CurateError(f"`{use}` is not an import path", hint="write `package.module.Class`")
    try:
        module = import_module(module_name)
    except ImportError as error:
        raise _import_error(use, module_name, error) from error
    found = getattr(module, class_name, None)
    if found is None:
        classes = [
            name for name, value in vars(module).items() if isinstance(value, type) and issubclass(value, PipelineStep)
        ]
        raise CurateError(
            f"`{module_name}` has no block `{class_name}`",
            hint=did_you_mean(class_name, classes) or f"it has {', '.join(classes)}",
        )
    origins = [f"{base.__module__}." for base in getattr(found, "__mro__", ())]
    for prefix, (why, instead) in _REFUSED.items():
        if class_name != "TokensCounter" and any(origin.startswith(prefix) for origin in origins):
            raise CurateError(f"`{use}` cannot be a stage: it {why}", hint=instead)
    if not (isinstance(found, type) and issubclass(found, PipelineStep)):
        raise CurateError(f"`{use}` is not a datatrove block", hint="a block is a subclass of datatrove's PipelineStep")
    if inspect.isabstract(found):
        raise CurateError(f"`{use}` is an abstract class", hint="use one of its subclasses")
    return found


def _import_error(use: str, module_name: str, error: ImportError) -> CurateError:
    missing = error.name or ""
    if missing and (module_name == missing or module_name.startswith(f"{missing}.")):
        return CurateError(
            f"there is no module `{missing}` (of `{use}`)", hint="is it spelled right, and on PYTHONPATH?"
        )
    return missing_package(error, f"`{use}` needs a package that is not installed")


# ---- parameters


def _checked(use: str, block_class: type, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters, after names and types are checked; lists are tuples where the signature says tuple."""
    signature = {name: p for name, p in inspect.signature(block_class.__init__).parameters.items() if name != "self"}
    known = [name for name, p in signature.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    open_ended = any(p.kind is p.VAR_KEYWORD for p in signature.values())
    for name in parameters:
        if name not in known and not open_ended:
            hint = did_you_mean(name, known) or f"its parameters: {', '.join(known)}"
            raise CurateError(f"`{use}` has no parameter `{name}`", hint=hint)
    for name in known:
        _refuse_files(use, name, name in parameters, signature[name].default is inspect.Parameter.empty)
    if block_class.__name__ == "C4BadWordsFilter" and parameters.get("keep_fraction", 0):
        raise CurateError(
            f"`{use}` with `keep_fraction` depends on the order of the documents", hint="leave `keep_fraction` at 0"
        )
    missing = [n for n in known if signature[n].default is inspect.Parameter.empty and n not in parameters]
    if missing:
        raise CurateError(f"`{use}` needs the parameter `{missing[0]}`", hint=_signature_hint(block_class))
    hints = _hints(block_class)
    return {name: _converted(use, name, value, hints.get(name, Any)) for name, value in parameters.items()}


def _refuse_files(use: str, name: str, given: bool, required: bool) -> None:
    if name.endswith("_folder") and (given or required):
        raise CurateError(
            f"`{use}` cannot be a stage: it reads or writes files (`{name}`)", hint="stages have no files of their own"
        )
    if name == "exclusion_writer" and given:
        raise CurateError(f"`{use}` cannot have an `exclusion_writer`", hint="the ledger keeps every dropped document")


def _hints(block_class: type) -> dict[str, Any]:
    try:
        return typing.get_type_hints(block_class.__init__)
    except (NameError, TypeError):  # an annotation that names something absent at run time: then nothing is checked
        return {}


def _converted(use: str, name: str, value: Any, hint: Any) -> Any:
    choices = _choices(hint)
    if not any(_fits(value, choice) for choice in choices):
        expected = " or ".join(getattr(choice, "__name__", str(choice)) for choice in choices)
        raise CurateError(f"`{name}` of `{use}` is `{value!r}`", hint=f"expected {expected}")
    if isinstance(value, list) and tuple in {typing.get_origin(choice) or choice for choice in choices}:
        return _as_tuple(value)
    return value


def _choices(hint: Any) -> list[Any]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return [choice for part in typing.get_args(hint) for choice in _choices(part)]
    return [hint]


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value from a pipeline file may stand for a parameter of this type; unknown types take anything."""
    kind = typing.get_origin(hint) or hint
    if value is None or kind is Any:
        return True  # datatrove writes `seed: int = None`
    if kind is types.NoneType:
        return False
    if kind is Literal:
        return value in typing.get_args(hint)
    if kind in (int, float):
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind in (tuple, list, set):
        return isinstance(value, list | tuple)
    if kind in (str, bool, dict):
        return isinstance(value, kind)
    return not (isinstance(kind, type) and issubclass(kind, Callable))


def _as_tuple(value: Any) -> Any:
    return tuple(_as_tuple(item) for item in value) if isinstance(value, list | tuple) else value


def _signature_hint(block_class: type) -> str:
    names = [
        name for name in inspect.signature(block_class.__init__).parameters if name not in ("self", "exclusion_writer")
    ]
    return f"its parameters: {', '.join(names)}" if names else "it has no parameters"


# ---- running


def try_block(block: PipelineStep, use: str) -> None:
    """Put a block that loads what it needs at its first document to a few words.

    Raises:
        CurateError: A package or a file is missing that the block needs.
    """
    from datatrove.data import Document

    if type(block).__name__ not in _LOADING or not _is_datatrove(type(block)):
        return
    try:
        for _ in runner(block)([Document("One word. Two words.", "")]):
            pass
    except ImportError as error:
        raise missing_package(error, f"`{use}` needs a package that is not installed") from error
    except (OSError, LookupError) as error:  # nltk says LookupError of data that is not there
        words = " ".join(str(error).split())[:300]
        raise CurateError(
            f"`{use}` cannot have what it needs: {type(error).__name__}: {words}",
            hint="a model or a list that is not here, and cannot be fetched",
        ) from error


def runner(block: PipelineStep) -> Callable[[list[Document]], Iterator[Outcome]]:
    """The function that puts the block to a list of documents, edits them in place and gives an outcome for each."""
    from datatrove.pipeline.extractors.base import BaseExtractor
    from datatrove.pipeline.filters.base_filter import BaseFilter
    from datatrove.pipeline.formatters.base import BaseFormatter

    for base, one in ((BaseFilter, _run_filter), (BaseFormatter, _run_formatter), (BaseExtractor, _run_extractor)):
        if isinstance(block, base) and type(block).run is base.run:
            return lambda documents: one(block, documents)
    return lambda documents: _run_any(block, documents)


def _run_filter(block: Any, documents: list[Document]) -> Iterator[Outcome]:
    size = max(1, block.batch_size)
    for start in range(0, len(documents), size):
        block.stats.stats.clear()
        results = block.filter_batch(documents[start : start + size])
        counts = (
            ", ".join(f"{label}={stat.total}" for label, stat in sorted(block.stats.stats.items())) if size == 1 else ""
        )
        for result in results:
            kept, reason = result if isinstance(result, tuple) else (result, None)
            yield Outcome(bool(kept), None if kept else reason, counts or None)


def _run_formatter(block: Any, documents: list[Document]) -> Iterator[Outcome]:
    replacers = [value for value in vars(block).values() if hasattr(value, "_replace_i")]
    for document in documents:
        # PIIFormatter takes its replacements in turn over all documents it ever saw: here each document starts anew
        for replacer in replacers:
            replacer._replace_i = 0
        document.text = block.format(document.text)
        yield Outcome(True)


def _run_extractor(block: Any, documents: list[Document]) -> Iterator[Outcome]:
    for document in documents:
        document.text = block.extract(document.text) or ""
        yield Outcome(bool(document.text), "empty")


def _run_any(block: PipelineStep, documents: list[Document]) -> Iterator[Outcome]:
    """Any other block: what it yields is kept, matched by identity, or by id where it makes new objects."""
    by_object = {id(document): row for row, document in enumerate(documents)}
    by_id = {document.id: row for row, document in enumerate(documents)}
    kept: set[int] = set()
    for survivor in block.run(iter(list(documents)), 0, 1):
        row = by_object.get(id(survivor), by_id.get(survivor.id))
        if row is None or row in kept:
            raise CurateError(
                f"`{type(block).__name__}` makes new documents",
                hint="a stage keeps, edits or drops the ones it is given",
            )
        documents[row] = survivor
        kept.add(row)
    return iter([Outcome(row in kept) for row in range(len(documents))])


# ---- columns


def attached_columns(block: PipelineStep) -> dict[str, pa.DataType | None]:
    """Columns that the block's metadata becomes, with their types; None for the one that holds JSON."""
    import pyarrow as pa

    name = type(block).__name__
    if not _is_datatrove(type(block)):
        return {f"{name}_metadata": None}
    columns: dict[str, pa.DataType | None] = {}
    if name == "TokensCounter":
        columns["token_count"] = pa.int64()
    if name == "LanguageFilter":
        columns |= {"language": pa.string(), "language_score": pa.float64()}
        if getattr(block, "backend", None) == "glotlid":
            columns["language_script"] = pa.string()
        if getattr(block, "keep_top_pairs_threshold", -1) != -1:
            columns["LanguageFilter_metadata"] = None
    return columns


def _is_datatrove(block_class: type) -> bool:
    return block_class.__module__.startswith("datatrove.")
