"""Check or write the inputs and outputs in every Terraform module's README.md, with terraform-docs."""

import argparse
import sys
from pathlib import Path

from checks.lint.tools import GO_TOOLS, run
from ops.settings import ROOT

BEGIN, END = "<!-- BEGIN_TF_DOCS -->", "<!-- END_TF_DOCS -->"


def modules() -> list[Path]:
    """Return the folders of PMP's own modules, sorted."""
    return sorted({file.parent for file in (ROOT / "modules").glob("*/*.tf")})


def documents(*, write: bool = False) -> str:
    """Compare every README with its module, or update it if ``write``.

    Returns:
        Findings, one line each, or the empty string.
    """
    findings = []
    for module in modules():
        readme, name = module / "README.md", module.relative_to(ROOT)
        if not readme.exists() or not {BEGIN, END} <= set(readme.read_text().splitlines()):
            findings.append(f"{name}/README.md: needs the lines {BEGIN} and {END} around its inputs and outputs")
            continue
        command = [GO_TOOLS / "terraform-docs", "--config", ROOT / ".terraform-docs.yml"]
        if not write:
            command.append("--output-check")
        if run([*command, module]):
            findings.append(f"{name}/README.md: its inputs or outputs are out of date: run 'make docs'")
    return "\n".join(findings)


def main() -> None:
    """Check all modules' READMEs, or update them; ``make docs`` runs this."""
    parser = argparse.ArgumentParser(prog="python -m checks.lint.module_documents", description=__doc__)
    parser.add_argument("--write", action="store_true", help="update the files that are out of date")
    sys.exit(documents(write=parser.parse_args().write) or 0)


if __name__ == "__main__":
    main()
