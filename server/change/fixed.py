"""What of a configuration holds for as long as the server runs."""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel

from server.config import Configuration

_SECTIONS: Final = ("opcua", "audit", "mqtt", "metrics")


def needs_restart(old: Configuration, new: Configuration) -> list[str]:
    """Every key of the new configuration that only a restart can bring about: what it was and would be."""
    found = []
    for name, was, now in (
        ("namespaces.plant", old.plant.plant_uri, new.plant.plant_uri),
        ("namespaces.types", old.plant.types_uri, new.plant.types_uri),
    ):
        if was != now:
            found.append(f"{name}: {was} -> {now}")
    for section in _SECTIONS:
        found += _differing(section, getattr(old, section), getattr(new, section))
    return found


def _differing(section: str, old: BaseModel | None, new: BaseModel | None) -> list[str]:
    if old is None or new is None:
        return [] if old is new else [f"{section}: {'taken out' if new is None else 'added'}"]
    before, after = dict(old), dict(new)
    return [
        f"{section}.{key}: {_shown(before[key])} -> {_shown(now)}"
        for key, now in after.items()
        if before[key] != now
    ]


def _shown(value: object) -> str:
    """A value as it stands in the file."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    return f"[{', '.join(map(str, value))}]" if isinstance(value, tuple) else str(value)
