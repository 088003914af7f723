"""The examples of docs/webhooks.md, run as they are written there."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pmp import database
from pmp.deliveries import dispatcher

from checks.gateway import Gateway
from checks.receiver import Receiver
from checks.stack import free_port
from local.processes import port_is_open
from tests.support.answers import Comparison

PAGE = Path("docs/webhooks.md").read_text()
EXAMPLES: dict[str, str] = dict(re.findall(r"^```[a-z]+ (\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))


def deliver() -> None:
    dispatcher.Dispatcher(database.connect()).work(60)


def test_subscription_of_the_page_is_accepted(api: Gateway) -> None:
    made = api.post("/v1/subscriptions", {**json.loads(EXAMPLES["subscription"]), "enabled": False})
    assert made.status == 201, made.content
    target = made.headers["Location"]
    assert api.post(f"{target}/replay", json.loads(EXAMPLES["replay"])).status == 200
    assert api.delete(target).status == 204


def test_message_of_the_page_is_what_comes(api: Gateway, new_user: Callable[[], str]) -> None:
    receiver = Receiver()
    made = api.post("/v1/subscriptions", {"url": receiver.url}).json
    api.post("/v1/events", {"user": {"id": new_user()}, "consents": [{"id": "email_notifications", "enabled": False}]})
    deliver()
    api.delete(f"/v1/subscriptions/{made['id']}")
    receiver.close()
    comparison = Comparison(different={"source", "sequence"})
    assert list(comparison.differences(json.loads(EXAMPLES["message"]), receiver.events)) == []


@pytest.mark.parametrize("is_genuine", [True, False])
def test_receiver_of_the_page_takes_what_pmp_sends(
    api: Gateway, new_user: Callable[[], str], tmp_path: Path, *, is_genuine: bool
) -> None:
    port = free_port()
    made = api.post("/v1/subscriptions", {"url": f"http://localhost:{port}/"}).json
    other = "whsec_" + "A" * 43 + "="
    (tmp_path / "receiver.py").write_text(EXAMPLES["receiver.py"])
    process = subprocess.Popen(
        [sys.executable, "receiver.py"],
        cwd=tmp_path,
        env=os.environ | {"WEBHOOK_SECRET": made["secret"] if is_genuine else other, "PORT": str(port)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        end = time.monotonic() + 60
        while not port_is_open(port):
            assert process.poll() is None, "the receiver ended"
            assert time.monotonic() < end, "the receiver does not listen"
            time.sleep(0.02)
        user = new_user()
        for enabled in (True, False):
            body = {"user": {"id": user}, "consents": [{"id": "email_notifications", "enabled": enabled}]}
            assert api.post("/v1/events", body).status == 201
        deliver()
        lane = api.get(f"/v1/subscriptions/{made['id']}").json["lanes"]["prompt"]
        assert bool(lane["acknowledged_at"]) is is_genuine
        assert lane["last_error"] == (None if is_genuine else "the receiver answered 401")
        assert api.delete(f"/v1/users/{user}").status == 200
        deliver()
    finally:
        api.delete(f"/v1/subscriptions/{made['id']}")
        process.terminate()
        printed, _ = process.communicate(timeout=10)
    lines = [json.loads(line) for line in printed.splitlines()]
    assert lines == ([[user, "email_notifications", False]] if is_genuine else [])
