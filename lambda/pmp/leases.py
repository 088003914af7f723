"""Leases on jobs: one invocation at a time works on a job, and another takes over when it has gone silent.

A job is a row of ``import_job`` or ``export_job``; the two tables share the columns used here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pmp import tasks
from pmp.database import Connection, DatabaseError
from pmp.logging import log

SECONDS = 50
"""How long a lease lasts without being renewed: less than the pause after which a failed message comes back."""

MOST_STALLED = 3
"""Invocations without progress after which a job fails."""

KILLED = "each was killed, or ran out of time or memory"

_MOST_ORPHANS = 10
_MOST_FILES = 20
Place = tuple[str, str]
"""``finished_at`` and id of a job."""


class LostError(Exception):
    """The job was cancelled, has ended, or another invocation has taken it over."""


@dataclass(frozen=True)
class Kind:
    """A kind of job.

    Attributes:
        table: the jobs' table.
        progress: SQL expression: where a job stands, for the error of one that is given up.
        advice: what its client can do then.
        startable: SQL condition: whether a waiting job can be started.
        worked_on: SQL condition: whether a job is worked on at all; others are sums of jobs.
        transient: columns to be cleared when a job ends.
    """

    table: str
    progress: str
    advice: str
    startable: str = "true"
    worked_on: str = "true"
    transient: tuple[str, ...] = ()

    @property
    def cleared(self) -> str:
        """SQL: the assignments that end a lease together with its job."""
        return "".join(f", {name} = NULL" for name in ("lease_owner", "lease_until", *self.transient))


@dataclass(frozen=True)
class Lease:
    """An invocation's right to work on a job.

    Attributes:
        kind: the job's kind.
        job: the job's id.
        owner: a UUID that names this lease.
    """

    kind: Kind
    job: str
    owner: str

    def renew(self, connection: Connection, **columns: object) -> None:
        """Extend the lease, and set columns of the job in the same statement.

        Raises:
            LostError: the lease is not ours any more; nothing was set.
        """
        settings = "".join(f"{name} = :{name}, " for name in columns)
        rows = connection.run(
            f"UPDATE {self.kind.table} SET {settings}"  # noqa: S608 - names of the code's own
            "lease_until = clock_timestamp() + :lease_seconds * interval '1 second'"
            " WHERE id = :job AND lease_owner = :owner AND state = 'running' RETURNING id",
            lease_seconds=SECONDS,
            job=self.job,
            owner=self.owner,
            **columns,
        )
        if not rows:
            raise LostError

    def finish(
        self, connection: Connection, state: str, *, error: str | None = None, **columns: object
    ) -> dict[str, Any] | None:
        """End the job.

        Args:
            connection: to the database.
            state: ``succeeded`` or ``failed``.
            error: why it failed, for people.
            columns: to be set as well.

        Returns:
            The job's row; None if the lease was not ours any more and nothing was done.
        """
        settings = "".join(f", {name} = :{name}" for name in columns)
        rows = connection.run(
            f"UPDATE {self.kind.table} AS j SET state = :state, error = :error, finished_at = clock_timestamp()"  # noqa: S608
            f"{settings}{self.kind.cleared}"
            " WHERE id = :job AND lease_owner = :owner AND state = 'running' RETURNING to_jsonb(j)",
            state=state,
            error=error,
            job=self.job,
            owner=self.owner,
            **columns,
        )
        return rows[0][0] if rows else None

    def release(self, connection: Connection, reason: Exception | None = None) -> None:
        """Give the job back, so that the next invocation need not wait until the lease expires; never raises.

        Args:
            connection: to the database.
            reason: why this invocation failed; None if it did not.
        """
        try:
            connection.run(
                f"UPDATE {self.kind.table} SET lease_owner = NULL, lease_until = NULL,"  # noqa: S608
                " last_error = coalesce(:reason, last_error) WHERE id = :job AND lease_owner = :owner",
                job=self.job,
                owner=self.owner,
                reason=None if reason is None else told(reason),
            )
        except Exception as error:  # noqa: BLE001 - the lease expires by itself
            log("lease not released", level="warning", error=error, job=self.job)


def told(error: Exception) -> str:
    """An error as the job shows it, without what may quote a line."""
    if isinstance(error, DatabaseError):
        fields = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
        return f"the database says {fields.get('M', 'no reason')} (SQLSTATE {fields.get('C', 'unknown')})"[:300]
    return f"{type(error).__name__}: {error}"[:300]


def stalled_error(kind: Kind, place: str, reason: str) -> str:
    """Why a job failed that made no progress, for people.

    Args:
        kind: the job's kind.
        place: where it stands.
        reason: of the last attempt.
    """
    return f"made no progress after {place} in {MOST_STALLED} attempts: {reason}; {kind.advice}"


def claim(connection: Connection, kind: Kind, job: str, owner: str) -> tuple[Lease, dict[str, Any]] | None:
    """Take the lease of a job that waits, or whose invocation has gone silent.

    Args:
        connection: to the database.
        kind: the job's kind.
        job: the job's id.
        owner: a new UUID, the name of the lease.

    Returns:
        The lease and the job's row; None if another invocation has the lease, the job has ended, or there is no such
        job.
    """
    rows = connection.run(
        f"UPDATE {kind.table} AS j SET state = 'running', started_at = coalesce(started_at, clock_timestamp()),"  # noqa: S608
        " attempts = attempts + 1, stalled = stalled + 1, lease_owner = :owner,"
        " lease_until = clock_timestamp() + :lease_seconds * interval '1 second'"
        f" WHERE id = :job AND {kind.worked_on} AND state IN ('waiting', 'running')"
        " AND coalesce(lease_until, '-infinity') < clock_timestamp() RETURNING to_jsonb(j)",
        job=job,
        owner=owner,
        lease_seconds=SECONDS,
    )
    return (Lease(kind, job, owner), rows[0][0]) if rows else None


def give_up(connection: Connection, kind: Kind) -> list[tuple[str, str]]:
    """Fail the jobs that have used up their invocations.

    Returns:
        Id and error of each.
    """
    rows = connection.run(
        f"UPDATE {kind.table} SET state = 'failed', finished_at = clock_timestamp(),"  # noqa: S608
        " error = CASE WHEN stalled >= :most_stalled"
        f"  THEN 'made no progress after ' || {kind.progress} || ' in ' || stalled || ' attempts: '"
        "   || coalesce(last_error, :killed)"
        f"  ELSE 'gave up at ' || {kind.progress} || ' after ' || attempts || ' attempts' END || '; {kind.advice}'"
        f"{kind.cleared}"
        f" WHERE state = 'running' AND {kind.worked_on} AND (attempts >= :most OR stalled >= :most_stalled)"
        " AND coalesce(lease_until, '-infinity') < now() RETURNING id, error",
        most=tasks.MOST_INVOCATIONS,
        most_stalled=MOST_STALLED,
        killed=KILLED,
    )
    return [(str(job), error) for job, error in rows]


def orphans(connection: Connection, kind: Kind) -> list[str]:
    """Ids of some jobs that nobody works on: their invocation has gone silent, or never came.

    They get a lease that has just ended, and the next call begins with others: jobs that never get on do not keep the
    rest from being restarted.
    """
    rows = connection.run(
        f"UPDATE {kind.table} SET lease_until = now() WHERE id IN ("  # noqa: S608
        f" SELECT id FROM {kind.table} WHERE {kind.worked_on} AND coalesce(lease_until, '-infinity') < now()"
        " AND (state = 'running'"
        f" OR (state = 'waiting' AND {kind.startable} AND created_at < now() - interval '5 minutes'))"
        " ORDER BY coalesce(lease_until, created_at) LIMIT :most FOR UPDATE SKIP LOCKED) RETURNING id",
        most=_MOST_ORPHANS,
    )
    return [str(job) for (job,) in rows]


def remove(
    connection: Connection,
    kind: Kind,
    condition: str,
    delete: Callable[[dict[str, Any]], None],
    after: Place | None,
    *,
    column: str = "removed_at",
) -> Place | None:
    """Delete the files of some jobs that have ended.

    A file that S3 refuses to delete is passed over, and tried again by the next housekeeping.

    Args:
        connection: to the database.
        kind: the jobs' kind.
        condition: SQL: whether a job's file is to be deleted.
        delete: deletes the file of a row ``{"id", "finished_at", "bucket", "object_key", …}``.
        after: the previous call's result; None for the first call.
        column: when the file was deleted.

    Returns:
        Where the next call goes on; None if nothing is left.

    Raises:
        BotoCoreError: S3 cannot be reached.
    """
    from botocore.exceptions import ClientError

    finished, job = after or ("-infinity", "00000000-0000-0000-0000-000000000000")
    rows = connection.run(
        f"SELECT to_jsonb(j) FROM {kind.table} AS j WHERE {column} IS NULL AND {condition}"  # noqa: S608
        " AND (finished_at, id) > (CAST(:finished AS timestamptz), CAST(:job AS uuid))"
        " ORDER BY finished_at, id LIMIT :most",
        finished=finished,
        job=job,
        most=_MOST_FILES,
    )
    for (row,) in rows:
        try:
            delete(row)
        except ClientError as error:
            log("file not deleted", level="error", error=error, job=row["id"])
        else:
            connection.run(f"UPDATE {kind.table} SET {column} = clock_timestamp() WHERE id = :id", id=row["id"])  # noqa: S608
    if len(rows) < _MOST_FILES:
        return None
    return rows[-1][0]["finished_at"], rows[-1][0]["id"]
