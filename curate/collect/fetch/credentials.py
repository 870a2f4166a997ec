"""What is a credential by its name: no setting holds one, and no message, record or place of a document shows one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import parse_qsl, quote, quote_plus, urlsplit

__all__ = ["credentials_in", "forms_of", "names_credential"]

ENDINGS = (
    "password", "passwd", "pwd", "token", "secret", "apikey", "accesskey", "secretkey", "authkey", "subscriptionkey",
    "signature", "authorization", "credential", "credentials", "cookie",
)  # fmt: skip
WORDS = frozenset({"key", "auth", "sig", "pass"})
PAGES = frozenset({"pagetoken", "nexttoken", "continuationtoken", "nextpagetoken"})
"""Names of cursors."""


def names_credential(name: str) -> bool:
    """Whether what is called so is a credential: `api_key`, `X-Auth-Token`, but neither `sort_key` nor `page_token`."""
    plain = re.sub("[^a-z]", "", name.lower())
    return plain in WORDS or (plain.endswith(ENDINGS) and plain not in PAGES)


def credentials_in(url: str, named: Mapping[str, object] | None = None) -> list[str]:
    """Names of credentials among the parameters of an address, and among other names."""
    try:
        asked: Sequence[tuple[str, str]] = parse_qsl(urlsplit(url).query, keep_blank_values=True)
    except ValueError:
        asked = ()
    return [name for name in (*(pair[0] for pair in asked), *(named or ())) if names_credential(name)]


def forms_of(secret: str) -> Iterable[str]:
    """A secret as it may stand in a message, an address, or JSON; also as who takes UTF-8 for Latin-1 writes it."""
    for one in dict.fromkeys((secret, secret.encode(errors="replace").decode("latin-1"))):
        yield from (one, quote(one), quote(one, safe=""), quote_plus(one), repr(one)[1:-1])
        yield from (json.dumps(one)[1:-1], json.dumps(one, ensure_ascii=False)[1:-1])
