"""PMP's own rules, which no standard linter has. Each takes a root folder and files, and yields a line per finding."""

import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import hcl2

# A lock file or a configuration that names a registry's host or a path of one machine works only there. The names are
# in parts, so that this file passes its own rule.
_HOSTS = ["pypi org", "pythonhosted org", "registry npmjs org", "proxy golang org", "sum golang org", "deb debian org"]
_PATHS = [" work main", " work shared", " root ", " tmp brief", ".. shared"]
_FORBIDDEN = re.compile(
    "|".join(
        re.escape(name) for name in [host.replace(" ", ".") for host in _HOSTS] + [p.replace(" ", "/") for p in _PATHS]
    )
)

# Credentials whose beginning tells what they are. AWS's own examples end with EXAMPLE. Where GitLab's are documented:
# https://docs.gitlab.com/security/tokens/#token-prefixes, AWS's:
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-unique-ids
_SECRET = re.compile(
    r"\b(?:AKIA|ASIA)(?!\w*EXAMPLE\b)[A-Z0-9]{16}\b"
    r"|-----BEGIN (?:[A-Z]+ )*PRIVATE KEY"
    r"|\bgl(?:pat|rt|dt|ptt|cbt|soat)-[\w.-]{20}"
    r"|\bgh[pousr]_[A-Za-z0-9]{36}|\bgithub_pat_\w{22}"
    r"|\bxox[abeprs]-[\w-]{10}"
)

_MAKE_IN_TEXT = re.compile(r"(?:^|[`'\"$(;&|] ?)make(?: -s)? ([a-z][a-z0-9-]*)", re.MULTILINE)
_MAKE_TARGET = re.compile(r"^([a-z][a-z0-9-]*):", re.MULTILINE)

# A makefile writes the sign $ twice.
_EVAL = re.compile(r"""\beval\s+["']?(?:\$\$?\(|`)""")
_PRINTS_FALSE = re.compile(r"make -s (?:credentials|env)\b")
_OPS_RECIPE = re.compile(r"^\t.*(?:\$\(OPS\)|python -m ops) ([a-z][a-z-]*)")
_WITHOUT_AWS = {
    "compatibility",
    "costs",
    "dashboard",
    "docs-site",
    "generate-clients",
    "image-lock",
    "lock-providers",
    "migrations",
    "release",
    "sizing",
}
_OWN_CREDENTIALS = re.compile(
    r"\b(?:boto3|aws)\.(?:client|resource|setup_default_session)\(|os\.environ \||env=os\.environ"
)


def text_of(file: Path) -> str:
    """Return the file's text; the empty string if it is binary or has just been removed."""
    try:
        return file.read_text(encoding="utf-8")
    except (UnicodeDecodeError, FileNotFoundError):
        return ""


def machine_bound_text(root: Path, files: Iterable[Path]) -> Iterator[str]:
    """Find lines that name a package registry's host or a path of one machine."""
    for file in files:
        for number, line in enumerate(text_of(root / file).splitlines(), start=1):
            if match := _FORBIDDEN.search(line):
                yield f"{file}:{number}: names '{match[0]}', which only one machine or network has"


def secrets(root: Path, files: Iterable[Path]) -> Iterator[str]:
    """Find private keys, access keys of AWS, and tokens of GitLab, GitHub and Slack; no finding repeats one."""
    for file in files:
        for number, line in enumerate(text_of(root / file).splitlines(), start=1):
            if match := _SECRET.search(line):
                yield f"{file}:{number}: a secret, {match[0][:4]}…: revoke it first, because others may have copies"


def machine_bound_commits(root: Path) -> Iterator[str]:
    """Find commit messages that name a package registry's host or a path of one machine."""
    log = subprocess.run(
        ["git", "-C", str(root), "log", "--format=%h%x00%B%x01"], check=True, capture_output=True, text=True
    ).stdout
    for entry in log.split("\x01"):
        digest, _, message = entry.strip().partition("\0")
        if match := _FORBIDDEN.search(message):
            yield f"commit {digest}: its message names '{match[0]}', which only one machine or network has"


def attribute(value: Any) -> str:
    """Return a string attribute, as python-hcl2 parses it, without its quotes and heredoc markers."""
    return re.sub(r'^"(<<-?\w+\n)?|(\n\s*\w+)?"$', "", value) if isinstance(value, str) else ""


def blocks(root: Path, file: Path, kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield label and content of each block of ``kind`` (variable, output …) in one Terraform file."""
    with (root / file).open(encoding="utf-8") as stream:
        for block in hcl2.load(stream).get(kind, []):
            for label, content in block.items():
                if label != "__is_block__":
                    yield label.strip('"'), content


def local_module_sources(folder: Path) -> set[Path]:
    """Return the folders of the modules that the Terraform files in ``folder`` call by a relative path."""
    text = "".join(text_of(file) for file in sorted(folder.glob("*.tf")))
    return {
        (folder / source).resolve() for source in re.findall(r'^\s*source\s*=\s*"(\.\.?/[^"]*)"', text, re.MULTILINE)
    }


def undocumented_interfaces(root: Path, files: Iterable[Path]) -> Iterator[str]:
    """Find variables without a type, and variables and outputs whose description is missing or not a sentence."""
    for file in files:
        if file.suffix != ".tf":
            continue
        for kind in ("variable", "output"):
            for name, content in blocks(root, file, kind):
                description = attribute(content.get("description")).strip()
                if kind == "variable" and "type" not in content:
                    yield f'{file}: variable "{name}" has no type'
                if not description:
                    yield f'{file}: {kind} "{name}" has no description'
                elif not description.endswith("."):
                    yield f'{file}: {kind} "{name}": its description is not a sentence: {description}'


def untested_validations(root: Path, files: Iterable[Path]) -> Iterator[str]:
    """Find ``validation`` blocks of a module's variables whose failure no ``terraform test`` run expects.

    The rule counts by variable: one run that expects ``var.x`` to fail covers one of its validations.
    """
    for file in files:
        if file.suffix != ".tf" or len(file.parts) != 3 or file.parts[0] != "modules":
            continue
        tests = "".join(text_of(test) for test in sorted((root / file).parent.glob("tests/*.tftest.hcl")))
        expected = re.findall(r"var\.(\w+)", " ".join(re.findall(r"expect_failures\s*=\s*\[([^\]]*)\]", tests)))
        for name, content in blocks(root, file, "variable"):
            missing = len(content.get("validation", [])) - expected.count(name)
            if missing > 0:
                yield f'{file}: variable "{name}": {missing} of its validations have no test that expects a failure'


def unknown_make_targets(root: Path, files: Iterable[Path]) -> Iterator[str]:
    """Find ``make x`` in documents for which there is no target."""
    makefiles = [*root.glob("Makefile"), *root.glob("make/*.mk")]
    targets = {name for makefile in makefiles for name in _MAKE_TARGET.findall(text_of(makefile))}
    for file in files:
        if file.suffix != ".md":
            continue
        for number, line in enumerate(text_of(root / file).splitlines(), start=1):
            for name in _MAKE_IN_TEXT.findall(line):
                if name not in targets:
                    yield f"{file}:{number}: there is no target for 'make {name}'"


def account_of_the_shell(root: Path, files: Iterable[Path]) -> Iterator[str]:
    """Find what could act on the AWS account that a person's shell happens to be logged in to.

    * A target of the Makefile that runs a command of ``ops`` which asks AWS: ``python -m local`` has to run it, which
      gives it the laptop platform's address and keys.
    * A command of ``local`` that uses the process's own credentials, or hands its variables on.
    * A shell's eval of a command substitution, which goes on when the command failed; ``make credentials`` and
      ``make env`` print a command that fails then.
    """
    for file in files:
        for number, line in enumerate(text_of(root / file).splitlines(), start=1):
            if _EVAL.search(line) and not _PRINTS_FALSE.search(line):
                yield f'{file}:{number}: eval goes on after a failure: c=$(command) && eval "$c"'
            if file.name == "Makefile" and (match := _OPS_RECIPE.search(line)) and match[1] not in _WITHOUT_AWS:
                yield f"{file}:{number}: 'ops {match[1]}' would act on the shell's own account: run it by $(LOCAL)"
            if file.parts[0] == "local" and file.suffix == ".py" and (match := _OWN_CREDENTIALS.search(line)):
                yield f"{file}:{number}: '{match[0]}' uses the shell's account: take Account.session, clean_environment"


def dead_links(root: Path, files: Iterable[Path]) -> Iterator[str]:
    """Find relative links in documents to a missing file, or with an anchor that matches no heading."""
    for file in files:
        if file.suffix != ".md":
            continue
        for target in re.findall(r"\]\(([^)\s#:]*)(?:#([^)\s]*))?\)", text_of(root / file)):
            path = (root / file).parent / target[0] if target[0] else root / file
            if not path.exists():
                yield f"{file}: links to {target[0]}, which does not exist"
            elif target[1] and path.suffix == ".md" and target[1] not in anchors(text_of(path)):
                yield f"{file}: links to {target[0]}#{target[1]}, but no heading there has that anchor"


def anchors(markdown: str) -> set[str]:
    """Return the anchors that GitLab and GitHub generate for a document's headings."""
    headings = re.findall(r"^#+\s+(.+?)\s*$", markdown, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
