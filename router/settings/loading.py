"""Load the settings, validate them, and remember where each value comes from.

Later layers win: defaults, `/etc/clusterbus/clusterbus.yaml`, the file of `--settings`, `CLUSTERBUS_*`, options.
`CLUSTERBUS_BROKER` is `broker.url`; any other variable is `CLUSTERBUS_<SECTION>_<FIELD>`, such as
`CLUSTERBUS_ROUTER_STATE`; a list is words with blanks between them, and a mapping is only in files.  Give secrets by
reference, such as `broker.password_file`.  Where `broker.url` comes from a variable or an option and has a password,
that user logs in: the logins in files are for the URLs in files.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin

from pydantic import ValidationError

from .. import redaction
from ..errors import SettingsError, hint
from ..model import durations
from ..terminal_text import brief
from . import type_mistakes
from .models import Settings
from .sections.section import Section

if TYPE_CHECKING:
    from .yaml_documents import Document, Place

SYSTEM_FILE = Path("/etc/clusterbus/clusterbus.yaml")
_OTHERS = ("CLUSTERBUS_BROKER_IMAGE", "CLUSTERBUS_BROKER_KIND")
"""Variables of `clusterbus up`, which are named as those of a section."""


class Loaded:
    """Settings, and where each was set, by names such as `router.broker.user`; a default has no origin.

    *ignored* says of each variable that looks like a setting and is none.
    """

    def __init__(self, settings: Settings, origins: Mapping[str, str], ignored: Sequence[str] = ()) -> None:
        """Keep them."""
        self.settings, self.origins, self.ignored = settings, origins, ignored

    def rows(self) -> list[tuple[str, str, str]]:
        """Return (name, value, origin) for each setting, without secrets."""
        return [
            (name, _shown(name, value), self.origins.get(name, "default")) for name, value in _values(self.settings)
        ]


@dataclass(frozen=True, slots=True)
class _Entry:
    """One value that somebody set: at *place* in *document*, or by the variable or option *origin*."""

    name: Place
    value: Any
    origin: str
    document: Document | None = None

    def where(self, place: Place) -> str:
        """Return what an error about *place* begins with."""
        return f"{self.document.file}:{self.document.line(place)}" if self.document else self.origin


def load(
    file: Path | None = None,
    *,
    environment: Mapping[str, str] = os.environ,
    options: Mapping[str, Any] | None = None,
    system: Path = SYSTEM_FILE,
) -> Loaded:
    """Return the settings of this machine, *file*, *environment* and *options* (`{"broker.url": ...}`; None is unset).

    Raises SettingsError with one line for each mistake, which names the file and line, or the variable or option.
    """
    entries: list[_Entry] = []
    for path in (system, file):
        if path is not None and (path is not system or path.exists()):
            entries += _from_file(path)
    entries += _from_environment(environment)
    for name, value in (options or {}).items():
        if value is not None:
            entries.append(_Entry(tuple(name.split(".")), value, "option"))
    # The last entry for a field wins.
    winners = _of_one_login({each.name: each for each in entries})
    values: dict[Any, Any] = {}
    for each in winners.values():
        below = values
        for part in each.name[:-1]:
            below = below.setdefault(part, {})
        below[each.name[-1]] = each.value
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        found = error.errors(include_url=False)
        # A list whose only item is refused has too few items then.
        of_items = {each["loc"][:-1] for each in found}
        left = [each for each in found if each["type"] != "too_short" or each["loc"] not in of_items]
        mistakes = [_mistake(each, winners) for each in left]
        # Without its cause, which shows the wrong values: they may be secrets.
        raise SettingsError("\n".join(mistakes)) from None
    for address in _addresses(settings):
        redaction.remember_url(address)
    origins = {_dotted(name): each.origin for name, each in winners.items()}
    return Loaded(settings, origins, _ignored(environment))


def _of_one_login(winners: dict[Place, _Entry]) -> dict[Place, _Entry]:
    """Return *winners* without the logins of files if the URL of the broker is not of a file, and has a password."""
    url = winners.get(("broker", "url"))
    if url is None or url.document or not any(redaction.secrets_of(each) for each in str(url.value).split()):
        return winners
    return {
        name: each
        for name, each in winners.items()
        if each.document is None or (name != ("broker", "password_file") and name[1:2] != ("broker",))
    }


def _from_file(path: Path) -> list[_Entry]:
    from . import yaml_documents  # noqa: PLC0415 - containers are set up by variables alone

    document = yaml_documents.read(path)
    if document.flaws:
        raise SettingsError("\n".join(document.flaw_lines("settings")))
    sections = {} if document.value is None else document.value
    if not isinstance(sections, dict):
        raise SettingsError(f"{path}:{document.line(())}: must hold sections with fields, such as broker: {{url: ...}}")
    entries = []
    for section, fields in sections.items():
        where = f"{path}:{document.line((section,))}: {redaction.redact(section)}"
        if not isinstance(fields, dict):
            raise SettingsError(f"{where}: must hold fields, as in broker: {{url: ...}}")
        if not fields and section not in Settings.model_fields:
            raise SettingsError(f"{where}: unknown setting; {hint(section, list(Settings.model_fields))}")
        for field, value in fields.items():
            name = (section, field)
            if not (parts := _parts(*name)):
                entries.append(_Entry(name, value, str(path), document))
            elif isinstance(value, dict):
                entries += [_Entry((*name, part), each, str(path), document) for part, each in value.items()]
            else:
                place = f"{path}:{document.line(name)}: {section}.{field}"
                raise SettingsError(f"{place}: must hold fields, as in {field}: {{{parts[0]}: ...}}")
    return entries


def _from_environment(environment: Mapping[str, str]) -> list[_Entry]:
    found = []
    for name in _fields():
        variable = _variable(name)
        if value := environment.get(variable):
            listed = value.split() if get_origin(_annotation(name)) is frozenset else value
            found.append(_Entry(name, listed, variable))
    return found


def _ignored(environment: Mapping[str, str]) -> list[str]:
    """Return a sentence for each variable that is named as one of a section, which has no such field."""
    known = [_variable(name) for name in _fields()]
    sections = tuple(f"CLUSTERBUS_{each}_".upper() for each in Settings.model_fields)
    strange = (name for name in sorted(environment) if name.startswith(sections) and name not in (*known, *_OTHERS))
    return [f"the variable {brief(name)} is no setting and does nothing; {hint(name, known)}" for name in strange]


def _variable(name: tuple[str, ...]) -> str:
    return "CLUSTERBUS_BROKER" if name == ("broker", "url") else f"CLUSTERBUS_{'_'.join(name)}".upper()


def _fields() -> Iterator[tuple[str, ...]]:
    """Yield the name of each setting, such as ("router", "broker", "user")."""
    for section, model in Settings.model_fields.items():
        for field in model.annotation.model_fields:  # type: ignore[union-attr]  # each section is a model
            parts = _parts(section, field)
            yield from ((section, field, part) for part in parts) if parts else ((section, field),)


def _parts(section: object, field: object) -> tuple[str, ...]:
    """Return the names of the settings that the setting *field* consists of, if it does."""
    model = Settings.model_fields.get(str(section))
    found = model.annotation.model_fields.get(str(field)) if model else None  # type: ignore[union-attr]  # as above
    kind = found.annotation if found else None
    return tuple(kind.model_fields) if isinstance(kind, type) and issubclass(kind, Section) else ()


def _annotation(name: tuple[str, ...]) -> object:
    model: Any = Settings
    for part in name:
        model = model.model_fields[part].annotation
    return model


def _values(settings: Settings) -> Iterator[tuple[str, Any]]:
    for name in _fields():
        yield _dotted(name), functools.reduce(getattr, name, settings)


def _mistake(error: Any, winners: Mapping[Place, _Entry]) -> str:  # noqa: ANN401 - pydantic's ErrorDetails
    place: Place = error["loc"]
    # An unknown section is at fault with all of its fields, any of which knows where it is.
    entry = next(each for name, each in winners.items() if name[: len(place)] == place[: len(name)])
    name = _dotted(place)
    if error["type"] == "extra_forbidden":
        message = f"{name}: unknown setting; {hint(str(place[-1]), _fields_at(place[:-1]))}"
    elif error["type"] == "string_type" and isinstance(error["input"], (int, float)):
        message = f"{name}: must be text: put the value in quotes{_value(error)}"
    else:
        message = f"{name}: {type_mistakes.text(error)}{_value(error)}"
    return f"{entry.where(place)}: {brief(redaction.redact(message))}"


def _value(error: Any) -> str:  # noqa: ANN401 - pydantic's ErrorDetails
    # What stands in the place of a whole section or contact may be anything, also a secret.  For what is missing, the
    # error has the mapping around it.
    of_many = error["type"] in {"model_type", "dict_type", "mapping_type", "missing"} or (
        error["type"] == "value_error" and isinstance(error["input"], Mapping)
    )
    is_hidden = of_many or error["input"] is None or _holds_secrets(_dotted(error["loc"][:2]))
    return "" if is_hidden else f" (value {redaction.value(error['input'])})"


def _fields_at(place: Place) -> list[str]:
    """Return the names of the fields of the model at *place*: a section, or one of a mapping or list of models."""
    model: Any = Settings
    for each in place:
        fields = getattr(model, "model_fields", None)
        model = fields[each].annotation if fields else _last(model)
    return list(model.model_fields)


def _last(annotation: object) -> object:
    """Return what an item of a mapping or list of this type is.

    >>> _last(tuple[int, ...]), _last(dict[str, bool])
    (<class 'int'>, <class 'bool'>)
    """
    return [each for each in get_args(annotation) if each is not ...][-1]


def _dotted(place: Sequence[str | int]) -> str:
    # People count from 1.
    return ".".join(str(each + 1) if isinstance(each, int) else each for each in place)


def _holds_secrets(name: str) -> bool:
    """Say whether the setting *name* may hold a secret: the fields that have no `repr`."""
    section, _, field = name.partition(".")
    model = Settings.model_fields.get(section)
    found = model.annotation.model_fields.get(field) if model else None  # type: ignore[union-attr]  # a section is a model
    return found is not None and not found.repr


def _addresses(settings: Settings) -> Iterator[str]:
    for name, value in _values(settings):
        if _holds_secrets(name):
            yield from value if isinstance(value, tuple) else [value] if isinstance(value, str) else ()


def _shown(name: str, value: object) -> str:
    if isinstance(value, timedelta):
        return durations.text(value)
    if isinstance(value, (tuple, frozenset)):
        return " ".join(sorted(_shown(name, str(each)) for each in value)) or "-"
    if isinstance(value, Mapping):
        return " ".join(sorted(value)) or "-"
    if value is None:
        return "-"
    text = str(value)
    return redaction.url(text) if _holds_secrets(name) else redaction.redact(text)
