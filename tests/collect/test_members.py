"""Files inside of zip and tar archives."""

import bz2
import errno
import gzip
import io
import json
import struct
import tarfile
import zipfile

import pytest

LINES = "".join(json.dumps({"id": f"j{n}", "text": f"line {n}"}) + "\n" for n in range(3))


def zipped(members, compression=zipfile.ZIP_DEFLATED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return file.getvalue()


def tarred(members, mode="w"):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:
        for name, data in members:
            if isinstance(data, tarfile.TarInfo):
                archive.addfile(data)
                continue
            told = tarfile.TarInfo(name)
            told.size = len(data)
            archive.addfile(told, io.BytesIO(data))
    return file.getvalue()


def texts(documents):
    return {one["source_uri"]: one["text"] for one in documents}


MEMBERS = [("a/x.jsonl", LINES.encode()), ("b.txt", b"a whole text"), ("c.csv.gz", gzip.compress(b"text,n\nrow,1\n"))]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("in.zip", zipped(MEMBERS)),
        ("in.tar", tarred(MEMBERS)),
        ("in.tgz", tarred(MEMBERS, "w:gz")),
        ("in.tar.bz2", bz2.compress(tarred(MEMBERS))),
    ],
)
def test_every_member_is_read_as_its_ending_says_and_named_by_its_path(read_files, name, content):
    documents, rejects = read_files({name: content})
    assert rejects == []
    sizes = [0, *[len(line) + 1 for line in LINES.split("\n")]]
    assert texts(documents) == {
        **{f"{name}!a/x.jsonl#{sum(sizes[: n + 1])}": f"line {n}" for n in range(3)},
        f"{name}!b.txt#0": "a whole text",
        f"{name}!c.csv.gz#7": "row",
    }


def test_an_archive_in_an_archive_is_read_and_one_deeper_is_rejected(read_files):
    deep = zipped([("t.txt", b"deep")])
    content = zipped([("one.zip", zipped([("t.txt", b"in one"), ("two.zip", deep)]))])
    documents, rejects = read_files({"in.zip": content})
    assert texts(documents) == {"in.zip!one.zip!t.txt#0": "in one"}
    assert [(one.inside, one.reason) for one in rejects] == [("!one.zip!two.zip", "nested_archive")]


def test_names_that_point_elsewhere_are_rejected_and_hidden_ones_counted(read_files):
    names = [
        "../up.txt",
        "/etc/abs.txt",
        "C:\\w.txt",
        "a/../../b.txt",
        "..\\w.txt",
        "__MACOSX/a.txt",
        ".hidden.txt",
        "ok.txt",
    ]
    for content in (zipped([(name, b"x") for name in names]), tarred([(name, b"x") for name in names])):
        name = "in.zip" if content[:2] == b"PK" else "in.tar"
        documents, rejects = read_files({name: content})
        assert texts(documents) == {f"{name}!ok.txt#0": "x"}
        assert [one.reason for one in rejects] == ["unsafe_name"] * 5
        assert len({one.offset for one in rejects}) == 5


def test_a_name_that_is_there_twice_is_read_once(read_files):
    with pytest.warns(UserWarning, match="Duplicate name"):
        content = zipped([("a.txt", b"one"), ("a.txt", b"two")])
    documents, rejects = read_files({"in.zip": content})
    assert (list(texts(documents).values()), [one.reason for one in rejects]) == (["one"], ["duplicate_name"])


def test_links_are_not_followed(read_files):
    link = tarfile.TarInfo("passwd.txt")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    linked = zipfile.ZipInfo("passwd.txt")
    linked.external_attr = 0o120777 << 16
    for name, content in (("in.tar", tarred([("", link)])), ("in.zip", zipped([(linked, b"/etc/passwd")]))):
        assert read_files({name: content}) == ([], [])


def test_a_bomb_stops_at_the_limit_whatever_its_directory_says(read_files):
    small = b"kept"
    content = bytearray(
        zipped([("a.txt", small), *((f"{n}.txt", bytes(8 << 20)) for n in range(12)), ("z.txt", b"after")])
    )
    documents, rejects = read_files({"in.zip": bytes(content)}, columns=[], max_expansion=2, format="lines")
    assert [one.reason for one in rejects] == ["expansion_limit"]
    assert documents[0]["text"] == "kept"
    assert "after" not in texts(documents).values()


def test_an_encrypted_member_costs_itself_alone(read_files):
    content = bytearray(zipped([("a.txt", b"one"), ("b.txt", b"two")]))
    place = content.find(b"PK\x01\x02")
    struct.pack_into("<H", content, place + 8, 1)
    documents, rejects = read_files({"in.zip": bytes(content)})
    assert (list(texts(documents).values()), [(one.inside, one.reason) for one in rejects]) == (
        ["two"],
        [("!a.txt", "password")],
    )


def test_damage_costs_the_members_that_it_hit(read_files):
    content = zipped([("a.txt", b"one" * 50), ("b.txt", b"two")], zipfile.ZIP_STORED)
    documents, rejects = read_files({"in.zip": content.replace(b"oneone", b"onXone", 1)})
    assert (list(texts(documents).values()), [one.reason for one in rejects]) == (["two"], ["corrupt"])
    documents, rejects = read_files({"in.zip": content[:-30]})
    assert (documents, [one.reason for one in rejects]) == ([], ["truncated"])
    documents, rejects = read_files({"in.tar": tarred([("a.txt", b"one"), ("b.txt", b"two" * 500)])[:2100]})
    assert (list(texts(documents).values()), [one.reason for one in rejects]) == (["one"], ["truncated"])


def test_a_large_member_is_read_through_a_file(read_files):
    line = json.dumps({"text": "x" * 1000}).encode() + b"\n"
    documents, rejects = read_files({"in.zip": zipped([("a.jsonl", line * 17_000)])}, max_expansion=1000)
    assert (len(documents), rejects) == (17_000, [])


def test_a_damaged_lzma_member_and_one_without_a_name_cost_themselves_alone(read_files):
    content = bytearray(zipped([("a.txt", b"hello world " * 300), ("b.txt", b"two")], zipfile.ZIP_LZMA))
    content[60] ^= 0xFF
    documents, rejects = read_files({"in.zip": bytes(content)})
    assert (list(texts(documents).values()), [one.reason for one in rejects]) == (["two"], ["corrupt"])
    content = bytearray(zipped([("a.txt", b"one"), ("b.txt", b"two")]))
    content[content.find(b"PK\x01\x02") + 46] = 0
    documents, rejects = read_files({"in.zip": bytes(content)})
    assert (list(texts(documents).values()), [one.reason for one in rejects]) == (["two"], ["unsafe_name"])


@pytest.mark.parametrize("packed", [zipped, tarred])
def test_a_full_disk_is_no_damage_of_an_archive(read_files, monkeypatch, packed):
    def full():
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("curate.collect.members.MEMORY_BYTES", 10)
    monkeypatch.setattr("tempfile.NamedTemporaryFile", full)
    with pytest.raises(OSError, match="No space"):
        read_files({f"in.{packed.__name__[:3]}": packed([("a.txt", b"more than ten bytes")])})
