"""The peers' own tests, run on our parts: datatrove's tests of filters, Presidio's tests of recognizers.

    python benchmarks/peer_tests.py datatrove CHECKOUT [pytest options]
    python benchmarks/peer_tests.py presidio CHECKOUT [pytest options]

CHECKOUT is a clone of the peer's repository, near the version that is installed here. In the modules of its tests the
peer's classes are replaced: datatrove's filters by our stages through `as_datatrove`, Presidio's recognizers by ours. Where
a test uses a class that we have nothing for, it runs the peer's own. The differences that are known and meant are marked
as expected failures, with the reason; the exit code is pytest's.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

DATATROVE = ("test_filters.py",)
PRESIDIO = tuple(f"test_{name}_recognizer.py" for name in ("email", "phone", "ip", "credit_card", "iban", "us_ssn"))
DIFFERENCES = {
    "test_language": "the adapter gives (False, reason) where datatrove gives False, and keeps the language to itself",
    "test_rate_controls_keep_ratio": "`sample` draws by id, and all documents of the test have one id",
    "test_run_tracks_forwarded_and_dropped_stats": "`sample` wants a fraction above 0",
    "test_gopher_quality_rejects_empty_doc": "`min_words` is at least 1: an empty document is `gopher_short_doc`",
    "test_unigram_prob": "not ours: it loads frequencies from the network",
    "test_url": "not ours: it wants pyahocorasick",
}
"""Names of tests, and why they fail."""
Settings = Mapping[str, Any]


def gopher_quality(given: Settings) -> Any:
    """The stage for the parameters of datatrove's GopherQualityFilter."""
    from curate.filter.gopher import GopherQuality

    names = {"min_doc_words": "min_words", "max_doc_words": "max_words"}
    return GopherQuality(**{names[name]: value for name, value in given.items() if value is not None})


def gopher_repetition(given: Settings) -> Any:
    """That of GopherRepetitionFilter."""
    from curate.filter.gopher import GopherRepetition

    return GopherRepetition(**given)


def c4(given: Settings) -> Any:
    """That of C4QualityFilter; -1 is off there, null here."""
    from curate.filter.c4 import C4

    names = {"min_num_sentences": "min_sentences", "min_words_per_line": "min_words_per_line"}
    return C4(**{names[name]: None if value == -1 else value for name, value in given.items()})


def fineweb(given: Settings) -> Any:
    """That of FineWebQualityFilter."""
    from curate.filter.fineweb import FineWeb

    names = {
        "line_punct_thr": "min_punctuated_lines",
        "short_line_thr": "max_short_lines",
        "short_line_length": "short_line_length",
        "new_line_ratio": "max_line_breaks_per_word",
    }
    return FineWeb(**{names[name]: value for name, value in given.items()})


def language(given: Settings) -> Any:
    """That of LanguageFilter."""
    from curate.filter.language import Language

    return Language(languages=list(given["languages"]))


def sample(given: Settings) -> Any:
    """That of SamplerFilter."""
    from curate.mix.sample import Sample

    return Sample(fraction=given["rate"], seed=given["seed"])


FILTERS: dict[str, Callable[[Settings], Any]] = {
    "GopherQualityFilter": gopher_quality,
    "GopherRepetitionFilter": gopher_repetition,
    "C4QualityFilter": c4,
    "FineWebQualityFilter": fineweb,
    "LanguageFilter": language,
    "SamplerFilter": sample,
}
RECOGNIZERS: dict[str, str] = {
    "EmailRecognizer": "email",
    "PhoneRecognizer": "phone",
    "IpRecognizer": "ip",
    "CreditCardRecognizer": "card",
    "IbanRecognizer": "iban",
    "UsSsnRecognizer": "ssn",
}


def filters() -> dict[str, Callable[..., Any]]:
    """What makes our filters, by the names of datatrove's classes."""
    from curate.stages.datatrove.stage import as_datatrove

    return {name: lambda build=build, **given: as_datatrove(build(given)) for name, build in FILTERS.items()}


def recognizers() -> dict[str, Callable[..., Any]]:
    """What makes our recognizers, by the names of Presidio's classes."""
    from presidio_analyzer import RecognizerResult
    from presidio_analyzer.predefined_recognizers import PhoneRecognizer

    from curate.privacy.recognizers import TYPES, load_recognizers

    regions = PhoneRecognizer.DEFAULT_SUPPORTED_REGIONS

    class Ours:
        """One recognizer, called as Presidio's are."""

        def __init__(self, entity: Any) -> None:
            (self.recognizer,) = load_recognizers([entity], phone_regions=regions, public_ips_only=False)
            self.supported_entities = [TYPES[entity]]

        def analyze(self, text: str, entities: list[str], nlp_artifacts: Any = None) -> list[RecognizerResult]:
            """What it finds, in the order of the text."""
            spans = sorted(self.recognizer.find(text)) if set(entities) & set(self.supported_entities) else []
            return [RecognizerResult(span.type, span.start, span.end, span.score) for span in spans]

    return {name: lambda *_, entity=entity, **__: Ours(entity) for name, entity in RECOGNIZERS.items()}


class Plugin:
    """Gives the tests our parts under the peer's names, and marks those that differ on purpose."""

    def __init__(self, ours: Mapping[str, Callable[..., Any]]) -> None:
        self.ours = ours

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Called by pytest with what it found."""
        for module in {item.module for item in items if isinstance(item, pytest.Function)}:
            for name in self.ours.keys() & vars(module).keys():
                setattr(module, name, self.ours[name])
        for item in items:
            reason = DIFFERENCES.get(item.name.partition("[")[0])
            if reason:
                item.add_marker(pytest.mark.xfail(reason=reason, strict=False))  # of another version it may pass


def main() -> int:
    """Run the tests of the peer that is named."""
    peer, checkout, *options = sys.argv[1:]
    wanted, ours = {"datatrove": (DATATROVE, filters), "presidio": (PRESIDIO, recognizers)}[peer]
    files = sorted(str(path) for name in wanted for path in Path(checkout).rglob(name))
    if not files:
        sys.exit(f"{checkout} has none of {', '.join(wanted)}")
    given = ["-p", "no:cacheprovider", "--rootdir", checkout, "-c", "/dev/null", "-rxX", *options]
    return int(pytest.main([*given, *files], plugins=[Plugin(ours())]))


if __name__ == "__main__":
    sys.exit(main())
