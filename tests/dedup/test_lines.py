"""Lines and paragraphs that stand in other documents are taken out, and nothing else."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from curate.dedup.lines import ExactLines, _marked
from curate.dedup.pieces import find_pieces
from curate.stages.buffers import text_buffer
from curate.stages.verdicts import without_spans

FOOTER = "Sign up for our newsletter, and share this page."
A = f"About rivers and what they carry.\n{FOOTER}\nThe end of the first one."
B = f"{FOOTER}\nMountains, of which there are many.\n\n"
C = f"Only here.\n  {FOOTER} \nAnd here alone, too."


def left(outcome, texts):
    """Texts after the verdicts, None where the document went."""
    result = list(texts)
    for verdict in outcome.verdicts.values():
        spans = [(span["start"], span["end"]) for span in verdict["spans"] or ()]
        result[verdict["row"]] = without_spans(texts[verdict["row"]], spans) if verdict["verdict"] == "edited" else None
    return result


def test_a_line_of_an_earlier_document_is_taken_out(deduplicate):
    outcome = deduplicate(ExactLines(), [A, B, C], [1])
    assert left(outcome, [A, B, C]) == [
        A,
        "Mountains, of which there are many.\n\n",
        "Only here.\nAnd here alone, too.",
    ]
    verdict = outcome.verdicts["d1"]
    assert (verdict["reason"], verdict["value"]) == ("repeated_lines", len(FOOTER) + 1)
    assert (verdict["duplicate_of"], verdict["detail"]) == ("d0", "1 lines; one stands in 3 documents")


def test_none_keeps_it_on_request(deduplicate):
    outcome = deduplicate(ExactLines(keep="none"), [A, B])
    assert left(outcome, [A, B])[0] == "About rivers and what they carry.\nThe end of the first one."


def test_a_line_of_fewer_documents_than_are_asked_for_stays(deduplicate):
    assert deduplicate(ExactLines(min_documents=4), [A, B, C], [2]).verdicts == {}
    assert set(deduplicate(ExactLines(min_documents=3), [A, B, C], [2]).verdicts) == {"d1", "d2"}


def test_short_lines_and_repetitions_within_a_document_stay(deduplicate):
    texts = ["}\n}\n" + "the same long line again\n" * 3, "}\n}\nother"]
    assert deduplicate(ExactLines(), texts).verdicts == {}


def test_what_has_too_little_left_is_dropped(deduplicate):
    verdicts = deduplicate(ExactLines(min_left=10), [A, f"{FOOTER}\nshort", FOOTER]).verdicts
    assert {name: (one["verdict"], one["reason"], one["value"], one["threshold"]) for name, one in verdicts.items()} == {
        "d1": ("dropped", "repeated_left", 5, 10), "d2": ("dropped", "repeated_left", 0, 10),
    }  # fmt: skip


def test_white_space_before_the_first_line_is_not_left(deduplicate):
    verdicts = deduplicate(ExactLines(), [A, f"\n \n{FOOTER}\n", f" \n x \n{FOOTER}", "\n"]).verdicts
    assert (verdicts["d1"]["reason"], verdicts["d1"]["value"]) == ("repeated_left", 0)
    assert set(verdicts) == {"d1", "d2"}
    assert verdicts["d2"]["reason"] == "repeated_lines"


def test_paragraphs_are_parted_by_blank_lines(deduplicate):
    texts = ["one two\nthree four five six\n\nown words", "first\n \n one two\nthree four five six \n\nlast"]
    outcome = deduplicate(ExactLines(unit="paragraph"), texts)
    assert left(outcome, texts) == [texts[0], "first\n \nlast"]


def test_a_span_is_repeated_as_a_whole(deduplicate):
    texts = ["a a a\nb b b\nc c c\nd d d", "a a a\nb b b\nx x x\nb b b\nc c c\nd d d\n", "b b b\nc c c"]
    outcome = deduplicate(ExactLines(span=3, min_characters=1), texts)
    assert left(outcome, texts) == [texts[0], "a a a\nb b b\nx x x\n", texts[2]]


def test_case_and_white_space_are_ignored_on_request(deduplicate):
    texts = ["The Cat  sat on the Mat", "the cat sat ON the mat\nnew"]
    assert deduplicate(ExactLines(), texts).verdicts == {}
    assert left(deduplicate(ExactLines(normalize=True), texts), texts)[1] == "new"


def test_lines_of_other_columns_are_refused():
    with pytest.raises(ValidationError, match="column `text` alone"):
        ExactLines(on=["prompt"])


def expected(texts, keep, least):
    """In plain Python: the lines that stay."""
    having = {}
    for number, text in enumerate(texts):
        for line in {one.strip(" \t\n\r\v\f") for one in text.split("\n")} - {""}:
            having.setdefault(line, []).append(number)
    gone = {line: some[0] for line, some in having.items() if len(some) >= least}
    return [
        [
            line.strip(" \t\n\r\v\f")
            for line in text.split("\n")
            if line.strip(" \t\n\r\v\f")
            and (
                line.strip(" \t\n\r\v\f") not in gone or (keep == "first" and gone[line.strip(" \t\n\r\v\f")] == number)
            )
        ]
        for number, text in enumerate(texts)
    ]


@settings(derandomize=True, max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(st.text("ab\u00e9\u6f22 \n", max_size=12), max_size=8),
    cuts=st.lists(st.integers(0, 8), max_size=2),
    keep=st.sampled_from(["first", "none"]),
    least=st.integers(2, 3),
)
def test_lines_are_those_of_plain_sets_however_the_shards_are_cut(deduplicate, texts, cuts, keep, least):
    stage = ExactLines(min_characters=1, min_left=0, keep=keep, min_documents=least)
    outcome = deduplicate(stage, texts, [min(cut, len(texts)) for cut in cuts])
    lines = [[one.strip() for one in text.split("\n") if one.strip()] for text in left(outcome, texts)]
    assert lines == expected(texts, keep, least)


def test_pieces_stand_where_they_are_said_to_be():
    texts = ["\n\u00e9 one\n\n two \nthree", "", " \n ", "x"]
    data, offsets = text_buffer(pa.array(texts))
    bounds, content, places = find_pieces(data, offsets, paragraphs=False)
    assert bounds.tolist() == [0, 3, 3, 3, 4]
    assert [bytes(data[start:stop]).decode() for start, stop, _ in content] == ["\u00e9 one", "two", "three", "x"]
    assert content[:, 2].tolist() == [5, 3, 5, 1]
    assert [texts[0][start:end] for start, end in places[:3]] == ["\u00e9 one\n\n", " two \n", "three"]
    assert np.array_equal(find_pieces(data, offsets, paragraphs=True).bounds, [0, 2, 2, 2, 3])


@pytest.mark.parametrize("span", [1, 2])
def test_lines_that_were_written_to_have_one_fast_hash_are_two(deduplicate, colliding, span):
    assert deduplicate(ExactLines(span=span), ["\n".join([one] * span) for one in colliding]).verdicts == {}


class Group:
    """A desk with three shards; what is marked is kept."""

    def __init__(self, texts, repeated):
        sign = ExactLines().open()
        self.repeated, self.found = repeated, None
        self.shards = [
            sign(pa.table({"id": ["d"], "text": [text]})).append_column(
                "document", pa.array([number << 32], pa.uint64())
            )
            for number, text in enumerate(texts)
        ]

    def read_group(self, one):
        return self.repeated

    def signatures_by_shard(self, columns):
        yield from self.shards

    def write_cut(self, table, documents, bounds):
        self.found = table
        return {"run": ""}


def test_a_shard_is_compared_with_its_own_records_alone(monkeypatch):
    sizes = []

    def marked(table, repeated, *, keep_first):
        sizes.append(repeated.num_rows)
        return _marked(table, repeated, keep_first=keep_first)

    monkeypatch.setattr("curate.dedup.lines._marked", marked)
    desk = Group([A, "nothing that is anywhere else", B, C], None)
    there = [(number, desk.shards[number]["high"][0][place].as_py(), desk.shards[number]["low"][0][place].as_py())
             for number, place in ((3, 1), (0, 1), (2, 0))]  # fmt: skip
    desk.repeated = pa.table({
        "high": pa.array([one[1] for one in there], pa.uint64()), "low": pa.array([one[2] for one in there], pa.uint64()),
        "document": pa.array([one[0] << 32 for one in there], pa.uint64()), "documents": [3] * 3,
        "first": pa.array([0] * 3, pa.uint64()), "duplicate_of": ["d0"] * 3,
    })  # fmt: skip
    ExactLines().mark(desk, named={"runs": ["any"], "group": 0}, bounds=[0])
    assert desk.found.column("shard").to_pylist() == [2, 3]
    assert sizes == [1, 1, 1]
