"""The published recipes of `curate init` against datatrove's own blocks with the published settings, document by document.

    python benchmarks/recipes.py --data FOLDER [--megabytes 4]

FOLDER is ../shared/data of the tests. Documents are books cut at every 1 to 40 lines and the gold
texts of web articles; for German some sentences of multi30k at a time. Each recipe is run by `curate run` as `curate init`
it, but for what reads HTML, compares documents or comes behind the filters. Of what our language stage keeps (datatrove's
downloads its model) datatrove's blocks are run one after the other, in the published order with the published settings: Gopher
and C4 (the JMLR text) by the papers, FineWeb by datatrove's examples/fineweb.py, FineWeb-2 by huggingface/fineweb-2.
Compared are: kept or not, the reason, and the text of what is kept. Printed are the numbers, and every document that differs.
Near-duplicates are in minhash.py: our pairs are verified, datatrove's are not.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import io
import json
import random
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from machine import machine

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
LEFT_OUT = ("html_text", "exact_duplicates", "near_duplicates", "unicode", "pii", "split")
"""Stages that are not compared: what reads HTML, compares documents, or comes behind the filters."""


def blocks(recipe: str) -> list[Any]:
    """The blocks of datatrove with the published settings, in the published order."""
    from datatrove.pipeline.filters import (
        C4QualityFilter,
        FineWebQualityFilter,
        GopherQualityFilter,
        GopherRepetitionFilter,
    )

    if recipe == "gopher":
        return [GopherQualityFilter(), GopherRepetitionFilter()]
    if recipe == "c4":
        return [C4QualityFilter(min_num_sentences=3, min_words_per_line=5)]
    if recipe == "fineweb":
        c4 = C4QualityFilter(filter_no_terminal_punct=False)
        return [GopherRepetitionFilter(), GopherQualityFilter(), c4, FineWebQualityFilter()]
    words = [
        "der",
        "und",
        "die",
        "in",
        "von",
        "im",
        "den",
        "des",
        "mit",
        "das",
        "er",
        "dem",
        "als",
        "wurde",
        "f\u00fcr",
    ]
    numbers = ((5, 0.141), (6, 0.134), (7, 0.126), (8, 0.117), (9, 0.108), (10, 0.098))
    return [
        GopherRepetitionFilter(
            language="deu_Latn", dup_para_frac=0, dup_line_char_frac=0, dup_para_char_frac=0, dup_line_frac=0.263,
            top_n_grams=((2, 0.169), (3, 0.153), (4, 0.137)), dup_n_grams=numbers,
        ),
        FineWebQualityFilter(
            language="deu_Latn", short_line_thr=999, char_duplicates_ratio=0.1, line_punct_thr=0.0, new_line_ratio=0.152
        ),
        GopherQualityFilter(
            language="deu_Latn", max_avg_word_length=15, min_avg_word_length=0, stop_words=words,
            max_non_alpha_words_ratio=0.774, min_stop_words=2,
        ),
    ]  # fmt: skip


def english(data: Path, megabytes: float) -> Iterator[str]:
    """Parts of books, and articles."""
    draw, size = random.Random(1), 0
    for path in sorted((data / "zyte_article_extraction").rglob("*.json")):
        for one in json.loads(path.read_text()).values() if path.name == "ground-truth.json" else ():
            yield one["articleBody"]
    with tarfile.open(data / "books_sample" / "books.tar.xz") as books:
        for book in (one for one in books if one.isfile()):
            file = books.extractfile(book)
            lines = file.read().decode().replace("\r\n", "\n").split("\n") if file else []
            while lines and size < megabytes * 1e6:
                count = draw.choice([1, 2, 5, 10, 20, 40])
                text, lines = "\n".join(lines[:count]), lines[count:]
                size += len(text.encode())
                yield text


def german(data: Path) -> Iterator[str]:
    """Sentences of multi30k, some at a time, in lines or in one."""
    draw = random.Random(1)
    for path in sorted((data / "multi30k").rglob("*.de.gz")):
        lines = gzip.decompress(path.read_bytes()).decode().split("\n")
        while lines:
            count = draw.choice([1, 3, 8, 20, 40])
            some, lines = lines[:count], lines[count:]
            yield draw.choice(["\n", " "]).join(some)


def ours(recipe: str, texts: list[str]) -> tuple[list[int], dict[int, tuple[str | None, str]]]:
    """Documents that the language stage kept; and of each the reason why it left, or None, and its text."""
    import curate
    from curate.commands.init import init
    from curate.config.yamlfile import load_yaml
    from curate.dataset.ledger import removed_documents

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "project"
        with contextlib.redirect_stdout(io.StringIO()):
            init(folder, recipe)
        pipeline = load_yaml(folder / "pipeline.yaml").value
        stages = [one for one in pipeline["stages"] if one["stage"] not in LEFT_OUT]
        language = [one for one in stages if one["stage"] == "language"]
        pipeline["stages"] = [*language, *(one for one in stages if one not in language)]
        (folder / "pipeline.yaml").write_text(json.dumps(pipeline))
        lines = [json.dumps({"id": str(number), "text": text}) for number, text in enumerate(texts)]
        (folder / "in" / "texts.jsonl").write_text("\n".join(lines))
        curate.run(folder / "pipeline.yaml", workers=1)
        made = curate.open_dataset("my-text", folder / ".curate")
        kept = made.arrow(columns=["id", "text"]).to_pylist()
        found: dict[int, tuple[str | None, str]] = {int(one["id"]): (None, one["text"]) for one in kept}
        for one in removed_documents(made.store, made.ledger(), ("dropped",)):
            if one["stage"] != "language":
                found[int(one["id"])] = one["reason"], ""
    return sorted(found), found


def compare(recipe: str, texts: list[str]) -> dict[str, Any]:
    """The numbers of one recipe, and what differs."""
    from datatrove.data import Document

    numbers, found = ours(recipe, texts)
    reasons: Counter[str] = Counter()
    differing = []
    chain = blocks(recipe)
    for number in numbers:
        document, reason = Document(texts[number], str(number)), None
        for block in chain:
            result = block.filter(document)
            if result is not True and not (isinstance(result, tuple) and result[0]):
                reason = result[1] if isinstance(result, tuple) else "?"
                break
        theirs = (reason, "" if reason else document.text)
        reasons[reason or "kept"] += 1
        if theirs != found[number]:
            differing.append(
                {"document": number, "datatrove": reason, "curate": found[number][0], "text": texts[number][:80]}
            )
    return {"documents": len(numbers), "reasons": dict(reasons.most_common()), "differing": differing}


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--megabytes", type=float, default=4)
    options = parser.parse_args()
    texts = [text for text in english(options.data, options.megabytes) if text.strip()]
    others = [text for text in german(options.data) if text.strip()]
    found = {recipe: compare(recipe, texts) for recipe in ("gopher", "c4", "fineweb")}
    found["fineweb2"] = compare("fineweb2", others)
    print(json.dumps({**found, "machine": machine("datatrove", "spacy")}, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
