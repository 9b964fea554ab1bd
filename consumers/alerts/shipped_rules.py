"""The rules of alerts that come with clusterbus, and what a site changes of them by name.

A rule of a site with the name of a shipped one has its fields; those that the site does not write are as shipped.  So
who changes how often to be reminded keeps what closes the alert, also that of a later release.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from router.settings import yaml_documents

from .rules import Rule

FILE = Path(__file__).parent / "shipped.yaml"

NULLABLE: Final = ("closes", "by", "severity_if", "suppresses")
"""Fields that a null takes away, although they are lists or mappings; other fields say themselves what null means."""


@cache
def fields() -> Mapping[str, Mapping[str, Any]]:
    """Return what the file of shipped rules says, by their names."""
    document: Any = yaml_documents.read(FILE).value
    return {each["name"]: each for each in document["alerts"]}


@cache
def rules() -> Mapping[str, Rule]:
    """Return the shipped rules by their names."""
    return {name: Rule.model_validate(each) for name, each in fields().items()}


def completed(written: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the fields of the rule *written* in a file, with those of the shipped rule of its name that it lacks.

    A null takes a field away.

    >>> completed({"name": "deadlock", "closes_after": "30m"})["opens"]
    'deadlockDetected'
    >>> completed({"name": "tape-robot"})
    {'name': 'tape-robot'}
    >>> "closes" in completed({"name": "node-down", "closes": None, "closes_after": "1h"})
    False
    """
    name = written.get("name")
    found = {**(fields().get(name, {}) if isinstance(name, str) else {}), **written}
    return {each: value for each, value in found.items() if value is not None or each not in NULLABLE}
