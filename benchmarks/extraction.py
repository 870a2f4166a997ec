r"""PDF and EPUB: words, their order, and time, against the libraries that are installed.

    python benchmarks/extraction.py NAME=FILE.pdf=TEXT.txt ...     documents with their text (each may be .gz)

F1 is that of bags of words (`\w+`), order the similarity of the two sequences of words (2 x longest common subsequence by sum
of lengths, by rapidfuzz). The truth of a manual is the plain text that its makers ship beside the PDF: another layout of the
same source, with other tables of contents, so 1.0 is out of reach for all. Time is CPU time of one process, the least of three.
Peers that are not installed are left out: pypdf, PyMuPDF (AGPL: for comparison only), kreuzberg, pdf_oxide, pdftotext.
"""

from __future__ import annotations

import gzip
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from rapidfuzz.distance import Indel

from curate.collect.documents.pdf import read_pdf

RUNS = 3


def ours(data: bytes) -> str:
    """What `extract` makes of it."""
    return read_pdf(data).text


def raw_pdfium(data: bytes) -> str:
    """PDFium's text as it is."""
    import pypdfium2

    document = pypdfium2.PdfDocument(data)
    pages = [page.get_textpage().get_text_range() for page in document]
    document.close()
    return "\n".join(pages)


def pypdf(data: bytes) -> str:
    """Pypdf's text."""
    import io

    import pypdf

    return "\n".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(data)).pages)


def pymupdf(data: bytes) -> str:
    """PyMuPDF's text."""
    import pymupdf

    with pymupdf.open(stream=data, filetype="pdf") as document:
        return "\n".join(page.get_text() for page in document)


def kreuzberg(data: bytes) -> str:
    """Kreuzberg's text."""
    import kreuzberg

    return kreuzberg.extract_bytes_sync(data, "application/pdf").content


def pdftotext(data: bytes) -> str:
    """What poppler's program makes of it."""
    with tempfile.NamedTemporaryFile(suffix=".pdf") as file:
        file.write(data)
        file.flush()
        return subprocess.run(["pdftotext", "-raw", file.name, "-"], capture_output=True, check=True).stdout.decode()


PEERS: dict[str, Callable[[bytes], str]] = {
    "curate": ours,
    "pypdfium2": raw_pdfium,
    **({"pdftotext -raw": pdftotext} if shutil.which("pdftotext") else {}),
    **{one.__name__: one for one in (pymupdf, kreuzberg, pypdf) if find_spec(one.__name__)},
}


def read(path: str) -> bytes:
    """The bytes of a file, decompressed."""
    data = Path(path).read_bytes()
    return gzip.decompress(data) if path.endswith(".gz") else data


def words(text: str) -> list[str]:
    """The words, broken ones joined as plainly as can be: for all alike."""
    return re.findall(r"\w+", re.sub(r"(?<=\w)[-\u00ad\ufffe]\r?\n\s*", "", text))


def spent() -> float:
    """CPU seconds of this process and those that it started."""
    both = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return sum(one.ru_utime + one.ru_stime for one in both)


def main() -> None:
    """A line for each document and library."""
    print("| document | pages | library | F1 | order | ms a page |\n|---|---|---|---|---|---|")
    for argument in sys.argv[1:]:
        name, document, text = argument.split("=")
        data, truth = read(document), words(read(text).decode("utf-8", "replace"))
        pages = int(str(read_pdf(data).columns["pages"]))
        for library, extract in PEERS.items():
            times: list[float] = []
            made = ""
            for _ in range(RUNS if library != "pypdf" else 1):
                begun = spent()
                made = extract(data)
                times.append(spent() - begun)
            got = words(made)
            common = sum((Counter(got) & Counter(truth)).values())
            f1 = 2 * common / (len(got) + len(truth))
            order = Indel.normalized_similarity(got, truth)
            print(
                f"| {name} | {pages} | {library} | {f1:.4f} | {order:.4f} | {min(times) * 1000 / pages:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
