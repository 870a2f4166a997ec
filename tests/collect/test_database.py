"""Documents from databases: SQLite always, a real PostgreSQL and MariaDB where they are installed."""

from __future__ import annotations

import datetime
import decimal
import json
import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import contextmanager

import pyarrow as pa
import pytest
from pydantic import ValidationError

from curate.collect.fetch.connection import driver_words
from curate.collect.fetch.database import Database
from curate.collect.fetch.values import mark_value
from curate.dataset.snapshots import Fetch, put_together
from curate.dataset.store import Store
from curate.errors import CurateError
from curate.stages.parts import Rejected, SourceContext
from tests.collect import database_servers as servers
from tests.oracles import library, missing

library("sqlalchemy")
ROWS = 57


@pytest.fixture(scope="session")
def postgresql():
    if not servers.program("initdb"):
        missing("PostgreSQL (`make services` installs it)")
    with servers.postgresql() as url:
        yield url


@pytest.fixture(scope="session")
def mariadb():
    if not servers.program("mariadbd"):
        missing("MariaDB (`make services` installs it)")
    with servers.mariadb() as url:
        yield url


ANY = ["sqlite", *(pytest.param(name, marks=pytest.mark.slow) for name in ("postgresql", "mariadb"))]
SERVERS = ANY[1:]


class Place:
    """A database, a store, and what is fetched from the one into the other."""

    def __init__(self, root, url):
        from sqlalchemy import create_engine

        self.root, self.url = root, url
        self.store = Store.open(root / "store", create=True)
        driver = {"postgresql": "postgresql+pg8000", "mariadb": "mariadb+pymysql"}
        kind, _, rest = url.partition("://")
        self.engine = create_engine(f"{driver.get(kind, kind)}://{rest}")
        self.previous = None

    def do(self, *statements, rows=None):
        from sqlalchemy import text

        with self.engine.begin() as connection:
            for statement in statements:
                connection.execute(text(statement), *([rows] if rows else []))

    def source(self, **settings):
        os.environ["TEST_DATABASE"] = self.url
        return Database(**{"url_from": "TEST_DATABASE", "chunk": 10, **settings})

    def fetch(self, refresh=False, **settings):
        """The rows of a fetch; `self.previous` is its snapshot."""
        source = self.source(**settings)
        desk = Fetch(self.store, "k" * 64, self.root, self.previous if refresh else None, print)
        facts = source.fetch(desk)
        self.previous = desk.finish("database", {}, facts)
        desk.forget()
        return self.rows(source)

    def rows(self, source):
        tables = [item for item in self.items(source) if not isinstance(item, Rejected)]
        return [row for table in tables for row in table.to_pylist()]

    def items(self, source):
        for part in source.plan(SourceContext(self.root, 1 << 20, str, snapshot=self.previous)):
            yield from source.read_from(self.store, part)


@pytest.fixture
def at(request, tmp_path):
    """A place in the database that a test is run with."""
    kind = request.param
    (tmp_path / "texts.db").touch()
    url = f"sqlite:///{tmp_path / 'texts.db'}" if kind == "sqlite" else request.getfixturevalue(kind)
    place = Place(tmp_path, url)
    yield place
    with place.engine.begin() as connection:
        from sqlalchemy import inspect, text

        for name in inspect(connection).get_table_names():
            connection.execute(text(f"DROP TABLE {name}"))
    place.engine.dispose()


def articles(place, count=ROWS):
    place.do("CREATE TABLE articles (id INTEGER PRIMARY KEY, text VARCHAR(100), changed TIMESTAMP)")
    insert(place, range(count))


def insert(place, numbers, second=0, text="the text of {}"):
    rows = [{"i": i, "t": text.format(i), "c": f"2026-01-01 00:00:{second:02d}"} for i in numbers]
    place.do("INSERT INTO articles VALUES (:i, :t, :c)", rows=rows)


@pytest.mark.parametrize("at", ANY, indirect=True)
@pytest.mark.parametrize("chunk", [1, 10, 1000])
def test_all_rows_of_a_table_come_whatever_the_chunks(at, chunk):
    articles(at)
    rows = at.fetch(table="articles", chunk=chunk)
    assert [row["id"] for row in rows] == [str(i) for i in range(ROWS)]
    assert rows[7]["text"] == "the text of 7"
    assert rows[7]["source_uri"].endswith("/articles#7")
    assert at.previous.facts["key"] == ["id"]
    assert len(at.previous.pieces) == 1


@pytest.mark.parametrize("at", ANY, indirect=True)
def test_a_query_and_a_key_of_several_columns(at):
    at.do("CREATE TABLE said (forum VARCHAR(10), number INTEGER, words VARCHAR(50), PRIMARY KEY (forum, number))")
    at.do(
        "INSERT INTO said VALUES (:f, :n, :w)",
        rows=[{"f": f, "n": n, "w": f"{f}: {n}"} for f in "ba" for n in range(12)],
    )
    rows = at.fetch(
        query="SELECT forum, number, words FROM said WHERE number <> 3;", key=["forum", "number"], text="words"
    )
    assert len(rows) == 22
    assert [row["id"] for row in rows[:2]] == ['["a", "0"]', '["a", "1"]']
    assert rows[0]["text"] == "a: 0"
    assert [row["id"] for row in at.fetch(table="said")] == [row["id"] for row in at.fetch(table="said", chunk=100)]
    assert {row["forum"] for row in rows} == {"a", "b"}


@pytest.mark.parametrize("at", ANY, indirect=True)
def test_only_the_columns_that_are_named_are_asked_for(at):
    articles(at)
    assert set(at.fetch(table="articles", columns=["changed"], text="text")[0]) == {
        "id",
        "text",
        "source_uri",
        "changed",
    }
    assert set(at.fetch(table="articles", columns="changed")[0]) == {"id", "source_uri", "changed"}


@pytest.mark.parametrize("at", ANY, indirect=True)
def test_a_watermark_loses_no_equal_times_and_what_did_not_change_changes_nothing(at):
    articles(at, 20)
    insert(at, range(20, 25), second=9)
    settings = {"table": "articles", "watermark": {"column": "changed"}}
    at.fetch(**settings)
    first = at.previous
    assert at.fetch(refresh=True, **settings)
    assert at.previous.pieces == first.pieces  # five rows came again, as they were
    insert(at, range(25, 28), second=9)  # of the same second as the last ones
    at.do("UPDATE articles SET text = 'changed', changed = '2026-01-01 00:00:10' WHERE id = 3")
    rows = at.fetch(refresh=True, **settings)
    assert sorted(int(row["id"]) for row in rows) == list(range(28))
    assert [row["text"] for row in rows if row["id"] == "3"] == ["changed"]
    full = at.fetch(**settings)
    assert sorted(map(str, full)) == sorted(map(str, rows))


def test_a_lag_of_large_numbers_is_taken_without_a_float():
    assert mark_value(["plain", 1764500000123456789], 1.0) == 1764500000123456788


def test_a_table_that_is_empty_at_a_refresh_keeps_its_watermark(tmp_path):
    at = Place(tmp_path, f"sqlite:///{tmp_path / 'texts.db'}")
    articles(at, 3)
    settings = {"table": "articles", "watermark": {"column": "changed"}}
    at.fetch(**settings)
    mark = at.previous.facts["watermark"]
    at.do("DELETE FROM articles")
    at.fetch(refresh=True, **settings)
    assert at.previous.facts["watermark"] == mark
    insert(at, [9], second=5)
    assert len(at.fetch(refresh=True, **settings)) == 4


@pytest.mark.parametrize("at", SERVERS, indirect=True)
def test_a_lag_finds_rows_that_were_committed_late(at):
    articles(at, 5)
    insert(at, range(5, 8), second=30)
    settings = {"table": "articles", "watermark": {"column": "changed", "lag": 10}}
    at.fetch(**settings)
    insert(at, [8], second=21)
    insert(at, [9], second=19)
    assert sorted(int(row["id"]) for row in at.fetch(refresh=True, **settings)) == [*range(9)]


def test_a_watermark_of_text_takes_no_lag_and_one_that_is_null_is_an_error(tmp_path):
    at = Place(tmp_path, f"sqlite:///{tmp_path / 'texts.db'}")
    articles(at, 3)
    settings = {"table": "articles", "watermark": {"column": "changed", "lag": 5}}
    at.fetch(**settings)
    with pytest.raises(CurateError, match="the watermark is text, from which no lag can be taken"):
        at.fetch(refresh=True, **settings)
    at.do("UPDATE articles SET changed = NULL WHERE id = 1")
    with pytest.raises(CurateError, match="1 rows of articles have no `changed`"):
        at.fetch(**settings)


@contextmanager
def written_to(at):
    """Somebody inserts and deletes all the time."""
    stop, begun = threading.Event(), threading.Event()

    def write():
        number = 10_000
        while not stop.is_set():
            number += 1
            insert(at, [number, -number])
            at.do(f"DELETE FROM articles WHERE id = {number - 10_000}")
            begun.set()

    thread = threading.Thread(target=write)
    thread.start()
    begun.wait()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("at", SERVERS, indirect=True)
def test_a_table_that_changes_while_it_is_read_is_read_as_of_one_moment(at):
    articles(at, 400)
    with written_to(at):
        rows = at.fetch(table="articles", chunk=5)  # check() compares with the count of the same moment
    numbers = {int(row["id"]) for row in rows}
    pairs = {abs(number) for number in numbers if abs(number) > 10_000}
    assert all({number, -number} <= numbers for number in pairs)
    gone = set(range(400)) - numbers
    assert gone <= set(range(len(pairs) + 2))


@pytest.mark.slow
@pytest.mark.parametrize("at", ["mariadb"], indirect=True)
def test_an_engine_without_transactions_that_changes_while_it_is_read_is_an_error(at, monkeypatch):
    from curate.collect.fetch.statements import Statements

    at.do("CREATE TABLE articles (id INTEGER PRIMARY KEY, text VARCHAR(100), changed TIMESTAMP) ENGINE=MyISAM")
    insert(at, range(30))
    counted = Statements.count

    def count_and_write(self, since):
        found = counted(self, since)
        insert(at, [100])
        return found

    monkeypatch.setattr(Statements, "count", count_and_write)
    with pytest.raises(CurateError, match="articles has 30 rows, but 31 came in the order of its key"):
        at.fetch(table="articles")


def test_a_key_that_repeats_or_is_null_is_an_error(tmp_path):
    at = Place(tmp_path, f"sqlite:///{tmp_path / 'texts.db'}")
    at.do("CREATE TABLE said (who TEXT, text TEXT)")
    with pytest.raises(CurateError, match="`said` has no primary key") as caught:
        at.fetch(table="said")
    assert "`key:`" in (caught.value.hint or "")
    at.do("INSERT INTO said VALUES ('a', 'x'), ('b', 'x'), ('b', 'x')")
    with pytest.raises(CurateError, match="two rows of said have the same `who`"):
        at.fetch(table="said", key="who")
    with pytest.raises(CurateError, match="said has 3 rows, but 2 came in the order of its key"):
        at.fetch(table="said", key="who", chunk=2)
    at.do("UPDATE said SET who = NULL WHERE rowid = 2")
    with pytest.raises(CurateError, match="a row of said has no `who`"):
        at.fetch(table="said", key="who")


def test_what_is_not_there_is_named_with_what_is(tmp_path):
    at = Place(tmp_path, f"sqlite:///{tmp_path / 'texts.db'}")
    articles(at, 3)
    for settings, problem, hint in [
        ({"table": "article"}, "there is no table `article`", "did you mean `articles`?"),
        ({"table": "articles", "key": "idd"}, "articles has no column `idd`", "did you mean `id`?"),
        ({"table": "articles", "watermark": {"column": "when"}}, "articles has no column `when`", "id, text, changed"),
        (
            {"query": "SELECT nowhere FROM articles", "key": "a"},
            "the database says: no such column: nowhere",
            "may this user read it",
        ),
    ]:
        with pytest.raises(CurateError) as caught:
            at.fetch(**settings)
        assert caught.value.problem == problem
        assert hint in (caught.value.hint or "")


def test_a_query_may_end_with_a_comment(tmp_path):
    at = Place(tmp_path, f"sqlite:///{tmp_path / 'texts.db'}")
    articles(at, 3)
    assert len(at.fetch(query="SELECT * FROM articles -- all of them", key="id")) == 3


def test_no_message_shows_the_text_of_a_row(tmp_path):
    at = Place(tmp_path, f"sqlite:///{tmp_path / 'texts.db'}")
    articles(at, 3)
    at.do("INSERT INTO articles VALUES (9, CAST(x'4a616e6520446f65ff' AS TEXT), NULL)")
    with pytest.raises(CurateError, match="Could not decode to UTF-8 column") as caught:
        at.fetch(table="articles")
    assert "Jane" not in str(caught.value)
    said = Exception({"C": "22P02", "M": 'invalid input syntax for type integer: "Jane"'})
    assert driver_words(said) == "invalid input syntax for type integer: ***"


@pytest.mark.parametrize("name", ["password", "sslpassword", "token"])
def test_a_credential_among_the_parameters_of_an_address_is_refused(name):
    with pytest.raises(ValidationError, match="name that in `url_from`"):
        Database(url=f"postgresql://user@host/name?{name}=s3cr3t", table="articles")


def test_settings_that_do_not_go_together_are_refused():
    for settings, words in [
        ({"table": "a"}, "either `url` or `url_from`"),
        ({"url": "sqlite:///a", "url_from": "A", "table": "a"}, "either `url` or `url_from`"),
        ({"url": "sqlite:///a"}, "either `table` or `query`"),
        ({"url": "sqlite:///a", "query": "SELECT 1"}, "a query needs `key`"),
        ({"url": "postgresql://me:secret@host/a", "table": "a"}, "`url` has a password in it"),
    ]:
        with pytest.raises(ValidationError, match=words):
            Database(**settings)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sqlite:///not-there.db", "there is no database `not-there.db`"),
        ("oracle://host/name", "`oracle` is no database that is read here"),
        ("no address", "this is no URL of a database"),
        ("", "the environment variable TEST_DATABASE is not set"),
    ],
)
def test_an_address_of_nothing_is_an_error_and_makes_no_file(tmp_path, monkeypatch, url, words):
    monkeypatch.setenv("TEST_DATABASE", url)
    desk = Fetch(Store.open(tmp_path / "store", create=True), "k" * 64, tmp_path, None, print)
    with pytest.raises(CurateError, match=words):
        Database(url_from="TEST_DATABASE", table="a").fetch(desk)
    assert not (tmp_path / "not-there.db").exists()


def test_a_database_file_is_found_beside_the_pipeline_and_cannot_be_written(tmp_path):
    from sqlalchemy import text

    from curate.collect.fetch.connection import address_of, database_url, reading

    sqlite3.connect(tmp_path / "texts.db").execute("CREATE TABLE a (id INTEGER)")
    url = database_url("sqlite:///texts.db", tmp_path)
    assert address_of(url, tmp_path) == "sqlite:texts.db"
    with pytest.raises(CurateError, match="attempt to write a readonly database"), reading(url) as connection:
        connection.execute(text("INSERT INTO a VALUES (1)"))


@pytest.mark.slow
@pytest.mark.parametrize("at", ["postgresql"], indirect=True)
def test_two_columns_of_one_name_are_an_error(at):
    with pytest.raises(CurateError, match="two columns of the query are called `a`"):
        at.fetch(query="SELECT 1 AS a, 2 AS a", key="a")


@pytest.mark.parametrize("at", SERVERS, indirect=True)
def test_a_transaction_that_reads_cannot_write(at):
    from sqlalchemy import text

    from curate.collect.fetch.connection import database_url, reading

    articles(at, 3)
    writing = pytest.raises(CurateError, match=r"(?i)read.only transaction")
    with writing, reading(database_url(at.url, at.root)) as connection:
        connection.execute(text("DELETE FROM articles"))
    assert len(at.fetch(table="articles")) == 3


# ---- types


TYPES = {
    "postgresql": (
        "CREATE TABLE kinds (id BIGINT PRIMARY KEY, flag BOOLEAN, amount NUMERIC(20, 4), free NUMERIC, half REAL, day DATE, "
        "moment TIMESTAMP, zoned TIMESTAMPTZ, clock TIME, said JSONB, listed JSON, tags TEXT[], raw BYTEA, one UUID, big TEXT)",
        "INSERT INTO kinds VALUES (1, true, 12.5, 0.10, 0.5, '2026-01-02', '2026-01-02 03:04:05.678', "
        "'2026-01-02 03:04:05+02', '03:04', '{\"b\": 1, \"a\": [null]}', '3', ARRAY['x', 'y'], '\\x00ff', "
        "'6F9619FF-8B86-D011-B42D-00C04FC964FF', 'ok')",
    ),
    "mariadb": (
        "CREATE TABLE kinds (id BIGINT PRIMARY KEY, flag BOOLEAN, amount DECIMAL(20, 4), free DECIMAL(5, 2), half DOUBLE, "
        "day DATE, moment DATETIME(3), clock TIME, raw VARBINARY(10), one UUID, big LONGTEXT)",
        "INSERT INTO kinds VALUES (1, true, 12.5, 0.10, 0.5, '2026-01-02', '2026-01-02 03:04:05.678', '03:04', x'00ff', "
        "'6F9619FF-8B86-D011-B42D-00C04FC964FF', 'ok')",
    ),
    "sqlite": (
        "CREATE TABLE kinds (id INTEGER PRIMARY KEY, half REAL, raw BLOB, big TEXT)",
        "INSERT INTO kinds VALUES (1, 0.5, x'00ff', 'ok')",
    ),
}
EXPECTED = {
    "flag": {"postgresql": True, "mariadb": 1},
    "amount": decimal.Decimal("12.5000"),
    "free": {"postgresql": "0.10", "mariadb": decimal.Decimal("0.10")},
    "half": 0.5,
    "day": datetime.date(2026, 1, 2),
    "moment": datetime.datetime(2026, 1, 2, 3, 4, 5, 678_000),
    "zoned": datetime.datetime(2026, 1, 2, 1, 4, 5, tzinfo=datetime.UTC),
    "clock": {"postgresql": datetime.time(3, 4), "mariadb": datetime.timedelta(hours=3, minutes=4)},
    "said": '{"a":[null],"b":1}',
    "listed": "3",
    "tags": '["x","y"]',
    "raw": b"\x00\xff",
    "one": "6f9619ff-8b86-d011-b42d-00c04fc964ff",
    "big": "ok",
}


@pytest.mark.parametrize("at", ANY, indirect=True)
def test_every_type_has_one_form(at, request):
    kind = at.url.partition(":")[0]
    nulls = ", ".join(
        ["NULL"] * (TYPES[kind][0].count(",") - TYPES[kind][0].count("(20, 4)") - TYPES[kind][0].count("(5, 2)"))
    )
    at.do(*(one.replace(":", r"\:") for one in TYPES[kind]), f"INSERT INTO kinds VALUES (2, {nulls})")
    (row, empty) = at.fetch(table="kinds", chunk=1)
    for name in set(row) - {"id", "source_uri"}:
        expected = EXPECTED[name]
        found = (
            json.dumps(json.loads(row[name]), sort_keys=True, separators=(",", ":")) if name == "said" else row[name]
        )
        assert found == (expected[kind] if isinstance(expected, dict) else expected), name
        assert empty[name] is None


@pytest.mark.parametrize("at", SERVERS[:1], indirect=True)
def test_a_column_of_an_unknown_type_is_an_error_that_names_it(at):
    at.do("CREATE TABLE spans (id INTEGER PRIMARY KEY, span INT4RANGE)", "INSERT INTO spans VALUES (1, '[1,5)')")
    with pytest.raises(CurateError) as caught:
        at.fetch(table="spans")
    assert caught.value.problem == "column `span` holds values of the type `Range`"
    assert "CAST(span AS ...)" in (caught.value.hint or "")
    assert at.fetch(query="SELECT id, CAST(span AS text) AS text FROM spans", key="id")[0]["text"] == "[1,5)"


def test_values_of_several_types_in_a_column_of_sqlite_are_an_error(tmp_path):
    at = Place(tmp_path, f"sqlite:///{tmp_path / 'texts.db'}")
    at.do("CREATE TABLE a (id INTEGER PRIMARY KEY, b)", "INSERT INTO a VALUES (1, x'00'), (2, 'text')")
    with pytest.raises(CurateError, match="column `b` holds values of several types: bytes, str"):
        at.fetch(table="a")


def test_a_text_that_is_null_is_rejected(tmp_path):
    at = Place(tmp_path, f"sqlite:///{tmp_path / 'texts.db'}")
    at.do("CREATE TABLE a (id INTEGER PRIMARY KEY, text TEXT)", "INSERT INTO a VALUES (1, 'x'), (2, NULL), (3, 'y')")
    assert [row["id"] for row in at.fetch(table="a")] == ["1", "3"]
    (rejected,) = [item for item in at.items(at.source(table="a")) if isinstance(item, Rejected)]
    assert (rejected.offset, rejected.reason) == (1, "no_text")


# ---- secrets, and the engine around it


@pytest.mark.parametrize("at", SERVERS, indirect=True)
def test_the_password_is_in_no_store_log_or_error(at, tmp_path, monkeypatch):
    articles(at, 5)
    project = tmp_path / "project"
    project.mkdir()
    sources = "{stage: database, id: db, url_from: TEST_DATABASE, table: articles}"
    (project / "pipeline.yaml").write_text(f"dataset: news\nsources: [{sources}]\nstages: []\n")
    from sqlalchemy import make_url

    password, wrong = servers.PASSWORD, make_url(at.url).set(username="nobody").render_as_string(False)
    unreachable = make_url(at.url).set(port=1).render_as_string(False)
    said = b""
    for url, code in ((wrong, 2), (unreachable, 2), (f"{at.url}\x00", 2), (at.url, 0)):
        environment = {**os.environ, "TEST_DATABASE": url.replace("\x00", "%zz:@@"), "CURATE_DEBUG": ""}
        command = [sys.executable, "-m", "curate", "run", "pipeline.yaml"]
        done = subprocess.run(command, cwd=project, env=environment, capture_output=True, check=False)
        assert done.returncode == code, done.stderr
        said += done.stdout + done.stderr
    from urllib.parse import quote_plus

    held = said + b"".join(path.read_bytes() for path in project.rglob("*") if path.is_file())
    for form in (password, quote_plus(password), make_url(at.url).render_as_string(False).partition("@")[0]):
        assert form.encode() not in held
    assert b"127.0.0.1" in held


@pytest.mark.slow
@pytest.mark.parametrize("at", ["postgresql"], indirect=True)
def test_one_and_two_workers_give_the_same_version_and_a_killed_fetch_too(at, tmp_path, monkeypatch):
    import curate
    from curate.collect.fetch.statements import Statements

    articles(at, 40)
    monkeypatch.setenv("TEST_DATABASE", at.url)
    found = set()
    for workers in (1, 2):
        project = tmp_path / f"project{workers}"
        project.mkdir()
        sources = "{stage: database, id: db, url_from: TEST_DATABASE, table: articles, chunk: 15}"
        (project / "pipeline.yaml").write_text(f"dataset: news\nsources: [{sources}]\nstages: []\n")
        if workers == 2:  # killed in the middle: its moment has gone, so all is read again
            with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
                patch.setattr(Statements, "check_keys", _interrupted(Statements.check_keys))
                curate.run(project / "pipeline.yaml", workers=1)
        found.add(curate.run(project / "pipeline.yaml", workers=workers).version)
    assert len(found) == 1


def _interrupted(check):
    calls = []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return check(*arguments)

    return interrupted


def test_small_pieces_become_one_and_keep_their_order(tmp_path):
    store = Store.open(tmp_path / "store", create=True)
    desk = Fetch(store, "k" * 64, tmp_path, None, print)
    for number in range(4):
        desk.keep(pa.table({"@key": [str(number)], "a": pa.array([None if number < 2 else number], pa.int64())}), {})
    (piece,) = put_together(store, desk.pieces)
    assert store.read_table(piece.object).column("a").to_pylist() == [None, None, 2, 3]


def test_pieces_that_pack_well_are_not_put_together_beyond_what_memory_is_for(tmp_path):
    store = Store.open(tmp_path / "store", create=True)
    desk = Fetch(store, "k" * 64, tmp_path, None, print)
    for number in range(3):
        desk.keep(pa.table({"@key": [str(number)], "text": ["word " * 2_000_000]}), {})
    assert sum(piece.bytes for piece in desk.pieces) < 100_000
    assert put_together(store, desk.pieces) == desk.pieces
