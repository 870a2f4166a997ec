"""The vault: what pseudonyms stand for comes back with the key, and without it nothing does."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from pydantic import ValidationError

from curate.errors import CurateError
from curate.privacy.pii import Pii
from curate.privacy.vault import VaultWriter, read_vault, reveal

KEY, OTHER = b"k" * 32, b"o" * 32
EMAIL = ("EMAIL_ADDRESS", "<EMAIL_aaaaaaaaaaaaaa>", "ann@example.co.uk")
STAGES = "stages: [{stage: pii, operators: {email: pseudonym, phone: surrogate}, key: 'env:PII_KEY', vault: VAULT}]"


@pytest.fixture
def run(project, monkeypatch):
    """A project whose run writes a vault beside it; what a run gives."""
    monkeypatch.setenv("PII_KEY", KEY.decode())
    project.write("in.txt", "mail ann@example.co.uk or call 212-555-0143")
    project.pipeline(
        f"{{dataset: toy, sources: [{{stage: files, paths: in.txt}}], {STAGES}}}".replace(
            "VAULT", f"{project.root}/vault"
        )
    )
    return project.run


def test_what_a_run_took_out_comes_back_with_the_key(run, project):
    run()
    [text] = project.texts()
    assert "ann@" not in text
    project.write("out.txt", text)
    done = project.cli("privacy", "reveal", "out.txt", "--vault", "vault", "--key", "env:PII_KEY")
    assert done.out.startswith("mail ann@example.co.uk or call 212-555-0143")
    assert "2 put back" in done.err
    told = json.loads(
        project.cli("privacy", "reveal", "out.txt", "--vault", "vault", "--key", "env:PII_KEY", "--json").out
    )
    assert (told["schema"], told["revealed"], told["ambiguous"], told["unknown"]) == (1, 2, {}, [])


def test_nothing_of_it_stands_in_clear_and_the_version_does_not_depend_on_its_bytes(run, project):
    first = run().version
    vault = project.root / "vault"
    [path] = vault.glob("*.vault")
    assert (vault.stat().st_mode & 0o777, path.stat().st_mode & 0o777) == (0o700, 0o600)
    for secret in (b"ann", b"example.co.uk", b"0143", KEY, b"EMAIL"):
        assert secret not in path.read_bytes()
    assert run().version == first
    assert len(list(vault.glob("*.vault"))) == 1, "what is done is not done twice"
    assert run(force=["pii"]).version == first


def test_a_vault_that_was_deleted_is_told_though_nothing_is_done_again(run, project):
    version = run().version
    shutil.rmtree(project.root / "vault")
    done = project.cli("run", "pipeline.yaml")
    assert done.code == 0
    assert "the vault" in done.err
    assert "has no record of this key" in done.err
    assert "`--force pii` does the work again" in done.err
    done = project.cli("run", "pipeline.yaml", "--force", "pii")
    assert "has no record" not in done.err
    assert read_vault(project.root / "vault", KEY)
    assert project.open().version == version


def test_another_key_is_told_and_reveals_nothing(run, project, monkeypatch):
    run()
    project.write("out.txt", project.texts()[0])
    monkeypatch.setenv("OTHER_KEY", OTHER.decode())
    done = project.cli("privacy", "reveal", "out.txt", "--vault", "vault", "--key", "env:OTHER_KEY")
    assert (done.code, done.out) == (2, "")
    assert "the vault was written with another key" in done.err


def test_each_of_two_keys_reveals_what_was_written_with_it(run, project, monkeypatch):
    run()
    with_first = project.texts()[0]
    first, other = read_vault(project.root / "vault", KEY), OTHER
    monkeypatch.setenv("PII_KEY", other.decode())
    run()
    again = read_vault(project.root / "vault", other)
    assert first and again and not {stands for _, stands, _ in first} & {stands for _, stands, _ in again}
    assert read_vault(project.root / "vault", KEY) == first
    assert reveal(with_first, first).revealed


def test_a_vault_that_is_not_there_is_told(project, monkeypatch):
    monkeypatch.setenv("PII_KEY", KEY.decode())
    project.write("out.txt", "text")
    done = project.cli("privacy", "reveal", "out.txt", "--vault", "nowhere", "--key", "env:PII_KEY")
    assert (done.code, "there is no vault in `nowhere`" in done.err) == (2, True)


@pytest.mark.parametrize(
    ("key", "problem", "hint"),
    [
        (OTHER.decode(), "`--key` says where the key is, not the key", "--key env:CURATE_PII_KEY or file:PATH"),
        (
            "env:NO_KEY",
            "the vault needs the key in the variable `NO_KEY`, which is not set",
            "the key that the run had",
        ),
        ("file:no.key", "the vault needs the key in `no.key`: No such file or directory", "the key that the run had"),
    ],
)
def test_a_key_that_is_not_there_is_told_with_the_next_step_and_never_shown(project, key, problem, hint):
    project.write("out.txt", "text")
    done = project.cli("privacy", "reveal", "out.txt", "--vault", "vault", "--key", key)
    assert done.code == 2
    assert problem in done.err
    assert hint in done.err
    assert OTHER.decode() not in done.err


# ---- records


def test_many_writers_at_once_lose_nothing(tmp_path):
    pairs = [("EMAIL_ADDRESS", f"<EMAIL_{number}>", f"{number}@example.org") for number in range(400)]

    def write(part):
        writer = VaultWriter(tmp_path / "vault", KEY)
        for pair in pairs[part::8]:
            writer.add([pair, pair])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    assert sorted(read_vault(tmp_path / "vault", KEY)) == sorted(pairs)


@pytest.mark.parametrize("cut", [1, 10, 40])
def test_a_record_that_was_cut_off_ends_its_file_and_harms_nothing_else(tmp_path, cut):
    writer = VaultWriter(tmp_path / "vault", KEY)
    writer.add([EMAIL])
    writer.add([("CRYPTO", "<CRYPTO_bbbbbbbbbbbbbb>", "1abc")])
    [path] = (tmp_path / "vault").iterdir()
    path.write_bytes(path.read_bytes()[:-cut])
    assert read_vault(tmp_path / "vault", KEY) == [EMAIL]


def test_a_write_that_fails_half_way_harms_nothing_that_comes_after(tmp_path, monkeypatch):
    writer, whole = VaultWriter(tmp_path / "vault", KEY), os.write
    writer.add([EMAIL])
    left = [20]  # bytes that the disk has room for

    def full(file, content):
        if not left:
            raise OSError(errno.ENOSPC, "No space left on device")
        return whole(file, bytes(content)[: left.pop()])

    other = ("CRYPTO", "<CRYPTO_bbbbbbbbbbbbbb>", "1abc")
    with monkeypatch.context() as patch, pytest.raises(OSError, match="space"):
        patch.setattr("os.write", full)
        writer.add([other])
    writer.add([other])
    assert set(read_vault(tmp_path / "vault", KEY)) == {EMAIL, other}


def test_a_writer_that_is_killed_leaves_what_it_had_handed_on(tmp_path):
    code = (
        "import os, signal, pathlib; from curate.privacy.vault import VaultWriter;"
        f"VaultWriter(pathlib.Path({str(tmp_path / 'vault')!r}), {KEY!r}).add([{EMAIL!r}]);"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == -9
    assert read_vault(tmp_path / "vault", KEY) == [EMAIL]


def test_a_changed_byte_is_damage_and_told_with_its_place(tmp_path):
    VaultWriter(tmp_path / "vault", KEY).add([EMAIL])
    [path] = (tmp_path / "vault").iterdir()
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(CurateError, match="the vault is damaged at byte 31"):
        read_vault(tmp_path / "vault", KEY)


# ---- revealing


def test_what_stands_for_several_values_or_is_not_there_stays_and_is_told():
    pairs = [
        ("PERSON", "Kim Ito", "Ann Lee"), ("PERSON", "Kim Ito", "Bob Ray"), EMAIL,
        ("PHONE_NUMBER", "<PHONE_aaaaaaaaaaaaaa>", "+1 212 555 0143"),
        ("PHONE_NUMBER", "<PHONE_aaaaaaaaaaaaaa>", "+12125550143"),
    ]  # fmt: skip
    told = reveal("Kim Ito <EMAIL_aaaaaaaaaaaaaa> <EMAIL_bbbbbbbbbbbbbb> <PHONE_aaaaaaaaaaaaaa>", pairs)
    assert told.text == "Kim Ito ann@example.co.uk <EMAIL_bbbbbbbbbbbbbb> +1 212 555 0143"
    assert (told.revealed, told.ambiguous, told.unknown) == (2, {"Kim Ito": 2}, ["<EMAIL_bbbbbbbbbbbbbb>"])


@pytest.mark.parametrize(
    ("text", "put_back"),
    [
        ("+1 212 555 0143", "A"),
        ("+1 212 555 01432 +1 212 555 0143x", "+1 212 555 01432 +1 212 555 0143x"),
        ("Kim Itola, Kim Ito", "Kim Itola, B"),
        ("Kim Kim", "Kim Kim"),
        ("Kim It", "Kim It"),
    ],
)
def test_a_surrogate_is_put_back_only_as_whole_words(text, put_back):
    pairs = [("PHONE_NUMBER", "+1 212 555 0143", "A"), ("PERSON", "Kim Ito", "B")]
    assert reveal(text, pairs).text == put_back


# ---- settings


def test_a_vault_needs_an_operator_that_is_reversible():
    with pytest.raises(ValidationError, match="no operator is one of these"):
        Pii(vault="v")


def test_a_vault_in_a_store_or_open_to_others_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("PII_KEY", KEY.decode())
    (tmp_path / "store.json").write_text("{}")

    def stage(folder):
        return Pii(operators={"email": "pseudonym"}, key="env:PII_KEY", vault=str(folder))

    with pytest.raises(CurateError, match="is inside a store"):
        stage(tmp_path / "vault").facts()
    (tmp_path / "store.json").unlink()
    (tmp_path / "vault").mkdir()
    (tmp_path / "vault").chmod(0o755)
    with pytest.raises(CurateError, match="nobody else may read"):
        stage(tmp_path / "vault").facts()
