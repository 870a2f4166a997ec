"""Texts of Office, OpenDocument and EPUB files; the documents are made by real programs."""

import io
import zipfile
from datetime import date
from pathlib import Path

import pytest

from curate.collect.documents.blocks import render
from curate.collect.documents.pages import page_blocks
from curate.collect.extract import Extract
from curate.collect.media_types import media_type
from curate.stages.extractor import Unreadable

FILES = Path(__file__).parent / "files"
RIVERS = """\
# Rivers of the north

The first paragraph has bold and slanted words.

## Lengths

- Elbe, 1094 km
- Weser
  - Aller

1. one
1. two

| River | km |
| --- | --- |
| Elbe | 1094 |
| Oder | 840 |

A last line\u2014caf\u00e9."""
SHEET = "| name | km | date |\n| --- | --- | --- |\n| Elbe | 1094 | 2024-01-31 |\n| Oder | 840.5 | 2023-12-01 |"


@pytest.fixture(scope="module")
def read():
    readers = {form: Extract(structure=form).reader() for form in ("plain", "markdown")}

    def of(content, name, structure="markdown"):
        return readers[structure](content, media_type(content, name))

    return of


@pytest.fixture
def refused(read):
    def of(content, name):
        with pytest.raises(Unreadable) as error:
            read(content, name)
        return error.value.reason

    return of


def saved(document):
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


def zipped(members, compression=zipfile.ZIP_DEFLATED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def changed(content, name, change):
    """The zip file with another content of one member."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {told: archive.read(told) for told in archive.infolist()}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for told, data in members.items():
            archive.writestr(told, change(data) if told.filename == name else data)
    return file.getvalue()


# ---- LibreOffice's files


@pytest.mark.parametrize("name", ["rivers.odt", "rivers.docx"])
def test_headings_lists_and_tables_of_a_word_processor_become_markdown(read, name):
    made = read((FILES / name).read_bytes(), name)
    assert (made.text, made.columns["title"]) == (RIVERS, "Rivers")


def test_as_plain_text_there_are_no_marks(read):
    for name in ("rivers.odt", "rivers.docx"):
        text = read((FILES / name).read_bytes(), name, "plain").text
        assert text.startswith("Rivers of the north\n\nThe first")
        assert "River\tkm\nElbe\t1094\nOder\t840" in text
        assert not set("#|") & set(text)


def test_a_spreadsheet_is_a_table_of_what_its_cells_show(read):
    assert read((FILES / "sheet.xlsx").read_bytes(), "sheet.xlsx").text == f"## sheet\n\n{SHEET}"
    assert read((FILES / "sheet.ods").read_bytes(), "sheet.ods").text == SHEET


# ---- files of python-docx, python-pptx, openpyxl


def test_a_word_file_has_what_python_docx_wrote(read):
    from docx import Document

    document = Document()
    document.core_properties.title = "A  report"
    document.add_heading("Title", 0)
    document.add_heading("Chapter", 1)
    document.add_paragraph("One\ttab\nand a break")
    document.add_paragraph("item", style="List Bullet")
    document.add_paragraph("step", style="List Number")
    table = document.add_table(1, 2)
    table.cell(0, 0).text, table.cell(0, 1).text = "a|b", "two\nlines"
    document.sections[0].header.paragraphs[0].text = "running head"
    made = read(saved(document), "a.docx")
    assert made.text == (
        "# Title\n\n# Chapter\n\nOne\ttab\nand a break\n\n- item\n\n1. step\n\n| a\\|b | two lines |\n| --- | --- |"
    )
    assert made.columns == {"title": "A report"}


def test_deleted_text_is_left_out_and_a_text_box_is_read_once(read):
    from docx import Document

    document = Document()
    document.add_paragraph("before")
    body = (
        b"<w:p><w:r><w:t>kept </w:t></w:r><w:del><w:r><w:delText>gone</w:delText></w:r></w:del>"
        b"<w:ins><w:r><w:t>new</w:t></w:r></w:ins>"
        b'<w:r><mc:AlternateContent xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"><mc:Choice>'
        b"<w:txbxContent><w:p><w:r><w:t>in a box</w:t></w:r></w:p></w:txbxContent></mc:Choice><mc:Fallback><w:txbxContent><w:p>"
        b"<w:r><w:t>in a box</w:t></w:r></w:p></w:txbxContent></mc:Fallback></mc:AlternateContent></w:r></w:p><w:sectPr"
    )
    content = changed(saved(document), "word/document.xml", lambda data: data.replace(b"<w:sectPr", body, 1))
    assert read(content, "a.docx").text == "before\n\nkept new\n\nin a box"
    strict = "http://purl.oclc.org/ooxml/wordprocessingml/main"
    old = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    content = changed(content, "word/document.xml", lambda data: data.replace(old.encode(), strict.encode()))
    assert read(content, "a.docx").text == "before\n\nkept new\n\nin a box"


def test_a_presentation_has_its_slides_in_order(read):
    from pptx import Presentation
    from pptx.util import Inches

    show = Presentation()
    for number in (1, 2):
        slide = show.slides.add_slide(show.slide_layouts[1])
        slide.shapes.title.text = f"Slide {number}"
        slide.placeholders[1].text = "first"
        slide.placeholders[1].text_frame.add_paragraph().text = "second"
    table = slide.shapes.add_table(1, 2, Inches(1), Inches(1), Inches(2), Inches(1)).table
    table.cell(0, 0).text, table.cell(0, 1).text = "x", "y"
    slide.shapes.add_group_shape().shapes.add_textbox(0, 0, 9, 9).text_frame.text = "in a group"
    ids = show.slides._sldIdLst
    ids.insert(0, ids[1])
    made = read(saved(show), "a.pptx")
    assert made.text == (
        "## Slide 2\n\n- first\n- second\n\n| x | y |\n| --- | --- |\n\nin a group\n\n## Slide 1\n\n- first\n- second"
    )
    assert made.columns["pages"] == 2


def test_a_word_file_whose_parts_have_other_names_is_read_and_its_reading_aids_are_not(read):
    kind = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/"
    ruby = (
        "<w:ruby><w:rt><w:r><w:t>kana</w:t></w:r></w:rt><w:rubyBase><w:r><w:t>kanji</w:t></w:r></w:rubyBase></w:ruby>"
    )
    style = '<w:styles xmlns:w="w"><w:style w:styleId="x"><w:name w:val="heading 2"/></w:style></w:styles>'
    paragraph = '<w:p><w:pPr><w:pStyle w:val="x"/></w:pPr><w:r>' + ruby + "</w:r></w:p>"
    members = {
        "[Content_Types].xml": "<x/>",
        "_rels/.rels": f'<x><r Type="{kind}officeDocument" Target="/word/document2.xml"/></x>',
        "word/_rels/document2.xml.rels": f'<x><r Id="a" Type="{kind}styles" Target="styles2.xml"/></x>',
        "word/styles2.xml": style,
        "word/document2.xml": f'<w:document xmlns:w="w"><w:body>{paragraph}</w:body></w:document>',
    }
    assert read(zipped(members), "a.docx").text == "## kanji"


@pytest.mark.parametrize(
    ("form", "shown"),
    [
        ("_-* #,##0.00\\ _D_M_-", "36.5"),
        ("#,##0.00\\ _P_t_s_-", "36.5"),
        ("0*d", "36.5"),
        ("[h]:mm:ss", "876:00:00"),
        ("yyyy\\-mm\\-dd", "1900-02-04 12:00:00"),
        ("[$-409]d\\-mmm;@", "1900-02-04 12:00:00"),
    ],
)
def test_only_formats_of_dates_make_dates(read, form, shown):
    from openpyxl import Workbook

    book = Workbook()
    book.active["A1"] = 36.5
    book.active["A1"].number_format = form
    assert read(saved(book), "a.xlsx", "plain").text == f"Sheet\n\n{shown}"


def test_cells_of_every_kind_and_a_far_one_are_read(read):
    from openpyxl import Workbook

    book = Workbook()
    sheet = book.active
    sheet.append(["text", 1.5, True, date(2024, 2, 29), "=1+1"])
    sheet["XFD1048576"] = "far"
    book.create_sheet("hidden").append(["secret"])
    book["hidden"].sheet_state = "hidden"
    made = read(saved(book), "a.xlsx", "plain").text
    assert made == "Sheet\n\ntext\t1.5\tTRUE\t2024-02-29\nfar"


ODF = "urn:oasis:names:tc:opendocument:xmlns"


def odt(body):
    spaces = " ".join(f'xmlns:{one}="{ODF}:{one}:1.0"' for one in ("office", "text", "table", "draw"))
    content = f"<office:document-content {spaces}><office:body><office:text>{body}</office:text></office:body>"
    members = {
        "mimetype": "application/vnd.oasis.opendocument.text",
        "content.xml": content + "</office:document-content>",
    }
    return zipped(members, zipfile.ZIP_STORED)


def test_a_text_box_in_a_text_box_is_read_once(read):
    body = "<text:p>deep</text:p>"
    for depth in range(30):
        body = f"<text:p>level {depth}<draw:frame><draw:text-box>{body}</draw:text-box></draw:frame></text:p>"
    text = read(odt(body), "a.odt").text
    assert text.split("\n\n") == [*(f"level {depth}" for depth in reversed(range(30))), "deep"]


def test_rows_that_a_table_repeats_are_read_as_often_and_those_of_a_table_in_it_once(read, refused):
    def row(cell, times=1):
        opening = f'<table:table-row table:number-rows-repeated="{times}">'
        return f"{opening}<table:table-cell>{cell}</table:table-cell></table:table-row>"

    yes, no = "<text:p>yes</text:p>", "<text:p>no</text:p>"
    table = f"<table:table>{row(yes, 3)}{row(no + '<table:table>' + row(yes) + '</table:table>')}{row('', 9000)}</table:table>"
    assert read(odt(table), "a.odt", "plain").text == "yes\nyes\nyes\nno yes"
    assert refused(odt(f"<table:table>{row(yes, 99_999_999)}</table:table>"), "a.odt") == "too_many_cells"


# ---- EPUB


CONTAINER = '<container><rootfiles><rootfile full-path="O/p.opf"/></rootfiles></container>'
PACKAGE = """<?xml version="1.0"?><!DOCTYPE package><package xmlns:dc="d"><metadata><dc:title>A book</dc:title></metadata>
<manifest><item id="nav" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>
<item id="a" href="one%20a.xhtml#o8" media-type="application/xhtml+xml"/>
<item id="b" href="two.xhtml" media-type="application/xhtml+xml"/>
<item id="c" href="one%20a.xhtml#o9" media-type="application/xhtml+xml"/></manifest>
<spine><itemref idref="nav"/><itemref idref="b"/><itemref idref="a"/><itemref idref="c"/></spine></package>"""
ONE = "<html><head><title>x</title></head><body><h2>First &amp; last</h2><p>It <i>rains</i>,<br/>still.<p>Badly formed"
TWO = '<?xml version="1.0"?><!DOCTYPE html><html><body><table><tr><th>a</th></tr><tr><td>b</td></tr></table></body></html>'
BOOK = {
    "META-INF/container.xml": CONTAINER,
    "O/p.opf": PACKAGE,
    "O/one a.xhtml": ONE,
    "O/two.xhtml": TWO,
    "O/nav.xhtml": "<p>contents</p>",
}


def test_every_chapter_of_a_book_is_read_once_in_the_order_of_the_spine(read):
    made = read(zipped({"mimetype": "application/epub+zip", **BOOK}), "a.epub")
    assert made.text == "| a |\n| --- |\n| b |\n\n## First & last\n\nIt rains,\nstill.\n\nBadly formed"
    assert made.columns == {"title": "A book"}
    assert read(zipped(BOOK), "a").text == made.text  # Sphinx puts the type elsewhere


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("<p>before</p>" + "<div>" * 1500 + "deep" + "</div>" * 1500 + "<p>after</p>", "before\n\ndeep\n\nafter"),
        ("<table><tr><td>Hello</td><td>World</td></tr><tr><td><table><tr><td>in</td></tr></table></td></tr></table>",
         "Hello\n\nWorld\n\nin"),
        ("<table><caption>Cap</caption><tr><td>un<b>believ</b>able</td><td><p>x</p><p>y</p></td></tr></table>",
         "Cap\n\nunbelievable\tx y"),
        ("<pre>a<br>b\n  <i>c</i></pre>", "a\nb\n  c"),
        ("<h1>One <div>two</div><ul><li>three</ul></h1>four<br>five", "One two three\n\nfour\nfive"),
        ("<ol><li>a<ul><li>b</ul></ol><span>c<div>d</div>e</span>f", "a\nb\n\nc\n\nd\n\nef"),
    ],
)  # fmt: skip
def test_pages_keep_all_that_they_show_however_deep_it_is(page, text):
    assert render(page_blocks(page), "plain") == text


def test_a_page_that_is_too_deep_for_its_parser_is_refused_and_not_cut(refused):
    message = b"Subject: x\nContent-Type: text/html\n\n" + b"<div>" * 5000 + b"x" + b"</div>" * 5000 + b"the rest"
    assert refused(message, "a.eml") == "corrupt"


def test_a_book_that_lacks_a_chapter_is_refused(refused):
    assert (
        refused(zipped({name: data for name, data in BOOK.items() if name != "O/one a.xhtml"}), "a.epub") == "corrupt"
    )


# ---- bad input


BOMB = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><w:document xmlns:w="w">&b;</w:document>'
OUTSIDE = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><w:document xmlns:w="w">&a;</w:document>'


@pytest.mark.parametrize("xml", [BOMB, OUTSIDE])
def test_documents_that_declare_entities_are_refused(refused, xml):
    content = changed((FILES / "rivers.docx").read_bytes(), "word/document.xml", lambda _: xml.encode())
    assert refused(content, "a.docx") == "entity_bomb"
    assert (
        refused(changed((FILES / "rivers.odt").read_bytes(), "content.xml", lambda _: xml.encode()), "a.odt")
        == "entity_bomb"
    )
    assert refused(zipped({**BOOK, "O/p.opf": xml}), "a.epub") == "entity_bomb"


def test_entities_of_a_page_in_a_book_are_not_followed(read):
    page = '<!DOCTYPE html [<!ENTITY a SYSTEM "file:///etc/passwd">]><html><body><p>x&a;y</p></body></html>'
    text = read(zipped({**BOOK, "O/two.xhtml": page}), "a.epub").text
    assert "root:" not in text


def test_what_unpacks_to_far_too_much_is_refused(refused, monkeypatch):
    large = b"<w:t>" + b"a" * (11 << 20)
    content = changed((FILES / "rivers.docx").read_bytes(), "word/document.xml", lambda _: large)
    assert len(content) < 100_000
    assert refused(content, "a.docx") == "expansion_limit"
    monkeypatch.setattr("curate.collect.documents.container.MEMBERS", 4)
    assert refused(zipped(BOOK), "a.epub") == "expansion_limit"


def test_a_sheet_of_too_many_cells_is_refused(refused, monkeypatch):
    monkeypatch.setattr("curate.collect.documents.sheets.CELLS", 5)
    assert refused((FILES / "sheet.xlsx").read_bytes(), "a.xlsx") == "too_many_cells"


@pytest.mark.parametrize("name", ["rivers.docx", "rivers.odt", "sheet.xlsx"])
def test_damage_and_passwords_are_told_apart(refused, name):
    content = (FILES / name).read_bytes()
    part = {"docx": "word/document.xml", "odt": "content.xml", "xlsx": "xl/worksheets/sheet1.xml"}[
        name[-4:].lstrip(".")
    ]
    assert refused(changed(content, part, lambda data: data[:-20]), name) == "corrupt"
    locked = bytearray(content)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        number = archive.namelist().index(part)
    place = -1
    for _ in range(number + 1):
        place = content.index(b"PK\x01\x02", place + 1)
    locked[place + 8] |= 1
    assert refused(bytes(locked), name) == "password"


def test_a_book_whose_pages_are_encrypted_needs_a_password_and_one_with_scrambled_fonts_does_not(read, refused):
    told = (
        '<encryption><EncryptedData><CipherData><CipherReference URI="{}"/></CipherData></EncryptedData></encryption>'
    )
    assert refused(zipped({**BOOK, "META-INF/encryption.xml": told.format("O/two.xhtml")}), "a.epub") == "password"
    assert read(zipped({**BOOK, "META-INF/encryption.xml": told.format("O/font.otf")}), "a.epub").text


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"cells": 3}', b'{"worksheets": [1]}', b"\xff"])
def test_what_is_no_notebook_is_said_to_be_none_or_empty(read, content):
    try:
        assert read(content, "a.ipynb").text == ""
    except Unreadable as error:
        assert error.reason == "corrupt"
