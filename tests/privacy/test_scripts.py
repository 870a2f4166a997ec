"""Personal data beside letters of other scripts, and amid the marks of Markdown."""

from __future__ import annotations

import pytest

from curate.privacy.pii import Pii

FOUND = {
    "<EMAIL>": "ann.lee@example.org",
    "<CARD>": "4111111111111111",
    "<IP>": "93.184.216.34",
    "<SSN>": "536-90-4399",
    "<IBAN>": "DE89370400440532013000",
    "<PHONE>": "+442079460018",
}
WORDS = {
    "Chinese": "\u5730\u5740",
    "Japanese": "\u3054\u9023\u7d61\u306f\u30e1\u30fc",
    "Korean": "\ubb38\uc758\ub294",
    "Thai": "\u0e15\u0e34\u0e14\u0e15\u0e48\u0e2d\u0e17\u0e35\u0e48",
    "Arabic": "\u0627\u0644\u0628\u0631\u064a\u062f\u0640",
    "Hebrew": "\u05d3\u05d5\u05d0\u05e8",
    "Cyrillic": "\u043f\u043e\u0447\u0442\u0430",
    "Greek": "\u03b3\u03c1\u03ac\u03c8\u03c4\u03b5",
    "Devanagari": "\u0932\u093f\u0916\u0947\u0902",
    "Ethiopic": "\u120b\u12ad",
    "Khmer": "\u179f\u179a\u179f\u17c1\u179a",
}


def wide(text):
    return "".join(chr(ord(letter) + 0xFEE0) if "!" <= letter <= "~" else letter for letter in text)


@pytest.mark.parametrize("placeholder", FOUND)
@pytest.mark.parametrize("script", WORDS)
def test_data_is_found_beside_letters_of_every_script_on_both_sides(pii, script, placeholder):
    word, data = WORDS[script], FOUND[placeholder]
    for written in (data, wide(data)):
        texts = [f"{word}{written}{word}", f"{word}{written}", f"{written}{word}", f"{word} {written} {word}"]
        found = [row["text"] for row in pii(*texts).values()]
        assert found == [text.replace(written, placeholder) for text in texts]


@pytest.mark.parametrize(
    "text",
    [
        "x93.184.216.34",
        "93.184.216.34y",
        "z4111111111111111",
        "4111111111111111q",
        "\u00e9536-90-4399",
        "536-90-4399\u00e9",
    ],
)
def test_latin_letters_go_on_being_part_of_what_they_touch(pii, text):
    assert pii(text) == {}


@pytest.mark.parametrize(
    ("text", "edited"),
    [
        ("\u0438\u0432\u0430\u043d@\u043f\u043e\u0447\u0442\u0430.\u0440\u0444", "<EMAIL>"),
        ("\u0438\u0432\u0430\u043d.petrov@example.org", "<EMAIL>"),
        ("\u8bf7\u8054\u7cfbann@example.org", "\u8bf7\u8054\u7cfb<EMAIL>"),
    ],
)
def test_an_address_may_be_of_another_script_but_does_not_change_it_from_letter_to_letter(pii, text, edited):
    assert pii(text)[0]["text"] == edited


def test_digits_of_other_scripts_and_their_dashes_are_digits(apply_stage):
    texts = ["\u0664" + "\u0661" * 15, "4111\u30fc1111\u30fc1111\u30fc1111", "03\u30fc3581\u30fc1234"]
    rows, _ = apply_stage(Pii(phone_regions=("JP",)), texts)
    assert [row["text"] for row in rows.values()] == ["<CARD>", "<CARD>", "<PHONE>"]


def test_many_addresses_in_text_without_spaces_are_all_found(pii):
    text = "\u5730\u5740ann@example.org" * 60
    assert pii(text)[0]["text"] == "\u5730\u5740<EMAIL>" * 60


@pytest.mark.parametrize(
    ("text", "edited"),
    [
        ("_jane.doe@example.com_", "_<EMAIL>_"),
        ("__8.8.4.4__ and _4111 1111 1111 1111_", "__<IP>__ and _<CARD>_"),
        ("call _212-555-0199_!", "call _<PHONE>_!"),
        ("*jane.doe@example.com* **212-555-0199**", "*<EMAIL>* **<PHONE>**"),
        ("under_score@example.com", "<EMAIL>"),
    ],
)
def test_what_markdown_emphasizes_is_found(pii, text, edited):
    assert pii(text)[0]["text"] == edited
