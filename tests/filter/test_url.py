"""Documents whose URL is on a list go, as datatrove's block decides."""

from __future__ import annotations

import random
import sys
from importlib.util import find_spec
from types import ModuleType

import pyarrow as pa
import pytest

from curate.errors import MachineError
from curate.filter.listed import Listed
from curate.filter.url import Url

LISTS = {
    "domains": ("casino.com", "shop.example.co.uk", "xn--e1afmkfd.org"),
    "urls": ("http://fine.org/bad", "fine.org/worse"),
    "banned_words": ("xxx", "Hard-Core"),
    "soft_banned_words": ("cam", "girl", "free"),
    "banned_parts": ("lol ita", "pornhub"),
}
PIECES = (
    "http://", "https://", "www.", "casino.com", "shop.example.co.uk", "example.co.uk", "fine.org", "xn--e1afmkfd.org", "/",
    "/bad", ".", "-", "_", "?", ":80", "user:pw@", "xxx", "XXX", "hardcore", "hard-core", "cam", "girl", "free", "Free", "lol",
    "ita", "porn", "hub", "pornhub", "\u4e2d\u6587", "\u0661", " ", "[::1]", "10.0.0.1", "CASINO.COM", "a", "9", "co.uk", "#",
    *LISTS["urls"],
)  # fmt: skip


class Automaton:
    """What the block asks of pyahocorasick where this is not installed: whether any of the words is in a text."""

    def __init__(self, *_):
        self.words = []

    def __len__(self):
        return len(self.words)

    def add_word(self, word, _):
        self.words.append(word)

    def make_automaton(self):
        pass

    def iter(self, text):
        return (word for word in self.words if word in text)


@pytest.fixture
def block(monkeypatch):
    """datatrove's block with the same lists, and the public suffixes that the package has."""
    for name, content in (("ahocorasick", {"Automaton": Automaton, "STORE_INTS": 0}), ("fasteners", {})):
        if not find_spec(name):
            monkeypatch.setitem(sys.modules, name, module := ModuleType(name))
            vars(module).update(content)
    from datatrove.pipeline.filters.url_filter import URLFilter
    from tldextract import TLDExtract

    monkeypatch.setattr(URLFilter, "_requires_dependencies", [])
    made = URLFilter(
        soft_word_threshold=2,
        extra_domains=LISTS["domains"],
        extra_urls=LISTS["urls"],
        banned_words=LISTS["banned_words"],
        soft_banned_words=LISTS["soft_banned_words"],
        banned_subwords=LISTS["banned_parts"],
        use_integrated_lists=False,
    )
    made.tldextractor = TLDExtract(suffix_list_urls=(), cache_dir=None)
    return made


def reasons(stage, urls):
    """The reason for which each goes, or None."""
    features = stage.open()(pa.table({"url": pa.array(urls, pa.string())}))
    said = stage.decide(features)
    found = dict(zip(said.column("row").to_pylist(), said.column("reason").to_pylist(), strict=True))
    return [found.get(row) for row in range(len(urls))]


def test_urls_made_of_anything_are_judged_as_datatroves_block_judges_them(block):
    from datatrove.data import Document

    chance = random.Random(2)
    urls = ["".join(chance.choices(PIECES, k=chance.randint(1, 9))) for _ in range(6000)]
    said = [block.filter(Document("", "", metadata={"url": url})) for url in urls]
    expected = [None if one is True else one[1] for one in said]
    assert reasons(Url(lists=False, **LISTS), urls) == expected
    assert set(expected) == {
        None,
        "domain",
        "subdomain",
        "url",
        "hard_blacklisted",
        "soft_blacklisted",
        "blacklisted_subword",
    }


def test_a_document_without_url_goes_unless_it_may_stay():
    urls = ["http://fine.org", None, ""]
    assert reasons(Url(lists=False), urls) == [None, "no_url", "no_url"]
    assert reasons(Url(lists=False, keep_without_url=True), urls) == [None, None, None]


def test_the_number_of_softly_banned_words_is_a_threshold():
    lists = {"lists": False, "soft_banned_words": ("cam", "girl")}
    url = "http://fine.org/cam/girl"
    assert reasons(Url(**lists), [url]) == ["soft_blacklisted"]
    assert reasons(Url(**lists, max_soft_words=2), [url]) == reasons(Url(**lists, max_soft_words=None), [url]) == [None]


def test_datatroves_own_lists_are_part_of_what_the_stage_is_known_by():
    assert [path.name for path in Url().model_files()] == [
        "url_filterblacklistsv0_3_0.tar.gz", "banned_words.txt", "banned_subwords.txt", "soft_banned_words.txt",
    ]  # fmt: skip
    assert Url(lists=False).model_files() == []


@pytest.mark.slow
def test_datatroves_own_lists_are_read():
    urls = [
        "https://www.0-1avsex.com/a",
        "https://en.wikipedia.org/wiki/Data",
        "http://a.org/zoophilia",
        "http://a.org/YouJizz1",
    ]
    assert reasons(Url(), urls) == ["domain", None, "hard_blacklisted", "blacklisted_subword"]


def test_without_tldextract_the_error_names_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "tldextract", None)
    with pytest.raises(MachineError, match="stage `url` needs another package"):
        Url(lists=False).open()


@pytest.mark.parametrize("text", ["a.com\nb.org\n\n\u4e2d.cn\nb.org", "a.com\nb.org\n\n\u4e2d.cn\nb.org\n"])
def test_a_listed_line_is_found_and_no_part_of_one(text):
    listed = Listed(text.encode())
    assert [line in listed for line in ("a.com", "b.org", "\u4e2d.cn")] == [True] * 3
    assert not any(line in listed for line in ("", "a.co", ".com", "a.com\nb.org", "A.COM", "\ud800", 5))
    assert sorted(listed) == ["a.com", "b.org", "b.org", "\u4e2d.cn"]
    assert len(listed) == 4


def test_lines_with_one_hash_are_told_apart(monkeypatch):
    import numpy as np

    monkeypatch.setattr("curate.filter.listed._hash_lines", lambda _, cuts: np.zeros(len(cuts) - 1, np.uint64))
    listed = Listed(b"a.com\nb.org\nc.net")
    assert [line in listed for line in ("a.com", "b.org", "c.net", "d.de", "c.ne")] == [True, True, True, False, False]
