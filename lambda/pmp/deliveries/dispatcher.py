"""Tell receivers what is new: take lanes that are due, send a message of each, record what became of it.

Only this thread uses the database; other threads only send.
"""

import random
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from pmp import identifiers
from pmp.configuration import configuration
from pmp.database import Connection
from pmp.deliveries import chain, messages, posting, signing
from pmp.logging import log

WORK_SECONDS = 20
"""After which an invocation begins no message, and hands over."""

LEASE_SECONDS = 60
"""Longer than a message takes, with the look-up of a name that does not answer."""

SPAN = 5000
"""Events among which one statement looks for those of a lane."""

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 3600.0
GIVE_UP = "5 days"
"""After so long without an acknowledgement a subscription is stopped, as an interval."""

_MOST_LANES = 32
"""Messages at the same time, and threads."""

_LOOK_SECONDS = 0.2
"""How often lanes that became due are looked for while messages are under way."""

Lane = dict[str, Any]
"""As ``pmp.claim_lanes`` returns it."""


def run(connection: Connection, owner: str, link: int) -> None:
    """Work on one link of the chain, and send the next.

    Args:
        connection: to the database.
        owner: of the chain.
        link: its number; a message that comes again has a number that is gone.
    """
    if not chain.take(connection, owner, link):
        return
    expected, is_busy = Dispatcher(connection).work(WORK_SECONDS)
    if expected:
        chain.hand_on(connection, owner, link, pause=0 if is_busy else chain.PAUSE_SECONDS)
    else:
        chain.end(connection, owner)


def tick(connection: Connection) -> None:
    """The schedule: begin the chain if it broke, and log how far behind the receivers are."""
    ((expected,),) = connection.run("SELECT EXISTS (SELECT FROM pmp.subscription WHERE is_enabled)")
    if expected:
        chain.start(connection)
    ((lag, failing),) = connection.run(
        "SELECT coalesce(max(greatest(extract(epoch FROM clock_timestamp() - e.since), 0)), 0)::bigint,"
        " count(DISTINCT l.subscription_key) FILTER (WHERE l.failures > 0)"
        " FROM pmp.delivery_lane AS l JOIN pmp.subscription AS s USING (subscription_key)"
        " LEFT JOIN LATERAL ("
        "  SELECT e.received_at AS since FROM pmp.event AS e WHERE l.lane <> 'notices'"
        "   AND (e.transaction_number, e.sequence) > (l.number, l.sequence)"
        "   AND e.transaction_number < pmp.feed_horizon()"
        "  ORDER BY e.transaction_number, e.sequence LIMIT 1"
        " ) AS e ON true WHERE s.is_enabled"
    )
    log("deliveries checked", lag_seconds=lag, failing=failing)


def pause(failures: int) -> float:
    """Seconds until the next attempt after so many failures in a row: doubling up to an hour, with jitter."""
    longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(failures - 1, 20))
    # So that receivers which failed together do not get their messages together.
    return longest * random.uniform(0.5, 1.0)  # noqa: S311


class Dispatcher:
    """One invocation's work."""

    def __init__(self, connection: Connection) -> None:
        """Take nothing yet."""
        self._connection = connection
        self._owner = identifiers.new()
        self._receivers: dict[tuple[int, str], posting.Receiver] = {}
        self._told: dict[str, Any] = {"messages": 0, "changes": 0, "failures": 0}

    def work(self, seconds: float) -> tuple[bool, bool]:
        """Send what is due, until nothing is or the time is up.

        Returns:
            Whether there is any receiver, and whether something may be left to send at once.
        """
        end = time.monotonic() + seconds
        under_way: dict[Future[posting.Outcome], tuple[Lane, dict[str, Any]]] = {}
        expected, is_late = True, False
        with ThreadPoolExecutor(_MOST_LANES, "receiver") as pool:
            while True:
                is_late = time.monotonic() >= end
                due: list[Lane] = []
                if not is_late and len(under_way) < _MOST_LANES:
                    due, expected = self._claim(_MOST_LANES - len(under_way))
                for lane in due:
                    self._begin(lane, pool, under_way, end)
                if not under_way:
                    break
                done, _ = wait(under_way, _LOOK_SECONDS, FIRST_COMPLETED)
                for future in done:
                    lane, message = under_way.pop(future)
                    if self._record(lane, message, future.result()):
                        self._begin(lane, pool, under_way, end)
        for receiver in self._receivers.values():
            receiver.close()
        if any(self._told.values()):
            log("deliveries", **self._told)
        return expected, is_late

    def _claim(self, most: int) -> tuple[list[Lane], bool]:
        ((found,),) = self._connection.run(
            "SELECT pmp.claim_lanes(:owner, :seconds, :most)", owner=self._owner, seconds=LEASE_SECONDS, most=most
        )
        return found["lanes"], found["expected"]

    def _begin(
        self,
        lane: Lane,
        pool: ThreadPoolExecutor,
        under_way: dict[Future[posting.Outcome], tuple[Lane, dict[str, Any]]],
        end: float,
    ) -> None:
        """Send the lane's next message, if there is one."""
        message: dict[str, Any] | None = {"items": [], "more": True}
        while message and message["more"] and not message["items"]:
            if time.monotonic() >= end:
                self._release(lane)
                return
            ((message,),) = self._connection.run(
                "SELECT pmp.begin_delivery(:key, :lane, :owner, :seconds, :most, :span)",
                key=lane["key"],
                lane=lane["lane"],
                owner=self._owner,
                seconds=LEASE_SECONDS,
                most=messages.MOST,
                span=SPAN,
            )
        if message and message["items"]:
            body = messages.body(message["items"], configuration().api_url)
            numbers = [lane["secret"], lane["secret"] - 1] if lane["previous"] else [lane["secret"]]
            secrets = [signing.secret(lane["id"], number) for number in numbers]
            receiver = self._receiver(lane)
            headers = {"Content-Type": messages.CONTENT_TYPE}
            headers |= signing.headers(f"msg_{message['id']}", int(time.time()), body, secrets)
            under_way[pool.submit(receiver.post, body, headers)] = (lane, message)

    def _receiver(self, lane: Lane) -> posting.Receiver:
        key = (lane["key"], lane["lane"])
        known = self._receivers.get(key)
        if known is None or known.url != lane["url"]:
            if known is not None:
                known.close()
            known = self._receivers[key] = posting.Receiver(lane["url"])
        return known

    def _release(self, lane: Lane) -> None:
        self._connection.run(
            "UPDATE pmp.delivery_lane SET lease_owner = NULL, lease_until = NULL"
            " WHERE subscription_key = :key AND lane = :lane AND lease_owner = :owner",
            key=lane["key"],
            lane=lane["lane"],
            owner=self._owner,
        )

    def _record(self, lane: Lane, message: dict[str, Any], outcome: posting.Outcome) -> bool:
        """Record what became of a message; whether the lane may go on."""
        place = {"key": lane["key"], "lane": lane["lane"], "owner": self._owner}
        if outcome.error is None:
            ((is_ours,),) = self._connection.run(
                "SELECT pmp.end_delivery(:key, :lane, :owner, :sent)", sent=message["id"], **place
            )
            self._told["messages"] += 1
            self._told["changes"] += len(message["items"])
            return bool(is_ours)
        self._told["failures"] += 1
        ((failures,),) = self._connection.run(
            "SELECT max(failures) FROM pmp.delivery_lane WHERE subscription_key = :key AND lane = :lane",
            key=lane["key"],
            lane=lane["lane"],
        )
        seconds = outcome.retry_after if outcome.retry_after is not None else pause(failures + 1)
        self._connection.run(
            "SELECT pmp.postpone_delivery(:key, :lane, :owner, :reason, :seconds)",
            reason=outcome.error,
            seconds=max(seconds, FIRST_PAUSE_SECONDS / 2),
            **place,
        )
        stopped = self._connection.run(
            "UPDATE pmp.subscription AS s SET is_enabled = false,"  # noqa: S608
            " stopped = CASE WHEN :gone THEN 'gone' ELSE 'failed' END"
            f" WHERE s.subscription_key = :key AND s.is_enabled AND (:gone OR EXISTS ("
            "  SELECT FROM pmp.delivery_lane AS l WHERE l.subscription_key = :key AND l.lane = :lane"
            f"   AND l.failing_since < now() - interval '{GIVE_UP}')) RETURNING s.stopped",
            key=lane["key"],
            lane=lane["lane"],
            gone=outcome.is_gone,
        )
        log(
            "delivery failed",
            level="error" if stopped else "warning",
            subscription=lane["id"],
            lane=lane["lane"],
            reason=outcome.error,
            failures=failures + 1,
            stopped=stopped[0][0] if stopped else None,
        )
        return False
