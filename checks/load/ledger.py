"""What was acknowledged must be there afterwards: compare the answers with the record."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from local.servers.postgres import Cluster


@dataclass(frozen=True)
class Audit:
    """Of the events of one client.

    Attributes:
        acknowledged: answered with 201.
        readable: of them, those that the statement of ``GET /v1/events/{id}`` finds.
        refused: answered otherwise, or not at all.
        recorded: of them, those in the record: the client does not know, and may send them again.
        strange: events in the record that were not sent.
        users: users with events of the client, without the erased ones.
        differing: of their choices, those in which the projection and a replay of the events differ.
    """

    acknowledged: int
    readable: int
    refused: int
    recorded: int
    strange: int
    users: int
    differing: int

    def failures(self) -> list[str]:
        """Return what must not be, a sentence each."""
        found = []
        if self.readable != self.acknowledged:
            lost = self.acknowledged - self.readable
            found.append(f"{lost} of {self.acknowledged:,} acknowledged events cannot be read")
        if self.strange:
            found.append(f"{self.strange} events were recorded that were not sent")
        if self.differing:
            found.append(f"{self.differing} choices of the projection differ from a replay of the events")
        return found


def audit(cluster: Cluster, client: str, statuses: Mapping[str, int]) -> Audit:
    """Compare the answers of a client's events with the record.

    Args:
        cluster: the server. The superuser compares, past everything else.
        client: whose events were all sent by the caller.
        statuses: the answer's status by the event's id; 0 for no answer.
    """
    lines = "".join(f"{event}\t{status}\n" for event, status in statuses.items())
    found = cluster.psql(
        f"""
        CREATE TEMPORARY TABLE sent (id uuid PRIMARY KEY, status integer);
        COPY sent FROM STDIN;
{lines}\\.
        ANALYZE sent;
        CREATE TEMPORARY TABLE kept AS
        SELECT e.id, e.subject_key FROM pmp.event AS e JOIN pmp.source AS s USING (source_key)
        WHERE s.client = '{client}';
        WITH people AS (
          SELECT DISTINCT subject_key FROM kept JOIN pmp.subject USING (subject_key) WHERE erased_at IS NULL
        ),
        replayed AS (SELECT r.* FROM people CROSS JOIN LATERAL pmp.replay(people.subject_key) AS r),
        projected AS (SELECT c.* FROM pmp.current_choice AS c JOIN people USING (subject_key))
        SELECT jsonb_build_object(
          'acknowledged', (SELECT count(*) FROM sent WHERE status = 201),
          'readable', (SELECT count(*) FROM sent WHERE status = 201 AND pmp.get_event(id) ->> 'id' = id::text),
          'refused', (SELECT count(*) FROM sent WHERE status <> 201),
          'recorded', (SELECT count(*) FROM sent JOIN kept USING (id) WHERE status <> 201),
          'strange', (SELECT count(*) FROM kept LEFT JOIN sent USING (id) WHERE sent.status IS NULL),
          'users', (SELECT count(*) FROM people),
          'differing', (
            SELECT count(*) FROM (
              (SELECT * FROM replayed EXCEPT SELECT * FROM projected)
              UNION ALL (SELECT * FROM projected EXCEPT SELECT * FROM replayed)
            ) AS difference
          )
        );
        """
    )
    return Audit(**json.loads(found.splitlines()[-1]))
