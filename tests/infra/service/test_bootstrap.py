"""The bootstrap's templates pass cfn-lint and PMP's own rules."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml


class _Loader(yaml.SafeLoader):
    """Reads YAML with CloudFormation's short forms: ``!Sub`` becomes ``{"Fn::Sub": …}``."""


def _function(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    name = suffix if suffix == "Ref" else f"Fn::{suffix}"
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    return {name: loader.construct_scalar(node) if isinstance(node, yaml.ScalarNode) else None}


_Loader.add_multi_constructor("!", _function)


def _resources(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.load(path.read_text(), _Loader)["Resources"]  # noqa: S506 - a SafeLoader
    return loaded


def test_templates_pass_cfn_lint(templates: Path) -> None:
    command = [str(Path(sys.executable).parent / "cfn-lint"), *map(str, sorted(templates.glob("*.yml")))]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", ["kms-key.yml", "terraform-state.yml"])
def test_deleting_a_stack_keeps_its_key_and_bucket(name: str, templates: Path) -> None:
    kept = {"AWS::KMS::Key", "AWS::S3::Bucket", "AWS::S3::BucketPolicy"}
    for logical_id, resource in _resources(templates / name).items():
        if resource["Type"] in kept:
            assert resource["DeletionPolicy"] == "Retain", logical_id
            assert resource["UpdateReplacePolicy"] == "Retain", logical_id


def test_administering_the_key_does_not_allow_decryption(templates: Path) -> None:
    key = _resources(templates / "kms-key.yml")["Key"]["Properties"]
    assert key["EnableKeyRotation"] is True
    cryptographic = {"kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey", "kms:ReEncryptFrom", "kms:CreateGrant"}
    for entry in key["KeyPolicy"]["Statement"]:
        statement = entry["Fn::If"][1] if "Fn::If" in entry else entry
        assert not any("*" in action for action in statement["Action"]), statement["Sid"]
        if cryptographic & set(statement["Action"]):
            assert "aws:PrincipalArn" in statement["Condition"]["ArnLike"], statement["Sid"]
            assert "kms:ViaService" in statement["Condition"]["StringEquals"], statement["Sid"]


def test_buckets_are_private_and_versioned(templates: Path) -> None:
    for logical_id, resource in _resources(templates / "terraform-state.yml").items():
        if resource["Type"] != "AWS::S3::Bucket":
            continue
        properties = resource["Properties"]
        assert all(properties["PublicAccessBlockConfiguration"].values()), logical_id
        assert len(properties["PublicAccessBlockConfiguration"]) == 4, logical_id
        assert properties["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}], logical_id
        assert properties["VersioningConfiguration"] == {"Status": "Enabled"}, logical_id


def test_at_least_ten_old_states_are_kept(templates: Path) -> None:
    bucket = _resources(templates / "terraform-state.yml")["Bucket"]["Properties"]
    encryption = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"][0]
    assert encryption["BucketKeyEnabled"] is True
    assert encryption["ServerSideEncryptionByDefault"] == {
        "SSEAlgorithm": "aws:kms",
        "KMSMasterKeyID": {"Ref": "KmsKeyArn"},
    }
    for rule in bucket["LifecycleConfiguration"]["Rules"]:
        assert rule["NoncurrentVersionExpiration"]["NewerNoncurrentVersions"] >= 10, rule["Id"]
        assert "ExpirationInDays" not in rule, "a current state never expires"


def test_each_deny_has_one_negation(templates: Path) -> None:
    """Two negations in one statement are ANDed: an object with only one of the two faults would pass."""
    policy = _resources(templates / "terraform-state.yml")["BucketPolicy"]["Properties"]["PolicyDocument"]
    refusals = set()
    for statement in policy["Statement"]:
        assert statement["Effect"] == "Deny", statement["Sid"]
        keys = [key for operator in statement["Condition"].values() for key in operator]
        assert len(keys) == 1, f"{statement['Sid']} ANDs {keys}"
        refusals.update(keys)
    assert refusals >= {
        "aws:SecureTransport",
        "s3:x-amz-server-side-encryption",
        "s3:x-amz-server-side-encryption-aws-kms-key-id",
    }
