"""PDF files written by hand, and what texts are compared by."""

from __future__ import annotations

import re
from collections import Counter

HELVETICA = "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"
PAGE = "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>"


def pdf_of(stream, font=HELVETICA, *more, packed=False):
    """A file of one page: what is drawn on it, its font, and further objects from number 6 on."""
    told = f"<< /Length {len(stream)} {'/Filter /FlateDecode ' if packed else ''}>>"
    content = told.encode() + b"\nstream\n" + stream + b"\nendstream"
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        PAGE,
        content,
        font,
        *more,
    ]
    data, places = b"%PDF-1.4\n", []
    for number, one in enumerate(objects, 1):
        places.append(len(data))
        data += f"{number} 0 obj\n".encode() + (one if isinstance(one, bytes) else one.encode()) + b"\nendobj\n"
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(objects) + 1
    head = f"xref\n0 {size}\n0000000000 65535 f \n".encode()
    tail = f"trailer << /Size {size} /Root 1 0 R >>\nstartxref\n{len(data)}\n%%EOF\n".encode()
    return data + head + table + tail


def shown(text):
    return f"BT /F1 12 Tf 72 700 Td ({text}) Tj ET".encode()


def words(text):
    return re.findall(r"\w+", text)


def word_f1(made, truth):
    """F1 of two bags of words."""
    common = sum((Counter(made) & Counter(truth)).values())
    return 2 * common / (len(made) + len(truth))
