"""A set of module and provider versions that are not PMP's, to try a move: ``make parity VERSIONS=file``.

The file is YAML and names only what changes::

    modules:
      terraform-aws-modules/vpc/aws: 6.6.0
    providers:
      hashicorp/aws: "~> 6.30"
"""

import re
from dataclasses import dataclass
from pathlib import Path

import yaml

from checks.tree import terraform_folders

_PIN = r'(source\s*=\s*"{source}(?://[^"]*)?"\s*\n\s*version\s*=\s*)"[^"]*"'


@dataclass(frozen=True)
class Versions:
    """Versions by source address, such as ``terraform-aws-modules/vpc/aws`` or ``hashicorp/aws``."""

    modules: dict[str, str]
    providers: dict[str, str]

    def apply(self, tree: Path) -> None:
        """Write the versions into every Terraform file of a copied tree.

        Raises:
            ValueError: no file calls a module or requires a provider of that address.
        """
        files = [file for folder in terraform_folders(tree) for file in folder.glob("*.tf")]
        own = [file for file in files if not file.is_relative_to(tree / "local")]
        for source, version in (self.modules | self.providers).items():
            pin, found = re.compile(_PIN.format(source=re.escape(source))), 0
            for file in own:
                text, number = pin.subn(rf'\g<1>"{version}"', file.read_text())
                if number:
                    file.write_text(text)
                    found += number
            if not found:
                raise ValueError(
                    f"nothing under envs/ or modules/ uses {source}: correct its name in the versions file"
                )


def load(file: Path) -> Versions:
    """Read a versions file.

    Raises:
        ValueError: it is missing, is not YAML, or has another shape than above.
    """
    try:
        document = yaml.safe_load(file.read_text())
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ValueError(f"{file} is not YAML: {error}") from error
    sections = document if isinstance(document, dict) else {}
    maps = [sections.get(name) or {} for name in ("modules", "providers")]
    given = [part for each in maps if isinstance(each, dict) for pair in each.items() for part in pair]
    if not given or sections.keys() - {"modules", "providers"} or not all(isinstance(part, str) for part in given):
        raise ValueError(f"{file}: give 'modules' and 'providers', each a map of source address to a version in quotes")
    return Versions(*maps)
