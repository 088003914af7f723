"""A word list of phrases that a reader of English stumbles over, each with the plain word for it.

It keeps out what once filled this repository; it is not a grammar. A line that needs such a phrase, for example in a
quotation, says so with ``english: ok``.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

_SUFFIXES = {".md", ".py", ".tf", ".hcl", ".sql", ".yml", ".yaml", ".json", ".sh", ".go", ".toml", ".txt", ".in"}
_EXEMPT = {"checks/lint/english.py", "tests/unit/checks/test_english.py", "local/executor/package-lock.json"}

PLAIN_WORDS = {
    # "There is no …" and the comparisons are English.
    r"(?<!there )\bis no (?!longer\b|more\b|later\b|need\b|earlier\b|greater\b|less\b|slower\b|different\b)[a-z]+": (
        "is not a …"
    ),
    r"\bstands? (?:\w+ )?(?:twice|for ever)\b": "appears more than once",
    r"\bfor ever\b": "forever",
    r"\bmend(?:s|ed|ing)?\b": "fix",
    r"\banew\b": "again",
    r"(?<!and )\bthe like\b": "the same",
    r"\bgood for a quarter\b": "valid for 15 minutes",
    r"\bas it lies in\b": "as it is in",
    r"\b(?:where|there)(?:of|with|upon)\b": "of which, with which, on which",
    r"(?-i:\b[eE]-mail)": "email",
    r"\bhas ended in good order\b": "shut down cleanly",
}
_PATTERNS = [(re.compile(pattern, re.IGNORECASE), plain) for pattern, plain in PLAIN_WORDS.items()]


def stumbling(root: Path, files: Iterable[Path]) -> Iterator[str]:
    """One line per phrase of the word list that a file holds."""
    for file in files:
        if file.suffix not in _SUFFIXES or str(file) in _EXEMPT or not (root / file).exists():
            continue
        for number, line in enumerate((root / file).read_text(errors="replace").splitlines(), start=1):
            if "english: ok" in line:
                continue
            for pattern, plain in _PATTERNS:
                if match := pattern.search(line):
                    yield f"{file}:{number}: '{match[0]}': write '{plain}'"
