"""A state database on a PostgreSQL server: how it is reached, made, measured and written anew.

Sessions are made to hold what the journal promises: a commit is on disk when it returns, whatever the server's own
settings are, and a network that has died is noticed on this side before the server lets go of this side's locks.
"""

from __future__ import annotations

import logging
import os
import re
import socket
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from pipeline.model import UserError

if TYPE_CHECKING:
    from pathlib import Path
    from typing import TypeAlias

    import psycopg

    Session: TypeAlias = psycopg.Connection[Any]

_DRIVER = "postgresql+psycopg"
_MAKING = 0x6C65616473  # the advisory lock under which tables are made

_own = sa.MetaData()
_VERSION = sa.Table("state_version", _own, sa.Column("version", sa.Integer, nullable=False))
# Who took an account's lock last, for people to read: the lock itself is the server's, and dies with its session.
HOLDERS = sa.Table(
    "lock_holders",
    _own,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("holder", sa.Text, nullable=False),
)

# This side gives a silent network up after 10 to 20 seconds, the server after a minute: a run has stopped before
# another one can have its lock.
_NETWORK = {
    "connect_timeout": 10,
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": 10_000,
}
_SESSION = {
    "synchronous_commit": "on",  # a server may have it off
    "default_transaction_isolation": r"read\ committed",
    "idle_in_transaction_session_timeout": "0",
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}


def usable(url: sa.URL) -> sa.URL:
    """The URL with our driver's name. Raises UserError where it asks for another, or names no database."""
    if url.drivername not in ("postgresql", _DRIVER):
        raise UserError(f"--state {url.drivername}: the driver is psycopg: {_DRIVER}://host/database")
    if not url.database:
        raise UserError(f"--state {url.render_as_string()}: names no database: {_DRIVER}://host/database")
    return url.set(drivername=_DRIVER)


def opened(url: sa.URL) -> sa.Engine:
    """The database. Raises UserError where its driver is not installed."""
    return _engine(url)


def read_only(url: sa.URL) -> sa.Engine | None:
    """The database, to be read and never written; None where it holds no table of ours."""
    state = _engine(url, default_transaction_read_only="on")
    with state.connect() as connection:
        has_tables = sa.inspect(connection).has_table(_VERSION.name)
    return state if has_tables else None


def _engine(url: sa.URL, **session: str) -> sa.Engine:
    _check_driver()
    _quiet()
    # A connection for each question, of which there are few: none lies idle, and none is found dead.
    return sa.create_engine(url, poolclass=sa.NullPool, creator=lambda: connected(url, **session))


def _check_driver() -> None:
    try:
        import psycopg  # noqa: F401
    except ImportError:
        raise UserError(
            "--state: PostgreSQL needs psycopg, which is not installed: pip install 'dialedin-leads[postgresql]'"
        ) from None


def _quiet() -> None:
    """Nothing that the driver logs reaches the terminal: what matters of it is raised, and told as an error."""
    logger = logging.getLogger("psycopg")
    logger.handlers, logger.propagate = [logging.NullHandler()], False


def connected(url: sa.URL, **session: str) -> Session:
    """A connection of its own. Raises psycopg.Error."""
    import psycopg

    _, given = url.get_dialect()().create_connect_args(url)
    options = " ".join(f"-c {name}={value}" for name, value in (_SESSION | session).items())
    options = f"-c lock_timeout=30s {given.get('options', '')} {options}"
    name = f"leads {os.getpid()}@{socket.gethostname()}"[:63]
    told = {**_NETWORK, "application_name": name, "client_encoding": "utf8", **given}
    made: Session = psycopg.connect(**told | {"options": options})
    _adapt(made)
    return made


def _adapt(connection: Session) -> None:
    """Texts as PostgreSQL can hold them: a vendor may answer anything, and no answer may break the journal."""
    from psycopg.adapt import Dumper
    from psycopg.types.numeric import Int8Dumper

    class TextDumper(Dumper):
        def dump(self, obj: str) -> bytes:
            return obj.replace("\0", "\ufffd").encode(errors="replace")

    connection.adapters.register_dumper(str, TextDumper)
    connection.adapters.register_dumper(int, Int8Dumper)  # one type, one prepared statement


def written_in(state: sa.Engine, session: Session) -> sa.Engine:
    """The database, whose journal is to be written in this session: the one that holds a lock."""
    return state.execution_options(session=session)


@contextmanager
def session_of(state: sa.Engine) -> Iterator[Session]:
    """The session in which the journal is to be written; where there is none, one of its own."""
    given: Session | None = state.get_execution_options().get("session")
    if given is not None:
        yield given
        return
    with closing(connected(state.url)) as session:
        session.autocommit = True
        yield session


def lock_for_making(connection: sa.Connection) -> None:
    """Whoever else begins at once on an empty database waits until the tables are there."""
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MAKING)))


def version(connection: sa.Connection) -> int:
    """The version of the tables; 0 where there are none. Raises UserError where texts can't be kept there."""
    encoding = connection.exec_driver_sql("SHOW server_encoding").scalar_one()
    if encoding != "UTF8":
        raise UserError(
            f"--state {connection.engine.url.render_as_string()}: its encoding is {encoding}; "
            "make a database for it: CREATE DATABASE leads ENCODING 'UTF8' TEMPLATE template0"
        )
    if not sa.inspect(connection).has_table(_VERSION.name):
        return 0
    return int(connection.execute(sa.select(_VERSION.c.version)).scalar() or 0)


def set_version(connection: sa.Connection, number: int) -> None:
    """Says which version the tables are that were just made, and makes those that only PostgreSQL needs."""
    _own.create_all(connection)
    connection.execute(sa.delete(_VERSION))
    connection.execute(sa.insert(_VERSION).values(version=number))


_HINTS = (
    (r"password|fe_sendauth|authentication", "put its password into LEADS_STATE, PGPASSWORD or ~/.pgpass"),
    (r'database ".*" does not exist', "make it: createdb -E UTF8 NAME, or name another"),
    (r'role ".*" does not exist', "name a user that the server knows: postgresql+psycopg://user@host/database"),
    (r"permission denied", "its user needs to own the database, or GRANT CREATE, USAGE ON SCHEMA public"),
    (r"read-only transaction", "it is a standby: name the server that may be written"),
    (r"refused|timeout|timed out|translate|No such file|unreachable", "see that its server runs and can be reached"),
    (r"certificate|SSL|TLS", "see sslmode and sslrootcert in docs/data.md"),
)


def why_unusable(error: Exception) -> str:
    """What the server said, in one line, and what to do next."""
    said = " ".join(str(error).split())
    hint = next((hint for pattern, hint in _HINTS if re.search(pattern, said, re.IGNORECASE)), "see its server's log")
    return f"can't be used: {said[:300]}; {hint}"


@contextmanager
def asking(state: sa.Engine) -> Iterator[Callable[[str, Sequence[object]], Sequence[tuple[Any, ...]]]]:
    """What answers short questions; any thread may ask, one at a time."""
    with closing(connected(state.url)) as connection:
        connection.autocommit = True
        yield lambda query, values: connection.execute(query.replace("?", "%s"), values).fetchall()


def name(state: sa.Engine) -> str:
    """What people call it: its URL, without the password."""
    return state.url.render_as_string()


def folder(state: sa.Engine) -> Path | None:  # noqa: ARG001 as that of a file
    """None: it is on no disk of this machine, as far as is known."""
    return None


def size_bytes(state: sa.Engine) -> int:
    """What its tables take on the server's disk, their indexes included."""
    query = f"SELECT coalesce(sum(pg_total_relation_size(relid)), 0) {_TABLES}"
    with state.connect() as connection:
        return int(connection.exec_driver_sql(query).scalar_one())


_TABLES = "FROM pg_stat_user_tables WHERE schemaname = current_schema()"


def free_share(state: sa.Engine) -> float:
    """Which part of its rows are dead, as far as the server has counted: 0 to 1."""
    query = f"SELECT coalesce(sum(n_dead_tup) / nullif(sum(n_live_tup + n_dead_tup), 0), 0) {_TABLES}"
    with state.connect() as connection:
        return float(connection.exec_driver_sql(query).scalar_one())


def compact(state: sa.Engine, tables: Collection[str]) -> bool:
    """Writes these tables anew; False where others use them for half a minute.

    Raises PermissionError where the server skips one, since it is not this user's.
    """
    said: list[str] = []
    with state.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        driver: Any = connection.connection.driver_connection
        driver.add_notice_handler(lambda notice: said.append(notice.message_primary))
        for table in tables:
            try:
                connection.exec_driver_sql(f"VACUUM FULL {table}")
            except sa.exc.OperationalError as error:
                if getattr(error.orig, "sqlstate", None) != LOCK_NOT_AVAILABLE:
                    raise
                return False
    if said:
        raise PermissionError(said[0])
    return True


LOCK_NOT_AVAILABLE = "55P03"  # an SQLSTATE


def problem(connection: sa.Connection, seconds: float) -> str | None:  # noqa: ARG001 as that of a file
    """Why it could not be a journal; None where it is well."""
    if connection.exec_driver_sql("SHOW fsync").scalar_one() != "on":
        return "its server has fsync off: a power cut there would lose what was sent; set fsync = on"
    return None
