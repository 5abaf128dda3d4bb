"""The tables of a spool, and how its file is told from others.

STRICT, because a column must hold what its checksum was computed of. What the columns of a letter
mean is said at ``eventpub.letter.DeadLetter``.
"""

from __future__ import annotations

APPLICATION_ID = 0x45505344
"""What SQLite and ``file`` call the magic number of a format: "EPSD"."""
VERSION = 1

SCHEMA = (
    """
    create table letters (
        position integer primary key autoincrement, -- never used again: readers go on behind the last they saw
        id text not null unique,
        topic text not null,
        key blob,
        value blob,
        headers text not null, -- JSON: [[name, base64 or null], ...]
        partition integer,
        timestamp integer,
        event_id text,
        event_type text,
        profile text not null,
        status text not null,
        stage text not null,
        reason text not null,
        error text not null,
        message text not null,
        kafka_code integer,
        kafka_error text,
        attempts integer not null,
        first_attempt_at real,
        last_attempt_at real,
        failed_at real not null,
        elapsed real not null,
        budget real not null,
        request_timeout real not null,
        client_id text not null,
        cut_partition integer,
        cut_after integer,
        producer_id integer,
        epoch integer,
        sequence integer,
        doubtful_in text,
        checksum integer not null, -- of all above, save the position
        replays integer not null,
        verdict text,
        resolved_partition integer,
        resolved_offset integer,
        resolved_at real,
        fate_checksum integer not null -- of the id and all below the first checksum
    ) strict
    """,
    "create index open_letters on letters (position) where verdict is null or verdict = 'not persisted'",
    """
    create table batches ( -- what a replay has begun and not ended
        number integer primary key autoincrement,
        topic text not null,
        partition integer not null,
        data blob not null,
        records integer not null,
        producer_id integer not null,
        epoch integer not null,
        sequence integer not null,
        letters text not null, -- JSON: [id, ...]
        begun_at real not null,
        checksum integer not null
    ) strict
    """,
    """
    create table verdicts ( -- of letters that lie elsewhere
        id text primary key,
        verdict text not null,
        partition integer,
        "offset" integer,
        at real not null
    ) strict, without rowid
    """,
    "create table holder (pid integer not null) strict",  # of the replay's lock
    f"pragma application_id = {APPLICATION_ID}",
    f"pragma user_version = {VERSION}",
)
