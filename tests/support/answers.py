"""Compares documented answers with real ones, which have other ids and instants."""

import re
from collections.abc import Container, Iterator
from typing import Any

KINDS = {
    "UUID": re.compile(r"(urn:uuid:)?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
    "URN": re.compile(r"urn:uuid:[0-9a-f-]{36}"),
    "instant": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z"),
    "token": re.compile(r"[A-Za-z0-9_-]{76,}"),
    "URL": re.compile(r"https?://\S+"),
}


class Comparison:
    """Compares answers one after another; an id that was seen once must stay the same."""

    def __init__(self, *, different: Container[str] = (), exact: Container[str] = ()) -> None:
        """Remember the rules.

        Args:
            different: names of members whose values are never compared.
            exact: names of members whose instants must be equal, not only of the same form.
        """
        self._different = different
        self._exact = exact
        self._actual: dict[str, str] = {}

    def translated(self, text: str) -> str:
        """``text`` with the real ids instead of the documented ones."""
        for example, actual in self._actual.items():
            text = text.replace(example, actual)
        return text

    def learn(self, example: Any, found: Any) -> None:
        """Remember the real ids of an answer that had no differences."""
        if isinstance(example, dict):
            for name in example:
                self.learn(example[name], found[name])
        elif isinstance(example, list):
            for pair in zip(example, found, strict=True):
                self.learn(*pair)
        elif isinstance(example, str) and KINDS["UUID"].fullmatch(example):
            self._actual.setdefault(example, found)

    def differences(self, example: Any, found: Any, pointer: str = "") -> Iterator[str]:
        """One line for each difference, with its JSON Pointer.

        Args:
            example: the documented answer, or a part of it.
            found: the real one.
            pointer: where in the answer the two stand.
        """
        if isinstance(example, dict) and isinstance(found, dict):
            if example.keys() != found.keys():
                yield f"{pointer}: {sorted(example.keys() ^ found.keys())}"
            for name in example.keys() & found.keys():
                if name not in self._different:
                    yield from self.differences(example[name], found[name], f"{pointer}/{name}")
        elif isinstance(example, list) and isinstance(found, list) and len(example) == len(found):
            for index, pair in enumerate(zip(example, found, strict=True)):
                yield from self.differences(*pair, f"{pointer}/{index}")
        elif isinstance(example, str) and isinstance(found, str):
            if not self._same(example, found, pointer):
                yield f"{pointer}: {found!r} instead of {example!r}"
        elif example != found:
            yield f"{pointer}: {found!r} instead of {example!r}"

    def _same(self, example: str, found: str, pointer: str) -> bool:
        kind = next((kind for kind, form in KINDS.items() if form.fullmatch(example)), None)
        if kind is None or (kind == "instant" and pointer.rpartition("/")[2] in self._exact):
            return self.translated(example) == found
        form = KINDS[kind].fullmatch(found)
        return form is not None and (kind != "UUID" or self._actual.get(example, found) == found)
