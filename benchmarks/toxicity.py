"""The stage `toxicity`: its quality by set and by whom a text is about, and its speed beside Detoxify's.

    python benchmarks/toxicity.py [--documents 4000] [--runs 5] [--json FILE]

Quality is that of the card (benchmarks/toxicity_card.py), measured anew with the packaged weights on ../shared/data (or
`CURATE_DATA`): texts that the model did not learn from. Speed: documents of 1.5 kB from books, batches of 100, CPU seconds of
one process with one thread. Detoxify: a checkpoint of random weights of the size of bert-base (its first model), made here, on
the same documents: our adapter (windows of 512 tokens), and Detoxify's `predict` itself where it is installed (which reads the
first 512 tokens only); few documents, since each takes about a second. Where alt-profanity-check is installed, its speed, too.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
from machine import machine, spread
from minhash import read_books
from toxicity_card import measure
from toxicity_data import DATA

from curate.audit.toxicity.linear import load_model
from curate.audit.toxicity.stage import Toxicity


def seconds(run: Callable[[], object], runs: int) -> dict[str, float]:
    """CPU seconds of each run."""
    spent = []
    for _ in range(runs):
        began = time.process_time()
        run()
        spent.append(time.process_time() - began)
    return spread(spent)


def documents(count: int) -> list[str]:
    """Pieces of books, of 1,500 characters."""
    texts = read_books(DATA, count * 0.0025)
    return [text[start : start + 1500] for text in texts for start in range(0, len(text) - 1500, 1500)][:count]


def speed(texts: list[str], runs: int) -> dict[str, Any]:
    """Documents a CPU second of the stage, cold (loading and warming its kernels) apart."""
    table = pa.table({"text": texts})
    began = time.process_time()
    score = Toxicity().open()
    score(table.slice(0, 10))
    cold = time.process_time() - began
    spent = seconds(lambda: [score(table.slice(start, 100)) for start in range(0, len(texts), 100)], runs)
    size = sum(len(text.encode()) for text in texts)
    return {
        "documents": len(texts), "cold_s": round(cold, 2), "cpu_s": spent,
        "documents_per_s": round(len(texts) / spent["median"]), "mb_per_s": round(size / 1e6 / spent["median"], 1),
    }  # fmt: skip


def bert_base(folder: Path) -> Path:
    """A checkpoint of random weights in Detoxify's format, of the size of bert-base."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    words = sorted({word.lower() for text in documents(200) for word in text.split() if word.isalpha()})
    listed = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words, *map(chr, range(33, 127))]
    (folder / "vocab.txt").write_text("\n".join(dict.fromkeys(listed)) + "\n")
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    config = BertConfig(vocab_size=30522, num_labels=6)
    config.save_pretrained(folder)
    classes = ["toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate"]
    arguments = {"model_type": str(folder), "model_name": "BertForSequenceClassification",
                 "tokenizer_name": "BertTokenizer", "num_classes": 6}  # fmt: skip
    told = {"arch": {"args": arguments}, "dataset": {"args": {"classes": classes}}}
    torch.save({"config": told, "state_dict": BertForSequenceClassification(config).state_dict()}, folder / "base.ckpt")
    return folder / "base.ckpt"


def against_detoxify(texts: list[str], runs: int) -> dict[str, Any]:
    """Documents a CPU second of our adapter, and of Detoxify where it is installed."""
    import torch

    from curate.audit.toxicity.detoxify import load_classifier

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        path = bert_base(Path(name))
        ours = load_classifier(path, path.parent)
        told = {"documents": len(texts), "ours": seconds(lambda: ours(texts), runs)}
        try:
            from detoxify import Detoxify
        except ImportError:
            return told
        theirs = Detoxify(checkpoint=str(path))
        theirs.tokenizer.model_max_length = 512
        told["detoxify"] = seconds(lambda: theirs.predict(texts), runs)
    return told


def alt_profanity_check(texts: list[str], runs: int) -> dict[str, Any] | None:
    """CPU seconds of alt-profanity-check, where it is installed."""
    try:
        from profanity_check import predict_prob
    except ImportError:
        return None
    return {"documents": len(texts), "cpu_s": seconds(lambda: predict_prob(texts), runs)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=4000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    texts = documents(options.documents)
    record = {
        "machine": machine("numba", "torch", "transformers", "detoxify", "alt-profanity-check"),
        "quality": measure(load_model()),
        "speed": speed(texts, options.runs),
        "detoxify": against_detoxify(texts[:8], min(options.runs, 3)),
        "alt_profanity_check": alt_profanity_check(texts, options.runs),
    }
    for name, one in record["quality"]["sets"].items():
        print(f"{name:24}", json.dumps(one))
    for name, one in record["quality"]["identities"].items():
        print(f"{name:24}", json.dumps({key: value for key, value in one.items() if key != "terms"}))
    print(json.dumps({name: record[name] for name in ("machine", "speed", "detoxify", "alt_profanity_check")}))
    if options.json:
        options.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
