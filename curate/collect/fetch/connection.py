"""A connection to a database that reads, of one moment: all queries see the same snapshot, and none can write.

    SQLite               opened read-only; BEGIN
    PostgreSQL           REPEATABLE READ, READ ONLY
    MariaDB, MySQL       START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY (engines with transactions; counts tell others)

Drivers: psycopg, psycopg2 or pg8000; PyMySQL. The extra `database` brings SQLAlchemy, pg8000 and PyMySQL.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.errors import CurateError, MachineError

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine

__all__ = ["address_of", "database_url", "driver_words", "reading", "secrets_of"]

DRIVERS = {
    "sqlite": ("sqlite", ["pysqlite"], ["sqlite3"]),
    "postgresql": ("postgresql", ["psycopg", "psycopg2", "pg8000"], ["psycopg", "psycopg2", "pg8000"]),
    "mysql": ("mysql", ["pymysql"], ["pymysql"]),
    "mariadb": ("mariadb", ["pymysql"], ["pymysql"]),
}
SECONDS = 30


def database_url(url: str, root: Path) -> URL:
    """The URL, with a driver that is installed and an absolute path of a file.

    Raises:
        CurateError: It is none, or of a database that is not read.
        MachineError: SQLAlchemy or the driver is not installed.
    """
    if find_spec("sqlalchemy") is None:
        raise MachineError("reading databases needs SQLAlchemy", hint="pip install 'curate-lm[database]'")
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise CurateError("this is no URL of a database", hint="such as postgresql://user@host/name") from None
    name, _, driver = parsed.drivername.partition("+")
    if name not in DRIVERS:
        listed = "SQLite, PostgreSQL, MariaDB and MySQL are"
        raise CurateError(f"`{name}` is no database that is read here", hint=f"{listed}; others: export a file")
    known, drivers, modules = DRIVERS[name]
    if not driver:
        there = [one for one, module in zip(drivers, modules, strict=True) if find_spec(module)]
        if not there:
            raise MachineError(f"there is no driver for {name}", hint="pip install 'curate-lm[database]'")
        driver = there[0]
    if name == "sqlite":
        if not parsed.database or not (root / parsed.database).is_file():
            raise CurateError(f"there is no database `{parsed.database or ''}`", hint="a file beside the pipeline file")
        parsed = parsed.set(database=str((root / parsed.database).absolute()))
    return parsed.set(drivername=f"{known}+{driver}")


def address_of(url: URL, root: Path) -> str:
    """Where a database is, without who asks: this stands in documents' places, and in versions."""
    name = url.drivername.partition("+")[0]
    if name == "sqlite":
        path = Path(url.database or "")
        inside = path.is_relative_to(root.absolute())
        return f"sqlite:{path.relative_to(root.absolute()).as_posix() if inside else path.name}"
    port = f":{url.port}" if url.port else ""
    return f"{name}://{url.host or ''}{port}/{url.database or ''}"


def secrets_of(url: str) -> list[str]:
    """What of a URL no message may show."""
    if find_spec("sqlalchemy") is None:
        return [url]
    from sqlalchemy import make_url

    try:
        parsed = make_url(url)
    except Exception:  # whatever it is, all of it is hidden
        return [url]
    given = [value for value in parsed.query.values() for value in ([value] if isinstance(value, str) else value)]
    return [url, *([str(parsed.password)] if parsed.password else []), *given]


@contextmanager
def reading(url: URL) -> Iterator[Connection]:
    """A connection in a transaction of one moment that reads.

    Raises:
        CurateError: The database cannot be reached, or what it was asked failed.
    """
    from sqlalchemy.exc import SQLAlchemyError

    engine = _engine(url)
    name = url.drivername.partition("+")[0]
    try:
        with engine.connect() as connection:
            if name == "postgresql":
                connection = connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            elif name == "sqlite":
                connection.exec_driver_sql("BEGIN")
            else:
                connection.exec_driver_sql("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
            yield connection
            connection.rollback()
    except SQLAlchemyError as error:
        raise CurateError(
            f"the database says: {driver_words(error)}",
            hint="is it there, is the address right, and may this user read it?",
        ) from None
    finally:
        engine.dispose()


def _engine(url: URL) -> Engine:
    import sqlite3

    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    options: dict[str, Any] = {"hide_parameters": True, "poolclass": NullPool}
    name, _, driver = url.drivername.partition("+")
    if name == "sqlite":
        path = Path(url.database or "").as_uri() + "?mode=ro"
        options["creator"] = lambda: sqlite3.connect(path, uri=True, isolation_level=None)
    else:
        options["connect_args"] = {"timeout" if driver == "pg8000" else "connect_timeout": SECONDS}
        if driver == "pg8000":
            options["connect_args"] = {"timeout": None}  # pg8000's is that of every answer, too
    return create_engine(url, **options)


def driver_words(error: Exception) -> str:
    """What a database says of an error, in one line: without the statement and its values."""
    said: Any = getattr(error, "orig", None) or error
    code = str(said.args[0].get("C", "") if said.args and isinstance(said.args[0], dict) else "")
    if said.args and isinstance(said.args[0], dict):  # pg8000 gives the fields of the message
        said = said.args[0].get("M", "")
    elif len(getattr(said, "args", ())) > 1 and isinstance(said.args[0], int):  # PyMySQL: a number, and words
        said = said.args[1]
    first = (
        str(said).strip().split(os.linesep)[0].partition(" with text '")[0]
    )  # SQLite shows the text that is no UTF-8
    if code.startswith("22") or type(error).__name__ == "DataError":  # what is in quotes is a value of a row
        first = re.sub(r"([\"'`]).*(\1|$)", "***", first)
    return first[:200] or type(error).__name__
