"""Which items have which others report (OPC 10000-4 §5.13.1.6)."""

from __future__ import annotations


class Links(dict[int, dict[int, None]]):
    """The items that each triggering item triggers, by number; none of them has an empty place here."""

    __slots__ = ("_triggers", "count")

    def __init__(self) -> None:
        super().__init__()
        self._triggers: dict[int, dict[int, None]] = {}
        """The other way round."""
        self.count = 0
        """All links."""

    def add(self, trigger: int, item: int) -> None:
        """Link an item to a triggering item, if it is not yet."""
        linked = self.setdefault(trigger, {})
        if item not in linked:
            linked[item] = None
            self._triggers.setdefault(item, {})[trigger] = None
            self.count += 1

    def remove(self, trigger: int, item: int) -> bool:
        """Remove a link; False where there is none."""
        linked = self.get(trigger, {})
        if item not in linked:
            return False
        self.count -= 1
        for places, one, other in ((self, trigger, item), (self._triggers, item, trigger)):
            del places[one][other]
            if not places[one]:
                del places[one]
        return True

    def drop(self, item: int) -> list[int]:
        """Remove all links of an item, to and from it; the others that trigger nothing any more."""
        for linked in list(self.get(item, ())):
            self.remove(item, linked)
        triggers = list(self._triggers.get(item, ()))
        for trigger in triggers:
            self.remove(trigger, item)
        return sorted(trigger for trigger in triggers if trigger not in self)
