"""The stage `pii` against Presidio: what is found of gold texts, what is found in clean prose, and how fast.

    python benchmarks/pii.py [--data FOLDER] [--documents 4000] [--runs 5]

FOLDER has presidio_research/ and books_sample/ (by default ../shared/data beside the repository). The rules for phone numbers
were written looking at the gold texts whose template has an even number; `kept aside` are those with an odd one.

Presidio: its AnalyzerEngine with its own recognizers for the same entities, at the same least score, with a blank spaCy
pipeline (its cheapest set-up), on whole texts. It only finds; ours also replaces. Every gold span that Presidio finds must be
found by ours too, or the benchmark fails. Clean prose is books of the public domain, which hold none: whatever is found is
false. Documents are of 1.5 kB: books; and books with a gold text in 15 % of them. CPU seconds of one process.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from machine import machine, spread
from minhash import read_books

from curate.privacy.evaluate import Gold, evaluate, read_gold
from curate.privacy.pii import Pii
from curate.privacy.recognizers import TYPES
from curate.stages.contract import Span

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
FILES = ("synth_dataset_v2.json", "generated_large.json")
STRUCTURED = ("email", "phone", "ip", "card", "iban", "ssn", "crypto", "mac")
LENGTH = 1500


class Presidio:
    """Presidio's engine, in the place of the stage."""

    entities = STRUCTURED

    def __init__(self) -> None:
        import spacy
        import tldextract.tldextract
        from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
        from presidio_analyzer import predefined_recognizers as own
        from presidio_analyzer.nlp_engine import SpacyNlpEngine

        offline = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)
        tldextract.tldextract.TLD_EXTRACTOR = offline
        tldextract.extract = offline
        engine = SpacyNlpEngine()
        engine.nlp = {"en": spacy.blank("en")}
        kinds = (
            own.EmailRecognizer, own.PhoneRecognizer, own.IpRecognizer, own.CreditCardRecognizer, own.IbanRecognizer,
            own.UsSsnRecognizer, own.CryptoRecognizer, own.MacAddressRecognizer,
        )  # fmt: skip
        self.engine = AnalyzerEngine(registry=RecognizerRegistry([kind() for kind in kinds]), nlp_engine=engine)

    def find(self, text: str) -> list[Span]:
        """Disjoint spans: of those that overlap the surer, then the longer."""
        found = self.engine.analyze(text, "en", [TYPES[one] for one in STRUCTURED], score_threshold=0.35)
        spans: list[Span] = []
        for one in sorted(found, key=lambda one: (-one.score, one.start - one.end)):
            if all(one.end <= span.start or span.end <= one.start for span in spans):
                spans.append(Span(one.start, one.end, one.entity_type, one.score))
        return sorted(spans)

    def types(self) -> dict[str, str]:
        """As the stage's."""
        return {one: TYPES[one] for one in STRUCTURED}

    def finder(self) -> Callable[[Sequence[Any]], Any]:
        """As the stage's."""
        return lambda texts: ((row, str(text), self.find(str(text))) for row, text in enumerate(texts))


def quality(golds: Sequence[Gold], stage: Any) -> dict[str, Any]:
    """Precision, recall and F2 by entity, with the interval of F2."""
    told = evaluate(golds, stage)["entities"]
    return {
        kind: {**{name: one[name] for name in ("n", "precision", "recall", "f2", "leaked", "characters")},
               "f2_interval": [one["overlap"]["f2"]["low"], one["overlap"]["f2"]["high"]]}
        for kind, one in told.items() if one["n"] or one["found"]
    }  # fmt: skip


def missed_but_found_by(golds: Sequence[Gold], stage: Pii, peer: Presidio) -> list[Span]:
    """Gold spans that the peer finds and the stage does not."""
    ours = {row: spans for row, _, spans in stage.finder()(pa.array([gold.text for gold in golds]))}
    missed = []
    for row, gold in enumerate(golds):
        theirs = peer.find(gold.text)
        for span in gold.spans:
            hit = [any(one.type == span.type and one.start < span.end and span.start < one.end for one in found)
                   for found in (theirs, ours.get(row, []))]  # fmt: skip
            missed += [span] if hit == [True, False] else []
    return missed


def timed(work: Callable[[], Any]) -> float:
    """CPU seconds of this process."""
    began = time.process_time()
    work()
    return time.process_time() - began


def speed(texts: Sequence[str], peer: Presidio, runs: int) -> dict[str, Any]:
    """Documents per CPU second of both sides, in turn; Presidio on a twentieth of them."""
    table = pa.table({"id": [""] * len(texts), "text": pa.array(texts)})
    apply, few = Pii().open(), texts[:: max(1, len(texts) // 200)]
    parts = table.to_batches(max_chunksize=2000)
    apply(table.slice(0, 100))
    ours, theirs = [], []
    for _ in range(runs):
        ours.append(len(texts) / timed(lambda: [apply(pa.Table.from_batches([part])) for part in parts]))
        theirs.append(len(few) / timed(lambda: [peer.find(text) for text in few]))
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    return {"documents": len(texts), "ours": spread(ours), "presidio": spread(theirs), "ratio": spread(ratios)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--documents", type=int, default=4000)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    paths = [options.data / "presidio_research" / name for name in FILES]
    golds = [gold for path in paths for gold in read_gold(path)]
    even = [(one["template_id"] or 0) % 2 == 0 for path in paths for one in json.loads(path.read_text())]
    aside = [gold for gold, seen in zip(golds, even, strict=True) if not seen]
    stage = Pii.model_validate({"entities": STRUCTURED, "public_ips_only": False})
    peer = Presidio()
    prose = "".join(read_books(options.data, 100))
    books = [prose[at : at + LENGTH] for at in range(0, options.documents * LENGTH, LENGTH)]
    draw = random.Random(1)
    mixed = [text if draw.random() > 0.15 else f"{text[:700]} {draw.choice(golds).text} {text[700:]}" for text in books]
    found = Pii().open()(pa.table({"id": [""], "text": [prose]})).verdicts.to_pylist()
    record = {
        "machine": machine("presidio-analyzer", "phonenumbers", "pyarrow", "spacy"),
        "kept aside": {"texts": len(aside), "ours": quality(aside, stage), "presidio": quality(aside, peer)},
        "all": {"texts": len(golds), "ours": quality(golds, stage), "presidio": quality(golds, peer)},
        "found by presidio alone": len(missed_but_found_by(golds, stage, peer)),
        "clean prose": {
            "megabytes": len(prose.encode()) / 1e6,
            "false": Counter(span["type"] for row in found for span in row["spans"]),
        },
        "documents per CPU s": {
            "books": speed(books, peer, options.runs),
            "15 % with a gold text": speed(mixed, peer, options.runs),
            "gold texts": speed([gold.text for gold in golds], peer, options.runs),
        },
    }
    print(json.dumps(record, indent=2))
    assert not record["found by presidio alone"]


if __name__ == "__main__":
    main()
