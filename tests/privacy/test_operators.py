"""What stands in the place of personal data, and the key that it is made with."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from curate.errors import CurateError
from curate.privacy.keys import key_id, load_key
from curate.privacy.operators import normal_form, operator
from curate.privacy.pii import Pii

KEY, OTHER = "k" * 32, "o" * 40
TEXT = "ann@example.co.uk, 212-555-0143, 4111 1111 1111 1111, 93.184.216.34"


@pytest.fixture
def edit(documents, monkeypatch):
    """The text that the stage makes of one, with a key in the environment; None where the document is dropped."""

    def edited(text, key=KEY, **settings):
        monkeypatch.setenv("PII_KEY", key)
        keyed = {"key": "env:PII_KEY"} if settings.get("operators") else {}
        [row] = Pii(**keyed, **settings).open()(documents([text])).verdicts.to_pylist()
        return row["text"]

    return edited


def test_a_mask_keeps_the_form(edit):
    assert edit("call 212-555-0143", operators={"phone": "mask"}) == "call ***-***-****"


def test_a_pseudonym_is_the_same_for_the_same_value_however_it_is_written(edit):
    text = "Ann@Example.co.uk ann@example.co.uk bob@example.co.uk +12125550143 and call +1 212 555 0143"
    first, same, other, phone, again = re.findall(
        r"<\w+>", edit(text, operators={"email": "pseudonym", "phone": "pseudonym"})
    )
    assert first == same
    assert other != first
    assert phone == again
    assert re.fullmatch(r"<EMAIL_[a-p]{14}>", first)


def test_another_key_gives_other_pseudonyms_and_the_same_key_the_same(edit):
    made = [edit(TEXT, key, operators={"email": "pseudonym"}) for key in (KEY, KEY, OTHER)]
    assert made[0] == made[1] != made[2]


def test_the_same_digits_as_card_and_phone_get_two_pseudonyms():
    card, phone = (operator("pseudonym", kind, "<X>", b"k" * 32) for kind in ("CREDIT_CARD", "PHONE_NUMBER"))
    assert card("4111111111111111") != phone("4111111111111111")


def test_surrogates_look_like_the_value_are_the_same_for_it_and_nobodys(edit):
    everything = dict.fromkeys(("email", "phone", "card", "ip"), "surrogate")
    email, phone, card, ip = edit(TEXT, operators=everything).split(", ")
    assert re.fullmatch(r"[a-z]+\.[a-z]+\d+@example\.(com|net|org)", email)
    assert re.fullmatch(r"2\d\d-555-01\d\d", phone)
    assert re.fullmatch(r"9\d{3} \d{4} \d{4} \d{4}", card)
    assert re.fullmatch(r"(192\.0\.2|198\.51\.100|203\.0\.113)\.\d+", ip)
    assert edit(TEXT, operators=everything) == edit(TEXT, operators=everything)


@pytest.mark.parametrize(
    ("kind", "value", "form"),
    [
        ("US_SSN", "078-05-1120", r"666-\d\d-\d{4}"),  # an area that no number has
        ("PHONE_NUMBER", "769-3540", r"555-01\d\d"),
        ("PHONE_NUMBER", "0049-30-901820", r"00\d\d-\d\d-\d{6}"),
        ("PHONE_NUMBER", "212-555-0143", r"2\d\d-555-01\d\d"),
    ],
)
def test_a_surrogate_is_in_a_range_that_is_nobodys_and_keeps_its_form(kind, value, form):
    import re

    for number in range(20):
        assert re.fullmatch(form, operator("surrogate", kind, "<X>", bytes([number]) * 32)(value))


def test_a_surrogate_of_a_card_has_a_right_check_digit_and_of_an_iban_a_right_check():
    from presidio_analyzer.predefined_recognizers import CreditCardRecognizer

    card = operator("surrogate", "CREDIT_CARD", "<CARD>", b"k" * 32)("4111-1111-1111-1111").replace("-", "")
    assert CreditCardRecognizer().validate_result(card)
    iban = operator("surrogate", "IBAN_CODE", "<IBAN>", b"k" * 32)("DE89 3704 0044 0532 0130 00")
    plain = iban.replace(" ", "")
    assert int("".join(str(int(one, 36)) for one in plain[4:] + plain[:4])) % 97 == 1
    assert [len(part) for part in iban.split(" ")] == [4, 4, 4, 4, 4, 2]


@pytest.mark.parametrize(
    "text",
    [
        'api_key: "x9Fk2LmQ8rT4vW6z"4111 1111 1111 1111,212-555-0143 now',
        "4111-1111-1111-1111+1 212 555 0143555",
        "4111 1111 1111 1111 212-555-0143",
    ],
)
@pytest.mark.parametrize("name", ["placeholder", "mask", "pseudonym"])
def test_what_shows_only_beside_what_stands_instead_goes_the_first_time(edit, text, name):
    assert "0143" not in edit(text, operators={"phone": name, "card": name, "secret": name})


PIECES = (
    "ann@example.co.uk", "212-555-0143", "+1 212 555 0143", "4111-1111-1111-1111", "DE89 3704 0044 0532 0130 00", "8.8.8.8",
    "219-09-9998", "00:1a:2b:3c:4d:5e", 'api_key: "x9Fk2LmQ8rT4vW6z"', "https://ann:pa55word@host.com", "call ", "card ", " ",
    "-", ".", ",", ":", "@", "\n", "12", "555", "\u4e2d",
)  # fmt: skip


@pytest.fixture(scope="module")
def openings():
    every = Pii().entities
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PII_KEY", KEY)
        names = ("placeholder", "mask", "pseudonym")
        return {one: Pii(operators=dict.fromkeys(every, one), key="env:PII_KEY").open() for one in names}


@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=9), st.sampled_from(["placeholder", "mask", "pseudonym"]))
def test_a_second_time_changes_nothing(openings, pieces, name):
    import pyarrow as pa

    def once(text):
        rows = openings[name](pa.table({"text": [text]})).verdicts.to_pylist()
        return rows[0]["text"] if rows else text

    text = once("".join(pieces))
    assert once(text) == text


@given(
    st.text(min_size=1, max_size=30),
    st.sampled_from(["PERSON", "US_SSN", "MAC_ADDRESS", "CRYPTO", "PHONE_NUMBER", "SECRET"]),
)
def test_any_value_has_a_surrogate(value, kind):
    made = operator("surrogate", kind, "<X>", b"k" * 32)
    assert made(value) == made(value)
    assert isinstance(normal_form(kind, value), str)


def test_a_document_may_leave_for_what_it_holds_and_what_is_kept_stays(documents, monkeypatch):
    stage = Pii(operators={"card": "drop", "email": "keep"})
    rows = stage.open()(
        documents(["card 4111111111111111", "ann@example.co.uk", "ann@example.co.uk 93.184.216.34"])
    ).verdicts
    first, last = rows.to_pylist()
    assert (first["verdict"], first["reason"]) == ("dropped", "personal_data")
    assert (first["value"], first["detail"]) == (1, "CREDIT_CARD")
    assert (last["row"], last["text"]) == (2, "ann@example.co.uk <IP>")
    assert [span["type"] for span in last["spans"]] == ["IP_ADDRESS"]


def test_why_tells_the_rule_and_not_the_value(project):
    project.write("in.txt", "mail ann@example.co.uk now")
    project.pipeline("{dataset: toy, sources: [{stage: files, paths: in.txt}], stages: [{stage: pii}]}")
    project.run()
    told = project.cli("why", "in.txt#0").out
    assert "EMAIL_ADDRESS at 5-22 (EmailRecognizer: Email (Medium))" in told
    assert "ann@" not in told


# ---- keys


@pytest.mark.parametrize(
    "settings", [{"operators": {"email": "pseudonym"}}, {"operators": {"email": "surrogate"}, "key": "abc"}]
)
def test_a_key_is_named_and_never_given(settings):
    with pytest.raises(ValidationError, match="env:NAME"):
        Pii(**settings)


def test_a_key_in_the_wrong_place_is_not_shown(project):
    project.write("in.txt", "mail ann@example.co.uk now")
    stages = f"stages: [{{stage: pii, operators: {{email: pseudonym}}, key: {KEY}}}]"
    project.pipeline(f"{{dataset: toy, sources: [{{stage: files, paths: in.txt}}], {stages}}}")
    done = project.cli("validate", "pipeline.yaml")
    assert done.code == 2
    assert "write where the key is" in done.err
    assert KEY not in done.err + done.out
    with pytest.raises(ValidationError) as refused:
        Pii(key=KEY)
    assert KEY not in str(refused.value)


def test_validating_without_the_key_says_that_a_run_would_stop(project, monkeypatch):
    monkeypatch.delenv("PII_KEY", raising=False)
    project.write("in.txt", "mail ann@example.co.uk now")
    stages = "stages: [{stage: pii, operators: {email: pseudonym}, key: 'env:PII_KEY'}]"
    project.pipeline(f"{{dataset: toy, sources: [{{stage: files, paths: in.txt}}], {stages}}}")
    done = project.cli("validate", "pipeline.yaml")
    assert done.code == 0
    assert (
        "on this machine a run would stop at `pii`: the stage `pii` needs the key in the variable `PII_KEY`" in done.err
    )


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("env:NOT_THERE", "`NOT_THERE`, which is not set"),
        ("env:SHORT", "has 5 bytes; 32 are needed"),
        ("file:missing.key", "No such file"),
        ("file:open.key", "others may read the key"),
        (None, "needs a key"),
    ],
)
def test_a_key_that_is_missing_short_or_open_to_others_is_refused(monkeypatch, tmp_path, source, problem):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SHORT", "short")
    (tmp_path / "open.key").write_text(KEY)
    (tmp_path / "open.key").chmod(0o644)
    with pytest.raises(CurateError, match=problem):
        load_key(source, "the stage `pii`")


def test_a_key_file_of_its_owner_is_read(tmp_path):
    (tmp_path / "my.key").write_text(KEY + "\n")
    (tmp_path / "my.key").chmod(0o600)
    assert load_key(f"file:{tmp_path}/my.key", "x") == KEY.encode()


def test_a_version_tells_which_key_and_nothing_of_it_and_another_key_makes_another_version(project, monkeypatch):
    project.write("in.txt", "mail ann@example.co.uk now")
    stages = "stages: [{stage: pii, operators: {email: pseudonym}, key: 'env:PII_KEY'}]"
    project.pipeline(f"{{dataset: toy, sources: [{{stage: files, paths: in.txt}}], {stages}}}")
    versions = []
    for key in (KEY, OTHER, KEY):
        monkeypatch.setenv("PII_KEY", key)
        versions.append(project.run().version)
    assert versions[0] == versions[2] != versions[1]
    manifest = json.dumps(project.store.manifest(versions[0]))
    assert key_id(KEY.encode()) in manifest
    for path in (project.root / ".curate").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert KEY.encode() not in content, path
            assert b"ann@example" not in content or path.parts[-3] == "objects", path
