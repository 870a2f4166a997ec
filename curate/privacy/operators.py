"""What stands in the place of personal data: a placeholder, a mask, a keyed pseudonym, a made-up value.

    placeholder   <EMAIL>                   the same for all
    mask          ****@*******.***          its form stays, and how long it is
    pseudonym     <EMAIL_kfbaopmnegcd>      the same for the same value, in all documents and versions made with this key
    surrogate     r.moreno41@example.org    like one, and the same for the same value; nobody's
    keep          as it was
    drop          the document leaves

Surrogates stand in ranges that are nobody's: the domains of RFC 2606, the networks for documentation (RFC 5737, RFC 3849),
phone numbers of fiction, cards without issuer, IBANs without country, social security numbers from 900 on. Names are drawn
from a list. Values that are written differently but are the same (`+1 212 555 0199`, `+12125550199`) get the same.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Literal

from curate.privacy.keys import keyed_hash

__all__ = ["KEYED", "Operator", "normal_form", "operator"]

Operator = Literal["placeholder", "mask", "pseudonym", "surrogate", "keep", "drop"]
KEYED = frozenset({"pseudonym", "surrogate"})
"""What needs a key."""
_LETTERS = "abcdefghijklmnop"
_LENGTH = 14
"""Letters of a pseudonym, four bits each: among ten million values two get the same one with a chance of 1 in 1,400."""
_PERSONAL = ("Alex", "Robin", "Sam", "Noa", "Kim", "Jules", "Toni", "Sascha", "Ari", "Devi", "Luca", "Mika", "Rene", "Yuki",
    "Andrea", "Jun")  # fmt: skip
_FAMILY = ("Adams", "Berg", "Costa", "Diaz", "Eriksen", "Farouk", "Garcia", "Haddad", "Ito", "Jansen", "Kaya", "Lopez",
    "Moreno", "Novak", "Okafor", "Petrov")  # fmt: skip


def normal_form(kind: str, value: str) -> str:
    """What makes two ways of writing the same value one: case of addresses, separators of numbers."""
    plain = unicodedata.normalize("NFKC", value).strip()
    if kind in ("PHONE_NUMBER", "CREDIT_CARD", "US_SSN", "IBAN_CODE", "MAC_ADDRESS"):
        kept = "".join(one for one in plain if one.isalnum() or one == "+")
        return kept.upper().replace("+", "") if kind != "PHONE_NUMBER" else re.sub(r"^(?:\+|00)", "+", kept)
    if kind == "SECRET":
        return plain
    return " ".join(plain.casefold().split())


def operator(name: Operator, kind: str, placeholder: str, key: bytes | None) -> Callable[[str], str]:
    """The function from a value to what stands in its place.

    Args:
        name: Which operator; `drop` and `keep` leave the value as it is.
        kind: The type of the value (`EMAIL_ADDRESS`).
        placeholder: What it is called in a text (`<EMAIL>`).
        key: Of pseudonyms and surrogates.
    """
    if name == "placeholder":
        return lambda _: placeholder
    if name == "mask":
        return lambda value: re.sub(r"\w", "*", value)
    if name not in KEYED:
        return lambda value: value
    assert key is not None

    def digits_of(value: str) -> bytes:
        return keyed_hash(key, f"{name}\0{kind}", normal_form(kind, value))

    if name == "pseudonym":
        head, tail = placeholder[:-1], placeholder[-1:]
        return lambda value: f"{head}_{_as_letters(digits_of(value))}{tail}"
    return lambda value: _SURROGATES.get(kind, _like)(value, digits_of(value))


def _as_letters(digest: bytes) -> str:
    return "".join(_LETTERS[int(one, 16)] for one in digest.hex()[:_LENGTH])


# ---- surrogates: from a value and 32 bytes that are its own


def _name(value: str, digest: bytes) -> str:
    made = f"{_PERSONAL[digest[0] % 16]} {_FAMILY[digest[1] % 16]}"
    return made if " " in value.strip() else made.split()[digest[2] % 2]


def _email(value: str, digest: bytes) -> str:
    first, last = _PERSONAL[digest[0] % 16].lower(), _FAMILY[digest[1] % 16].lower()
    number = int.from_bytes(digest[2:6], "big")
    return f"{first}.{last}{number}@example.{('com', 'net', 'org')[digest[6] % 3]}"


def _ip(value: str, digest: bytes) -> str:
    if ":" in value and "." not in value:
        return f"2001:db8::{digest[:2].hex()}:{digest[2:4].hex()}:{digest[4:6].hex()}"
    return f"{('192.0.2', '198.51.100', '203.0.113')[digest[0] % 3]}.{digest[1]}"


def _phone(value: str, digest: bytes) -> str:
    """Digits for digits, with the 555-01 of fiction before the last two where there is room."""
    count = sum(map(str.isdigit, value))
    made = "".join(str(one % 10) for one in digest)[:count]
    if count >= 10:
        made = ("2" + made[1:3] + "55501" + made[8:10]).rjust(count, "1")
    elif count == 7:
        made = "55501" + made[5:]
    if count >= 12 and "".join(filter(str.isdigit, value)).startswith("00"):
        made = "00" + made[2:]
    return _with_digits(value, made)


def _card(value: str, digest: bytes) -> str:
    """Digits for digits, from 9 on, which no issuer has, with a right check digit."""
    count = sum(map(str.isdigit, value))
    made = "9" + "".join(str(one % 10) for one in digest)[: count - 2]
    total = sum(sum(divmod(2 * int(one), 10)) if at % 2 == 0 else int(one) for at, one in enumerate(reversed(made)))
    return _with_digits(value, made + str(-total % 10))


def _ssn(value: str, digest: bytes) -> str:
    """Of the area 666, which no number has; those from 900 on are tax numbers."""
    made = "666" + "".join(str(one % 10) for one in digest)[:6]
    return _with_digits(value, made[: sum(map(str.isdigit, value))])


def _iban(value: str, digest: bytes) -> str:
    """Of the country ZZ, which is nobody's, with a right check."""
    count = sum(map(str.isalnum, value)) - 4
    account = "".join(str(one % 10) for one in digest * 2)[:count]
    check = 98 - int(account + "3535" + "00") % 97
    return _with_digits(value, f"ZZ{check:02}{account}", str.isalnum)


def _mac(value: str, digest: bytes) -> str:
    return _with_digits(value, "02005e" + digest[:3].hex(), str.isalnum)


def _like(value: str, digest: bytes) -> str:
    """A letter for a letter, a digit for a digit."""
    stream = (digest * (len(value) // len(digest) + 1))[: len(value)]
    made = []
    for one, byte in zip(value, stream, strict=True):
        if one.isdigit():
            made.append(str(byte % 10))
        elif one.isalpha():
            letter = chr(ord("a") + byte % 26)
            made.append(letter.upper() if one.isupper() else letter)
        else:
            made.append(one)
    return "".join(made)


def _with_digits(value: str, digits: str, counted: Callable[[str], bool] = str.isdigit) -> str:
    left = iter(digits)
    return "".join(next(left, "0") if counted(one) else one for one in value)


_SURROGATES: Mapping[str, Callable[[str, bytes], str]] = {
    "PERSON": _name,
    "EMAIL_ADDRESS": _email,
    "IP_ADDRESS": _ip,
    "PHONE_NUMBER": _phone,
    "CREDIT_CARD": _card,
    "US_SSN": _ssn,
    "IBAN_CODE": _iban,
    "MAC_ADDRESS": _mac,
}
