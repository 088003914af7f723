"""Run lint steps, two at a time: ``python -m checks.lint [STEP …]``. Only failed steps show their output.

The first line of a step's docstring says what it checks; ``python -m checks.lint list`` prints it.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from checks.lint import commits, english, resource_rules, rules, tools
from checks.lint.module_documents import documents
from checks.lint.tools import BIN, GO_TOOLS, run
from checks.tree import copied_tree, registry, source_files, terraform_folders
from local.registry.server import STAND_INS, source
from ops import provider_locks, site
from ops.errors import UserError
from ops.settings import ROOT

WORKERS = 2


@dataclass(frozen=True)
class Workspace:
    """The input that all steps share."""

    files: list[Path]
    """Every source file, relative to the root."""
    tree: Path
    """A copy of them in which Terraform may write."""

    def matching(self, *patterns: str) -> list[Path]:
        """Return the source files that match one of the glob patterns; a pattern is compared from the right."""
        return [file for file in self.files if any(file.match(pattern) for pattern in patterns)]


def ruff(_: Workspace) -> str:
    """Python style, defects and format."""
    return run([BIN / "ruff", "check", "--quiet", "--output-format", "concise", "."]) + run(
        [BIN / "ruff", "format", "--check", "--quiet", "."]
    )


def mypy(_: Workspace) -> str:
    """Python types, strict; without the cache, which does not notice added or removed packages."""
    return run([BIN / "mypy", "--no-error-summary", "--no-incremental", "."])


def imports(_: Workspace) -> str:
    """Which package may import which: the contracts in pyproject.toml."""
    return run([BIN / "lint-imports", "--no-cache"], environment={"PYTHONPATH": f"{ROOT}:{ROOT / 'lambda'}"})


def terraform_format(workspace: Workspace) -> str:
    """HCL format."""
    return run(["terraform", "fmt", "-check", "-recursive", "-diff", "."], directory=workspace.tree)


def terraform_validate(workspace: Workspace) -> str:
    """Every Terraform root and the modules it calls, with the providers and registry modules that they name."""
    folders = terraform_folders(workspace.tree)
    called = {source for folder in folders for source in rules.local_module_sources(folder)}
    # A folder that another one calls is validated with its caller, stand-ins included; test-terraform plans examples.
    passed_over = {"examples", "registry"}
    findings = ""
    with registry() as environment:
        for folder in folders:
            if folder in called or passed_over & set(folder.relative_to(workspace.tree).parts):
                continue
            terraform = ["terraform", f"-chdir={folder}"]
            # A root's committed lock file must fit without changes; a module has none.
            is_root = (folder / ".terraform.lock.hcl").exists()
            lock = provider_locks.options(folder, stand_ins=source().directory == STAND_INS) if is_root else []
            findings += run([*terraform, "init", "-backend=false", *lock, "-no-color"], environment=environment) or run(
                [*terraform, "validate", "-no-color"], environment=environment
            )
    return findings


# An example is one short file, and only the module that it calls uses its provider.
_EXAMPLE_TFLINT = """
rule "terraform_standard_module_structure" {
  enabled = false
}

rule "terraform_unused_required_providers" {
  enabled = false
}
"""


def tflint(workspace: Workspace) -> str:
    """All rules of tflint for Terraform and for AWS."""
    configuration = (ROOT / ".tflint.hcl").read_text()
    for folder in terraform_folders(workspace.tree):
        is_example = "examples" in folder.relative_to(workspace.tree).parts
        (folder / ".tflint.hcl").write_text(configuration + (_EXAMPLE_TFLINT if is_example else ""))
    command = [GO_TOOLS / "tflint", "--recursive", "--format", "compact", "--no-color"]
    return run(command, directory=workspace.tree, environment={"TFLINT_PLUGIN_DIR": str(GO_TOOLS)})


def terraform_docs(_: Workspace) -> str:
    """Inputs and outputs in the modules' READMEs."""
    return documents()


def checkov(workspace: Workspace) -> str:
    """Security rules over HCL and CloudFormation; each skip has its reason beside the resource."""
    command = [tools.checkov(), "--config-file", ROOT / ".checkov.yml", "--directory", "."]
    return run(command, directory=workspace.tree, environment={"LOG_LEVEL": "ERROR"})


def cfn_lint(workspace: Workspace) -> str:
    """CloudFormation templates."""
    templates = workspace.matching("bootstrap/*.yml")
    return run([BIN / "cfn-lint", "--non-zero-exit-code", "informational", "--", *templates]) if templates else ""


def shellcheck(workspace: Workspace) -> str:
    """Shell scripts, recognized by suffix or by first line."""
    scripts = [
        file
        for file in workspace.files
        if file.suffix == ".sh"
        or rules.text_of(ROOT / file).startswith(("#!/usr/bin/env bash", "#!/bin/sh", "#!/bin/bash"))
    ]
    return run(["shellcheck", "--external-sources", "--", *scripts]) if scripts else ""


def yamllint(workspace: Workspace) -> str:
    """YAML files."""
    return run([BIN / "yamllint", "--strict", "--config-file", ".yamllint.yml", *workspace.matching("*.yml", "*.yaml")])


def schemas(workspace: Workspace) -> str:
    """The API document against OpenAPI 3.1. A test holds the pipeline, with its inputs filled in, against GitLab's."""
    documents = workspace.matching("openapi.json")
    return run([BIN / "openapi-spec-validator", *documents]) if documents else ""


def migrations(_: Workspace) -> str:
    """Migrations that would lock a table for too long or break running code."""
    return run([sys.executable, "-m", "ops", "migrations"])


def documents_site(_: Workspace) -> str:
    """The documents as a site: links and anchors between pages, and a navigation that leads to every page."""
    with tempfile.TemporaryDirectory(prefix="pmp-lint-") as folder:
        try:
            site.build(Path(folder) / "site")
        except UserError as error:
            return str(error)
    return ""


def go(_: Workspace) -> str:
    """Go format and vet."""
    module = ROOT / "tests/terratest"
    # gofmt lists the files that it would change, and exits 0.
    command = [
        "bash",
        "-c",
        'files=$(gofmt -l .); [ -z "$files" ] || { echo "not formatted by gofmt: $files"; exit 1; }',
    ]
    return run(command, directory=module) + run(["nice", "go", "vet", "./..."], directory=module)


def own_rules(workspace: Workspace) -> str:
    """What other linters do not know: rules.py, resource_rules.py, english.py and commits.py beside this file."""
    root, files = ROOT, workspace.files
    findings = [
        *rules.machine_bound_text(root, files),
        *rules.secrets(root, files),
        *rules.machine_bound_commits(root),
        *rules.undocumented_interfaces(root, files),
        *rules.untested_validations(root, files),
        *rules.unknown_make_targets(root, files),
        *rules.account_of_the_shell(root, files),
        *rules.dead_links(root, files),
        *resource_rules.unguarded_resources(root, files),
        *english.stumbling(root, files),
        *commits.recent(root),
    ]
    return "\n".join(findings)


# Slowest first, so that both workers finish at about the same time.
STEPS: dict[str, Callable[[Workspace], str]] = {
    "tflint": tflint,
    "terraform-validate": terraform_validate,
    "checkov": checkov,
    "mypy": mypy,
    "go": go,
    "ruff": ruff,
    "imports": imports,
    "terraform-format": terraform_format,
    "cfn-lint": cfn_lint,
    "shellcheck": shellcheck,
    "yamllint": yamllint,
    "schemas": schemas,
    "migrations": migrations,
    "own-rules": own_rules,
    "terraform-docs": terraform_docs,
    "docs-site": documents_site,
}


def timed(step: str, workspace: Workspace) -> tuple[str, str, float]:
    """Run one step; return its name, its findings and its seconds. An exception in a step is a finding too."""
    started = time.monotonic()
    try:
        findings = STEPS[step](workspace)
    except Exception as error:  # noqa: BLE001 - one broken step must not hide what the others found
        findings = f"{type(error).__name__}: {error}"
    return step, findings.strip(), time.monotonic() - started


def lint(steps: Iterable[str]) -> bool:
    """Run the steps; return True if none had a finding."""
    failed, passed = 0, 0
    with copied_tree("lint") as tree, ThreadPoolExecutor(WORKERS) as pool:
        workspace = Workspace(source_files(), tree)
        for future in as_completed([pool.submit(timed, step, workspace) for step in steps]):
            step, findings, seconds = future.result()
            failed, passed = failed + bool(findings), passed + (not findings)
            print(f"  {'failed' if findings else 'passed'}  {step:<20} {seconds:>5.1f} s", flush=True)
            if findings:
                print(findings, flush=True)
    print(f"{passed} passed, {failed} failed")
    return not failed


def main() -> None:
    """Run the named steps, or all; exit 1 when one had a finding."""
    parser = argparse.ArgumentParser(prog="make lint", description=__doc__)
    parser.add_argument("steps", nargs="*", metavar="STEP", help=f"of: {' '.join(STEPS)}")
    steps = parser.parse_args().steps or list(STEPS)
    if steps == ["list"]:
        for name, step in STEPS.items():
            print(f"  {name:<20} {(step.__doc__ or '').splitlines()[0]}")
        return
    if unknown := [step for step in steps if step not in STEPS]:
        parser.error(f"no step named {', '.join(unknown)}: there are {' '.join(STEPS)}")
    sys.exit(not lint(steps))


if __name__ == "__main__":
    main()
