"""Personal data: what is found, what stands in its place, and that nothing else changes."""

from __future__ import annotations

import json
import socket

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from curate.errors import CurateError
from curate.privacy.pii import Pii
from curate.privacy.recognizers import TYPES, load_recognizers
from curate.privacy.spans import resolve
from curate.stages.contract import Span

PLACEHOLDERS = ("<EMAIL>", "<PHONE>", "<IP>", "<CARD>", "<IBAN>", "<SSN>")


# ---- what is found


@pytest.mark.parametrize(
    ("text", "edited"),
    [
        ("Write to Ann.Lee+news@mail.example.co.uk today.", "Write to <EMAIL> today."),
        ("Call (212) 555-0199 or +44 20 7946 0018 now", "Call <PHONE> or <PHONE> now"),
        ("From 93.184.216.34 and 2001:4860:4860::8888.", "From <IP> and <IP>."),
        ("Pay with 4111 1111 1111 1111, please", "Pay with <CARD>, please"),
        ("IBAN DE89 3704 0044 0532 0130 00.", "IBAN <IBAN>."),
        ("My SSN is 536-90-4399.", "My SSN is <SSN>."),
        ("ssn: 536904399", "ssn: <SSN>"),
        ("2600:: and 64:ff9b::5db8:d822 and ::ffff:93.184.216.34", "<IP> and <IP> and <IP>"),
        ("1. 4111111111111111", "1. <CARD>"),
        ("host == 8.8.8.8, ip==8.8.4.4 and server_ip: 93.184.216.34", "host == <IP>, ip==<IP> and server_ip: <IP>"),
    ],
)
def test_structured_data_becomes_a_typed_placeholder(pii, text, edited):
    assert pii(text)[0]["text"] == edited


@pytest.mark.parametrize(
    "text",
    [
        "In 1990 and 2001, pages 168-9, were 12 of 4,000.",
        "Version 10.0.0.1 of 127.0.0.1 and 192.168.1.10",
        "Order 4111 1111 1111 1112 of std::vector<int> at 12:30:45",
        "me@localhost and @name and a@b",
        "a = 0.31547076166137211, b = [0.82687265, -0.40144163], c = [[-0.52487006, 0.31508988], ((0.342931,",
        "every[::2] back[9::-1] odd[1::2] netmask='ffff:ffff:ffff:ffff::'",
        "",
        "version 1.2.3.4, v1.2.3.4, pkg==1.2.3.4, other>=8.8.4.4, Release 8.8.8.8 and section 8.8.4.4",
        "no digit, no sign",
        "v3.5.0 2024-08-17 and 0.41.0 - 0.43.0  14.x.x of 51.9 15 39 52.32 -23 50 26.1 12.9",
    ],
)
def test_what_is_no_personal_data_stays(pii, text):
    assert pii(text) == {}


def test_private_addresses_are_replaced_on_request(apply_stage):
    rows, _ = apply_stage(Pii(entities=("ip",), public_ips_only=False), ["at 192.168.1.10 there"])
    assert rows[0]["text"] == "at <IP> there"


def test_only_the_entities_asked_for_are_replaced(apply_stage):
    rows, _ = apply_stage(Pii(entities=("email",)), ["a@b.org 212-555-0199"])
    assert rows[0]["text"] == "<EMAIL> 212-555-0199"


def test_a_higher_score_keeps_unproven_numbers(apply_stage):
    rows, _ = apply_stage(Pii(min_scores={"phone": 0.9}), ["a@b.org 212-555-0199"])
    assert rows[0]["text"] == "<EMAIL> 212-555-0199"


def test_numbers_of_a_region_are_found_when_it_is_asked_for(apply_stage):
    text = "030 901820"
    assert apply_stage(Pii(entities=("phone",), phone_regions=("US",)), [text])[0] == {}
    assert apply_stage(Pii(entities=("phone",), phone_regions=("DE",)), [text])[0][0]["text"] == "<PHONE>"


def test_an_unknown_region_is_an_error_of_the_user():
    with pytest.raises(CurateError, match="`UK` in `phone_regions`"):
        Pii(entities=("phone",), phone_regions=("UK",)).open()


def test_a_number_beside_a_placeholder_is_not_taken_for_its_kind(pii):
    assert pii("My ssn 536-90-4399 and then also comes the part 536904398")[0]["text"] == (
        "My ssn <SSN> and then also comes the part 536904398"
    )


# ---- what is recorded


def test_the_verdict_has_the_count_and_the_spans_in_the_text_as_it_was(pii):
    verdict = pii("To a.b@c.org from 93.184.216.34")[0]
    assert (verdict["verdict"], verdict["reason"], verdict["value"]) == ("edited", "pii", 2)
    spans = [(span["start"], span["end"], span["type"]) for span in verdict["spans"]]
    assert spans == [(3, 12, "EMAIL_ADDRESS"), (18, 31, "IP_ADDRESS")]


def test_a_span_names_the_rule_that_found_it(pii):
    text = "a.b@c.org 93.184.216.34 4111111111111111 AKIAQYLPMN5HFIQR7XYA 0x52908400098527886e0f7030069857d2e4169ee7"
    assert [span["rule"] for span in pii(text)[0]["spans"]] == [
        "EmailRecognizer: Email (Medium)", "IpRecognizer: IPv4", "CreditCardRecognizer: All Credit Cards (weak)",
        "secret: aws_access_key", "Ethereum: 0x and 40 digits",
    ]  # fmt: skip


def test_the_verdict_never_holds_the_value(pii):
    verdict = pii("To a.b@c.org, card 4111111111111111")[0]
    assert "a.b@c" not in json.dumps(verdict)
    assert "4111" not in json.dumps(verdict)


# ---- settings


@pytest.mark.parametrize("placeholder", ["", "EMAIL", "<>", "<a@b>", "<E 1>", "{EMAIL}", "<A>b<C>"])
def test_a_placeholder_that_could_be_taken_for_data_is_refused(placeholder):
    with pytest.raises(ValidationError, match="the placeholder of `email`"):
        Pii(placeholders={"email": placeholder})


def test_placeholders_are_the_users(apply_stage):
    rows, _ = apply_stage(Pii(placeholders={"email": "[ADDRESS]"}), ["a@b.org 536-90-4399"])
    assert rows[0]["text"] == "[ADDRESS] <SSN>"


# ---- properties

PIECES = [
    "a.b@c.org",
    "x@",
    "@y.com",
    "ann@mail.example.com",
    "4111 1111 1111 1111",
    "4111111111111111",
    "5500-0000-0000-0004",
    "536-90-4399",
    "536904399",
    "212-555-0199",
    "+44 20 7946 0018",
    "(03) 5550",
    "93.184.216.34",
    "1.2.3.4/24",
    "2001:4860::8888",
    "::",
    "::1",
    "DE89370400440532013000",
    "GB82 WEST 1234 5698 7654 32",
    "ssn",
    "card",
    "phone",
    "1990",
    "7",
    "12",
    "345",
    "-",
    ".",
    " ",
    " ",
    " ",
    "\n",
    "x",
    "/",
    ":",
    "<",
    ">",
    "\u0664\u0662",
    "\U0001f600",
    *PLACEHOLDERS,
]
MIXTURES = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=4)), max_size=16).map("".join)
EXAMPLES = settings(
    derandomize=True,
    deadline=None,
    max_examples=300,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.mark.slow
@EXAMPLES
@given(text=MIXTURES)
def test_everything_but_the_spans_stays_byte_for_byte(pii, text):
    verdict = pii(text).get(0)
    if verdict is None:
        return
    spans, position, pieces = verdict["spans"], 0, []
    for span in spans:
        assert position <= span["start"] < span["end"] <= len(text)
        pieces += [text[position : span["start"]], None]
        position = span["end"]
    rest = verdict["text"]
    for piece in [*pieces, text[position:]]:
        if piece is None:
            placeholder = next(p for p in PLACEHOLDERS if rest.startswith(p))
            rest = rest.removeprefix(placeholder)
        else:
            assert rest.startswith(piece)
            rest = rest.removeprefix(piece)
    assert rest == ""


@pytest.mark.slow
@EXAMPLES
@given(text=MIXTURES)
def test_applied_again_it_changes_nothing(pii, text):
    verdict = pii(text).get(0)
    assert verdict is None or pii(verdict["text"]) == {}


@pytest.fixture(scope="module")
def both():
    """By entity: Presidio's recognizer for whole texts, and ours on windows."""
    from curate.privacy.recognizers import _presidio

    kinds = ("email", "ip", "card", "iban", "ssn")
    ours = load_recognizers(kinds, phone_regions=(), public_ips_only=False)
    return [(kind, _presidio(kind), recognizer.find) for kind, recognizer in zip(kinds, ours, strict=True)]


@pytest.mark.slow
@EXAMPLES
@given(
    parts=st.lists(MIXTURES, min_size=1, max_size=4),
    gap=st.sampled_from([" ", "\n", " lorem ipsum dolor sit amet " * 4]),
)
def test_windows_find_what_presidio_finds_in_the_whole_text(both, parts, gap):
    text = gap.join(parts)
    for entity, whole, ours in both:
        found = {(found.start, found.end) for found in whole.analyze(text, [TYPES[entity]])}
        assert {(span.start, span.end) for span in ours(text)} == found, entity


def test_overlaps_go_to_the_checked_then_the_surer_then_the_longer():
    card, phone, ssn = Span(5, 24, "CREDIT_CARD", 1.0), Span(0, 30, "PHONE_NUMBER", 0.75), Span(40, 51, "US_SSN", 0.5)
    other = Span(38, 52, "PHONE_NUMBER", 0.4)
    assert resolve([phone, ssn, card, other]) == [card, ssn]
    assert resolve([Span(0, 5, "US_SSN", 0.5), Span(0, 9, "PHONE_NUMBER", 0.5)]) == [Span(0, 9, "PHONE_NUMBER", 0.5)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    ["1 " * 20_000, "@" * 1_000_000, "a@" * 250_000, "::" * 250_000, "x" * 500_000 + "@b.com", "8.8.8.8 " * 5_000],
)
def test_hostile_texts_take_time_in_proportion(pii, text):
    """Seconds; by the square of the length they would run into the suite's limit."""
    assert len(pii(text)) <= 1


# ---- offline


def test_no_socket_is_opened(monkeypatch, documents):
    def refuse(*arguments, **keywords):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    verdicts = Pii().open()(documents(["mail ann@example.co.uk and bob@made-up.notld"])).verdicts
    assert verdicts.num_rows == 1


# ---- gold texts

FLOORS = {"EMAIL_ADDRESS": 1.0, "IP_ADDRESS": 1.0, "US_SSN": 1.0, "CREDIT_CARD": 0.98, "PHONE_NUMBER": 0.58}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["synth_dataset_v2", "generated_large"])
def test_gold_texts_reach_the_floors_of_recall(shared_data, apply_stage, name):
    records = json.loads((shared_data / "presidio_research" / f"{name}.json").read_text())
    rows, _ = apply_stage(Pii(public_ips_only=False), [record["full_text"] for record in records])
    for kind, floor in FLOORS.items():
        gold = [(i, s) for i, record in enumerate(records) for s in record["spans"] if s["entity_type"] == kind]
        found = sum(_is_found(span, rows.get(i)) for i, span in gold)
        assert gold
        assert found >= floor * len(gold), kind


@pytest.mark.slow
@pytest.mark.parametrize("name", ["synth_dataset_v2", "generated_large"])
def test_gold_texts_have_almost_no_false_finds(shared_data, apply_stage, name):
    records = json.loads((shared_data / "presidio_research" / f"{name}.json").read_text())
    rows, _ = apply_stage(Pii(public_ips_only=False), [record["full_text"] for record in records])
    wrong = 0
    for i, row in rows.items():
        gold = [(s["start_position"], s["end_position"]) for s in records[i]["spans"]]
        wrong += sum(not any(s["start"] < end and start < s["end"] for start, end in gold) for s in row["spans"])
    assert wrong == 0


def _is_found(gold, row) -> bool:
    """Whether a span of the same type covers at least half of both together."""
    for span in row["spans"] if row else ():
        shared = min(gold["end_position"], span["end"]) - max(gold["start_position"], span["start"])
        both = max(gold["end_position"], span["end"]) - min(gold["start_position"], span["start"])
        if span["type"] == gold["entity_type"] and shared >= both / 2:
            return True
    return False
