"""Languages: codes, names, and stop words of their own."""

from __future__ import annotations

import sys

import pytest
from pydantic import TypeAdapter, ValidationError

from curate.errors import CurateError
from curate.stages.languages import LanguageCode, code_of_name, find_language, stop_words

CODE = TypeAdapter(LanguageCode)


@pytest.mark.parametrize("code", ["deu", "de", "deu_Latn", "de_Latn"])
def test_a_language_has_one_list_whatever_its_code(code):
    assert {"und", "der", "ist"} <= set(stop_words(code))
    assert not {"the", "have"} & set(stop_words(code))


def test_english_has_the_papers_words():
    words = ("the", "be", "to", "of", "and", "that", "have", "with")
    assert stop_words("eng") == stop_words("en") == stop_words("eng_Latn") == words


@pytest.mark.parametrize("code", ["fry", "nno", "hin_Latn", "srp_Latn", "zho_Latn", "tok_Latn"])
def test_a_language_or_a_script_without_a_list_has_no_stop_words(code):
    assert stop_words(code) == ()


def test_a_list_holds_words_of_its_script_and_no_marks():
    assert all(any("\u4e00" <= letter <= "\u9fff" for letter in word) for word in stop_words("zho"))


def test_words_are_read_where_they_are_installed():
    from spacy.lang.fr.stop_words import STOP_WORDS

    assert set(stop_words("fra")) <= STOP_WORDS


@pytest.mark.parametrize(("code", "script"), [("zho", "Hani"), ("hi", "Deva"), ("ara", "Arab"), ("msa", "Latn")])
def test_a_code_without_a_script_means_the_usual_one(code, script):
    found = find_language(code)
    assert found
    assert found.script == script


@pytest.mark.parametrize(
    ("name", "code", "short"),
    [
        ("English", "eng", "en"),
        ("german", "deu", "de"),
        ("Greek", "ell", "el"),
        ("deu", "deu", "de"),
        ("zz", None, None),
    ],
)
def test_a_name_leads_to_a_code(name, code, short):
    assert code_of_name(name) == code
    assert code_of_name(name, {"en", "de", "el"}) == short


@pytest.mark.parametrize(("written", "meant"), [("english", "eng"), ("German", "deu"), ("dea", "de")])
def test_an_unknown_code_is_refused_with_the_one_that_was_meant(written, meant):
    with pytest.raises(ValidationError, match=f"no tokenizer for the language `{written}`; did you mean `{meant}`"):
        CODE.validate_python(written)


def test_checking_a_code_imports_no_library():
    before = set(sys.modules)
    assert CODE.validate_python("fra") == "fra"
    assert not {"datatrove", "spacy", "regex"} & (set(sys.modules) - before)


# ---- tokenizers


@pytest.mark.parametrize(
    ("language", "package"),
    [("jpn", "sudachipy"), ("kor", "kiwipiepy"), ("tha", "pythainlp"), ("zho", "jieba"), ("hin", "indic-nlp-library")],
)
def test_a_tokenizer_without_its_package_says_how_to_get_it(language, package, monkeypatch):
    from datatrove.utils.word_tokenizers import load_word_tokenizer

    from curate.stages.words import word_tokenizer

    for name in ("sudachipy", "kiwipiepy", "pythainlp", "jieba", "indicnlp"):
        monkeypatch.setitem(sys.modules, name, None)
    load_word_tokenizer.cache_clear()
    with pytest.raises(CurateError, match=f"words of the language `{language}` need another package") as error:
        word_tokenizer(language)
    assert error.value.hint.startswith("pip install ")
    assert package in error.value.hint


def test_a_tokenizer_without_its_model_is_no_fault_of_the_documents(monkeypatch):
    from datatrove.utils import word_tokenizers

    from curate.stages.words import word_tokenizer

    def missing(self, text):
        raise LookupError("Resource punkt not found")

    monkeypatch.setattr(word_tokenizers.SpaCyTokenizer, "word_tokenize", missing)
    with pytest.raises(CurateError, match="the tokenizer of the language `swe` does not work here: LookupError"):
        word_tokenizer("swe")


def test_a_code_gets_the_tokenizer_of_its_usual_script():
    from curate.stages.words import word_tokenizer

    assert word_tokenizer("ara") is word_tokenizer("ara_Arab")
    assert word_tokenizer("ara").language == "ar"
