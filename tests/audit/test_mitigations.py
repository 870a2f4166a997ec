"""What lessens a bias: swapped copies, masked identities, weights, resampling; and what is refused."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from curate.audit.balance import Balance, Reweigh
from curate.audit.identities import Counterfactuals, MaskIdentities
from curate.audit.mentions import BiasAudit
from curate.errors import CurateError

# ---- counterfactuals


@pytest.mark.parametrize(
    ("text", "swapped"),
    [
        ("He gave his wife her book.", "She gave her husband his book."),
        ("She saw him; the book is his.", "He saw her; the book is hers."),
        ("I told her that HE left, and her brother with him.", "I told him that SHE left, and his sister with her."),
        ("Mr. Smith met Mary himself.", "Ms. Smith met Mary herself."),
        ("This is hers, not hers alone", "This is his, not his alone"),
        ("the theme of mankind", "the theme of mankind"),
    ],
)
def test_words_are_swapped_by_their_grammar_and_names_stay(text, swapped):
    assert Counterfactuals().swapping()(text) == swapped


def test_swapping_twice_gives_plain_texts_back():
    swap = Counterfactuals().swapping()
    for text in ("The man and his sons saw the lady.", "HER mother told him", "Boys, girls; the actress"):
        assert swap(swap(text)) == text


def test_documents_stand_beside_their_copies_and_untrue_copies_are_not_made(documents):
    made = Counterfactuals().open()(documents(["he ran", "she was pregnant", "a tree", ""]))
    assert made.parent.to_pylist() == [0, 0, 1, 2, 3]
    assert made.columns["text"].to_pylist() == ["he ran", "she ran", "she was pregnant", "a tree", ""]
    assert made.columns["counterfactual"].to_pylist() == ["original", "swapped", "refused", "nothing", "nothing"]
    alone = Counterfactuals(keep="swapped").open()(documents(["he ran", "a tree"]))
    assert alone.columns["text"].to_pylist() == ["she ran", "a tree"]


def test_own_pairs_take_the_place_of_gender_and_bad_ones_are_told(documents):
    assert (
        Counterfactuals(pairs=(("muslim", "christian"),)).swapping()("A Muslim and his wife")
        == "A Christian and his wife"
    )
    for pairs, problem in (
        ((("a", "b"), ("b", "c")), "`b` is in two pairs"),
        ((("A", "b"),), "is not a word in small letters"),
    ):
        with pytest.raises(ValidationError, match=problem):
            Counterfactuals(pairs=pairs)


# ---- masks


def test_a_masked_text_names_nobody_and_the_text_stays(apply_stage):
    verdicts, added = apply_stage(MaskIdentities(), ["The gay caf\u00e9 owner, a white man", "a white wall", ""])
    assert verdicts == {}
    assert added == {"masked_text": ["The person caf\u00e9 owner, a person", "a white wall", ""]}
    _, some = apply_stage(MaskIdentities(axes=("gender",), placeholder="X", column="m"), ["a gay man"])
    assert some == {"m": ["a gay X"]}
    with pytest.raises(ValidationError, match="`text` would be overwritten"):
        MaskIdentities(column="text")


# ---- mentions


def test_mentions_are_counted_by_group_and_do_not_depend_on_batches(apply_stage):
    stage = BiasAudit(axes=("gender", "race"))
    texts = ["She and her brother", "white people", "white", ""]
    _, whole = apply_stage(stage, texts)
    assert (whole["gender.women"], whole["gender.men"], whole["race.white"]) == (
        [2, 0, 0, 0],
        [1, 0, 0, 0],
        [0, 1, 0, 0],
    )
    assert [apply_stage(stage, [text])[1]["gender.women"] for text in texts] == [[2], [0], [0], [0]]
    assert apply_stage(stage, [])[1]["gender.women"] == []


# ---- weights and shares


def signed(stage, texts, **columns) -> pa.Table:
    names = [f"d{at}" for at in range(len(texts))]
    batch = pa.table({"id": names, "text": texts, "source_uri": names, **columns})
    return (
        batch.select(["id"])
        .append_column("group", stage.open()(batch)["group"])
        .append_column(
            "label",
            stage.open()(batch)["label"]
            if "label" in stage.open()(batch).column_names
            else pa.array([""] * len(texts)),
        )
    )


def test_weights_make_group_and_label_independent():
    texts, labels = ["she"] * 30 + ["he"] * 70, [1] * 25 + [0] * 5 + [1] * 20 + [0] * 50
    stage = Reweigh(axis="gender", label="toxic")
    found = stage.reduce(signed(stage, texts, toxic=labels))
    weights = found.columns["weight"].to_numpy()
    women, toxic = np.array(texts) == "she", np.array(labels) == 1
    rates = [weights[group & toxic].sum() / weights[group].sum() for group in (women, ~women)]
    assert rates == pytest.approx([0.45, 0.45])
    table = found.artifacts["weights"].to_pylist()
    assert table[0]["effective_n"] == pytest.approx(weights.sum() ** 2 / (weights**2).sum())


def test_weights_are_cut_and_can_aim_at_shares():
    texts = ["she"] * 10 + ["he"] * 90 + ["a tree"] * 5
    stage = Reweigh(axis="gender", targets={"women": 0.5, "men": 0.5})
    weights = stage.reduce(signed(stage, texts)).columns["weight"].to_pylist()
    assert (sum(weights[:10]), sum(weights[10:100]), weights[-1]) == (pytest.approx(50), pytest.approx(50), 1)
    cut = Reweigh(axis="gender", targets={"women": 0.5, "men": 0.5}, most=2)
    assert max(cut.reduce(signed(cut, texts)).columns["weight"].to_pylist()) == 2


def test_resampling_reaches_the_shares_and_leaves_others():
    texts = ["she"] * 20 + ["he"] * 60 + ["he and she", "a tree"]
    stage = Balance(axis="gender", targets={"women": 0.4, "men": 0.6})
    said = stage.reduce(signed(stage, texts)).verdicts.to_pylist()
    assert len(said) == 30 and {row["reason"] for row in said} == {"over_target"}
    assert all(20 <= row["row"] < 80 for row in said)
    other = (
        Balance(axis="gender", targets={"women": 0.4, "men": 0.6}, seed=2)
        .reduce(signed(stage, texts))
        .verdicts.to_pylist()
    )
    assert {row["row"] for row in said} != {row["row"] for row in other}


@pytest.mark.parametrize("stage", [Balance, Reweigh])
def test_groups_without_documents_and_unknown_ones_are_told(stage):
    made = stage(axis="gender", targets={"women": 0.5, "nonbinary": 0.5})
    with pytest.raises(CurateError, match="no document mentions `nonbinary` alone"):
        made.reduce(signed(made, ["she", "he"]))
    with pytest.raises(CurateError) as caught:
        stage(axis="gender", targets={"womn": 0.5, "men": 0.5}).open()
    assert "`women`" in (caught.value.hint or "")
    with pytest.raises(ValidationError, match=r"add up to 1\.2, and must add up to 1"):
        stage(axis="gender", targets={"women": 0.6, "men": 0.6})


def test_weights_need_a_label_or_targets():
    with pytest.raises(ValidationError, match="give `label`, or `targets`, and not both"):
        Reweigh(axis="gender")
