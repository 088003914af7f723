"""The small servers next to MiniStack: the module registry and the test double of the third-party API."""

import contextlib
import sys
from pathlib import Path

import psutil
import urllib3

from local import account, processes
from local.instance import Instance, clean_environment
from local.registry.server import source
from local.servers.certificates import Authority
from ops.errors import UserError
from ops.settings import ROOT

REGISTRY = "registry"
VENDOR_LIST = "vendor-list"

_REGISTRY_MODULE = "local.registry"
_VENDOR_LIST_MODULE = "local.vendor_list"
_START_SECONDS = 30


def records(instance: Instance) -> Path:
    """Return the folder with the records of the instance's processes."""
    return instance.directory / "processes"


def start_registry(instance: Instance) -> str:
    """Start the Terraform module registry unless it runs; return which modules it serves, in words.

    Raises:
        UserError: PMP_MODULE_MIRROR is not a directory, the port is taken, or the registry does not start.
    """
    address = f"http://127.0.0.1:{instance.registry_port}/health"
    try:
        wanted = source().description
    except NotADirectoryError as error:
        raise UserError(str(error)) from error
    if processes.is_running(records(instance), REGISTRY) and _text(address) != wanted:
        # PMP_MODULE_MIRROR has changed since the registry was started.
        processes.stop(records(instance), REGISTRY)
    if not processes.is_running(records(instance), REGISTRY):
        processes.start(
            records(instance),
            REGISTRY,
            [
                *(sys.executable, "-m", _REGISTRY_MODULE, "--port", str(instance.registry_port)),
                *("--write-cli-config", str(instance.terraform_configuration)),
            ],
            port=instance.registry_port,
            log=instance.logs / "registry.log",
            environment=clean_environment(),
            directory_to_run_in=ROOT,
        )
    processes.wait_until(lambda: bool(_text(address)), records(instance), REGISTRY, _START_SECONDS)
    return f"modules from {_text(address)}"


def _text(address: str) -> str:
    """Return the response of ``address`` as text; empty if there is none."""
    try:
        answer = urllib3.request("GET", address, retries=False, timeout=5)
    except urllib3.exceptions.HTTPError:
        return ""
    return answer.data.decode() if answer.status == 200 else ""


def start_vendor_list(instance: Instance) -> str:
    """Start the third-party API's test double unless it runs; return what was done, in words."""
    if processes.is_running(records(instance), VENDOR_LIST):
        return "running"
    certificate = Authority(instance.ca_file.parent).issue("vendor-list", ["localhost"], ["127.0.0.1"])
    processes.start(
        records(instance),
        VENDOR_LIST,
        [
            *(sys.executable, "-m", _VENDOR_LIST_MODULE, "--port", str(instance.vendor_list_port)),
            *("--certificate", str(certificate.cert_path), "--key", str(certificate.key_path)),
        ],
        port=instance.vendor_list_port,
        log=instance.logs / "vendor-list.log",
        environment=clean_environment(),
        directory_to_run_in=ROOT,
    )
    processes.wait_until(
        lambda: processes.port_is_open(instance.vendor_list_port), records(instance), VENDOR_LIST, _START_SECONDS
    )
    return f"started on port {instance.vendor_list_port}"


def stop_all(instance: Instance) -> list[str]:
    """Stop every recorded process of this instance; return the names of those that were running.

    Also stops the instance's own processes on its ports that are not recorded, for example because somebody removed
    its folder.
    """
    names = sorted(path.stem for path in records(instance).glob("*.json"))
    stopped = [name for name in names if processes.stop(records(instance), name)]
    for name, (port, module) in _servers(instance).items():
        with contextlib.suppress(psutil.Error):  # it has ended, or belongs to another account
            process = processes.listener(port)
            if process and module in process.cmdline() and process.cwd() == str(ROOT):
                processes.end_session(processes.of_pid(name, process.pid, port, ""))
                stopped.append(name)
    return stopped


def require_free_ports(instance: Instance) -> None:
    """Check that no other program listens on the ports, without creating anything.

    Raises:
        UserError: a port is taken.
    """
    for name, (port, _) in _servers(instance).items():
        if not processes.is_running(records(instance), name):
            # Children of a killed server may still listen.
            processes.stop(records(instance), name)
            processes.require_free_port(port, name)
    if not processes.is_running(records(instance), account.NAME):
        for port, environment in instance.doors.items():
            processes.require_free_port(port, f"the door to the API of {environment}")


def _servers(instance: Instance) -> dict[str, tuple[int, str]]:
    """Return port and module of each server, including MiniStack, by name."""
    return {
        account.NAME: (instance.aws_port, account.MODULE),
        REGISTRY: (instance.registry_port, _REGISTRY_MODULE),
        VENDOR_LIST: (instance.vendor_list_port, _VENDOR_LIST_MODULE),
    }
