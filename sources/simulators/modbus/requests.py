"""What a request is before the data store sees it: served or refused, and which addresses it touches."""

from __future__ import annotations

from typing import Final

from pymodbus.constants import ExcCodes
from pymodbus.pdu import DecodePDU, ModbusPDU
from pymodbus.pdu.register_message import ReadWriteMultipleRegistersRequest

from sources.simulators.spec import TableName

TABLES_BY_FUNCTION: Final[dict[int, TableName]] = {
    1: "coil",
    2: "discrete",
    3: "holding",
    4: "input",
    5: "coil",
    6: "holding",
    15: "coil",
    16: "holding",
    22: "holding",
    23: "holding",
}
"""The function codes that are served, and the table each is about."""

IDENTIFY: Final = 0x2B
"""Encapsulated interface transport; of its types only device identification is served."""

QUEUE: Final = 0x18
"""Read FIFO queue."""

_FIXED_LENGTHS: Final = {1: 5, 2: 5, 3: 5, 4: 5, 5: 5, 6: 5, 22: 7, QUEUE: 3, IDENTIFY: 4}
_DEVICE_IDENTIFICATION: Final = 0x0E
_MOST_COILS: Final = 0x7B0


class Refusal(Exception):
    """A request that is answered with an exception code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"Modbus exception {code}")
        self.code = code


def served(decoder: DecodePDU, pdu: bytes) -> ModbusPDU:
    """The request. Raises Refusal: 1 for a function that is not served, 3 for counts that cannot be."""
    if pdu[0] not in {*TABLES_BY_FUNCTION, QUEUE} and pdu[:2] != bytes((IDENTIFY, _DEVICE_IDENTIFICATION)):
        raise Refusal(ExcCodes.ILLEGAL_FUNCTION)
    if len(pdu) != _FIXED_LENGTHS.get(pdu[0], len(pdu)):
        raise Refusal(ExcCodes.ILLEGAL_VALUE)
    request = decoder.decode(pdu)
    if request is None:
        raise Refusal(ExcCodes.ILLEGAL_VALUE)
    return request


def check(request: ModbusPDU, pdu: bytes) -> None:
    """Refuse what pymodbus lets pass: a coil neither on nor off, byte counts that do not match.

    Raises Refusal.
    """
    function = request.function_code
    if function == 5:
        good = pdu[3:5] in {b"\xff\x00", b"\x00\x00"}
    elif function == 15:
        good = request.count <= _MOST_COILS and pdu[5] == len(pdu) - 6 == (request.count + 7) // 8
    elif function == 16:
        good = 1 <= request.count <= 123 and pdu[5] == len(pdu) - 6 == request.count * 2
    elif isinstance(request, ReadWriteMultipleRegistersRequest):
        good = 1 <= request.write_count <= 121 and pdu[9] == len(pdu) - 10 == request.write_count * 2
    else:
        good = True
    if not good:
        raise Refusal(ExcCodes.ILLEGAL_VALUE)


def spans(request: ModbusPDU) -> list[tuple[TableName, int, int]]:
    """The addresses a request touches, if any: table, first, count."""
    if request.function_code in {IDENTIFY, QUEUE}:
        return []
    table = TABLES_BY_FUNCTION[request.function_code]
    if isinstance(request, ReadWriteMultipleRegistersRequest):
        return [
            (table, request.read_address, request.read_count),
            (table, request.write_address, request.write_count),
        ]
    single = request.function_code in {5, 6, 22}
    return [(table, request.address, 1 if single else request.count)]


def shortened(response: ModbusPDU) -> ModbusPDU:
    """A read's response with the second half of its payload gone, its lengths still in agreement."""
    if response.function_code in {1, 2}:
        response.bits = response.bits[: (len(response.bits) + 7) // 8 // 2 * 8]
    elif response.function_code in {3, 4, 23}:
        response.registers = response.registers[: len(response.registers) // 2]
    return response
