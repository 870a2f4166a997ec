import math

import pytest

from curate.table.numerals import as_date, as_number, date_order, decimal_mark, folded, is_code, loses_digits


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7), ("-7", -7), ("+7", 7), ("- 7", -7), ("1.5", 1.5), ("0,5", 0.5), (".5", 0.5), ("1,234.5", 1234.5),
        ("1.234,5", 1234.5), ("1 234,5", 1234.5), ("1'234.5", 1234.5), ("1\u00a0234\u202f567", 1234567), ("1,234,567", 1234567),
        ("1.234.567", 1234567), ("1,234", 1234), ("12%", 0.12), ("1.5e3", 1500), ("5 kg", 5000), ("5kg", 5000), ("$5", 5),
        ("-$5", -5), ("+1,234.5", 1234.5), ("+1 234.5", 1234.5), ("1.234.567.890", 1234567890),
    ],
)  # fmt: skip
def test_a_number_is_read_however_it_is_written(text, value):
    assert as_number(text, ".", {"kg": 1000, "$": 1}) == pytest.approx(value)


@pytest.mark.parametrize("text", ["+49 301 234 000", "+49-301", "192.168.100.100"])
def test_telephone_numbers_and_addresses_are_no_numbers(text):
    assert as_number(text, ".", {}) is None


@pytest.mark.parametrize(
    "text", ["", "abc", "1,2,3", "12 34", "3-4", "5 lb", "1.2.3", "--5", "1e", "7" * 65, "12/3", "1..2"]
)
def test_what_is_no_number_is_none(text):
    assert as_number(text, ".", {"kg": 1000}) is None


def test_a_percentage_is_the_nearest_number():
    assert [as_number(f"{one}%", ".", {}) for one in range(100)] == [one / 100 for one in range(100)]


@pytest.mark.parametrize(
    ("text", "lost"),
    [
        ("12345678901234567", True),
        ("12,345,678,901,234,567.5 kg", True),
        ("0.1", False),
        ("100000", False),
        ("x", False),
    ],
)
def test_digits_that_a_float_does_not_hold_are_told(text, lost):
    assert loses_digits(text, ".") is lost


def test_what_may_be_both_is_read_by_the_mark_of_its_column():
    assert (as_number("1,234", ".", {}), as_number("1,234", ",", {})) == (1234, pytest.approx(1.234))
    assert (as_number("1.234", ".", {}), as_number("1.234", ",", {})) == (pytest.approx(1.234), 1234)
    assert [decimal_mark(text) for text in ("1,234", "1.234,5", "1,5", "1,234,567", "12")] == [
        None,
        ",",
        ",",
        ".",
        None,
    ]


def test_infinity_is_told_from_what_is_no_number():
    assert math.isinf(as_number("inf", ".", {})) and math.isinf(as_number("1e999", ".", {}))


def test_keys_of_digits_are_no_numbers():
    assert [is_code(text) for text in ("007", "1234567890123456", "0", "0.5", "123")] == [
        True,
        True,
        False,
        False,
        False,
    ]


def test_dates_are_read_by_the_order_that_they_or_their_column_show():
    assert as_date("2024-3-1", None) == as_date("01.03.2024", "day") == as_date("3/1/2024", "month") == "2024-03-01"
    assert as_date("31/12/2024", "month") == "2024-12-31" and date_order("31/12/2024") == "day"
    assert as_date("01/02/2024", None) is None and as_date("02/02/2024", None) == "2024-02-02"
    assert as_date("2024-03-01 00:00:00", None) == "2024-03-01"
    assert as_date("2024-03-01 12:30", None) is as_date("2024-02-30", None) is as_date("24-1-1", None) is None


def test_categories_are_folded_by_case_and_spaces():
    assert folded("  New  YORK ") == "new york"
