"""The deployed Lambda of an environment: which zip it runs, and how it gets another one without Terraform."""

import base64
from typing import Any

from ops import artifacts
from ops.alias import NAME, Alias


def name(environment: str) -> str:
    """Return the name of an environment's Lambda."""
    return f"pmp-{environment}"


def running_digest(client: Any, environment: str) -> str:
    """Return the SHA-256, in hexadecimal, of the zip that serves."""
    found = client.get_function_configuration(FunctionName=name(environment), Qualifier=NAME)
    return base64.b64decode(found["CodeSha256"]).hex()


def give_code(client: Any, environment: str, bucket: str, digest: str, commit: str) -> None:
    """Give a published zip to the function, tell the function what it runs, and let this version serve.

    Args:
        client: boto3's client of Lambda.
        environment: name, such as ``local``.
        bucket: the deployment bucket.
        digest: the zip's SHA-256 in hexadecimal.
        commit: the commit that ``/v1/health`` shows.
    """
    function = name(environment)
    updated = client.get_waiter("function_updated_v2")
    client.update_function_code(FunctionName=function, S3Bucket=bucket, S3Key=artifacts.object_key(digest))
    # Lambda refuses a change while the one before is in progress.
    updated.wait(FunctionName=function, WaiterConfig={"Delay": 1})
    variables = client.get_function_configuration(FunctionName=function)["Environment"]["Variables"]
    variables |= {"PMP_CODE_SHA256": digest, "PMP_RELEASE": commit}
    client.update_function_configuration(FunctionName=function, Environment={"Variables": variables})
    updated.wait(FunctionName=function, WaiterConfig={"Delay": 1})
    client.publish_version(FunctionName=function)
    Alias(client, function).give_all()
