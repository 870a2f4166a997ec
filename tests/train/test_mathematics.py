"""Answers to questions of mathematics: by value, however they are written, and whatever they are."""

from __future__ import annotations

import re
import time
from fractions import Fraction

import pytest
from hypothesis import given, strategies

from curate.errors import CurateError
from curate.train.rewards.completion import Completion
from curate.train.rewards.mathematics import _formulas, mathematics, result, same, value
from curate.train.settings.rewards import MathematicsReward


def worth(completion, answer, **settings):
    return mathematics(Completion("", completion, answer, {}, 0, True), MathematicsReward(**settings))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1/2", r"\frac{1}{2}"),
        (r"\dfrac12", "0.5"),
        ("50%", "0.5"),
        (r"50\%", "50"),
        ("1,234.50", "1234.5"),
        ("$1{,}234$", "1234"),
        ("5 thousand", "5000"),
        ("2.5 million dollars", "2500000"),
        (r"1\frac{1}{2}", "3/2"),
        ("1 1/2", "1.5"),
        ("2^{10}", "1024"),
        ("2**3", "8"),
        (r"\sqrt{8}", r"2\sqrt2"),
        (r"\sqrt[3]{27}", "3"),
        (r"\sqrt{16}", "4"),
        (r"\frac{\pi}{4}", "pi/4"),
        ("-3", "\u22123"),
        (r"5\text{ cm}", "5"),
        ("12 apples", "12"),
        (r"90^\circ", "90"),
        (r"\$15", "15"),
        ("x = 5", "5"),
        ("f(x) = 2x", "2x"),
        ("2(x+1)", "2x + 2"),
        ("(a-b)(a+b)", "a^2 - b^2"),
        (r"\frac{x}{2}", "0.5x"),
        (r"\{1, 2\}", "2, 1"),
        ("1 or 2", "2 and 1"),
        ("(1, 2)", r"\left( 1, 2 \right)"),
        (r"[0, \infty)", "[0,\u221e)"),
        (r"x \in (-\infty, 1) \cup (2, 3]", r"(2,3]\cup(-\infty,1)"),
        (r"\text{Tuesday}", "tuesday"),
        ("7.", "7"),
        ("|-3|", "3"),
        (r"\ln(e)", r"\ln e"),
        (r"\emptyset", r"\{\}"),
    ],
)
def test_what_is_written_in_two_ways_is_the_same(one, other):
    assert same(value(one), value(other))
    assert same(value(other), value(one))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1/3", "0.333"),
        ("0.1", "0.10000001"),
        ("5", "50"),
        ("50%", "5"),
        ("(1, 2)", "(2, 1)"),
        ("(1, 2)", "[1, 2]"),
        ("{1, 2}", "1"),
        ("1, 2", "1, 3"),
        ("1, 1, 2", "1, 2, 2"),
        ("x + 1", "x + 2"),
        ("x", "y"),
        ("Tuesday", "Monday"),
        ("5", "five"),
        ("-2", "2"),
        ("1234", "1, 234"),
        ("", "0"),
    ],
)
def test_what_is_not_the_same_is_told_apart(one, other):
    assert not same(value(one), value(other))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (r"so \boxed{3} or rather \boxed{\frac{1}{2}}.", r"\frac{1}{2}"),
        ("#### 18", "18"),
        ("The answer is 42. It was easy.", "42"),
        ("The final answer: $x = 3.5$.", "x = 3.5"),
        ("thus $a$ is $2\\pi$, as we saw", "2\\pi"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{1", None),
        ("nothing here", None),
    ],
)
def test_the_result_of_a_text_is_what_it_says_last(text, wanted):
    assert result(text) == wanted


def test_a_completion_is_compared_with_the_result_of_a_worked_answer():
    assert worth(r"It is $\frac{36}{2}$.", "9 + 9 = <<18>>\n#### 18") == 1
    assert worth("That makes 3 and then 18", "18") == 1
    assert worth("That makes 18 and then 3", "18") == 0
    assert worth("", "18") == 0


def test_only_what_is_in_a_box_counts_where_it_is_asked_for():
    assert worth("The answer is 18", "18", boxed=True) == 0
    assert worth(r"\boxed{18}", "18", boxed=True) == 1


def test_a_tolerance_lets_a_rounded_number_stand():
    assert worth("3.14", r"\pi", tolerance=0.001) == 1
    assert worth("3.14", r"\pi", tolerance=0.0001) == 0
    assert worth("0.333", "1/3", tolerance=0.01) == 1


def test_an_empty_answer_is_refused():
    with pytest.raises(CurateError, match="the answer is empty"):
        worth("1", " ")


@pytest.mark.parametrize(
    "bomb",
    ["9^9^9^9^9", "9" * 399, "(" * 399, "-" * 399, "2^{1000}*" * 30 + "1", r"\frac" * 70, "1/0", "0^{-1}", "9!" * 99]
    + [f"{name}{{{name}{{9}}}}" for name in (r"\exp", r"\sqrt")] + ["(-8)^{0.5}", "1," * 190 + "1", "x" * 399, r"\boxed{" * 60],
)  # fmt: skip
def test_what_would_never_end_is_a_text(bomb):
    began = time.process_time()
    value(bomb)
    worth(bomb, "1")
    assert time.process_time() - began < 0.5


def test_a_nest_of_what_may_be_mixed_numbers_is_read_once_at_each_level():
    began = time.process_time()
    nest = r"1\frac{" * 30 + "1" + "}{1}" * 30
    assert value(nest).numbers == (1,)  # 1 * (1 * (... / 1) / 1)
    assert value(r"1\frac{" * 3 + "1" + "}{2}" * 3).numbers == (Fraction(15, 8),)  # mixed, each in the next
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize("answer", ["0.0000001", "0.00000000012", "-0.0000005"])
def test_small_numbers_at_the_end_of_a_text_are_numbers(answer):
    assert worth(f"the result: {answer}", answer) == 1
    assert worth("the result: 0.0000002", answer) == 0


@given(strategies.text(alphabet="$\\()[]a\n", max_size=12))
def test_formulas_are_those_that_a_pattern_finds(text):
    pattern = re.compile(r"\$\$(.+?)\$\$|\$([^$]+)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
    found = [(one.start(), next(part for part in one.groups() if part)) for one in pattern.finditer(text)]
    assert list(_formulas(text)) == found


@given(strategies.text(alphabet="0123456789+-*/^(){}[]|,.%$\\ xyfracsqtpi=#", max_size=60))
def test_any_text_has_a_value_that_equals_itself(text):
    found = value(text)
    assert same(found, found) or any(number != number for number in found.numbers) or found.parts


@given(strategies.fractions(max_denominator=10**6), strategies.booleans())
def test_every_fraction_equals_its_latex(fraction, mixed):
    whole, rest = divmod(abs(fraction), 1)
    sign = "-" if fraction < 0 else ""
    written = rf"{sign}\frac{{{abs(fraction.numerator)}}}{{{fraction.denominator}}}"
    if mixed and whole and rest:
        written = rf"{sign}{whole}\frac{{{rest.numerator}}}{{{rest.denominator}}}"
    assert same(value(written), value(str(fraction)))
