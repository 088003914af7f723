"""Each of PMP's own lint rules reports faulty files and accepts correct ones."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from checks.lint import rules

Rule = Callable[[Path, Iterable[Path]], Iterator[str]]


def findings(rule: Rule, root: Path, **texts: str) -> list[str]:
    """Return the findings of ``rule`` in files with these texts; names have ``_`` for dots and ``__`` for slashes."""
    files = []
    for name, text in texts.items():
        file = Path(name.replace("__", "/").replace("_", "."))
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(text)
        files.append(file)
    return list(rule(root, files))


@pytest.mark.parametrize("words", ["pypi org", "registry npmjs org"])
def test_registry_host_is_found(tmp_path: Path, words: str) -> None:
    (found,) = findings(
        rules.machine_bound_text, tmp_path, a_md=f"first line\nsee https://{words.replace(' ', '.')}/x\n"
    )
    assert found.startswith("a.md:2: names '")


@pytest.mark.parametrize("words", [" root x", ".. shared design"])
def test_path_of_one_machine_is_found(tmp_path: Path, words: str) -> None:
    (found,) = findings(rules.machine_bound_text, tmp_path, a_md=f"first line\ncd {words.replace(' ', '/')}\n")
    assert found.startswith("a.md:2: names '")


def test_terraform_registry_may_be_named(tmp_path: Path) -> None:
    assert not findings(rules.machine_bound_text, tmp_path, a_md="registry.terraform.io\n")


@pytest.mark.parametrize(
    "words",
    ["AKIA Q3EGR7ZXAMPLE23B", "ASIA Q3EGR7ZXAMPLE23B", "-----BEGIN_RSA PRIVATE KEY-----", "-----BEGIN_PRIVATE KEY-----",
     f"glpat -{20 * 'x'}", f"glrt -{20 * '7'}", f"ghp_ {36 * 'a'}", f"xoxb -{'1234567890'}"],
)  # fmt: skip
def test_secret_is_found_and_not_repeated(tmp_path: Path, words: str) -> None:
    # In parts, so that this file passes the rule.
    secret = words.replace(" ", "", 1) if not words.startswith("-") else words.replace("_", " ")
    (found,) = findings(rules.secrets, tmp_path, a_py=f"first = 1\nkey = '{secret}'\n")
    assert found.startswith("a.py:2: a secret, ")
    assert secret not in found


def test_example_of_aws_is_no_secret(tmp_path: Path) -> None:
    assert not findings(rules.secrets, tmp_path, a_md=f"{'AKIA'}IOSFODNN7EXAMPLE, glpat-…, AKIA…\n")


def test_binary_files_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG\xff\xfe")
    assert not list(rules.machine_bound_text(tmp_path, [Path("a.png")]))


def test_untested_validation_is_found(tmp_path: Path) -> None:
    validation = 'validation {\n    condition     = var.a > 0\n    error_message = "a must be above 0."\n  }'
    variable = f'variable "a" {{\n  type = number\n\n  {validation}\n\n  {validation}\n}}\n'
    once = 'run "x" {\n  expect_failures = [var.a]\n}\n'
    tests = tmp_path / "modules/m/tests"
    tests.mkdir(parents=True)
    (tests / "m.tftest.hcl").write_text(once)
    (found,) = findings(rules.untested_validations, tmp_path, modules__m__variables_tf=variable)
    assert found == 'modules/m/variables.tf: variable "a": 1 of its validations have no test that expects a failure'
    (tests / "m.tftest.hcl").write_text(once + once)
    assert not findings(rules.untested_validations, tmp_path, modules__m__variables_tf=variable)


@pytest.mark.parametrize(
    ("block", "finding"),
    [
        ('variable "a" {\n  description = "The a."\n}', 'variable "a" has no type'),
        ('variable "a" {\n  type = string\n}', 'variable "a" has no description'),
        ('output "a" {\n  value = 1\n}', 'output "a" has no description'),
        ('output "a" {\n  description = "the a"\n  value = 1\n}', "its description is not a sentence: the a"),
    ],
)
def test_undocumented_interface_is_found(tmp_path: Path, block: str, finding: str) -> None:
    (found,) = findings(rules.undocumented_interfaces, tmp_path, main_tf=f"{block}\n")
    assert finding in found


def test_documented_interface_has_no_finding(tmp_path: Path) -> None:
    text = 'variable "a" {\n  description = <<-EOT\n    The a.\n  EOT\n  type = string\n}\n'
    assert not findings(rules.undocumented_interfaces, tmp_path, main_tf=text)


def test_unknown_make_target_is_found(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("up: ## start\n")
    text = "Run `make up`, then `make -s url`; it makes sure to make sense.\n"
    assert findings(rules.unknown_make_targets, tmp_path, a_md=text) == ["a.md:1: there is no target for 'make url'"]


def test_targets_in_makefile_fragments_are_known(tmp_path: Path) -> None:
    (tmp_path / "make").mkdir()
    (tmp_path / "make/x.mk").write_text("url: ## print it\n")
    assert not findings(rules.unknown_make_targets, tmp_path, a_md="$ make -s url\n")


def test_dead_links_and_anchors_are_found(tmp_path: Path) -> None:
    text = "# Two Words\n[a](#two-words) [b](docs/b.md) [c](#three) [d](https://example.com/x)\n"
    assert findings(rules.dead_links, tmp_path, a_md=text) == [
        "a.md: links to docs/b.md, which does not exist",
        "a.md: links to #three, but no heading there has that anchor",
    ]


@pytest.mark.parametrize(
    "line",
    [
        "\t@$(OPS) rotate-key gitlab",
        "\t@$(LOCAL) url && .venv/bin/python -m ops plan account",
        # In two parts, so that the rule does not find it here.
        '\t@eval "$' + '$(make -s token)" && $(LOCAL) url',
    ],
)
def test_makefile_line_that_acts_on_the_shells_account_is_found(tmp_path: Path, line: str) -> None:
    (tmp_path / "Makefile").write_text(f"x: ## do\n{line}\n")
    assert len(list(rules.account_of_the_shell(tmp_path, [Path("Makefile")]))) == 1


@pytest.mark.parametrize("line", ["boto3.client('iam')", "aws.client('iam')", "run(env=os.environ)", "os.environ | {}"])
def test_code_that_acts_on_the_shells_account_is_found(tmp_path: Path, line: str) -> None:
    for folder in ("local", "ops"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.py").write_text(f"{line}\n")
    assert len(list(rules.account_of_the_shell(tmp_path, [Path("local/x.py"), Path("ops/x.py")]))) == 1


@pytest.mark.parametrize("line", ["\t@$(OPS) sizing all", '\tc=$$(make -s token) && eval "$$c"'])
def test_makefile_line_without_an_account_is_left_alone(tmp_path: Path, line: str) -> None:
    (tmp_path / "Makefile").write_text(f"x: ## do\n{line}\n")
    assert list(rules.account_of_the_shell(tmp_path, [Path("Makefile")])) == []


@pytest.mark.parametrize(
    ("line", "found"), [('eval "$(aws login)"', 1), ("eval `aws login`", 1), ('eval "$(make -s credentials)"', 0)]
)
def test_eval_that_goes_on_after_a_failure_is_found(tmp_path: Path, line: str, found: int) -> None:
    (tmp_path / "a.md").write_text(f"{line}\n")
    assert len(list(rules.account_of_the_shell(tmp_path, [Path("a.md")]))) == found
