"""One note per merge request that shows what its plans would do; each pipeline updates it."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ops import http, plans
from ops.errors import UserError
from ops.output import say
from ops.settings import build_directory

_MARK = "<!-- pmp: plans -->"
_NOT_PLANNED = {
    plans.DOES_NOT_EXIST: "does not exist yet",
    plans.NEEDS_FOUNDATION: "is planned after the foundation",
}
_LONGEST_PLAN = 20_000  # GitLab accepts notes of a million characters, but nobody reads them
TOKEN = "PMP_NOTE_TOKEN"  # noqa: S105 - a variable's name


@dataclass(frozen=True)
class _Planned:
    name: str
    counts: dict[str, int]
    text: str
    warnings: tuple[str, ...]
    """What applying it does to the database at once."""


def _planned(directory: Path) -> list[_Planned]:
    found = []
    for report in sorted(directory.glob(f"*/{plans.REPORT}")):
        text = report.with_name(plans.TEXT).read_text()
        document = report.with_name(plans.DOCUMENT)
        changes = plans.changes(json.loads(document.read_text())) if document.exists() else []
        warnings = tuple(plans.immediate(changes))
        found.append(_Planned(report.parent.name, json.loads(report.read_text()), text, warnings))
    return found


def body(directory: Path, commit: str) -> str:
    """Return the note's Markdown text, which covers every plan below ``directory``.

    Raises:
        UserError: there is no plan.
    """
    found = _planned(directory)
    if not found:
        raise UserError(f"no plan below {directory}: the plan jobs must run before the report")
    rows = [
        f"| {one.name} | {one.counts['create']} | {one.counts['update']} | {one.counts['delete']} |"
        if one.text not in _NOT_PLANNED
        else f"| {one.name} | {_NOT_PLANNED[one.text]} | | |"
        for one in found
    ]
    table = "\n".join(["| layer and environment | add | change | destroy |", "|---|--:|--:|--:|", *rows])
    details = [
        f"<details><summary>{one.name}</summary>\n\n```\n{_shortened(one.text)}\n```\n\n</details>"
        for one in found
        if any(one.counts.values())
    ]
    warnings = [f"- **{one.name}**: {sentence}" for one in found for sentence in one.warnings]
    parts = [_MARK, f"**Plans of {commit[:12]}**", table, "\n".join(warnings), *details]
    return "\n\n".join(filter(None, parts)) + "\n"


def _shortened(text: str) -> str:
    # A code fence inside the plan would close the note's own.
    text = text.strip().replace("```", "'''")
    return text if len(text) <= _LONGEST_PLAN else f"{text[:_LONGEST_PLAN]}\n… the rest is in the job's artifact"


def publish(directory: Path | None = None) -> None:
    """Post the note, or update the existing one. Without a token or merge request, only print it.

    Raises:
        UserError: there is no plan, or GitLab refused.
    """
    text = body(directory or build_directory() / "plans", os.environ.get("CI_COMMIT_SHA", "this checkout"))
    token, merge_request = os.environ.get(TOKEN), os.environ.get("CI_MERGE_REQUEST_IID")
    if not token or not merge_request:
        say(text)
        say(f"report: not posted, {'no merge request' if token else f'no {TOKEN} is set'}")
        return
    project = quote(os.environ["CI_PROJECT_ID"], safe="")
    notes = f"{os.environ['CI_API_V4_URL']}/projects/{project}/merge_requests/{merge_request}/notes"
    existing = _find(notes, token)
    if existing is None:
        _ask("POST", notes, token, {"body": text})
        say("report: note written")
    else:
        _ask("PUT", f"{notes}/{existing}", token, {"body": text})
        say("report: note updated")


def _find(notes: str, token: str) -> int | None:
    page = "1"
    while page:
        answer = _ask("GET", f"{notes}?per_page=100&page={page}", token)
        for note in answer.json():
            if note["body"].startswith(_MARK) and not note.get("system"):
                return int(note["id"])
        page = answer.headers.get("x-next-page", "")
    return None


def _ask(method: str, url: str, token: str, document: dict[str, Any] | None = None) -> http.Answer:
    headers = {"PRIVATE-TOKEN": token, "Content-Type": "application/json"}
    answer = http.request(method, url, headers=headers, body=json.dumps(document).encode() if document else None)
    if answer.status not in {200, 201}:
        said = answer.body.decode(errors="replace")[:200]
        raise UserError(f"GitLab refused {method} {url}: {answer.status} {said}; does {TOKEN} have the scope api?")
    return answer
