"""The emulated AWS account as the platform manages it: credentials, MiniStack's process and its snapshots."""

import functools
import json
import os
import secrets
import shlex
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import urllib3

from local import processes
from local.instance import HOSTED_ZONE_NAME, REGION, Instance
from local.servers.certificates import Authority
from ops import files, keys
from ops.aws import AccessKey
from ops.errors import UserError
from ops.settings import ENVIRONMENTS, LAPTOP_ENVIRONMENT, ROOT

if TYPE_CHECKING:
    import boto3

NAME = "aws"
MODULE = "local.ministack"
IDENTITIES = ("admin", "gitlab", "plan")
"""Who may ask for credentials: the account's root, and of each environment the users that deploy and plan it."""
ACCOUNT = "account"
"""In place of an environment: the identity ``plan`` then plans the account layer."""

_START_SECONDS = 60
_KEYS_PER_USER = 2


@dataclass(frozen=True)
class Credentials:
    """An access key; ``session_token`` is empty for a long-lived one."""

    access_key_id: str
    secret_access_key: str
    session_token: str = ""

    def environment(self) -> dict[str, str]:
        """Return the credentials as the variables that every AWS tool reads."""
        variables = {"AWS_ACCESS_KEY_ID": self.access_key_id, "AWS_SECRET_ACCESS_KEY": self.secret_access_key}
        return variables | ({"AWS_SESSION_TOKEN": self.session_token} if self.session_token else {})


def _save(path: Path, credentials: Credentials) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    files.replace(path, json.dumps(asdict(credentials)), mode=0o600)


def _load(path: Path) -> Credentials | None:
    return Credentials(**json.loads(path.read_text())) if path.exists() else None


class Account:
    """MiniStack of one instance, with AWS's rules switched on: signatures, policies, boundaries."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.state = instance.directory / "aws"
        self._checkpoint = instance.directory / "checkpoint"
        self._processes = instance.directory / "processes"

    # -- credentials ---------------------------------------------------------------------------------------------

    def user_name(self, identity: str, environment: str) -> str:
        """Return the IAM user of ``gitlab`` or ``plan`` in an environment; all environments share this account."""
        return f"gitlab-{environment}" if identity == "gitlab" else f"gitlab-plan-{environment}"

    def user_names(self) -> list[str]:
        """Return the IAM users of GitLab."""
        users = [self.user_name(identity, name) for name in ENVIRONMENTS for identity in ("gitlab", "plan")]
        return [*users, self.user_name("plan", ACCOUNT)]

    def admin(self) -> Credentials:
        """Return the account's root key; it is created at first use."""
        path = self._key_file("admin")
        if (found := _load(path)) is None:
            found = Credentials(f"AKIA{secrets.token_hex(8).upper()}", secrets.token_urlsafe(30))
            _save(path, found)
        return found

    def credentials(self, identity: str, environment: str = LAPTOP_ENVIRONMENT) -> Credentials:
        """Return the credentials of ``admin``, or of the IAM user that deploys or plans ``environment``.

        Raises:
            UserError: no such identity, or the instance has never run, or the account has not been deployed yet.
        """
        if identity not in IDENTITIES:
            raise UserError(f"IDENTITY={identity!r} is not known: use {', '.join(IDENTITIES)}")
        if identity == "admin":
            # The key would be created: a command that asks a platform which never ran must leave nothing behind.
            if not self.instance.directory.is_dir():
                raise UserError(self._not_running)
            return self.admin()
        user = self.user_name(identity, environment)
        if (found := _load(self._key_file(user))) is None:
            raise UserError(f"there is no key for {user} yet: run 'make up' first")
        return found

    def ensure_keys(self) -> str:
        """Create an access key for each of GitLab's IAM users unless the one on file works; return what was done."""
        created = [user for user in self.user_names() if self._ensure_key(user)]
        return f"new keys for {', '.join(created)}" if created else "keys on file"

    def rotate_key(self, identity: str, environment: str = LAPTOP_ENVIRONMENT) -> None:
        """Replace the access key of the IAM user that deploys or plans ``environment``; keep the new one on file.

        Raises:
            UserError: no such identity, or the key cannot be rotated.
        """
        if identity not in IDENTITIES[1:]:
            raise UserError(f"IDENTITY={identity!r} has no access key to rotate: use {', '.join(IDENTITIES[1:])}")
        self.credentials(identity, environment)  # refuses before anything changes if there is no key on file
        user = self.user_name(identity, environment)

        def keep(key: AccessKey) -> None:
            _save(self._key_file(user), Credentials(key.identifier, key.secret))

        def sts_of(key: AccessKey) -> Any:
            return self._session(Credentials(key.identifier, key.secret)).client("sts")

        keys.rotate(user, self.session("admin").client("iam"), sts_of, keep)

    def _key_file(self, user: str) -> Path:
        return self.instance.credentials / f"{user}.json"

    def _ensure_key(self, user: str) -> bool:
        iam = self.session("admin").client("iam")
        keys = iam.list_access_keys(UserName=user)["AccessKeyMetadata"]
        found = _load(self._key_file(user))
        if found and any(key["AccessKeyId"] == found.access_key_id and key["Status"] == "Active" for key in keys):
            return False
        # An interrupted run may have created keys whose secret was not stored.
        for key in sorted(keys, key=lambda key: str(key["CreateDate"]))[: max(0, len(keys) - _KEYS_PER_USER + 1)]:
            iam.delete_access_key(UserName=user, AccessKeyId=key["AccessKeyId"])
        created = iam.create_access_key(UserName=user)["AccessKey"]
        _save(self._key_file(user), Credentials(created["AccessKeyId"], created["SecretAccessKey"]))
        return True

    def session(self, identity: str, environment: str = LAPTOP_ENVIRONMENT) -> "boto3.Session":
        """Return a boto3 session of one identity; its clients talk to this instance and verify its certificate."""
        return self._session(self.credentials(identity, environment))

    def _session(self, credentials: Credentials) -> "boto3.Session":
        import boto3

        session = boto3.Session(
            aws_access_key_id=credentials.access_key_id,
            aws_secret_access_key=credentials.secret_access_key,
            aws_session_token=credentials.session_token or None,
            region_name=REGION,
        )
        # A session has neither an endpoint nor a CA bundle, and this process's variables may be for another account.
        session.client = functools.partial(  # type: ignore[method-assign]
            session.client, endpoint_url=self.instance.aws_url, verify=str(self.instance.ca_file)
        )
        return session

    def parameter(self, name: str) -> str:
        """Return an SSM parameter's value, read as the administrator.

        Raises:
            UserError: it does not exist, or MiniStack is not running.
        """
        self.require_running()
        ssm = self.session("admin").client("ssm")
        try:
            return str(ssm.get_parameter(Name=name)["Parameter"]["Value"])
        except ssm.exceptions.ParameterNotFound:
            raise UserError(f"SSM has no parameter {name}: its layer is not deployed, run 'make up'") from None

    def secret(self, name: str) -> dict[str, Any]:
        """Return a Secrets Manager secret's JSON object, read as the administrator.

        Raises:
            UserError: it does not exist, or MiniStack is not running.
        """
        self.require_running()
        client = self.session("admin").client("secretsmanager")
        try:
            value: dict[str, Any] = json.loads(client.get_secret_value(SecretId=name)["SecretString"])
        except client.exceptions.ResourceNotFoundException:
            raise UserError(f"there is no secret {name}: its layer is not deployed, run 'make up'") from None
        return value

    def export_lines(self, identity: str, environment: str) -> str:
        """Return shell lines that point AWS tools, Terraform and ``python -m ops`` at this instance as ``identity``."""
        variables = self.credentials(identity, environment).environment() | self.instance.tool_environment(environment)
        return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables.items())

    # -- process -------------------------------------------------------------------------------------------------

    def is_healthy(self) -> bool:
        """Whether this instance's MiniStack is running and answers."""
        if not processes.is_running(self._processes, NAME):
            return False
        try:
            return bool(self._ask("GET", "/_ministack/ready", seconds=5).status == 200)
        except urllib3.exceptions.HTTPError:
            return False

    def _ask(self, method: str, path: str, seconds: float) -> urllib3.BaseHTTPResponse:
        with urllib3.PoolManager(ca_certs=str(self.instance.ca_file), retries=False, timeout=seconds) as pool:
            return pool.request(method, f"{self.instance.aws_url}{path}")

    def require_running(self) -> None:
        """Check that MiniStack is running.

        Raises:
            UserError: MiniStack is not running.
        """
        if not processes.is_running(self._processes, NAME):
            raise UserError(self._not_running)

    @property
    def _not_running(self) -> str:
        return f"instance {self.instance.name!r} is not running: start it with 'make up'"

    def start(self) -> bool:
        """Start MiniStack from its saved state unless it answers; return whether it was started."""
        if self.is_healthy() and not self._is_outdated():
            return False
        processes.stop(self._processes, NAME)
        certificate = Authority(self.instance.ca_file.parent).issue(
            "aws",
            ["localhost", "*.localhost", f"*.{HOSTED_ZONE_NAME}", *_api_names()],
            ["127.0.0.1", "::1"],
        )
        scratch = self.instance.directory / "tmp"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        admin = self.admin().environment()
        environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
            **admin,
            "TMPDIR": str(scratch),
            "GATEWAY_PORT": str(self.instance.aws_port),
            "BIND_HOST": "127.0.0.1",
            "MINISTACK_REGION": REGION,
            "MINISTACK_AUTOCREATE_AWS_MANAGED": "1",
            "AUTH": "true",
            "LAMBDA_EXECUTOR": "local",
            # Retry a failed asynchronous invocation when Lambda does: after one minute, then after two more. Jobs rely
            # on this: by then the lease of a dead worker has expired.
            "LAMBDA_ASYNC_RETRY_BASE_SECONDS": "60",
            "LAMBDA_ASYNC_RETRY_MAX_SECONDS": "120",
            "USE_SSL": "1",
            "MINISTACK_SSL_CERT": str(certificate.cert_path),
            "MINISTACK_SSL_KEY": str(certificate.key_path),
            # MiniStack needs it to request its own Cognito keys; a Lambda inherits it, too.
            "SSL_CERT_FILE": str(self.instance.ca_file),
            "PERSIST_STATE": "1",
            "STATE_DIR": str(self.state / "services"),
            "S3_PERSIST": "1",
            "S3_DATA_DIR": str(self.state / "s3"),
            # Turn off listeners that PMP does not use, and keep MiniStack away from this machine's containers.
            "SFTP_ENABLED": "0",
            "IOT_MTLS_ENABLED": "0",
            "DOCKER_HOST": f"unix://{scratch}/no-docker.sock",
            "PMP_IAM_RECORD": str(self.instance.iam_record),
            "PMP_REQUEST_RECORD": str(self.instance.request_record),
            **self.instance.identity(),
        }
        processes.start(
            self._processes,
            NAME,
            [sys.executable, "-m", MODULE],
            port=self.instance.aws_port,
            log=self.instance.logs / "aws.log",
            environment=environment,
            directory_to_run_in=ROOT,
        )
        processes.wait_until(self.is_healthy, self._processes, NAME, _START_SECONDS)
        return True

    def _is_outdated(self) -> bool:
        """Whether the launcher's code changed after the launcher was started."""
        record = processes.read(self._processes, NAME)
        return record is None or any(
            source.stat().st_mtime > record.started for source in (ROOT / "local/ministack").glob("*.py")
        )

    def stop(self) -> bool:
        """Stop MiniStack, which saves its state, and the Lambdas in it; return whether it was running."""
        return processes.stop(self._processes, NAME)

    # -- snapshots -----------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Have MiniStack write its state to disk now."""
        try:
            status = self._ask("POST", "/_pmp/snapshot", seconds=60).status
        except urllib3.exceptions.HTTPError as error:
            raise UserError(f"MiniStack does not answer ({error}): see {self.instance.logs}/aws.log") from error
        if status != 204:
            raise UserError(f"MiniStack did not save its state ({status}): see {self.instance.logs}/aws.log")

    def checkpoint(self) -> None:
        """Keep a copy of the whole account as it is now; `roll_back` returns to it."""
        self.save()
        self._copy(self.state, self._checkpoint)

    def roll_back(self) -> None:
        """Return the account to the last checkpoint; an account without one becomes empty."""
        self.stop()
        shutil.rmtree(self.state, ignore_errors=True)
        if self._checkpoint.exists():
            self._copy(self._checkpoint, self.state)
        self.start()

    @staticmethod
    def _copy(source: Path, target: Path) -> None:
        partial = target.with_name(target.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        # Unlike shutil, cp shares blocks if the file system can.
        subprocess.run(["cp", "-a", "--reflink=auto", str(source), str(partial)], check=True)
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)


def _api_names() -> list[str]:
    """Return the API's custom domain names, which are one label deeper than a wildcard of the zone covers."""
    return [f"*.{environment}.{HOSTED_ZONE_NAME}" for environment in ENVIRONMENTS]
