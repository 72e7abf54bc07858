"""An inventory as YAML that a plant file takes by ``include:``, or section by section.

A type with instances becomes a class, each instance an equipment of it; their map stands
once and is shared by an alias. An array of them is one stanza with ``for:``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from server.config.properties import RESERVED
from server.config.scalars import plain
from server.tools.inventory import Instance, Inventory, Leaf, Shape, Single

ROOT_LEVEL: Final = "WorkUnit"
PART_LEVEL: Final = "EquipmentModule"

_LONGEST: Final = 63
_NAMED: Final = 10
_PLAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*")
_INDEXES: Final = ("n", "m", "k")
_RESERVED: Final = 10_000
"""So many names of an array's elements are kept from being used for anything else."""


def fragment(
    inventory: Inventory, source: str, *, settings: Mapping[str, Any] | None = None, under: str = ""
) -> str:
    """The YAML text. ``settings`` are the source's, None where its stanza stands elsewhere.

    ``under`` is the path of the equipment that is to contain it all, empty for none.
    """
    return "".join(f"{line}\n" for line in _Writer(inventory, source, settings, under).lines())


@dataclass(slots=True)
class _Names:
    """Names that are taken within one owner: at first those that every equipment has."""

    taken: set[str] = field(default_factory=lambda: set(RESERVED))

    def take(self, text: str, *, also: Iterable[str] = ()) -> str:
        """A name like the text that nobody has yet. ``also``: endings that must be free with it."""
        base = re.sub(r"[^A-Za-z0-9_-]+", "_", text).strip("_") or "Tag"
        base = base if base[0].isalpha() else f"T_{base}"
        endings = list(also)
        room = _LONGEST - max((len(ending) for ending in endings), default=0)
        name, number = base[:room], 1
        while any(f"{name}{ending}" in self.taken for ending in endings or [""]):
            number += 1
            name = f"{base[: room - len(str(number)) - 1]}_{number}"
        self.taken.update(f"{name}{ending}" for ending in endings or [""])
        return name


class _Writer:
    def __init__(
        self, inventory: Inventory, source: str, settings: Mapping[str, Any] | None, under: str
    ) -> None:
        self._inventory = inventory
        self._source = source
        self._settings = settings
        self._root = f"{under.strip('/')}/{source}" if under else source
        self._names: dict[str, _Names] = {}
        self._classes: dict[int, str] = {}
        self._class_names = _Names()
        self._members: dict[int, list[tuple[str, Leaf]]] = {}
        self._anchored: set[int] = set()

    def lines(self) -> Iterator[str]:
        """The file, line by line."""
        yield from self._head()
        if self._settings is not None:
            yield "sources:"
            yield f"  {self._source}: {_flow(self._settings)}"
        shapes = {id(each.shape): each.shape for each in self._inventory.instances}
        if shapes:
            yield "classes:"
            for shape in shapes.values():
                yield from self._class(shape)
        yield "equipment:"
        yield from self._equipment()

    def _head(self) -> Iterator[str]:
        identity = ", ".join(f"{key} {value}" for key, value in self._inventory.identity.items())
        if identity:
            yield f"# {_comment(identity)}"
        yield "# Save it beside the plant file and name it there (include: [this-file.yaml]), or copy each"
        yield "# section beneath its heading. Levels are guesses. Nothing can be written without access: rw."
        left = self._inventory.left_out
        if left:
            yield f"# Left out, {len(left)} in all:"
            for each in left[:_NAMED]:
                yield f"#   {_comment(each.label)}: {_comment(each.reason)}"
            if len(left) > _NAMED:
                yield f"#   and {len(left) - _NAMED} more"

    def _class(self, shape: Shape) -> Iterator[str]:
        name = self._classes[id(shape)] = self._class_names.take(shape.name)
        names = _Names()
        members = [(names.take("_".join(leaf.path)), leaf) for leaf in shape.leaves]
        self._members[id(shape)] = members
        yield f"  {name}:"
        yield f"    level: {PART_LEVEL}"
        if shape.description:
            yield f"    description: {_scalar(_short(shape.description))}"
        yield "    properties:"
        for member, leaf in members:
            yield f"      {member}: {_flow(_property(leaf))}"

    def _equipment(self) -> Iterator[str]:
        scopes: dict[tuple[str, ...], tuple[list[Single], list[Instance]]] = {(): ([], [])}
        for single in self._inventory.singles:
            scopes.setdefault(single.scope, ([], []))[0].append(single)
        for instance in self._inventory.instances:
            scopes.setdefault(instance.scope, ([], []))[1].append(instance)
        paths: dict[tuple[str, ...], str] = {(): self._root}
        for scope in sorted(scopes, key=len):
            for depth in range(1, len(scope) + 1):
                outer, inner = scope[: depth - 1], scope[:depth]
                if inner not in paths:
                    name = self._taken(paths[outer]).take(inner[-1])
                    paths[inner] = f"{paths[outer]}/{name}"
        for scope, path in paths.items():
            singles, instances = scopes.get(scope, ([], []))
            yield from self._owner(path, singles, level=PART_LEVEL if scope else ROOT_LEVEL)
            for instance in instances:
                yield from self._instance(path, instance)

    def _taken(self, path: str) -> _Names:
        return self._names.setdefault(path, _Names())

    def _owner(self, path: str, singles: list[Single], *, level: str) -> Iterator[str]:
        yield f"  {_scalar(path)}:"
        yield f"    level: {level}"
        if not singles:
            return
        names = self._taken(path)
        members = [(names.take("_".join(each.leaf.path)), each.leaf) for each in singles]
        yield f"    source: {self._source}"
        yield "    properties:"
        for name, leaf in members:
            yield f"      {name}: {_flow(_property(leaf))}"
        yield "    map:"
        yield from _map(members)

    def _instance(self, path: str, instance: Instance) -> Iterator[str]:
        shape = instance.shape
        variables = _INDEXES[: len(instance.dimensions)]
        if variables:
            name = self._taken(path).take(instance.name, also=_endings(instance))
            name += "".join(f"_{{{variable}}}" for variable in variables)
            prefix = instance.prefix.format(*(f"{{{variable}}}" for variable in variables))
        else:
            name = self._taken(path).take(instance.name)
            prefix = instance.prefix
        yield f"  {_scalar(f'{path}/{name}')}:"
        if variables:
            spans = {v: f"0..{n - 1}" for v, n in zip(variables, instance.dimensions, strict=True)}
            yield f"    for: {spans['n'] if len(spans) == 1 else _flow(spans)}"
        yield f"    class: {self._classes[id(shape)]}"
        if instance.description:
            text = _short(instance.description)
            # In a stanza that is repeated braces are calculated.
            text = text.replace("{", "{{").replace("}", "}}") if variables else text
            yield f"    description: {_scalar(text)}"
        yield f"    source: {self._source}"
        if prefix:
            yield f"    prefix: {json.dumps(prefix, ensure_ascii=False)}"
        if instance.addresses:
            members = zip(self._members[id(shape)], instance.addresses, strict=True)
            yield "    map:"
            yield from _map((name, replace(leaf, address=address)) for (name, leaf), address in members)
            return
        anchor = self._classes[id(shape)]
        if id(shape) in self._anchored:
            yield f"    map: *{anchor}"
            return
        self._anchored.add(id(shape))
        yield f"    map: &{anchor}"
        yield from _map(self._members[id(shape)])


def _endings(instance: Instance) -> list[str]:
    """What an array's elements are called behind its name, as far as that is looked at."""
    endings = [""]
    for length in instance.dimensions:
        endings = [f"{ending}_{index}" for ending in endings for index in range(min(length, _RESERVED))]
        endings = endings[:_RESERVED]
    return endings


def _property(leaf: Leaf) -> dict[str, Any]:
    keys: dict[str, Any] = {"type": leaf.type.name}
    if leaf.length is not None:
        keys["array"] = leaf.length or "any"
    keys |= dict(leaf.keys)
    if leaf.description:
        keys["description"] = _short(leaf.description)
    return keys


def _map(members: Iterable[tuple[str, Leaf]]) -> Iterator[str]:
    for name, leaf in members:
        binding: dict[str, Any] = {"addr": _Quoted(leaf.address)}
        if leaf.encoding is not None and not leaf.implied:
            binding["as"] = leaf.encoding
        binding |= dict(leaf.binding)
        yield f"      {name}: {_scalar(binding['addr'] if len(binding) == 1 else binding)}"


class _Quoted(str):
    """A text that is quoted even where it need not be: an address looks like one."""

    __slots__ = ()


def _flow(mapping: Mapping[str, Any]) -> str:
    return "{" + ", ".join(f"{key}: {_scalar(value)}" for key, value in mapping.items()) + "}"


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        if not isinstance(value, _Quoted) and _PLAIN.fullmatch(value) and plain(value) == value:
            return value
        return json.dumps(_printable(value), ensure_ascii=False)
    if isinstance(value, list | tuple):
        return f"[{', '.join(_scalar(item) for item in value)}]"
    if isinstance(value, Mapping):
        return _flow(value)
    return json.dumps(value)


def _printable(text: str) -> str:
    return "".join(sign if sign.isprintable() else " " for sign in text)


def _comment(text: str) -> str:
    return _printable(text)


def _short(text: str) -> str:
    """A description on one line, no longer than the configuration takes."""
    words = " ".join(text.split())
    return words if len(words) <= 1000 else f"{words[:999]}…"
