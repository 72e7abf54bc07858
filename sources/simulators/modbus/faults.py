"""What a Modbus device can be told to do wrong beside what every device can."""

from __future__ import annotations

from dataclasses import dataclass, field

from sources.simulators.faults import Faults


@dataclass(slots=True)
class ModbusFaults(Faults):
    """All faults of one Modbus simulator, as they are set now.

    ``short_reply``: reads bring about half of what was asked. ``exceptions``: exception
    codes by table and address, for every request that touches it.
    """

    short_reply: bool = False
    exceptions: dict[tuple[str, int], int] = field(default_factory=dict)

    def exception_in(self, table: str, address: int, count: int) -> int | None:
        """The exception code that a request touching these addresses gets, if any."""
        for (its_table, at), code in self.exceptions.items():
            if its_table == table and address <= at < address + count:
                return code
        return None
