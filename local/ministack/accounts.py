"""Let what belongs to one emulated account be reached from outside of it, as on AWS.

MiniStack keeps several accounts apart: twelve digits as access key id are the root of that account. What is missing is
that another account's identity may read a bucket whose policy lets it in, and that a custom domain is found whichever
account has it.
"""

from contextvars import ContextVar
from typing import Any

from ministack.core import iam_evaluator
from ministack.core.responses import (
    get_account_id,
    get_region,
    request_scope,
    set_request_account_id,
    set_request_region,
)
from ministack.services import apigateway_v1, lambda_svc, s3

_caller: ContextVar[Any] = ContextVar("caller", default=None)


def install() -> None:
    """Complete MiniStack in this process; call once."""
    let_policies_share_buckets()
    find_domains_of_all_accounts()


def find_domains_of_all_accounts() -> None:
    """Serve a custom domain by the account that has it: a request with a bearer token does not name an account.

    A domain is unique in a region, whichever account has it:
    https://docs.aws.amazon.com/apigateway/latest/developerguide/how-to-custom-domains.html
    """

    def find(domain_name: str) -> tuple[str, str, str] | None:
        for account, region, stored in list(apigateway_v1._domain_names._data):
            if stored.lower() == domain_name.lower():
                # What follows (API, authorizer, function) is looked up in the account and region of the request.
                set_request_account_id(account)
                set_request_region(region)
                return account, region, stored
        return None

    apigateway_v1.find_domain_scope = find


def let_policies_share_buckets() -> None:
    """Hold a foreign bucket's policy against the caller, and let Lambda fetch code from a bucket that it may read.

    MiniStack compares the policy with the caller's account only, so that a condition on ``aws:PrincipalArn`` never
    holds, and Lambda looks for code in the caller's own buckets only.
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/example-walkthroughs-managing-access-example2.html
    """
    resolve, allows, fetch = (
        iam_evaluator.resolve_principal,
        s3._foreign_bucket_allows,
        lambda_svc._fetch_code_from_s3,
    )

    def remembered(*arguments: Any, **named: Any) -> Any:
        found = resolve(*arguments, **named)
        _caller.set(found)
        return found

    def allows_caller(  # noqa: PLR0917 - MiniStack's own signature
        owner: str, bucket: str, key: str, method: str, query: Any, caller: str, headers: Any = None
    ) -> bool:
        if allows(owner, bucket, key, method, query, caller, headers):
            return True
        return method in {"GET", "HEAD"} and not query and may_read(owner, bucket, key)

    def fetch_from_any_account(bucket: str, key: str, version_id: str | None = None) -> bytes | None:
        owner = s3._bucket_owner_account(bucket)
        if owner in {None, get_account_id()}:
            own: bytes | None = fetch(bucket, key, version_id)
            return own
        if not may_read(owner, bucket, key):
            return None
        with request_scope(owner, get_region()):
            foreign: bytes | None = fetch(bucket, key, version_id)
            return foreign

    iam_evaluator.resolve_principal = remembered
    s3._foreign_bucket_allows = allows_caller
    lambda_svc._fetch_code_from_s3 = fetch_from_any_account


def may_read(owner: str, bucket: str, key: str) -> bool:
    """Whether a bucket's policy lets the caller of this request, an identity of another account, read an object.

    The caller's own policies were evaluated before: across accounts, both have to allow.
    """
    caller = _caller.get()
    policy = s3._bucket_policies.get_scoped(owner, None, bucket)
    if not policy or not isinstance(caller, iam_evaluator.PrincipalInfo):
        return False
    context = iam_evaluator.EvalContext(
        principal_arn=caller.arn,
        principal_type=caller.type,
        principal_account=caller.account,
        action="s3:GetObject",
        resource_arn=f"arn:aws:s3:::{bucket}/{key}",
        region=get_region(),
        service_context={"aws:securetransport": "true"},
    )
    return bool(iam_evaluator.evaluate_resource_policy(policy, context).decision == "Allow")
