"""A policy that trusts an AWS service requires only condition keys that the service sends.

The emulator never assumes a role as a service, so only AWS would show that a trust policy is wrong.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

ROOT = Path(__file__).parents[3]
TABLE = ROOT / "checks/service_principals.yaml"
USES = {
    "aws_iam_role": "role",
    "aws_kms_key": "key",
    "aws_lambda_permission": "function",
    "aws_s3_bucket_policy": "bucket",
    "aws_sns_topic_policy": "topic",
    "aws_sqs_queue": "queue",
    "aws_sqs_queue_policy": "queue",
}
_RESOURCE = re.compile(r'^resource "(\w+)" "\w+" \{$.*?^\}$', re.MULTILINE | re.DOTALL)
_SERVICE = re.compile(r'Principal\s*=\s*\{\s*Service\s*=\s*"([^"\n]+(?:\$\{[^}]+\}[^"\n]*)?)"')
_CONDITION_KEY = re.compile(r'"((?:aws|kms|lambda|s3|sns|sqs|iam):[\w:/-]+)"\s*=')
_PERMISSION = re.compile(r'^\s*principal\s*=\s*"([^"]+)"', re.MULTILINE)
_PERMISSION_KEYS = {"source_arn": "aws:SourceArn", "source_account": "aws:SourceAccount"}


class Trust(NamedTuple):
    """A service that may use a resource, and the condition keys that its requests must carry."""

    place: str
    principal: str
    use: str
    keys: frozenset[str]


def trusts(text: str, place: str) -> Iterator[Trust]:
    """Yield every trust in an AWS service in the text of a ``.tf`` file."""
    for resource in _RESOURCE.finditer(text):
        kind, block = resource[1], resource[0]
        if kind == "aws_lambda_permission":
            [principal] = _PERMISSION.findall(block)
            keys = {
                key
                for argument, key in _PERMISSION_KEYS.items()
                if re.search(rf"^\s*{argument}\s*=", block, re.MULTILINE)
            }
            yield Trust(place, principal, USES[kind], frozenset(keys))
        for match in _SERVICE.finditer(block):
            statement = _object_around(block, match.start())
            principal = re.sub(r"\$\{[^}]*region[^}]*\}", "<region>", match[1])
            yield Trust(place, principal, USES[kind], frozenset(_CONDITION_KEY.findall(statement)))


def _object_around(text: str, position: int) -> str:
    """Return the innermost ``{…}`` that contains a position."""
    depth, start = 0, position
    while depth >= 0:
        start -= 1
        depth += {"}": 1, "{": -1}.get(text[start], 0)
    depth, end = 1, start
    while depth:
        end += 1
        depth += {"{": 1, "}": -1}.get(text[end], 0)
    return text[start : end + 1]


def table() -> dict[tuple[str, str], frozenset[str]]:
    """Return the condition keys that each service sends, by principal and use."""
    return {(row["principal"], row["use"]): frozenset(row["keys"]) for row in yaml.safe_load(TABLE.read_text())}


def refused(trust: Trust) -> frozenset[str]:
    """Return the condition keys of a trust that its service does not send."""
    return trust.keys - table()[trust.principal, trust.use]


def _all() -> list[Trust]:
    files = sorted(file for folder in ("modules", "envs") for file in (ROOT / folder).rglob("*.tf"))
    return [one for file in files if "examples" not in file.parts for one in trusts(file.read_text(), file.parts[-2])]


def test_trust_policies_require_only_keys_that_the_service_sends() -> None:
    found = {f"{one.place}: {one.principal} does not send {', '.join(refused(one))}" for one in _all() if refused(one)}
    assert not found


def test_table_lists_exactly_the_trusted_services() -> None:
    """Every trusted service has a row and every row a service, and the parser found every trust in the sources."""
    assert {(one.principal, one.use) for one in _all()} == set(table())
    principals = re.compile(r"(?:Service|principal)\s*=\s*\"[^\"]*amazonaws\.com\"")
    files = [file for folder in ("modules", "envs") for file in (ROOT / folder).rglob("*.tf")]
    assert len(_all()) == sum(
        len(principals.findall(file.read_text())) for file in files if "examples" not in file.parts
    )


def test_every_row_of_the_table_has_a_source() -> None:
    for row in yaml.safe_load(TABLE.read_text()):
        assert row["source"].startswith("https://docs.aws.amazon.com/"), row
        assert row["says"], row


TRUST = """\
resource "aws_iam_role" "x" {
  assume_role_policy = jsonencode({
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "rds.amazonaws.com" }
      Action    = "sts:AssumeRole"
      CONDITION
    }]
  })
}
"""


@pytest.mark.parametrize(
    ("condition", "keys"),
    [
        ("", set()),
        ('Condition = { StringEquals = { "aws:SourceAccount" = local.account_id } }', {"aws:SourceAccount"}),
        (
            'Condition = { ArnLike = { "aws:SourceArn" = "x" }, StringEquals = { "aws:SourceOrgID" = "o" } }',
            {"aws:SourceArn", "aws:SourceOrgID"},
        ),
    ],
)
def test_condition_on_a_key_that_is_not_sent_is_found(condition: str, keys: set[str]) -> None:
    [found] = trusts(TRUST.replace("CONDITION", condition), "x")
    assert found.principal == "rds.amazonaws.com"
    assert refused(found) == keys
