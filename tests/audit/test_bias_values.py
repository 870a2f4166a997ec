"""What an audit makes of columns and of counts: bad values are told, weights count, and what is cut is named."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from curate.audit.bias import comparison, embedding, scored, scores, statistics
from curate.audit.bias.classifier import no_shares, not_truths, truths
from curate.audit.bias.labels import annotators, labels
from curate.audit.bias.lexicon import Lexicon, Term, load_lexicon
from curate.audit.bias.representation import representation
from curate.audit.bias.scan import scanner
from curate.audit.bias.tables import ALL, Corpus
from curate.audit.bias.values import check_sum, numbers_of, weights_of, without_english
from curate.audit.identities import MaskIdentities
from curate.errors import CurateError


def mentions(members: np.ndarray, weights: np.ndarray | None = None) -> tuple[Corpus, Lexicon]:
    """A version whose documents mention groups of one axis."""
    groups = [("axis", f"g{at}") for at in range(members.shape[1])]
    corpus, counts = Corpus(groups, [], [ALL]), np.ones(len(members)) if weights is None else weights
    each = members.sum(axis=1)
    corpus.kept = corpus.read = np.append(members.sum(axis=0), len(members))
    corpus.mentions, corpus.axis_kept = members.sum(axis=0), {"axis": int((each > 0).sum())}
    corpus.shares = np.stack([counts, counts**2, counts**2 * each]) @ members
    corpus.axis_shares = {"axis": np.array([(counts * each).sum(), ((counts * each) ** 2).sum()])}
    return corpus, Lexicon((), {"axis": [name for _, name in groups]}, {})


# ---- columns


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ([1.0, math.nan], "`w` has the weight nan in 1 documents"),
        ([1.0, math.inf], "`w` has the weight inf in 1 documents"),
        ([1.0, -2], "`w` has the weight -2 in 1 documents"),
        (["much"], "`w` holds str, and no numbers"),
    ],
)
def test_bad_weights_are_told(values, problem):
    with pytest.raises(CurateError) as error:
        weights_of(values, "w")
    assert error.value.problem.startswith(problem) and error.value.hint


def test_weights_that_are_all_0_are_told_and_one_that_is_missing_is_1():
    assert weights_of([None, 0, 2], "w").tolist() == [1.0, 0.0, 2.0]
    with pytest.raises(CurateError, match="all weights in `w` are 0"):
        check_sum(np.zeros(3), "w")


def test_a_score_that_is_no_number_is_told():
    with pytest.raises(CurateError, match="`score` holds str, and no numbers"):
        numbers_of([0.5, "high"], "score")


def test_a_label_of_three_classes_is_no_truth_and_one_that_is_missing_is_no_negative():
    assert "value 2" in (not_truths([0, 1, 2]) or "")
    assert "other words than true, yes" in (not_truths(["toxic", "clean"]) or "")
    assert not_truths([0, 1, 0.3, True, None, math.nan, "yes"]) is None
    assert np.isnan(truths([math.nan, None])).all()
    assert no_shares(np.array([0.2, 3.0])) and not no_shares(np.array([0.2, math.nan]))


def test_texts_that_are_not_english_are_counted():
    german = "Der Mann und die Frau gingen gestern in den Wald, wo ein Hund schlief."
    english = "The man went into the forest yesterday, where a dog was asleep in the sun."
    assert without_english(pa.array([german, english, "short", None, "\u5973\u4eba" * 30])) == (3, 2)


# ---- shares


def test_groups_that_every_document_mentions_are_even():
    corpus, lexicon = mentions(np.ones((500, 8), bool))
    assert {(one.verdict, one.estimate and one.estimate.value) for one in representation(corpus, lexicon)} == {
        ("none", 1.0)
    }


def test_a_group_that_is_mentioned_too_rarely_is_flagged_and_weights_mend_it():
    members = np.zeros((1000, 2), bool)
    members[:900, 0], members[900:, 1] = True, True
    found = representation(*mentions(members))
    assert [one.verdict for one in found] == ["none", "flagged"] and found[1].facts["share_of_mentions"] == 0.1
    mended = representation(*mentions(members, np.where(members[:, 1], 9.0, 1.0)))
    assert [one.verdict for one in mended] == ["none", "none"]
    assert mended[1].estimate and mended[1].estimate.value == pytest.approx(1.0)


@pytest.mark.slow
@pytest.mark.parametrize("weighted", [False, True])
def test_intervals_of_shares_of_mentions_hold_the_truth_in_93_to_97(weighted):
    generator, covered = np.random.default_rng(5), 0
    for _ in range(600):  # documents mention one to three of three groups
        members = generator.random((400, 3)) < (0.2, 0.4, 0.6)
        weights = generator.uniform(0.3, 3, 400) if weighted else None
        found = representation(*mentions(members, weights))[0].estimate
        assert found
        covered += found.low <= 3 * 0.2 / 1.2 <= found.high
    assert 0.93 <= covered / 600 <= 0.97


# ---- weights


def labelled(weights: np.ndarray | None) -> Corpus:
    """A group of 400 whose documents have a label three times as often as 800 others."""
    corpus = Corpus([("axis", "g")], [], [ALL])
    corpus.members = (np.arange(1200) < 400)[:, None]
    corpus.alive, corpus.clusters, corpus.measured = np.ones(1200, bool), np.arange(1200), 1200
    corpus.weights = weights
    return corpus


def test_labels_that_weights_make_independent_of_a_group_are_flagged_without_them_alone():
    values = [at % 400 < (240 if at < 400 else 80) for at in range(1200)]
    group, label = np.arange(1200) < 400, np.array(values)
    cells = np.array([(label == one).mean() * (group == two).mean() / ((label == one) & (group == two)).mean()
                      for one, two in zip(label, group, strict=True)])  # fmt: skip
    [plain] = labels(labelled(None), "bad", values)
    [weighted] = labels(labelled(cells), "bad", values)
    assert (plain.verdict, weighted.verdict) == ("flagged", "none")
    assert weighted.estimate and weighted.estimate.value == pytest.approx(1.0)
    assert weighted.facts["rate"]["value"] == pytest.approx(weighted.facts["rate_others"]["value"])


def test_labels_of_removed_documents_do_not_count_and_values_beyond_ten_are_named():
    corpus = labelled(None)
    corpus.alive = np.arange(1200) % 2 == 0
    found = labels(corpus, "kind", [f"k{at % 20}" for at in range(1200)])
    assert {one.n for one in found} == {200} and {one.subject for one in found} <= {
        f"kind = k{at}" for at in range(0, 20, 2)
    }
    corpus.alive = np.ones(1200, bool)
    labels(corpus, "kind", [f"k{at % 20}" for at in range(1200)])
    assert corpus.left_out == {"kind": (10, 600)}


def test_documents_of_one_author_are_one_observation_of_labels():
    corpus, values = labelled(None), [at % 400 < (240 if at < 400 else 80) for at in range(1200)]
    [alone] = labels(corpus, "bad", values)
    corpus.clusters = np.arange(1200) // 40
    [clustered] = labels(corpus, "bad", values)
    assert alone.estimate and clustered.estimate
    assert clustered.estimate.high / clustered.estimate.low > 2 * alone.estimate.high / alone.estimate.low


def test_weighted_delta_is_that_of_repeated_values():
    generator = np.random.default_rng(3)
    x, y = generator.normal(size=30).round(1), generator.normal(0.3, 1, 40).round(1)
    times_x, times_y = generator.integers(1, 5, 30), generator.integers(1, 5, 40)
    weighted = scores.cliffs_delta(x, y, weights_x=times_x.astype(float), weights_y=times_y.astype(float))
    repeated = scores.cliffs_delta(np.repeat(x, times_x), np.repeat(y, times_y))
    assert weighted.value == pytest.approx(repeated.value)
    assert scores.cliffs_delta(x, y, weights_x=np.ones(30), weights_y=np.ones(40)) == pytest.approx(
        scores.cliffs_delta(x, y)
    )
    assert scores.difference(x, y, weights_x=times_x, weights_y=times_y).value == pytest.approx(
        np.repeat(x, times_x).mean() - np.repeat(y, times_y).mean()
    )


def test_wilsons_interval_is_scipys():
    for hits, of in ((0, 10), (3, 10), (10, 10), (120, 4000)):
        theirs = stats.binomtest(hits, of).proportion_ci(0.95, "wilson")
        assert statistics.wilson(hits, of)[1:3] == pytest.approx((theirs.low, theirs.high), abs=1e-6)


# ---- words


def test_a_noun_behind_an_ambiguous_word_counts_for_itself_and_is_masked_once():
    lexicon = load_lexicon()
    hits = scanner(lexicon.terms)(pa.array(["Two black women met a young man."]))
    found = {(lexicon.terms[term].axis, lexicon.terms[term].group) for term in hits.term.tolist()}
    assert {("race", "black"), ("gender", "women"), ("gender", "men")} <= found
    masked = MaskIdentities().open()(pa.table({"text": ["Two black women met."]})).columns["masked_text"]
    assert masked.to_pylist() == ["Two person met."]


def test_an_instrument_that_gives_neutral_sentences_no_score_has_no_gap(monkeypatch):
    words = Lexicon(tuple(Term("groups", "a", name, name, (name,), False, "en", "", "") for name in ("b", "c")),
                    {"a": ["b", "c"]}, {}, templates=("a {term} came",))  # fmt: skip
    monkeypatch.setattr(scored, "_run", lambda record, feature, texts: [math.nan] * len(texts))
    told = scored.instrument([{"id": "s"}], "s.score", words, np.array([1, 1]))
    assert told.gaps == {} and told.problem == "`s` gives neutral sentences no score"
    monkeypatch.setattr(scored, "_run", lambda record, feature, texts: [0.5, math.nan])
    assert scored.instrument([{"id": "s"}], "s.score", words, np.array([1, 1])).gaps == {("a", "b"): 0.0}


# ---- embeddings


@pytest.mark.slow
def test_a_difference_of_the_detectable_size_is_found_in_8_of_10():
    for first, second in ((8, 8), (20, 12)):
        least = embedding.detectable_d(first, second)
        assert least
        share = first * second / (first + second) / (first + second - 1)
        apart = least * math.sqrt((first + second - 2) / (first + second - 1) / (1 - share * least**2))
        generator, found = np.random.default_rng(1), 0
        for _ in range(300):
            near = np.concatenate([generator.normal(apart, 1, first), generator.normal(0, 1, second)])
            found += stats.ttest_ind(near[:first], near[first:]).pvalue < 0.05
        assert 0.74 <= found / 300 <= 0.86


def test_of_too_few_words_no_difference_can_be_found():
    assert embedding.detectable_d(3, 3) is None
    few, many = embedding.detectable_d(5, 5), embedding.detectable_d(40, 40)
    assert few and many and few > many


# ---- before and after


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["kept", "label"])
def test_intervals_of_changes_hold_the_truth_in_93_to_97(kind):
    generator, covered, draws = np.random.default_rng(11), 0, 500
    for _ in range(draws):  # of 900 documents a third is in the group; the second filter keeps more of it
        members, label = generator.random((900, 1)) < 0.33, generator.random(900)
        mine = members[:, 0]
        values = np.where(label < np.where(mine, 0.5, 0.2), "a", "b").astype(object)
        sides = []
        for share in (0.4, 0.7):
            kept = generator.random(900) < np.where(mine, share, 0.8)
            kept |= (values == "a") & mine & (generator.random(900) < (0.5 if share == 0.7 else 0.0))
            sides.append(comparison._Side(np.ones(900, bool), kept, kept.astype(float), values, kept))  # pyright: ignore
        if kind == "kept":
            [one] = comparison._kept([("axis", "g")], members, sides)  # pyright: ignore
            truth = ((0.7 + 0.5 * 0.5 * 0.3) / 0.8) / (0.4 / 0.8)
        else:
            [one] = comparison._labels([("axis", "g")], members, sides, "label")  # pyright: ignore
            kept_a = 0.5 * (0.7 + 0.3 * 0.5)
            truth = kept_a / (kept_a + 0.5 * 0.7) - 0.5
            truth = truth if one.subject == "label = a" else -truth
        assert one.difference
        covered += one.difference.low <= truth <= one.difference.high
    assert 0.93 <= covered / draws <= 0.97


def versions(copies: bool) -> list[Corpus]:
    """120 documents, every second in a group; of these the second version has copies in their place."""
    members = (np.arange(120) % 2 == 0)[:, None]
    both = []
    for made in (False, copies):
        ids, parents = [f"d{at}" for at in range(120)], [None] * 120
        rows, alive = members, np.ones(120, bool)
        if made:
            alive = ~members[:, 0]
            ids += [f"{one}/{nth}" for one in ids[::2] for nth in range(2)]
            parents += [one for one in ids[:120:2] for _ in range(2)]
            rows, alive = (
                np.concatenate([members, np.ones((120, 1), bool)]),
                np.concatenate([alive, np.ones(120, bool)]),
            )
        corpus = Corpus([("axis", "g")], [], [ALL], members=rows, alive=alive)
        corpus.labels = {"id": ids, "parent": parents, "author": [one.split("/")[0][:2] for one in ids]}
        both.append(corpus)
    return both


def test_a_document_is_kept_where_its_copies_are_and_is_one_observation_with_them():
    members, sides, clusters = comparison._paired(versions(True), None, None)  # pyright: ignore
    assert (len(members), len(set(clusters.tolist())), int(sides[1].kept.sum())) == (240, 120, 180)
    [one] = comparison._kept([("axis", "g")], members, sides, clusters)  # pyright: ignore
    assert (one.before, one.after, one.verdict) == (1.0, 1.0, "no change shown")


def test_documents_of_a_cluster_are_one_observation_of_a_change():
    members, sides, clusters = comparison._paired(versions(False), None, "author")  # pyright: ignore
    assert len(set(clusters.tolist())) == 10
    kept = (clusters % 2 == 0) | (np.arange(120) % 7 == 0)
    whole = np.ones(120)
    parts = whole * members[:, 0], whole * (members[:, 0] & kept), whole, whole * kept
    alone, together = comparison.paired_difference(*parts), comparison.paired_difference(*parts, clusters)
    assert alone.value == together.value and together.high - together.low != alone.high - alone.low
    assert sides[0].read.all()


def test_answers_about_one_author_are_one_observation_of_an_annotator():
    corpus = labelled(None)
    said = [(at, by, by == "ann" and at % 400 < 240) for at in range(1200) for by in ("ann", "bob")]
    widths = []
    for corpus.clusters in (np.arange(1200), np.arange(1200) // 40):
        one = next(one for one in annotators(corpus, said) if one.subject.startswith("ann"))
        assert one.estimate
        widths.append(one.estimate.high / one.estimate.low)
    assert widths[1] > 2 * widths[0]


@pytest.mark.parametrize(("language", "told"), [("en", True), ("de", False)])
def test_texts_that_are_not_english_are_told_of_an_english_lexicon_alone(language, told):
    corpora = [Corpus([], [], [ALL], foreign=(100, 90)) for _ in range(2)]
    lexicon = Lexicon((), {}, {}, files=[{"language": language}])
    said = comparison._cautions(corpora, 1, "weight", lexicon)  # pyright: ignore
    assert bool(said) is told and all("own" not in one for one in said)


def test_a_group_whose_weights_are_0_is_insufficient():
    members = np.ones((100, 1), bool)
    side = SimpleNamespace(read=np.ones(100, bool), kept=np.ones(100, bool), weight=np.zeros(100))
    [one] = comparison._shares([("axis", "g")], Lexicon((), {"axis": ["g"]}, {}), members, [side, side])  # pyright: ignore
    assert one.verdict == "insufficient" and one.difference is None
