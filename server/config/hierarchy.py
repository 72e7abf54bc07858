"""The equipment as a tree: parents there and above, names and node ids unique, parents first."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from server.config.equipment import Made
from server.config.errors import article, closest
from server.config.repeat import shown
from server.config.report import Report
from server.config.tree import Loc
from server.plant.model import Equipment, EquipmentLevel

_RANK: Final = {
    EquipmentLevel.Enterprise: 0,
    EquipmentLevel.Site: 1,
    EquipmentLevel.Area: 2,
    EquipmentLevel.WorkCenter: 3,
    EquipmentLevel.ProcessCell: 3,
    EquipmentLevel.ProductionLine: 3,
    EquipmentLevel.ProductionUnit: 3,
    EquipmentLevel.StorageZone: 3,
    EquipmentLevel.WorkUnit: 4,
    EquipmentLevel.Unit: 4,
    EquipmentLevel.WorkCell: 4,
    EquipmentLevel.StorageUnit: 4,
    EquipmentLevel.EquipmentModule: 5,
    EquipmentLevel.ControlModule: 6,
}
"""How far down a level is; equipment may contain its own rank and those below. Other fits anywhere."""


def arrange(made: Sequence[Made], unknown: Iterable[str], report: Report) -> tuple[Equipment, ...]:
    """All equipment, each after its parent, else in the order of the file. Tells of what does not fit.

    ``unknown`` are the keys of stanzas whose paths could not be made: what stands beneath
    them may well have its parent.
    """
    by_path: dict[str, Made] = {}
    for item in made:
        first = by_path.setdefault(item.equipment.path, item)
        if first is not item:
            message = f"{item.equipment.path} is made twice; also by {report.place(first.loc)}"
            report.once(item.loc, "twice", message + _suffix(item), "give each equipment a path of its own")
    _check_parents(by_path, unknown, report)
    _check_ids(by_path.values(), report)
    children: dict[str | None, list[Made]] = {}
    for item in by_path.values():
        children.setdefault(item.equipment.parent, []).append(item)
    ordered: list[Equipment] = []
    waiting = list(reversed(children.get(None, [])))
    while waiting:
        item = waiting.pop()
        ordered.append(item.equipment)
        waiting.extend(reversed(children.get(item.equipment.path, [])))
    return tuple(ordered)


def _suffix(item: Made) -> str:
    return f" (with {shown(item.variables)})" if item.variables else ""


def _pattern(key: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in re.split(r"\{[^}]*\}", key)))


def _check_parents(by_path: dict[str, Made], unknown: Iterable[str], report: Report) -> None:
    patterns = [_pattern(key) for key in unknown]
    members: dict[int, frozenset[str]] = {}
    lacking: set[str] = set()
    for item in by_path.values():
        parent_path = item.equipment.parent
        if parent_path is None:
            continue
        parent = by_path.get(parent_path)
        if parent is None:
            if parent_path not in lacking and not any(each.fullmatch(parent_path) for each in patterns):
                message = f"its parent {parent_path} is not in the file{_suffix(item)}"
                others = [path for path in by_path if not f"{path}/".startswith(f"{parent_path}/")]
                meant = closest(parent_path, others, 0.85)
                hint = f"did you mean '{meant}'?" if meant else f"add {parent_path}: {{level: …}}"
                report.once(item.loc, "parent", message, hint)
            lacking.add(parent_path)
            continue
        _check_level(item, by_path, report)
        properties = parent.equipment.properties
        names = members.get(id(properties))
        if names is None:
            names = members[id(properties)] = frozenset(prop.name for prop in properties)
        if item.equipment.name in names:
            message = f"{parent_path} has a property of the name {item.equipment.name} as well"
            report.once(item.loc, "clash", message + _suffix(item), "rename the equipment or the property")


def _check_level(item: Made, by_path: dict[str, Made], report: Report) -> None:
    """Against the nearest equipment above whose level says how high it stands."""
    rank = _RANK.get(item.equipment.level)
    above = by_path.get(item.equipment.parent or "")
    while above is not None and above.equipment.level not in _RANK:
        above = by_path.get(above.equipment.parent or "")
    if rank is None or above is None or rank >= _RANK[above.equipment.level]:
        return
    inner = item.equipment
    outer = above.equipment
    message = f"{outer.path} is {article(outer.level.name)} and cannot contain {article(inner.level.name)}"
    report.once((*item.loc, "level"), "level", message + _suffix(item), "change one level, or use Other")


def _check_ids(made: Iterable[Made], report: Report) -> None:
    """Node ids made from paths are unique as the paths are; only pinned ones can meet others."""
    items = list(made)
    if not any(
        item.equipment.pinned_id or any(prop.pinned_id for prop in item.equipment.properties)
        for item in items
    ):
        return
    owners: dict[str, _Owner] = {}
    for item in items:
        for owner, node_ids in _nodes(item):
            for node_id in node_ids:
                other = owners.setdefault(node_id, owner)
                if other.key != owner.key:
                    one, two = (owner, other) if owner.pinned or not other.pinned else (other, owner)
                    message = f"the node id {node_id} is also that of {two.key}{_suffix(one.item)}"
                    report.once(one.loc, "id", message, "every node needs an id of its own")


class _Owner(NamedTuple):
    """Whose node id one is."""

    key: str
    item: Made
    loc: Loc
    pinned: bool


def _nodes(item: Made) -> Iterator[tuple[_Owner, list[str]]]:
    """Everything with node ids in one equipment; what a property has beneath it counts as its own."""
    equipment = item.equipment
    own = _Owner(equipment.path, item, (*item.loc, "id"), equipment.pinned_id is not None)
    yield own, [equipment.node_id, f"{equipment.node_id}.EquipmentLevel"]
    for prop in equipment.properties:
        loc = (*item.loc, "properties", prop.name, "id")
        node_id = prop.node_id
        yield (
            _Owner(prop.key, item, loc, prop.pinned_id is not None),
            [node_id, f"{node_id}.EngineeringUnits", f"{node_id}.EURange"],
        )
