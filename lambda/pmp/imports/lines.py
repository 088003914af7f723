"""From a line to an event, or to the reason why it is rejected. Uses neither S3 nor the database."""

import datetime as dt
import json
import re
from bisect import bisect_right
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any, NamedTuple

from pmp import addresses, contexts, identifiers, instants, values
from pmp.export_text import unescaped
from pmp.imports import columns, rejects
from pmp.imports.errors import LineError
from pmp.imports.mapping import HASHED, Mapped

_IGNORED = ("user_id", "received_at", "source", rejects.COLUMN)
"""What the lines of an export say besides, which PMP sets itself; and why a line was rejected before."""

_CACHE_ENTRIES = 20_000
_LARGEST_EVENT_CHOICES = 100
_NO_HASH = bytes(32)
_NOBODY = "00000000-0000-0000-0000-000000000000"
_SHA256 = re.compile(r"[0-9A-Fa-f]{64}").fullmatch
_COLUMNS = (
    "line_numbers", "event_ids", "user_ids", "emails", "instants", "fractions", "versions", "choices", "chosen",
    "named", "contexts", "originals",
)  # fmt: skip
"""Of ``Batch``: one element for each event."""


_NAME = re.compile(r"[^\W\d][\w .()/-]{0,49}").fullmatch
_DATE = re.compile(r"[\d:+./ ,TtZz-]*\d[\d:+./ ,TtZz-]*( ?([AaPp][Mm]|UTC|GMT))?").fullmatch
"""Names of fields, and what looks like a date: an error may quote them."""

_MEMBER = re.compile(r"/context(/[a-z_0-9]{1,30})*").fullmatch

_MOST_NAMED = 3

_NO_VALUES = '""'
_Choices = tuple[str, str, str, str, str]
"""As array literals: version keys, answers, keys of the versions that the line names (quoted, or NULL), and ``chosen``
(quoted; see ``event.chosen``). Then what the line says of them, the same text in any order of the choices: part of the
id of a line that has none."""

_Columns = tuple[str, str, str, str, _Choices, str]
"""Of an event: id, id and address of the user, instant, choices, and the context as JSON; empty where there is none."""


class Version(NamedTuple):
    """A version of a consent.

    Attributes:
        number: as lines name it.
        created_at: since when it is in force.
        key: ``consent_version.version_key``.
        values: ids of the values among which a grant may choose.
        multiple: whether it may choose several.
    """

    number: int
    created_at: dt.datetime
    key: int
    values: Sequence[str] = ()
    multiple: bool = False


class Catalogue:
    """The consents that lines may name.

    Args:
        versions: by consent, its versions from the first to the newest.
        retired: the consents that can only be denied.
    """

    def __init__(self, versions: Mapping[str, Sequence[Version]], retired: Container[str] = ()) -> None:
        self._versions, self._retired = versions, retired
        self._names = {
            version.key: (consent, version.number) for consent, known in versions.items() for version in known
        }
        self._changes = sorted(version.created_at for known in versions.values() for version in known[1:])

    def __contains__(self, consent: object) -> bool:
        """Whether the consent exists."""
        return consent in self._versions

    def is_retired(self, consent: str) -> bool:
        """Whether the consent can only be denied."""
        return consent in self._retired

    def era(self, moment: dt.datetime) -> int:
        """A number that is the same for two instants at which the same version of each consent is in force."""
        return bisect_right(self._changes, moment)

    def in_force(self, consent: str, moment: dt.datetime) -> Version:
        """The version in force at an instant; the first one if there was none: the rule of ``pmp.create_event``."""
        known = self._versions[consent]
        return next((version for version in reversed(known) if version.created_at <= moment), known[0])

    def named(self, key: int) -> tuple[str, int]:
        """Consent and number of the version with a ``consent_version.version_key``."""
        return self._names[key]

    def version(self, consent: str, number: int) -> Version | None:
        """The version with this number; None if there is none."""
        return next((version for version in self._versions[consent] if version.number == number), None)


@dataclass(slots=True)
class Batch:
    """Consecutive lines as columns, the form in which the database takes them.

    Attributes:
        weight: lines and choices.
        from_position: offset in the text before the first line.
        from_line: number of the line before the first one.
        last_line: its number within the object.
        up_to_position: offset in the text at which to go on reading: after the last line, or before it, see ``parts``.
        up_to_position_line: number of the last line before that offset.
        up_to_byte: the same in the object in S3; approximate if that is compressed.
        address_hashes: 32 bytes for each line: the keyed hash of its address; the SHA-256 that it has in place
            of an id and an address; or zeros.
        originals: the lines.
        bad: the number of each rejected line, why, and the line (None: it is too long).
    """

    line_numbers: list[int] = field(default_factory=list)
    event_ids: list[str] = field(default_factory=list)
    user_ids: list[str] = field(default_factory=list)
    emails: list[str] = field(default_factory=list)
    instants: list[str] = field(default_factory=list)
    fractions: list[str] = field(default_factory=list)
    versions: list[str] = field(default_factory=list)
    choices: list[str] = field(default_factory=list)
    chosen: list[str] = field(default_factory=list)
    named: list[str] = field(default_factory=list)
    contexts: list[str] = field(default_factory=list)
    address_hashes: bytearray = field(default_factory=bytearray)
    originals: list[bytes] = field(default_factory=list)
    bad: list[tuple[int, LineError, bytes | None]] = field(default_factory=list)
    weight: int = 0
    from_position: int = 0
    from_line: int = 0
    last_line: int = 0
    up_to_position: int = 0
    up_to_position_line: int = 0
    up_to_byte: int = 0

    def parts(self) -> "list[Batch]":
        """The batch as two batches of half its lines each, or itself if it has only one.

        Offsets are known only at the batch's ends: whoever resumes after the first part reads the batch's lines again.
        """
        numbers = sorted([*self.line_numbers, *(number for number, _, _ in self.bad)])
        if len(numbers) < 2:
            return [self]
        middle = numbers[len(numbers) // 2 - 1]
        place = bisect_right(self.line_numbers, middle)
        first = self._of(range(place), [one for one in self.bad if one[0] <= middle])
        second = self._of(range(place, len(self.line_numbers)), [one for one in self.bad if one[0] > middle])
        first.last_line, first.up_to_position, first.up_to_position_line = middle, self.from_position, self.from_line
        second.from_line = middle
        return [first, second]

    def part(self, first: int, last: int) -> "Batch":
        """The events from place ``first`` to before ``last``, without rejects, at the same position."""
        return self._of(range(first, last), [])

    def without(self, refused: Mapping[int, LineError]) -> "Batch":
        """The same batch with the events at some places as rejects."""
        bad = [(self.line_numbers[place], error, self.originals[place]) for place, error in refused.items()]
        kept = [place for place in range(len(self.line_numbers)) if place not in refused]
        return self._of(kept, sorted([*self.bad, *bad], key=lambda one: one[0]))

    def _of(self, places: Sequence[int], bad: list[tuple[int, LineError, bytes | None]]) -> "Batch":
        some, width = replace(self, bad=bad), len(_NO_HASH)
        some.weight = self.weight * (len(places) + len(bad)) // max(1, len(self.line_numbers) + len(self.bad))
        for name in _COLUMNS:
            column = getattr(self, name)
            setattr(some, name, [column[place] for place in places])
        some.address_hashes = bytearray().join(
            self.address_hashes[place * width : (place + 1) * width] for place in places
        )
        return some

    @property
    def has_values(self) -> bool:
        """Whether any event has a value."""
        return any(chosen != _NO_VALUES for chosen in self.chosen)

    @property
    def has_contexts(self) -> bool:
        """Whether any event has a context."""
        return any(context != "NULL" for context in self.contexts)

    @property
    def has_repeats(self) -> bool:
        """Whether an event id appears more than once, which makes the merge more expensive."""
        return len(set(self.event_ids)) < len(self.event_ids)


class Parser:
    """Turns the lines of one job into events.

    Args:
        catalogue: the consents.
        now: the current time; events more than five minutes later are rejected.
        declared: RFC 3339: when the lines without an instant happened; None rejects them.
        table: the columns of a CSV file; None for JSON.
        mapped: reads records of another system; None: the lines are in PMP's own form.
        address_hash: of an address, see ``pmp.erasures``.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        now: dt.datetime,
        declared: str | None,
        table: columns.Table | None = None,
        *,
        mapped: Mapped | None = None,
        address_hash: Callable[[str], bytes],
    ) -> None:
        self._catalogue = catalogue
        self._address_hash = address_hash
        self._now = now
        self._latest = now + instants.TOLERANCE
        self._is_dated = declared is not None
        self._declared = (now, "") if declared is None else self._instant(declared, "/occurred_at")
        self._table, self._mapped = table, mapped
        self._encoded: dict[tuple[Any, ...], _Choices] = {}
        self._addresses = addresses.Normalizer()

    def add(self, batch: Batch, number: int, line: bytes | None) -> None:
        """Add a line to the batch, as an event or as a reject; an empty line adds nothing.

        Args:
            batch: takes the event or the reject.
            number: the line's number, from 1.
            line: the line without its end, in UTF-8; None if it is longer than allowed.
        """
        try:
            if line is None:
                raise LineError("line_too_long", "", "the line is longer than 1 MiB")  # noqa: TRY301
            if not line or line.isspace():
                return
            text = line.decode()
            digest = b""
            if self._mapped is not None:
                event = self._mapped.event(text)
                if (hashed := event["user"].pop(HASHED, None)) is not None:
                    digest, event["user"]["id"] = _digest(hashed), _NOBODY
                event_id, user_id, email, instant, choices, context = self._read_event(event)
            else:
                event_id, user_id, email, instant, choices, context = (
                    self._read_json(text) if self._table is None else self._read_csv(text)
                )
        except LineError as error:
            batch.bad.append((number, error, line))
            batch.weight += 1
            return
        counts_from = instant or self._declared[1]
        if digest:
            user_id = ""
        mark = digest or (self._address_hash(email) if email else _NO_HASH)
        batch.line_numbers.append(number)
        batch.originals.append(line)
        said = f"{choices[4]} {context}" if context else choices[4]
        batch.event_ids.append(event_id or _content_id(user_id.encode() or mark, said, counts_from))
        batch.user_ids.append(user_id or "NULL")
        batch.emails.append(_quoted(email) if email else "NULL")
        batch.address_hashes += mark
        batch.instants.append(instant or "NULL")
        batch.fractions.append("t" if instants.has_fraction(counts_from) else "f")
        batch.weight += 2 + choices[0].count(",") + (1 if context else 0)
        batch.versions.append(choices[0])
        batch.choices.append(choices[1])
        batch.named.append(choices[2])
        batch.chosen.append(choices[3])
        batch.contexts.append(_quoted(context) if context else "NULL")

    def _read_json(self, text: str) -> _Columns:
        try:
            event = json.loads(text)
        except (ValueError, RecursionError) as error:
            # Python's message does not quote the line; it says where the error is.
            raise LineError("invalid_json", "", f"is not valid JSON: {str(error)[:200]}") from None
        if type(event) is not dict:
            raise LineError("invalid_type", "", "must be an object")
        return self._read_event(event, text)

    def _read_event(self, event: dict[str, Any], text: str | None = None) -> _Columns:
        """The columns of an event.

        Args:
            event: as on a line of PMP's own form; it is emptied.
            text: of which it was read; None if no name can appear twice.
        """
        fields = len(event)
        event_id, user = event.pop("id", None), event.pop("user", None)
        consents, instant = event.pop("consents", None), event.pop("occurred_at", None)
        context = ""
        if event:
            context = _context(event.pop("context", None))
            for name in _IGNORED:
                event.pop(name, None)
            if event:
                raise _unknown_field("", event)
        if type(user) is not dict:
            raise _missing_or_type("/user", user, "an object")
        fields += len(user)
        user_id, email = user.pop("id", None), user.pop("email", None)
        if user:
            raise _unknown_field("/user", user)
        if (user_id is None) == (email is None):
            raise LineError("invalid_user", "/user", "must have either id or email")
        if type(consents) is not list:
            raise _missing_or_type("/consents", consents, "an array")
        for choice in consents:
            if type(choice) is dict:
                fields += len(choice)
        moment, told = self._instant(instant, "/occurred_at")
        choices = self._choices(consents, moment, has_id=event_id is not None)
        # If the text has more names than the parsed objects, a name appears more than once in an object. A quote and a
        # colon end a name, but may also be inside a string (JSON writes \": there): then the slow way decides.
        if text is not None and text.count('":') != fields:
            _refuse_repeated_names(text)
        return (
            _uuid(event_id, "/id"),
            _uuid(user_id, "/user/id"),
            self._email(email, "/user/email"),
            told,
            choices,
            context,
        )

    def _choices(self, consents: list[Any], moment: dt.datetime, *, has_id: bool) -> _Choices:
        """The choices as array literals.

        Args:
            consents: as on the line.
            moment: at which the wording must have been in force.
            has_id: whether the line has an id. If not, the choices are sorted: in any order they are the same event.
        """
        choices = self._encode(consents, moment)
        if has_id or len(consents) == 1:
            return choices
        ordered = sorted(consents, key=lambda choice: choice["id"])
        return choices if ordered == consents else self._encode(ordered, moment)

    def _encode(self, consents: list[Any], moment: dt.datetime) -> _Choices:
        key = _key(self._catalogue.era(moment), consents)
        known = None if key is None else self._encoded.get(key)
        if known is None:
            known = self._encode_slowly(consents, moment)
            if key is not None and len(self._encoded) < _CACHE_ENTRIES:
                self._encoded[key] = known
        return known

    def _encode_slowly(self, consents: list[Any], moment: dt.datetime) -> _Choices:
        if not 1 <= len(consents) <= _LARGEST_EVENT_CHOICES:
            raise LineError("invalid_choices", "/consents", "must have 1 to 100 choices")
        keys, answers, named, chosen, said, seen = [], [], [], [], [], set[str]()
        for place, choice in enumerate(consents):
            pointer = f"/consents/{place}"
            if type(choice) is not dict:
                raise LineError("invalid_type", pointer, "must be an object")
            if others := choice.keys() - {"id", "enabled", "version", "value"}:
                raise _unknown_field(pointer, others)
            consent, enabled, version = choice.get("id"), choice.get("enabled"), choice.get("version")
            if type(consent) is not str:
                raise _missing_or_type(f"{pointer}/id", consent, "a string")
            if type(enabled) is not bool:
                raise _missing_or_type(f"{pointer}/enabled", enabled, "true or false")
            if consent in seen:
                raise LineError("repeated_consent", f"{pointer}/id", "appears more than once on the line")
            seen.add(consent)
            answered = self._version(consent, version, pointer, moment)
            keys.append(answered.key)
            if enabled and self._catalogue.is_retired(consent):
                raise LineError("retired_consent", f"{pointer}/id", "was retired, and can only be denied")
            answers.append(enabled)
            said.append(f"{consent}={'t' if enabled else 'f'}{'' if version is None else version}")
            if "value" in choice:
                value = _value(choice["value"], answered, f"{pointer}/value", enabled=enabled)
                said[-1] += f":{value}" if isinstance(value, str) else f":[{' '.join(value)}]"
                chosen.append(_quoted(json.dumps(value)))
            else:
                chosen.append("NULL")
            if version is not None:
                named.append(keys[-1])
        return (
            "{" + ",".join(map(str, keys)) + "}",
            "{" + ",".join("t" if yes else "f" for yes in answers) + "}",
            '"{' + ",".join(map(str, named)) + '}"' if named else "NULL",
            _quoted("{" + ",".join(chosen) + "}") if any(value != "NULL" for value in chosen) else _NO_VALUES,
            ",".join(sorted(said)),
        )

    def _version(self, consent: str, version: object, pointer: str, moment: dt.datetime) -> Version:
        if consent not in self._catalogue:
            raise LineError("unknown_consent", f"{pointer}/id", "is not in the catalogue")
        if version is None:
            return self._catalogue.in_force(consent, moment)
        if type(version) is not int:
            raise LineError("invalid_type", f"{pointer}/version", "must be an integer")
        named = self._catalogue.version(consent, version)
        if named is None:
            raise LineError("unknown_version", f"{pointer}/version", "is not a version of this consent")
        # The one that a line without a version would answer may be named, as exports do: the first one is in force
        # before it was created.
        if named.created_at > moment and named is not self._catalogue.in_force(consent, moment):
            created = named.created_at.isoformat()
            detail = f"was created at {created}, after occurred_at; omit version for the one in force then"
            raise LineError("version_too_new", f"{pointer}/version", detail)
        return named

    def _read_csv(self, text: str) -> _Columns:
        assert self._table is not None  # noqa: S101 - the caller's branch
        row = self._table.row(text)
        row.pop(rejects.COLUMN, None)
        event_id, user_id, email, instant, context = (row.pop(name, "").strip() for name in columns.FIXED)
        if (not user_id) == (not email):
            raise LineError("invalid_user", "/user_id", "must have either user_id or email")
        moment, told = self._instant(instant or None, "/occurred_at")
        return (
            _uuid(event_id or None, "/id"),
            _uuid(user_id or None, "/user_id"),
            self._email(unescaped(email) or None, "/email"),
            told,
            self._choices(columns.choices(row, is_long=self._table.is_long), moment, has_id=bool(event_id)),
            _context(_parsed(context)),
        )

    def _email(self, value: object, pointer: str) -> str:
        """The normalized address."""
        if value is None:
            return ""
        if type(value) is not str:
            raise LineError("invalid_type", pointer, "must be a string")
        try:
            return self._addresses.normalize(value)
        except addresses.InvalidAddressError as error:
            raise LineError("invalid_email", pointer, error.discreet) from None

    def _instant(self, value: object, pointer: str) -> tuple[dt.datetime, str]:
        """When the wording must have been in force, and the told instant as PostgreSQL reads it (empty: none)."""
        if value is None:
            if not self._is_dated:
                raise LineError(
                    "undated",
                    pointer,
                    "is missing; add it, or upload the file again with an occurred_at for all of its lines",
                )
            return self._declared[0], ""
        try:
            moment, text = instants.read(value if type(value) is str else "")
        except ValueError as error:
            found = f'is "{value}"; ' if type(value) in {str, int, float} and _DATE(str(value)) else ""
            hint = "; a mapping can name another format, and a zone" if "RFC 3339" in str(error) else ""
            raise LineError("invalid_instant", pointer, f"{found}{error}{hint}") from None
        if moment > self._latest:
            raise LineError("instant_in_future", pointer, "is more than five minutes in the future")
        if not instants.has_fraction(text):
            # It covers its second.
            moment = moment.replace(microsecond=999_999)
        return min(moment, self._now), text


def _key(era: int, consents: list[Any]) -> tuple[Any, ...] | None:
    """What decides how choices are encoded; None if they name versions or lists of values, or are not valid."""
    key: list[Any] = [era]
    try:
        for choice in consents:
            consent, enabled = choice["id"], choice["enabled"]
            # 1 equals True, and a list has no hash.
            if type(enabled) is not bool or type(consent) is not str:
                return None
            if len(choice) == 2:
                key += (consent, enabled)
            elif len(choice) == 3 and type(choice["value"]) is str:
                # A text before another text, or at the end, is a value.
                key += (consent, enabled, choice["value"])
            else:
                return None
    except (KeyError, TypeError, IndexError):
        return None
    return tuple(key)


def _value(value: object, version: Version, pointer: str, *, enabled: bool) -> values.Value:
    try:
        found = values.read(value, enabled=enabled)
    except ValueError as error:
        raise LineError("invalid_value", pointer, str(error)) from None
    if not values.fits(found, version.values, multiple=version.multiple):
        raise LineError("unknown_value", pointer, values.refusal(version.values, multiple=version.multiple))
    return found


def _content_id(person: bytes, said: str, instant: str) -> str:
    """The id of a line without one, a UUID of version 8 (RFC 9562): a line that says the same has the same id.

    Args:
        person: keyed hash of the address, so that nobody can test an erased user's event against an address; or the
            user's id.
        said: of the choices, see ``_Choices``.
        instant: as ``instants.read`` returns it; the zeros at the end of its fraction do not matter.
    """
    moment = instant[:19].replace("t", "T")
    if fraction := instant[20:26].rstrip("Zz+:0"):
        moment += "." + fraction
    elif instants.has_fraction(instant):
        moment += "."
    digest = blake2b(b"%b %b %b" % (person, said.encode(), moment.encode()), digest_size=16).hexdigest()
    return f"{digest[:8]}-{digest[8:12]}-8{digest[13:16]}-b{digest[17:20]}-{digest[20:]}"


def _digest(hashed: str) -> bytes:
    """A hash of an address, from hexadecimal in any case."""
    if not _SHA256(hashed):
        raise LineError("invalid_hash", f"/user/{HASHED}", "must be a SHA-256: 64 hexadecimal digits")
    return bytes.fromhex(hashed)


def _quoted(text: str) -> str:
    """An element of an array literal."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _context(context: object) -> str:
    """A context as JSON; empty if there is none."""
    if context is None or context == {}:
        return ""
    if errors := contexts.errors(context, "/context"):
        # The pointer may end with the name of an unknown member, which may be anything.
        pointer, detail = errors[0]["pointer"], errors[0]["detail"]
        raise LineError("invalid_context", pointer if _MEMBER(pointer) else "/context", detail)
    assert isinstance(context, dict)  # noqa: S101 - its schema says so
    return contexts.written(context)


def _parsed(cell: str) -> Any:
    """A context from a cell of CSV; None if the cell is empty."""
    if not cell:
        return None
    try:
        _refuse_repeated_names(cell)
        return json.loads(cell)
    except LineError:
        raise
    except (ValueError, RecursionError) as error:
        raise LineError("invalid_context", "/context", f"is not valid JSON: {str(error)[:200]}") from None


def _uuid(value: object, pointer: str) -> str:
    if value is None:
        return ""
    try:
        return identifiers.parse(value if type(value) is str else "")
    except ValueError as error:
        raise LineError("invalid_uuid", pointer, str(error)) from None


def _unknown_field(pointer: str, fields: Any) -> LineError:
    names = sorted(name for name in fields if _NAME(name))[:_MOST_NAMED]
    return LineError(
        "unknown_field", pointer, f"has {len(fields)} unknown fields{': ' if names else ''}{', '.join(names)}"
    )


def _missing_or_type(pointer: str, value: object, expected: str) -> LineError:
    if value is None:
        return LineError("missing", pointer, f"is missing; must be {expected}")
    return LineError("invalid_type", pointer, f"must be {expected}")


def _refuse_repeated_names(text: str) -> None:
    def once(pairs: list[tuple[str, Any]]) -> None:
        if len({name for name, _ in pairs}) < len(pairs):
            raise LineError("repeated_field", "", "an object has a field more than once")

    json.loads(text, object_pairs_hook=once)
