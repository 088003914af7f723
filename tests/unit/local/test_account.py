import json
import os
import signal
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local import account as accounts
from local import processes, services
from local.account import Account
from ops.errors import UserError


def _put(account: Account, name: str, value: str) -> None:
    account.session("admin").client("ssm").put_parameter(Name=name, Value=value, Type="String", Overwrite=True)


def _make_users(account: Account) -> Any:
    iam = account.session("admin").client("iam")
    for user in account.user_names():
        iam.create_user(UserName=user)
    return iam


def test_account_checks_signatures(account: Account) -> None:
    _make_users(account)
    account.ensure_keys()
    account.session("gitlab").client("sts").get_caller_identity()
    good = account.credentials("gitlab")
    accounts._save(account.instance.credentials / "gitlab-local.json", replace(good, secret_access_key="x" * 40))
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        account.session("gitlab").client("sts").get_caller_identity()


def test_keys_are_private_and_created_once(account: Account) -> None:
    _make_users(account)
    assert account.ensure_keys() == f"new keys for {', '.join(account.user_names())}"
    assert account.ensure_keys() == "keys on file"
    for path in account.instance.credentials.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
    for environment in ("local", "prod", "account"):
        caller = account.session("plan", environment).client("sts").get_caller_identity()
        assert caller["Arn"].endswith(f":user/gitlab-plan-{environment}")


def test_lost_key_is_replaced_without_exceeding_two_keys_per_user(account: Account) -> None:
    iam = _make_users(account)
    for _ in range(4):
        account.ensure_keys()
        (account.instance.credentials / "gitlab-local.json").unlink()
    assert account.ensure_keys() == "new keys for gitlab-local"
    assert len(iam.list_access_keys(UserName="gitlab-local")["AccessKeyMetadata"]) <= 2


def test_iam_decisions_are_recorded_once(account: Account) -> None:
    iam = _make_users(account)
    policy: dict[str, Any] = {
        "Version": "2012-10-17",
        "Statement": [{"Sid": "Look", "Effect": "Allow", "Action": "ssm:GetParameter", "Resource": "*"}],
    }
    iam.put_user_policy(UserName="gitlab-local", PolicyName="p", PolicyDocument=json.dumps(policy))
    account.ensure_keys()
    _put(account, "/x", "1")
    ssm = account.session("gitlab").client("ssm")
    for _ in range(3):
        ssm.get_parameter(Name="/x")
    with pytest.raises(ClientError, match="AccessDenied"):
        ssm.delete_parameter(Name="/x")
    lines = [json.loads(line) for line in account.instance.iam_record.read_text().splitlines()]
    seen = [(line["action"], line["decision"], line["sid"]) for line in lines]
    assert seen == [("ssm:GetParameter", "Allow", "Look"), ("ssm:DeleteParameter", "ImplicitDeny", "")]
    assert lines[0]["principal"].endswith(":user/gitlab-local")
    assert lines[0]["resource"].endswith(":parameter/x")


def test_saved_state_survives_sigkill(account: Account) -> None:
    _put(account, "/x", "kept")
    account.save()
    record = processes.read(services.records(account.instance), accounts.NAME)
    assert record
    os.kill(record.pid, signal.SIGKILL)
    os.waitpid(record.pid, 0)
    assert not account.is_healthy()
    assert account.start()
    assert account.parameter("/x") == "kept"


def test_rollback_restores_the_checkpoint(account: Account) -> None:
    s3 = account.session("admin").client("s3")
    s3.create_bucket(Bucket="states", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    _put(account, "/x", "before")
    account.checkpoint()
    _put(account, "/x", "after")
    s3.put_object(Bucket="states", Key="lock", Body=b"half made")
    account.roll_back()
    assert account.parameter("/x") == "before"
    assert account.session("admin").client("s3").list_objects_v2(Bucket="states")["KeyCount"] == 0


def test_rollback_without_a_checkpoint_empties_the_account(account: Account) -> None:
    _put(account, "/x", "1")
    account.roll_back()
    with pytest.raises(UserError, match="SSM has no parameter /x"):
        account.parameter("/x")


def test_request_to_a_stopped_platform_is_an_error(account: Account) -> None:
    account.stop()
    with pytest.raises(UserError, match="instance 'trial' is not running: start it with 'make up'"):
        account.parameter("/x")
    with pytest.raises(UserError, match="does not answer"):
        account.save()


def test_unknown_identity_is_an_error(account: Account) -> None:
    with pytest.raises(UserError, match="IDENTITY='root' is not known: use admin, gitlab, plan"):
        account.credentials("root")
    with pytest.raises(UserError, match="there is no key for gitlab-local yet"):
        account.credentials("gitlab")


def test_rds_creates_and_deletes_the_master_user_secret(account: Account) -> None:
    admin = account.session("admin")
    database, manager = admin.client("rds"), admin.client("secretsmanager")
    shape: dict[str, Any] = {"DBInstanceClass": "db.t3.micro", "Engine": "postgres", "MasterUsername": "pmp_admin"}
    database.create_db_instance(DBInstanceIdentifier="one", ManageMasterUserPassword=True, **shape)
    database.create_db_instance(DBInstanceIdentifier="two", MasterUserPassword="chosen-by-hand", **shape)
    instances = {one["DBInstanceIdentifier"]: one for one in database.describe_db_instances()["DBInstances"]}
    assert "MasterUserSecret" not in instances["two"]
    secret = instances["one"]["MasterUserSecret"]
    assert secret["SecretStatus"] == "active"
    content = account.secret(secret["SecretArn"])
    assert content["username"] == "pmp_admin"
    assert len(content["password"]) >= 24
    database.delete_db_instance(DBInstanceIdentifier="one", SkipFinalSnapshot=True)
    assert manager.list_secrets()["SecretList"] == []


def test_security_group_rule_keeps_its_prefix_list(account: Account) -> None:
    client = account.session("admin").client("ec2")
    prefix_list = client.describe_prefix_lists()["PrefixLists"][0]["PrefixListId"]
    group = client.create_security_group(GroupName="g", Description="d")["GroupId"]
    rule: Any = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443}
    rule["PrefixListIds"] = [{"PrefixListId": prefix_list, "Description": "to S3"}]
    client.authorize_security_group_egress(GroupId=group, IpPermissions=[rule])
    found = [
        one
        for one in client.describe_security_group_rules()["SecurityGroupRules"]
        if one["GroupId"] == group and one.get("PrefixListId")
    ]
    assert [(one["PrefixListId"], one["Description"]) for one in found] == [(prefix_list, "to S3")]
    client.revoke_security_group_egress(GroupId=group, IpPermissions=[rule])
    rules = client.describe_security_group_rules()["SecurityGroupRules"]
    assert not [one for one in rules if one.get("PrefixListId")]
