"""Which documents are labelled next, and what is left to do."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import CurateError
from curate.labeling.log import Answer, Item, items
from curate.labeling.rounds import Wanted, _shares, draw, queue, read_gold
from curate.labeling.task import load_task

TIME = datetime(2026, 11, 29, tzinfo=UTC)


def item(name, *, annotators=1, role="label", number=1, digest="h", asked=TIME):
    return Item(name, digest, number, role, annotators, False, 0, "random", asked=asked)


def answer(name, who="ann", *, value='"ham"', digest="h", created=TIME):
    return Answer(name, digest, value, who, "manual", None, None, 1.0, created, f"{name}{who}{created}")


def test_a_round_is_the_same_wherever_it_is_drawn_and_no_document_comes_twice(messages):
    task = load_task(messages.task())
    data = messages.project.open("sms")
    first = draw(data, task, Wanted(20))
    again = draw(data, task, Wanted(20))
    assert again.again
    assert [one.id for one in again.items] == [one.id for one in first.items]
    second = draw(data, task, Wanted(20), new=True)
    assert second.number == 2
    assert not {one.id for one in first.items} & {one.id for one in second.items}
    assert {one.id for one in items(data.store, task)} == {one.id for one in (*first.items, *second.items)}
    rest = draw(data, task, Wanted(100), new=True)
    assert (len(rest.items), rest.pool) == (20, 20)
    with pytest.raises(CurateError, match="no document of `sms` is left to be labelled"):
        draw(data, task, Wanted(1), new=True)


def test_rounds_that_are_drawn_at_one_moment_have_numbers_and_documents_of_their_own(messages):
    task = load_task(messages.task())
    data = messages.project.open("sms")
    with ThreadPoolExecutor(4) as pool:
        drawn = list(pool.map(lambda _: draw(data, task, Wanted(5), new=True), range(4)))
    assert sorted(one.number for one in drawn) == [1, 2, 3, 4]
    asked = [one.id for one in items(data.store, task)]
    assert len(set(asked)) == len(asked) == 20


def test_documents_that_were_chosen_before_somebody_drew_a_round_are_chosen_again(messages):
    task = load_task(messages.task())
    data = messages.project.open("sms")
    draw(data, task, Wanted(5))
    with pytest.raises(CurateError, match="somebody drew a round of `spam` meanwhile"):
        draw(data, task, Wanted(5, "audit", "audit"), new=True, seen=0)


def test_the_same_request_means_the_same_round_after_a_commit(messages):
    task = load_task(messages.task())
    draw(messages.project.open("sms"), task, Wanted(5))
    messages.json("annotate", "--as", "ann", typed="1\n" * 5)
    messages.json("commit")
    assert draw(messages.project.open("sms"), task, Wanted(5)).again


def test_strata_get_their_shares(messages):
    drawn = draw(messages.project.open("sms"), load_task(messages.task()), Wanted(20, "stratified", by="half"))
    assert sum(messages.rows[int(one.id[4:])]["half"] for one in drawn.items) == 10


@given(st.dictionaries(st.text(max_size=3), st.integers(1, 50), min_size=1), st.integers(1, 300))
def test_shares_add_up_and_fit(sizes, wanted):
    shares = _shares(sizes, wanted)
    assert sum(shares.values()) == min(wanted, sum(sizes.values()))
    assert all(0 <= shares[name] <= size for name, size in sizes.items())
    drawn, there = sum(shares.values()), sum(sizes.values())
    assert all(abs(shares[name] - drawn * size / there) < 1 + len(sizes) for name, size in sizes.items())


def test_some_are_for_several_people_blind_and_gold_is_among_them(messages):
    gold = messages.project.write("gold.jsonl", *(json.dumps({"id": f"sms-{n}", "label": "ham"}) for n in (1, 2)))
    task_file = messages.task()
    told = messages.json("next", "-n", 20, "--annotators", 3, "--overlap", 0.25, "--gold", gold)
    assert (told["documents"], told["gold"], told["overlap"]) == (22, 2, 7)
    drawn = items(messages.project.store, load_task(task_file))
    assert all(one.blind for one in drawn if one.annotators > 1 or one.role == "gold")
    assert [one.place for one in drawn] == list(range(22))
    assert {one.id for one in drawn if one.gold == '"ham"'} == {"sms-1", "sms-2"}


@pytest.mark.parametrize(
    ("line", "message"),
    [("{", "is not JSON"), ('{"id": 1, "label": "ham"}', "needs `id`"), ('{"id": "a"}', "needs `id`"),
     ('{"id": "a", "label": "x"}\n{"id": "a", "label": "y"}', "two answers for `a`"), ("[]", "needs `id`")],
)  # fmt: skip
def test_a_bad_line_of_gold_is_named(tmp_path, line, message):
    path = tmp_path / "gold.jsonl"
    path.write_text(line)
    with pytest.raises(CurateError, match=message) as caught:
        read_gold(path)
    assert "gold.jsonl:" in str(caught.value)


def test_gold_must_be_in_the_version_and_an_answer(messages):
    messages.task()
    for row, message in (
        ({"id": "x", "label": "ham"}, "is not in `sms`"),
        ({"id": "sms-1", "label": "eggs"}, "is no label"),
    ):
        gold = messages.project.write("gold.jsonl", json.dumps(row))
        outcome = messages.cli("next", "--gold", gold)
        assert outcome.code == 2
        assert message in outcome.err


def test_a_document_is_done_when_as_many_as_were_asked_have_answered():
    there = {"a": "h", "b": "h"}
    wanted = [item("a", annotators=2), item("b")]
    state = queue(wanted, [answer("a")], there)
    assert [(one.id, left) for one, left in state.left] == [("a", 1), ("b", 1)]
    state = queue(wanted, [answer("a"), answer("a", "bob"), answer("b", value=None)], there)
    assert ([one.id for one, _ in state.left], state.done) == (["b"], 1)  # who skips leaves it to others


def test_documents_that_show_something_else_or_are_gone_are_counted_and_not_asked_for():
    state = queue([item("a"), item("b"), item("c")], [], {"a": "other", "c": "h"})
    assert [one.id for one, _ in state.left] == ["c"]
    assert (state.changed, state.absent) == (1, 1)


def test_a_review_wants_an_answer_after_it_was_asked_for():
    later = TIME + timedelta(seconds=5)
    wanted = [item("a"), item("a", role="review", number=2, asked=TIME)]
    assert len(queue(wanted, [answer("a")], {"a": "h"}).left) == 1
    assert queue(wanted, [answer("a"), answer("a", created=later)], {"a": "h"}).left == []


def test_a_strategy_is_one_of_four_and_needs_what_it_needs(messages):
    messages.task()
    for words, message in (
        (("--strategy", "margins"), "there is no strategy `margins`"),
        (("--strategy", "stratified"), "`stratified` and `--by COLUMN` go together"),
        (("--strategy", "random", "--by", "half"), "`stratified` and `--by COLUMN` go together"),
        (("--strategy", "active"), "has no model yet"),
        (("--strategy", "margin"), "has no model yet"),
        (("--strategy", "stratified", "--by", "nothing"), "has no column `nothing`"),
    ):
        outcome = messages.cli("next", *words)
        assert (outcome.code, message in outcome.err) == (2, True), outcome.err


@pytest.mark.parametrize("strategy", ["active", "margin", "diverse", None])
def test_a_fifth_is_random_whatever_the_strategy(messages, strategy):
    file = messages.task()
    messages.json("next", "-n", 20)
    messages.json("annotate", "--as", "ann", typed="1\n2\n" * 10)
    messages.json("fit")
    told = messages.json("next", "-n", 10, *(["--strategy", strategy] if strategy else []))
    assert told["pool"] == 40
    drawn = [one for one in items(messages.project.store, load_task(file)) if one.round == 2]
    assert [one.drawn for one in drawn].count("random") == 2
    assert {one.drawn for one in drawn} == {"random", strategy or "active"}
