"""Several accounts in one emulator: each has its own resources, and a bucket's policy lets another account read it."""

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from checks.stack import free_port
from local.account import Account, Credentials
from local.accounts import IDS, OwnAccount
from local.instance import PORTS_PER_INSTANCE, Instance

BUCKET, KEY = "pmp-deployments-shared", f"lambda/{'a' * 64}.zip"
PUBLISHER, READER, STRANGER = IDS["dev"], IDS["staging"], IDS["prod"]
EVERYTHING = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]})
# As modules/artifacts writes it.
POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"AWS": [f"arn:aws:iam::{READER}:root"]},
            "Action": "s3:GetObject",
            "Resource": f"arn:aws:s3:::{BUCKET}/lambda/*",
            "Condition": {"ArnLike": {"aws:PrincipalArn": [f"arn:aws:iam::{READER}:user/pmp/gitlab*"]}},
        }
    ],
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    account = Account(Instance("several", free_port(PORTS_PER_INSTANCE), tmp_path_factory.mktemp("several")))
    account.start()
    try:
        s3 = OwnAccount(account, PUBLISHER).session("admin").client("s3")
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
        code = io.BytesIO()
        with zipfile.ZipFile(code, "w") as archive:
            archive.writestr("a.py", "def f(event, context): return 'a'\n")
        for key in (KEY, "other/a.zip"):
            s3.put_object(Bucket=BUCKET, Key=key, Body=code.getvalue())
        s3.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(POLICY))
        yield account
    finally:
        account.stop()


def user(shared: Account, account_id: str, name: str) -> Any:
    """Return a session of a new user who may do everything in the own account."""
    account = OwnAccount(shared, account_id)
    iam = account.session("admin").client("iam")
    iam.create_user(UserName=name, Path="/pmp/")
    iam.put_user_policy(UserName=name, PolicyName="everything", PolicyDocument=EVERYTHING)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return account._session(Credentials(key["AccessKeyId"], key["SecretAccessKey"]))


def test_an_access_key_belongs_to_its_account(shared: Account) -> None:
    session = user(shared, READER, "somebody")
    assert session.client("sts").get_caller_identity()["Arn"] == f"arn:aws:iam::{READER}:user/pmp/somebody"
    for account_id in (PUBLISHER, STRANGER):
        users = OwnAccount(shared, account_id).session("admin").client("iam").list_users()["Users"]
        assert "somebody" not in [one["UserName"] for one in users]


def test_the_policy_of_a_bucket_lets_in_whom_it_names(shared: Account) -> None:
    gitlab = user(shared, READER, "gitlab").client("s3")
    assert gitlab.get_object(Bucket=BUCKET, Key=KEY)["Body"].read().startswith(b"PK")
    assert gitlab.head_object(Bucket=BUCKET, Key=KEY)["ContentLength"] > 0
    attempts: list[Callable[[], Any]] = [
        lambda: gitlab.get_object(Bucket=BUCKET, Key="other/a.zip"),
        lambda: gitlab.put_object(Bucket=BUCKET, Key="lambda/b.zip", Body=b""),
        lambda: gitlab.list_objects_v2(Bucket=BUCKET),
        lambda: gitlab.get_bucket_policy(Bucket=BUCKET),
        lambda: user(shared, READER, "ada").client("s3").get_object(Bucket=BUCKET, Key=KEY),
        lambda: user(shared, STRANGER, "gitlab").client("s3").get_object(Bucket=BUCKET, Key=KEY),
    ]
    for denied in attempts:
        with pytest.raises(ClientError) as raised:
            denied()
        assert raised.value.response["Error"]["Code"] in {"AccessDenied", "403"}


@pytest.mark.parametrize(("account_id", "is_let_in"), [(READER, True), (STRANGER, False)])
def test_lambda_takes_code_that_its_creator_may_read(shared: Account, account_id: str, is_let_in: bool) -> None:
    session = user(shared, account_id, f"gitlab-{account_id[0]}")
    trust = {"Service": "lambda.amazonaws.com"}
    document = {"Statement": [{"Effect": "Allow", "Principal": trust, "Action": "sts:AssumeRole"}]}
    role = session.client("iam").create_role(RoleName="function", AssumeRolePolicyDocument=json.dumps(document))["Role"]
    made = session.client("lambda").create_function(
        FunctionName="f",
        Runtime="python3.13",
        Role=role["Arn"],
        Handler="a.f",
        Code={"S3Bucket": BUCKET, "S3Key": KEY},
    )
    assert made["FunctionArn"] == f"arn:aws:lambda:eu-west-1:{account_id}:function:f"
    # AWS refuses the other one; MiniStack makes a function without code.
    assert bool(made["CodeSize"]) == is_let_in


def test_accounts_keep_their_variables_and_keys_apart(tmp_path: Path) -> None:
    first, second = (OwnAccount(Account(Instance("several", 26000, tmp_path)), one) for one in (PUBLISHER, READER))
    assert first.admin().access_key_id == PUBLISHER
    assert first.admin().secret_access_key == second.admin().secret_access_key
    assert first.user_names() == ["gitlab", "gitlab-plan"]
    assert first.instance.platform_directory != second.instance.platform_directory
    assert first.instance.credentials != second.instance.credentials
    assert first.instance.ca_file == second.instance.ca_file
