"""Choices and answers: what is asked, what is right, what is kept."""

from __future__ import annotations

import math

import pytest

from curate.errors import CurateError
from curate.evaluation.models.contract import Completion, Likelihood
from curate.evaluation.tasks.choice import choices
from curate.evaluation.tasks.data import Rows
from curate.evaluation.tasks.generation import answers
from curate.evaluation.tasks.settings import ChoiceTask, GenerationTask


class Parrot:
    """Likes short continuations, and answers with the last word of the prompt."""

    name, identity, length = "parrot", "parrot", 100

    def score(self, pairs):
        self.pairs = pairs
        return [Likelihood(-float(len(more)), 1, False, int(len(context) > 60)) for context, more in pairs]

    def complete(self, prompts, **settings):
        self.prompts, self.settings = prompts, settings
        return [Completion(f" {prompt.split()[-1]}", 1, "stop", 0) for prompt in prompts]


class Spoken(Parrot):
    """Says what it is told to."""

    def __init__(self, *said):
        self.said = said

    def complete(self, prompts, **settings):
        return [Completion(one, 1, "stop", 0) for one in self.said]


def rows(*some):
    return Rows([{"id": str(number), **row} for number, row in enumerate(some)], "x", "x", None, None, len(some))


def choice(**settings):
    return ChoiceTask(
        name="t", files=("x",), **{"prompt": "{{ q }}", "choices": (" no", " yes!"), "answer": "a", **settings}
    )


def test_the_likeliest_choice_counts_whole_and_by_bytes():
    found = choices(choice(), rows({"q": "?", "a": 0}, {"q": "??", "a": "yes!"}), Parrot())
    assert found["gold"] == ["no", "yes!"] and found["predicted"] == ["no", "no"]
    assert found["accuracy"] == [1.0, 0.0]
    assert found["accuracy_normalized"] == [1.0, 0.0]  # -1 nat a byte each: the first of equals
    assert found["nats"] == [3.0, 5.0] and found["bytes"] == [3, 5]
    assert found["confidence"] == [pytest.approx(1 / (1 + math.exp(-2)))] * 2


def test_labels_name_the_choices_and_their_order():
    found = choices(choice(labels=("neg", "pos")), rows({"q": "?", "a": "pos"}), Parrot())
    assert (found["gold"], found["predicted"], found["accuracy"]) == (["pos"], ["neg"], [0.0])


def test_choices_may_differ_from_row_to_row():
    task = choice(choices="options")
    found = choices(
        task,
        rows({"q": "?", "options": [" a", " bb"], "a": 1}, {"q": "?", "options": [" ccc", " d"], "a": 1}),
        Parrot(),
    )
    assert found["gold"] == ["1", "1"] and found["predicted"] == ["0", "1"]


def test_a_cut_prompt_is_counted():
    found = choices(choice(), rows({"q": "long " * 20, "a": 0}, {"q": "short", "a": 0}), Parrot())
    assert found["cut"] == [1, 0]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"q": "?", "a": "maybe"}, "the row 0 has the answer 'maybe', which is none of: ' no', ' yes!'"),
        ({"q": "?", "a": 2}, "the row 0 has the answer 2"),
        ({"q": "?", "b": 1}, "the row 0 has no `a`"),
        ({"p": "?", "a": 1}, "the row 0 does not fit the template: 'q' is undefined"),
    ],
)
def test_a_row_that_does_not_fit_is_named(row, message):
    with pytest.raises(CurateError) as error:
        choices(choice(), rows(row), Parrot())
    assert message in error.value.problem and error.value.where.startswith("task t: ")


def test_one_choice_is_none():
    with pytest.raises(CurateError, match="the row 0 has fewer than two choices"):
        choices(choice(choices="options"), rows({"q": "?", "options": [" a"], "a": 0}), Parrot())


def test_an_empty_choice_is_refused():
    with pytest.raises(CurateError, match="the row 0 has an empty choice"):
        choices(choice(choices="options"), rows({"q": "?", "options": [" a", ""], "a": 0}), Parrot())


def test_examples_stand_before_with_their_answers_and_never_the_row_itself():
    model = Parrot()
    some = [{"q": f"q{number}", "a": number % 2} for number in range(12)]
    choices(choice(examples=3), rows(*some), model)
    asked = [context for context, _ in model.pairs[::2]]
    for number, prompt in enumerate(asked):
        *shown, last = prompt.split("\n\n")
        assert last == f"q{number}" and len(shown) == 3 and len(set(shown)) == 3
        assert all(one in {f"q{n} {('no', 'yes!')[n % 2]}" for n in range(12) if n != number} for one in shown)
    again = Parrot()
    choices(choice(examples=3), rows(*some), again)
    assert again.pairs == model.pairs


def test_more_examples_than_rows_are_refused():
    with pytest.raises(CurateError, match="there are 2 rows for 2 examples"):
        choices(choice(examples=2), rows({"q": "a", "a": 0}, {"q": "b", "a": 0}), Parrot())


def test_files_of_examples_need_no_row_more_than_are_shown(tmp_path):
    file, model = tmp_path / "shown.jsonl", Parrot()
    file.write_text('{"q": "one", "a": 0}\n{"q": "two", "a": 1}\n')
    task = choice(examples=2, examples_from=(str(file),))
    choices(task, rows({"q": "x", "a": 0}), model)
    assert sorted(model.pairs[0][0].split("\n\n")) == ["one no", "two yes!", "x"]
    with pytest.raises(CurateError, match="there are 2 rows for 3 examples"):
        choices(task.model_copy(update={"examples": 3}), rows({"q": "x", "a": 0}), model)


def test_a_template_that_is_none_is_refused():
    with pytest.raises(CurateError, match="the template cannot be read"):
        choices(choice(prompt="{{ q"), rows({"q": "a", "a": 0}), Parrot())


def test_a_template_can_do_nothing_but_write():
    with pytest.raises(CurateError, match="does not fit the template"):
        choices(choice(prompt="{{ q.__class__.__mro__ }}"), rows({"q": "a", "a": 0}), Parrot())


REVIEWS = ({"sentence": "good", "a": 1}, {"sentence": "bad", "a": 0})


@pytest.mark.parametrize(
    ("prompt", "problem", "hint"),
    [
        ("Review: {sentence}", "`{sentence}` in the template is text", "`{{ sentence }}`, with two braces"),
        ("Review: {sentens}", "`{sentens}` in the template is text", "`{{ sentence }}`, with two braces"),
        ("{{ a }}: {sentence}", "`{sentence}` in the template is text", "`{{ sentence }}`, with two braces"),
        ("Review:", "the template names no column", "the rows have: id, sentence, a"),
        ("{{ sentence[:0] }}", "the same text for all 2 rows", "what differs between the rows"),
    ],
)
def test_a_prompt_that_is_the_same_for_all_rows_is_refused(prompt, problem, hint):
    with pytest.raises(CurateError) as error:
        choices(choice(prompt=prompt), rows(*REVIEWS), Parrot())
    assert problem in error.value.problem and hint in error.value.hint
    assert error.value.where == "task t: prompt"


def test_braces_that_name_no_column_are_text():
    model = Parrot()
    choices(choice(prompt="def f() {{ '{sentence}' }} {body} {{ sentence }}"), rows(*REVIEWS), model)
    assert model.pairs[0][0] == "def f() {sentence} {body} good"


def test_answers_of_each_row_need_no_prompt():
    some = [{"options": ["a", "bb"], "a": 0}, {"options": ["c", "dd"], "a": 1}]
    assert choices(choice(prompt="It is", choices="options"), rows(*some), Parrot())["accuracy"] == [1.0, 0.0]


def test_a_null_in_a_prompt_is_refused_with_how_many_there_are():
    some = ({"q": None, "a": 0}, {"q": "x", "a": 0}, {"q": None, "a": 1})
    with pytest.raises(CurateError, match=r"the row 0 .* value is null .*; so do 1 others of 3"):
        choices(choice(), rows(*some), Parrot())
    choices(choice(prompt="{{ q or '' }}?"), rows(*some), Parrot())


def test_an_answer_with_single_braces_is_refused():
    with pytest.raises(CurateError, match=r"`\{a\}` in the template is text"):
        answers(generation(answer="the {a}"), rows({"q": "x", "a": "y"}), Parrot())


def generation(**settings):
    return GenerationTask(name="t", files=("x",), **{"prompt": "{{ q }}", "answer": "a", **settings})


def test_answers_are_compared_as_words():
    some = rows({"q": "say The Cat!", "a": "cat"}, {"q": "say dogs", "a": ["cats", "dogs"]}, {"q": "a", "a": "b"})
    found = answers(generation(metrics=("exact_match", "token_f1", "bleu", "rouge1")), some, Parrot())
    assert found["exact_match"] == [1.0, 1.0, 0.0] and found["token_f1"] == [1.0, 1.0, 0.0]
    assert found["hypothesis"] == ["Cat!", "dogs", "a"] and found["references"] == [["cat"], ["cats", "dogs"], ["b"]]
    assert found["rouge1"] == [1.0, 1.0, 0.0] and "rougeL" not in found


def test_a_pattern_takes_the_last_match_of_both():
    some = rows({"q": "it is 1 or 42", "a": "so 40 + 2 = 42"}, {"q": "none", "a": "#### 7"})
    found = answers(generation(pattern=r"(\d+)"), some, Parrot())
    assert found["exact_match"] == [1.0, 0.0]


def test_an_answer_without_a_match_is_wrong_and_a_reference_without_one_is_taken_whole():
    some = rows(
        {"q": "no idea", "a": "18"}, {"q": "is 18", "a": "18"}, {"q": "x is A", "a": "A"}, {"q": "none", "a": "A"}
    )
    found = answers(generation(pattern=r" ([0-9A-D]+)$"), some, Spoken(" no idea", "it is 18", "it is A", " none"))
    assert found["exact_match"] == found["token_f1"] == [0.0, 1.0, 1.0, 0.0]


def test_an_answer_may_be_a_template():
    found = answers(
        generation(answer="{{ first }} {{ last }}"), rows({"q": "Smith", "first": "Ann", "last": "Smith"}), Parrot()
    )
    assert found["exact_match"] == [0.0] and found["token_f1"] == [pytest.approx(2 / 3)]


def test_an_answer_that_names_no_column_is_refused():
    with pytest.raises(CurateError, match="no row has a column `b`"):
        answers(generation(answer="b"), rows({"q": "x", "a": "y"}), Parrot())


def test_what_is_asked_for_reaches_the_model():
    model = Parrot()
    answers(generation(most=7, stop=(".", "\n"), temperature=0.5, seed=3), rows({"q": "x", "a": "y"}), model)
    assert model.settings == {"most": 7, "stop": (".", "\n"), "temperature": 0.5, "seed": 3}
