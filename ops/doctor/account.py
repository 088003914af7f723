"""Checks of an AWS account, and of what this checkout says about it."""

from collections.abc import Iterator, Sequence

from botocore.exceptions import ClientError

from ops import aws, dns, provider_locks, quotas
from ops.costs import variables
from ops.doctor.checks import Check, Finding, right, unknown, wrong
from ops.errors import UserError
from ops.settings import LAPTOP_ENVIRONMENT, PROMOTED_ENVIRONMENTS, ROOT, platform_directory

_LAPTOP = 'on a laptop: c=$(make -s credentials IDENTITY=admin) && eval "$c"'
_STACKS = ("pmp-kms-key", "pmp-terraform-state")
_SETTLED = {"CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "IMPORT_COMPLETE"}


def checks() -> Iterator[Check]:
    """Yield the checks of the account, in the order of the first deployment."""
    yield Check("provider locks", _provider_locks)
    yield Check("region", _region)
    yield Check("identity", _identity, "region")
    yield Check("account file", _account_file, "identity")
    yield Check("bootstrap", _bootstrap, "identity")
    yield Check("quotas", _quotas, "identity")
    yield Check("account layer", _account_layer, "bootstrap")
    yield Check("delegation", _delegation, "account layer")
    yield Check("deployed code", _code, "account layer")


def _provider_locks() -> Finding:
    lacking = provider_locks.lacking(ROOT)
    if not lacking:
        return right(f"every provider, for {', '.join(provider_locks.PLATFORMS)}")
    if aws.is_emulated():
        return unknown(f"the stand-ins need aws alone; a deployment on AWS needs '{provider_locks.COMMAND}' before")
    return wrong(
        f"the lock files are incomplete: {lacking[0]}" + (f", and {len(lacking) - 1} more" if lacking[1:] else ""),
        f"'{provider_locks.COMMAND}' where the Terraform registry answers, then commit envs/*/.terraform.lock.hcl",
    )


def _region() -> Finding:
    try:
        return right(aws.region())
    except UserError:
        return wrong("no region is set", f"export AWS_REGION=eu-west-1, or the region that you chose; {_LAPTOP}")


def _identity() -> Finding:
    from botocore.exceptions import NoCredentialsError

    try:
        found = aws.client("sts").get_caller_identity()
    except NoCredentialsError:
        return wrong("no credentials are set", f"set AWS_PROFILE, or an access key in the AWS_ variables; {_LAPTOP}")
    except ClientError as error:
        return wrong(f"AWS takes these credentials for nobody's: {aws.error_code(error)}", "log in again")
    arn, account = found["Arn"], found["Account"]
    if aws.is_emulated():
        return right(f"{arn}, account {account}, emulated at {aws.client('sts').meta.endpoint_url}")
    if arn.endswith(":root"):
        return wrong(
            f"{arn} is the root of account {account}", "a role or user with administrator rights: root has no limits"
        )
    return right(f"{arn}, account {account}")


def _account_file() -> Finding:
    if platform_directory():
        return unknown("the laptop platform writes its own")
    file = ROOT / "envs/account/accounts" / f"{aws.account_id()}.tfvars"
    shown = file.relative_to(ROOT)
    if file.exists():
        return right(str(shown))
    return wrong(
        f"{shown} is missing", "write it: docs/aws.md#4-describe-each-account; is this the account that you mean?"
    )


def _bootstrap() -> Finding:
    cloudformation = aws.client("cloudformation")
    for name in _STACKS:
        try:
            status = cloudformation.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"]
        except ClientError as error:
            if "does not exist" not in str(error):
                raise
            return wrong(f"there is no stack {name}", "python -m ops bootstrap")
        if status not in _SETTLED:
            cure = "wait until it has settled, or delete it in CloudFormation's console; then python -m ops bootstrap"
            return wrong(f"stack {name} is in {status}", cure)
    return right(f"stacks {' and '.join(_STACKS)}, state in {aws.parameter('/pmp/bootstrap/state_bucket_name')}")


def _environments() -> Sequence[str]:
    """The environments of this account as its account layer made them; before it, all of the pipeline's."""
    names = [*PROMOTED_ENVIRONMENTS, LAPTOP_ENVIRONMENT] if aws.is_emulated() else PROMOTED_ENVIRONMENTS
    made = [name for name in names if aws.parameter_or_none(f"/pmp/account/{name}/permissions_boundary_arn")]
    return made or PROMOTED_ENVIRONMENTS


def _quotas() -> Finding:
    environments = _environments()
    missing = list(quotas.missing(environments, aws.client("lambda"), aws.client("ec2")))
    if missing:
        text, _, cure = missing[0].partition("; ")
        return wrong(text, cure)
    return right(f"room for {', '.join(environments)}: Lambda concurrency and Elastic IP addresses")


def _account_layer() -> Finding:
    zone = aws.parameter_or_none("/pmp/account/hosted_zone_name")
    if zone is None:
        return wrong(
            "the account layer was never applied",
            "python -m ops plan account && python -m ops apply account",
        )
    return right(f"zone {zone}, identities of {', '.join(_environments())}")


def _delegation() -> Finding:
    zone = aws.parameter("/pmp/account/hosted_zone_name")
    if aws.is_emulated():
        return unknown(f"{zone} is emulated: nobody has to delegate it")
    answer = aws.client("route53").get_hosted_zone(Id=aws.parameter("/pmp/account/hosted_zone_id"))
    wanted = {name.rstrip(".").lower() for name in answer["DelegationSet"]["NameServers"]}
    found = dns.name_servers(zone)
    if found == wanted:
        return right(f"{zone} is delegated to its {len(wanted)} name servers")
    known = f"is delegated to {', '.join(sorted(found))}" if found else "is not delegated"
    return wrong(
        f"{zone} {known}",
        f"at the parent of {zone}, let its NS record name {', '.join(sorted(wanted))}; resolvers may remember the old "
        "one for hours",
    )


def _code() -> Finding:
    bucket = aws.parameter("/pmp/account/deployment_bucket_name")
    try:
        aws.client("s3").list_objects_v2(Bucket=bucket, Prefix="lambda/", MaxKeys=1)
    except ClientError as error:
        if aws.error_code(error) == "AccessDenied" and aws.account_id() not in bucket:
            return unknown(f"{bucket} is another account's: only GitLab's identities may read code there")
        if aws.error_code(error) == "NoSuchBucket":
            cure = "deployment_bucket in this account's file, and the account that holds the bucket"
            return wrong(f"there is no bucket {bucket}", cure)
        raise
    return right(f"bucket {bucket}")


def wakes_somebody(environment: str) -> bool:
    """Whether the environment's variable file names an address for critical alarms."""
    alarms = variables(environment)["foundation"]["alarms"]
    return any(
        alarms.get(kind, {}).get("critical") for kind in ("email_addresses_by_severity", "https_endpoints_by_severity")
    )
