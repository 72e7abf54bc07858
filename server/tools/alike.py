"""Classes guessed from likeness: where nothing says what is of one type, the same values do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from server.tools.inventory import Instance, Leaf, Shape, Single

Path = tuple[str, ...]
"""The names of an equipment from the outermost in; empty for none."""


def grouped(owners: Mapping[Path, Sequence[Single]]) -> tuple[list[Single], list[Instance]]:
    """Equipment with the same values, two of it at least, as instances of one shape; the rest as it is."""
    alike: dict[tuple[Leaf, ...], list[Path]] = {}
    for owner, members in owners.items():
        if owner:
            key = tuple(replace(each.leaf, address="", description="") for each in members)
            alike.setdefault(key, []).append(owner)
    instances: list[Instance] = []
    for places in alike.values():
        if len(places) > 1:
            instances += _instances({owner: [each.leaf for each in owners[owner]] for owner in places})
    taken = {(*instance.scope, instance.name) for instance in instances}
    singles = [each for owner, members in owners.items() if owner not in taken for each in members]
    return singles, instances


def _instances(places: Mapping[Path, Sequence[Leaf]]) -> list[Instance]:
    """What the addresses of each begin with goes before them, where all else is the same."""
    prefixes = {owner: _prefix([leaf.address for leaf in leaves]) for owner, leaves in places.items()}
    relative = {
        tuple(leaf.address.removeprefix(prefixes[owner]) for leaf in leaves)
        for owner, leaves in places.items()
    }
    first = next(iter(places.values()))
    stem = _stem([owner[-1] for owner in places])
    if len(relative) == 1:
        (addresses,) = relative
        leaves = [replace(leaf, address=address) for leaf, address in zip(first, addresses, strict=True)]
        shape = Shape(stem, tuple(leaves))
        return [
            Instance(owner[:-1], owner[-1], shape, prefix, "/".join(owner))
            for owner, prefix in prefixes.items()
        ]
    shape = Shape(stem, tuple(first))
    return [
        Instance(
            *(owner[:-1], owner[-1], shape, "", "/".join(owner)),
            addresses=tuple(leaf.address for leaf in leaves),
        )
        for owner, leaves in places.items()
    ]


def _prefix(addresses: Sequence[str]) -> str:
    """What all addresses begin with, up to the last dot: ``Pump1.`` of Logix tags."""
    common = _common(addresses)
    return common[: common.rfind(".") + 1]


def _stem(names: Sequence[str]) -> str:
    """What Pump1 and Pump2 have in common."""
    return _common(names).rstrip("0123456789_- ") or min(names)


def _common(texts: Sequence[str]) -> str:
    first, last = min(texts), max(texts)
    length = next((at for at, sign in enumerate(first) if last[at : at + 1] != sign), len(first))
    return first[:length]
