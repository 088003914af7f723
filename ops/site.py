"""The documents as a site: ``make docs-site`` writes ``build/site``, by Zensical and ``zensical.toml``.

The pages are Markdown files where GitLab shows them too. A link to a file that is not a page leads to the repository.
"""

import os
import posixpath
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ops.errors import UserError
from ops.output import shown
from ops.settings import ROOT

CONFIGURATION = ROOT / "zensical.toml"
PAGES = ("*.md", "docs/*.md", "docs/*/*.md", "clients/*.md", "db/*.md", "envs/*/*.md", "modules/*/*.md")
PICTURES = ("*.png", "*.svg")
REACHED_FROM_AN_INDEX = re.compile(r"docs/adr/\d{4}-.*\.md")

_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^()\s]+)\)")
_FENCE = re.compile(r"^(```.*?^```[^\S\n]*$)", re.MULTILINE | re.DOTALL)
_NAMED_FENCE = re.compile(r"^```(\w+) (\S+)$", re.MULTILINE)
_DIAGRAM = re.compile(r"^```mermaid\n.*?^```\n", re.MULTILINE | re.DOTALL)


def page_files() -> list[str]:
    """Return the Markdown files that become pages, relative to the repository, with ``/`` and sorted."""
    return sorted({path.relative_to(ROOT).as_posix() for pattern in PAGES for path in ROOT.glob(pattern)})


def place(file: str) -> str:
    """Return where a page's file is in the site's sources: README.md of the repository is the first page."""
    return "index.md" if file == "README.md" else file


def page_text(file: str, text: str, pages: Collection[str], repository: str | None) -> str:
    """Return a page's text for the site.

    Args:
        file: the page's file, relative to the repository.
        text: its Markdown.
        pages: all files that are pages or pictures of pages.
        repository: address of the repository's files, such as ``https://…/-/blob/main``; without it, a link to a file
            that is not a page becomes the text of the link.
    """

    def link(match: re.Match[str]) -> str:
        mark, label, target = match.groups()
        path, hash_sign, anchor = target.partition("#")
        if not path or re.match(r"[a-z]+:", target):
            return match[0]
        aimed = posixpath.normpath(posixpath.join(posixpath.dirname(file), path))
        if aimed in pages:
            there = posixpath.relpath(place(aimed), posixpath.dirname(place(file)) or ".")
            return f"{mark}[{label}]({there}{hash_sign}{anchor})"
        return f"[{label}]({repository}/{quote(aimed)}{hash_sign}{anchor})" if repository else label

    # The theme would load the program that draws these from a host of somebody else's.
    text = _DIAGRAM.sub("", text)
    # Tests find a block by the word after its language; a reader needs the word only if it is the name of a file.
    text = _NAMED_FENCE.sub(lambda match: f"```{match[1]}" + (f' title="{match[2]}"' if "." in match[2] else ""), text)
    parts = _FENCE.split(text)
    return "".join(part if part.startswith("```") else _LINK.sub(link, part) for part in parts)


def navigation(entries: list[Any]) -> Iterator[str]:
    """Yield the pages that a navigation names, in its order."""
    for entry in entries:
        for value in entry.values():
            if isinstance(value, str):
                yield value
            else:
                yield from navigation(value)


def repository_address() -> str | None:
    """Return where the commit's files can be read: GitLab says so in its jobs; elsewhere nothing does."""
    project, commit = os.environ.get("CI_PROJECT_URL"), os.environ.get("CI_COMMIT_SHA")
    return f"{project}/-/blob/{commit}" if project and commit else None


def build(output: Path) -> int:
    """Build the site into the folder ``output``, which is replaced; return the number of its pages.

    Raises:
        UserError: a page is missing in the navigation, or Zensical complains, for example about a link to nowhere.
    """
    files = page_files()
    named = set(navigation(tomllib.loads(CONFIGURATION.read_text())["project"]["nav"]))
    left_out = [file for file in files if place(file) not in named and not REACHED_FROM_AN_INDEX.fullmatch(file)]
    if left_out:
        raise UserError(f"no entry of the navigation leads to {', '.join(left_out)}: add it to nav in zensical.toml")
    pictures = [path.relative_to(ROOT).as_posix() for name in PICTURES for path in (ROOT / "docs").rglob(name)]
    with tempfile.TemporaryDirectory(prefix="pmp-site-") as name:
        folder = Path(name)
        for file in [*files, *pictures]:
            target = folder / "pages" / place(file)
            target.parent.mkdir(parents=True, exist_ok=True)
            if file in pictures:
                shutil.copy2(ROOT / file, target)
            else:
                text = page_text(file, (ROOT / file).read_text(), {*files, *pictures}, repository_address())
                target.write_text(text)
        configuration = CONFIGURATION.read_text()
        if address := os.environ.get("CI_PAGES_URL"):
            configuration = configuration.replace("[project]\n", f'[project]\nsite_url = "{address}/"\n', 1)
        (folder / CONFIGURATION.name).write_text(configuration)
        program = Path(sys.executable).with_name("zensical")
        command = [str(program), "build", "--strict", "--clean"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            # Its colors surround every letter, and after its warnings it prints where in its code it stopped.
            said = re.sub(r"\x1b\[[\d;]*m", "", done.stdout + done.stderr)
            warnings = said.partition("Traceback (most recent call last)")[0] if "Warning:" in said else said
            raise UserError(f"the documents do not make a site:\n{warnings.strip()}")
        shutil.rmtree(output, ignore_errors=True)
        output.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(folder / "html", output)
    return len(files)


def write(output: Path) -> None:
    """Build the site and say where it is."""
    count = build(output)
    print(f"wrote {shown(output)}: {count} pages; open {shown(output / 'index.html')}")
