"""ModbusSource: one unit of a Modbus device or gateway, and the session while it is connected."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final, Never

from sources import clock
from sources.batch import Batch, Emit
from sources.errors import ConnectionLost
from sources.insight import PlannedBlock, Traffic
from sources.modbus import codec
from sources.modbus.config import ModbusSettings
from sources.modbus.decode import Layout, ModbusTag, elements_of, encode, register_mask, to_bool
from sources.modbus.device import Device, Missing
from sources.modbus.encodings import Encoding
from sources.modbus.exchange import NoReply, NotSent
from sources.modbus.explain import explain
from sources.modbus.formats import Unencodable
from sources.modbus.line import Gateway, Unit
from sources.modbus.plan import Block, Limits, plan
from sources.modbus.scan import Scan
from sources.quality import (
    BAD_COMMUNICATION_ERROR,
    BAD_CONFIGURATION_ERROR,
    BAD_NOT_CONNECTED,
    BAD_NOT_WRITABLE,
    BAD_RESOURCE_UNAVAILABLE,
    BAD_TIMEOUT,
    GOOD,
    Quality,
)
from sources.statistics import ScanStatistics
from sources.tag import Part, Tag, Value, Written
from sources.turns import Busy

log = logging.getLogger(__name__)

RETRY_MISSING: Final = 60.0
"""Seconds after which a point the device refused is tried again."""


class ModbusSource:
    """See `sources.source.Source`."""

    def __init__(
        self,
        name: str,
        settings: ModbusSettings,
        tags: Sequence[ModbusTag],
        *,
        retry_missing: float = RETRY_MISSING,
    ) -> None:
        self._device = Device(name, settings, tuple(tags), retry_missing, Missing(settings.forbidden_spans))
        self._gateway = Gateway.of(settings, self)

    @property
    def name(self) -> str:
        """See Source."""
        return self._device.name

    @property
    def address(self) -> str:
        """See Source."""
        return self._device.settings.address

    @property
    def tags(self) -> Sequence[ModbusTag]:
        """See Source."""
        return self._device.tags

    @property
    def statistics(self) -> Mapping[str, ScanStatistics]:
        """What was counted, by the name of the scan class, over all connections."""
        return self._device.statistics

    @property
    def traffic(self) -> Traffic:
        """See sources.insight.HasTraffic."""
        return self._device.traffic

    def plan(self) -> Sequence[PlannedBlock]:
        """See sources.insight.HasPlan."""
        return explain(self._device)

    def bad_points(self) -> Sequence[str]:
        """See sources.insight.HasPlan."""
        return self._device.missing.names

    def retag(self, tags: Sequence[ModbusTag]) -> None:
        """See Source: blocks that stay as they are keep their rhythm, and what is on its way."""
        self._device.retag(tags)

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[ModbusSession]:
        """Dial, or share the line of others. Raises Unreachable or Refused."""
        device = self._device
        async with self._gateway.unit(device.settings, device.traffic, _question(device)) as unit:
            yield ModbusSession(device, unit)


def _whole(tag: ModbusTag, value: Written) -> tuple[ModbusTag, Value]:
    """A part of an array as the whole of a tag that has these elements alone."""
    if not isinstance(value, Part):
        return tag, value
    count = len(value.values)
    return replace(tag, address=tag.address.part(value.first, count), length=count), value.values


def _question(device: Device) -> codec.Request | None:
    """What a device can be asked to see whether it is there: one of its own points."""
    for tag in device.tags:
        if tag not in device.missing:
            address = tag.address
            return codec.read(device.settings.unit, address.table, address.start, address.count)
    return None


class ModbusSession:
    """See `sources.source.Session`."""

    def __init__(self, device: Device, unit: Unit) -> None:
        self._device = device
        self._name = device.name
        self._unit = unit.number
        self._write_with = device.settings.write_with
        self._lacks = device.missing.functions
        self._line = unit

    async def scan(self, emit: Emit) -> Never:
        """See Session."""
        await Scan(self._device, self._line, emit).run()

    async def read(self, tags: Sequence[Tag[Any]]) -> Batch:
        """See Session; goes before the next block of the scan."""
        wanted: tuple[ModbusTag, ...] = tuple(tags)
        found: dict[int, tuple[Value, Quality]] = {}
        try:
            for block in plan(wanted, Limits.of(self._device.settings), self._device.missing.holes):
                await self._read_block(block, found)
        except Busy as busy:
            log.warning("%s: a read was refused: %s", self._name, busy)
            return Batch(wanted, None, BAD_RESOURCE_UNAVAILABLE, None, clock.now())
        answers = [found[id(tag)] for tag in wanted]
        return Batch(wanted, [value for value, _ in answers], [q for _, q in answers], None, clock.now())

    async def _read_block(self, block: Block, found: dict[int, tuple[Value, Quality]]) -> None:
        layout = Layout(block.table, block.start, block.count, block.tags)
        request = codec.read(self._unit, block.table, block.start, block.count)
        try:
            async with self._line.slots.command():
                reply = await self._line.exchange(request)
            data = codec.check_read(request, reply, layout.size)
        except NoReply as error:
            raise ConnectionLost(f"{block.tags[0].name}: {error}", BAD_TIMEOUT) from None
        except codec.MalformedReply:
            found.update((id(tag), (None, BAD_COMMUNICATION_ERROR)) for tag in block.tags)
        except codec.DeviceException as error:
            if error.read_quality == BAD_CONFIGURATION_ERROR and len(block.tags) > 1:
                for tag in block.tags:
                    await self._read_block(Block.around((tag,)), found)
            else:
                found.update((id(tag), (None, error.read_quality)) for tag in block.tags)
        else:
            values, qualities = layout.decode(data)
            each = [qualities] * len(values) if isinstance(qualities, int) else qualities
            for tag, value, quality in zip(layout.tags, values, each, strict=True):
                found[id(tag)] = value, quality

    async def write(self, pairs: Sequence[tuple[Tag[Any], Written]]) -> list[Quality]:
        """See Session; goes before the next block of the scan.

        What could not be sent is BadNotConnected, or BadResourceUnavailable where too many
        commands wait already: then the device has not seen it.
        """
        return [await self._write(*_whole(tag, value)) for tag, value in pairs]

    async def _write(self, tag: ModbusTag, value: Value) -> Quality:
        if not tag.writable or not tag.address.table.is_writable:
            return BAD_NOT_WRITABLE
        try:
            if tag.address.encoding is Encoding.bool:
                if tag.address.elements is not None:
                    bits = [to_bool(tag, element) for element in elements_of(tag, value)]
                    coils = codec.write_coils(self._unit, tag.address.start, bits)
                    async with self._line.slots.command():
                        return await self._send(tag, coils)
                bit = to_bool(tag, value)
                carry_out = self._write_coil if tag.address.table.is_bits else self._write_bit
                async with self._line.slots.command():
                    return await carry_out(tag, bit)
            data = encode(tag, value)
            async with self._line.slots.command():
                return await self._write_registers(tag, data)
        except Unencodable as error:
            log.info("%s: not written: %s", self._name, error)
            return error.quality
        except Busy as busy:
            log.warning("%s: a write to %s was refused: %s", self._name, tag.name, busy)
            return BAD_RESOURCE_UNAVAILABLE
        except NotSent:
            return BAD_NOT_CONNECTED
        except codec.DeviceException as error:
            log.info("%s: the device answered a write to %s with %s", self._name, tag.name, error)
            return error.write_quality

    async def _write_coil(self, tag: ModbusTag, value: bool) -> Quality:
        unit, address = self._unit, tag.address.start
        first, second = codec.write_coil(unit, address, value), codec.write_coils(unit, address, [value])
        return await self._send_either(tag, first, second)

    async def _write_registers(self, tag: ModbusTag, data: bytes) -> Quality:
        unit, address = self._unit, tag.address.start
        several = codec.write_registers(unit, address, data)
        if self._write_with == "fc23":
            return await self._send_either(tag, codec.write_and_read(unit, address, data), several)
        if self._write_with == "fc16" or tag.address.count > 1:
            return await self._send(tag, several)
        return await self._send_either(tag, codec.write_register(unit, address, data), several)

    async def _write_bit(self, tag: ModbusTag, value: bool) -> Quality:
        """By FC 22, which changes one bit within the device.

        A device that does not know it has its register read, changed and written back, in
        one turn, so that no other write of ours comes between. One of the device's own may.
        """
        address, mask = tag.address, register_mask(tag.address)
        if codec.MASK_WRITE_REGISTER not in self._lacks:
            try:
                return await self._send(tag, codec.mask_write(self._unit, address.start, mask, value))
            except codec.DeviceException as error:
                if error.code != codec.ILLEGAL_FUNCTION:
                    raise
            self._lacks.add(codec.MASK_WRITE_REGISTER)
            log.warning(
                "%s: the device cannot write single bits (FC 22): %s is read, changed and written back; what "
                "the device does to other bits of that register in between is lost",
                self._name,
                tag.address,
            )
        request = codec.read(self._unit, address.table, address.start, 1)
        try:
            raw = codec.check_read(request, await self._line.exchange(request), 2)
        except NoReply:
            return BAD_TIMEOUT  # of the reading, here and below: nothing was written
        except ConnectionLost:
            return BAD_NOT_CONNECTED
        except codec.MalformedReply:
            return BAD_COMMUNICATION_ERROR
        register = int.from_bytes(raw, "big")
        changed = register | mask if value else register & ~mask
        if changed == register:
            return GOOD
        return await self._write_registers(tag, changed.to_bytes(2, "big"))

    async def _send_either(self, tag: ModbusTag, first: codec.Request, second: codec.Request) -> Quality:
        """Send the first, or, to a device that says it does not know that function, the second."""
        if first.function not in self._lacks:
            try:
                return await self._send(tag, first)
            except codec.DeviceException as error:
                if error.code != codec.ILLEGAL_FUNCTION:
                    raise
            self._lacks.add(first.function)
        return await self._send(tag, second)

    async def _send(self, tag: ModbusTag, request: codec.Request) -> Quality:
        """Send once. Raises DeviceException, NotSent, and ConnectionLost where nobody knows what was done."""
        try:
            codec.check_write(request, await self._line.exchange(request))
        except codec.DeviceException as error:
            if error.code != codec.TARGET_SILENT:
                raise
            raise ConnectionLost(
                f"{error} to the write of {tag.name}: it may have been carried out", error.write_quality
            ) from None
        except NoReply as error:
            raise ConnectionLost(
                f"{error} to the write of {tag.name}: it may have been carried out", BAD_TIMEOUT
            ) from None
        except codec.MalformedReply as error:
            raise ConnectionLost(
                f"{error}, after writing {tag.name}: it may have been carried out", BAD_COMMUNICATION_ERROR
            ) from None
        return GOOD
