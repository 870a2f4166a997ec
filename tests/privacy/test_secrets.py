"""Secrets: every form is found in prose, and nothing that looks a little like one."""

from __future__ import annotations

import random
import re
import string

import pytest

from curate.privacy.pii import Pii
from curate.privacy.secrets import FORMS, SECRET_TRIGGER, find_secrets


def _draw(count, letters=string.ascii_letters + string.digits, seed=1):
    return "".join(random.Random(f"{seed}{count}{letters}").choices(letters, k=count))


HEX = "0123456789abcdef"
BASE32 = string.ascii_uppercase + "234567"
EXAMPLES = {
    "aws_access_key": "AKIA" + _draw(16, BASE32),
    "github_token": "ghp_" + _draw(36),
    "github_fine_grained": "github_pat_" + _draw(82),
    "gitlab_token": "glpat-" + _draw(20),
    "slack_token": "xoxb-" + _draw(12, string.digits) + "-" + _draw(24),
    "slack_webhook": "https://hooks.slack.com/services/T" + _draw(8) + "/B" + _draw(8) + "/" + _draw(24),
    "discord_webhook": "https://discord.com/api/webhooks/" + _draw(18, string.digits) + "/" + _draw(68),
    "discord_bot": "M" + _draw(23) + "." + _draw(6) + "." + _draw(27),
    "stripe_key": "sk_live_" + _draw(24),
    "stripe_webhook": "whsec_" + _draw(32),
    "google_api_key": "AIza" + _draw(35),
    "google_oauth_token": "ya29." + _draw(60),
    "google_oauth_secret": "GOCSPX-" + _draw(28),
    "openai_key": "sk-" + _draw(48),
    "anthropic_key": "sk-ant-api03-" + _draw(93),
    "huggingface_token": "hf_" + _draw(34),
    "replicate_token": "r8_" + _draw(37),
    "npm_token": "npm_" + _draw(36),
    "pypi_token": "pypi-AgE" + _draw(100),
    "rubygems_key": "rubygems_" + _draw(48, HEX),
    "docker_token": "dckr_pat_" + _draw(27),
    "twilio_key": "SK" + _draw(32, HEX),
    "sendgrid_key": "SG." + _draw(22) + "." + _draw(43),
    "mailgun_key": "key-" + _draw(32, HEX),
    "mailchimp_key": _draw(32, HEX) + "-us12",
    "square_token": "sq0atp-" + _draw(22),
    "shopify_token": "shpat_" + _draw(32, HEX),
    "telegram_bot": _draw(9, string.digits) + ":AA" + _draw(33),
    "digitalocean_token": "dop_v1_" + _draw(64, HEX),
    "databricks_token": "dapi" + _draw(32, HEX),
    "grafana_token": "glsa_" + _draw(32) + "_" + _draw(8, HEX),
    "vault_token": "hvs." + _draw(24),
    "terraform_token": _draw(14) + ".atlasv1." + _draw(67),
    "age_key": "AGE-SECRET-KEY-1" + _draw(58, "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L"),
    "linear_key": "lin_api_" + _draw(40),
    "notion_token": "ntn_" + _draw(46),
    "figma_token": "figd_" + _draw(40),
    "postman_key": "PMAK-" + _draw(24, HEX) + "-" + _draw(34, HEX),
    "new_relic_key": "NRAK-" + _draw(27),
    "sentry_token": "sntrys_" + _draw(80),
    "pulumi_token": "pul-" + _draw(40, HEX),
    "planetscale_token": "pscale_tkn_" + _draw(43),
    "atlassian_token": "ATATT3" + _draw(180),
    "airtable_token": "pat" + _draw(14) + "." + _draw(64, HEX),
    "azure_storage_key": _draw(86) + "==",
    "azure_shared_access": _draw(43) + "%3D",
    "json_web_token": "eyJ" + _draw(30) + ".eyJ" + _draw(60) + "." + _draw(43),
    "private_key": "-----BEGIN RSA PRIVATE KEY-----\n"
    + _draw(64)
    + "\n"
    + _draw(64)
    + "\n-----END RSA PRIVATE KEY-----",
    "url_password": "admin:hunter2",
}
AROUND = {
    "azure_storage_key": ("AccountName=a;AccountKey=", ";End"),
    "azure_shared_access": ("https://a.example/b?sv=1&sig=", " x"),
    "url_password": ("postgres://", "@db.example.com/x"),
}


def test_every_form_has_an_example_here():
    assert set(EXAMPLES) == set(FORMS)
    assert len(FORMS) >= 40


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_secret_is_found_in_prose_whole(documents, name):
    before, after = AROUND.get(name, ("we use ", " for that"))
    text = before + EXAMPLES[name] + after
    assert re.search(SECRET_TRIGGER, text)
    assert (len(before), len(before) + len(EXAMPLES[name]), name) in {found[:3] for found in find_secrets(text)}
    rows = Pii(entities=("secret",)).open()(documents([text])).verdicts.to_pylist()
    assert rows[0]["text"] == f"{before}<SECRET>{after}"


@pytest.mark.parametrize("text", ["api_key = '{}'", "SECRET_TOKEN: {}", '"password": "{}"', "Authorization: Bearer {}"])
def test_what_is_called_a_secret_and_is_random_is_one(text):
    secret = "q7Zp2LmX94vTaw81"
    [found] = find_secrets(text.format(secret))
    assert (text.format(secret)[found[0] : found[1]], found[2]) == (secret, "assigned")


@pytest.mark.parametrize(
    "text",
    [
        "password: Xk9!mQ2zPw", "password: Xk9!mQ2zPw#7", "password=Xk9mQ2zPw77", "pwd: Tr0ub4dor&3", "Passwort: Sommer2024!",
        "DB_PASSWORD=s3cr3tP4ss", "AWS_SECRET_ACCESS_KEY=kJalrXUtnFEMIaK7MDENGabPxRfiCYzzKKPLqKEY",
    ],
)  # fmt: skip
def test_what_is_called_a_password_and_looks_like_one_is_one(documents, text):
    rows = Pii(entities=("secret",)).open()(documents([f"it was {text} then"])).verdicts.to_pylist()
    kept = re.match(r"it was \w+[:=]\s?", f"it was {text}")
    assert rows[0]["text"] == f"{kept[0]}<SECRET> then"


@pytest.mark.parametrize(
    "text",
    [
        "tokenizer = GPT2Tokenizer.from_pretrained",
        "next_token = self.wafv2_backend.list_ip_sets",
        "embed_tokens = Gemma4TextScaledWordEmbedding",
        "The secret: nobody knows it. The password is easy.",
        "password: correcthorsebatterystaple",
        'password=os.environ["DB1"], pwd = getpass.getpass(), passwd: Optional[str] = None',
        "PWD=/home/User1/Project2 and password=$DB_PASSWORD1",
        "AKIA is a name, ghp_ a beginning, sk-learn a package and https://example.com:8080/x an address",
        "token: 00000000000000000000",
        "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----",
        "key-value pairs and us-east-1",
    ],
)
def test_names_and_prose_are_no_secrets(text):
    assert list(find_secrets(text)) == []


LINES = (_draw(64), _draw(64, seed=2))


@pytest.mark.parametrize(
    "text",
    [
        '"-----BEGIN PRIVATE KEY-----\\n"\n"{}\\n"\n"{}\\n"\n"-----END PRIVATE KEY-----\\n"',
        '"-----BEGIN RSA PRIVATE KEY-----\\n" +\n  "{}\\n" +\n "{}\\n" + "-----END RSA PRIVATE KEY-----"',
        "# -----BEGIN PRIVATE KEY-----\n# {}\n# {}\n# -----END PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----\n{}\n{}",
        '"-----BEGIN PRIVATE KEY-----\\n{}\\n" + "{}',
        "-----BEGIN PGP PRIVATE KEY BLOCK-----\nVersion: GnuPG (x)\n\n{}\n{}\n-----END PGP PRIVATE KEY BLOCK-----",
        '---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\nComment: "x"\n{}\n{}\n---- END SSH2 ENCRYPTED PRIVATE KEY ----',
        "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\nPublic-Lines: 1\n{}\nPrivate-Lines: 1\n{}\n",
    ],
)  # fmt: skip
def test_a_private_key_is_found_as_programs_and_tools_write_it(text):
    whole = text.format(*LINES)
    assert re.search(SECRET_TRIGGER, whole)
    [(start, end, name, _)] = find_secrets(whole)
    assert name == "private_key" and all(line in whole[start:end] for line in LINES)


def test_a_key_without_an_end_takes_no_prose_with_it():
    [(_, end, *_)] = find_secrets(f"-----BEGIN PRIVATE KEY-----\n{LINES[0]}\nand so on it went")
    assert end == len("-----BEGIN PRIVATE KEY-----\n") + 64


def test_a_token_stands_behind_an_underscore():
    assert [name for *_, name, _ in find_secrets("token_ghp_" + _draw(36))] == ["github_token"]


@pytest.mark.parametrize(
    "text",
    [
        "AKIAIOSFODNN7EXAMPLE", "postgres://postgres:postgres@localhost:5432/db", "https://user:password@example.com/x",
        "https://me:${PASSWORD}@example.com",
        'if line == "-----BEGIN PRIVATE KEY-----" or "-----END PRIVATE KEY-----":',
    ],
)  # fmt: skip
def test_what_manuals_write_in_place_of_a_secret_is_none(text):
    assert list(find_secrets(text)) == []


def test_the_password_of_an_address_goes_whole_though_it_looks_like_mail(documents):
    text = "clone https://ann:s3cr3t.pass@git.example.com/x"
    rows = Pii().open()(documents([text])).verdicts.to_pylist()
    assert rows[0]["text"] == "clone https://<SECRET>@git.example.com/x"


@pytest.mark.parametrize(
    "text",
    [
        "token=" + "abcdefghijklmnopqrstuvwxyz" * 4 + "0123456789", "PuTTY-User-Key-File-1: " * 20_000,
        "---- BEGIN SSH2 PRIVATE KEY ----" * 20_000, ("-----BEGIN PRIVATE KEY-----\n" + "A" * 64 + "\n") * 5_000,
        "-----BEGIN PRIVATE KEY-----" + "a1\n" * 100_000, "://" * 200_000, "eyJ" * 200_000, "token=" * 100_000,
        "-----BEGIN PRIVATE KEY-----" * 40_000,
    ],
)  # fmt: skip
def test_hostile_texts_take_time_in_proportion(text):
    assert isinstance(list(find_secrets(text)), list)
