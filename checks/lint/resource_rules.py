"""Rules for the attributes of Terraform resources that tflint and checkov do not have.

These rules read the source, so they do not see the resources of registry modules: tests/infra checks those as planned.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from checks.lint.rules import blocks

_GIVEN = "anything"


class Rule(NamedTuple):
    """The required value of one attribute of one resource type; ``block.attribute`` names one in a nested block."""

    type: str
    attribute: str
    value: str | None
    """As written in the source; `_GIVEN` for any value, None if the attribute must be absent."""
    reason: str
    exempt: tuple[str, ...] = ()
    """Folders to which the rule does not apply; a comment beside the rule gives the reason."""


RULES = (
    Rule("aws_db_proxy", "require_tls", "true", "the proxy would take passwords and personal data in the clear"),
    Rule("aws_db_proxy", "auth.iam_auth", "REQUIRED", "the password alone, without IAM, would open the proxy"),
    Rule("aws_db_proxy", "debug_logging", "false", "the proxy would log statements, and with them personal data"),
    Rule(
        "aws_db_proxy_default_target_group",
        "connection_pool_config.connection_borrow_timeout",
        _GIVEN,
        "its default of 120 s is longer than the waiting request lives",
    ),
    Rule(
        "aws_db_proxy_default_target_group",
        "connection_pool_config.max_connections_percent",
        _GIVEN,
        "its default of 100 leaves no connection for migrations",
    ),
    Rule("aws_iam_role", "path", _GIVEN, "GitLab's identity may create roles only under one path"),
    # An administrator applies these. Their roles are GitLab's own and AWS Backup's, and their policies are the limit.
    Rule(
        "aws_iam_role",
        "permissions_boundary",
        _GIVEN,
        "GitLab's identity may create roles only within the boundary",
        exempt=("modules/backups", "modules/delivery", "envs/account"),
    ),
    Rule("aws_iam_role_policy", "policy", _GIVEN, "an empty policy hides a mistake"),
    Rule("aws_iam_role", "inline_policy", None, "inline policies are separate resources, so that plans show them"),
    Rule("aws_lambda_permission", "source_arn", _GIVEN, "any bucket or API could call"),
    Rule(
        "aws_secretsmanager_secret_version",
        "secret_string",
        None,
        "the value would be in state: use secret_string_wo",
    ),
    Rule("aws_ssm_parameter", "value_wo", None, "parameters hold no secrets: use Secrets Manager"),
    Rule("aws_db_instance", "password", None, "the password would be in state: use manage_master_user_password"),
    Rule("aws_security_group", "ingress", None, "rules are separate resources, so that each has a description"),
    Rule("aws_security_group", "egress", None, "rules are separate resources, so that each has a description"),
    Rule("aws_vpc_security_group_ingress_rule", "description", _GIVEN, "nobody dares to remove an unexplained rule"),
    Rule("aws_vpc_security_group_egress_rule", "description", _GIVEN, "nobody dares to remove an unexplained rule"),
    Rule("aws_vpc_endpoint", "policy", _GIVEN, "its default lets anyone reach any account through it"),
    Rule("aws_apigatewayv2_domain_name", "domain_name_configuration.security_policy", "TLS_1_2", "older TLS is broken"),
    Rule("random_password", "length", None, "the password would be in state: use an ephemeral one"),
    Rule("null_resource", "provisioner", None, "a plan does not show what it does"),
)


def _values(content: dict[str, Any], path: str) -> list[str]:
    """Return the values at ``path``, one per nested block; the empty list when a block or the attribute is missing."""
    name, _, rest = path.partition(".")
    found = content.get(name)
    # `dynamic "auth" { content { … } }` is a way to write the block `auth`.
    if found is None:
        found = [
            inner
            for dynamic in content.get("dynamic", [])
            for label, block in dynamic.items()
            if label.strip('"') == name
            for inner in block.get("content", [])
        ] or None
    if found is None:
        return []
    if not rest:
        return [str(found).strip('"').lower() if isinstance(found, bool) else str(found).strip('"')]
    inner_values = [_values(block, rest) for block in found]
    return [value for values in inner_values for value in values] if all(inner_values) else []


def unguarded_resources(root: Path, files: Iterable[Path]) -> Iterator[str]:
    """Find resources in PMP's own modules and roots that break one of `RULES`."""
    for file in files:
        if file.suffix != ".tf" or file.parts[0] not in {"modules", "envs"}:
            continue
        for type_, named in blocks(root, file, "resource"):
            for name, content in named.items():
                if name == "__is_block__":
                    continue
                for rule in RULES:
                    if rule.type != type_ or any(map(file.is_relative_to, rule.exempt)):
                        continue
                    if finding := _finding(rule, content):
                        yield f"{file}: {type_}.{name.strip(chr(34))}: {finding}"


def _finding(rule: Rule, content: dict[str, Any]) -> str:
    values = _values(content, rule.attribute)
    if rule.value is None:
        return f"{rule.attribute} must not be set: {rule.reason}" if values else ""
    if not values:
        return f"{rule.attribute} is not set: {rule.reason}"
    if rule.value != _GIVEN and any(value != rule.value for value in values):
        return f"{rule.attribute} must be {rule.value}, not {values[0]}: {rule.reason}"
    return ""
