"""Text of e-mail messages: the plain text of a message, or its HTML where it has no other; attachments are not read."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.message import EmailMessage, MIMEPart

from curate.collect.charsets import decode_page, decode_text, find_codec
from curate.collect.documents.blocks import Structure, render
from curate.collect.documents.pages import page_blocks
from curate.stages.extractor import Extracted, Unreadable

__all__ = ["read_message"]


def read_message(content: bytes, structure: Structure) -> Extracted:
    """The text of a message; its subject is the `title`.

    Raises:
        Unreadable: `password` (its content is encrypted), `corrupt`.
    """
    message = message_from_bytes(content, policy=policy.default)
    assert isinstance(message, EmailMessage)
    if message.get_content_type() in ("multipart/encrypted", "application/pkcs7-mime"):
        raise Unreadable("password", "mail: its content is encrypted")
    if not message.keys():
        raise Unreadable("corrupt", "mail: it begins with no headers")
    body = message.get_body(("plain", "html"))
    text = _text(body, structure) if body is not None else ""
    return Extracted(text.strip(), {"title": _subject(message)})


def _subject(message: EmailMessage) -> str | None:
    """The subject, also where it is not of the form that the standard wants."""
    try:
        subject = str(message["Subject"] or "")
    except (ValueError, IndexError, LookupError, AttributeError):  # what the standard library raises on odd headers
        return None
    return " ".join(subject.encode("utf-8", "replace").decode().split()) or None


def _text(body: MIMEPart, structure: Structure) -> str:
    data = body.get_payload(decode=True)
    if not isinstance(data, bytes):
        return ""
    charset = body.get_param("charset")
    label = charset if isinstance(charset, str) else None
    if body.get_content_subtype() == "html":
        return render(page_blocks(decode_page(data, declared=label)), structure)
    codec = find_codec(label)
    text = data.decode(codec, "replace") if codec else decode_text(data)
    return text.replace("\r\n", "\n")
