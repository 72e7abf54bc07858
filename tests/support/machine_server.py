"""A machine's own OPC UA server, by asyncua: types, structures and methods of its maker, under one URI."""

from __future__ import annotations

import asyncio
import json
import struct
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncua.ua
from asyncua.common.methods import uamethod
from asyncua.server.server import Server  # noqa: TID251  # a peer, not the product

sys.path.insert(0, str(Path(__file__).parents[1]))  # where it runs by itself

from support.net import free_port

# Its annotations do not say what its own callers pass.
ua: Any = asyncua.ua

URI = "urn:maker:filler"


class MachineServer:
    """One machine. Every one of that maker's has the same URI and the same NodeIds."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self.started: list[float] = []
        self.machine: Any = None
        self.speed: Any = None
        self.set_point: Any = None
        self.setup: Any = None
        self._index = 0

    async def fill(self) -> None:
        server = self.server
        # A namespace of another's before its own: indexes differ from ours.
        await server.register_namespace("urn:maker:other")
        self._index = index = await server.register_namespace(URI)
        kind = await server.nodes.base_object_type.add_object_type(
            ua.NodeId("FillerType", index), f"{index}:FillerType"
        )
        declared = await kind.add_variable(ua.NodeId("FillerType.Speed", index), f"{index}:Speed", 0.0)
        await declared.set_modelling_rule(True)
        state = await server.nodes.enum_data_type.add_data_type(ua.NodeId("State", index), f"{index}:State")
        await state.write_attribute(
            ua.AttributeIds.DataTypeDefinition,
            ua.DataValue(
                ua.Variant(
                    ua.EnumDefinition(
                        [ua.EnumField(Name="Idle", Value=0), ua.EnumField(Name="Running", Value=1)]
                    )
                )
            ),
        )
        machine = self.machine = await server.nodes.objects.add_object(
            ua.NodeId("Filler", index), f"{index}:Filler"
        )
        base, typed = ua.NodeId(ua.ObjectIds.BaseObjectType), ua.ObjectIds.HasTypeDefinition
        await machine.delete_reference(base, typed, bidirectional=False)
        await machine.add_reference(kind.nodeid, typed, bidirectional=False)
        self.speed = await machine.add_variable(ua.NodeId("Filler.Speed", index), f"{index}:Speed", 412.5)
        await self.speed.add_property(
            ua.NodeId("Filler.Speed.EURange", index), "0:EURange", ua.Range(Low=0.0, High=600.0)
        )
        drive = await machine.add_object(ua.NodeId("Filler.Drive", index), f"{index}:Drive")
        await drive.add_property(ua.NodeId("Filler.Drive.Serial", index), f"{index}:Serial", "D-17")
        await drive.add_variable(ua.NodeId("Filler.Drive.Current", index), f"{index}:Current", 3.5)
        self.set_point = await machine.add_variable(ua.NodeId("Filler.SP", index), f"{index}:SpeedSP", 1.0)
        await self.set_point.set_writable()
        await machine.add_variable(
            ua.NodeId("Filler.State", index), f"{index}:State", 1, ua.VariantType.Int32, datatype=state.nodeid
        )
        await machine.add_variable(ua.NodeId("Filler.Self", index), f"{index}:Self", machine.nodeid)
        await machine.add_variable(
            ua.NodeId("Filler.Names", index),
            f"{index}:Names",
            [ua.QualifiedName("Cap", index), ua.QualifiedName("Label", index)],
        )
        await self._add_setup(machine)

        @uamethod
        async def start(_: Any, rate: float) -> Any:
            self.started.append(rate)
            if rate < 0:
                return ua.StatusCode(ua.StatusCodes.BadOutOfRange)
            return ua.NodeId("Filler", index)

        await machine.add_method(
            ua.NodeId("Filler.Start", index),
            f"{index}:Start",
            start,
            [ua.Argument(Name="Rate", DataType=ua.NodeId(11), ValueRank=-1)],
            [ua.Argument(Name="Which", DataType=ua.NodeId(17), ValueRank=-1)],
        )

    async def _add_setup(self, machine: Any) -> None:
        """A structure of the maker's own that names a node."""
        index = self._index
        kind = await self.server.nodes.base_structure_type.add_data_type(
            ua.NodeId("Setup", index), f"{index}:Setup"
        )
        encoding = await kind.add_object(ua.NodeId("Setup.Binary", index), "0:Default Binary")
        await encoding.delete_reference(kind.nodeid, ua.ObjectIds.HasComponent, forward=False)
        await kind.add_reference(encoding.nodeid, ua.ObjectIds.HasEncoding, bidirectional=False)
        await kind.write_attribute(
            ua.AttributeIds.DataTypeDefinition,
            ua.DataValue(
                ua.Variant(
                    ua.StructureDefinition(
                        DefaultEncodingId=encoding.nodeid,
                        BaseDataType=ua.NodeId(22),
                        StructureType=ua.StructureType.Structure,
                        Fields=[
                            ua.StructureField(Name="Target", DataType=ua.NodeId(17), ValueRank=-1),
                            ua.StructureField(Name="Rate", DataType=ua.NodeId(11), ValueRank=-1),
                        ],
                    )
                )
            ),
        )
        self.setup = await machine.add_variable(
            ua.NodeId("Filler.Setup", index),
            f"{index}:Setup",
            ua.Variant(self.setup_value(2.5), ua.VariantType.ExtensionObject),
            datatype=kind.nodeid,
        )

    def setup_value(self, rate: float) -> Any:
        """A Setup that names the machine, as it travels."""
        name = b"Filler"
        target = b"\x03" + struct.pack("<Hi", self._index, len(name)) + name
        body = target + struct.pack("<d", rate)
        return ua.ExtensionObject(ua.NodeId("Setup.Binary", self._index), body)

    async def do(self, what: str, name: str = "", value: Any = None) -> Any:
        """One order of a test's; see `Machine`."""
        if what == "started":
            return self.started
        node = self.server.get_node(ua.NodeId(f"Filler.{name}", self._index))
        if what == "read":
            data = await node.read_data_value()
            return [data.Value.Value, data.SourceTimestamp.isoformat() if data.SourceTimestamp else None]
        if what == "write":
            await node.write_value(value)
        elif what == "flood":
            for number in range(value):
                await node.write_value(float(number))
        elif what == "add":
            await self.machine.add_variable(node.nodeid, f"{self._index}:{name}", 7)
        elif what == "remove":
            await self.server.delete_nodes([node])
        if what in {"add", "remove"}:
            generator = await self.server.get_event_generator(ua.ObjectIds.GeneralModelChangeEventType)
            await generator.trigger(message="the model has changed")
        return None


async def _serve() -> None:
    server: Any = Server()
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{sys.argv[1]}/")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    machine = MachineServer(server)
    await machine.fill()
    loop = asyncio.get_running_loop()
    async with server:
        print("null", flush=True)  # noqa: T201  # that is how it answers
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            print(json.dumps(await machine.do(*json.loads(line))), flush=True)  # noqa: T201


class Machine:
    """The running process; ``port`` is where it serves."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.process = process
        self.port = port

    async def answer(self) -> Any:
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), 60)
        assert line, "the machine's server has ended"
        return json.loads(line)

    async def __call__(self, what: str, name: str = "", value: Any = None) -> Any:
        """``read`` gives value and source time; ``started`` the rates its method was called with;
        ``write``, ``add`` and ``remove`` a variable; ``flood`` writes it so many times, counting."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([what, name, value]).encode() + b"\n")
        return await self.answer()

    async def restart(self) -> None:
        """Kill it and start it anew at the same port: it has all it had at first, and nothing else."""
        await self.end()
        self.process = await _process(self.port)
        await self.answer()

    async def end(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


async def _process(port: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        __file__,
        str(port),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )


@asynccontextmanager
async def machine_servers(count: int) -> AsyncIterator[list[Machine]]:
    """Machines, from their start to their end: processes of their own, for they cannot be stopped tidily."""
    machines: list[Machine] = []
    try:
        for _ in range(count):
            port = free_port()
            machines.append(Machine(await _process(port), port))
        for machine in machines:
            await machine.answer()
        yield machines
    finally:
        for machine in machines:
            await machine.end()


if __name__ == "__main__":
    asyncio.run(_serve())
