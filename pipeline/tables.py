"""The tables of the state database. Journal and ledger are the same rows."""

from __future__ import annotations

import sqlalchemy as sa

VERSION = 1  # of the tables

METADATA = sa.MetaData()

# Rows that are or were sent. Times are microseconds since 1970, UTC.
SENDS = sa.Table(
    "sends",
    METADATA,
    # In which order rows were first sent: no clock tells it, and what is pruned must not lend its numbers to others.
    sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("run_id", sa.Text, nullable=False),
    sa.Column("source", sa.Integer, nullable=False),
    sa.Column("row", sa.BigInteger, nullable=False),
    sa.Column("account", sa.Text, nullable=False),
    sa.Column("operation", sa.Text, nullable=False),
    sa.Column("row_key", sa.Text, nullable=False),
    sa.Column("phone", sa.Text, nullable=False),
    sa.Column("identifier", sa.Text, nullable=False),
    sa.Column("payload_sha256", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),  # sending | settled
    sa.Column("status", sa.Text),
    sa.Column("code", sa.Text),
    sa.Column("message", sa.Text),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("http_status", sa.Integer),
    sa.Column("reply", sa.Text),
    sa.Column("result", sa.Text),
    sa.Column("lead_id", sa.Text),
    sa.Column("reconciled", sa.Boolean, nullable=False),
    sa.Column("first_sent_at", sa.BigInteger),
    sa.Column("settled_at", sa.BigInteger),
    sa.Column("latency_ms", sa.Float),
    sa.UniqueConstraint("run_id", "source", "row"),
    sqlite_autoincrement=True,
)
_SENDING = SENDS.c.state == "sending"
sa.Index(
    "one_request_per_phone",
    SENDS.c.account,
    SENDS.c.phone,
    sqlite_where=_SENDING & (SENDS.c.phone != ""),
    postgresql_where=_SENDING & (SENDS.c.phone != ""),
    unique=True,
)
sa.Index(
    "one_request_per_identifier",
    SENDS.c.account,
    SENDS.c.identifier,
    sqlite_where=_SENDING & (SENDS.c.identifier != ""),
    postgresql_where=_SENDING & (SENDS.c.identifier != ""),
    unique=True,
)

sa.Index("sending_of_an_account", SENDS.c.account, sqlite_where=_SENDING, postgresql_where=_SENDING)

# The ledger: what earlier runs did with a key, and with a person.
sa.Index("sends_of_a_key", SENDS.c.row_key)
sa.Index(
    "sends_of_an_identifier",
    SENDS.c.identifier,
    sqlite_where=SENDS.c.identifier != "",
    postgresql_where=SENDS.c.identifier != "",
)
sa.Index("sends_of_a_phone", SENDS.c.phone, sqlite_where=SENDS.c.phone != "", postgresql_where=SENDS.c.phone != "")

# Valid rows that were held back on purpose, decided at send time.
HELD = sa.Table(
    "held",
    METADATA,
    sa.Column("run_id", sa.Text, primary_key=True),
    sa.Column("source", sa.Integer, primary_key=True),
    sa.Column("row", sa.BigInteger, primary_key=True),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("settled_at", sa.BigInteger, nullable=False),
)

# Every request of a row that needed more than one. Of a row that ended with its first, `sends` says all.
REQUESTS = sa.Table(
    "requests",
    METADATA,
    sa.Column("run_id", sa.Text, primary_key=True),
    sa.Column("source", sa.Integer, primary_key=True),
    sa.Column("row", sa.BigInteger, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),  # from 1, searches included
    sa.Column("operation", sa.Text, nullable=False),
    sa.Column("sent_at", sa.BigInteger, nullable=False),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("http_status", sa.Integer),
    sa.Column("reply", sa.Text),
    sa.Column("latency_ms", sa.Float),
)

# Runs that came to the point of sending.
RUNS = sa.Table(
    "runs",
    METADATA,
    sa.Column("run_id", sa.Text, primary_key=True),
    sa.Column("account", sa.Text, nullable=False),
    sa.Column("operation", sa.Text, nullable=False),
    sa.Column("goes_beside", sa.Boolean, nullable=False),  # without the account's lock
    sa.Column("began_at", sa.BigInteger, nullable=False),
    sa.Column("sends_before", sa.BigInteger, nullable=False),  # the last `seq` in `sends` then
)

# Runs whose rows go out by several workers, while they do: what the workers hear, and share.
FLEETS = sa.Table(
    "fleets",
    METADATA,
    sa.Column("run_id", sa.Text, primary_key=True),
    sa.Column("account", sa.Text, nullable=False),
    sa.Column("beat", sa.BigInteger, nullable=False),  # grows as long as the client lives
    sa.Column("is_stopped", sa.Boolean, nullable=False),  # nobody takes another row
    sa.Column("signal", sa.Integer),  # that the client got
    sa.Column("halt", sa.Text),  # JSON: why a worker has stopped the run
    sa.Column("free_at", sa.Float, nullable=False),  # the next free moment under the run's rate, in seconds
)
# Which worker sends a partition of a run. A worker writes only under the epoch that it took, once; the next epoch is
# granted when the one before has ended: its worker has said so, or is dead.
LEASES = sa.Table(
    "leases",
    METADATA,
    sa.Column("run_id", sa.Text, primary_key=True),
    sa.Column("partition", sa.Integer, primary_key=True),
    sa.Column("epoch", sa.Integer, primary_key=True),
    sa.Column("holder", sa.Text),  # None: nobody has taken it yet
    sa.Column("concurrency", sa.Integer, nullable=False),  # its share of the run's
    sa.Column("beat", sa.BigInteger, nullable=False),  # grows with each renewal
    sa.Column("settled", sa.Text, nullable=False),  # JSON: rows by status
    sa.Column("verdicts", sa.BigInteger, nullable=False),
    sa.Column("errors", sa.BigInteger, nullable=False),
    sa.Column("unknown", sa.BigInteger, nullable=False),
    sa.Column("judged", sa.BigInteger, nullable=False),
    sa.Column("credentials", sa.BigInteger, nullable=False),
    sa.Column("refusals", sa.BigInteger, nullable=False),
    sa.Column("connected", sa.Boolean, nullable=False),
    sa.Column("is_revoked", sa.Boolean, nullable=False),  # nothing more may be written under it
    sa.Column("has_ended", sa.Boolean, nullable=False),  # nothing more leaves under it
)

# Who must not be contacted again: hashes of phones, under the one key of this database.
MARKS_KEY = sa.Table(
    "marks_key",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),  # 1
    sa.Column("key", sa.LargeBinary, nullable=False),
)
MARKS = sa.Table(
    "forgotten",
    METADATA,
    sa.Column("hash", sa.LargeBinary, primary_key=True),
    sa.Column("at", sa.BigInteger, nullable=False),
)
# Numbers that calls of an account have put on do-not-call, under the same key: they outlive the runs that did it.
DO_NOT_CALL = sa.Table(
    "do_not_call",
    METADATA,
    sa.Column("account", sa.Text, primary_key=True),
    sa.Column("hash", sa.LargeBinary, primary_key=True),
    sa.Column("at", sa.BigInteger, nullable=False),
)
