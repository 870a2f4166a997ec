"""Texts of mail, notebooks and LaTeX."""

import json

import pytest

from curate.collect.extract import Extract
from curate.collect.media_types import media_type


@pytest.fixture(scope="module")
def read():
    readers = {form: Extract(structure=form).reader() for form in ("plain", "markdown")}

    def of(content, name, structure="markdown"):
        return readers[structure](content, media_type(content, name))

    return of


def test_a_message_is_its_plain_text_and_its_attachments_are_not_read(read):
    from email.message import EmailMessage

    message = EmailMessage()
    message["Subject"], message["From"] = "Gr\u00fc\u00dfe", "a@example.org"
    message.set_content("Dear reader,\n\nall is well: caf\u00e9.\n", charset="iso-8859-1")
    message.add_alternative("<p>Not <b>this</b></p>", subtype="html")
    message.add_attachment(b"\x00\x01", maintype="application", subtype="octet-stream", filename="x.bin")
    made = read(message.as_bytes(), "a.eml")
    assert (made.text, made.columns["title"]) == ("Dear reader,\n\nall is well: caf\u00e9.", "Gr\u00fc\u00dfe")


def test_a_message_without_plain_text_is_its_html(read):
    head = (
        b"Subject: =?utf-8?q?broken?\nContent-Type: text/html; charset=nonsense\nContent-Transfer-Encoding: base64\n\n"
    )
    assert read(head + b"PGgxPkhpPC9oMT48cD50aGVyZTwvcD4=", "a.eml").text == "# Hi\n\nthere"


def test_a_notebook_is_its_cells_without_outputs(read):
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "words"]},
        {"cell_type": "code", "source": "1 + 1", "outputs": [{"text": "secret"}]},
    ]
    book = json.dumps({"cells": cells, "metadata": {"kernelspec": {"language": "python"}}, "nbformat": 4}).encode()
    assert read(book, "a.ipynb").text == "# Title\nwords\n\n```python\n1 + 1\n```"
    assert read(book, "a.ipynb", "plain").text == "# Title\nwords\n\n1 + 1"


def test_a_notebook_with_numbers_that_are_none_and_cells_without_text_is_read(read):
    book = b'{"cells": [{"cell_type": "markdown", "source": null}, {"cell_type": "code", "source": "x", "outputs": [NaN]}]}'
    assert read(book, "a.ipynb", "plain").text == "x"


def test_latex_keeps_formulas_and_loses_comments_preamble_and_markup(read):
    source = rb"""\documentclass{article} % a comment
\title{On \emph{Rivers}}
\begin{document}\maketitle
\section{First \label{s}part}
It costs 5\,\% of caf\'e~money, as K\"uhn \cite{k} says:  % gone
\begin{equation} E = mc^2 % kept \end{equation}
and $a_{1} \% b$. \textbf{Bold \emph{nested}} words --- ``quoted''.
\begin{itemize}
\item one
\item two
\end{itemize}
\end{document} after"""
    source = source.replace(b" % kept", b"")
    made = read(source, "a.tex")
    assert made.columns["title"] == "On Rivers"
    assert made.text == (
        "## First part\n\nIt costs 5 % of caf\u00e9 money, as K\u00fchn says: \\begin{equation} E = mc^2 \\end{equation}\n"
        "and $a_{1} \\% b$. Bold nested words \u2014 \u201cquoted\u201d.\n\n- one\n\n- two"
    )


def test_latex_keeps_code_addresses_and_paragraphs_whole(read):
    source = rb"""\begin{document}
Run \verb|a % b| from \url{http://a.b/c%20d} or \href{http://x%20y}{the page}. % note
BLANK
Second. % another

Third\\[2pt] \begin{tabular}{l|p{3cm}}a & b \\ \hline c & d\end{tabular} end
\begin{verbatim}
  printf("%d $items", n);
\end{verbatim}
\end{document}"""
    assert read(source.replace(b"BLANK", b"   "), "a.tex", "plain").text == (
        "Run a % b from http://a.b/c%20d or the page.\n\nSecond.\n\nThird\n\na & b\nc & d\nend\n"
        '\\begin{verbatim}\n  printf("%d $items", n);\n\\end{verbatim}'
    )
    assert read(b"\\begin{equation} x " * 20_000, "a.tex").text.count("x") == 20_000


MIXED = b"Subject: s\nMIME-Version: 1.0\nContent-Type: multipart/%s; boundary=B\n\n--B\n%s\n--B\n%s\n--B--\n"
PLAIN = b"Content-Type: text/plain\n\n"


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (MIXED % (b"alternative", PLAIN, b"Content-Type: text/html\n\n<p>real text</p>"), "real text"),
        (MIXED % (b"alternative", b"Content-Type: text/html\n\n<p>other</p>", PLAIN + b"plain"), "plain"),
        (MIXED % (b"mixed", PLAIN + b"first", b"Content-Disposition: inline\n" + PLAIN + b"second"), "first\n\nsecond"),
        (MIXED % (b"mixed", PLAIN + b"first", b"Content-Disposition: attachment\n" + PLAIN + b"secret"), "first"),
        (MIXED % (b"mixed", PLAIN + b"fyi", b"Content-Type: message/rfc822\n\nSubject: o\n\nold"), "fyi\n\nold"),
        (b"Subject: s\nMIME-Version: 1.0\nContent-Type: multipart/mixed\n\nbody text\n", "body text"),
    ],
)  # fmt: skip
def test_all_that_a_message_shows_is_read(read, message, text):
    assert read(message, "a.eml").text == text
