from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, strategies

from curate.errors import CurateError
from curate.train.rewards.code import program_in
from curate.train.rewards.completion import Completion
from curate.train.rewards.load import judged, load_reward
from curate.train.rewards.texts import contains, exact, formatted, length, number, overlong
from curate.train.settings.methods import ReinforcementSettings
from curate.train.settings.rewards import (
    FormatReward,
    FunctionReward,
    LengthReward,
    ModelReward,
    OverlongReward,
    single,
)


def of(completion, answer="", *, tokens=0, ended=True, **columns):
    return Completion("", completion, answer, columns, tokens, ended)


def test_exact_ignores_spaces_around_the_texts_only():
    assert exact(of("  4\n", "4")) == 1
    assert exact(of("4 2", "42")) == 0


def test_exact_tells_upper_case_from_lower_case():
    assert exact(of("Paris", "paris")) == 0


def test_contains_finds_the_answer_anywhere():
    assert contains(of("It is Paris, of course.", " Paris ")) == 1
    assert contains(of("It is Rome.", "Paris")) == 0


def test_contains_gives_nothing_for_an_empty_answer():
    assert contains(of("anything", " ")) == 0


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
    assert number(of(completion, answer)) == 1


@pytest.mark.parametrize("completion", ["", "none", "-", ".", "1,23", "41", "-42", "42 or 43", "x42", "\u0664\u0662"])
def test_number_gives_nothing_for_another_number_or_none(completion):
    assert number(of(completion, "42")) == 0


def test_number_refuses_an_answer_without_one():
    with pytest.raises(CurateError, match="the answer holds no number"):
        number(of("42", "forty-two"))


@given(strategies.text(), strategies.text())
def test_every_built_in_reward_is_0_or_1_for_any_text(completion, answer):
    assert exact(of(completion, answer)) in (0.0, 1.0)
    assert contains(of(completion, answer)) in (0.0, 1.0)
    assert number(of(completion, answer + " 1")) in (0.0, 1.0)


@given(strategies.integers(-(10**12), 10**12))
def test_number_reads_any_whole_number_with_commas(value):
    assert number(of(f"that makes {value:,}.", str(value))) == 1


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module and gives its name: `module("def ...")`."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(text, name="reward_of_mine"):
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.delitem(__import__("sys").modules, name, raising=False)
        return name

    return write


def own(name):
    return load_reward(FunctionReward(function=name))


def test_a_reward_of_ones_own_is_imported(module):
    name = module("def length(prompt, completion, answer):\n    return len(completion)\n")
    assert own(f"{name}:length")(of("four")) == 4


def test_one_that_asks_for_columns_gets_them(module):
    name = module("def tested(prompt, completion, answer, columns):\n    return len(columns['tests'])\n")
    assert own(f"{name}:tested")(of("", tests="three")) == 5


def test_an_unknown_reward_is_refused_with_the_nearest_name():
    with pytest.raises(CurateError, match="there is no reward named `exakt`") as error:
        single("exakt")
    assert error.value.hint == "did you mean `exact`?"


def test_a_model_is_named_by_its_folder():
    assert single("model:runs/judge") == ModelReward(path="runs/judge")


def test_a_reward_whose_module_is_missing_is_refused():
    with pytest.raises(CurateError, match="ModuleNotFoundError") as error:
        own("no_such_module_here:reward")
    assert error.value.hint == "is `no_such_module_here` on PYTHONPATH?"


def test_a_reward_whose_module_fails_is_refused_with_the_line(module):
    name = module("\n1 / 0\n", "reward_that_fails")
    with pytest.raises(CurateError, match="ZeroDivisionError") as error:
        own(f"{name}:reward")
    assert error.value.hint.endswith("reward_that_fails.py:2")


def test_a_function_that_is_not_in_the_module_is_refused(module):
    name = module("def length(prompt, completion, answer):\n    return 1\n", "reward_with_another_name")
    with pytest.raises(CurateError, match="has no function `lenght`") as error:
        own(f"{name}:lenght")
    assert error.value.hint == "did you mean `length`?"


def test_a_function_that_cannot_be_called_as_rewards_are_is_refused_before_anything_is_sampled(module):
    name = module("def reward(completions, **more):\n    return 1\n", "reward_of_another_library")
    with pytest.raises(CurateError, match=r"takes `\(completions, \*\*more\)`, which does not fit") as error:
        own(f"{name}:reward")
    assert error.value.hint.startswith("it is called as `reward(prompt, completion, answer)`")


def test_a_reward_that_fails_tells_the_line_and_not_the_text(module, capsys):
    name = module("def reward(prompt, completion, answer):\n    return float(completion)\n", "reward_of_floats")
    verdict = judged(own(f"{name}:reward"), of("a secret"), name="floats")
    assert verdict.problem == "the reward `floats` failed with ValueError"
    assert verdict.hint.endswith("reward_of_floats.py:2; CURATE_DEBUG=1 shows its message")
    assert verdict.value is None
    assert "secret" not in str(verdict)
    assert "could not convert string to float: 'a secret'" in capsys.readouterr().err


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_reward_that_is_not_finite_has_failed(value):
    verdict = judged(lambda _: value, of(""), name="mine")
    assert (verdict.value, verdict.problem) == (None, f"the reward `mine` gave {value}")


def test_a_reward_that_gives_no_number_has_failed():
    assert judged(lambda _: None, of(""), name="mine").problem == "the reward `mine` gave a NoneType"


def test_a_builtin_reward_that_cannot_judge_says_why():
    assert judged(number, of("1", "one"), name="number").problem == "the answer holds no number"


def test_true_is_a_reward_of_one():
    assert judged(lambda _: True, of(""), name="mine").value == 1.0


# ---- form and length


@pytest.mark.parametrize(
    ("completion", "wanted"),
    [
        ("<think>a</think><answer>b</answer>", 1),
        (" <think>a\nb</think>\n <answer></answer> ", 1),
        ("<answer>b</answer><think>a</think>", 0),
        ("<think>a</think>b<answer>c</answer>", 0),
        ("<think>a</think><answer>b</answer>c", 0),
        ("<think>a</think><think>a</think><answer>b</answer>", 0),
        ("<think>a</think><answer>b", 0),
        ("<think><answer>b</answer></think>", 0),
        ("", 0),
    ],
)
def test_parts_in_tags_stand_once_and_in_their_order(completion, wanted):
    assert formatted(of(completion), FormatReward(tags=("think", "answer"))) == wanted


def test_a_pattern_is_matched_by_the_whole_completion():
    settings = FormatReward(pattern="A.*z")
    assert [formatted(of(text), settings) for text in ("A to\nz", "A to z.", "a to z")] == [1, 0, 0]


def test_a_pattern_that_is_none_is_refused():
    with pytest.raises(ValueError, match="no regular expression: unterminated"):
        FormatReward(pattern="[")
    with pytest.raises(ValueError, match="give one of `pattern` and `tags`"):
        FormatReward()


@pytest.mark.parametrize(("words", "wanted"), [(10, 1), (12, 1), (8, 1), (13, 0.5), (7, 0.5), (14, 0), (0, 0), (99, 0)])
def test_a_length_is_as_good_within_its_tolerance_and_worthless_at_twice_of_it(words, wanted):
    assert length(of("word " * words), LengthReward(target=10, tolerance=2)) == wanted


def test_a_length_may_be_of_characters_or_tokens():
    assert length(of("four"), LengthReward(target=4, tolerance=1, unit="characters")) == 1
    assert length(of("four", tokens=2), LengthReward(target=4, tolerance=2, unit="tokens")) == 1


@pytest.mark.parametrize(("tokens", "wanted"), [(0, 0), (80, 0), (90, -0.5), (100, -1), (1000, -1)])
def test_the_overlong_penalty_is_that_of_dapo(tokens, wanted):
    """Equation 13: 0 up to L_max - L_cache, then in a line to -1 at L_max."""
    assert overlong(of("", tokens=tokens), OverlongReward(most=100, margin=20)) == wanted


# ---- settings


def rewards_of(*entries, **settings):
    return ReinforcementSettings(rewards=entries, **settings)


def test_a_name_with_a_colon_is_a_function_of_ones_own():
    (entry,) = rewards_of({"reward": "mine:short", "weight": 2, "columns": ["tests"]}).entries
    assert entry == FunctionReward(function="mine:short", weight=2, columns=("tests",))
    assert entry.called == "mine:short"


def test_settings_of_rewards_can_be_written_down_and_read_again():
    settings = rewards_of("number", {"reward": "mine:short"}, {"reward": "format", "tags": ["a"]})
    assert ReinforcementSettings.model_validate(settings.model_dump(mode="json")) == settings


def test_rewards_of_the_same_name_are_refused():
    with pytest.raises(ValueError, match="two of the `rewards` are called `number`: give them a `name`"):
        rewards_of("number", "number")
    assert len(rewards_of("number", {"reward": "number", "name": "again"}).entries) == 2


def test_one_reward_and_several_at_once_are_refused():
    with pytest.raises(ValueError, match="give one of `reward` and `rewards`"):
        rewards_of("number", reward="contains")


def test_the_columns_are_those_of_all_rewards():
    settings = rewards_of({"reward": "mine:short", "columns": ["tests", "level"]}, {"reward": "instructions"})
    assert settings.columns == ("tests", "level", "instructions")


UNITS = [
    "\\( ", "\\[ ", "$", "$$ ", "$a ", ".", ".\"", "\n", " ", " \n", "```\n", "``` ", "\\text{", "\\text ", "{", "}",
    "answer is ", "1,", "1,234", "-", "- ", "\\boxed{", "0", "a", "####", "<a>", "</a>", '"', "[", "\u2212",
]  # fmt: skip


@pytest.mark.parametrize("unit", UNITS)
def test_rewards_take_time_in_proportion_to_the_text_whatever_it_repeats(unit):
    columns = {"instructions": json.dumps({name: 1 for name in ("words", "sentences", "paragraphs", "characters", "bullets")}
                                          | {"json": True, "keywords": ["a"], "case": "lower"})}  # fmt: skip
    given_to = [
        single("mathematics"), single("instructions"), single("number"), FormatReward(tags=["a", "b"]),
    ]  # fmt: skip
    began = time.process_time()
    for text in (unit * 16000, unit * 16000 + "x", "```\n" + unit * 16000 + "x"):
        for settings in given_to:
            judged(load_reward(settings), of(text, "1", **columns), name="")
        program_in(text)
    assert time.process_time() - began < 2
