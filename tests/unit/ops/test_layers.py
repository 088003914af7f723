"""A version of the service layer, as Terraform's variables."""

from ops.layers import Version

RELEASE = "0" * 40


def test_a_digest_is_passed_on() -> None:
    assert Version(RELEASE, "1" * 64).variables() == {"release": RELEASE, "code_sha256": "1" * 64}


def test_what_terraform_packaged_is_packaged_again() -> None:
    assert Version(RELEASE, "unknown").variables() == {"release": RELEASE}
