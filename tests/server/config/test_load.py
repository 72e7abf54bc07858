"""What a right file resolves to."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.plants import HEAD, messages_of, plant_of

from server.config import Configuration, load
from server.plant.convert import Cast, Linear, Lookup
from server.plant.model import DEFAULT_WRITERS, EquipmentLevel, Property, Range, Role
from server.plant.values import ValueStore
from sources.quality import BAD_OUT_OF_SERVICE, BAD_WAITING_FOR_INITIAL_DATA
from sources.tag import ScanClass, Stale, ValueType

DEMO = Path(__file__).parents[3] / "server" / "demo" / "plant.yaml"


@pytest.fixture(scope="module")
def demo() -> Configuration:
    return load(DEMO)


def properties(configuration: Configuration) -> dict[str, Property]:
    return {prop.key: prop for prop in configuration.plant.properties()}


def test_the_demo_is_right(demo: Configuration) -> None:
    assert demo.warnings == ()
    assert demo.path == DEMO
    assert [e.name for e in demo.plant.equipment][-2:] == ["Filler", "Packer"]
    assert demo.opcua.writable
    assert demo.mqtt is not None
    assert demo.mqtt.publisher_id == "acme-lyon"


def test_tags_of_a_source_are_those_of_the_bindings(demo: Configuration) -> None:
    assert [(source.name, len(source.tags)) for source in demo.sources] == [
        ("FillerPLC", 9),
        ("PackerPLC", 8),
    ]
    bindings = [prop.binding for prop in demo.plant.properties() if prop.binding]
    for source in demo.sources:
        bound = [binding.tag for binding in bindings if binding.source == source.name]
        assert all(one is other for one, other in zip(source.tags, bound, strict=True))
    assert demo.sources[0].tags[0].name == "Acme/Lyon/Packaging/Line1/Filler.Speed"
    assert str(demo.sources[1].tags[0].address) == "Program:Packer.PML.Status.CurMachSpeed"


def test_a_property_has_what_its_class_says(demo: Configuration) -> None:
    found = properties(demo)
    speed = found["Acme/Lyon/Packaging/Line1/Filler.Speed"]
    assert speed.type.unit is not None
    assert (speed.type.unit.key, speed.type.unit.unit_id, speed.type.unit.symbol) == ("bpm", -1, "bottle/min")
    assert speed.type.range == Range(0, 900)
    assert speed.type.write is None
    assert speed.declared_by == "Machine"
    assert found["Acme/Lyon/Packaging/Line1/Filler.BowlLevel"].declared_by == "Filler"
    point = found["Acme/Lyon/Packaging/Line1/Filler.SpeedSP"]
    assert point.type.write is not None
    assert point.type.write.roles == DEFAULT_WRITERS
    assert point.type.write.limits == Range(0, 800)
    assert point.binding is not None
    assert point.binding.tag.writable
    counter = found["Acme/Lyon/Packaging/Line1/Filler.InCount"].type
    assert (counter.kind, counter.type) == ("counter", ValueType.UInt32)
    assert counter.unit is not None
    assert counter.unit.unit_id == int.from_bytes(b"H87", "big")


def test_conversions(demo: Configuration) -> None:
    filler = "Acme/Lyon/Packaging/Line1/Filler."
    found = {
        key.removeprefix(filler): prop.binding
        for key, prop in properties(demo).items()
        if prop.binding and key.startswith(filler)
    }
    assert found["Speed"].conversion == Cast(ValueType.Float, ValueType.Double)
    assert found["InCount"].conversion is None
    level = found["BowlLevel"].conversion
    assert isinstance(level, Linear)
    assert level.to_engineering(27648) == pytest.approx(100)
    temperature = found["ProductTemp"].conversion
    assert temperature == Linear(ValueType.Int16, ValueType.Double, 0.1, 0.0)
    state = found["State"].conversion
    assert isinstance(state, Lookup)
    assert state.to_engineering(2) == 6


def test_scan_classes(demo: Configuration) -> None:
    found = {tag.name.rpartition(".")[2]: tag.scan for tag in demo.sources[0].tags}
    assert found["Speed"] == ScanClass("normal", 1.0)
    assert found["State"] == ScanClass("fast", 0.2)
    assert found["ProductTemp"] == ScanClass("slow", 5.0)


def test_constants_and_enumerations(demo: Configuration) -> None:
    found = properties(demo)
    pbt = found["Acme/Lyon/Packaging/Line1.PBT"]
    assert (pbt.constant, pbt.binding, pbt.declared_by) == (28800.0, None, None)
    assert set(demo.plant.enumerations) == {"packml-state", "packml-mode"}
    states = demo.plant.enumerations["packml-state"].members
    assert (states[6], states[17], len(states)) == ("Execute", "Complete", 18)


def test_classes_are_flattened_with_the_base_first(demo: Configuration) -> None:
    filler = demo.plant.classes["Filler"]
    assert [kind.name for kind in filler.properties][-3:] == ["RejectCount", "BowlLevel", "ProductTemp"]
    assert filler.own == {"BowlLevel", "ProductTemp"}
    assert filler.extends == "Machine"
    assert filler.level is EquipmentLevel.WorkUnit
    assert demo.plant.equipment[-1].level is EquipmentLevel.WorkUnit


def test_the_store_takes_the_plant(demo: Configuration) -> None:
    store = ValueStore(demo.plant)
    assert store.points["Acme/Lyon/Packaging/Line1/Filler.Speed"].status == BAD_WAITING_FOR_INITIAL_DATA


def test_a_subclass_refines_what_it_inherits(tmp_path: Path) -> None:
    found = plant_of(
        tmp_path,
        """
        classes:
          A:
            level: Unit
            properties: {x: {unit: CEL, range: [0, 10], access: rw, write_limits: [1, 2]}, y: {value: 1}}
          B: {extends: A, properties: {x: {range: [0, 20], access: r}}}
          C: {extends: B, level: WorkCell, properties: {y: {value: 5, description: five}}}
        equipment:
          Acme: {class: C, source: PLC, map: {x: {addr: "input:0", as: int16}}}
        """,
    )
    acme = found.plant.equipment[0]
    x, y = acme.properties
    assert x.type.range == Range(0, 20)
    assert x.type.unit is not None
    assert x.type.write is None
    assert (x.declared_by, y.declared_by, y.constant) == ("B", "C", 5.0)
    assert acme.level is EquipmentLevel.WorkCell
    assert found.plant.classes["C"].own == {"y"}
    assert found.plant.classes["B"].level is EquipmentLevel.Unit


def test_a_binding_takes_the_place_of_a_constant_of_the_class(tmp_path: Path) -> None:
    found = plant_of(
        tmp_path,
        """
        classes:
          A: {level: Unit, properties: {x: {type: Int16, value: 7}}}
        equipment:
          Acme: {class: A, source: PLC, map: {x: "holding:0"}}
          Acme/B: {class: A}
          Acme/C: {class: A, properties: {x: {value: 9, range: [0, 9]}}}
        """,
    )
    bound, constant, own = found.plant.properties()
    assert bound.binding is not None
    assert bound.constant is None
    assert constant.constant == 7
    assert own.constant == 9
    assert own.declared_by == "A"
    assert own.type.range == Range(0, 9)


def test_parents_come_first_in_whatever_order_they_are_written(tmp_path: Path) -> None:
    found = plant_of(
        tmp_path,
        """
        equipment:
          Acme/B/C: {level: Area}
          Acme/B: {level: Site}
          Zeta: {level: Enterprise}
          Acme/A: {level: Site}
          Acme: {level: Enterprise}
          Acme/B/D: {level: Other}
          Acme/B/D/E: {level: Area}
        """,
    )
    assert [e.path for e in found.plant.equipment] == [
        "Zeta", "Acme", "Acme/B", "Acme/B/C", "Acme/B/D", "Acme/B/D/E", "Acme/A",
    ]  # fmt: skip


def test_repetition_makes_paths_addresses_and_texts(tmp_path: Path) -> None:
    found = plant_of(
        tmp_path,
        """
        equipment:
          Acme: {level: Site}
          Acme/Line{line}:
            for: {line: [A, B]}
            level: ProductionLine
          Acme/Line{line}/Tank{n:02}:
            for: {line: [A, B], n: 1..3}
            level: Unit
            display_name: "Tank {n} of {line}"
            id: "tank-{line}-{n}"
            source: PLC
            properties:
              Level: {description: "Level of {n}"}
              Number: {type: Int32, value: "{n}"}
            map: {Level: {addr: "input:{n*2}", as: int16, gain: 0.5}}
        """,
    )
    equipment = {e.path: e for e in found.plant.equipment}
    assert len(equipment) == 9
    tank = equipment["Acme/LineB/Tank03"]
    assert (tank.display_name, tank.node_id, tank.parent) == ("Tank 3 of B", "tank-B-3", "Acme/LineB")
    level, number = tank.properties
    assert level.type.description == "Level of 3"
    assert level.node_id == "tank-B-3.Level"
    assert number.constant == 3
    assert level.binding is not None
    assert level.binding.tag.address.start == 6
    others = [p.binding.conversion for p in found.plant.properties() if p.binding]
    assert all(conversion is others[0] for conversion in others)


def test_braces_outside_a_repetition_are_text(tmp_path: Path) -> None:
    found = plant_of(tmp_path, 'equipment: {Acme: {level: Site, description: "{n} {{x}}"}}')
    assert found.plant.equipment[0].description == "{n} {{x}}"


def test_disabled_bindings_and_sources_are_out_of_service_and_not_read(tmp_path: Path) -> None:
    found = plant_of(
        tmp_path,
        """
          OFF: {driver: modbus, host: 127.0.0.1, enabled: false}
        equipment:
          Acme:
            level: Site
            source: PLC
            properties: {a: {type: Int16}, b: {type: Int16}, c: {type: Int16}}
            map:
              a: {addr: "holding:0", enabled: false}
              b: {addr: "holding:1", source: "OFF"}
              c: {addr: "holding:2"}
        """,
    )
    plc, off = found.sources
    assert [tag.name for tag in plc.tags] == ["Acme.c"]
    assert (off.enabled, off.tags) == (False, ())
    store = ValueStore(found.plant)
    assert [point.status for point in store.points.values()] == [
        BAD_OUT_OF_SERVICE,
        BAD_OUT_OF_SERVICE,
        BAD_WAITING_FOR_INITIAL_DATA,
    ]


def test_a_prefix_stands_before_every_address(tmp_path: Path) -> None:
    found = plant_of(
        tmp_path,
        """
        equipment:
          Acme: {level: Site, source: PLC, prefix: "holding:", properties: {a: {type: Int16}}, map: {a: "7"}}
        """,
    )
    assert found.sources[0].tags[0].address.start == 7


def test_writers_and_pinned_ids(tmp_path: Path) -> None:
    found = plant_of(
        tmp_path,
        """
        opcua: {writable: true}
        equipment:
          Acme:
            level: Site
            id: old
            properties: {a: {value: 1, access: rw, writers: [Engineer], id: "x.y"}, b: {value: 2}}
        """,
    )
    a, b = found.plant.properties()
    assert a.type.write is not None
    assert a.type.write.roles == {Role.Engineer}
    assert (a.node_id, b.node_id) == ("x.y", "old.b")


def test_coils_and_bits_through_a_lookup_table(tmp_path: Path) -> None:
    found = plant_of(
        tmp_path,
        """
        enums: {valve: {10: Closed, 20: Open}}
        equipment:
          Acme:
            level: Site
            source: PLC
            properties: {valve: {enum: valve, access: rw}, on: {type: Boolean}}
            map: {valve: {addr: "coil:0", lut: {0: 10, 1: 20}}, on: {addr: "holding:1", as: int16}}
        """,
    )
    valve, on = (prop.binding for prop in found.plant.properties())
    assert valve is not None
    assert valve.conversion is not None
    assert valve.conversion.to_engineering(value := True) == 20, value
    assert valve.conversion.to_raw(10) == 0
    assert on is not None
    assert on.conversion == Cast(ValueType.Int16, ValueType.Boolean)


def test_files_of_mqtt_are_relative_to_the_plant_file(tmp_path: Path) -> None:
    (tmp_path / "tls").mkdir()
    (tmp_path / "tls" / "ca.pem").write_text("x")
    found = plant_of(
        tmp_path,
        """
        mqtt: {broker: "mqtts://b", publisher_id: p, ca: tls/ca.pem, user: u, password: file:tls/secret}
        equipment: {Acme: {level: Site}}
        """,
    )
    assert found.mqtt is not None
    assert found.mqtt.ca == tmp_path / "tls" / "ca.pem"


def test_files_of_identities_are_relative_to_the_plant_file(tmp_path: Path) -> None:
    for name in ("anna.crt", "anna.key"):
        (tmp_path / name).write_text("x")
    text = """
          There:
            driver: opcua
            url: "opc.tcp://10.20.1.30"
            identity:
              map:
                - {users: [anna], certificate: anna.crt, key: anna.key, key_password: file:secret}
                - {roles: [Operator], user: line, password: env:LINE}
              others: %s
        equipment: {Acme: {level: Site}}
        """
    (there,) = [one for one in plant_of(tmp_path, text % "refuse").sources if one.name == "There"]
    identity = there.settings.identity  # type: ignore[attr-defined]
    assert identity.map[0].certificate == tmp_path / "anna.crt"
    assert identity.map[0].key_password == f"file:{tmp_path / 'secret'}"
    assert identity.map[1].password == "env:LINE"
    for plain in (text.replace("env:LINE", "hunter-2"), text.replace("file:secret", "hunter-2")):
        messages = "\n".join(messages_of(tmp_path, plain % "refuse"))
        assert "a secret never stands in this file" in messages
        assert "hunter" not in messages
    (tmp_path / "anna.key").unlink()
    assert messages_of(tmp_path, text % "nobody") == [
        "sources.There.identity.others: 'nobody' is not one of refuse, service"
    ]
    assert messages_of(tmp_path, text % "refuse") == [
        f"sources.There.identity.map.0.key: there is no file {tmp_path / 'anna.key'}"
    ]


def test_lists_become_what_the_settings_want(tmp_path: Path) -> None:
    found = plant_of(
        tmp_path,
        "opcua: {hostnames: [a, b], policies: [Basic256Sha256]}\nequipment: {Acme: {level: Site}}",
    )
    assert found.opcua.hostnames == ("a", "b")
    assert found.opcua.policies == ("Basic256Sha256",)


def test_headings_without_anything_beneath_them(tmp_path: Path) -> None:
    text = HEAD + "opcua:\nmqtt:\nsources:\nunits:\nequipment:\n  Acme: {level: Site, properties: , map: }\n"
    path = tmp_path / "plant.yaml"
    path.write_text(text)
    found = load(path)
    assert found.sources == ()
    assert found.mqtt is None


def test_normal_may_be_given_another_period(tmp_path: Path) -> None:
    found = plant_of(
        tmp_path,
        """
        scan: {normal: 5s}
        equipment: {Acme: {level: Site, source: PLC, properties: {a: {type: Int16}}, map: {a: "holding:0"}}}
        """,
    )
    assert found.sources[0].tags[0].scan == ScanClass("normal", 5.0)


def test_how_old_values_may_grow_is_said_by_the_source_or_by_the_class(tmp_path: Path) -> None:
    path = tmp_path / "plant.yaml"
    path.write_text(
        HEAD
        + """
sources:
  PLC: {driver: modbus, host: 10.20.1.11, stale: {uncertain_after: 5, at_least: 300ms}}
  Other: {driver: modbus, host: 10.20.1.12}
scan: {normal: {every: 5s, stale: {uncertain_after: 2, bad_after: 4}}, fast: {every: 100ms}}
equipment:
  Acme:
    level: Site
    source: Other
    properties: {a: {type: Int16}, b: {type: Int16, scan: fast}, c: {type: Int16}}
    map: {a: "holding:0", b: "holding:1", c: {addr: "holding:0", source: PLC}}
"""
    )
    found = load(path)
    assert {source.name: source.stale for source in found.sources} == {"PLC": Stale(5, 3, 0.3), "Other": None}
    classes = {tag.scan for source in found.sources for tag in source.tags}
    assert classes == {ScanClass("normal", 5.0, Stale(2, 4)), ScanClass("fast", 0.1, Stale(3, 3))}


def test_warnings_of_what_may_be_meant(tmp_path: Path) -> None:
    found = plant_of(
        tmp_path,
        """
        equipment:
          Acme: {level: Site, properties: {a: {value: 1, access: rw, range: [0, 5], write_limits: [0, 9]}}}
        """,
    )
    assert [(w.path, w.message) for w in found.warnings] == [
        (
            "equipment.Acme.properties.a.write_limits",
            "clients may write [0, 9], which is more than the range [0, 5]",
        ),
        ("sources.PLC", "no equipment reads this source"),
        ("opcua.writable", "1 property is access: rw, but nobody may write while opcua.writable is false"),
    ]


def test_ten_thousand_properties_in_well_under_a_few_seconds(tmp_path: Path) -> None:
    found = plant_of(
        tmp_path,
        """
        classes:
          Tank:
            level: Unit
            properties: {a: {unit: CEL}, b: , c: , d: , e: , f: , g: , h: , i: , j: {access: rw}}
        equipment:
          Acme: {level: Site}
          Acme/Tank{n}:
            for: 1..1000
            class: Tank
            source: PLC
            map:
              a: {addr: "holding:{n*10}", as: int16, gain: 0.1}
              b: {addr: "holding:{n*10+1}", as: int16, gain: 0.1}
              c: {addr: "holding:{n*10+2}", as: int16}
              d: {addr: "holding:{n*10+3}", as: int16}
              e: {addr: "holding:{n*10+4}", as: int16}
              f: {addr: "holding:{n*10+5}", as: int16}
              g: {addr: "holding:{n*10+6}", as: int16}
              h: {addr: "holding:{n*10+7}", as: int16}
              i: {addr: "holding:{n*10+8}", as: int16}
              j: {addr: "holding:{n*10+9}", as: int16}
        """,
    )
    assert len(found.plant.properties()) == len(found.sources[0].tags) == 10_000
