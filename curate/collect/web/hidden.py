"""What no row keeps of an answer: credentials in its headers, and our own where a server sends them back."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import unquote

from curate.collect.fetch.credentials import forms_of, names_credential

if TYPE_CHECKING:
    from curate.collect.web.hosts import Came

__all__ = ["hidden"]

PARAMETER = re.compile(r"""([?&;]\s*)([^?&;=#\s"'<>]+)=([^&;#\s"'<>,]+)""")
USER = re.compile(r"(?<=//)[^/?#@\s]*@")


def hidden(came: Came, secrets: Sequence[str]) -> Came:
    """An answer with `***` for values of parameters that are credentials by their name, and for secrets.

    Args:
        came: The answer; of its body, only secrets are taken out.
        secrets: Values, the longest first.
    """

    def masked(found: re.Match[str]) -> str:
        return f"{found[1]}{found[2]}=***" if names_credential(unquote(found[2])) else found[0]

    forms = [form for secret in secrets for form in forms_of(secret)]
    headers, body = dict[str, str](), came.body
    for name, value in came.headers.items():
        text = USER.sub("", PARAMETER.sub(masked, value))
        for form in forms:
            text = text.replace(form, "***")
        headers[name] = text
    for form in forms:
        body = body.replace(form.encode(), b"***")
    return came._replace(headers=headers, body=body)
