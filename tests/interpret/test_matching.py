"""Longest matches, held against a search that tries every span in every document."""

from __future__ import annotations

import time

import numpy as np
import pytest

from curate.interpret.matching import NEVER, _matches, interval, longest_matches, maximal
from curate.interpret.suffixes import suffixes_of
from curate.tokenize.pack import Pack
from curate.tokenize.rows import Stream
from curate.tokenize.streams import Piece, write_stream

END = 0


def shard_of(folder, documents, *, vocabulary, ended=True, name="train"):
    """A shard of these documents, sorted."""
    folder.mkdir(exist_ok=True)
    dtype = "uint16" if vocabulary <= 1 << 16 else "uint32"
    pieces = (Piece([*one, END] if ended else list(one), 0) for one in documents)
    shards, _ = write_stream(folder, name, "text", pieces, dtype)
    manifest = {"tokenizer": {"vocabulary": vocabulary}, "roles": {"end_of_text": END}}
    return suffixes_of(Pack(folder, manifest, ""), Stream(folder, shards, dtype), 0, lambda words: None)


def found_in(shards, query, shortest):
    """Maximal spans and how often each stands in the shards."""
    longest = np.zeros(len(query), np.int64)
    for shard in shards:
        longest_matches(*shard[:4], query, longest)
    counts = {}
    for start, stop in maximal(longest, shortest).tolist():
        places = [interval(*shard[:4], query, start, stop) for shard in shards]
        for shard, (low, high) in zip(shards, places, strict=True):
            for position in shard.starts[low:high].tolist():
                assert shard.tokens[position : position + stop - start].tolist() == query[start:stop].tolist()
        counts[start, stop] = sum(int(high - low) for low, high in places)
    return counts


def tried(documents, query, shortest):
    """The same, by looking for every span in every document."""
    texts = ["".join(map(chr, one)) for one in documents]
    words = "".join(chr(token) if token >= 0 else "\U0010ffff" for token in query.tolist())
    spans = {
        (start, stop): sum(text.startswith(words[start:stop], place) for text in texts for place in range(len(text)))
        for start in range(len(words))
        for stop in range(start + shortest, len(words) + 1)
        if any(words[start:stop] in text for text in texts)
    }
    inner = {(start, stop) for start, stop in spans if {(start - 1, stop), (start, stop + 1)} & spans.keys()}
    return {span: count for span, count in spans.items() if span not in inner}


def queries(random, documents, vocabulary, count):
    """Random tokens in which spans of documents are planted: one behind the other, over ends, repeated, with holes."""
    for _ in range(count):
        parts = [random.integers(1, vocabulary, random.integers(0, 4))]
        for number in random.integers(0, len(documents) - 1, random.integers(1, 4)).tolist():
            one = np.array([*documents[number], *documents[number + 1]], np.int64)  # may go over into the next document
            start = random.integers(0, len(one) + 1)
            parts += [one[start : start + random.integers(0, 9)], random.integers(1, vocabulary, random.integers(0, 3))]
        query = np.concatenate([*parts, parts[random.integers(len(parts))]]).astype(np.int64)
        if random.random() < 0.2 and len(query):
            query[random.integers(len(query))] = NEVER
        yield query


@pytest.mark.parametrize(
    ("vocabulary", "ended"), [(3, True), (200, False), (300, True), (50_000, False), (70_000, True)]
)
def test_spans_are_those_of_a_search_that_tries_all_of_them_on_a_thousand_queries(tmp_path, vocabulary, ended):
    random = np.random.default_rng(vocabulary)
    most = min(vocabulary, 40)
    tokens = np.concatenate([[END], random.choice(np.arange(1, vocabulary), most - 1, replace=False)])
    documents = [tokens[random.integers(1, most, random.integers(0, 12))].tolist() for _ in range(24)]
    documents += [documents[3] * 2, [int(tokens[1])] * 9, []]
    shards = [
        shard_of(tmp_path / str(part), documents[part::2], vocabulary=vocabulary, ended=ended) for part in range(2)
    ]
    many = 0
    for query in queries(random, documents, vocabulary, 200):
        shortest = int(random.integers(1, 4))
        wanted = tried(documents, query, shortest)
        assert found_in(shards, query, shortest) == wanted
        many += len(wanted)
    assert many > 200


@pytest.mark.parametrize("ended", [True, False])
def test_a_span_crosses_no_end_of_a_document(tmp_path, ended):
    shard = shard_of(tmp_path, [[5, 6, 7], [8, 9, 5], [6, 7, 8, 8]], vocabulary=20, ended=ended)
    query = np.array([5, 6, 7, 8, 9, 5, 6], np.int64)
    assert found_in([shard], query, 2) == {(0, 3): 1, (1, 4): 1, (3, 6): 1, (5, 7): 1}


def test_a_span_crosses_no_end_of_a_shard(tmp_path):
    shards = [shard_of(tmp_path / name, [one], vocabulary=20) for name, one in (("a", [5, 6]), ("b", [7, 8]))]
    assert found_in(shards, np.array([5, 6, 7, 8], np.int64), 2) == {(0, 2): 1, (2, 4): 1}


def test_occurrences_that_overlap_are_counted_each(tmp_path):
    shard = shard_of(tmp_path, [[4] * 10], vocabulary=20)
    assert found_in([shard], np.array([4, 4, 4], np.int64), 2) == {(0, 3): 8}


def test_a_long_text_that_stands_there_as_a_whole_takes_no_square_of_its_length(tmp_path):
    tokens = np.random.default_rng(0).integers(1, 200, 200_000)
    shard = shard_of(tmp_path, [tokens[:120_000].tolist(), tokens[120_000:].tolist()], vocabulary=200)
    query, began = tokens.astype(np.int64), time.process_time()
    assert found_in([shard], query, 1000) == {(0, 120_000): 1, (120_000, 200_000): 1}
    assert time.process_time() - began < 10


def test_a_search_goes_on_where_it_paused(tmp_path):
    tokens = np.full(9000, 3)
    shard = shard_of(tmp_path, [tokens[:4000].tolist()], vocabulary=20)
    longest = np.zeros(9000, np.int64)
    assert _matches(*shard[:4], tokens.astype(np.int64), longest, 0) < 9000
    longest_matches(*shard[:4], tokens.astype(np.int64), longest)
    assert longest.tolist() == [min(4000, 9000 - place) for place in range(9000)]


def test_bytes_that_straddle_two_tokens_are_no_match(tmp_path):
    shard = shard_of(tmp_path, [[0x0102, 0x0304]], vocabulary=50_000)
    assert found_in([shard], np.array([0x0203], np.int64), 1) == {}


def test_documents_without_tokens_are_searched_and_have_nothing(tmp_path):
    shard = shard_of(tmp_path, [[], []], vocabulary=20, ended=False)
    assert found_in([shard], np.array([3, 4], np.int64), 1) == {}


def test_tokens_are_counted(tmp_path):
    shard = shard_of(tmp_path, [[4, 4, 5], [4]], vocabulary=8)
    assert shard.counts.tolist() == [2, 0, 0, 0, 3, 1, 0, 0]
