"""The size of documents."""

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.audit.statistics import TextStatistics


@pytest.mark.parametrize(
    ("text", "characters", "words", "lines", "size"),
    [
        ("", 0, 0, 0, 0),
        ("one", 3, 1, 1, 3),
        ("one two\nthree\n", 14, 3, 2, 14),
        ("\n\n", 2, 0, 2, 2),
        ("na\u00efve \u4f60\u597d", 8, 2, 1, 13),
        ("a\u00a0b\u2003c\u3000d", 7, 4, 1, 12),
    ],
)
def test_a_document_is_measured(apply_stage, text, characters, words, lines, size):
    verdicts, features = apply_stage(TextStatistics(), [text])
    assert verdicts == {}
    assert features == {"characters": [characters], "words": [words], "lines": [lines], "bytes": [size]}


@settings(max_examples=50, deadline=None, derandomize=True)
@given(texts=st.lists(st.one_of(st.text(max_size=80), st.text("a \n\x1c\u00a0", max_size=9)), max_size=9))
def test_counts_are_those_of_python_in_any_batch(texts):
    table = pa.table({"text": pa.array(["before", *texts], pa.string())}).slice(1)
    measured = TextStatistics().open()(table).to_pylist()
    assert measured == [
        {
            "characters": len(text),
            "words": len(text.split()),
            "lines": len(text.split("\n")) - (text.endswith("\n") or not text),
            "bytes": len(text.encode()),
        }
        for text in texts
    ]
