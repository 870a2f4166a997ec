"""From HTML to its main text."""

import gzip
import json
import re
from collections import Counter

import pyarrow as pa
import pytest

from curate.clean.html import HtmlText, says_article
from curate.clean.main_text import main_markup
from curate.clean.page_blocks import pruned, read_blocks

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
    assert sum(scores) / len(scores) >= 0.97


SAYS_SO = '<meta property="og:type" content="article">'
PROSE = "This is a sentence of the article, with a comma, and it goes on for a while until it ends. " * 3
STORY = f"""<!DOCTYPE html><html><head>{SAYS_SO}<title>A story</title></head><body>
<div class="cookie-banner"><p>We use cookies.</p><button>Accept</button></div>
<article><h1>A story</h1>{"".join(f"<p>{number}. {PROSE}</p>" for number in range(6))}
<ul class="related-links"><li><a href="/1">Another story that you may like</a></li>
<li><a href="/2">One more of these stories</a></li></ul>
<div class="card"><h3><a href="/3">Read more of this</a></h3><p class="meta">By A. Author, 3 May</p></div>
</article><div class="comments"><p>{PROSE}I disagree.</p></div><div style="display: none">Hidden away</div></body></html>"""


def test_boxes_and_teasers_go_where_a_page_says_that_it_is_an_article(apply_stage):
    verdicts, _ = apply_stage(HtmlText(), [STORY])
    text = verdicts[0]["text"]
    assert text.count("This is a sentence") == 18
    assert not re.search("cookies|Another story|Read more|Author|disagree|Hidden", text)
    assert verdicts[0]["reason"] == "html_text"


def test_what_does_not_say_so_is_read_by_rules_as_before(apply_stage):
    page = STORY.replace(SAYS_SO, "")
    by_rules = apply_stage(HtmlText(articles="none"), [STORY, page])[0]
    assert apply_stage(HtmlText(), [page])[0][0]["text"] == by_rules[1]["text"] == by_rules[0]["text"]
    assert apply_stage(HtmlText(articles="all"), [page])[0][0]["text"] != by_rules[1]["text"]


def test_an_article_in_which_the_model_finds_too_little_is_read_by_rules_and_told_so(apply_stage):
    card = f"<div class='product card'><h3><a href='/'>A product</a></h3><p class='meta'>{PROSE}</p></div>"
    page = f"<html><head>{SAYS_SO}</head><body><main>{card * 9}</main></body></html>"
    verdicts, _ = apply_stage(HtmlText(), [page])
    assert verdicts[0]["reason"] == "html_text_by_rules"
    assert verdicts[0]["text"] == apply_stage(HtmlText(articles="none"), [page])[0][0]["text"] != ""


@pytest.mark.parametrize(
    ("markup", "says"),
    [
        ("<meta content='article' property='og:type'>", True),
        ('<META PROPERTY=og:type CONTENT="article">', True),
        ('<meta property="og:type" content="website"><meta name="x" content="article">', False),
        ('<pre>&lt;meta property="og:type" content="article"&gt;</pre>', False),
        ('<script type="application/ld+json">{"@type": "NewsArticle"}</script>', True),
        ('<script type="application/ld+json">{"@type": ["BlogPosting"]}</script>', True),
        ('<script type="application/ld+json">{"@type": "Product"}</script>', False),
        ('<div itemscope itemtype="https://schema.org/Article">', True),
        ("an article", False),
    ],
)
def test_a_page_says_in_metadata_that_it_is_an_article(markup, says):
    assert says_article(markup) is says


def test_blocks_end_where_browsers_begin_a_line_and_know_their_links():
    page = read_blocks(
        "<title>T &amp; U</title><p>one <b>two</b><p>three<br>four<br> <br>five <a href=x>six</a><div>seven<hr>eight</div>"
        "<script>'<p>no</p>'</script><!-- <p>no</p> --><textarea>no</textarea><p title='1 > 0 < 2'>1 &lt; 2</p>nine"
    )
    assert page.title == "T & U"
    assert [block.text for block in page.blocks] == [
        "one two", "three four", "five six", "seven", "eight", "1 < 2", "nine",
    ]  # fmt: skip
    assert [block.linked for block in page.blocks] == [0, 0, 3, 0, 0, 0, 0]


def test_what_is_pruned_leaves_the_rest_as_it_was():
    page = read_blocks(
        "<body><div><p>a <i>b</i></p><p>c<script>d</script></p></div><ul><li>e</li><li>f</li></ul>g <b>h</b></body>"
    )
    assert pruned(page, range(len(page.blocks))) == page.source.replace("<script>d</script>", "").replace(
        "<head></head>", ""
    )
    assert pruned(page, [0, 3]) == "<html><body><div><p>a <i>b</i></p></div><ul><li>f</li></ul><b></b></body></html>"


@pytest.mark.parametrize(
    "page",
    [
        "<p>",
        "<html></html>",
        "<!-- x -->",
        "<script>x",
        "<p>one",
        f"<b>{'<a>' * 3000}x</b>",
        "<p></p></p>x<br>",
        "<p>&#0;x</p>",
    ],
)
def test_odd_pages_are_read_as_by_rules(apply_stage, page):
    made = [
        apply_stage(HtmlText(articles=articles, drop_empty=False), [f"<html>{page}"])[0] for articles in ("all", "none")
    ]
    assert made[0][0]["text"] == made[1][0]["text"]


def test_deep_pages_are_read_by_the_model():
    assert "deep" in (main_markup("<div>" * 20000 + f"deep. {PROSE}" + "</div>" * 20000, comments=False) or "deep")


def test_pages_do_not_depend_on_those_before_them(apply_stage):
    alone = apply_stage(HtmlText(), [STORY])[0][0]["text"]
    assert apply_stage(HtmlText(), [PAGE, STORY, PAGE, STORY])[0][3]["text"] == alone
