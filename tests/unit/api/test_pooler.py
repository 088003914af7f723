"""No statement of the function makes RDS Proxy pin a session (ADR 0311).

https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-proxy-pinning.html: RDS for PostgreSQL. The proxy does not
look into stored functions.
"""

import ast
import re
from collections.abc import Iterator

import pytest

from ops.settings import ROOT

LONGEST = 16 * 1024
_FIRST_WORDS = re.compile(
    r"\s*(SET|RESET|DISCARD|PREPARE|EXECUTE|DEALLOCATE|DECLARE|LISTEN|LOAD|LOCK|CREATE\s+(TEMP|TEMPORARY)\b)[\s;]"
)
_FUNCTIONS = re.compile(r"\b(nextval|setval|lastval|set_config|pg_(try_)?advisory_(?!xact)\w+)\s*\(")
_STATEMENT = re.compile(
    r"\s*(SELECT|INSERT|UPDATE|DELETE|MERGE|WITH|VALUES|CALL|DO|COPY|BEGIN|COMMIT|ROLLBACK|"
    r"SET|RESET|DISCARD|PREPARE|EXECUTE|DEALLOCATE|DECLARE|LISTEN|LOAD|LOCK|CREATE)\b"
)


def pins(statement: str) -> bool:
    """Whether the proxy would pin the session that sends ``statement``."""
    return bool(_FIRST_WORDS.match(statement) or _FUNCTIONS.search(statement) or len(statement.encode()) > LONGEST)


def statements() -> Iterator[tuple[str, str]]:
    """Yield the place and the text of every SQL statement in the function's code."""
    for file in sorted((ROOT / "lambda/pmp").rglob("*.py")):
        tree = ast.parse(file.read_text())
        formatted = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
        parts = {id(part) for node in formatted for part in node.values}
        texts: dict[ast.expr, str] = {
            node: "".join(str(part.value) if isinstance(part, ast.Constant) else "?" for part in node.values)
            for node in formatted
        }
        texts |= {
            node: node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts
        }
        for node, text in texts.items():
            if _STATEMENT.match(text):
                yield f"{file.relative_to(ROOT)}:{node.lineno}", text


def test_no_statement_pins_a_session() -> None:
    found = dict(statements())
    assert len(found) > 30, "the statements are no longer found where they were"
    assert not {place for place, statement in found.items() if pins(statement)}


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("SELECT pmp.get_user(:key)", False),
        ("SET LOCAL statement_timeout = 1000", True),
        ("SELECT set_config('a.b', 'c', true)", True),
        ("SELECT pg_advisory_lock(1)", True),
        ("SELECT pg_try_advisory_xact_lock(1)", False),
        ("CREATE TEMPORARY TABLE t (a int)", True),
        ("UPDATE job SET state = :state", False),
        ("SELECT nextval('s')", True),
        (f"SELECT '{'x' * LONGEST}'", True),
    ],
)
def test_pinning_statement_is_found(statement: str, *, expected: bool) -> None:
    assert pins(statement) is expected
