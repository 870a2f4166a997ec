"""Documents whose embeddings are alike are dropped, but for one, as a plain comparison of all in a cluster finds them."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from curate.dedup.semantic import SemanticDuplicates
from curate.dedup.vectors import BLOCK, cluster_directions, first_alike, nearest, read_directions
from curate.errors import CurateError
from curate.stages.verdicts import Unfit


def lists(rows):
    return pa.array([None if row is None else list(map(float, row)) for row in rows], pa.list_(pa.float64()))


@pytest.fixture(scope="module")
def planted():
    """60 directions, and 60 that are nearly the same."""
    draw = np.random.default_rng(1)
    first = draw.normal(size=(60, 24))
    return np.concatenate([first, first + 0.02 * draw.normal(size=first.shape)])


@pytest.mark.parametrize("clusters", [1, 7])
def test_planted_duplicates_are_dropped_for_the_first(deduplicate, planted, clusters):
    stage = SemanticDuplicates(embedding="e", clusters=clusters)
    outcome = deduplicate(stage, ["x"] * 120, [50, 90], e=lists(planted))
    assert {name: one["duplicate_of"] for name, one in outcome.verdicts.items()} == {
        f"d{60 + number}": f"d{number}" for number in range(60)
    }
    unit = planted / np.linalg.norm(planted, axis=1)[:, None]
    one = outcome.verdicts["d60"]
    assert (one["reason"], one["threshold"]) == ("semantic_duplicate", 0.95)
    assert one["value"] == pytest.approx(unit[0] @ unit[60], abs=1e-5)


def test_the_outcome_does_not_depend_on_how_shards_are_cut(deduplicate, planted):
    stage = SemanticDuplicates(embedding="e", clusters=5, similarity=0.3)
    found = [deduplicate(stage, ["x"] * 120, cuts, e=lists(planted)).verdicts for cuts in ([], [1, 40, 100])]
    kept = [{name: one["duplicate_of"] for name, one in some.items()} for some in found]
    assert kept[0] == kept[1]


def test_the_best_by_a_column_stays(deduplicate):
    stage = SemanticDuplicates(embedding="e", keep="best", by="score")
    outcome = deduplicate(stage, ["x"] * 3, e=lists([[1, 0], [2, 0], [0, 1]]), score=[1.0, 3.0, 2.0])
    assert {name: one["duplicate_of"] for name, one in outcome.verdicts.items()} == {"d0": "d1"}


def test_documents_without_an_embedding_are_left_alone(deduplicate):
    stage = SemanticDuplicates(embedding="e")
    assert set(deduplicate(stage, ["x"] * 4, [2], e=lists([None, [1, 0], None, [1, 0]])).verdicts) == {"d3"}
    assert deduplicate(stage, ["x"] * 2, e=lists([None, None])).verdicts == {}


def test_json_text_is_read_too(deduplicate):
    outcome = deduplicate(SemanticDuplicates(embedding="e"), ["x"] * 3, e=["[1, 2]", None, "[2, 4]"])
    assert set(outcome.verdicts) == {"d2"}


def test_who_stays_is_what_a_plain_comparison_keeps():
    rows = np.random.default_rng(2).normal(size=(2 * BLOCK + 100, 6))
    rows = (rows / np.linalg.norm(rows, axis=1)[:, None]).astype(np.float32)
    alike, values = first_alike(rows, 0.9)
    kept: list[int] = []
    for number, row in enumerate(rows):
        similar = rows[kept] @ row if kept else np.zeros(0)
        if not (similar >= 0.9).any():
            kept.append(number)
            assert alike[number] == -1
        else:
            assert values[number] == pytest.approx(similar.max(), abs=1e-6)
            assert alike[number] in kept


def test_a_cosine_is_summed_up_exactly_whatever_else_is_compared():
    draw = np.random.default_rng(4)
    rows = np.repeat(draw.normal(size=(40, 384)), 8, axis=0)
    rows += 0.2 * draw.normal(size=rows.shape)
    rows = (rows / np.linalg.norm(rows, axis=1)[:, None]).astype(np.float32)
    alike, values = first_alike(rows, 0.9)
    assert (alike >= 0).sum() > 200
    for number in np.flatnonzero(alike >= 0):
        pair = rows[[alike[number], number]].astype(np.float64)
        both, left, right = (math.fsum(pair[a] * pair[b]) for a, b in ((0, 1), (0, 0), (1, 1)))
        assert values[number] == round(both / math.sqrt(left * right), 6)


def test_embeddings_that_are_the_same_are_found_at_similarity_1(deduplicate):
    rows = np.random.default_rng(5).normal(size=(200, 384))
    outcome = deduplicate(
        SemanticDuplicates(embedding="e", similarity=1, clusters=3), ["x"] * 400, [200], e=lists([*rows, *3 * rows])
    )
    assert {name: one["duplicate_of"] for name, one in outcome.verdicts.items()} == {
        f"d{200 + number}": f"d{number}" for number in range(200)
    }
    assert {one["value"] for one in outcome.verdicts.values()} == {1.0}


def test_equal_documents_make_one_centroid():
    rows = np.eye(3, dtype=np.float32)[[0, 0, 0, 1, 2]]
    assert len(cluster_directions(rows, 3)) == len(np.unique(cluster_directions(rows, 3), axis=0)) == 3


def test_clusters_gather_what_is_near():
    draw = np.random.default_rng(3)
    middle = np.eye(4)[draw.integers(0, 4, 200)]
    rows = middle + 0.05 * draw.normal(size=middle.shape)
    rows = (rows / np.linalg.norm(rows, axis=1)[:, None]).astype(np.float32)
    of = nearest(rows, cluster_directions(rows, 8))
    assert all(len(set(middle[of == one].argmax(axis=1))) == 1 for one in set(of))


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ([], "embedding_is_empty"),
        ([0.0, 0.0], "embedding_is_zero"),
        ([float("nan"), 1.0], "embedding_is_not_finite"),
        ([[1.0]], "embedding_is_no_list"),
        (["1", "2"], "embedding_is_no_list"),
        ([True, False], "embedding_is_no_list"),
    ],
)
def test_an_embedding_without_a_direction_has_a_reason_of_its_own(row, reason):
    with pytest.raises(Unfit, match=reason):
        read_directions(pa.array([row]), "e")


@pytest.mark.parametrize(
    "text", ['{"a": 1}', '["1", "2"]', "[true, false]", "3", "null", "[1, null]", "[[1]]", "some words"]
)
def test_json_text_of_anything_but_numbers_is_refused(text):
    with pytest.raises(Unfit, match="embedding_is_no_list") as caught:
        read_directions(pa.array([text]), "e")
    assert text in caught.value.detail


def test_a_column_of_something_else_is_named():
    with pytest.raises(CurateError, match="column `e` holds int64, no embeddings"):
        read_directions(pa.array([1]), "e")


def test_a_column_that_is_not_there_is_named(documents):
    with pytest.raises(CurateError, match=r"no column `e` with embeddings\n.*id, text, source_uri"):
        SemanticDuplicates(embedding="e").open()(documents(["x"]))


@pytest.mark.parametrize("cuts", [[], [1]])
def test_embeddings_of_two_lengths_are_refused(deduplicate, cuts):
    with pytest.raises(CurateError, match="embeddings of 2 and of 3 numbers"):
        deduplicate(SemanticDuplicates(embedding="e"), ["x"] * 2, cuts, e=lists([[1, 2], [1, 2, 3]]))


def test_keep_best_needs_a_column():
    with pytest.raises(ValidationError, match="`keep: best` needs `by:`"):
        SemanticDuplicates(embedding="e", keep="best")
