"""The quality filters by themselves: settings, features, edits."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from curate.filter.c4 import C4
from curate.filter.fineweb import FineWeb
from curate.filter.gopher import GopherQuality, GopherRepetition

PROSE = "The farmer walked to the market with a basket of apples and sold them to the people of the town. "


def dropped(rows):
    return {row: verdict["reason"] for row, verdict in rows.items() if verdict["verdict"] == "dropped"}


def test_prose_passes_every_gopher_quality_rule(apply_stage):
    rows, features = apply_stage(GopherQuality(), [PROSE * 5])
    assert rows == {}
    assert features["words"] == [100]


def test_a_text_without_words_is_short(apply_stage):
    rows, _ = apply_stage(GopherQuality(min_words=1), ["", "\u2026", "one"])
    assert dropped(rows)[0] == dropped(rows)[1] == "gopher_short_doc"


def test_another_threshold_is_decided_from_the_same_features():
    stage = GopherQuality()
    import pyarrow as pa

    features = stage.open()(pa.table({"text": [PROSE * 2, PROSE * 9]}))
    assert stage.decide(features).column("row").to_pylist() == [0]
    assert GopherQuality(min_words=10).decide(features).num_rows == 0


@pytest.mark.parametrize("stage", [GopherQuality, GopherRepetition, FineWeb])
def test_thresholds_are_settings_that_the_measure_does_not_read(stage):
    import pyarrow as pa

    off = {
        name: None
        for name, field in stage.model_fields.items()
        if name in stage.thresholds
        and field.default is not None
        and "None" in str(field.annotation)
        and name not in ("max_top_n_gram", "max_repeated_n_grams")
    }
    table = pa.table({"text": [PROSE * 4, "- a\n" * 9, ""]})
    assert stage.thresholds <= stage.model_fields.keys()
    assert stage().open()(table).equals(stage(**off).open()(table))


@pytest.mark.parametrize("stage", [GopherQuality(), GopherRepetition(), FineWeb()])
def test_a_batch_without_documents_has_features_of_the_same_types(stage):
    import pyarrow as pa

    measure = stage.open()
    full, none = measure(pa.table({"text": [PROSE]})), measure(pa.table({"text": pa.array([], pa.string())}))
    assert none.schema == full.schema


def test_an_unknown_setting_is_refused():
    with pytest.raises(ValidationError, match="min_wrds"):
        GopherQuality(min_wrds=3)


def test_repeated_lines_tell_their_share(apply_stage):
    rows, _ = apply_stage(GopherRepetition(), ["same line here\n" * 4 + "other"])
    assert (rows[0]["reason"], rows[0]["value"], rows[0]["threshold"]) == ("dup_line_frac", 0.6, 0.3)


def test_a_list_has_too_many_short_lines(apply_stage):
    rows, _ = apply_stage(FineWeb(), ["Home.\nAbout.\nContact.\n"])
    assert dropped(rows) == {0: "short_line_ratio"}


def test_lines_that_are_no_sentences_are_taken_out(apply_stage):
    text = (
        "Menu\n"
        + PROSE.strip()
        + "\n"
        + "It was a sunny day. The bells rang. All was well. And so it went.\nWe use JavaScript here."
    )
    rows, _ = apply_stage(C4(), [text])
    assert rows[0]["text"] == "\n".join(text.split("\n")[1:3])
    assert rows[0]["detail"] == "javascript=1, no_terminal_punc=1"
    assert rows[0]["value"] == len(text) - len(rows[0]["text"])


def test_too_few_sentences_are_counted(apply_stage):
    rows, _ = apply_stage(C4(), ["It was a sunny day. The bells rang loudly.\nNo sentence"])
    assert (rows[0]["reason"], rows[0]["value"], rows[0]["threshold"]) == ("too_few_sentences", 2, 5)


def test_a_curly_bracket_drops_the_document(apply_stage):
    rows, _ = apply_stage(C4(), ["One two three {.\nOne two {three."])
    assert (rows[0]["reason"], rows[0]["value"], rows[0]["threshold"]) == ("curly_bracket", 1, 0)


# ---- other languages

GERMAN = "Der Bauer ging mit einem Korb voller Birnen auf den Markt und verkaufte sie dort den Leuten aus der Stadt. "


def test_german_prose_passes_with_german_stop_words(apply_stage):
    rows, features = apply_stage(GopherQuality(language="deu"), [GERMAN * 4])
    assert rows == {}
    assert features["stop_words"][0] > 5


def test_a_list_of_names_has_no_stop_words_in_any_language(apply_stage):
    rows, _ = apply_stage(GopherQuality(language="deu"), ["Karl Anna Peter Bremen Tisch Lampe Wagen Apfel " * 10])
    assert (rows[0]["reason"], rows[0]["value"], rows[0]["threshold"]) == ("gopher_enough_stop_words", 0, 2)


def test_a_language_without_a_list_is_not_asked_for_stop_words(apply_stage):
    stage = GopherQuality(language="nno")
    rows, features = apply_stage(stage, [GERMAN * 4])
    assert (rows, features["stop_words"]) == ({}, [0])
    assert stage.rules()[-1].minimum is None


def test_stop_words_of_ones_own_are_asked_for_in_every_language(apply_stage):
    rows, _ = apply_stage(GopherQuality(language="nno", stop_words=("og", "ikkje")), [GERMAN * 4])
    assert dropped(rows) == {0: "gopher_enough_stop_words"}


@pytest.mark.parametrize("stage", [GopherQuality, GopherRepetition, FineWeb, C4])
def test_a_language_by_its_name_is_refused_with_its_code(stage):
    with pytest.raises(ValidationError, match="`english`; did you mean `eng`"):
        stage(language="english")


# ---- reasons


@pytest.mark.parametrize("stage", [GopherQuality, GopherRepetition, FineWeb])
def test_every_reason_has_its_meaning_and_names_its_setting(stage):
    assert [rule.reason for rule in stage().rules()] == list(stage.reasons)
    for rule in stage().rules():
        if rule.reason != "empty":
            (named,) = [name for name in stage.model_fields if f"`{name}`" in stage.reasons[rule.reason]]
            assert named.startswith("min_" if rule.minimum is not None else "max_")
