"""Secrets: keys, tokens and passwords, by the forms that their issuers publish.

Most begin with letters that little else begins with (`AKIA`, `ghp_`, `xoxb-`): a text is looked at only where it has some of
them. What has no form of its own is a secret where it is called one (`api_key = "..."`) and is as random as a key is: at
least 3.2 bits a character, three digits, and not the name of something in a program; and where it is called a password and has
lower and upper case, digits and signs, or three of these.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["FORMS", "SECRET_TRIGGER", "find_secrets"]


class Form(NamedTuple):
    """How an issuer's secrets are written.

    Attributes:
        trigger: What a text must hold to hold one, for RE2 as for Python.
        whole: All of it.
        is_word: Whether it stands apart from letters, digits and `-`, and `_` behind it.
        is_random: Whether it is one only if it is as random as a key.
    """

    trigger: str
    whole: str
    is_word: bool = True
    is_random: bool = True


_HEX, _WORD = "[0-9a-fA-F]", r"[\w-]"
_PEM = r"(?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----"
_INSIDE, _LINE = "(?:[^-]|-(?!---))", "[A-Za-z0-9+/]{40}"
_LINES = rf"{_INSIDE}{{0,400}}?{_LINE}[A-Za-z0-9+/=]*+(?:(?:\\[nr]|[^A-Za-z0-9]){{1,12}}+{_LINE}[A-Za-z0-9+/=]*+)*+"
"""Lines of a key as they stand in a file, or in strings or comments of a program."""
_PUTTY = (
    r"PuTTY-User-Key-File-\d:(?:(?!PuTTY-User)[\s\S]){0,8000}?Private-Lines: \d{1,3}\s(?:[A-Za-z0-9+/=]{4,80}\s?){1,99}"
)
_PLACE = r"(?:pass(?:word|wd)?|pwd?|secret|changeme|postgres|root|x{3,}|\*+|\.+|\$\{?\w+\}?|\{\w*\}|%s)"
"""What stands for a password in examples."""
FORMS = {
    "aws_access_key": Form("AKIA|ASIA|ABIA|ACCA", r"(?:AKIA|ASIA|ABIA|ACCA)(?![A-Z0-9]{9}EXAMPLE)[A-Z2-7]{16}"),
    "github_token": Form("gh[pousr]_", r"gh[pousr]_[A-Za-z0-9]{36,251}"),
    "github_fine_grained": Form("github_pat_", r"github_pat_\w{82}"),
    "gitlab_token": Form("gl(?:pat|dt|rt|cbt|ptt)-", rf"gl(?:pat|dt|rt|cbt|ptt)-{_WORD}{{20,64}}"),
    "slack_token": Form("xox[abeoprs]-|xapp-", r"xox[abeoprs]-[\w-]{10,250}|xapp-\d-[\w-]{20,250}"),
    "slack_webhook": Form(r"hooks\.slack\.com/", r"https://hooks\.slack\.com/(?:services|workflows)/[\w/]{20,100}"),
    "discord_webhook": Form(
        "/api/webhooks/", r"https://(?:\w+\.)?discord(?:app)?\.com/api/webhooks/\d{17,20}/[\w-]{60,80}"
    ),
    "discord_bot": Form(r"[MNO][\w-]{23,25}\.[\w-]{6}\.", r"[MNO][\w-]{23,25}\.[\w-]{6}\.[\w-]{27,40}"),
    "stripe_key": Form("[rs]k_(?:live|test)_", r"[rs]k_(?:live|test)_[A-Za-z0-9]{16,247}"),
    "stripe_webhook": Form("whsec_", r"whsec_[A-Za-z0-9+/]{24,64}={0,2}"),
    "google_api_key": Form("AIza", rf"AIza{_WORD}{{35}}"),
    "google_oauth_token": Form(r"ya29\.", rf"ya29\.{_WORD}{{20,300}}"),
    "google_oauth_secret": Form("GOCSPX-", rf"GOCSPX-{_WORD}{{28}}"),
    "openai_key": Form(
        r"sk-\w", rf"sk-(?:proj-|svcacct-|admin-)?{_WORD}{{20,160}}T3BlbkFJ{_WORD}{{20,160}}|sk-[A-Za-z0-9]{{48}}"
    ),
    "anthropic_key": Form("sk-ant-", rf"sk-ant-[a-z]+\d\d-{_WORD}{{80,120}}"),
    "huggingface_token": Form("hf_", r"hf_[A-Za-z0-9]{34,40}"),
    "replicate_token": Form("r8_", r"r8_[A-Za-z0-9]{37,40}"),
    "npm_token": Form("npm_", r"npm_[A-Za-z0-9]{36}"),
    "pypi_token": Form("pypi-AgE", rf"pypi-AgE{_WORD}{{50,1000}}"),
    "rubygems_key": Form("rubygems_", rf"rubygems_{_HEX}{{48}}"),
    "docker_token": Form("dckr_", rf"dckr_(?:pat|oat)_{_WORD}{{27,64}}"),
    "twilio_key": Form(rf"(?:SK|AC){_HEX}{{8}}", rf"(?:SK|AC){_HEX}{{32}}"),
    "sendgrid_key": Form(r"SG\.\w", rf"SG\.{_WORD}{{22}}\.{_WORD}{{43}}"),
    "mailgun_key": Form(rf"key-{_HEX}{{4}}", rf"key-{_HEX}{{32}}"),
    "mailchimp_key": Form(rf"{_HEX}{{4}}-us\d", rf"{_HEX}{{32}}-us\d{{1,2}}"),
    "square_token": Form("sq0[a-z]{3}-|EAAA", rf"sq0[a-z]{{3}}-{_WORD}{{22,50}}|EAAA{_WORD}{{60}}"),
    "shopify_token": Form("shp(?:at|ca|pa|ss)_", rf"shp(?:at|ca|pa|ss)_{_HEX}{{32}}"),
    "telegram_bot": Form(r"\d:AA", rf"\d{{8,10}}:AA{_WORD}{{33}}"),
    "digitalocean_token": Form("do[opr]_v1_", r"do[opr]_v1_[0-9a-f]{64}"),
    "databricks_token": Form("dapi[0-9a-f]{4}", r"dapi[0-9a-f]{32}(?:-\d)?"),
    "grafana_token": Form("glc_|glsa_", rf"glc_[A-Za-z0-9+/]{{32,400}}={{0,2}}|glsa_[A-Za-z0-9]{{32}}_{_HEX}{{8}}"),
    "vault_token": Form(r"hv[bs]\.", rf"hv[bs]\.{_WORD}{{24,200}}"),
    "terraform_token": Form(r"\.atlasv1\.", rf"[A-Za-z0-9]{{14}}\.atlasv1\.{_WORD}{{60,70}}"),
    "age_key": Form("AGE-SECRET-KEY-1", r"AGE-SECRET-KEY-1[QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L]{58}"),
    "linear_key": Form("lin_api_", r"lin_api_[A-Za-z0-9]{40}"),
    "notion_token": Form("ntn_|secret_[A-Za-z0-9]{8}", r"ntn_[A-Za-z0-9]{40,50}|secret_[A-Za-z0-9]{43}"),
    "figma_token": Form("figd_", rf"figd_{_WORD}{{40}}"),
    "postman_key": Form("PMAK-", rf"PMAK-{_HEX}{{24}}-{_HEX}{{34}}"),
    "new_relic_key": Form("NR(?:AK|II|JS)-", rf"NR(?:AK|II|JS)-{_WORD}{{19,32}}"),
    "sentry_token": Form("sntry[su]_", r"sntry[su]_[A-Za-z0-9+/=_]{40,400}"),
    "pulumi_token": Form("pul-[0-9a-f]{4}", r"pul-[0-9a-f]{40}"),
    "planetscale_token": Form("pscale_", rf"pscale_(?:tkn|oauth|pw)_{_WORD}{{32,64}}"),
    "atlassian_token": Form("ATATT3", rf"ATATT3{_WORD}{{150,250}}=?[0-9A-F]{{0,8}}"),
    "airtable_token": Form(r"pat\w{14}\.", rf"pat[A-Za-z0-9]{{14}}\.{_HEX}{{64}}"),
    "azure_storage_key": Form("AccountKey=", r"(?<=AccountKey=)[A-Za-z0-9+/]{86}==", is_word=False),
    "azure_shared_access": Form("[?&]sig=", r"(?<=[?&]sig=)[A-Za-z0-9%+/]{43,80}", is_word=False),
    "json_web_token": Form("eyJ", rf"(?<!{_WORD})eyJ{_WORD}{{10,2000}}+\.eyJ{_WORD}{{10,4000}}\.{_WORD}{{16,1000}}"),
    "private_key": Form(
        "-----BEGIN|---- BEGIN SSH2|PuTTY-User-Key-File-",
        rf"-----BEGIN {_PEM}(?={_INSIDE}{{0,400}}?{_LINE})(?:{_INSIDE}{{20,20000}}+-----END {_PEM}|{_LINES})"
        rf"|---- BEGIN SSH2 (?:ENCRYPTED )?PRIVATE KEY ----{_LINES}|{_PUTTY}",
        is_word=False,
        is_random=False,
    ),
    "url_password": Form(
        r"://[^\s/:@\"'<>]{1,64}:[^\s/:@\"'<>]{3,128}@",
        rf"(?<=://)[^\s/:@\"'<>]{{1,64}}:(?!{_PLACE}@)[^\s/:@\"'<>]{{3,128}}(?=@[\w.-])",
        is_word=False,
        is_random=False,
    ),
}
"""By name; the names are the rules that the documentation lists."""
_CALLED = (
    r"(?:api|access|secret|auth|private|signing|encryption|client|account|storage|bearer)[ _.-]?(?:key|token|secret)s?"
    r"|secret|token|passw(?:or)?d|passwort|passwd|pwd|authorization"
)
_ASSIGNED = re.compile(
    rf"\b\w{{0,40}}(?:{_CALLED})\w{{0,20}}[\"']?\s{{0,3}}(?:=>|:=|[=:])\s{{0,3}}(?:bearer |basic )?[\"'`]?"
    r"(?P<secret>[A-Za-z0-9+/_.=~!$%^&*-]{12,200})",
    re.IGNORECASE,
)
_PASSWORD = re.compile(
    r"\b\w{0,40}(?:passw(?:or)?d|passwort|passwd|pwd)\w{0,20}[\"']?\s{0,3}(?:=>|:=|[=:])\s{0,3}[\"'`]?"
    r"(?P<secret>[^\s\"'`,;()<>\[\]{}/\\$]{8,64})",
    re.IGNORECASE,
)
_ASSIGNED_TRIGGER = rf"(?i:(?:{_CALLED})\w{{0,20}}[\"']?\s{{0,3}}(?:=>|:=|[=:]))"
_NAMED = re.compile(_ASSIGNED_TRIGGER)
SECRET_TRIGGER = "|".join([*dict.fromkeys(form.trigger for form in FORMS.values()), _ASSIGNED_TRIGGER])
"""What a text must hold to hold any secret, for RE2 as for Python."""
_NAME = re.compile(
    r"\d{0,4}[a-z_.]+\d{0,4}|[A-Z_]+\d{0,4}|\w+(?:\.[A-Za-z_]\w*)+"
    r"|(?=(?:[^a-z]*+[a-z]){3})(?:[A-Z]?+[a-z]++[\d_]{0,4}+)++"
)
"""Names of things in a program."""
_BITS, _BITS_OF_FORM, _DIGITS = 3.2, 2.5, 3
_LONG, _BITS_OF_LONG = 32, 4.2
"""Shannon entropy of a character: English words have 2 to 3, random hexadecimal digits 3.3 to 4."""


def find_secrets(text: str) -> Iterator[tuple[int, int, str, float]]:
    """Where a text has secrets: start, end, the name of the form (or `assigned`), and how certain that is (0 to 1)."""
    for name, form in FORMS.items():
        if re.search(form.trigger, text):
            for match in re.finditer(form.whole, text):
                apart = not form.is_word or _stands_apart(text, *match.span())
                if apart and (not form.is_random or _bits(match[0]) >= _BITS_OF_FORM):
                    yield match.start(), match.end(), name, 0.95
    if not _NAMED.search(text):
        return
    told = set[int]()
    for match in _ASSIGNED.finditer(text):
        if _is_random(match["secret"]):
            told.add(match.start("secret"))
            yield match.start("secret"), match.end("secret"), "assigned", 0.6
    for match in _PASSWORD.finditer(text):
        if match.start("secret") not in told and _is_password(match["secret"]):
            yield match.start("secret"), match.end("secret"), "password", 0.5


def _stands_apart(text: str, start: int, end: int) -> bool:
    before, after = text[start - 1 : start], text[end : end + 1]
    return not any(
        one.isascii() and (one.isalnum() or one in signs) for one, signs in ((before, "-"), (after, "_-")) if one
    )


def _is_password(word: str) -> bool:
    """Of three of the four kinds of characters, a digit among them: what those who give out passwords ask for."""
    kinds = [any(map(kind, word)) for kind in (str.islower, str.isupper, lambda one: not one.isalnum())]
    return any(map(str.isdigit, word)) and sum(kinds) >= 2 and not _NAME.fullmatch(word)


def _is_random(secret: str) -> bool:
    digits = sum(map(str.isdigit, secret))
    if len(secret) >= _LONG and digits and _bits(secret) >= _BITS_OF_LONG and not _NAME.fullmatch(secret):
        return True
    return _DIGITS <= digits < len(secret) and _bits(secret) >= _BITS and not _NAME.fullmatch(secret)


def _bits(text: str) -> float:
    """Shannon entropy, in bits a character."""
    return -sum(n / len(text) * math.log2(n / len(text)) for n in Counter(text).values())
