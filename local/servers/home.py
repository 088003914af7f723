"""The directory and the Unix account of servers that refuse to run as root.

PostgreSQL and PgBouncer refuse root. If root starts them (in a container or a CI job), they run as Debian's account
``postgres``, which cannot reach a clone in a closed directory such as root's home. Their files are then in a separate
directory under ``/var/tmp``, whose path is recorded in the state folder and which is removed with it.
"""

import hashlib
import os
import pwd
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ops import files

_SERVICE_USER = "postgres"
# A Unix socket's whole path must fit in 107 bytes (unix(7)); the longest socket name is ".s.PGSQL.65535.lock".
_LONGEST_DIRECTORY = 107 - 20


@dataclass(frozen=True)
class Home:
    """A directory that a server may use, and the ids it runs under.

    Attributes:
        directory: mode 700, owned by ``uid``.
        uid: user id of the server; our own unless we are root.
        gid: group id of the server.
    """

    directory: Path
    uid: int
    gid: int

    @classmethod
    def of(cls, state: Path) -> "Home":
        """Return the home of the server whose state folder is ``state``; create it if missing.

        Raises:
            PermissionError: the directory under /var/tmp exists and belongs to another account.
            LookupError: we are root and Debian's account ``postgres`` does not exist.
        """
        state = state.resolve()
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        is_root = os.geteuid() == 0
        try:
            account = pwd.getpwnam(_SERVICE_USER) if is_root else pwd.getpwuid(os.geteuid())
        except KeyError as error:
            raise LookupError(
                f"user {_SERVICE_USER} does not exist, and PostgreSQL refuses to run as root: install postgresql"
            ) from error
        if not is_root and len(os.fsencode(state)) <= _LONGEST_DIRECTORY:
            return cls(state, account.pw_uid, account.pw_gid)
        directory = Path("/var/tmp") / f"pmp-{hashlib.sha256(os.fsencode(state)).hexdigest()[:12]}"  # noqa: S108
        try:
            directory.mkdir(mode=0o700)
            os.chown(directory, account.pw_uid, account.pw_gid)
        except FileExistsError:
            if directory.is_symlink() or directory.stat().st_uid != account.pw_uid:
                raise PermissionError(
                    f"{directory} is not owned by {account.pw_name}: remove it, then start again"
                ) from None
        (state / "home").unlink(missing_ok=True)
        (state / "home").symlink_to(directory)
        return cls(directory, account.pw_uid, account.pw_gid)

    def write(self, name: str, content: bytes | str) -> Path:
        """Replace the file ``name`` atomically; only the server can read it (mode 600)."""
        path = self.directory / name
        files.replace(path, content, mode=0o600, owner=(self.uid, self.gid))
        return path

    def run(self, command: Sequence[str | Path], *, stdin: str | None = None) -> str:
        """Run a short command as the server's account, and return its standard output.

        Raises:
            RuntimeError: the command failed; the message quotes its error, else the last line of its standard error.
        """
        done = subprocess.run(
            [str(word) for word in command],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            env=_environment(),
            user=self._user,
            group=self._group,
            extra_groups=self._groups,
        )
        if done.returncode != 0:
            lines = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()
            # After an error, psql tells where it was.
            reason = next((line for line in lines if " ERROR: " in line or line.startswith("ERROR: ")), lines[-1])
            raise RuntimeError(f"{Path(command[0]).name} failed ({done.returncode}): {reason}")
        return done.stdout

    def spawn(self, command: Sequence[str | Path], log_path: Path) -> subprocess.Popen[bytes]:
        """Start a server that outlives us, in its own session, and append its output to ``log_path``."""
        log_path.parent.mkdir(parents=True, exist_ok=True)
        # We open the log and the server inherits it, because its account may not reach the log's directory.
        with log_path.open("ab") as log:
            return subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd="/",
                env=_environment(),
                start_new_session=True,
                user=self._user,
                group=self._group,
                extra_groups=self._groups,
            )

    def remove(self, state: Path) -> None:
        """Remove the home and its record in the state folder."""
        (state / "home").unlink(missing_ok=True)
        shutil.rmtree(self.directory, ignore_errors=True)

    # Only root may change to another account; any other account runs the server as itself.
    @property
    def _user(self) -> int | None:
        return self.uid if os.geteuid() == 0 else None

    @property
    def _group(self) -> int | None:
        return self.gid if os.geteuid() == 0 else None

    @property
    def _groups(self) -> list[int] | None:
        return [] if os.geteuid() == 0 else None


def _environment() -> dict[str, str]:
    # Inherit nothing: PGHOST, PGPASSWORD or a home directory that the account may not read would affect the server.
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C.UTF-8", "TZ": "UTC"}
