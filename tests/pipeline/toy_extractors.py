"""An extractor as users write one: texts of PDF files whose streams are not compressed, and of nothing harder."""

from __future__ import annotations

import os
import re
import signal
import time
from typing import ClassVar

from curate.stages.extractor import Extracted, Extractor, Unreadable


class ToyPdf(Extractor):
    """The strings that a PDF shows."""

    media_types = ("application/pdf",)
    gives: ClassVar = {"pages": "int64", "title": "string"}
    reasons: ClassVar = {"encrypted": "quarantined: it needs a password"}

    def reader(self):
        strings, title = re.compile(rb"\(([^()]*)\) Tj"), re.compile(rb"/Title \(([^()]*)\)")

        def read(content, media_type):
            if b"RAISE" in content:
                raise ValueError(content)
            if b"GREEDY" in content:
                bytearray(1 << 30)
            if b"HANG" in content:
                time.sleep(1000)
            if b"KILL" in content:
                os.kill(os.getpid(), signal.SIGKILL)
            if b"/Encrypt" in content:
                raise Unreadable("encrypted", "a password is needed")
            found = title.search(content)
            return Extracted(
                "\n".join(text.decode("latin-1") for text in strings.findall(content)),
                {"pages": content.count(b"/Type /Page "), "title": found[1].decode() if found else None},
            )

        return read
