"""Every command of the guide exists, with its options, and what the doctor refers to is in the guide."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from botocore import xform_name
from botocore.session import Session

from checks.lint.rules import anchors
from ops.__main__ import application
from ops.settings import ROOT

GUIDE = ROOT / "docs/aws.md"
DOCUMENTS = (
    GUIDE,
    ROOT / "docs/operations.md",
    ROOT / "docs/runbook.md",
    ROOT / "modules/runner/README.md",
    ROOT / "README.md",
)
OPS = re.compile(r"(?:\.venv/bin/)?python -m ops ([a-z][^`\n#|]*)")
AWS = re.compile(r"(?<![\w/-])aws ((?:[a-z0-9-]+) (?:[a-z]+-[a-z-]+)[^`\n#|;']*)")
MAKE = re.compile(r"(?:^\$ |`)make ((?:-s )?[a-z][^`\n#|&;)]*)", re.MULTILINE)


def commands(pattern: re.Pattern[str]) -> Iterator[tuple[str, str]]:
    """Yield each command of the documents, with the document's name."""
    for document in DOCUMENTS:
        for line in pattern.findall(document.read_text().replace("\\\n", " ")):
            for part in re.split(r"&&|;", line):
                text = part.strip().removeprefix(".venv/bin/").removeprefix("python -m ops ")
                yield document.name, text.rstrip(")'")


def subcommands() -> dict[str, Any]:
    """Return the commands of ``python -m ops`` by name, as Typer's own copy of Click builds them."""
    found: dict[str, Any] = typer.main.get_command(application).commands  # type: ignore[attr-defined]
    return found


OPS_COMMANDS = sorted(set(commands(OPS)))
MAKE_COMMANDS = sorted(set(commands(MAKE)))
AWS_COMMANDS = sorted(set(commands(AWS)))
# Options of every command: https://docs.aws.amazon.com/cli/latest/userguide/cli-configure-options.html
_OF_ALL = {"--query", "--output", "--region", "--profile"}


def unknown_words(text: str) -> list[str]:
    """Return what the AWS API has not of a command line of AWS's CLI: its service, operation or options."""
    service, name, *words = shlex.split(re.sub(r"<[^>]*>|…", "value", text))
    if service not in Session().get_available_services():
        return [service]
    model = Session().get_service_model(service)
    operations = {xform_name(one, "-"): one for one in model.operation_names}
    if name not in operations:
        return [name]
    shape = model.operation_model(operations[name]).input_shape
    members = shape.members if shape else {}
    options = {f"--{xform_name(one, '-')}" for one in members}
    options |= {f"--no-{xform_name(one, '-')}" for one, member in members.items() if member.type_name == "boolean"}
    return [word for word in words if word.startswith("--") and word.partition("=")[0] not in options | _OF_ALL]


def test_the_documents_have_commands() -> None:
    assert len([one for one in OPS_COMMANDS if one[0] == "aws.md"]) > 12
    assert len(MAKE_COMMANDS) > 12
    assert len([one for one in AWS_COMMANDS if one[0] == "runbook.md"]) > 8


@pytest.mark.parametrize(("document", "text"), OPS_COMMANDS)
def test_ops_command_exists_with_its_options(document: str, text: str) -> None:
    # A placeholder such as <digest> or … stands for a value.
    name, *words = shlex.split(re.sub(r"<[^>]*>|…", "value", text))
    command = subcommands().get(name)
    assert command, f"{document}: there is no command '{name}'"
    command.make_context(name, list(words))


@pytest.mark.parametrize(("document", "text"), AWS_COMMANDS)
def test_command_of_aws_exists_with_its_options(document: str, text: str) -> None:
    assert not unknown_words(text), f"{document}: aws {text}"


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("rsd describe-db-instances", "rsd"),
        ("rds describe-instances", "describe-instances"),
        ("rds describe-db-instances --identifier pmp-prod", "--identifier"),
    ],
)
def test_a_wrong_command_of_aws_is_found(text: str, unknown: str) -> None:
    assert unknown_words(text) == [unknown]


@pytest.mark.parametrize(("document", "text"), MAKE_COMMANDS)
def test_make_target_and_its_variables_exist(document: str, text: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    words = [word for word in shlex.split(text) if not word.startswith("-")]
    targets = [word for word in words if "=" not in word]
    known = set(re.findall(r"^([a-z][a-z0-9-]*):", makefile, re.MULTILINE))
    assert set(targets) <= known, f"{document}: make {text}"
    for word in words:
        if "=" in word:
            variable = word.partition("=")[0]
            is_used = f"$({variable})" in makefile or f"$${variable}" in makefile or variable.startswith("PMP_")
            assert is_used, f"{document}: make {text}"


def test_a_wrong_command_is_found() -> None:
    with pytest.raises(Exception, match="No such option: --reader-accounts"):
        subcommands()["bootstrap"].make_context("bootstrap", ["--reader-accounts", "1"])


def test_steps_are_numbered_without_gaps() -> None:
    numbers = re.findall(r"^### (\d+)\. ", GUIDE.read_text(), re.MULTILINE)
    assert [int(number) for number in numbers] == list(range(1, 16))


def test_each_step_says_how_long_it_takes() -> None:
    steps = re.split(r"^### \d+\. .*$", GUIDE.read_text().partition("## Day two")[0], flags=re.MULTILINE)[1:]
    for step in steps:
        assert re.match(r"\s*\d+ (minutes?|hours?)\b", step), step[:80]


def test_what_the_doctor_refers_to_exists() -> None:
    referred = re.findall(
        r"(docs/[a-z]+\.md)#([a-z0-9-]+)",
        "".join(file.read_text() for file in sorted((ROOT / "ops/doctor").glob("*.py"))),
    )
    assert len(referred) > 4
    for document, anchor in referred:
        assert anchor in anchors((ROOT / document).read_text()), f"{document}#{anchor}"


def test_the_pipelines_jobs_of_the_guide_exist() -> None:
    jobs = set(re.findall(r"`(?:dev|staging|prod):([a-z:]+)`", GUIDE.read_text()))
    template = (ROOT / "ops/pipeline/environment.yml").read_text()
    assert {job for job in jobs if f']]:{job}":' not in template} == set()


def test_terraform_of_the_guide_is_formatted_and_known() -> None:
    blocks = re.findall(r"```hcl\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    variables = set(re.findall(r'^variable "(\w+)"', (ROOT / "envs/account/variables.tf").read_text(), re.MULTILINE))
    assert len(blocks) == 3
    for block in blocks:
        done = subprocess.run(
            ["terraform", "fmt", "-check", "-"], input=block, text=True, check=False, capture_output=True
        )
        assert done.returncode == 0, block
        assert set(re.findall(r"^(\w+) +=", block, re.MULTILINE)) <= variables | {"alarms"}
