"""The table of precedence is the same in the code and in the documents."""

from pmp.signals.precedence import RULES

from ops.settings import ROOT


def test_document_shows_the_table_of_the_code() -> None:
    text = (ROOT / "docs" / "signals.md").read_text()
    table = text[text.index("## When a signal counts") :]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| `")]
    assert rows == [
        [
            f"`{rule.state}`",
            "denied" if rule.denies else "stays",
            rule.meaning,
            ", ".join(f"[{name}]({address})" for name, address in rule.sources.items()),
        ]
        for rule in RULES
    ]
