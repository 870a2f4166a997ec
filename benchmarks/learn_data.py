"""Documents and baselines of the tasks in learn.py: from the files of a data folder to rows with a `split`."""

from __future__ import annotations

import csv
import gzip
import json
import lzma
import math
import random
import re
import tarfile
from collections import Counter

# ---- data


def labelled(*parts):
    """Rows of a labelled set: its train part, and its dev part as validation."""
    return [{"text": text, "label": label, "split": split} for split, rows in parts for text, label in rows]


def sst2(data):
    """Sentences of film reviews, positive or negative."""

    def read(name):
        return [line.rsplit("\t", 1) for line in (data / f"sst2/{name}.tsv").read_text().splitlines() if line]

    return labelled(("train", read("train")), ("validation", read("test")))


def trec(data):
    """Questions, by the kind of their answer (6)."""

    def read(name):
        text = (data / f"sentence_sets/TREC.{name}.all").read_text(errors="replace")
        return [(line[2:], line[0]) for line in text.splitlines() if line]

    return labelled(("train", read("train")), ("validation", read("test")))


def cola(data):
    """Sentences, acceptable or not."""

    def read(name):
        rows = [line.split("\t") for line in (data / f"cola/raw/{name}.tsv").read_text().splitlines() if line]
        return [(row[3], row[1]) for row in rows]

    return labelled(("train", read("in_domain_train")), ("validation", read("in_domain_dev")))


def stsb(data):
    """Pairs of sentences, and how similar they are (0 to 5)."""
    rows = []
    for split, name in (("train", "train"), ("validation", "dev")):
        with (data / f"stsb/stsb-en-{name}.csv").open() as stream:
            rows += [{"text": a, "second": b, "label": float(c), "split": split} for a, b, c in csv.reader(stream)]
    return rows


def wikitext(data):
    """Articles of WikiText-2's test file to train on, the first 120 kB of its valid file to validate."""

    def cut(text):
        return [part for part in text.split("\n = ") if part.strip()]

    train, rest = ((data / f"wikitext2/{name}.txt").read_text() for name in ("test", "valid"))
    return [
        {"text": text, "split": split}
        for split, texts in (("train", cut(train)), ("validation", cut(rest[:120_000])))
        for text in texts
    ]


def books(data):
    """Public-domain books in pieces of about 2 kB; every 60th is for validation."""
    with lzma.open(data / "books_sample/books.tar.xz") as stream, tarfile.open(fileobj=stream) as archive:
        texts = [archive.extractfile(member).read().decode() for member in archive if member.isfile()]
    pieces = [text[start : start + 2000] for text in texts[:20] for start in range(0, len(text), 2000)]
    return [{"text": text, "split": "train" if n % 60 else "validation"} for n, text in enumerate(pieces)]


def multi30k(data):
    """Captions of pictures, English to German; validation is the test set of 2016."""
    rows = []
    for split, name, most in (("train", "train", 29_000), ("validation", "test_2016_flickr", 1000)):
        files = [data / f"multi30k/raw/{name}.{side}.gz" for side in ("en", "de")]
        sides = [gzip.decompress(file.read_bytes()).decode().splitlines() for file in files]
        rows += [{"text": a, "target": b, "split": split} for a, b in list(zip(*sides, strict=True))[:most]]
    return rows


def pii(data):
    """Sentences, each word by the kind of personal information that it is part of; templates are not shared by splits."""
    rows = []
    for item in json.loads((data / "presidio_research/synth_dataset_v2.json").read_text()):
        words, labels = [], []
        for match in re.finditer(r"\S+", item["full_text"]):
            inside = (s for s in item["spans"] if s["start_position"] <= match.start() < s["end_position"])
            words.append(match[0])
            labels.append(next((span["entity_type"] for span in inside), "none"))
        split = "validation" if item["template_id"] % 5 == 0 else "train"
        rows.append({"text": item["full_text"], "words": words, "label": labels, "split": split})
    known = {label for row in of(rows, "train") for label in row["label"]}
    return [row for row in rows if known.issuperset(row["label"])]


def chats(data):
    """Questions of TREC, answered with the kind of their answer: a conversation each."""
    names = ["description", "entity", "abbreviation", "human", "location", "number"]
    return [
        {
            "text": row["text"],
            "messages": [
                {"role": "user", "content": row["text"]},
                {"role": "assistant", "content": names[int(row["label"])]},
            ],
            "split": row["split"],
        }
        for row in trec(data)
    ]


def preferences(data):
    """The next words of a book, against the same words shuffled."""
    draw, rows = random.Random(1), []
    for row in books(data):
        words = row["text"].split()[:48]
        if len(words) < 48:
            continue
        shuffled = words[16:]
        draw.shuffle(shuffled)
        rows.append(
            {
                "text": row["text"],
                "prompt": " ".join(words[:16]),
                "chosen": " " + " ".join(words[16:]),
                "rejected": " " + " ".join(shuffled),
                "split": row["split"],
            }
        )
    return rows[:4000] + [row for row in rows[4000:] if row["split"] == "validation"]


def digits(_):
    """Prompts `a+b=` with one digit each; the answer is their sum if it is one digit, which a rule verifies."""
    pairs = [(a, b) for a in range(10) for b in range(10) if a + b < 10]
    rows = [{"text": f"{a}+{b}=", "prompt": f"{a}+{b}=", "answer": str(a + b)} for a, b in pairs]
    return [{**row, "split": split} for split in ("train", "validation") for row in rows]


# ---- baselines


def of(rows, split):
    """Rows of one split."""
    return [row for row in rows if row["split"] == split]


def majority(rows):
    """Accuracy of the most frequent label of the train split."""
    most = Counter(row["label"] for row in of(rows, "train")).most_common(1)[0][0]
    return sum(row["label"] == most for row in of(rows, "validation")) / len(of(rows, "validation"))


def majority_tag_f1(rows):
    """Macro F1 of giving every word the most frequent tag."""
    truth = Counter(tag for row in of(rows, "validation") for tag in row["label"])
    share = truth.most_common(1)[0][1] / truth.total()
    return 2 * share / (1 + share) / len(truth)


def markov(rows):
    """Bits per byte of a byte from the two before it, by their counts in the train split (add-0.01 smoothing)."""
    train, text = ("".join(row["text"] for row in of(rows, split)).encode() for split in ("train", "validation"))
    triples, pairs = (Counter(train[n : n + size] for n in range(len(train))) for size in (3, 2))
    bits = 0.0
    for place in range(2, len(text)):
        before = text[place - 2 : place]
        bits -= math.log2((triples[text[place - 2 : place + 1]] + 0.01) / (pairs[before] + 2.56))
    return bits / (len(text) - 2)


def unigram(rows):
    """Share of the most frequent word: what guessing it for every hidden one would get right."""
    words = Counter(word for row in of(rows, "validation") for word in row["text"].split())
    return words.most_common(1)[0][1] / words.total()


def copied(rows):
    """BLEU of the English sentences themselves."""
    import sacrebleu

    pairs = of(rows, "validation")
    return sacrebleu.corpus_bleu([row["text"] for row in pairs], [[row["target"] for row in pairs]]).score
