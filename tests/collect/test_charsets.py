"""Web pages in the encodings that their labels mean to browsers."""

import pytest

from curate.collect.charsets import LABELS, decode_page, find_codec


@pytest.mark.parametrize(
    ("label", "data", "text"),
    [
        ("Shift_JIS", b"\x93\xfa\x87\x40\xfb\xfc", "\u65e5\u2460\u9ad9"),
        ("x-sjis", b"\x81\x60", "\uff5e"),
        ("EUC-JP", b"\xc6\xfc\xad\xa1\xa1\xc1", "\u65e5\u2460\uff5e"),
        ("EUC-KR", b"\x8c\x63\xb9\xe6", "\ub620\ubc29"),
        ("ks_c_5601-1987", b"\x8c\x63", "\ub620"),
        ("gb2312", b"\x81\x40\x80", "\u4e02\u20ac"),
        ("GBK", b"\x81\x30\x81\x30", "\x80"),
        ("Big5", b"\xa7\x41\x87\x45", "\u4f60\u8005"[:1] + b"\x87\x45".decode("big5hkscs")),
        ("ISO-8859-1", b"\x93a\x94\x81", "\u201ca\u201d\x81"),
        ("us-ascii", b"\xe9", "\xe9"),
        ("ISO-8859-9", b"\x80\xfd", "\u20ac\u0131"),
        ("TIS-620", b"\x80\xa1", "\u20ac\u0e01"),
        (" UTF8 ", b"\xc3\xa9", "\xe9"),
    ],
)
def test_a_label_means_what_it_means_to_browsers(label, data, text):
    assert decode_page(data, declared=label) == text


@pytest.mark.parametrize("codec", LABELS)
def test_bytes_that_are_not_of_the_encoding_never_end_in_an_error(codec):
    data = bytes(range(256)) * 2 + bytes(range(255, 0, -1))
    assert decode_page(data, declared=LABELS[codec].split()[0])


@pytest.mark.parametrize(
    ("label", "data", "text"),
    [
        ("utf-8", b"a\xffb", "a\ufffdb"),
        ("shift_jis", b"\x93\xfa\x85<b>", "\u65e5\ufffd<b>"),
        ("euc-kr", b"\xb9\xe6\xff<b>", "\ubc29\ufffd<b>"),
        ("gbk", b"\x81\x40\xff<b>", "\u4e02\ufffd<b>"),
        ("euc-jp", b"\xc6\xfc\xff<b>", "\u65e5\ufffd<b>"),
    ],
)
def test_a_byte_that_cannot_be_decoded_costs_itself_alone(label, data, text):
    assert decode_page(data, declared=label) == text


def test_a_byte_order_mark_goes_before_the_http_header_and_that_before_the_meta_element():
    meta = b"<meta charset=windows-1251>\xe9"
    assert decode_page(b"\xef\xbb\xbf\xc3\xa9", declared="windows-1251") == "\xe9"
    assert decode_page(meta, declared="latin1").endswith("\xe9")
    assert decode_page(meta, declared="no such thing").endswith("\u0439")
    assert decode_page(meta).endswith("\u0439")


def test_a_label_in_a_comment_does_not_count():
    assert decode_page(b"<!-- <meta charset=latin1> --><meta charset='koi8-r'>\xc1").endswith("\u0430")


def test_xhtml_may_declare_its_encoding_as_xml_does():
    assert decode_page(b"<?xml version='1.0' encoding='Shift_JIS'?><html>\x93\xfa").endswith("\u65e5")


def test_a_meta_element_that_says_utf_16_is_utf_8():
    assert decode_page(b"<meta charset=utf-16>\xc3\xa9").endswith("\xe9")


def test_every_label_has_one_codec():
    labels = " ".join(LABELS.values()).split()
    assert len(labels) == len(set(labels))
    assert find_codec("utf-7") is None


def test_an_html_file_with_one_bad_byte_is_read(read_files):
    documents, rejects = read_files({"a.html": b"<meta charset=utf-8>one \xff two"})
    assert [document["text"] for document in documents] == ["<meta charset=utf-8>one \ufffd two"]
    assert rejects == []
