import random
from itertools import accumulate

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from curate.dedup.bands import choose_bands, recall
from curate.dedup.near import NearDuplicates
from curate.stages.work import spans

FOX = "The quick brown fox jumps over the lazy dog near the bank of the river, and then it rests in the sun"


def words(count, *, seed):
    draw = random.Random(seed)
    return [f"w{draw.randrange(50_000)}" for _ in range(count)]


def chain():
    """Three texts of which the middle one is like both others, and these are not like one another."""
    base = words(100, seed=1)
    return [" ".join(base[start : start + 90]) for start in (0, 5, 10)]


def kept_instead(outcome):
    return {name: verdict["duplicate_of"] for name, verdict in outcome.verdicts.items()}


def planted(count, *, seed=5):
    """Documents of 200 words, half of them copies of the one before with one word in 200 replaced."""
    draw, texts = random.Random(seed), []
    for number in range(count):
        original = words(200, seed=f"{seed}/{number}")
        copy = [draw.choice(["x", "y", "z"]) if draw.random() < 0.005 else word for word in original]
        texts += [" ".join(original), " ".join(copy)]
    return texts


# ---- what is found, and what is said of it


def test_a_copy_but_for_case_and_punctuation_is_dropped_at_similarity_one(deduplicate):
    outcome = deduplicate(NearDuplicates(), [FOX, "something else", FOX.upper().replace(",", " --")])
    assert [(v["row"], v["reason"], v["value"], v["threshold"]) for v in outcome.verdicts.values()] == [
        (2, "near_duplicate", 1.0, 0.8)
    ]


def test_the_value_is_the_true_similarity_to_the_document_kept(deduplicate):
    one = words(104, seed=2)
    outcome = deduplicate(NearDuplicates(), [" ".join(one), " ".join([*one[:99], *words(5, seed=3)])])
    assert outcome.verdicts["d1"]["value"] == 95 / 105


def test_texts_below_the_similarity_stay_even_where_a_band_is_shared(deduplicate):
    one = words(104, seed=2)
    texts = [" ".join(one), " ".join([*one[:92], *words(12, seed=3)])]
    stage = NearDuplicates(bands=60, rows=1)
    assert (deduplicate(stage, texts).verdicts, deduplicate(stage, texts).columns["duplicates"]) == ({}, [1, 1])


def test_the_ends_of_a_chain_stay_and_share_a_cluster(deduplicate):
    outcome = deduplicate(NearDuplicates(similarity=0.85), chain())
    assert (kept_instead(outcome), outcome.columns["duplicate_cluster"]) == ({"d1": "d0"}, ["d0"] * 3)


def test_the_pairs_name_the_earlier_document_first(deduplicate):
    outcome = deduplicate(NearDuplicates(similarity=0.85, keep="best", by="score"), chain(), score=[1, 2, 3])
    assert [(a, b) for a, b, _ in outcome.pairs] == [("d0", "d1"), ("d1", "d2")]


def test_every_document_says_its_cluster_and_how_many_it_has(deduplicate):
    outcome = deduplicate(NearDuplicates(), ["alone", FOX, FOX + "!", FOX])
    assert outcome.columns == {
        "duplicate_cluster": ["d0", "d1", "d1", "d1"],
        "duplicates": [1, 3, 3, 3],
    }


def test_tagging_drops_nothing_and_marks_the_same_clusters(deduplicate):
    tagged, dropped = (deduplicate(NearDuplicates(action=action), [FOX, FOX, "b"]) for action in ("tag", "drop"))
    assert (tagged.verdicts, tagged.columns) == ({}, dropped.columns)


def test_without_verification_no_text_is_read_and_no_similarity_is_claimed(deduplicate):
    outcome = deduplicate(NearDuplicates(verify=False, similarity=0.85), chain())
    assert (outcome.fetched, outcome.verdicts["d1"]["value"]) == ([], None)


# ---- which one is kept


def test_the_longest_stays(deduplicate):
    outcome = deduplicate(NearDuplicates(keep="longest"), [FOX, FOX + "...", FOX + "!", FOX + "???"])
    assert kept_instead(outcome) == {"d0": "d1", "d2": "d1", "d3": "d1"}


@pytest.mark.parametrize(("order", "kept"), [("highest", "d2"), ("lowest", "d0")])
def test_the_best_by_a_column_stays(deduplicate, order, kept):
    base = words(100, seed=4)
    texts = [" ".join([*base, extra]) for extra in ("one", "two", "three", "four")]
    outcome = deduplicate(NearDuplicates(keep="best", by="score", order=order), texts, score=[1, 5, 9, None])
    assert set(kept_instead(outcome).values()) == {kept}


# ---- short, odd and huge texts


@pytest.mark.parametrize("text", ["hi", "Two words", "\u4f60\u597d", "!!!", " ", ""])
def test_equal_texts_are_duplicates_however_short(deduplicate, text):
    assert kept_instead(deduplicate(NearDuplicates(), [text, "other", text])) == {"d2": "d0"}


def test_different_texts_without_words_are_not_duplicates(deduplicate):
    assert deduplicate(NearDuplicates(), ["", " ", "...", "!!!", "\n"]).verdicts == {}


def test_short_texts_that_differ_by_a_word_stay(deduplicate):
    assert deduplicate(NearDuplicates(), ["good day to you", "good day to me"]).verdicts == {}


def test_chinese_without_spaces_is_compared_by_characters(deduplicate):
    draw = random.Random(6)
    text = "".join(chr(draw.randrange(0x4E00, 0x9000)) for _ in range(300))
    edited = text[:100] + "\u4e86" + text[101:]
    other = "".join(chr(draw.randrange(0x4E00, 0x9000)) for _ in range(300))
    assert kept_instead(deduplicate(NearDuplicates(), [text, other, edited])) == {"d2": "d0"}


def test_no_documents_give_empty_columns(deduplicate):
    outcome = deduplicate(NearDuplicates(), [])
    assert (outcome.verdicts, outcome.columns, outcome.pairs) == (
        {},
        {"duplicate_cluster": [], "duplicates": []},
        [],
    )


def test_a_hundred_thousand_identical_documents_need_one_text(deduplicate):
    outcome = deduplicate(NearDuplicates(), [FOX] * 100_000)
    looked_at = [number for numbers in outcome.fetched for number in numbers]
    assert (len(outcome.verdicts), looked_at) == (99_999, [0])


def test_thousands_of_documents_alike_but_different_are_compared_a_linear_number_of_times():
    import numpy as np

    from curate.dedup.clusters import LINKS, candidate_pairs

    left, _ = candidate_pairs([np.zeros(5000, dtype=np.uint64)] * 3)
    assert len(left) <= 2 * LINKS * 5000


@pytest.mark.slow
def test_a_giant_document_finds_its_near_copy(deduplicate):
    giant = " ".join(words(1_500_000, seed=8))
    outcome = deduplicate(NearDuplicates(), [giant, FOX, giant.replace("w77", "v77")])
    assert (len(giant) > 9_000_000, kept_instead(outcome)) == (True, {"d2": "d0"})


def test_texts_are_fetched_once_in_their_order_and_some_at_a_time(deduplicate, monkeypatch):
    monkeypatch.setattr("curate.dedup.settle._CHUNK", 5000)
    outcome = deduplicate(NearDuplicates(), planted(20))
    flat = [number for numbers in outcome.fetched for number in numbers]
    assert (len(outcome.fetched) > 5, flat) == (True, sorted(set(flat)))


def test_chunks_do_not_change_what_is_found(deduplicate, monkeypatch):
    whole = deduplicate(NearDuplicates(), planted(20))
    monkeypatch.setattr("curate.dedup.settle._CHUNK", 1)
    assert deduplicate(NearDuplicates(), planted(20))[:3] == whole[:3]


# ---- how many are found


def test_planted_near_duplicates_are_found(deduplicate):
    texts = planted(400)
    dropped = deduplicate(NearDuplicates(), texts).verdicts
    assert sum(f"d{number}" in dropped for number in range(1, 800, 2)) >= 0.99 * 400


def test_pairs_at_the_threshold_are_found_as_often_as_the_bands_promise(deduplicate):
    texts = []
    for number in range(1000):
        one = words(94, seed=f"a{number}")
        texts += [" ".join(one), " ".join([*one[:84], *words(10, seed=f"b{number}")])]
    pairs = deduplicate(NearDuplicates(similarity=0.8), texts).pairs
    assert ({similarity for _, _, similarity in pairs}, len(pairs) >= 980) == ({0.8}, True)


def test_duplicates_among_documents_of_one_template_are_found(deduplicate):
    template, texts = words(300, seed=9), []
    for number in range(300):
        own = words(120, seed=f"own{number}")
        texts += [" ".join([*template, *own[:-10], *words(10, seed=f"end{number}/{copy}")]) for copy in range(3)]
    assert len(deduplicate(NearDuplicates(), texts).verdicts) >= 0.99 * 600


@settings(
    derandomize=True,
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    texts=st.lists(st.lists(st.sampled_from("abcd"), max_size=8).map(" ".join), max_size=12),
    cuts=st.lists(st.integers(0, 12), max_size=3),
    keep=st.sampled_from(["first", "longest"]),
)
def test_whatever_the_shards_each_duplicate_is_like_one_kept_and_no_two_kept_are_equal(deduplicate, texts, cuts, keep):
    stage = NearDuplicates(ngram=2, similarity=0.6, keep=keep)
    outcome = deduplicate(stage, texts, [min(cut, len(texts)) for cut in cuts])
    assert outcome[:3] == deduplicate(stage, texts)[:3]
    assert all(verdict["value"] >= 0.6 for verdict in outcome.verdicts.values())
    assert not set(kept_instead(outcome).values()) & set(outcome.verdicts)
    kept = [text for number, text in enumerate(texts) if f"d{number}" not in outcome.verdicts]
    assert len(set(kept)) == len(kept)


# ---- growth


SHARD = st.lists(st.lists(st.sampled_from("abc"), max_size=7).map(" ".join), min_size=1, max_size=5)
CHANGE = st.tuples(st.sampled_from(["add", "add", "extend", "edit", "remove"]), st.integers(0, 5), SHARD)


def changed(shards, change):
    """The shards after one is added, the last gets longer, or any is replaced or goes."""
    kind, number, texts = change
    at = number % len(shards)
    if kind == "add" or (kind == "remove" and len(shards) == 1):
        return [*shards, texts]
    if kind == "extend":
        return [*shards[:-1], shards[-1] + texts]
    return [*shards[:at], *([texts] if kind == "edit" else []), *shards[at + 1 :]]


def in_shards(deduplicate, stage, shards, receipts=None):
    ends = list(accumulate(map(len, shards)))
    return deduplicate(stage, [text for texts in shards for text in texts], ends[:-1], receipts)


@pytest.mark.slow
@settings(derandomize=True, max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shards=st.lists(SHARD, min_size=1, max_size=6),
    changes=st.lists(CHANGE, min_size=1, max_size=4),
    keep=st.sampled_from(["first", "longest"]),
)
def test_with_what_is_known_from_before_the_outcome_is_that_of_a_fresh_store(deduplicate, shards, changes, keep):
    stage, receipts = NearDuplicates(ngram=2, similarity=0.6, keep=keep), {}
    in_shards(deduplicate, stage, shards, receipts)
    for change in changes:
        shards = changed(shards, change)
        known, fresh = in_shards(deduplicate, stage, shards, receipts), in_shards(deduplicate, stage, shards)
        assert known[:3] == fresh[:3]
        if keep == "first":
            whole = [text for texts in shards for text in texts]
            assert fresh[:3] == deduplicate(stage, whole)[:3]


def test_pairs_of_a_crowd_are_the_same_however_it_is_cut_into_shards(deduplicate):
    base = words(60, seed=11)
    texts = [" ".join([*base[:55], *words(5, seed=f"end{number}")]) for number in range(40)]
    assert deduplicate(NearDuplicates(), texts, range(4, 40, 4))[:3] == deduplicate(NearDuplicates(), texts)[:3]


def test_new_documents_are_compared_and_the_old_ones_are_not_again(deduplicate):
    texts, receipts, stage = planted(60), {}, NearDuplicates()
    shards = [texts[start : start + 20] for start in range(0, 120, 20)]
    in_shards(deduplicate, stage, shards, receipts)
    strangers = in_shards(deduplicate, stage, [*shards[:-1], shards[-1] + planted(2, seed=6)], receipts)
    once = ("scatter_sequences", "find_copies", "scatter_bands", "find_pairs", "unite", "scatter_members", "settle")
    assert strangers.called == dict.fromkeys((*once, "list_pairs"), 1)
    assert {number // 20 for numbers in strangers.fetched for number in numbers} <= {5, 6}
    like = " ".join(["another", *texts[0].split()[1:]])
    outcome = in_shards(deduplicate, stage, [*shards[:-1], [*shards[-1], like]], receipts)
    assert kept_instead(outcome)["d120"] == "d0"
    assert [number for numbers in outcome.fetched for number in numbers if number < 100] == [0, 1]
    assert outcome.called["find_pairs"] == outcome.called["scatter_bands"] == outcome.called["settle"] == 1


def test_nothing_is_done_again_for_documents_that_did_not_change(deduplicate):
    receipts = {}
    first = deduplicate(NearDuplicates(), planted(20), [10, 20, 30], receipts)
    again = deduplicate(NearDuplicates(), planted(20), [10, 20, 30], receipts)
    assert (first[:3], again.called) == (again[:3], {})


@pytest.mark.parametrize("most", [1, 2, 3, 9, 64, 200])
def test_as_groups_are_added_each_is_new_about_as_often_as_the_logarithm_of_their_number(most):
    seen, compared = set(), 0
    for groups in range(1, most + 1):
        parts = spans(groups)
        assert [number for first, last in parts for number in range(first, last)] == list(range(groups))
        assert len(parts) <= groups.bit_length() + 1
        compared += sum(last - first for first, last in set(parts) - seen)
        seen |= set(parts)
    assert compared <= most * (2 + most.bit_length() / 2)


# ---- settings


@pytest.mark.parametrize("similarity", [0.05, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0])
def test_the_bands_chosen_find_99_in_100_at_the_threshold(similarity):
    bands, rows = choose_bands(similarity)
    assert recall(similarity, bands, rows) >= 0.99 - 1e-12


def test_the_bands_in_the_reference_are_those_chosen():
    chosen = [choose_bands(similarity) for similarity in (0.5, 0.7, 0.8, 0.9)]
    words = ", ".join(f"{bands} of {rows}" for bands, rows in chosen)
    description = NearDuplicates.model_fields["bands"].description.replace(" bands of 3 rows", " of 3")
    assert all(part in description for part in words.split(", "))


def test_rows_or_bands_given_alone_choose_the_other():
    assert (choose_bands(0.8, rows=8), choose_bands(0.8, bands=26)) == ((26, 8), (26, 8))


def test_rows_that_no_number_of_bands_can_serve_are_refused():
    with pytest.raises(ValidationError, match="no 1024 bands of 40 rows find 99 pairs in 100"):
        NearDuplicates(similarity=0.5, rows=40)


def test_another_seed_gives_other_signatures(documents):
    one, other = (NearDuplicates(seed=seed).open()(documents([FOX])) for seed in (1, 2))
    assert one["band_0"] != other["band_0"]
