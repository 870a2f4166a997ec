from __future__ import annotations

import pytest
from hypothesis import given, strategies

from curate.errors import CurateError
from curate.train.objectives.rewards import REWARDS, contains, exact, judge, load_reward, number


def test_exact_ignores_spaces_around_the_texts_only():
    assert exact("", "  4\n", "4") == 1
    assert exact("", "4 2", "42") == 0


def test_exact_tells_upper_case_from_lower_case():
    assert exact("", "Paris", "paris") == 0


def test_contains_finds_the_answer_anywhere():
    assert contains("", "It is Paris, of course.", " Paris ") == 1
    assert contains("", "It is Rome.", "Paris") == 0


def test_contains_gives_nothing_for_an_empty_answer():
    assert contains("", "anything", " ") == 0


@pytest.mark.parametrize(
    ("completion", "answer"),
    [
        ("so it is 42.", "42"),
        ("1 then 2 then 3", "3"),
        ("1,234,567 dollars", "1234567"),
        ("$1,000.50", "1000.5"),
        ("x = -7", "-7"),
        ("(-7)", "-7"),
        ("\u22127", "-7"),
        ("7-3", "3"),
        ("(9)-3", "3"),
        ("10 - 3", "3"),
        ("+5", "5"),
        ("3.0", "3"),
        (".5", "0.50"),
        ("1,2,3", "3"),
        ("5kg", "5"),
        ("1. 2. 3.", "3"),
        ("the reasoning\n#### 18", "5 + 13 = <<18>>\n#### 18"),
        ("0" * 5000 + "7", "7"),
    ],
)
def test_number_reads_the_last_number(completion, answer):
    assert number("", completion, answer) == 1


@pytest.mark.parametrize("completion", ["", "none", "-", ".", "1,23", "41", "-42", "42 or 43", "x42", "\u0664\u0662"])
def test_number_gives_nothing_for_another_number_or_none(completion):
    assert number("", completion, "42") == 0


def test_number_refuses_an_answer_without_one():
    with pytest.raises(CurateError, match="the answer holds no number"):
        number("", "42", "forty-two")


@given(strategies.text(), strategies.text())
def test_every_built_in_reward_is_0_or_1_for_any_text(completion, answer):
    assert exact("", completion, answer) in (0.0, 1.0)
    assert contains("", completion, answer) in (0.0, 1.0)
    assert number("", completion, answer + " 1") in (0.0, 1.0)


@given(strategies.integers(-(10**12), 10**12))
def test_number_reads_any_whole_number_with_commas(value):
    assert number("", f"that makes {value:,}.", str(value)) == 1


def test_the_built_in_rewards_are_found_by_name():
    assert {name: load_reward(name) for name in ("exact", "contains", "number")} == REWARDS


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module and gives its name: `module("def ...")`."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(text, name="reward_of_mine"):
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.delitem(__import__("sys").modules, name, raising=False)
        return name

    return write


def test_a_reward_of_ones_own_is_imported(module):
    name = module("def length(prompt, completion, answer):\n    return len(completion)\n")
    assert load_reward(f"{name}:length")("", "four", "") == 4


def test_an_unknown_reward_is_refused_with_the_nearest_name():
    with pytest.raises(CurateError, match="there is no reward named `exakt`") as error:
        load_reward("exakt")
    assert error.value.hint == "did you mean `exact`?"


def test_a_reward_whose_module_is_missing_is_refused():
    with pytest.raises(CurateError, match="ModuleNotFoundError") as error:
        load_reward("no_such_module_here:reward")
    assert error.value.hint == "is `no_such_module_here` on PYTHONPATH?"


def test_a_reward_whose_module_fails_is_refused_with_the_line(module):
    name = module("\n1 / 0\n", "reward_that_fails")
    with pytest.raises(CurateError, match="ZeroDivisionError") as error:
        load_reward(f"{name}:reward")
    assert error.value.hint.endswith("reward_that_fails.py:2")


def test_a_function_that_is_not_in_the_module_is_refused(module):
    name = module("def length(prompt, completion, answer):\n    return 1\n", "reward_with_another_name")
    with pytest.raises(CurateError, match="has no function `lenght`") as error:
        load_reward(f"{name}:lenght")
    assert error.value.hint == "did you mean `length`?"


def test_a_reward_that_fails_names_the_prompt_and_not_its_text(module):
    name = module("def reward(prompt, completion, answer):\n    return float(completion)\n", "reward_of_floats")
    with pytest.raises(CurateError, match="the reward failed with ValueError") as error:
        judge(load_reward(f"{name}:reward"), "", "a secret", "", place="prompt 17")
    assert error.value.where == "prompt 17"
    assert error.value.hint.endswith("reward_of_floats.py:2")
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_reward_that_is_not_finite_is_refused(value):
    with pytest.raises(CurateError, match=f"the reward is {value}") as error:
        judge(lambda *_: value, "", "", "", place="prompt 17")
    assert error.value.where == "prompt 17"


def test_a_reward_that_gives_no_number_is_refused():
    with pytest.raises(CurateError, match="the reward is a NoneType"):
        judge(lambda *_: None, "", "", "", place="prompt 17")


def test_a_builtin_reward_that_cannot_judge_names_the_prompt():
    with pytest.raises(CurateError, match="the answer holds no number") as error:
        judge(number, "", "1", "one", place="prompt 17")
    assert error.value.where == "prompt 17"


def test_true_is_a_reward_of_one():
    assert judge(lambda *_: True, "", "", "", place="prompt 17") == 1.0
