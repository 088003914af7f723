"""Checks of the GitLab project's settings, by its API: https://docs.gitlab.com/api/rest/."""

import fnmatch
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any
from urllib.parse import quote

from ops import http, images, note
from ops.doctor.checks import Check, Finding, right, unknown, wrong
from ops.errors import UserError
from ops.settings import PROMOTED_ENVIRONMENTS

TOKEN, PROJECT, HOST = "GITLAB_TOKEN", "GITLAB_PROJECT", "GITLAB_URL"
_RELEASE_TAG = "v1.2.3"
_MISSING = 404


@dataclass(frozen=True)
class Project:
    """A project of GitLab, read with a token of scope ``read_api`` of somebody with the role Maintainer."""

    host: str
    path: str
    token: str

    def ask(self, question: str = "") -> Any:
        """Return what GitLab answers about the project; None where it has no such thing, or not in its tier.

        Raises:
            UserError: GitLab refused.
        """
        url = f"{self.host.rstrip('/')}/api/v4/projects/{quote(self.path, safe='')}{question}"
        answer = http.request("GET", url, headers={"PRIVATE-TOKEN": self.token})
        if answer.status == _MISSING:
            return None
        if answer.status != 200:
            hint = "; the token needs the scope read_api, and its owner the role Maintainer"
            raise UserError(f"GitLab answers {answer.status} to GET {url}{hint if answer.status < 500 else ''}")
        return answer.json()

    @cached_property
    def variables(self) -> list[dict[str, Any]]:
        """The project's CI variables."""
        return self.ask("/variables?per_page=100") or []

    def variable(self, key: str, scope: str) -> dict[str, Any] | None:
        """Return the variable that a job of an environment gets, or None."""
        found = [
            one for one in self.variables if one["key"] == key and fnmatch.fnmatch(scope, one["environment_scope"])
        ]
        # The most special scope wins.
        return max(found, key=lambda one: len(one["environment_scope"].rstrip("*")), default=None)


def checks() -> Iterator[Check]:
    """Yield the checks of the project that ``GITLAB_PROJECT`` names; without a token only a word about it."""
    token, path = os.environ.get(TOKEN), os.environ.get(PROJECT)
    if not token or not path:
        text = f"not asked: set {TOKEN} (scope read_api) and {PROJECT} (group/project)"
        yield Check("GitLab", lambda: unknown(f"{text}, and {HOST} unless it is https://gitlab.com"))
        return
    project = Project(os.environ.get(HOST) or "https://gitlab.com", path, token)
    yield Check("GitLab", partial(_project, project))
    for name, ask in (
        ("branch", _branch),
        ("tags", _tags),
        ("image", _image),
        ("gates", _environments),
        ("schedule", _schedule),
        ("variables", _variables),
        ("plan's note", _note),
        ("runners", _runners),
    ):
        yield Check(name, partial(ask, project), "GitLab")


def _project(project: Project) -> Finding:
    found = project.ask()
    if found is None:
        return wrong(
            f"{project.host} shows no project {project.path}", f"{PROJECT}=group/project, and the token's owner"
        )
    return right(f"{found['web_url']}, default branch {found['default_branch']}")


def _settings(project: Project, page: str) -> str:
    return f"in {project.host.rstrip('/')}/{project.path}/-/settings/{page}"


def _branch(project: Project) -> Finding:
    branch = project.ask()["default_branch"]
    found = project.ask(f"/protected_branches/{quote(branch, safe='')}")
    if found is None or found.get("allow_force_push"):
        state = "may be force-pushed" if found else "is not protected"
        return wrong(f"{branch} {state}", f"{_settings(project, 'repository')}, protect {branch} without force push")
    return right(f"{branch} is protected")


def _tags(project: Project) -> Finding:
    names = [one["name"] for one in project.ask("/protected_tags?per_page=100") or []]
    if not any(fnmatch.fnmatch(_RELEASE_TAG, name) for name in names):
        return wrong("anybody who pushes may tag a release", f"{_settings(project, 'repository')}, protect the tags v*")
    return right("tags v* are protected")


def _image(_: Project) -> Finding:
    digest, _built_from = images.recorded()
    if digest == images.NOT_RECORDED:
        return wrong("the jobs have no image yet", "docs/aws.md#10-push: a merge request builds one")
    try:
        images.check()
    except UserError as error:
        return wrong(f"this commit's jobs would refuse {digest}", str(error))
    return right(f"jobs run {digest}")


def _environments(project: Project) -> Finding:
    found = project.ask("/protected_environments?per_page=100")
    if found is None:
        return wrong(
            "GitLab has no protected environments here",
            "they need the tier Premium: without them, whoever may run a job of the main branch opens the gates",
        )
    missing = [name for name in PROMOTED_ENVIRONMENTS[1:] if name not in {one["name"] for one in found}]
    if missing:
        cure = f"{_settings(project, 'ci_cd')}, protect {' and '.join(missing)}, with approvers"
        return wrong(f"everybody may open the gate of {' and '.join(missing)}", cure)
    return right(f"{' and '.join(PROMOTED_ENVIRONMENTS[1:])} are protected")


def _schedule(project: Project) -> Finding:
    found = project.ask("/pipeline_schedules?scope=active") or []
    if not found:
        return wrong(
            "no schedule is active, so nothing looks for drift",
            f"in {project.host.rstrip('/')}/{project.path}/-/pipeline_schedules, add one of the main branch, nightly",
        )
    return right(f"{found[0]['description']} ({found[0]['cron']})")


def _variables(project: Project) -> Finding:
    if project.variable("AWS_REGION", "dev") is None:
        return wrong("AWS_REGION is not set", f"{_settings(project, 'ci_cd')}, set it for all environments")
    for environment in PROMOTED_ENVIRONMENTS:
        scopes = {environment: True, f"plan/{environment}": False, f"plan/account/{environment}": False}
        for scope, is_protected in scopes.items():
            if (finding := _credentials(project, scope, is_protected=is_protected)) is not None:
                return finding
    return right("credentials of each environment, in their scopes")


def _credentials(project: Project, scope: str, *, is_protected: bool) -> Finding | None:
    """Return what is wrong with the credentials of one scope, if anything is."""
    role, secret = (project.variable(key, scope) for key in ("PMP_ROLE_ARN", "AWS_SECRET_ACCESS_KEY"))
    where = _settings(project, "ci_cd")
    found = role or secret
    if found is None:
        return wrong(
            f"jobs of {scope} have no credentials",
            f"{where}, add them in the scope {scope}: docs/aws.md#8-give-jobs-their-credentials",
        )
    if found["environment_scope"] == "*":
        return wrong(f"{found['key']} reaches every job", f"{where}, give it the scope {scope}")
    if found["key"] == "AWS_SECRET_ACCESS_KEY" and not found["masked"]:
        return wrong(f"AWS_SECRET_ACCESS_KEY of {scope} is not masked", f"{where}, mask it")
    if is_protected and not found["protected"]:
        return wrong(f"{found['key']} of {scope} reaches jobs of every branch", f"{where}, protect it")
    if not is_protected and found["protected"]:
        return wrong(
            f"{found['key']} of {scope} reaches no merge request", f"{where}, do not protect it: it only reads"
        )
    return None


def _note(project: Project) -> Finding:
    found = project.variable(note.TOKEN, "plan/note")
    if found is None:
        return unknown(f"{note.TOKEN} is not set: the plans of a merge request are in its jobs' artifacts only")
    if not found["masked"]:
        return wrong(f"{note.TOKEN} is not masked", f"{_settings(project, 'ci_cd')}, mask it")
    return right(f"{note.TOKEN} is set")


def _runners(project: Project) -> Finding:
    offline = []
    for environment in PROMOTED_ENVIRONMENTS:
        found = project.ask(f"/runners?tag_list=pmp-{environment},pmp-migration&per_page=100") or []
        if not any(one.get("online") for one in found):
            offline.append(environment)
    if offline:
        return wrong(
            f"no runner of {', '.join(offline)} is online",
            "docs/aws.md#11-register-devs-runner: the jobs migrate wait until then",
        )
    return right(f"online for {', '.join(PROMOTED_ENVIRONMENTS)}")
