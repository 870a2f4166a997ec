"""Wiki text as a reader of the page reads it."""

import pytest

from curate.clean.wiki import WikiText
from tests.collect.wiki_dump import ARTICLE, PLAIN


def plain(apply_stage, *texts, **columns):
    verdicts, _ = apply_stage(WikiText(), list(texts), **columns)
    return [verdicts[row]["text"] for row in range(len(texts))]


def test_a_page_is_its_prose_lists_formulas_code_and_quotes(apply_stage):
    assert plain(apply_stage, ARTICLE, media_namespaces=["Datei|Kategorie"]) == [PLAIN]


def test_texts_of_other_sources_beside_a_dump_are_left_as_they_are(apply_stage):
    verdicts, _ = apply_stage(WikiText(), ["'''a''' [[b]]", "x = {{ y }}"], media_namespaces=["", None])
    assert {row: one["text"] for row, one in verdicts.items()} == {0: "a b"}


def test_nothing_of_markup_is_left_outside_of_what_is_quoted(apply_stage):
    (text,) = plain(apply_stage, ARTICLE.replace("<nowiki>", "").replace("</nowiki>", "").replace("{{Q}}", "Q"))
    for mark in ("{{", "thumb|", "Category:", "<ref", "{|", "'''"):
        assert mark not in text, mark


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("[[File:a.png|thumb|right|A [[b|c]] {{d}}]]\nrest", "rest"),
        ("[[Category:X]][[category: y|z]][[IMAGE:q.jpg]]rest", "rest"),
        ("a [[b (c)|]] [[d_e]] [[:File:x.png]]", "a d e File:x.png"),
        ("before {{a|{{b|[[c]]}}}} after", "before after"),
        ("{{unclosed [[also", "unclosed also"),
        ("&lt;tag&gt; &eacute;", "<tag> \u00e9"),
        ("a<br />b<!-- c -->", "a\nb"),
        ("x (; {{IPA|y}}) z", "x z"),
        ("https://example.org/a_b and [https://x.example] end", "https://example.org/a_b and end"),
        ("see [[Foo|bar|baz]], the [[norm|norm |x|]] of x", "see bar|baz, the norm |x| of x"),
        ("[[Bild:x.jpg|mini]]a [[Bild:y|mini|c]]b [[:Bild:z.png|see]]", "a b see"),
        ("Use __FILE__ and main() now. __NOTOC__\n__INHALTSVERZEICHNIS__\nend", "Use __FILE__ and main() now.\n\nend"),
        ("f() ({{a}}, {{b}}) (<ref>x</ref>) g", "f() g"),
        ("the set {|x|<1} ends |} here", "the set {|x|<1} ends |} here"),
        ("A<ref name=a> B.\n\nC <div style='x'>D <small>E <gallery>F <graph> <nowiki/> G", "A B.\n\nC D E F G"),
        ("A <!-- B", "A B"),
        ('{| class=x style="a b"\n\nProse.', "Prose."),
        ("x<math/><math></math> y", "x y"),
        ("a &#1;5&#2; &#3;b &#xD800;c&#x9f;", "a 5 b c"),
        ("<gallery>\na.jpg|b\n</gallery>''i'' '''b''' '''''bi'''''", "i b bi"),
    ],
)
def test_markup_by_kind(apply_stage, markup, text):
    assert plain(apply_stage, markup) == [text]


def test_a_page_of_markup_alone_is_dropped(apply_stage):
    verdicts, _ = apply_stage(WikiText(), ["{{Delete}}\n[[Category:X]]", ""])
    assert [verdicts[row]["reason"] for row in (0, 1)] == ["no_text", "no_text"]


def test_deep_and_unbalanced_markup_ends(apply_stage):
    texts = ["{{" * 3000, "[[" * 3000 + "x", "{{a|" * 500 + "}}" * 400, "'''" * 2000, "<ref>" * 2000]
    apply_stage(WikiText(), texts)


def test_characters_that_numbers_write_stand_for_no_quote(apply_stage):
    text = f"<nowiki>{'S' * 1000}</nowiki> {'&#1;0&#2;' * 100}"
    assert plain(apply_stage, text, "&#1;7&#2;") == ["S" * 1000 + " " + "0" * 100, "7"]
