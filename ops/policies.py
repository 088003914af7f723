"""Compare what the policies of GitLab's identities grant with what deployments use.

The laptop platform records every decision of its IAM enforcement as a JSON line ``{"principal", "action", "resource",
"decision", "sid"}``. An action that a policy grants and no deployment requested must be listed with a reason in
``modules/delivery/unused-grants.yml``; otherwise the comparison fails. The same holds for a statement without which
every request would still be allowed. The committed record ``modules/delivery/used-actions.yml`` lets the tests check
the policies without a platform. There, `<environment>` stands for the name of the environment that was deployed.
"""

import fnmatch
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from ops.errors import UserError
from ops.output import shown
from ops.settings import ROOT

MODULE = ROOT / "modules/delivery"
USED = MODULE / "used-actions.yml"
UNUSED = MODULE / "unused-grants.yml"
DELIVER, PLAN = "gitlab", "gitlab-plan"
"""Identities in the committed record: who deploys an environment, and who plans it or the account layer."""

Requests = dict[str, dict[str, str]]
"""Allowed requests: by the statement (Sid) that allowed them, each action with the ARN of one resource."""


_ACCOUNT_POLICY = "pmp-plan-account"


@dataclass(frozen=True)
class Identity:
    """One of GitLab's IAM users: its part, ``gitlab`` or ``gitlab-plan``, and what it does it for."""

    user: str
    part: str
    environment: str
    """Name of an environment, or ``account`` for the account layer."""


def identities(policies_by_user: Mapping[str, Iterable[str]]) -> list[Identity]:
    """Return GitLab's identities, told by the names of the policies that are attached to IAM users.

    Args:
        policies_by_user: names of attached policies by the user's name, such as ``pmp-dev-guardrails``.
    """
    found = []
    for user, names in sorted(policies_by_user.items()):
        text = "\n".join(names)
        if match := re.search(r"^pmp-(.+)-guardrails$", text, re.MULTILINE):
            found.append(Identity(user, DELIVER, match[1]))
        elif match := re.search(r"^pmp-(.+)-plan-state$", text, re.MULTILINE):
            found.append(Identity(user, PLAN, match[1]))
        # In an account of one environment, who plans that also plans the account layer.
        if _ACCOUNT_POLICY in names:
            found.append(Identity(user, PLAN, "account"))
    return found


@dataclass(frozen=True)
class Balance:
    """What one policy grants and how it was used: sets of IAM actions such as ``ec2:CreateVpc``, and of Sids."""

    policy: str
    granted: frozenset[str]
    used: frozenset[str]
    explained: frozenset[str]
    statements: frozenset[str]
    needed: frozenset[str]
    """Statements without which a request would have been refused."""
    unused: frozenset[str]
    """Statements that have a reason, either themselves or for every one of their actions."""

    @property
    def unexplained(self) -> frozenset[str]:
        """Granted actions that were never requested and have no reason."""
        return self.granted - self.used - self.explained

    @property
    def needless(self) -> frozenset[str]:
        """Statements that could be removed: no request would be refused without them, and they have no reason."""
        return self.statements - self.needed - self.unused


def words(value: str | Iterable[str]) -> list[str]:
    """Return a policy element, which is one string or a list of strings, as a list."""
    return [value] if isinstance(value, str) else list(value)


def allowing(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the Allow statements of a policy document."""
    return [statement for statement in document["Statement"] if statement["Effect"] == "Allow"]


def granted(document: Mapping[str, Any]) -> frozenset[str]:
    """Return the actions that a policy document allows."""
    return frozenset(action for statement in allowing(document) for action in words(statement["Action"]))


def recorded(lines: Iterable[str], user: str) -> Requests:
    """Return the allowed requests of the IAM user ``user`` from the lines of a record."""
    found: Requests = {}
    for line in lines:
        decision = json.loads(line)
        if decision["decision"] == "Allow" and decision["principal"].endswith(f"/{user}"):
            found.setdefault(decision["sid"], {}).setdefault(decision["action"], decision["resource"])
    return found


def merged(*records: Requests) -> Requests:
    """Merge records; if they hold an action with two resources, keep the first."""
    found: Requests = {}
    for record in records:
        for sid, requests in record.items():
            found[sid] = requests | found.get(sid, {})
    return found


def committed(part: str, environment: str) -> Requests:
    """Return the committed record as if ``environment`` had been deployed.

    The record of who plans includes that of who deploys: a plan makes the same requests for both.
    """
    record = yaml.safe_load(USED.read_text()) if USED.exists() else {}
    found = merged(record.get(part, {}), record.get(DELIVER, {}))
    return _replaced(found, lambda arn: arn.replace(_ANY, environment))


_ANY = "<environment>"


def general(requests: Requests, environment: str) -> Requests:
    """Return a record in which `<environment>` stands for the name of the environment."""
    name = re.compile(rf"(?<![a-z0-9]){re.escape(environment)}(?![a-z0-9])")
    return _replaced(requests, lambda arn: name.sub(_ANY, arn))


def _replaced(requests: Requests, change: Callable[[str], str]) -> Requests:
    return {sid: {action: change(arn) for action, arn in actions.items()} for sid, actions in requests.items()}


def explained_actions() -> dict[str, str]:
    """Return the reasons, by action, for grants that no deployment on the laptop platform requests."""
    return _reasons("actions")


def explained_statements() -> dict[str, str]:
    """Return the reasons, by Sid, for statements whose actions are used but are all allowed by other statements."""
    return _reasons("statements")


def _reasons(kind: str) -> dict[str, str]:
    groups = yaml.safe_load(UNUSED.read_text())["unused"]
    return {name: group["reason"] for group in groups for name in group.get(kind, [])}


def is_needed(statement: Mapping[str, Any], others: Iterable[Mapping[str, Any]], requests: Mapping[str, str]) -> bool:
    """Whether a request that ``statement`` allowed would be allowed by none of ``others``.

    Conditions of the other statements are assumed to be met, so the result errs towards False.

    Args:
        statement: an Allow statement.
        others: the other Allow statements in all policies of the same user.
        requests: actions, each with its resource, that ``statement`` allowed when they were recorded.
    """
    others = list(others)
    return any(
        action in words(statement["Action"]) and not any(_matches(other, action, resource) for other in others)
        for action, resource in requests.items()
    )


def _matches(statement: Mapping[str, Any], action: str, resource: str) -> bool:
    return action in words(statement["Action"]) and any(
        fnmatch.fnmatchcase(resource, pattern) for pattern in words(statement["Resource"])
    )


def balance(policies: Mapping[str, Mapping[str, Any]], requests: Requests) -> list[Balance]:
    """Compare each policy (name → document) of one user with the user's requests."""
    used = frozenset(action for actions in requests.values() for action in actions)
    explained = frozenset(explained_actions())
    everything = [statement for document in policies.values() for statement in allowing(document)]

    def needed(statement: Mapping[str, Any]) -> bool:
        others = (other for other in everything if other is not statement)
        return is_needed(statement, others, requests.get(statement["Sid"], {}))

    return [
        Balance(
            policy=name,
            granted=granted(document),
            used=used,
            explained=explained,
            statements=frozenset(one["Sid"] for one in allowing(document)),
            needed=frozenset(one["Sid"] for one in allowing(document) if needed(one)),
            unused=frozenset(
                one["Sid"]
                for one in allowing(document)
                if one["Sid"] in explained_statements() or explained.issuperset(words(one["Action"]))
            ),
        )
        for name, document in sorted(policies.items())
    ]


def attached_policies(iam: Any, identity: Identity) -> dict[str, dict[str, Any]]:
    """Return the documents of an identity's policies, by policy name; ``iam`` is boto3's client."""
    documents: dict[str, dict[str, Any]] = {}
    for attached in iam.list_attached_user_policies(UserName=identity.user)["AttachedPolicies"]:
        if (attached["PolicyName"] == _ACCOUNT_POLICY) != (identity.environment == "account"):
            continue
        version = iam.get_policy(PolicyArn=attached["PolicyArn"])["Policy"]["DefaultVersionId"]
        document = iam.get_policy_version(PolicyArn=attached["PolicyArn"], VersionId=version)["PolicyVersion"][
            "Document"
        ]
        documents[attached["PolicyName"]] = document if isinstance(document, dict) else json.loads(document)
    return documents


def table(balances: Iterable[Balance]) -> Table:
    """Return a table of counts by policy, with the names of unexplained actions and needless statements."""
    drawn = Table("policy", "granted", "used", "listed as unused", "unexplained", "statements", "needed", "needless")
    for one in balances:
        used = one.granted & one.used
        drawn.add_row(
            one.policy,
            str(len(one.granted)),
            str(len(used)),
            str(len((one.granted & one.explained) - used)),
            ", ".join(sorted(one.unexplained)) or "0",
            str(len(one.statements)),
            str(len(one.needed)),
            ", ".join(sorted(one.needless)) or "0",
        )
    return drawn


def write(lines: list[str], policies: Mapping[Identity, Mapping[str, Mapping[str, Any]]]) -> None:
    """Add a record to the committed one, and drop statements that no identity has.

    Args:
        lines: of the record.
        policies: documents by name, of each identity.
    """
    record = yaml.safe_load(USED.read_text()) if USED.exists() else {}
    found: dict[str, Requests] = {}
    for part in (DELIVER, PLAN):
        ours = {identity: documents for identity, documents in policies.items() if identity.part == part}
        new = [general(recorded(lines, identity.user), identity.environment) for identity in ours]
        sids = {
            one["Sid"] for documents in ours.values() for document in documents.values() for one in allowing(document)
        }
        known = merged(record.get(part, {}), *new)
        found[part] = {sid: actions for sid, actions in known.items() if sid in sids}
    USED.write_text(
        "# Requests of deployments on the laptop platform, from first apply to destroy: by identity, by the Sid that\n"
        "# allowed them, each action with one resource. Written by `make policies WRITE=1`.\n" + yaml.safe_dump(found)
    )


def compare(records: list[Path], iam: Any, *, write_record: bool = False) -> None:
    """Print what is granted next to what was used.

    Args:
        records: IAM records of laptop platforms.
        iam: boto3's client, as an administrator.
        write_record: add the records to the committed one.

    Raises:
        UserError: a grant or a statement is neither used nor explained, or a record cannot be read.
    """
    try:
        lines = [line for record in records for line in record.read_text().splitlines()]
    except OSError as error:
        raise UserError(f"no IAM record at {error.filename}: run 'make up' first") from error
    policies = {identity: attached_policies(iam, identity) for identity in attached(iam)}
    if not policies:
        raise UserError("the account has no identities of GitLab: apply the account layer first")
    if write_record:
        write(lines, policies)
    unexplained, needless = set[str](), set[str]()
    for identity, documents in policies.items():
        requests = merged(recorded(lines, identity.user), committed(identity.part, identity.environment))
        balances = balance(documents, requests)
        Console(width=140).print(f"IAM user {identity.user}", table(balances))
        unexplained |= {action for one in balances for action in one.unexplained}
        needless |= {f"{one.policy}/{sid}" for one in balances for sid in one.needless}
    if unexplained or needless:
        raise UserError(
            f"granted but never used: {', '.join(sorted(unexplained)) or 'nothing'}; statements that no request needs: "
            f"{', '.join(sorted(needless)) or 'none'}. Remove them from modules/delivery, or give the reason in "
            f"{shown(UNUSED)}"
        )


def attached(iam: Any) -> list[Identity]:
    """Return the account's identities of GitLab; ``iam`` is boto3's client, as an administrator."""
    users = [user["UserName"] for user in iam.list_users(PathPrefix="/pmp/")["Users"]]
    return identities(
        {
            user: [one["PolicyName"] for one in iam.list_attached_user_policies(UserName=user)["AttachedPolicies"]]
            for user in users
        }
    )
