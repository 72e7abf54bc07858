"""A Modbus server on pymodbus whose memory is the machines' and whose manners are the faults'."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ssl
from collections.abc import AsyncIterator, Coroutine
from typing import Any, Final

from pymodbus import ModbusDeviceIdentification
from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from sources.simulators.listen import ListenError, end, listen
from sources.simulators.modbus.connection import Connection, Datagrams
from sources.simulators.modbus.faults import ModbusFaults
from sources.simulators.modbus.image import Image, NoSuchAddressError
from sources.simulators.modbus.requests import TABLES_BY_FUNCTION
from sources.simulators.modbus.terminal import pseudo_terminal, serve_terminal
from sources.simulators.spec import DeviceSpec, TableName

_NO_UNIT: Final = frozenset({0, 255})
"""Unit identifiers by which a master on TCP means the device at the address itself."""


class ModbusSimulator(ModbusTcpServer):
    """One simulated device on one port; any number of masters.

    It answers its unit, and 0 and 255; any other unit gets exception 11, as from a gateway
    with one device behind it.
    """

    def __init__(self, spec: DeviceSpec, image: Image, faults: ModbusFaults) -> None:
        self._spec = spec
        self.image: Final = image
        self.faults: Final = faults
        self.queues = dict(spec.queues)
        """What FC 24 brings, by the address of the pointer."""
        self.unit: Final = spec.unit
        self.transport_name: Final = spec.transport
        self.units: Final = _NO_UNIT | {spec.unit}
        self.requests = 0
        self._ending = False
        self._tasks: asyncio.TaskGroup | None = None
        self._connections: set[Connection] = set()
        device = SimDevice(
            id=spec.unit,
            simdata=(
                self._block("coil"),
                self._block("discrete"),
                self._block("holding"),
                self._block("input"),
            ),
            action=self._action,
        )
        identity = ModbusDeviceIdentification(  # type: ignore[no-untyped-call]  # bare in pymodbus
            info_name={
                "VendorName": "Isthmus",
                "ProductCode": "modbus-simulator",
                "MajorMinorRevision": "1.0",
                "ProductName": "Simulated Modbus device",
                "ModelName": spec.name,
            }
        )
        super().__init__(device, address=(spec.host, spec.port), identity=identity)

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[tuple[str, int]]:
        """Serve while inside; yields the address listened on. Raises ListenError."""
        match self.transport_name:
            case "udp":
                way = self._on_datagrams()
            case "rtu" | "ascii":
                way = self._on_terminal()
            case _:
                way = self._on_streams()
        async with way as address:
            yield address

    @contextlib.asynccontextmanager
    async def _on_streams(self) -> AsyncIterator[tuple[str, int]]:
        context = _tls(self._spec) if self.transport_name == "tls" else None
        with contextlib.closing(listen(*self._address)) as listener:
            address = listener.getsockname()
            self.call_create = functools.partial(
                self.loop.create_server, self.handle_new_connection, sock=listener, ssl=context
            )
            async with asyncio.TaskGroup() as self._tasks:
                if not await self.listen() or not isinstance(self.transport, asyncio.Server):
                    raise ListenError(f"cannot listen on {self._address[0]}:{self._address[1]}")
                server = self.transport
                try:
                    yield str(address[0]), int(address[1])
                finally:
                    # A connection on its way in may still be made, after those that are dropped.
                    self._ending = True
                    self.drop()
                    await end(server, listener)
                    self.close()

    @contextlib.asynccontextmanager
    async def _on_datagrams(self) -> AsyncIterator[tuple[str, int]]:
        try:
            transport, datagrams = await self.loop.create_datagram_endpoint(
                lambda: Datagrams(self), local_addr=self._address
            )
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise ListenError(f"cannot listen on {self._address[0]}:{self._address[1]}: {why}") from error
        try:
            async with _serving(datagrams.serve()):
                host, port, *_ = transport.get_extra_info("sockname")
                yield str(host), int(port)
        finally:
            transport.close()

    @contextlib.asynccontextmanager
    async def _on_terminal(self) -> AsyncIterator[tuple[str, int]]:
        with pseudo_terminal() as (terminal, path):
            async with _serving(serve_terminal(self, terminal)):
                yield path, 0

    @property
    def accepts(self) -> bool:
        """Whether a master that connects now is served."""
        return not (self._ending or self.faults.refuse)

    @property
    def connections(self) -> int:
        """How many masters are connected."""
        return len(self._connections)

    def drop(self) -> None:
        """Close every connection now; masters may come back."""
        for connection in tuple(self._connections):
            connection.drop()

    def own(self, connection: Connection) -> asyncio.Task[None]:
        """Serve a connection in a task of this server's."""
        if self._tasks is None:
            raise RuntimeError("not listening")
        self._connections.add(connection)
        task = self._tasks.create_task(connection.serve(), name="modbus connection")
        task.add_done_callback(lambda _: self._connections.discard(connection))
        return task

    def callback_new_connection(self) -> Connection:
        """Called by pymodbus for every master that connects."""
        return Connection(self)

    @property
    def _address(self) -> tuple[str, int]:
        host, port = self.comm_params.source_address or ("127.0.0.1", 0)
        return host, port

    def _block(self, table: TableName) -> list[SimData]:
        """Room in pymodbus's data store for one table; what is really there `image` knows."""
        start, end = self.image.extent(table)
        if table in {"coil", "discrete"}:
            first, last = start // 16 * 16, max(end, start + 1)
            return [SimData(first, values=[False] * (last - first), datatype=DataType.BITS)]
        return [SimData(start, count=max(1, end - start), datatype=DataType.REGISTERS)]

    async def _action(
        self,
        function: int,
        start: int,
        address: int,
        count: int,
        current: list[int],
        values: list[int] | list[bool] | None,
    ) -> ExcCodes | None:
        """Called by pymodbus for every access: fetch from the image for a read, pass a write to it.

        ``start`` is the register address of ``current[0]``. In a bit table sixteen bits share
        a register, ``count`` counts registers and ``address`` bits.
        """
        table = TABLES_BY_FUNCTION[function]
        try:
            if values is not None:
                self.image.write(table, address, values)
            elif table in {"coil", "discrete"}:
                self._fetch_bits(table, start, address // 16, count, current)
            else:
                current[address - start : address - start + count] = self.image.read(table, address, count)
        except NoSuchAddressError:
            return ExcCodes.ILLEGAL_ADDRESS
        return None

    def _fetch_bits(
        self, table: TableName, start: int, register: int, count: int, current: list[int]
    ) -> None:
        """Fill sixteen-bit registers with the bits of the image; where it has none they are 0."""
        low, high = self.image.extent(table)
        first, behind = max(low, register * 16), min(high, (register + count) * 16)
        bits = self.image.read(table, first, behind - first)
        for at in range(register, register + count):
            current[at - start] = 0
        for at, bit in enumerate(bits, first):
            current[at // 16 - start] |= bit << at % 16


@contextlib.asynccontextmanager
async def _serving(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """A task beside what is done inside; an error of its own ends that."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(work)
        try:
            yield
        finally:
            task.cancel()


def _tls(spec: DeviceSpec) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(spec.certificate, spec.key)
        if spec.ca:
            context.load_verify_locations(spec.ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except OSError as error:  # ssl.SSLError is one
        raise ListenError(f"certificate, key or ca cannot be used: {error}") from error
    return context
