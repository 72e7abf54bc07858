"""Rules for writing beside the property, and interlocks resolved against the plant."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.plants import messages_of, plant_of, problems_of

from server.app import weak_lines
from server.config import Configuration
from server.plant.interlock import Comparison
from server.plant.model import DEFAULT_WRITERS, Property, Range, Rate, Role, WriteRule

LINE = """
opcua: {writable: true}
enums: {mode: {0: Auto, 1: Hand work}}
classes:
  Machine:
    level: WorkUnit
    properties:
      State: {enum: packml-state}
      Mode: {enum: mode}
      Recipe: {type: String}
      Count: {type: UInt16}
      Speed: {type: Float, range: [0, 900], write: {RULES}}
equipment:
  Acme: {level: Site}
  Acme/Line:
    level: ProductionLine
    properties: {Ready: {type: Boolean, value: true}}
  Acme/Line/Filler:
    class: Machine
    source: PLC
    map: {State: "holding:0", Mode: "holding:1", Recipe: {addr: "holding:9", as: string(8)},
          Count: "holding:3", Speed: "holding:4"}
  Acme/Line/Filler/Guard:
    level: EquipmentModule
    properties: {Closed: {type: Boolean, value: true}}
  Acme/Line/Packer:
    level: WorkUnit
    properties: {Temperature: {value: 21.5}, Ratio: {type: Float, value: 0.1}}
"""


def line(rules: str) -> str:
    return LINE.replace("{RULES}", rules)


def speed_of(config: Configuration) -> Property:
    (found,) = [p for p in config.plant.properties() if p.key == "Acme/Line/Filler.Speed"]
    return found


def rule_of(folder: Path, rules: str) -> WriteRule:
    rule = speed_of(plant_of(folder, line(rules))).type.write
    assert rule is not None
    return rule


def test_writes_without_a_record_are_among_the_lines_that_weaken(tmp_path: Path) -> None:
    config = plant_of(tmp_path, "audit: {refuse_unrecorded: false}\n" + line("{}"))
    assert any(sentence.startswith("audit.refuse_unrecorded") for sentence in weak_lines(config))
    strict = plant_of(tmp_path, line("{}"))
    assert not any("audit" in sentence for sentence in weak_lines(strict))


def test_every_rule_arrives(tmp_path: Path) -> None:
    found = rule_of(
        tmp_path,
        "{roles: [Engineer], limits: [10, 800], max_step: 50, max_per_minute: 6, verify: {within: 0.5}, "
        "latest_wins: true, max_rate: 2.5 per minute}",
    )
    assert found == WriteRule(
        frozenset({Role.Engineer}),
        Range(10, 800),
        50.0,
        6,
        read_back=True,
        tolerance=0.5,
        latest_wins=True,
        max_rate=Rate(2.5, 60.0),
    )
    assert str(found.max_rate) == "2.5 per minute"


def test_rules_make_a_property_writable_and_leave_the_defaults(tmp_path: Path) -> None:
    assert rule_of(tmp_path, "{max_per_minute: 6}") == WriteRule(DEFAULT_WRITERS, max_per_minute=6)
    assert not rule_of(tmp_path, "{verify: none}").read_back
    assert rule_of(tmp_path, "{verify: exact}") == WriteRule()


def test_what_was_written_before_there_was_write_means_the_same(tmp_path: Path) -> None:
    old = LINE.replace("write: {RULES}", "access: rw, write_limits: [0, 800], writers: [Engineer]")
    found = speed_of(plant_of(tmp_path, old)).type.write
    assert found == rule_of(tmp_path, "{limits: [0, 800], roles: [Engineer]}")


def test_a_refinement_changes_one_rule_and_keeps_the_others(tmp_path: Path) -> None:
    text = line("{max_step: 50, max_per_minute: 6, interlock: State != Execute}").replace(
        "    class: Machine\n",
        "    class: Machine\n    properties: {Speed: {write: {max_step: 20}, write_limits: [0, 100]}}\n",
    )
    prop = speed_of(plant_of(tmp_path, text))
    assert prop.type.write == WriteRule(limits=Range(0, 100), max_step=20.0, max_per_minute=6)
    assert [condition.text for condition in prop.interlock] == ["State != Execute"]


def test_a_refinement_that_is_read_only_drops_them_all(tmp_path: Path) -> None:
    text = line("{max_step: 50, interlock: State != Execute}").replace(
        "    class: Machine\n", "    class: Machine\n    properties: {Speed: {access: r}}\n"
    )
    prop = speed_of(plant_of(tmp_path, text))
    assert (prop.type.write, prop.interlock) == (None, ())


@pytest.mark.parametrize(
    ("clause", "key", "comparison", "value"),
    [
        ("State != Execute", "Acme/Line/Filler.State", Comparison.NotEqual, 6),
        ("State != 6", "Acme/Line/Filler.State", Comparison.NotEqual, 6),
        ("./State == Execute", "Acme/Line/Filler.State", Comparison.Equal, 6),
        ("Mode == 'Hand work'", "Acme/Line/Filler.Mode", Comparison.Equal, 1),
        ("Guard.Closed == true", "Acme/Line/Filler/Guard.Closed", Comparison.Equal, True),
        ("./Guard.Closed == true", "Acme/Line/Filler/Guard.Closed", Comparison.Equal, True),
        ("../Ready == true", "Acme/Line.Ready", Comparison.Equal, True),
        ("../Packer.Temperature <= 40", "Acme/Line/Packer.Temperature", Comparison.AtMost, 40.0),
        ("../../Line/Packer.Temperature<1e2", "Acme/Line/Packer.Temperature", Comparison.Below, 100.0),
        ("Acme/Line/Packer.Temperature > -5", "Acme/Line/Packer.Temperature", Comparison.Above, -5.0),
        ("Count >= 10", "Acme/Line/Filler.Count", Comparison.AtLeast, 10),
        ("Recipe == 'A 7 >= x'", "Acme/Line/Filler.Recipe", Comparison.Equal, "A 7 >= x"),
        ("../Packer.Ratio == 0.1", "Acme/Line/Packer.Ratio", Comparison.Equal, 0.10000000149011612),
    ],
)
def test_a_clause_means_a_property_and_a_value_of_its_type(
    tmp_path: Path, clause: str, key: str, comparison: Comparison, value: object
) -> None:
    config = plant_of(tmp_path, line(f'{{interlock: "{clause}"}}'))
    (found,) = speed_of(config).interlock
    assert (found.property, found.comparison, found.value) == (key, comparison, value)
    assert type(found.value) is type(value)
    assert config.warnings == ()


@pytest.mark.parametrize(
    ("clause", "message", "hint"),
    [
        ("State = Execute", "'State = Execute' compares nothing", "=="),
        ("State", "'State' compares nothing", "write a property"),
        ("0 < Count < 5", "'0 < Count < 5' compares more than once", "one comparison"),
        ("Guard. == 5", "'Guard.' is no property", "Equipment.Name"),
        ("Count ==", "'' is no value", ""),
        ("Count == null", "nothing is equal to null", ""),
        ("Count == a b", "'a b' is no value", "text"),
        ("Stat == 5", "Acme/Line/Filler has no property 'Stat'", "'State'"),
        ("Ready == true", "there is no property 'Ready' here", "'../Ready'"),
        (
            "Packer.Temperature < 5",
            "there is no property 'Packer.Temperature' here",
            "'../Packer.Temperature'",
        ),
        ("Gard.Closed == true", "there is no equipment 'Gard'", "'Guard.Closed'"),
        ("../../../X == 5", "'../../../X' leads above the top of the plant", ""),
        ("State > Execute", "State is an enumeration, which has no order", "=="),
        ("Guard.Closed >= true", "Closed is a Boolean, which has no order", "=="),
        ("State == Excute", "'Excute' is no state of packml-state", "'Execute'"),
        ("State == 99", "99 is no number of packml-state", "Undefined"),
        ("Guard.Closed == 1", "1 is not a Boolean", "true or false"),
        ("Recipe == A7", "Recipe is a String", "'A7'"),
        ("Count == 1.5", "1.5 is not a UInt16", "whole"),
        ("Count == -1", "-1 is out of range for UInt16 (0 to 65535)", ""),
        ("Count == full", "'full' is not a UInt16", "number"),
    ],
)
def test_a_clause_that_cannot_be_meant_is_told_with_what_would_be_right(
    tmp_path: Path, clause: str, message: str, hint: str
) -> None:
    (problem,) = problems_of(tmp_path, line(f'{{interlock: ["Count < 9", "{clause}"]}}'))
    assert problem.path == "classes.Machine.properties.Speed.write.interlock.1"
    assert problem.message.removesuffix(" (for Acme/Line/Filler)").startswith(message)
    assert hint in problem.hint


def test_two_equipment_that_may_be_meant_are_asked_about(tmp_path: Path) -> None:
    text = line("{interlock: Acme/Line.Ready == true}") + (
        "  Acme/Line/Filler/Acme: {level: EquipmentModule}\n"
        "  Acme/Line/Filler/Acme/Line:\n    level: ControlModule\n"
        "    properties: {Ready: {type: Boolean, value: true}}\n"
    )
    (problem,) = problems_of(tmp_path, text)
    assert "may mean Acme/Line/Filler/Acme/Line.Ready or Acme/Line.Ready" in problem.message


def test_a_class_is_told_of_once_however_many_have_it(tmp_path: Path) -> None:
    text = (
        line("{interlock: Stat == 5}")
        + """
  Acme/Line/M{n}:
    for: 1..50
    class: Machine
    source: PLC
    map: {State: "holding:0", Mode: "holding:1", Recipe: {addr: "holding:9", as: string(8)},
          Count: "holding:3", Speed: "holding:4"}
"""
    )
    assert len(problems_of(tmp_path, text)) == 1


def test_a_repeated_equipment_has_interlocks_of_its_own(tmp_path: Path) -> None:
    config = plant_of(
        tmp_path,
        """
        opcua: {writable: true}
        equipment:
          Farm: {level: Site}
          Farm/Tank{n}:
            for: 1..3
            level: StorageUnit
            properties:
              Full: {type: Boolean, value: false}
              Inlet: {type: Boolean, value: false, write: {interlock: Full == false}}
        """,
    )
    found = {p.key: p.interlock[0].property for p in config.plant.properties() if p.interlock}
    assert found == {f"Farm/Tank{n}.Inlet": f"Farm/Tank{n}.Full" for n in (1, 2, 3)}


def test_an_interlock_is_calculated_in_a_repetition(tmp_path: Path) -> None:
    text = """
        opcua: {writable: true}
        equipment:
          Farm: {level: Site}
          Farm/Pump{n}:
            for: 1..3
            level: StorageUnit
            properties: {On: {type: Boolean, value: false}}
          Farm/Tank{n}:
            for: 1..3
            level: StorageUnit
            properties:
              Level: {value: 0.0}
              Inlet:
                type: Boolean
                value: false
                write: {interlock: ["../Pump{4-n}.On == true", "Level < {n*10}"]}
        """
    config = plant_of(tmp_path, text)
    found = {
        p.key: [(c.property, c.value) for c in p.interlock] for p in config.plant.properties() if p.interlock
    }
    assert found == {
        f"Farm/Tank{n}.Inlet": [(f"Farm/Pump{4 - n}.On", True), (f"Farm/Tank{n}.Level", n * 10.0)]
        for n in (1, 2, 3)
    }
    (problem,) = problems_of(tmp_path, text.replace("{4-n}", "{n+1}"))
    assert problem.path == "equipment.Farm/Tank{n}.properties.Inlet.write.interlock.0"
    assert problem.message == "there is no equipment 'Farm/Pump4' (with n = 3)"
    (problem,) = problems_of(tmp_path, text.replace("Level < ", "Level = "))
    assert problem.message == "'Level = 10' compares nothing (with n = 1)"
    (problem,) = problems_of(tmp_path, text.replace("{n*10}", "{m}"))
    assert "m" in problem.message


def test_a_property_that_is_never_read_locks_for_ever_and_is_warned_of(tmp_path: Path) -> None:
    text = line("{interlock: State != Execute}").replace(
        'State: "holding:0"', 'State: {addr: "holding:0", enabled: false}'
    )
    (warning,) = plant_of(tmp_path, text).warnings
    assert warning.path == "classes.Machine.properties.Speed.write.interlock"
    assert "so nobody can write Acme/Line/Filler.Speed" in warning.message


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ("{max_step: 0}", "write.max_step: 0 is out of range: it must be more than 0"),
        ("{max_rate: 5}", "write.max_rate: write how much in which time, like 5 per second"),
        ("{max_rate: 0 per second}", "write.max_rate: a rate is more than nothing"),
        ("{max_rate: 5 per day}", "write.max_rate: write how much in which time"),
        (
            "{max_rate: 5 per hour, verify: none}",
            "write.verify: a rate is measured from a value that is read",
        ),
        ("{max_per_minute: 0}", "write.max_per_minute: 0 is out of range: it must be at least 1"),
        ("{verify: exactly}", "write.verify: write exact, none or {within: 0.5}"),
        ("{verify: {within: -1}}", "write.verify: a tolerance is not negative"),
        ("{interlock: []}", "write.interlock: this must have at least 1 entry"),
        ("{roles: [Anonymous]}", "write.roles.0: "),
        ("{limits: [5, 1]}", "write.limits: the low end (5) must be below the high end (1)"),
        ("{max_stp: 5}", "write.max_stp: unknown key 'max_stp'"),
        ("{max_step: 5, verify: none}", "write.verify: a step is measured from a value that is read back"),
        (
            "{limits: [0, 5]}, write_limits: [0, 5]",
            "write.limits: write.limits and write_limits say the same",
        ),
        ("{max_step: 5}, access: r", "write: it has rules for writing and access: r"),
    ],
)
def test_rules_that_cannot_be_meant_are_refused(tmp_path: Path, rules: str, expected: str) -> None:
    (message,) = messages_of(tmp_path, line(rules))
    assert message.startswith(f"classes.Machine.properties.Speed.{expected}")


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        (
            "type: Boolean, value: true, write: {max_step: 1}",
            "write.max_step: a Boolean has no write.max_step",
        ),
        (
            "type: String, value: a, write: {max_rate: 1 per second}",
            "write.max_rate: a String has no write.max_rate",
        ),
        ("type: String, value: a, write: {limits: [0, 1]}", "write.limits: a String has no write.limits"),
        (
            "enum: mode, value: 0, write: {verify: {within: 1}}",
            "write.verify: an enumeration is verified exactly",
        ),
    ],
)
def test_rules_for_numbers_are_for_numbers(tmp_path: Path, declared: str, expected: str) -> None:
    text = "enums: {mode: {0: Auto, 1: Hand}}\nequipment: {A: {level: Site, properties: {x: {DECLARED}}}}"
    (message,) = messages_of(tmp_path, text.replace("DECLARED", declared))
    assert message.startswith(f"equipment.A.properties.x.{expected}")


def test_what_is_missing_because_of_another_mistake_is_not_told_again(tmp_path: Path) -> None:
    text = line("{interlock: [Guard.Closed == true, State > Execute]}").replace(
        "level: EquipmentModule", "lvel: x"
    )
    messages = messages_of(tmp_path, text)
    assert not any("no equipment" in message or "no property" in message for message in messages)
    assert any("has no order" in message for message in messages)
