"""Topics: that they are found, named, and the same however the work is cut."""

from __future__ import annotations

import json
import random

import numpy as np
import pyarrow as pa
import pytest

import curate
from curate.mix.clusters import clusters, cosines, count_words, names, singular_vectors, sphere, tf_idf, vocabulary

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


def kept(path):
    """The rows of the artifact `topics`."""
    made = curate.open_dataset("d", path.parent / ".curate")
    [name] = made.manifest["stages"][1]["artifacts"]["topics"]["objects"]
    return made.store.read_table(name).to_pylist()


@pytest.mark.slow
def test_an_address_that_many_documents_have_names_no_topic(tmp_path):
    signed = "zq.quornstein@mailhost.org wrote https://quornstein.example/zq?user=quornstein and call +49 30 555x77 of rivers"
    more = [{"id": f"s{number}", "text": signed, "gold": "none"} for number in range(20)]
    path = project(tmp_path, "topics: 4", extra=more)
    _, rows = found(path)
    told = json.dumps(kept(path)) + json.dumps([row["topic_name"] for row in rows])
    assert "rivers" in told
    for part in ("zq", "quornstein", "mailhost", "example", "555", "77"):
        assert part not in told


def test_a_word_of_fewer_than_five_texts_names_nothing():
    counts = count_words(pa.array(["quornstein rivers"] * 4 + ["rivers"] * 2 + ["stones"] * 6))
    known = vocabulary(counts, 10)
    assert "quornstein" in known.words
    assert names(counts, known, np.array([0] * 6 + [1] * 6), 2, 3) == [["rivers"], ["stones"]]


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["topics: 2", "topics: 2, embedding: vector"])
def test_where_there_are_no_topics_the_columns_are_null(tmp_path, stage):
    (tmp_path / "in").mkdir()
    rows = [{"text": "one", "vector": []}, {"text": "two", "vector": None}]
    (tmp_path / "in" / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    path = tmp_path / "p.yaml"
    path.write_text(
        f'dataset: d\nsources: [{{stage: files, paths: ["in/*.jsonl"]}}]\nstages: [{{stage: topics, {stage}}}]\n'
    )
    _, rows = found(path)
    assert [(row["topic"], row["topic_name"], row["topic_distance"]) for row in rows] == [(None, None, None)] * 2
    assert kept(path) == []


@pytest.mark.slow
def test_a_group_of_shards_without_embeddings_gets_no_topic(tmp_path, monkeypatch):
    monkeypatch.setattr("curate.pipeline.shuffle.GROUP_SHARDS", 1)
    empty = [{"id": f"z{number}", "text": "word " * 40, "gold": "none", "vector": None} for number in range(120)]
    path = project(tmp_path, "topics: 3, embedding: vector", files=1, extra=empty)
    path.write_text("shard_megabytes: 0.005\n" + path.read_text())
    _, rows = found(path)
    assert {row["topic"] for row in rows if row["gold"] == "none"} == {None}
    assert {row["topic"] for row in rows if row["gold"] != "none"} == {0, 1, 2}


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
    vectors = singular_vectors(csr_matrix(matrix), 4, seed=1)[:, :4]
    whole = np.linalg.svd(matrix)[2][:4]
    assert np.abs(np.sum(whole.T * vectors, axis=0)) == pytest.approx(np.ones(4), abs=1e-2)


def test_the_last_bits_of_products_do_not_change_the_topics():
    from scipy.sparse import csr_matrix

    def topics(matrix):
        vectors = sphere(matrix @ singular_vectors(matrix, 16, seed=1))
        return cosines(vectors, clusters(vectors, 10, seed=1)).argmax(axis=1).tolist()

    alike = np.kron(np.eye(40), np.ones((5, 6)) / np.sqrt(6))  # 40 equal singular values
    noise = 1 + 1e-15 * np.random.default_rng(0).standard_normal(alike.shape)
    assert topics(csr_matrix(alike)) == topics(csr_matrix(alike * noise))


def test_two_clusters_never_have_one_name():
    counts = count_words(pa.array(["cat dog"] * 5 + ["fish"] * 5 + ["bird"]))
    made = names(counts, vocabulary(counts, 10), np.array([0] * 5 + [1] * 5 + [2]), 3, 2)
    assert made == [["cat", "dog"], ["fish"], ["2"]]


def test_stop_words_of_the_languages_of_a_cluster_name_nothing():
    english = ["she was being told that they should be there and were on the old ship with the captain"] * 6
    german = ["und die Leute sind mit der Eisenbahn und den Koffern nicht aus dem Haus in die Stadt gefahren"] * 6
    counts = count_words(
        pa.array([*english, *german, *(["war and peace of the emperor were as he had been told"] * 6)])
    )
    found = names(counts, vocabulary(counts, 100), np.repeat([0, 1, 2], 6), 3, 12)
    assert {"ship", "captain"} <= set(found[0]) <= {"ship", "captain", "told", "old"}
    assert {"leute", "eisenbahn", "koffern", "stadt"} <= set(found[1])
    assert not {"und", "die", "der", "mit", "sind", "nicht", "dem"} & set(found[1])
    assert {"war", "peace", "emperor"} <= set(found[2])  # a stop word in German alone


def test_a_cluster_that_has_nothing_but_stop_words_is_named_by_these():
    counts = count_words(pa.array(["should being were"] * 6 + ["ship captain sails"] * 6))
    assert names(counts, vocabulary(counts, 10), np.repeat([0, 1], 6), 2, 3)[0] == ["should", "being", "were"]
