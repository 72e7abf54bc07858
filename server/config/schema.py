"""The JSON Schema of the file, for editors that complete and check while one types."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from server.config.models import PlantFile, StaleStanza
from sources.registry import DRIVERS, Driver

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

_ENABLED: Final = {
    "type": "boolean",
    "default": True,
    "description": "false: not dialled; all its values are BadOutOfService.",
}

_STALE: Final = "How old its values may grow. Default: what their scan classes say."


def schema(drivers: Mapping[str, Driver] = DRIVERS) -> dict[str, Any]:
    """JSON Schema 2020-12 of a plant file, sources discriminated by ``driver``.

    It knows the form of every stanza, not the names in them: a file it accepts may still
    have problems that only `load` finds.
    """
    models: list[type[BaseModel]] = [
        PlantFile,
        StaleStanza,
        *(driver.settings for driver in drivers.values()),
    ]
    refs, whole = models_json_schema([(model, "validation") for model in models])
    definitions = whole["$defs"]
    root = definitions.pop(PlantFile.__name__)
    stale = {**refs[StaleStanza, "validation"], "description": _STALE}
    choices = []
    for driver in drivers.values():
        reference = refs[driver.settings, "validation"]["$ref"]
        stanza = definitions[reference.rpartition("/")[2]]
        stanza["properties"] = {**stanza["properties"], "enabled": _ENABLED, "stale": stale}
        stanza["required"] = sorted({*stanza.get("required", ()), "driver"})
        choices.append({"$ref": reference})
    sources = root["properties"]["sources"]
    (names,) = sources["patternProperties"]
    sources["patternProperties"] = {
        names: {"type": "object", "discriminator": {"propertyName": "driver"}, "oneOf": choices}
    }
    result = {
        "$schema": DIALECT,
        "title": "Isthmus plant file",
        **{key: value for key, value in root.items() if key != "title"},
        "required": ["model"],
        "$defs": definitions,
    }
    _tidy(result)
    used = set(_references(result))
    result["$defs"] = {name: stanza for name, stanza in definitions.items() if name in used}
    return result


def _tidy(node: Any) -> None:
    """Refuse names that match no pattern, which pydantic leaves open, and write defaults as the file does."""
    if isinstance(node, list):
        for child in node:
            _tidy(child)
    if not isinstance(node, dict):
        return
    if "patternProperties" in node:
        node.setdefault("additionalProperties", False)
    default = node.get("default")
    if isinstance(default, float) and node.get("type") == "string":
        node["default"] = f"{default:g}s"
    elif isinstance(default, dict) or ("default" in node and default is None):
        del node["default"]
    for child in node.values():
        _tidy(child)


def _references(node: Any) -> Iterator[str]:
    """Names of the definitions that something refers to."""
    if isinstance(node, dict):
        if isinstance(reference := node.get("$ref"), str):
            yield reference.rpartition("/")[2]
        for child in node.values():
            yield from _references(child)
    elif isinstance(node, list):
        for child in node:
            yield from _references(child)
