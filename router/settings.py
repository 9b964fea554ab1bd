"""Settings: configuration after validation, and where each value came from.

Later wins: defaults, `/etc/clusterbus/clusterbus.yaml`, the file of `--settings`, `CLUSTERBUS_*`, options.
`CLUSTERBUS_BROKER` is `broker.url`; any other is `CLUSTERBUS_<SECTION>_<FIELD>`, as `CLUSTERBUS_ROUTER_STATE`.
Secrets are given by reference: `broker.password_file`.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from . import durations
from .broker.addresses import without_password
from .errors import SettingsError
from .sections import Contact, Settings

SYSTEM_FILE = Path("/etc/clusterbus/clusterbus.yaml")


class Loaded:
    """Settings, and for each `section.field` that was set, where."""

    def __init__(self, settings: Settings, origins: Mapping[str, str]) -> None:
        """Keep both."""
        self.settings, self.origins = settings, origins

    def rows(self) -> list[tuple[str, str, str]]:
        """Return (name, value, origin) for each setting, without secrets."""
        rows = []
        for section in Settings.model_fields:
            for field, value in getattr(self.settings, section):
                name = f"{section}.{field}"
                rows.append((name, _shown(value), self.origins.get(name, "default")))
        return rows


def load(
    file: Path | None = None,
    *,
    environment: Mapping[str, str] = os.environ,
    options: Mapping[str, Any] | None = None,
    system: Path = SYSTEM_FILE,
) -> Loaded:
    """Return the settings of this machine, *file*, *environment* and *options* (`{"broker.url": ...}`; None is unset).

    Raises SettingsError that names every mistake and where it was made.
    """
    values: dict[str, dict[str, Any]] = {}
    origins: dict[str, str] = {}
    layers = [_from_file(each) for each in (system, file) if each is not None and (each is not system or each.exists())]
    layers += [_from_environment(environment), [(n, v, "option") for n, v in (options or {}).items() if v is not None]]
    for name, value, origin in (entry for layer in layers for entry in layer):
        section, _, field = name.partition(".")
        values.setdefault(section, {})[field] = value
        origins[name] = origin
    try:
        return Loaded(Settings.model_validate(values), origins)
    except ValidationError as error:
        raise SettingsError("\n".join(_mistake(each, origins) for each in error.errors(include_url=False))) from error


def _from_file(path: Path) -> list[tuple[str, Any, str]]:
    try:
        sections = yaml.safe_load(path.read_text()) or {}
    except OSError as error:
        raise SettingsError(f"settings: {error}") from error
    except yaml.YAMLError as error:
        raise SettingsError(f"{path}: {error}") from error
    if not isinstance(sections, dict) or not all(isinstance(each, dict) for each in sections.values()):
        raise SettingsError(f"{path}: has to be sections with fields below, as broker: {{url: ...}}")
    return [
        (f"{section}.{field}", value, str(path))
        for section, fields in sections.items()
        for field, value in fields.items()
    ]


def _from_environment(environment: Mapping[str, str]) -> list[tuple[str, Any, str]]:
    found = []
    for section, model in Settings.model_fields.items():
        for field in model.annotation.model_fields:  # type: ignore[union-attr]  # each section is a model
            variable = f"CLUSTERBUS_{section}_{field}".upper()
            if (section, field) == ("broker", "url"):
                variable = "CLUSTERBUS_BROKER"
            if value := environment.get(variable):
                listed = value.split() if field == "trusted_users" else value
                found.append((f"{section}.{field}", listed, variable))
    return found


def _mistake(error: Any, origins: Mapping[str, str]) -> str:  # noqa: ANN401 - pydantic's ErrorDetails
    name = ".".join(str(each) for each in error["loc"][:2])
    where = origins.get(name) or next(
        (origin for each, origin in origins.items() if each.startswith(f"{name}.")), "settings"
    )
    if error["type"] != "extra_forbidden":
        # What stands where a contact's address is expected may be a password.
        within = ".".join(str(each) for each in error["loc"][2:])
        value = "" if name == "consumers.contacts" else f" (value {error['input']!r})"
        return f"{where}: {name}{within and f'.{within}'}: {error['msg'].removeprefix('Value error, ')}{value}"
    section = Settings.model_fields.get(name.partition(".")[0])
    known = list(section.annotation.model_fields) if section else list(Settings.model_fields)  # type: ignore[union-attr]
    if name == "consumers.contacts":
        name, known = ".".join(str(each) for each in error["loc"]), list(Contact.model_fields)
    near = difflib.get_close_matches(name.rpartition(".")[2], known, n=1)
    return f"{where}: {name}: unknown setting" + (
        f"; did you mean {near[0]}?" if near else f"; there are {', '.join(known)}"
    )


def _shown(value: object) -> str:
    if isinstance(value, timedelta):
        return durations.text(value)
    if isinstance(value, (tuple, frozenset)):
        return " ".join(sorted(without_password(str(each)) for each in value)) or "-"
    if isinstance(value, Mapping):
        return " ".join(sorted(value)) or "-"
    return "-" if value is None else without_password(str(value))
