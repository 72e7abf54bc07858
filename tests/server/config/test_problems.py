"""Rules of telling: everything at once, nothing twice, no consequences, no secrets."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.plants import HEAD, messages_of, problems_of

from server.config import ConfigurationError, format_problems, load
from server.plant.model import EquipmentLevel

EQ = "equipment: {Acme: {level: Site, source: PLC, "


def test_names_are_looked_up_even_where_fields_are_wrong(tmp_path: Path) -> None:
    found = messages_of(
        tmp_path,
        """
        classes:
          A: {level: Unit, colour: red, properties: {x: {range: [5, 1], unit: nope, scan: quick}}}
        equipment:
          Acme: {class: A, level: 5, source: PCL, map: {x: {addr: "holdng:0", gain: 0}}}
        """,
    )
    assert found == [
        "classes.A.colour: unknown key 'colour'",
        "classes.A.properties.x.range: the low end (5) must be below the high end (1)",
        "classes.A.properties.x.unit: there is no unit 'nope'",
        "classes.A.properties.x.scan: there is no scan class 'quick'",
        f"equipment.Acme.level: 5 is not one of {', '.join(EquipmentLevel.__members__)}",
        "equipment.Acme.source: there is no source 'PCL'",
        "equipment.Acme.map.x.gain: a gain of 0 turns every value into the same one",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "classes: {A: {lvl: Unit}}\nequipment: {Acme: {level: Site}}",
        "classes: {A: {properties: {x: {tpye: Int16}}}}\nequipment: {Acme: {level: Site}}",
        "classes: {A: 5}\nequipment: {Acme: {class: A, source: PLC, map: {x: 'holding:0'}}}",
        "classes: {A: {extends: A}}\nequipment: {Acme: {class: A, source: PLC, map: {x: 'holding:0'}}}",
        "classes: {A: {level: Unit, properties: {x: {vlaue: 5}}}}\nequipment: {Acme: {class: A}}",
        "equipment: {Acme: {clas: A}}",
        "equipment: {Acme: {lvel: Site}}",
        "equipment: {Acme: 7, Acme/B: {level: Site}}",
        "equipment: {'1Acme': {level: Site}, 1Acme/B: {level: Site}}",
        "equipment: {'A{n}': {level: Site, for: x}, A1/B: {level: Site}}",
        "equipment: {'A{n}': {level: Site, fro: 1..5}}",
        "equipment: {Acme: {level: Site, source: PLC, properties: {x: }, mpa: {x: 'holding:0'}}}",
        "equipment: {Acme: {level: Site, source: PLC, properties: {x: }, map: {x: {adr: 'holding:0'}}}}",
        "equipment: {Acme: {level: Site, source: PLC, properties: {x: }, map: {xx: 'holding:0'}}}",
        "equipment: {Acme: {level: Site, suorce: PLC, properties: {x: }, map: {x: 'holding:0'}}}",
        EQ + "properties: {x: {enum: packml}}, map: {x: {addr: 'holding:0', lut: {0: 99}}}}}",
        EQ + "properties: {x: {type: Int}}, map: {x: {addr: 'holding:0', lut: {0: 99}}}}}",
        "equipment: {Acme: {level: Site, properties: {x: {value: 1, acess: rw, writers: [Operator]}}}}",
        "equipment: {Acme: {level: Site, properties: {x: {value: 1, access: w, write_limits: [0, 1]}}}}",
        "mqtt: {brokr: embedded, publisher_id: x}\nequipment: {Acme: {level: Site}}",
        "equipments: {Acme: {level: Site}}",
        "scan: {fast: 200}\nequipment: {Acme: {level: Site, properties: {x: {scan: fast, value: 1}}}}",
    ],
)
def test_what_follows_from_a_mistake_is_not_told(tmp_path: Path, text: str) -> None:
    assert len(problems_of(tmp_path, text)) == 1


def test_a_mistake_in_a_repeated_stanza_is_told_once_with_the_first_that_has_it(tmp_path: Path) -> None:
    found = messages_of(
        tmp_path,
        """
        equipment:
          Acme: {level: Site}
          Acme/T{n}:
            for: 1..500
            level: Unit
            source: "PLC{n}"
            implemented_by: "asset-{n}"
            properties: {x: {type: Int16}}
            map: {x: {addr: "holding:0"}}
          Acme/U{n}:
            for: 1..500
            level: Unit
            properties: {x: {type: Int16}, y: {type: Byte, value: "{n*100}"}}
            map: {x: {addr: "holding:{n*1000}", source: PLC}}
        """,
    )
    assert found == [
        "equipment.Acme/T{n}.source: there is no source 'PLC1' (with n = 1)",
        "equipment.Acme/T{n}.implemented_by: there is no asset 'asset-1' (with n = 1)",
        "equipment.Acme/U{n}.properties.y.value: 300 is out of range for Byte (0 to 255) (with n = 3)",
        "equipment.Acme/U{n}.map.x.addr: 'holding:66000': addresses run from 0 to 65535 (with n = 66)",
    ]


def test_a_mistake_in_a_class_is_told_once_however_many_inherit_it(tmp_path: Path) -> None:
    found = messages_of(
        tmp_path,
        """
        classes:
          A: {level: Unit, properties: {x: {unit: nope, range: [0, 300], type: Byte}}}
          B: {extends: A}
          C: {extends: B, properties: {x: {description: more}}}
        equipment:
          Acme: {class: C, source: PLC, map: {x: {addr: "holding:0", as: uint16}}}
          Bcme: {class: B, source: PLC, map: {x: {addr: "holding:0", as: uint16}}}
        """,
    )
    assert len(found) == 2


def test_a_sections_two_places_are_both_named(tmp_path: Path) -> None:
    path = tmp_path / "plant.yaml"
    path.write_text(HEAD + "include: b.yaml\nequipment: {Acme: {level: Site}}\n")
    (tmp_path / "b.yaml").write_text("equipment: {Acme: {level: Site}}\n")
    with pytest.raises(ConfigurationError) as caught:
        load(path)
    (problem,) = caught.value.problems
    assert problem.file == str(tmp_path / "b.yaml")
    assert f"first at {path}:4:13" in problem.message


@pytest.mark.parametrize(
    "line",
    [
        "mqtt: {broker: embedded, publisher_id: p, user: u, password: hunter2}",
        "mqtt: {broker: embedded, publisher_id: p, user: u, password: 42424242}",
        "mqtt: {broker: embedded, publisher_id: p, user: u, password: [hunter2]}",
        "mqtt: {broker: embedded, publisher_id: p, user: u, passwrd: hunter2}",
        "mqtt: {broker: 'mqtt://u:hunter2@host', publisher_id: p}",
        "mqtt: {broker: 'http://u:hunter2@host', publisher_id: p}",
        "mqtt: {broker: 'mqtt://u:hunter2/x@host', publisher_id: p}",
        "mqtt: {password: hunter2",
        "mqtt: {password: hunter2: 5}",
        "mqtt: {broker: embedded, publisher_id: p, user: u, password: !x hunter2}",
    ],
)
def test_a_secret_is_never_echoed(tmp_path: Path, line: str) -> None:
    found = problems_of(tmp_path, f"{line}\nequipment: {{Acme: {{level: Site}}}}\n")
    text = format_problems(found) + "".join(map(str, found))
    assert "hunter2" not in text
    assert "42424242" not in text


def test_a_plant_has_a_limit_whichever_way_it_is_reached(tmp_path: Path) -> None:
    (found,) = problems_of(
        tmp_path,
        """
        equipment:
          Acme{n}{m}{k}: {level: Site, for: {n: 1..999999999, m: 1..999999999, k: 1..999999999}}
        """,
    )
    assert found.path == "equipment.Acme{n}{m}{k}.for"
    assert "the most is 1,000,000" in found.message


def test_a_shared_stanza_is_told_of_where_it_stands(tmp_path: Path) -> None:
    found = problems_of(tmp_path, "equipment: {Acme: &x {level: Sit}, Bcme: *x}")
    assert [(p.line, p.column) for p in found] == [(5, 30), (5, 30)]
