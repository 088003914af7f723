"""All plans of a merge request share one note, tested with a fake of GitLab's API on loopback."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from ops import note, plans
from ops.errors import UserError

NOTES = "/api/v4/projects/7/merge_requests/3/notes"


class GitLab(ThreadingHTTPServer):
    """A fake GitLab with the notes of one merge request, two per page."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.notes: list[dict[str, Any]] = []
        self.requests: list[str] = []


class Handler(BaseHTTPRequestHandler):
    server: GitLab

    def answer(self, status: int, document: object, **headers: str) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def handle_request(self) -> None:
        parts = urlsplit(self.path)
        self.server.requests.append(f"{self.command} {parts.path}")
        sent = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "null")
        if self.headers["PRIVATE-TOKEN"] != "right":
            self.answer(401, {"message": "401 Unauthorized"})
        elif self.command == "GET":
            page = int(parse_qs(parts.query)["page"][0])
            is_last = page * 2 >= len(self.server.notes)
            found = self.server.notes[page * 2 - 2 : page * 2]
            self.answer(200, found, X_Next_Page="" if is_last else str(page + 1))
        elif self.command == "POST":
            self.server.notes.append({"id": len(self.server.notes) + 1, "system": False} | sent)
            self.answer(201, self.server.notes[-1])
        else:
            self.server.notes[int(parts.path.rsplit("/", 1)[1]) - 1].update(sent)
            self.answer(200, {})

    do_GET = do_POST = do_PUT = handle_request  # noqa: N815 - http.server's names

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def gitlab(monkeypatch: pytest.MonkeyPatch) -> Iterator[GitLab]:
    server = GitLab()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("CI_API_V4_URL", f"http://127.0.0.1:{server.server_address[1]}/api/v4")
    monkeypatch.setenv("CI_PROJECT_ID", "7")
    monkeypatch.setenv("CI_MERGE_REQUEST_IID", "3")
    monkeypatch.setenv("CI_COMMIT_SHA", "c0ffee" * 6)
    monkeypatch.setenv(note.TOKEN, "right")
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def planned(tmp_path: Path) -> Path:
    for name, counts in {"service-dev": (1, 2, 0), "foundation-prod": (0, 0, 0)}.items():
        directory = tmp_path / name
        directory.mkdir()
        (directory / plans.REPORT).write_text(
            json.dumps(dict(zip(("create", "update", "delete"), counts, strict=True)))
        )
        (directory / plans.TEXT).write_text(f"plan of {name}\n```\n")
    return tmp_path


def test_first_plan_creates_the_note_and_later_plans_update_it(gitlab: GitLab, planned: Path) -> None:
    gitlab.notes = [{"id": number + 1, "body": "a person's words", "system": False} for number in range(4)]
    note.publish(planned)
    assert len(gitlab.notes) == 5
    first = gitlab.notes[4]["body"]
    assert "| service-dev | 1 | 2 | 0 |" in first
    assert "plan of service-dev" in first
    assert "plan of foundation-prod" not in first, "an empty plan needs no details"

    (planned / "service-dev" / plans.REPORT).write_text('{"create": 5, "update": 0, "delete": 0}')
    note.publish(planned)
    assert len(gitlab.notes) == 5
    assert "| service-dev | 5 | 0 | 0 |" in gitlab.notes[4]["body"]
    assert gitlab.requests[-1] == f"PUT {NOTES}/5"


def test_change_of_the_database_at_once_is_told(gitlab: GitLab, planned: Path) -> None:
    change = {"actions": ["update"], "before": {"instance_class": "a"}, "after": {"instance_class": "b"}}
    entry = {"address": "aws_db_instance.this", "type": "aws_db_instance", "mode": "managed", "change": change}
    (planned / "service-dev" / plans.DOCUMENT).write_text(json.dumps({"resource_changes": [entry]}))
    note.publish(planned)
    told = "- **service-dev**: applying this restarts the database aws_db_instance.this at once (instance_class)"
    assert told in gitlab.notes[-1]["body"]


def test_layer_that_does_not_exist_yet_is_named(gitlab: GitLab, planned: Path) -> None:
    (planned / "service-prod").mkdir()
    plans.save_reason(planned / "service-prod", plans.DOES_NOT_EXIST)
    note.publish(planned)
    assert "| service-prod | does not exist yet | | |" in gitlab.notes[-1]["body"]
    plans.save_reason(planned / "service-prod", plans.NEEDS_FOUNDATION)
    note.publish(planned)
    assert "| service-prod | is planned after the foundation | | |" in gitlab.notes[-1]["body"]


def test_wrong_token_gives_an_error_with_advice(gitlab: GitLab, planned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(note.TOKEN, "wrong")
    expected = r"GitLab refused GET .* 401 .* does PMP_NOTE_TOKEN have the scope api"
    with pytest.raises(UserError, match=expected) as raised:
        note.publish(planned)
    assert "wrong" not in str(raised.value)
    assert gitlab.notes == []


def test_without_a_token_the_note_is_only_printed(
    gitlab: GitLab, planned: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(note.TOKEN)
    note.publish(planned)
    assert "no PMP_NOTE_TOKEN is set" in capsys.readouterr().out
    assert gitlab.requests == []


def test_plan_text_cannot_close_its_code_block(planned: Path) -> None:
    assert note.body(planned, "c" * 40).count("```") == 2


def test_missing_plans_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no plan below"):
        note.body(tmp_path, "c" * 40)
