import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from curate.dedup.exact import ExactDuplicates
from curate.errors import CurateError

TEXTS = ["one", "two", "one", "Two", "one", "", ""]


def kept_instead(outcome):
    return {name: verdict["duplicate_of"] for name, verdict in outcome.verdicts.items()}


def test_later_copies_are_dropped_in_favour_of_the_first(deduplicate):
    assert kept_instead(deduplicate(ExactDuplicates(), TEXTS)) == {"d2": "d0", "d4": "d0", "d6": "d5"}


def test_the_reason_is_exact_duplicate(deduplicate):
    verdicts = deduplicate(ExactDuplicates(), TEXTS).verdicts
    assert {(verdict["verdict"], verdict["reason"]) for verdict in verdicts.values()} == {
        ("dropped", "exact_duplicate")
    }


def test_case_and_white_space_are_ignored_on_request(deduplicate):
    outcome = deduplicate(ExactDuplicates(normalize=True), ["Stra\u00dfe  1\n", "other", "STRASSE 1"])
    assert kept_instead(outcome) == {"d2": "d0"}


def test_the_longest_of_normalized_copies_stays(deduplicate):
    outcome = deduplicate(ExactDuplicates(normalize=True, keep="longest"), ["a b", "a   b", "A\n   b", "a b"])
    assert kept_instead(outcome) == {"d0": "d2", "d1": "d2", "d3": "d2"}


@pytest.mark.parametrize(("order", "kept"), [("highest", "d2"), ("lowest", "d1")])
def test_the_best_by_a_column_stays(deduplicate, order, kept):
    stage = ExactDuplicates(keep="best", by="score", order=order)
    outcome = deduplicate(stage, ["x"] * 5, score=[None, 1.0, 3.0, float("nan"), 3.0])
    assert set(kept_instead(outcome).values()) == {kept}


def test_the_best_may_be_a_date_written_as_text(deduplicate):
    stage = ExactDuplicates(keep="best", by="date")
    outcome = deduplicate(stage, ["x"] * 3, date=["2023-01-02", "2024-05-06", "2021-12-31"])
    assert set(kept_instead(outcome).values()) == {"d1"}


@pytest.mark.parametrize("kind", [pa.null(), pa.float64(), pa.string(), pa.timestamp("us")], ids=str)
def test_the_first_stays_where_no_document_has_a_value(deduplicate, kind):
    outcome = deduplicate(ExactDuplicates(keep="best", by="score"), ["x"] * 3, score=pa.nulls(3, kind))
    assert set(kept_instead(outcome).values()) == {"d0"}


def test_a_missing_column_is_named_with_those_there_are(documents):
    sign = ExactDuplicates(keep="best", by="stars").open()
    with pytest.raises(CurateError, match=r"no column `stars`.*\n.*hint: .*id, text, source_uri"):
        sign(documents(["x"]))


def test_a_column_of_lists_has_no_best(documents):
    sign = ExactDuplicates(keep="best", by="tags").open()
    with pytest.raises(CurateError, match=r"column `tags` holds list.*have no order"):
        sign(documents(["x"], tags=[["a"]]))


def test_keep_best_without_a_column_is_refused():
    with pytest.raises(ValidationError, match="`keep: best` needs `by:`"):
        ExactDuplicates(keep="best")


def test_a_column_that_nothing_reads_is_refused():
    with pytest.raises(ValidationError, match="`by: score` is read for `keep: best` alone"):
        ExactDuplicates(by="score")


def test_an_order_that_nothing_reads_is_refused():
    with pytest.raises(ValidationError, match="`order: lowest` is read for `keep: best` alone"):
        ExactDuplicates(keep="longest", order="lowest")


def test_no_documents_are_no_duplicates(deduplicate):
    assert deduplicate(ExactDuplicates(), []).verdicts == {}


def test_chunked_and_sliced_columns_are_read_at_their_offsets():
    texts = pa.chunked_array([["skipped", "a", "b"], [], ["a", "b", "c"]]).slice(1)
    ids = pa.array([f"d{i}" for i in range(5)])
    table = pa.table({"id": ids, "text": texts, "source_uri": ids})
    signed = ExactDuplicates().open()(table)
    hashes = list(zip(signed["high"].to_pylist(), signed["low"].to_pylist(), strict=True))
    assert [hashes.index(one) for one in hashes] == [0, 1, 0, 1, 4]


@settings(
    derandomize=True,
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(texts=st.lists(st.text(max_size=3), max_size=12), cuts=st.lists(st.integers(0, 12), max_size=3))
def test_every_distinct_text_stays_once_however_the_shards_are_cut(deduplicate, texts, cuts):
    dropped = deduplicate(ExactDuplicates(), texts, [min(cut, len(texts)) for cut in cuts]).verdicts
    assert [text for row, text in enumerate(texts) if f"d{row}" not in dropped] == list(dict.fromkeys(texts))


def test_texts_that_were_written_to_have_one_fast_hash_are_two(deduplicate, colliding):
    assert deduplicate(ExactDuplicates(), colliding).verdicts == {}
