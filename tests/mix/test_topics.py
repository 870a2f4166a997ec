"""Topics: that they are found, named, and the same however the work is cut."""

from __future__ import annotations

import json
import random

import numpy as np
import pyarrow as pa
import pytest

import curate
from curate.errors import CurateError
from curate.mix.clusters import count_words, names, singular_vectors, tf_idf, vocabulary

THEMES = {
    "ships": ["harbour", "captain", "sail", "anchor", "deck", "tide", "rope", "storm", "voyage", "mast"],
    "bread": ["flour", "oven", "dough", "yeast", "crust", "knead", "butter", "salt", "baker", "loaf"],
    "stars": ["planet", "orbit", "telescope", "comet", "galaxy", "moon", "eclipse", "gravity", "dust", "light"],
}
COMMON = ["the", "and", "of", "a", "to", "in", "was", "it", "on", "that"]


def documents(count, seed=0):
    """Texts of 30 words, of which a third are of the theme; a third of the texts for each."""
    draw = random.Random(seed)
    for number in range(count):
        theme = list(THEMES)[number % 3]
        words = [draw.choice(THEMES[theme]) if draw.random() < 0.35 else draw.choice(COMMON) for _ in range(30)]
        yield {
            "id": f"{number}",
            "text": " ".join(words),
            "gold": theme,
            "vector": [float(number % 3 == n) for n in range(3)],
        }


def project(folder, stage, count=120, files=2, extra=()):
    rows = [*documents(count), *extra]
    (folder / "in").mkdir(exist_ok=True)
    for part in range(files):
        (folder / "in" / f"{part}.jsonl").write_text("\n".join(map(json.dumps, rows[part::files])))
    path = folder / "p.yaml"
    path.write_text(
        f'dataset: d\nsources: [{{stage: files, paths: ["in/*.jsonl"]}}]\nstages: [{{stage: topics, {stage}}}]\n'
    )
    return path


def found(path, **options):
    done = curate.run(path, **{"workers": 1, **options})
    return done.version, curate.open_dataset("d", options.get("store", path.parent / ".curate")).arrow().to_pylist()


def test_planted_topics_are_found_and_named_by_their_words(tmp_path):
    empty = {"id": "empty", "text": "", "gold": "none", "vector": []}
    _, rows = found(project(tmp_path, "topics: 3, dimensions: 8", extra=[empty]))
    together = {(row["gold"], row["topic"]) for row in rows if row["id"] != "empty"}
    assert len(together) == 3
    for row in rows:
        if row["id"] == "empty":
            assert (row["topic"], row["topic_name"], row["topic_distance"]) == (None, None, None)
        else:
            assert set(row["topic_name"].split()) <= set(THEMES[row["gold"]])
            assert 0 <= row["topic_distance"] < 1


@pytest.mark.slow
def test_workers_and_the_order_of_other_documents_do_not_matter(tmp_path):
    path = project(tmp_path, "topics: 3, sample: 60", files=3)
    one, rows = found(path, store=tmp_path / "one")
    two, _ = found(path, store=tmp_path / "two", workers=2)
    assert one == two
    assert {row["topic_name"] for row in rows}


@pytest.mark.slow
def test_a_column_of_embeddings_takes_the_place_of_the_words(tmp_path):
    _, rows = found(project(tmp_path, "topics: 3, embedding: vector"))
    assert len({(row["gold"], row["topic"]) for row in rows}) == 3
    assert {row["topic_distance"] for row in rows} == {0.0}


@pytest.mark.slow
def test_documents_without_words_in_common_are_an_error_that_says_what_helps(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_text("\n".join(json.dumps({"text": word}) for word in ("one", "two")))
    (tmp_path / "p.yaml").write_text('dataset: d\nsources: [{stage: files, paths: ["in/*.jsonl"]}]\nstages: [topics]\n')
    with pytest.raises(CurateError, match="there are no topics in 2 documents") as caught:
        curate.run(tmp_path / "p.yaml", workers=1)
    assert caught.value.hint == "topics need more documents, or an `embedding`"


def test_tf_idf_is_that_of_the_formula():
    counts = count_words(
        pa.array(["cat dog dog", "cat bird", "dog bird", "cat", "fish fish", "dog 1 1", "1 bird", "1"])
    )
    known = vocabulary(counts, 10)
    assert known.words == ["bird", "cat", "dog"]  # fish stands in one text, 1 is a number
    row = tf_idf(counts, known).toarray()[0]
    values = np.array([0, np.log(8 / 3), (1 + np.log(2)) * np.log(8 / 3)])
    assert row == pytest.approx(values / np.linalg.norm(values))


def test_singular_vectors_are_those_of_the_whole_decomposition():
    from scipy.sparse import csr_matrix

    matrix = np.random.default_rng(0).random((40, 30)) * (np.random.default_rng(1).random((40, 30)) < 0.3)
    vectors = singular_vectors(csr_matrix(matrix), 4, seed=1)
    whole = np.linalg.svd(matrix)[2][:4]
    assert np.abs(np.sum(whole.T * vectors, axis=0)) == pytest.approx(np.ones(4), abs=1e-2)


def test_two_clusters_never_have_one_name():
    counts = count_words(pa.array(["cat dog", "cat dog", "cat dog", "fish", "fish", "fish", "bird"]))
    made = names(counts, vocabulary(counts, 10), np.array([0, 0, 0, 1, 1, 1, 2]), 3, 2)
    assert made == [["cat", "dog"], ["fish"], ["2"]]
