"""JSON Schemas of files that people write: with the defaults as they would stand there, and a text for each field."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from ..model import durations
from .catalogue_file import CatalogueFile
from .field_types import in_any_case, whole
from .models import Settings

DRAFT = "https://json-schema.org/draft/2020-12/schema"


class Generator(GenerateJsonSchema):
    """Makes the schema of a model: defaults as people write them, and for each field a text.

    The text is the docstring below the field, or the sentences of the model's docstring that name the *field* so.
    """

    def encode_default(self, dft: Any) -> Any:  # noqa: ANN401 - pydantic's
        """Return the default *dft* as it would stand in a file."""
        return durations.text(dft) if isinstance(dft, timedelta) else super().encode_default(dft)

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        """Return the schema of a mapping; keys that do not match their pattern are refused, as the model does."""
        found = super().dict_schema(schema)
        for pattern, values in found.pop("patternProperties", {}).items():
            found |= {"propertyNames": {"pattern": pattern}, "additionalProperties": values}
        return found

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        """Return the schema of a model, whose fields have their docstrings as descriptions."""
        found = super().model_schema(schema)
        properties = found.get("properties", {})
        fields = schema["cls"].model_fields
        texts = {fields[name].alias or name: text for name, text in _docstrings(schema["cls"]) if name in fields}
        sentences = re.split(r"(?<=\.)\s+", inspect.cleandoc(schema["cls"].__doc__ or ""))
        for name, each in properties.items():
            # A title made from the field's name says nothing new.
            each.pop("title", None)
            if text := texts.get(name) or " ".join(sentence for sentence in sentences if f"*{name}*" in sentence):
                each.setdefault("description", " ".join(text.split()))
        return found


class LaxGenerator(Generator):
    """Makes the schema of a model that also reads numbers and truths written as texts."""

    def int_schema(self, schema: core_schema.IntSchema) -> JsonSchemaValue:
        """Return the schema of a whole number, or of a text that is one."""
        return {"anyOf": [super().int_schema(schema), {"type": "string", "pattern": "^[+-]?[0-9]+$"}]}

    def float_schema(self, schema: core_schema.FloatSchema) -> JsonSchemaValue:
        """Return the schema of a number, or of a text that is one."""
        number = r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$"
        return {"anyOf": [super().float_schema(schema), {"type": "string", "pattern": number}]}

    def bool_schema(self, schema: core_schema.BoolSchema) -> JsonSchemaValue:
        """Return the schema of a truth, or of a word or number that means one."""
        words = whole(in_any_case("true|false|yes|no|on|off|t|f|y|n|1|0"))
        return {"anyOf": [super().bool_schema(schema), {"type": "string", **words}, {"enum": [0, 1]}]}


def document(model: type[BaseModel], name: str, generator: type[Generator] = Generator) -> dict[str, Any]:
    """Return the schema of the files that *model* describes; *name* is part of its `$id`."""
    found = model.model_json_schema(schema_generator=generator)
    return {"$schema": DRAFT, "$id": f"urn:clusterbus:schema:{name}:1", **found}


def _docstrings(model: type[BaseModel]) -> Iterator[tuple[str, str]]:
    """Yield the fields of *model* that have a text below them, each with the text; those of *model* itself last."""
    for each in reversed(model.__mro__[: model.__mro__.index(BaseModel)]):
        try:
            (tree,) = ast.parse(textwrap.dedent(inspect.getsource(each))).body
        except (OSError, TypeError, SyntaxError):
            continue  # made while the program runs: what it inherits has a source
        body = getattr(tree, "body", [])
        for before, after in pairwise(body):
            match before, after:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    yield name, inspect.cleandoc(text)
                case _:
                    pass


def of_catalogue() -> dict[str, Any]:
    """Return the schema of the file of `router.catalogue`."""
    return document(CatalogueFile, "catalogue", LaxGenerator)


def of_settings() -> dict[str, Any]:
    """Return the schema of settings files.  An empty file, which is null, means the defaults."""
    return document(Settings, "settings", LaxGenerator) | {"type": ["object", "null"]}
