"""The documents as a site: links between pages, to files that are not pages, and to nobody else's host."""

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from checks import chromium
from ops import site
from ops.errors import UserError

PAGES = {"README.md", "docs/guide.md", "docs/adr/README.md", "docs/dashboard.svg"}


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("README.md", "[g](docs/guide.md#a-b)", "[g](docs/guide.md#a-b)"),
        ("docs/guide.md", "[r](../README.md#what-the-pipeline-runs)", "[r](../index.md#what-the-pipeline-runs)"),
        ("docs/guide.md", "![d](dashboard.svg)", "![d](dashboard.svg)"),
        ("docs/guide.md", "[c](../.gitlab-ci.yml#L3)", "[c](https://host/blob/.gitlab-ci.yml#L3)"),
        ("docs/guide.md", "[`f`](../a/b.tf), [s](#errors)", "[`f`](https://host/blob/a/b.tf), [s](#errors)"),
        ("docs/guide.md", "[x](https://rfc.example/a)", "[x](https://rfc.example/a)"),
        ("docs/guide.md", "```sh first\n[c](../x.yml)\n```", "```sh\n[c](../x.yml)\n```"),
        ("docs/guide.md", "```csv a.csv\na\n```", '```csv title="a.csv"\na\n```'),
    ],
)
def test_links_lead_to_pages_or_to_the_repository(file: str, text: str, expected: str) -> None:
    assert site.page_text(file, text, PAGES, "https://host/blob") == expected


def test_a_link_to_a_file_is_its_text_where_no_address_is_known() -> None:
    assert site.page_text("README.md", "see [the file](a.tf).", PAGES, None) == "see the file."


def test_every_page_has_an_entry_in_the_navigation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(site, "page_files", lambda: ["README.md", "docs/new.md"])
    with pytest.raises(UserError, match=r"docs/new\.md: add it to nav"):
        site.build(tmp_path / "site")


def test_an_anchor_that_no_heading_has_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = site.page_text
    monkeypatch.setattr(site, "page_text", lambda file, *rest: text(file, *rest) + "\n[x](#no-such-heading)\n")
    with pytest.raises(UserError, match="anchor does not exist") as error:
        site.build(tmp_path / "site")
    assert "Traceback" not in str(error.value)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base class's name
        pass


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("site") / "site"
    assert site.build(folder) == len(site.page_files())
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_pages_fit_a_phone_and_ask_no_other_host(url: str) -> None:
    pages = [page for page in site.page_files() if page.startswith(("docs/", "README")) and page.count("/") < 2]
    with chromium.page() as page:
        page.look(390, 844)
        for name in pages:
            path = site.place(name).removesuffix(".md")
            page.call("Page.navigate", url=f"{url}/{path}.html")
            page.wait(f"document.readyState === 'complete' && location.pathname === '/{path}.html'")
            assert page.evaluate("document.documentElement.scrollWidth") == 390, name
            assert page.evaluate("document.querySelectorAll('h1').length") == 1, name
        assert {address.split("/")[2] for address in page.requested() if address.startswith("http")} == {url[7:]}
        assert page.complaints() == []
    assert len(pages) >= 10
