from __future__ import annotations

import pytest
from pydantic import ValidationError
from support.logix import packer_point

from sources.simulators.logix.controller import LogixController
from sources.simulators.logix.derive import spec_from_paths
from sources.simulators.logix.spec import LogixSpec, TagSpec, TypeSpec


def types_of(spec: LogixSpec) -> dict[str, dict[str, str]]:
    return {kind.name: {m.name: m.type for m in kind.members} for kind in spec.types}


def tags_of(spec: LogixSpec) -> dict[str, str]:
    return {f"{tag.program}.{tag.name}" if tag.program else tag.name: tag.type for tag in spec.tags}


def test_paths_make_programs_tags_and_types() -> None:
    spec = spec_from_paths(
        "PackerPLC",
        [
            ("Program:Packer.PML.Status.CurMachSpeed", "REAL"),
            ("Program:Packer.PML.Status.StateCurrent", "DINT"),
            ("Program:Packer.PML.Admin.ProdProcessedCount[0].Count", "DINT"),
            ("Program:Packer.PML.Admin.ProdProcessedCount[3].Id", "DINT"),
            ("Program:packer.CaseSize", "int"),
            ("Speed", "REAL"),
            ("Recipe[7]", "DINT"),
            ("Grid[1,2]", "INT"),
            ("Whole", "SINT[4]"),
            ("Label", "STRING"),
            ("Code", "STRING(12)"),
        ],
    )
    assert tags_of(spec) == {
        "Packer.PML": "PML",
        "Packer.CaseSize": "INT",
        "Speed": "REAL",
        "Recipe": "DINT[8]",
        "Grid": "INT[2,3]",
        "Whole": "SINT[4]",
        "Label": "STRING",
        "Code": "STRING(12)",
    }
    assert types_of(spec) == {
        "PML_Status": {"CurMachSpeed": "REAL", "StateCurrent": "DINT"},
        "PML_Admin_ProdProcessedCount": {"Count": "DINT", "Id": "DINT"},
        "PML_Admin": {"ProdProcessedCount": "PML_Admin_ProdProcessedCount[4]"},
        "PML": {"Status": "PML_Status", "Admin": "PML_Admin"},
    }
    LogixController(spec).write_tag("Program:Packer.PML.Admin.ProdProcessedCount[3].Id", 9)


def test_bits_make_words_and_members_of_timers_timers() -> None:
    spec = spec_from_paths(
        "PLC",
        [
            ("Word.3", "BOOL"),
            ("Long.40", "BOOL"),
            ("Own", "INT"),
            ("Own.15", "BOOL"),
            ("Flags[40]", "BOOL"),
            ("Cycle.ACC", "DINT"),
            ("Cycle.DN", "BOOL"),
            ("Boxes[2].ACC", "DINT"),
            ("Boxes[2].CU", "BOOL"),
            ("Given", "TIMER"),
            ("Given.PRE", "DINT"),
            ("NoTimer.ACC", "REAL"),
        ],
    )
    assert tags_of(spec) == {
        "Word": "DINT",
        "Long": "LINT",
        "Own": "INT",
        "Flags": "BOOL[41]",
        "Cycle": "TIMER",
        "Boxes": "COUNTER[3]",
        "Given": "TIMER",
        "NoTimer": "NoTimer",
    }
    controller = LogixController(spec)
    assert len(controller.read_tag("Flags")) == 64  # type: ignore[arg-type]
    controller.write_tag("Boxes[2].CU", True)
    assert controller.read_tag("Boxes[2].CU") is True


def test_types_of_the_same_shape_and_name_are_one_and_others_get_a_number() -> None:
    spec = spec_from_paths(
        "PLC",
        [
            ("Program:A.M.Speed", "REAL"),
            ("Program:B.M.Speed", "REAL"),
            ("Program:C.M.Speed", "DINT"),
            ("DINT.Value", "REAL"),
            ("Local:1:I.Ch0Data", "REAL"),
        ],
    )
    assert tags_of(spec) == {"A.M": "M", "B.M": "M", "C.M": "M_2", "DINT": "DINT_2", "Local:1:I": "Local_1_I"}
    LogixController(spec)


def test_values_and_points_come_along() -> None:
    point = packer_point("Speed", "PML.Status.CurMachSpeed", "REAL", low=0, high=100)
    spec = spec_from_paths(
        "PLC", [("Recipe", "STRING")], points=[point], values={"Recipe": "Cola"}, port=4711
    )
    assert (spec.port, spec.points) == (4711, (point,))
    controller = LogixController(LogixSpec.model_validate_json(spec.model_dump_json()))
    assert controller.read_tag("Recipe") == "Cola"
    assert controller.get(point.machine, "Speed") is not None


@pytest.mark.parametrize(
    ("paths", "told"),
    [
        ([("A", "REAL"), ("A", "DINT")], "A is a REAL and a DINT"),
        ([("A", "REAL"), ("A.B", "DINT")], "A is a REAL and has members"),
        ([("A.5", "DINT")], "A.5 is one bit: a BOOL, not a DINT"),
        ([("A", "INT"), ("A.16", "BOOL")], "A has no bit 16"),
        ([("A", "REAL"), ("A.1", "BOOL")], "A has no bit 1"),
        ([("A[1]", "INT"), ("A[1,2]", "INT")], "A is indexed with 1 and with 2 numbers"),
        ([("Program:P.A", "TIMER"), ("Program:P.A.X", "DINT")], "Program:P.A is a TIMER and has members"),
        ([("A B", "INT")], "not a tag path"),
        ([("A", "INT[")], "not a type"),
        ([("A", "Nothing")], "no type Nothing"),
        ([("A.B[1,2]", "INT")], "one dimension"),
        ([("A[1,2]", "BOOL")], "one dimension"),
    ],
)
def test_paths_that_contradict_each_other(paths: list[tuple[str, str]], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        spec_from_paths("PLC", paths)


def a_type(name: str, *members: tuple[str, str]) -> dict[str, object]:
    return {"name": name, "members": [{"name": member, "type": kind} for member, kind in members]}


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"tags": []}, "at least 1"),
        ({"tags": [{"name": "A", "type": "Nope"}]}, "no type Nope"),
        ({"tags": [{"name": "A", "type": "DINT"}, {"name": "a", "type": "DINT"}]}, "two tags a"),
        ({"tags": [{"name": "A", "type": "X"}], "types": [a_type("X", ("Y", "X"))]}, "contains itself"),
        ({"tags": [{"name": "A", "type": "X"}], "types": [a_type("X", ("Y", "INT"))] * 2}, "two types X"),
        ({"tags": [{"name": "A", "type": "X"}], "types": [a_type("TIMER", ("Y", "INT"))]}, "two types TIMER"),
        ({"tags": [{"name": "A", "type": "INT"}], "values": {"B": 1}}, "no tag B"),
        ({"tags": [{"name": "A", "type": "INT"}], "values": {"A": 70000}}, "does not fit"),
        ({"tags": [{"name": "A", "type": "DWORD"}]}, "no type DWORD"),
        ({"tags": [{"name": "1A", "type": "INT"}]}, "pattern"),
        ({"tags": [{"name": "A", "type": "INT"}], "nonsense": 1}, "Extra"),
    ],
)
def test_a_spec_that_cannot_be_is_refused(spec: dict[str, object], told: str) -> None:
    import json

    with pytest.raises(ValidationError, match=told):
        LogixSpec.model_validate_json(json.dumps({"name": "PLC", **spec}))


@pytest.mark.parametrize(
    ("tag", "of", "told"),
    [
        ("Nothing", "DINT", "no tag"),
        ("A", "REAL", "is a DINT, not a REAL"),
        ("B", "DINT", "is an array of DINT, not a DINT"),
        ("A", "Unit", "a point is a number"),
    ],
)
def test_a_point_must_fit_its_tag(tag: str, of: str, told: str) -> None:
    tags = (
        TagSpec(name="A", type="DINT", program="Packer"),
        TagSpec(name="B", type="DINT[2]", program="Packer"),
    )
    with pytest.raises(ValueError, match=told):
        LogixSpec(name="PLC", tags=tags, points=(packer_point("P", tag, of),))


def test_two_types_of_one_name_in_different_case_are_one_too_many() -> None:
    with pytest.raises(ValueError, match="two types"):
        LogixSpec(
            name="PLC",
            types=(
                TypeSpec.model_validate_json('{"name": "X", "members": [{"name": "A", "type": "INT"}]}'),
                TypeSpec.model_validate_json('{"name": "x", "members": [{"name": "A", "type": "DINT"}]}'),
            ),
            tags=(TagSpec(name="A", type="X"),),
        )
