"""Phone numbers: by their form and the words beside them, and what is none whoever finds it."""

from __future__ import annotations

import pytest

from curate.privacy.phones import find_phones
from curate.privacy.pii import Pii
from curate.privacy.recognizers import load_recognizers
from curate.privacy.windows import pieces
from tests.conftest import document_table


@pytest.fixture(scope="module")
def phones():
    opened = Pii(entities=("phone",)).open()

    def found(text):
        rows = opened(document_table([text])).verdicts.to_pylist()
        return [text[span["start"] : span["end"]] for row in rows for span in row["spans"]]

    return found


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("They're not answering at 78 651 450", "78 651 450"),
        ("Phone: (99) 645-791", "(99) 645-791"),
        ("Mobile: 0490 39 07 81", "0490 39 07 81"),
        ("Desk: +447700 921 916", "+447700 921 916"),
        ("+1-903-140-4508x769 is it", "+1-903-140-4508x769"),
        ("74 831 591 office", "74 831 591"),
        ("my new number is 668 5702", "668 5702"),
        ("tel: 402916", "402916"),
        ("Call 08002986906", "08002986906"),
        ("ring 212.555.0199 today", "212.555.0199"),
        ("telefon:0729474785.", "0729474785"),
        ("Tel. 0251 316006 * nr. 2", "0251 316006"),
        ("Puh. (03) 534 1129 Fax", "(03) 534 1129"),
        ("call +55 (11) 91234-5678", "+55 (11) 91234-5678"),
        ("gratis 1-800-948-4267.", "1-800-948-4267"),
        ("phone = 2125550199", "2125550199"),
        ('{"tel": 2125550199}', "2125550199"),
        ("she gave 2125550199 and left", "2125550199"),
    ],
)
def test_a_number_is_found_by_its_form_or_by_what_announces_it(phones, text, number):
    assert phones(text) == [number]


@pytest.mark.parametrize(
    "text",
    [
        "on 3.10.2000 and 08.12.2010 and 03-05-2010 and 2010/05/03",
        "ISBN 0-306-40615-2",
        "(ISBN 0375403744)",
        "a picture 1980605-640x360 and 345.0567286",
        "the path 14.692-672.71 of it",
        "order number 212-555-0199",
        "my social security number is 078-05-1120",
        "by 4000-3000= 1000 and 3000 - 2920 = 80 of 18000/900",
        "a profit of 75,000-25,000 and $4000-$2400",
        "the years 1971-2000 and 1990 - 1995",
        "he called 12,000 people 300 times",
        "the law nr. 64/1991 and nr. 512455",
        "in 1,000,000,000 cases",
        "10.1000/182 and 2001:db8::1",
        "token 7f3a-212-555-0199-aa",
        "id = 2125550199;",
        "Chrome/96.0.4664.110 Safari",
        '{"user_id": 2125550199, "parent": 2125550143}',
        "if number_of_rows == 2125550199:",
    ],
)
def test_what_is_written_or_announced_as_something_else_is_no_phone(phones, text):
    assert phones(text) == []


def test_a_phone_is_announced_nearer_than_the_order_that_it_is_about(phones):
    assert phones("about order 17, call 212-555-0199") == ["212-555-0199"]


def test_a_social_security_number_is_called_one_however_its_dashes_stand(documents):
    rows = Pii().open()(documents(["my social security number is 078-051121 ok"])).verdicts.to_pylist()
    assert rows[0]["text"] == "my social security number is <SSN> ok"


def test_a_million_digits_take_time_in_proportion():
    assert list(find_phones("1" * 1_000_000)) == []
    assert list(find_phones("1 2-" * 250_000)) == []


@pytest.mark.slow
@pytest.mark.parametrize("before", ["12345 12345; ", "8.8.8.8 "])
def test_a_number_behind_a_long_table_of_numbers_is_found(before):
    text = before * (140_000 // len(before)) + "and 2125550199 ok"
    [phones] = load_recognizers(("phone",), phone_regions=("US",), public_ips_only=True)
    assert text[phones.find(text)[-1].start :] == "2125550199 ok"


@pytest.mark.parametrize("between", ["\n", " ", ", ", "; ", "\t"])
def test_a_dense_list_of_bare_numbers_is_found_without_trying_every_way_to_cut_it(monkeypatch, between):
    import phonenumbers

    def tried(*arguments, **keywords):
        raise AssertionError("every way to cut the list was tried")

    monkeypatch.setattr(phonenumbers, "PhoneNumberMatcher", tried)
    [phones] = load_recognizers(("phone",), phone_regions=("US",), public_ips_only=True)
    numbers = [f"212555{last}" for last in range(1000, 1020)]
    text = between.join(numbers)
    assert sorted({text[span.start : span.end] for span in phones.find(text)}) == numbers
    assert phones.find("12 345.6 7890 " * 60) == []


def test_a_span_says_by_which_rule_it_was_found():
    [phones] = load_recognizers(("phone",), phone_regions=("US", "DE"), public_ips_only=True)
    rules = {
        "212 555 0199": "phonenumbers: US",
        "Mobile: 0490 39 07 81": "phone: labelled",
        "+421 2 9999": "phone: international",
        "ask at (32) 484-557": "phone: form",
        "ring 78 651 450": "phone: announced",
    }
    assert {text: rule for text, rule in rules.items() if rule in {span.rule for span in phones.find(text)}} == rules


def test_pieces_of_a_window_count_every_place_once_and_see_beyond_it():
    cut = list(pieces(100, 9000))
    assert [(first, last) for _, _, first, last in cut] == [(100, 4100), (4100, 8100), (8100, 9000)]
    assert [(low, high) for low, high, _, _ in cut] == [(100, 4220), (3980, 8220), (7980, 9000)]
