"""Text of e-mail messages: the plain text of a message, or its HTML where that is empty; attachments are not read.

All parts that a reader shows are read, one behind the other: a list's foot, a message that is forwarded in this one.
"""

from __future__ import annotations

from email import message_from_bytes, policy
from email.message import EmailMessage, Message

from curate.collect.charsets import decode_page, decode_text, find_codec
from curate.collect.documents.blocks import Structure, render
from curate.collect.documents.pages import page_blocks
from curate.stages.extractor import Extracted, Unreadable

__all__ = ["read_message"]

TEXTS = ("text/plain", "text/html")
DEPTH = 30


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
    return Extracted(_shown(message, structure), {"title": _subject(message)})


def _shown(part: Message, structure: Structure, depth: int = 0) -> str:
    """The text of a part, and of those in it that are shown with it."""
    if depth > DEPTH:
        raise Unreadable("corrupt", f"mail: its parts are nested more than {DEPTH} deep")
    kind = part.get_content_type()
    if depth and part.get_content_disposition() == "attachment":
        return ""
    if not part.is_multipart():  # one that names no boundary is a text
        return _text(part, structure).strip() if kind in TEXTS or kind.startswith("multipart/") else ""
    parts = part.get_payload()
    inner = [one for one in parts if isinstance(one, Message)] if isinstance(parts, list) else []
    if kind == "multipart/related":  # all others are pictures and styles of the first one
        inner = inner[:1]
    if kind == "multipart/alternative":
        inner.sort(key=lambda one: one.get_content_type() != "text/plain")
    texts = (text for one in inner if (text := _shown(one, structure, depth + 1)))
    return next(texts, "") if kind == "multipart/alternative" else "\n\n".join(texts)


def _subject(message: EmailMessage) -> str | None:
    """The subject, also where it is not of the form that the standard wants."""
    try:
        subject = str(message["Subject"] or "")
    except (ValueError, IndexError, LookupError, AttributeError):  # what the standard library raises on odd headers
        return None
    return " ".join(subject.encode("utf-8", "replace").decode().split()) or None


def _text(body: Message, structure: Structure) -> str:
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
