"""n-gram models: the back-off written out, whatever the text; damaged files; KenLM's binaries."""

from __future__ import annotations

import math

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import CurateError, MachineError
from curate.quality.ngrams import ngram_kind, read_arpa
from curate.quality.perplexity import Perplexity
from curate.stages.buffers import text_buffer
from tests.quality.arpa_files import write_arpa

LINES = ["the cat sat on the mat", "the dog sat on the cat", "a caf\u00e9 on the mat", "the the the cat"] * 3


@pytest.fixture(scope="module", params=[(1, True), (2, False), (3, True), (5, False)], ids=str)
def model(request, tmp_path_factory):
    """A model, and its n-grams as a dict."""
    order, unknown = request.param
    path = write_arpa(tmp_path_factory.mktemp("arpa") / "model.arpa", LINES, order=order, unknown=unknown)
    known, size = {}, 0
    for line in path.read_text("utf-8").splitlines():
        size = int(line[1]) if line.endswith("-grams:") else size
        parts = line.split("\t")
        if len(parts) > 1:
            known[tuple(parts[1].split())] = float(parts[0]), float(parts[2]) if len(parts) == 3 else 0.0
    known.setdefault(("<unk>",), (-100.0, 0.0))
    return read_arpa(path), known, order


def log10(known, order, line) -> float:
    """The back-off, as it is defined."""

    def of(context, word):
        if (*context, word) in known:
            return known[*context, word][0]
        return known.get(context, (0, 0.0))[1] + of(context[1:], word) if context else known[word,][0]

    words = ["<s>", *(word if (word,) in known else "<unk>" for word in line.split()), "</s>"]
    return sum(of(tuple(words[max(0, at - order + 1) : at]), words[at]) for at in range(1, len(words)))


def asked(model, text):
    logs, words = model.costs(*text_buffer(pa.array([text])))
    return logs[0], words[0]


KNOWN = ["the", "cat", "sat", "on", "mat", "dog", "a", "caf\u00e9", "nobody"]


@given(line=st.lists(st.sampled_from(KNOWN), max_size=8).map(" ".join))
def test_a_line_costs_what_the_longest_known_ngrams_say(model, line):
    found, words = asked(model[0], line)
    assert words == (len(line.split()) + 1 if line else 0)
    assert found == pytest.approx(log10(*model[1:], line) if line else 0.0, rel=1e-6, abs=1e-6)


def test_lines_are_sentences_and_blank_ones_are_none(model):
    text = "the cat\r\n \n\n the\tdog "
    one, other = asked(model[0], "the cat"), asked(model[0], "the dog")
    assert asked(model[0], text) == (pytest.approx(one[0] + other[0]), one[1] + other[1])


def test_the_stage_tells_bits_a_byte_and_perplexity_of_a_word(apply_stage, tmp_path):
    path = write_arpa(tmp_path / "m.arpa", LINES, order=3)
    logs, words = asked(read_arpa(path), LINES[0])
    verdicts, features = apply_stage(Perplexity(model=str(path), max_perplexity=1.5), [LINES[0], "", "\n"])
    assert features["perplexity"][0] == pytest.approx(10 ** (-logs / words))
    assert features["bits_per_byte"][0] == pytest.approx(-logs / math.log10(2) / len(LINES[0]))
    assert features["perplexity"][1:] == [None, None]
    assert [one["reason"] for one in verdicts.values()] == ["perplexity"] * 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text[: len(text) // 2], "it ends among the|has . words|-grams are there"),
        (lambda text: text.replace("ngram 2=", "ngram 2=1"), "of 1.* 2-grams are there"),
        (lambda text: text.replace("ngram 1=", "ngram 3="), "`ngram ORDER=COUNT` is expected"),
        (lambda text: text.replace("\\1-grams:", "\\one:"), r"`\\1-grams:` is expected"),
        (lambda text: text.replace("\tthe cat", "x\tthe cat"), "a probability is no number"),
        (lambda text: text.replace("\tthe cat", "\tthe cat sat on"), "a line of 2-grams has"),
    ],
)
def test_a_damaged_model_is_told_with_its_line(tmp_path, change, said):
    path = write_arpa(tmp_path / "m.arpa", LINES, order=2, share=1.0)
    path.write_text(change(path.read_text("utf-8")), "utf-8")
    with pytest.raises(CurateError, match=said) as caught:
        read_arpa(path)
    assert str(caught.value.where).startswith(f"{path}:")


def test_a_binary_of_kenlm_without_its_package_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "model.binary"
    path.write_bytes(b"mmap lm http://kheafield.com/code format version 5\n\0" + bytes(100))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MachineError, match="binary of KenLM, whose package is not installed"):
        ngram_kind(path)


def test_a_network_option_is_refused_for_ngrams(tmp_path):
    path = write_arpa(tmp_path / "m.arpa", LINES, order=2)
    with pytest.raises(CurateError, match="`length` is of networks"):
        Perplexity(model=str(path), length=64).facts()
    assert Perplexity(model=str(path)).facts() == {"model": "arpa"}
