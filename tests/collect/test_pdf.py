"""Texts of PDF files: of a book that pdflatex set in two columns, of ReportLab's files, and of files written by hand."""

import io

import pytest

from curate.collect.documents.pdf import clean_pages, read_pdf
from curate.stages.extractor import Unreadable

from .written_pdf import pdf_of, shown, word_f1, words

NAMED_GLYPHS = (
    "<< /Type /Font /Subtype /Type1 /BaseFont /X /FirstChar 1 /LastChar 40 /Encoding << /Type /Encoding "
    f"/Differences [1 {' '.join(f'/g{number}' for number in range(1, 41))}] >> >>"
)


def drawn(draw, **settings):
    """A file of ReportLab's."""
    from reportlab.pdfgen.canvas import Canvas

    file = io.BytesIO()
    canvas = Canvas(file, invariant=True, **settings)
    draw(canvas)
    canvas.save()
    return file.getvalue()


def refused(content):
    with pytest.raises(Unreadable) as error:
        read_pdf(content)
    return error.value.reason


def test_a_book_in_two_columns_has_the_words_that_were_set_in_their_order(shared_data):
    from rapidfuzz.distance import Indel

    book = shared_data / "pdf_book"
    made = read_pdf((book / "two_columns.pdf").read_bytes())
    truth, got = words((book / "text.txt").read_text()), words(made.text)
    assert made.columns["pages"] == 39
    assert "\ufffe" not in made.text
    assert made.text.count("Confidential copy") == 0
    assert word_f1(got, truth) >= 0.985
    assert Indel.normalized_similarity(got, truth) >= 0.985


# ---- what a page adds


BODIES = [
    f"The body of a page about {word} is longer than its head."
    for word in ["rivers", "lakes", "seas", "ponds", "wells"]
]
PAGES = [f"Running head {n}\n{body}\n{n}" for n, body in enumerate(BODIES, 1)]


def test_running_heads_and_page_numbers_are_left_out():
    assert clean_pages(PAGES).replace("\n", " ") == " ".join(BODIES)


def test_pages_that_are_alike_in_every_line_are_content():
    pages = [f"Receipt {n}\nTotal {n}.00" for n in range(9)]
    assert clean_pages(pages).count("Total") == 9


def test_heads_that_change_with_the_chapter_are_left_out_and_lines_that_only_stand_there_stay():
    pages = [
        f"CHAPTER {n // 3}. ON {'ABCDEFGHIJ'[n // 3]}\nWords {'abcdefghijklmnopqrst'[n]} of a page." for n in range(20)
    ]
    assert "CHAPTER" not in clean_pages(pages)
    assert clean_pages(pages).count("Words") == 20


@pytest.mark.parametrize("line", ["Question {n}: what is {word}?", "Figure {n}. The {word}", "Total: {amount} EUR"])
def test_lines_that_open_alike_and_differ_in_words_or_in_amounts_are_content(line):
    amounts = [13.5, 2.75, 980.0, 41.3, 7.99, 120.4]
    lines = [line.format(n=n, word="abcdef"[n] * 5, amount=amounts[n]) for n in range(6)]
    pages = [f"{first}\n" + "\n".join(f"{'uvwxyz'[n]} in {word}" for word in "efghi") for n, first in enumerate(lines)]
    assert all(first in clean_pages(pages) for first in lines)


@pytest.mark.parametrize(
    ("broken", "whole"),
    [
        ("It is con\ufffefiguration.", "It is configuration."),
        ("It is con-\nfiguration.", "It is configuration."),
        ("A well-known river, a well-\nknown one.", "A well-known river, a well-known one."),
        ("The river bank. A river-\nbank.", "The river bank. A river-bank."),
        ("A riverbank. The river bank. A river-\nbank.", "A riverbank. The river bank. A riverbank."),
        ("Anglo-\nSaxon", "Anglo-Saxon"),
        ("a soft\xad\nener and soft\xadener", "a softener and softener"),
        ("10 -\nand more", "10 - and more"),
    ],
)
def test_broken_words_are_joined_as_the_document_writes_them(broken, whole):
    assert " ".join(clean_pages([broken]).split("\n")) == whole


def test_a_word_that_a_page_broke_is_joined_across_its_foot():
    pages = [
        f"{text}\ufffefoot {n} of 4" for n, text in enumerate(["It is con", "figu", "ration, and con", "figured"], 1)
    ]
    text = clean_pages([pages[0], pages[1].replace("figu\ufffe", "figuration\n"), *pages[2:]])
    assert text.startswith("It is configuration")


def test_the_dots_of_a_table_of_contents_are_no_text():
    assert clean_pages(["1 Rivers . . . . . . . . . . 7\n2 Lakes.........9"]) == "1 Rivers 7 2 Lakes 9"


def test_titles_stand_on_lines_of_their_own():
    full = "A paragraph goes over the whole line, and over\nthe next one, until it ends with a sentence."
    assert clean_pages([f"On rivers\n{full}\nOn lakes\n{full}"]).split("\n")[::2] == ["On rivers", "On lakes"]


# ---- what cannot be read


def test_a_scan_has_no_text_layer(shared_data):
    from PIL import Image

    def scan(canvas):
        for _ in range(3):
            canvas.drawInlineImage(Image.new("L", (60, 80), 128), 0, 0, 600, 800)
            canvas.showPage()

    assert refused(drawn(scan)) == "no_text_layer"


def test_an_empty_page_is_no_scan():
    assert read_pdf(drawn(lambda canvas: canvas.showPage())).text == ""


def test_a_file_with_a_password_is_refused_and_one_that_only_forbids_printing_is_read():
    def draw(canvas):
        canvas.drawString(72, 700, "Some plain words")

    assert refused(drawn(draw, encrypt="secret")) == "password"
    from reportlab.lib.pdfencrypt import StandardEncryption

    only = StandardEncryption("", ownerPassword="owner", canPrint=0)
    assert read_pdf(drawn(draw, encrypt=only)).text == "Some plain words"


def test_glyphs_that_stand_for_no_character_are_garbled():
    stream = b"BT /F1 12 Tf 72 700 Td <" + bytes(range(1, 40)).hex().encode() + b"> Tj ET"
    assert refused(pdf_of(stream, NAMED_GLYPHS)) == "garbled_text"
    assert read_pdf(pdf_of(shown("Plain words"))).text == "Plain words"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (pdf_of(shown("Plain words"))[:-60], "truncated"),
        (b"%PDF-1.7\n" + bytes(100), "truncated"),
        (b"%PDF-1.7\nnothing of a PDF\nstartxref\n%%EOF", "corrupt"),
        (b"", "truncated"),
    ],
)
def test_a_file_that_is_cut_or_no_pdf_is_told_apart(content, reason):
    assert refused(content) == reason
