"""The encodings of web pages, by the labels and with the meanings of the WHATWG Encoding Standard.

A label on the web does not mean what a codec of that name does: pages that say `Shift_JIS`, `EUC-KR`, `GB2312` or
`ISO-8859-1` are written in supersets of these. Every byte sequence has a text, as in a browser: what is not of the
encoding becomes U+FFFD.
"""

from __future__ import annotations

import re
from functools import cache

__all__ = ["decode_page", "decode_text", "find_codec"]

LABELS = {
    "utf-8": "unicode-1-1-utf-8 unicode11utf8 unicode20utf8 utf-8 utf8 x-unicode20utf8",
    "cp866": "866 cp866 csibm866 ibm866",
    "iso8859-2": "csisolatin2 iso-8859-2 iso-ir-101 iso8859-2 iso88592 iso_8859-2 iso_8859-2:1987 l2 latin2",
    "iso8859-3": "csisolatin3 iso-8859-3 iso-ir-109 iso8859-3 iso88593 iso_8859-3 iso_8859-3:1988 l3 latin3",
    "iso8859-4": "csisolatin4 iso-8859-4 iso-ir-110 iso8859-4 iso88594 iso_8859-4 iso_8859-4:1988 l4 latin4",
    "iso8859-5": "csisolatincyrillic cyrillic iso-8859-5 iso-ir-144 iso8859-5 iso88595 iso_8859-5 iso_8859-5:1988",
    "iso8859-6": "arabic asmo-708 csiso88596e csiso88596i csisolatinarabic ecma-114 iso-8859-6 iso-8859-6-e "
    "iso-8859-6-i iso-ir-127 iso8859-6 iso88596 iso_8859-6 iso_8859-6:1987",
    "iso8859-7": "csisolatingreek ecma-118 elot_928 greek greek8 iso-8859-7 iso-ir-126 iso8859-7 iso88597 iso_8859-7 "
    "iso_8859-7:1987 sun_eu_greek",
    "iso8859-8": "csiso88598e csisolatinhebrew hebrew iso-8859-8 iso-8859-8-e iso-ir-138 iso8859-8 iso88598 iso_8859-8 "
    "iso_8859-8:1988 visual csiso88598i iso-8859-8-i logical",
    "iso8859-10": "csisolatin6 iso-8859-10 iso-ir-157 iso8859-10 iso885910 l6 latin6",
    "iso8859-13": "iso-8859-13 iso8859-13 iso885913",
    "iso8859-14": "iso-8859-14 iso8859-14 iso885914",
    "iso8859-15": "csisolatin9 iso-8859-15 iso8859-15 iso885915 iso_8859-15 l9",
    "iso8859-16": "iso-8859-16",
    "koi8-r": "cskoi8r koi koi8 koi8-r koi8_r",
    "koi8-u": "koi8-ru koi8-u",
    "mac_roman": "csmacintosh mac macintosh x-mac-roman",
    "mac_cyrillic": "x-mac-cyrillic x-mac-ukrainian",
    "cp874": "dos-874 iso-8859-11 iso8859-11 iso885911 tis-620 windows-874",
    "cp1250": "cp1250 windows-1250 x-cp1250",
    "cp1251": "cp1251 windows-1251 x-cp1251",
    "cp1252": "ansi_x3.4-1968 ascii cp1252 cp819 csisolatin1 ibm819 iso-8859-1 iso-ir-100 iso8859-1 iso88591 iso_8859-1 "
    "iso_8859-1:1987 l1 latin1 us-ascii windows-1252 x-cp1252 x-user-defined",
    "cp1253": "cp1253 windows-1253 x-cp1253",
    "cp1254": "cp1254 csisolatin5 iso-8859-9 iso-ir-148 iso8859-9 iso88599 iso_8859-9 iso_8859-9:1989 l5 latin5 "
    "windows-1254 x-cp1254",
    "cp1255": "cp1255 windows-1255 x-cp1255",
    "cp1256": "cp1256 windows-1256 x-cp1256",
    "cp1257": "cp1257 windows-1257 x-cp1257",
    "cp1258": "cp1258 windows-1258 x-cp1258",
    "gb18030": "chinese csgb2312 csiso58gb231280 gb2312 gb_2312 gb_2312-80 gbk iso-ir-58 x-gbk gb18030",
    "big5hkscs": "big5 big5-hkscs cn-big5 csbig5 x-x-big5",
    "euc_jp": "cseucpkdfmtjapanese euc-jp x-euc-jp",
    "iso2022_jp_ext": "csiso2022jp iso-2022-jp",
    "cp932": "csshiftjis ms932 ms_kanji shift-jis shift_jis sjis windows-31j x-sjis",
    "cp949": "cseuckr csksc56011987 euc-kr iso-ir-149 korean ks_c_5601-1987 ks_c_5601-1989 ksc5601 ksc_5601 windows-949",
    "utf-16-le": "csunicode iso-10646-ucs-2 ucs-2 unicode unicodefeff utf-16 utf-16le",
    "utf-16-be": "unicodefffe utf-16be",
    # The standard has no text for these two, as their escapes can hide markup from filters; here they are harmless.
    "hz": "hz-gb-2312",
    "iso2022_kr": "csiso2022kr iso-2022-kr",
}
"""The labels of the standard, by Python's codec that is closest to what they mean."""

SCAN_BYTES = 4096
COMMENT = re.compile(rb"<!--.*?-->", re.DOTALL)
META = re.compile(rb"<meta[\s/][^>]{0,400}?charset\s*=\s*[\"']?\s*([^\s\"'/>;]{2,40})", re.IGNORECASE)
XML = re.compile(rb"<\?xml[^>]{1,200}?encoding\s*=\s*[\"']\s*([^\s\"'>]{2,40})")
MARKS = {b"\xef\xbb\xbf": "utf-8", b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}
WIDE = str.maketrans("\u301c\u2016\u2212\xa2\xa3\xac", "\uff5e\u2225\uff0d\uffe0\uffe1\uffe2")
"""Characters that Python's EUC-JP writes otherwise than the standard, and than its own cp932."""


@cache
def _codecs() -> dict[str, str]:
    _register()
    return {label: codec for codec, labels in LABELS.items() for label in labels.split()}


def find_codec(label: str | None) -> str | None:
    """Python's codec for a label, None for one that the standard does not know."""
    return _codecs().get(label.strip("\t\n\f\r \"'").lower()) if label else None


def decode_page(data: bytes, *, declared: str | None = None) -> str:
    """A web page as text, in the encoding of its byte order mark, `declared` (by HTTP) or its `meta` element.

    A page without any of these is UTF-8 where it is valid UTF-8, else what its bytes look like.
    """
    codec = None if data.startswith(tuple(MARKS)) else find_codec(declared) or _written(data)
    return decode_as(data, codec) if codec else decode_text(data)


def decode_text(data: bytes) -> str:
    """Bytes as text, in the encoding of their byte order mark; UTF-8 where they are that, else what they look like."""
    for mark, codec in MARKS.items():
        if data.startswith(mark):
            return decode_as(data[len(mark) :], codec)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        from resiliparse.parse.encoding import detect_encoding

        return decode_as(data, find_codec(detect_encoding(data)) or "utf-8")


def decode_as(data: bytes, codec: str) -> str:
    """The text in one encoding; U+FFFD where it has none."""
    _codecs()
    text = data.decode(codec, "curate.web" if codec not in ("utf-8", "utf-16-le", "utf-16-be") else "replace")
    return text.translate(WIDE) if codec == "euc_jp" else text


def _written(data: bytes) -> str | None:
    """The codec of the label in the XML declaration or the first `meta` element that has one."""
    head = COMMENT.sub(b"", data[:SCAN_BYTES])
    for match in (XML.match(head), *META.finditer(head)):
        label = match.group(1).decode("ascii", "replace") if match else None
        if label and label.lower() == "x-user-defined":
            return "cp1252"
        codec = find_codec(label)
        if codec:  # what was found by reading ASCII cannot be UTF-16
            return "utf-8" if codec.startswith("utf-16") else codec
    return None


@cache
def _register() -> None:
    """Make known what to do with bytes that Python's codecs refuse (the error handler `curate.web`)."""
    import codecs

    def replace(error: UnicodeError) -> tuple[str, int]:
        if not isinstance(error, UnicodeDecodeError):
            raise error
        start, byte = error.start, error.object[error.start]
        if error.encoding == "gb18030" and byte == 0x80:
            return "\u20ac", start + 1
        if error.encoding == "euc_jp":
            return _of_shift_jis(error.object[start : start + 2]), start + (2 if _is_pair(error.object, start) else 1)
        if error.encoding == "charmap" and 0x80 <= byte < 0xA0:
            return chr(byte), start + 1  # the standard's single-byte encodings have control characters there
        return "\ufffd", max(start + 1, min(error.end, start + _width(error.object, start)))

    codecs.register_error("curate.web", replace)


def _is_pair(data: bytes, start: int) -> bool:
    return len(data) > start + 1 and data[start] >= 0xA1 and data[start + 1] >= 0xA1


def _width(data: bytes, start: int) -> int:
    """2 where a lead byte is followed by one that cannot begin a character itself, which then goes with it."""
    return 2 if len(data) > start + 1 and data[start + 1] >= 0x80 else 1


def _of_shift_jis(pair: bytes) -> str:
    """A pair of EUC-JP that Python does not know: vendors' characters, which cp932 has at the same place."""
    if not _is_pair(pair, 0):
        return "\ufffd"
    row, cell = pair[0] - 0xA1, pair[1] - 0xA1
    lead = row // 2 + (0x81 if row < 62 else 0xC1)
    trail = cell + 0x9F if row % 2 else cell + (0x40 if cell < 63 else 0x41)
    try:
        return bytes([lead, trail]).decode("cp932")
    except UnicodeDecodeError:
        return "\ufffd"
