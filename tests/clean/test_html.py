"""From HTML to its main text."""

import gzip
import json
import re
from collections import Counter

import pyarrow as pa
import pytest

from curate.clean.html import HtmlText

PAGE = """<!DOCTYPE html><html><head><title>T</title><script>var x = 1;</script></head><body>
<nav><ul><li><a href="/">Home</a></li></ul></nav>
<article><h1>Title</h1><p>First paragraph of the <b>article</b>, long enough to matter.</p><ul><li>item</li></ul></article>
<footer>Imprint</footer></body></html>"""


def test_the_main_text_of_a_page_is_taken_out(apply_stage):
    verdicts, _ = apply_stage(HtmlText(), [PAGE])
    text = verdicts[0]["text"]
    assert "First paragraph of the article, long enough to matter." in text
    assert not re.search("Home|Imprint|var x", text)
    assert (verdicts[0]["reason"], verdicts[0]["value"]) == ("html_text", len(PAGE) - len(text))


def test_all_visible_text_is_taken_when_asked(apply_stage):
    verdicts, _ = apply_stage(HtmlText(main_content=False), [PAGE])
    assert "Imprint" in verdicts[0]["text"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "plain text, 1 < 2 and 3 > 2",
        '<div align="center">logo</div>\n\n# A readme\n\nthat starts with a tag.',
        "Use the <p> element for paragraphs, and close it with </p>.",
    ],
)
def test_what_is_not_html_stays_as_it_is(apply_stage, text):
    assert apply_stage(HtmlText(), [text]) == ({}, {})


@pytest.mark.parametrize("text", ["<p>one</p>", "\n <div class='a'>one</div>\n", "<!-- x --><HTML>one"])
def test_fragments_are_html(apply_stage, text):
    verdicts, _ = apply_stage(HtmlText(), [text])
    assert verdicts[0]["text"] == "one"


def test_the_content_type_decides_where_there_is_one(apply_stage):
    kinds = pa.array(["text/plain", "text/html; charset=utf-8", None])
    verdicts, _ = apply_stage(HtmlText(), ["<p>a</p>", "<b>b</b> text", "<p>c</p>"], content_type=kinds)
    assert {row: verdict["text"] for row, verdict in verdicts.items()} == {1: "b text", 2: "c"}


def test_a_page_without_text_is_dropped(apply_stage):
    verdicts, _ = apply_stage(HtmlText(), ["<html><body><script>x()</script></body></html>"])
    assert (verdicts[0]["verdict"], verdicts[0]["reason"]) == ("dropped", "no_main_text")


def test_a_page_without_text_is_kept_empty_when_asked(apply_stage):
    verdicts, _ = apply_stage(HtmlText(drop_empty=False), ["<html><body></body></html>"])
    assert (verdicts[0]["verdict"], verdicts[0]["text"]) == ("edited", "")


def test_deeply_nested_html_is_read(apply_stage):
    verdicts, _ = apply_stage(HtmlText(main_content=False), ["<div>" * 20000 + "deep" + "</div>" * 20000])
    assert verdicts[0]["text"] == "deep"


def tokens(text):
    return Counter(re.findall(r"\w+", text))


def overlap(found, gold):
    common = sum((tokens(found) & tokens(gold)).values())
    return 2 * common / max(1, tokens(found).total() + tokens(gold).total())


def test_the_main_text_of_real_pages_is_near_the_gold(shared_data, apply_stage):
    folder = shared_data / "zyte_article_extraction"
    gold = json.loads((folder / "ground-truth.json").read_text("utf-8"))
    paths = sorted((folder / "html").glob("*.html.gz"))
    pages = [gzip.decompress(path.read_bytes()).decode("utf-8") for path in paths]
    verdicts, _ = apply_stage(HtmlText(), pages)
    bodies = [gold[path.name.removesuffix(".html.gz")]["articleBody"] for path in paths]
    scores = [overlap(verdicts[row]["text"], body) for row, body in enumerate(bodies)]
    assert sum(scores) / len(scores) >= 0.92
