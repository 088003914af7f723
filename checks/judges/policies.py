"""Have parliament judge every IAM policy of a recorded deployment: ``python -m checks.judges.policies [RECORD]``.

The record is the laptop platform's (``local.ministack.requests``): it holds each document as AWS would get it, those of
users, roles, buckets, keys, topics, queues and endpoints. A finding is either fixed, or it is none for a reason in
``policy_findings.yaml``.
"""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from checks.judges import FOLDER, install
from local import instance as instances
from ops.settings import ENVIRONMENTS

EXPLAINED = FOLDER / "policy_findings.yaml"
# By operation of a policy's request: the members that hold the document, and those that name it.
_DOCUMENTS = {
    "CreateKey": ("Policy", ("Description",)),
    "CreatePolicy": ("PolicyDocument", ("PolicyName",)),
    "CreateRole": ("AssumeRolePolicyDocument", ("RoleName",)),
    "CreateVpcEndpoint": ("PolicyDocument", ("ServiceName",)),
    "PutBucketPolicy": ("Policy", ("Bucket",)),
    "PutKeyPolicy": ("Policy", ("KeyId",)),
    "PutRolePolicy": ("PolicyDocument", ("RoleName", "PolicyName")),
}
_VARYING = (
    (re.compile(r"\b\d{12}\b"), "<account>"),
    (re.compile(rf"(?<=[-/ ])(?:{'|'.join(ENVIRONMENTS)})(?=[-/ :]|$)"), "<environment>"),
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"), "<id>"),
)
_SHOWN = 5

Document = Mapping[str, Any]


def documents(lines: Iterable[str]) -> dict[str, Document]:
    """Return every policy in a record of requests, by a name such as ``CreateRole pmp-local-function``."""
    found: dict[str, Document] = {}
    for line in lines:
        request = json.loads(line)
        operation, parameters = request["operation"], request["parameters"]
        if operation == "CreatePolicyVersion":  # the same policy, changed
            operation, parameters = (
                "CreatePolicy",
                parameters | {"PolicyName": parameters["PolicyArn"].rpartition("/")[2]},
            )
        if operation in _DOCUMENTS:
            member, names = _DOCUMENTS[operation]
            named = [str(parameters[name]) for name in names if name in parameters]
            if text := parameters.get(member):
                found[" ".join([operation, *named])] = json.loads(text)
        elif operation in {"SetTopicAttributes", "SetQueueAttributes", "CreateQueue", "CreateTopic"}:
            attributes = parameters.get("Attributes") or {
                parameters.get("AttributeName"): parameters.get("AttributeValue")
            }
            if text := attributes.get("Policy"):
                name = next(
                    str(parameters[key]) for key in ("TopicArn", "QueueUrl", "QueueName", "Name") if key in parameters
                )
                found[f"{operation} {name.rpartition(':')[2].rpartition('/')[2]}"] = json.loads(text)
    return found


def findings(policies: Mapping[str, Document]) -> set[str]:
    """Return parliament's findings, one line each, without what differs between accounts and environments."""
    done = subprocess.run(
        [install(), FOLDER / "run_parliament.py"],
        input=json.dumps({name: _with_resource(name, document) for name, document in policies.items()}),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return {_general(f"{name}: {issue}: {_text(detail)}") for name, issue, detail in json.loads(done.stdout)}


def _with_resource(name: str, document: Document) -> Document:
    """Return a policy with the resource that a role's trust policy leaves out and a key's own policy calls ``*``."""
    own = {
        "CreateRole": "arn:aws:iam::000000000000:role/own",
        "CreateKey": "arn:aws:kms:eu-west-1:000000000000:key/own",
    }
    resource = own.get(name.partition(" ")[0])
    statements = [{**one, "Resource": resource} for one in document["Statement"]] if resource else document["Statement"]
    return {**document, "Statement": statements}


def _text(detail: Any) -> str:
    if not isinstance(detail, list):
        return str(detail)
    words = [f"{one['action']} on {one['required_format']}" if isinstance(one, dict) else str(one) for one in detail]
    return ", ".join(words if len(words) <= _SHOWN else [*words[:_SHOWN], f"and {len(words) - _SHOWN} more"])


def _general(text: str) -> str:
    for pattern, word in _VARYING:
        text = pattern.sub(word, text)
    return text


def explained() -> dict[str, str]:
    """Return why each listed finding is none, by finding."""
    groups = yaml.safe_load(EXPLAINED.read_text())
    return {finding: group["reason"] for group in groups for finding in group["findings"]}


def main() -> None:
    """Print the findings without a reason and the reasons without a finding; exit 1 when there is one."""
    parser = argparse.ArgumentParser(prog="python -m checks.judges.policies", description=__doc__)
    parser.add_argument("record", nargs="?", type=Path, metavar="RECORD")
    record = parser.parse_args().record or instances.current().request_record
    if not record.exists():
        sys.exit(f"error: there is no record {record}: run 'make up' first")
    judged = documents(record.read_text(encoding="utf-8").splitlines())
    found, known = findings(judged), explained()
    for one in sorted(found - set(known)):
        print(f"not explained:  {one}")
    for one in sorted(set(known) - found):
        print(f"not found any more:  {one}")
    print(f"{len(judged)} policies, {len(found)} findings, {len(found - set(known))} not explained")
    sys.exit(1 if found ^ set(known) else 0)


if __name__ == "__main__":
    main()
