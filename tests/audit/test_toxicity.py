"""What the stage `toxicity` measures and decides, without Detoxify."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.audit.toxicity.lexicon import LEXICON, read_lexicon
from curate.audit.toxicity.linear import CARD, load_model, score_texts, window_features
from curate.audit.toxicity.stage import Toxicity
from curate.audit.toxicity.summary import summarize
from curate.audit.toxicity.words import buffers, character_table, hash_words
from curate.commands.audit import toxicity
from curate.errors import CurateError

INSULT = "you are a worthless idiot and a pathetic loser"
CLEAN = "The committee met on Tuesday and agreed to repair the bridge before the winter."
MATHEMATICAL = "".join(chr(0x1D41A + ord(letter) - ord("a")) for letter in "idiot")


def hashes(text):
    data, offsets = buffers([text])
    words, second = np.empty(len(data) + 1, np.uint64), np.empty(len(data) + 1, np.uint64)
    count = hash_words(data, 0, offsets[1], character_table(), words, second)
    return [*map(int, words[:count])], [*map(int, second[:count])]


@pytest.mark.parametrize(
    "written",
    [
        "IDIOT", "idiooot", "id\u200biot", "id\u00adiot", "\uff49\uff44\uff49\uff4f\uff54", "\u0456diot", "\u00efdi\u00f6t",
        "id1ot", "idi0t", "id'iot", "i\u0308diot", MATHEMATICAL,
    ],
)  # fmt: skip
def test_a_disguised_word_is_the_word(written):
    assert hashes(written)[0] == hashes("idiot")[0]


@pytest.mark.parametrize(
    ("written", "words"), [("", 0), ("a b, c", 3), ("10 apples", 2), ("\u4f60\u597d", 2), ("$5 @home", 2), ("!?", 0)]
)
def test_words_are_runs_of_letters_and_digits(written, words):
    assert len(hashes(written)[0]) == words


def test_a_long_run_of_a_letter_that_may_have_been_two_has_two_readings():
    (one,), (two,) = hashes("asssss")
    assert (one, two) == (hashes("as")[0][0], hashes("ass")[0][0])
    assert hashes("assess") != hashes("ases")


def test_an_insult_is_toxic_and_a_report_is_not(apply_stage):
    verdicts, features = apply_stage(Toxicity(), [INSULT, CLEAN, ""])
    assert verdicts == {}
    assert features["toxicity"][0] > 0.9
    assert features["toxicity"][1] < 0.2
    assert features["toxicity"][2] == features["toxicity_mean"][2] == 0


def test_one_sentence_shows_in_a_long_text(apply_stage):
    filled = " ".join([CLEAN] * 10)
    _, features = apply_stage(Toxicity(), [f"{filled} {INSULT} {filled}", f"{filled} {filled}"])
    assert features["toxicity"][0] > 0.5 > features["toxicity"][1]
    assert features["toxicity_mean"][0] < features["toxicity"][0]


@pytest.mark.parametrize("term", ["gay", "Muslim", "middle eastern", "african-american", "wheelchair"])
def test_who_a_text_is_about_changes_nothing(apply_stage, term):
    _, features = apply_stage(Toxicity(), [f"my {term} neighbours are kind", "my neighbours are kind", term])
    assert features["toxicity"][0] == features["toxicity"][1]
    assert features["toxicity"][2] == 0


def test_nothing_is_dropped_unless_a_threshold_says_so(apply_stage):
    verdicts, features = apply_stage(Toxicity(max_toxicity=0.8), [CLEAN, INSULT])
    assert list(verdicts) == [1]
    assert (verdicts[1]["reason"], verdicts[1]["threshold"]) == ("toxic", 0.8)
    assert verdicts[1]["value"] == features["toxicity"][1]
    verdicts, _ = apply_stage(Toxicity(max_toxicity_mean=0.8), [CLEAN, INSULT])
    assert [one["reason"] for one in verdicts.values()] == ["toxic_mean"]
    assert Toxicity.thresholds == {"max_toxicity", "max_toxicity_mean"}


@settings(max_examples=60, derandomize=True)
@given(
    texts=st.lists(
        st.one_of(st.text(max_size=60), st.text("ab 's1!*@$\u200b\u0456\uff49\U0001d41a", max_size=30)), max_size=8
    )
)
def test_what_is_said_of_a_text_does_not_depend_on_the_batch(texts):
    measure = Toxicity().open()
    together = measure(pa.table({"text": pa.array(["before it", *texts], pa.string())}).slice(1)).to_pylist()
    alone = [measure(pa.table({"text": pa.array([text], pa.string())})).to_pylist()[0] for text in texts]
    assert together == alone


def test_training_and_scoring_see_the_same():
    texts, model = [INSULT, " ".join([CLEAN, INSULT] * 20), "gay", "", "asss"], load_model()
    columns, starts, owners = window_features(*buffers(texts), model.identities, len(model.weights))
    best = np.zeros(len(texts))
    for window, owner in enumerate(owners):
        seen = columns[starts[window] : starts[window + 1]]
        score = model.bias + model.weights[seen].sum() / np.sqrt(len(seen))
        best[owner] = max(best[owner], 1 / (1 + np.exp(-(model.slope * score + model.intercept))))
    assert score_texts(*buffers(texts), model)[0] == pytest.approx(best, abs=1e-5)


@pytest.mark.parametrize(
    "text", ["@" * 1_000_000, "a" * 1_000_000, "\u200b" * 300_000, "1 " * 500_000, "\U0001f600" * 100_000]
)
def test_hostile_texts_are_read_to_their_end(apply_stage, text):
    _, features = apply_stage(Toxicity(), [text])
    assert 0 <= features["toxicity"][0] <= 1


# ---- the lexicon


def lexicon(tmp_path, *lines):
    path = tmp_path / "words.tsv"
    path.write_text("\n".join(lines), "utf-8")
    return path


def test_terms_are_counted_longest_first_with_the_worst_severity(apply_stage, tmp_path):
    path = lexicon(tmp_path, "# mine", "rat", "dirty rat\t4", "", "shoo\t2")
    _, features = apply_stage(Toxicity(lexicon=str(path)), ["You dirty RAT! A rat.", "shooo", "irate", ""])
    assert features["lexicon_terms"] == [2, 1, 0, 0]
    assert features["lexicon_severity"] == [4, 2, 0, 0]


def test_a_term_of_a_language_counts_in_documents_of_it(apply_stage, tmp_path):
    path = lexicon(tmp_path, "mist\t1\tde", "rat\t1")
    languages = pa.array(["en", "de", None], pa.string())
    _, features = apply_stage(Toxicity(lexicon=str(path)), ["mist and a rat"] * 3, language=languages)
    assert features["lexicon_terms"] == [1, 2, 2]


@pytest.mark.parametrize(
    ("lines", "problem", "line"),
    [
        (["rat", "rat\tx"], "the severity `x` is not a number from 1 to 9", 2),
        (["idiot,1", "fool,2"], "columns are separated by tabs, not by commas", 1),
        (["rat\t0"], "the severity `0` is not a number from 1 to 9", 1),
        (["rat\t1\ten\tmore"], "the line has 4 columns", 1),
        (["# terms", "", "!?"], "`!?` is no term: it has no letter", 3),
        (["\t3"], "`` is no term: it has no letter", 1),
        (["rat\t1\tEnglish"], "`English` is no code of a language", 1),
        (["a b c d e f g h i"], "a term has at most 8 words, this one has 9", 1),
    ],
)
def test_a_bad_line_of_a_lexicon_is_named(tmp_path, lines, problem, line):
    path = lexicon(tmp_path, *lines)
    with pytest.raises(CurateError) as caught:
        Toxicity(lexicon=str(path)).facts()
    told = caught.value.records()[0]
    assert (told["problem"], told["where"]) == (problem, f"{path}:{line}")


def test_a_lexicon_that_is_none_is_an_error(tmp_path):
    with pytest.raises(CurateError, match=r"cannot be read: No such file"):
        read_lexicon(tmp_path / "nothing.tsv")
    with pytest.raises(CurateError, match="has no term"):
        read_lexicon(lexicon(tmp_path, "# nothing"))
    (tmp_path / "latin.tsv").write_bytes(b"rat\nratte\xe4\n")
    with pytest.raises(CurateError) as caught:
        read_lexicon(tmp_path / "latin.tsv")
    assert (caught.value.problem, caught.value.where) == ("the lexicon is not UTF-8", f"{tmp_path / 'latin.tsv'}:2")


def test_the_packaged_lexicon_is_read():
    found = read_lexicon(LEXICON)
    assert len(found.listed) == len(set(found.listed)) > 80
    assert set(found.severities) == {1, 2, 3}


# ---- in a pipeline


@pytest.mark.slow
def test_a_run_keeps_scores_and_tells_of_a_bad_lexicon_before_it_begins(tmp_path):
    (tmp_path / "in.jsonl").write_text(
        "".join(json.dumps({"id": name, "text": text}) + "\n" for name, text in (("a", INSULT), ("b", CLEAN)))
    )
    (tmp_path / "p.yaml").write_text(
        "dataset: d\nsources:\n  - {stage: files, paths: [in.jsonl]}\nstages:\n  - {stage: toxicity, lexicon: words.tsv}\n"
    )
    lexicon(tmp_path, "loser\t2", "idiot\tx", "fool\t10")

    def curate(*words):
        return subprocess.run([sys.executable, "-m", "curate", *words], cwd=tmp_path, capture_output=True, text=True)

    done = curate("validate", "p.yaml")
    assert done.returncode == 2
    assert f"the severity `x` is not a number from 1 to 9\n  at: {tmp_path}/words.tsv:2" in done.stderr
    assert f"the severity `10` is not a number from 1 to 9\n  at: {tmp_path}/words.tsv:3" in done.stderr
    done = curate("run", "p.yaml")
    assert (done.returncode, "words.tsv:2" in done.stderr) == (2, True)
    lexicon(tmp_path, "loser\t2", "idiot\t2")
    assert curate("run", "p.yaml", "--workers", "1").returncode == 0
    sampled = json.loads(curate("data", "sample", "d", "-n", "2", "--json").stdout)["documents"]
    scores = {one["id"]: (one["toxicity"], one["lexicon_terms"]) for one in sampled}
    assert scores["a"][0] > 0.9 > 0.2 > scores["b"][0]
    assert (scores["a"][1], scores["b"][1]) == (2, 0)
    assert curate("run", "p.yaml", "--workers", "1", "--set", "toxicity.max_toxicity=0.8").returncode == 0
    (why,) = json.loads(curate("why", "b", "--json").stdout)["measured"]
    assert (why["stage"], why["settings"]) == ("toxicity", {"max_toxicity": 0.8})
    assert why["features"]["toxicity"] < 0.2
    assert why["features"]["lexicon_severity"] == 0
    assert "toxicity measured: toxicity 0." in curate("why", "b").stdout
    told = curate("audit", "toxicity", "d", "--json")
    (one,) = json.loads(told.stdout)["stages"]
    del one["documents"]["mean"]
    assert one["documents"] == {"documents": 2, "above": {"0.5": 1, "0.8": 1, "0.9": 1}, "with_terms": 1}
    assert one["highest"][0]["id"] == "a"
    assert one["detoxify"] is None


@pytest.fixture
def measured(tmp_path, monkeypatch, checkpoint):
    """A version of two sources whose second document was dropped, and whose documents a larger model was asked about."""
    import curate

    monkeypatch.chdir(tmp_path)
    for name, texts in (("x", [CLEAN, INSULT]), ("y", [f"{CLEAN} {number}" for number in range(6)])):
        lines = [json.dumps({"id": f"{name}{number}", "text": text}) for number, text in enumerate(texts)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    (tmp_path / "p.yaml").write_text(
        "dataset: d\nsources:\n  - {id: x, stage: files, paths: [x.jsonl]}\n"
        "  - {id: y, stage: files, paths: [y.jsonl]}\nstages:\n"
        f"  - {{stage: toxicity, max_toxicity: 0.9, detoxify: {{checkpoint: {checkpoint}, sample: 1.0}}}}\n"
    )
    curate.run("p.yaml", workers=1)
    return curate.open_dataset("d")


@pytest.mark.slow
def test_the_audit_counts_what_was_dropped_too_and_compares_the_models(measured, capsys):
    (told,) = summarize(measured)
    assert told["documents"]["documents"] == 8
    assert told["sources"]["x"]["above"]["0.9"] == told["documents"]["above"]["0.9"] == 1
    assert sum(one["documents"] for one in told["splits"].values()) in (0, 7)
    assert told["highest"][0]["id"] == "x1"
    assert (told["detoxify"]["asked"], told["detoxify"]["decided"], told["detoxify"]["compared"]) == (8, 0, 8)
    (by,) = summarize(measured, "id")
    if told["splits"]:
        assert {name: one["documents"] for name, one in by["values"].items()} == {
            "x0": 1, **{f"y{number}": 1 for number in range(6)}
        }  # fmt: skip
    with pytest.raises(CurateError, match="has no column `idd`"):
        summarize(measured, "idd")
    toxicity("d", by="source_uri")
    printed = capsys.readouterr().out
    assert "source x" in printed
    assert "x1 (" in printed
    assert "on the 8 others: rank correlation" in printed
    assert INSULT not in printed


@pytest.mark.slow
def test_the_audit_of_a_version_without_scores_says_what_to_add(tmp_path, monkeypatch):
    import curate

    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.jsonl").write_text('{"id": "a", "text": "a"}\n')
    (tmp_path / "p.yaml").write_text("dataset: d\nsources:\n  - {stage: files, paths: [x.jsonl]}\nstages: []\n")
    curate.run("p.yaml", workers=1)
    with pytest.raises(CurateError, match=r"no stage of `d` measured `toxicity`"):
        summarize(curate.open_dataset("d"))


# ---- the card


def test_the_packaged_weights_do_as_their_card_says(monkeypatch, shared_data):
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "benchmarks"))
    said = json.loads(CARD.read_text("utf-8"))["measured"]
    measured = importlib.import_module("toxicity_card").measure(load_model(), draws=0)
    for name, numbers in said["sets"].items():
        numbers.pop("interval", None)
        assert measured["sets"][name] == pytest.approx(numbers, abs=0.003), name
    for half, numbers in said["identities"].items():
        for kind in ("auc", "bpsn", "bnsp", "subgroup"):
            assert measured["identities"][half][kind] == pytest.approx(numbers[kind], abs=0.003)
    assert measured["sets"]["jigsaw"]["auc"] >= 0.945
    assert measured["identities"]["kept_aside"]["bpsn"] >= 0.93
    assert measured["identities"]["kept_aside"]["worst_bpsn"][0] >= 0.9
    assert measured["identities"]["looked_at"]["worst_bpsn"][0] >= 0.9
