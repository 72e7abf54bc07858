"""Tag lists become configuration that loads, and a wrong one is told with its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.cli import invoke
from support.l5x import L5X

from server.config import Configuration, load
from server.tools import l5x

HEAD = 'model: 1\nnamespaces: {plant: "urn:acme:plant", types: "urn:acme:types"}\n'
SOURCE = "sources: {Line: {driver: logix, host: 10.20.1.12}}\n"
PARENTS = "  Acme: {level: Enterprise}\n  Acme/Line1: {level: ProductionLine}\n"


def imported(folder: Path, name: str, content: str | bytes, *arguments: str) -> tuple[str, Configuration]:
    """What `import` printed for a file, and the plant that includes it."""
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    done = invoke("import", file, "--source", "Line", *arguments)
    assert done.code == 0, done.err
    (folder / "fragment.yaml").write_text(done.out, encoding="utf-8")
    plant = folder / "plant.yaml"
    source = "" if "--device" in arguments else SOURCE
    parents = f"equipment:\n{PARENTS}" if "--under" in arguments else ""
    plant.write_text(f"{HEAD}include: [fragment.yaml]\n{source}{parents}", encoding="utf-8")
    return done.out, load(plant)


def bound(config: Configuration) -> dict[str, str]:
    """Address and type of every property, by its path."""
    return {
        prop.key: f"{prop.binding.tag.address} {prop.binding.tag.type.name}{_length(prop.type.length)}"
        for prop in config.plant.properties()
        if prop.binding is not None
    }


def _length(length: int | None) -> str:
    return "" if length is None else f"[{length}]"


def test_an_export_of_a_controller(tmp_path: Path) -> None:
    text, config = imported(tmp_path, "line.L5X", "\ufeff" + L5X)
    found = bound(config)
    classes = {e.path: e.class_name for e in config.plant.equipment if e.class_name}
    assert classes == {
        "Line/Motors_0": "Motor",
        "Line/Motors_1": "Motor",
        "Line/Motors_2": "Motor",
        "Line/Pump": "Motor",
        "Line/Cycle": "TIMER",
        "Line/Second": "Motor",
        "Line/Packer/Inlet": "ValveCtl",
    }
    assert found["Line/Motors_2.Speed"] == "Motors[2].Speed Float"
    assert found["Line/Motors_2.Drive_Amps"] == "Motors[2].Drive.Amps[0..2] Int16[3]"
    assert found["Line/Motors_1.Drive_Alarms"] == "Motors[1].Drive.Alarms[0..31] Boolean[32]"
    assert found["Line/Pump.Running"] == "Pump.Running Boolean"
    assert found["Line/Second.Running"] == "Motors[1].Running Boolean"
    assert found["Line/Cycle.ACC"] == "Cycle.ACC Int32"
    assert found["Line/Packer/Inlet.Open"] == "Program:Packer.Inlet.Open Boolean"
    assert found["Line/Packer.Speed"] == "Program:Packer.Speed Float"
    assert found["Line/Packer.Mine"] == "Program:Packer.Speed Float"
    assert found["Line.PumpSpeed"] == "Pump.Speed Float"
    assert found["Line.Counts"] == "Counts[0..3] Int32[4]"
    assert found["Line.Grid_1_2"] == "Grid[1,2] Int16"
    assert found["Line.Recipe"] == "Recipe String"
    assert not any(name in key for key in found for name in ("Secret", "ZZZZ", "Hidden", "Where", "Step"))
    assert text.count("&Motor") == 1
    assert text.count("*Motor") == 2
    motor = config.plant.classes["Motor"]
    assert motor.description == "A motor with its drive"
    assert {p.name: p.description for p in motor.properties}["Speed"] == "Speed of the shaft"
    assert config.plant.classes["ValveCtl"].description == "A valve"
    pump = next(e for e in config.plant.equipment if e.path == "Line/Pump")
    assert pump.description == 'Feed pump: "P-101"'
    for words in (
        "# controller Line1, processor 1756-L83E, revision 33.11",
        "1 tags of I/O modules: an export does not say",
        "Log: an array of 5000 REAL; --max-array 5000 takes it in",
        "Hidden: its External Access is None",
        "Loop: PIDE_ENHANCED has no counterpart",
        "Card: it stands for Local:1:I.Data.3, which is not in the list",
    ):
        assert words in text


def test_options_choose_and_place(tmp_path: Path) -> None:
    arguments = ("--device", "eip://10.20.1.12/1,2", "--under", "Acme/Line1", "--filter", "pump*")
    text, config = imported(tmp_path, "line.L5X", L5X, *arguments)
    assert 'Line: {driver: logix, host: "10.20.1.12", path: "1/2"}' in text
    (source,) = config.sources
    assert source.settings.path == "1/2"  # type: ignore[attr-defined]
    assert {e.path for e in config.plant.equipment} == {
        "Acme",
        "Acme/Line1",
        "Acme/Line1/Line",
        "Acme/Line1/Line/Pump",
    }
    text, config = imported(tmp_path, "line.L5X", L5X, "--filter", "Motors", "--max-array", "31")
    assert bound(config)["Line/Motors_0.Drive_Amps"] == "Motors[0].Drive.Amps[0..2] Int16[3]"
    assert not any("Alarms" in key or "Trend" in key for key in bound(config))
    _, config = imported(tmp_path, "line.L5X", L5X, "--max-array", "5000")
    assert bound(config)["Line.Log"] == "Log[0..4999] Float[5000]"


def test_pasted_beneath_the_headings_it_loads_as_well(tmp_path: Path) -> None:
    text, config = imported(tmp_path, "line.L5X", L5X)
    pasted = tmp_path / "pasted.yaml"
    pasted.write_text(HEAD + SOURCE + text, encoding="utf-8")
    assert bound(load(pasted)) == bound(config)


def test_names_that_would_meet_are_told_apart(tmp_path: Path) -> None:
    tags = "".join(
        f'<Tag Name="{name}" TagType="Base" DataType="{kind}" Dimensions="{dims}"/>'
        for name, kind, dims in (
            ("A_0_0", "DINT", "0"),
            ("A", "DINT", "2 1"),
            ("T_1", "TIMER", "0"),
            ("T", "TIMER", "2"),
            ("Local:1:C", "DINT", "0"),
            ("N" * 90, "DINT", "0"),
            ("N" * 91, "DINT", "0"),
            ("EquipmentLevel", "DINT", "0"),
        )
    )
    content = f"<RSLogix5000Content><Controller><Tags>{tags}</Tags></Controller></RSLogix5000Content>"
    _, config = imported(tmp_path, "x.L5X", content)
    found = bound(config)
    assert {address.split()[0] for address in found.values()} >= {
        *(
            "A_0_0",
            "A[0,0]",
            "A[1,0]",
            "T_1.ACC",
            "T[1].ACC",
            "Local:1:C",
            "N" * 90,
            "N" * 91,
            "EquipmentLevel",
        )
    }
    assert len(found) == 3 + 3 * 5 + 4


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        ("<a>\n</a>", 1, "the root element is a"),
        ("<RSLogix5000Content>\n<Controller>\n<Tags><Tag/></Tags>", 3, "a Tag has no Name"),
        ("<RSLogix5000Content>\n<Controller>\n</Controler>", 3, "mismatched tag"),
        ("<RSLogix5000Content>" + "<a>" * 200, 1, "nest deeper"),
        ('<!DOCTYPE x [<!ENTITY a "b">]>\n<RSLogix5000Content>&a;</RSLogix5000Content>', 1, "DOCTYPE"),
    ],
)
def test_a_wrong_export_is_told_with_its_line(tmp_path: Path, content: str, line: int, words: str) -> None:
    file = tmp_path / "x.L5X"
    file.write_text(content, encoding="utf-8")
    done = invoke("import", file)
    assert done.code == 2
    assert f"x.L5X:{line}: " in done.err
    assert words in done.err


def test_an_entity_bomb_never_grows(tmp_path: Path) -> None:
    entities = '<!ENTITY a0 "aaaaaaaaaa">' + "".join(
        f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12)
    )
    file = tmp_path / "bomb.L5X"
    file.write_text(f"<!DOCTYPE x [{entities}]><RSLogix5000Content>&a11;</RSLogix5000Content>")
    done = invoke("import", file)
    assert done.code == 2
    assert "DOCTYPE is refused" in done.err


def test_types_within_types_without_end_are_no_danger(tmp_path: Path) -> None:
    def member(name: str, kind: str) -> str:
        return f'<Member Name="{name}" DataType="{kind}" Dimension="0"/>'

    deep = "".join(
        f'<DataType Name="D{n}"><Members>{member("M", f"D{n + 1}")}</Members></DataType>' for n in range(5000)
    )
    wide = "".join(
        f'<DataType Name="W{n}"><Members>{"".join(member(f"M{m}", f"W{n + 1}") for m in range(16))}'
        "</Members></DataType>"
        for n in range(20)
    )
    ring = f'<DataType Name="R"><Members>{member("Me", "R")}{member("A", "DINT")}</Members></DataType>'
    tags = "".join(f'<Tag Name="T{kind}" TagType="Base" DataType="{kind}"/>' for kind in ("D0", "W0", "R"))
    content = (
        f"<RSLogix5000Content><Controller><DataTypes>{deep}{wide}{ring}</DataTypes><Tags>{tags}</Tags>"
        "</Controller></RSLogix5000Content>"
    )
    text, config = imported(tmp_path, "x.L5X", content)
    assert bound(config) == {"Line/TR.A": "TR.A Int32"}
    assert "TW0: a structure of more than 2000 values" in text


def test_one_endless_element_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(l5x, "MAX_TOKEN", 100_000)
    file = tmp_path / "x.L5X"
    file.write_text("<RSLogix5000Content><Controller Name='" + "x" * 1_000_000, encoding="utf-8")
    done = invoke("import", file)
    assert done.code == 2
    assert "one element is larger" in done.err


STUDIO = """\
remark,"CSV-Import-Export"
remark,"Date = Thu Nov 26 00:00:00 2026"
remark,"Version = RSLogix 5000 v33.00"
0.3
TYPE,SCOPE,NAME,DESCRIPTION,DATATYPE,SPECIFIER,ATTRIBUTES
TAG,,Counts,"Good$Nand $QOK$Q","DINT[4]","","(RADIX := Decimal, ExternalAccess := Read/Write)"
TAG,,Flags,"","BOOL[64]","",""
TAG,,Hidden,"","DINT","","(RADIX := Decimal, Constant := false, ExternalAccess := None)"
TAG,,Pump,"Füllerpumpe","Motor","",""
TAG,,Cycle,"","TIMER","",""
ALIAS,,First,"the first","","Counts[0]","(ExternalAccess := Read/Write)"
TAG,Packer,Speed,"","REAL","",""
COMMENT,,Pump,"no tag","","Pump.Speed"
RCOMMENT,Packer,Main,"a rung","","0"
"""


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
def test_an_export_of_tags_alone(tmp_path: Path, encoding: str) -> None:
    text, config = imported(tmp_path, "tags.csv", STUDIO.encode(encoding), "--max-array", "64")
    found = bound(config)
    assert found["Line.Counts"] == "Counts[0..3] Int32[4]"
    assert found["Line.Flags"] == "Flags[0..63] Boolean[64]"
    assert found["Line.First"] == "Counts[0] Int32"
    assert found["Line/Cycle.DN"] == "Cycle.DN Boolean"
    assert found["Line/Packer.Speed"] == "Program:Packer.Speed Float"
    assert len(found) == 1 + 1 + 1 + 5 + 1
    assert "Pump: a tag CSV does not say what a Motor is made of; export as L5X" in text
    assert "Hidden: its External Access is None" in text
    counts = next(p for p in config.plant.properties() if p.name == "Counts")
    assert counts.type.description == 'Good and "OK"'


LIST = """\
Name;Address;Type;Unit;Min;Max;Scale;Comment;Array
Line/Pump1.Speed;holding:0;float32;C49;0;900;;Shaft;
Line/Pump1.Temp;input:1;int16;CEL;;;0,1;;
Line/Pump2.Speed;holding:100;float32;C49;0;900;;;
Line/Pump2.Temp;input:101;int16;CEL;;;0,1;;
Tank.Level;input:7;uint16;;;;;;
Tank.Zones;input:20;int16;CEL;;;0,1;;4
Running;coil:3;;;;;;;
Door;holding:4.2;;;;;;;
"""


def test_a_list_of_a_spreadsheet(tmp_path: Path) -> None:
    device = ("--device", "modbus://10.20.1.11?unit=3")
    text, config = imported(tmp_path, "list.csv", LIST, *device)
    assert 'Line: {driver: modbus, host: "10.20.1.11", unit: 3}' in text
    found = bound(config)
    assert found == {
        "Line.Running": "coil:3 Boolean",
        "Line.Door": "holding:4.2 Boolean",
        "Line/Tank.Level": "input:7 as uint16 UInt16",
        "Line/Tank.Zones": "input:20 as int16[4] Int16[4]",
        "Line/Line/Pump1.Speed": "holding:0 as float32 Float",
        "Line/Line/Pump1.Temp": "input:1 as int16 Int16",
        "Line/Line/Pump2.Speed": "holding:100 as float32 Float",
        "Line/Line/Pump2.Temp": "input:101 as int16 Int16",
    }
    pumps = {e.path: e.class_name for e in config.plant.equipment if e.class_name}
    assert pumps == {"Line/Line/Pump1": "Pump", "Line/Line/Pump2": "Pump"}
    speed, temp = config.plant.classes["Pump"].properties
    assert (speed.range, speed.unit and speed.unit.key) == ((0.0, 900.0), "C49")
    assert temp.type.name == "Double"


def test_a_list_of_logix_tags_shares_a_map(tmp_path: Path) -> None:
    content = "tag,addr,type\nP1.On,P[1].On,bool\nP1.V,P[1].V,real\nP2.On,P[2].On,bool\nP2.V,P[2].V,real\n"
    text, config = imported(tmp_path, "list.csv", content)
    assert bound(config)["Line/P2.V"] == "P[2].V Float"
    assert 'prefix: "P[2]."' in text
    assert "map: *P" in text


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        ("", 0, "the file is empty"),
        ("name,adress\na,b\n", 1, "no column address"),
        ("name,address,colour\na,b,c\n", 1, "there is no column 'colour'"),
        (
            "name,address,type\nA,holding:0,uint16\nB,40001,int16\n",
            3,
            "40001 in 5-digit notation is holding:0",
        ),
        ("name,address,type\nA,holding:0,flaot32\n", 2, "did you mean float32?"),
        ("name,address,type\nA,holding:0,int16\n\na,holding:1,int16\n", 4, "stands in line 2 already"),
        ("name,address,type,gain\nA,holding:0,int16,often\n", 2, "'often' is not a number"),
        ("name,address,type\nA,,int16\n", 2, "there is no address"),
        ("name,address,type,array\nA,holding:0,int16,many\n", 2, "array: 'many' is no number of elements"),
        ("name,address,type,array\nA,holding:0,int16,200\n", 2, "takes 200 registers"),
        ("name,address\nA,Speed\n", 2, "A has no type"),
        ('name,address\n"A,holding:0\n', 2, "this is not CSV"),
        ("name,address\nA\0,holding:0\n", 2, "this is not a text file"),
        ("TYPE,SCOPE,NAME,DESCRIPTION,DATATYPE\nTAG,,A,,1x\n", 2, "is no DATATYPE"),
    ],
)
def test_a_wrong_list_is_told_with_its_line(tmp_path: Path, content: str, line: int, words: str) -> None:
    file = tmp_path / "list.csv"
    file.write_text(content, encoding="utf-8")
    done = invoke("import", file)
    assert done.code == 2
    assert (f"list.csv:{line}: " if line else "list.csv: ") in done.err
    assert words in done.err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("none.csv",), 2, "none.csv: No such file"),
        (("line.ACD", "--device", "plc7"), 2, "'plc7' is no address of a device; write modbus://"),
        (("list.csv", "--source", "1x"), 2, "is not a name"),
        (("list.csv", "--under", "A//B c"), 2, "is no path"),
        (("list.csv", "--filter", "nothing*"), 1, "that matches 'nothing*'"),
        (("line.ACD",), 2, "must be exported as L5X"),
    ],
)
def test_what_cannot_be_imported_is_told(
    tmp_path: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    (tmp_path / "list.csv").write_text(LIST, encoding="utf-8")
    (tmp_path / "line.ACD").write_bytes(b"\xd0\xcf\x11\xe0 an old office format")
    done = invoke("import", tmp_path / arguments[0], *arguments[1:])
    assert done.code == code
    assert words in done.err
