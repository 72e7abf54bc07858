from __future__ import annotations

import io
from pathlib import Path

import pytest
from support.nodesets import PLANT, nodeset, read, read_one

from nodesets import ua
from nodesets.errors import NodesetError
from nodesets.reader import read_nodeset, stream_nodeset
from nodesets.records import (
    BASE_DATA_TYPE,
    UA,
    DataTypeDefinition,
    DataTypeField,
    LocalizedText,
    Model,
    NodeClass,
    NodeId,
    NodeRecord,
    QualifiedName,
    Reference,
    RequiredModel,
    RolePermission,
)

ALIASES = '<Aliases><Alias Alias="HasComponent">i=47</Alias><Alias Alias="Op">i=15680</Alias></Aliases>'


@pytest.mark.parametrize("kind", NodeClass)
def test_a_node_that_says_nothing_has_the_defaults(kind: NodeClass) -> None:
    found = read_one(f'<UA{kind.name} NodeId="ns=1;i=1" BrowseName="1:N"/>')
    assert found == NodeRecord(NodeId(PLANT, 1), kind, QualifiedName(PLANT, "N"))
    assert found.data_type == BASE_DATA_TYPE


def test_a_variable_tells_everything() -> None:
    found = read_one(
        '<UAVariable NodeId="ns=1;s=V" BrowseName="1:V" DataType="i=11" ValueRank="2" ArrayDimensions="3,0" '
        'AccessLevel="7" UserAccessLevel="1" MinimumSamplingInterval="100.5" Historizing="true" '
        'WriteMask="4" AccessRestrictions="3" SymbolicName="Sym" ReleaseStatus="Draft" DesignToolOnly="1" '
        'ParentNodeId="i=85">'
        "<DisplayName>Value</DisplayName><DisplayName Locale='de'>Wert</DisplayName>"
        "<Description Locale='en'>What it is </Description>"
        "<References><Reference ReferenceType='HasComponent' IsForward='false'> i=85 </Reference>"
        "<Reference ReferenceType='i=40'>i=63</Reference></References>"
        "<RolePermissions><RolePermission Permissions='33'>Op</RolePermission>"
        "<RolePermission>i=15644</RolePermission></RolePermissions></UAVariable>",
        head=ALIASES,
    )
    assert found == NodeRecord(
        NodeId(PLANT, "V"),
        NodeClass.Variable,
        QualifiedName(PLANT, "V"),
        (LocalizedText("Value"), LocalizedText("Wert", "de")),
        (LocalizedText("What it is ", "en"),),
        [
            Reference(ua.HAS_COMPONENT, ua.OBJECTS_FOLDER, forward=False),
            Reference(ua.HAS_TYPE_DEFINITION, ua.BASE_DATA_VARIABLE_TYPE),
        ],
        data_type=ua.DOUBLE,
        value_rank=2,
        array_dimensions=(3, 0),
        access_level=7,
        minimum_sampling_interval=100.5,
        historizing=True,
        role_permissions=(RolePermission(NodeId(UA, 15680), 33), RolePermission(NodeId(UA, 15644), 0)),
        access_restrictions=3,
        write_mask=4,
        symbolic_name="Sym",
        release_status="Draft",
        design_tool_only=True,
    )


def test_the_other_classes_tell_what_is_theirs() -> None:
    assert read_one('<UAObject NodeId="i=1" BrowseName="N" EventNotifier="5"/>').event_notifier == 5
    view = read_one('<UAView NodeId="i=1" BrowseName="N" EventNotifier="1" ContainsNoLoops="true"/>')
    assert (view.event_notifier, view.contains_no_loops) == (1, True)
    method = read_one(
        '<UAMethod NodeId="i=1" BrowseName="N" Executable="false" MethodDeclarationId="ns=1;i=2"/>'
    )
    assert (method.executable, method.method_declaration) == (False, NodeId(PLANT, 2))
    kind = read_one(
        '<UAReferenceType NodeId="i=1" BrowseName="N" Symmetric="true" IsAbstract="true">'
        "<InverseName>Back</InverseName><InverseName Locale='de'>Zurück</InverseName></UAReferenceType>"
    )
    assert (kind.symmetric, kind.is_abstract) == (True, True)
    assert kind.inverse_name == (LocalizedText("Back"), LocalizedText("Zurück", "de"))
    assert (
        read_one('<UAVariableType NodeId="i=1" BrowseName="N" ValueRank="-2" IsAbstract="1"/>').value_rank
        == -2
    )


def test_attributes_of_another_class_are_not_taken() -> None:
    found = read_one(
        '<UAObject NodeId="i=1" BrowseName="N" DataType="i=1" Symmetric="true" IsAbstract="true"/>'
    )
    assert found == NodeRecord(NodeId(UA, 1), NodeClass.Object, QualifiedName(UA, "N"))


def definition(attributes: str, fields: str) -> DataTypeDefinition:
    found = read_one(
        '<UADataType NodeId="ns=1;i=1" BrowseName="1:T">'
        f'<Definition Name="1:T"{attributes}>{fields}</Definition></UADataType>'
    ).definition
    assert found is not None
    return found


def test_a_structure_tells_its_fields() -> None:
    assert definition(
        "",
        '<Field Name="A"/>'
        '<Field Name="B" DataType="ns=1;i=2" ValueRank="1" ArrayDimensions="4" MaxStringLength="9" '
        'IsOptional="true" AllowSubTypes="true" SymbolicName="Bee">'
        "<DisplayName>B</DisplayName><Description>b</Description></Field>",
    ) == DataTypeDefinition(
        QualifiedName(PLANT, "T"),
        (
            DataTypeField("A"),
            DataTypeField(
                "B",
                NodeId(PLANT, 2),
                value_rank=1,
                array_dimensions=(4,),
                max_string_length=9,
                is_optional=True,
                allow_subtypes=True,
                display_name=(LocalizedText("B"),),
                description=(LocalizedText("b"),),
                symbolic_name="Bee",
            ),
        ),
    )


def test_an_enumeration_a_union_and_an_option_set_are_told_apart() -> None:
    assert definition("", '<Field Name="Off" Value="0"/><Field Name="On" Value="-7"/>').fields == (
        DataTypeField("Off", value=0),
        DataTypeField("On", value=-7),
    )
    assert definition(' IsUnion="true"', "").is_union
    assert definition(' IsOptionSet="true"', '<Field Name="Bit" Value="63"/>').is_option_set


def test_models_tell_what_they_need_and_who_may() -> None:
    found = read(
        nodeset(
            "",
            head='<Models><Model ModelUri="urn:m" Version="2" PublicationDate="2024-01-01T00:00:00Z" '
            'AccessRestrictions="1"><RolePermissions><RolePermission Permissions="1">Op</RolePermission>'
            f'</RolePermissions><RequiredModel ModelUri="{UA}"/>'
            '<RequiredModel ModelUri="urn:o" Version="1" PublicationDate="2023-01-01T00:00:00Z"/></Model>'
            '<Model ModelUri="urn:n"/></Models>' + ALIASES,
        )
    )
    assert found.nodes == []
    assert found.models == (
        Model(
            "urn:m",
            "2",
            "2024-01-01T00:00:00Z",
            (RequiredModel(UA), RequiredModel("urn:o", "1", "2023-01-01T00:00:00Z")),
            (RolePermission(NodeId(UA, 15680), 1),),
            1,
        ),
        Model("urn:n"),
    )


def test_no_permissions_differ_from_none_stated() -> None:
    assert read_one('<UAObject NodeId="i=1" BrowseName="N"/>').role_permissions is None
    assert (
        read_one('<UAObject NodeId="i=1" BrowseName="N"><RolePermissions/></UAObject>').role_permissions == ()
    )
    assert read_one('<UAObject NodeId="i=1" BrowseName="N" HasNoPermissions="true"/>').role_permissions == ()


def test_a_parent_node_id_makes_no_reference() -> None:
    assert read_one('<UAObject NodeId="ns=1;i=1" BrowseName="1:N" ParentNodeId="ns=1;i=2"/>').references == []


def test_what_is_not_kept_does_no_harm() -> None:
    found = read_one(
        '<UAMethod NodeId="ns=1;i=1" BrowseName="1:N"><Category>C</Category><Documentation>D</Documentation>'
        "<Extensions><Extension><x:y xmlns:x='urn:x'/></Extension></Extensions>"
        "<ArgumentDescription><Name>A</Name></ArgumentDescription></UAMethod>",
        head="<ServerUris/><Extensions><Extension/></Extensions>",
    )
    assert found == NodeRecord(NodeId(PLANT, 1), NodeClass.Method, QualifiedName(PLANT, "N"))


def test_extensions_may_stand_after_nodes() -> None:
    assert len(read(nodeset('<UAObject NodeId="i=1" BrowseName="N"/><Extensions/>')).nodes) == 1


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "iso-8859-1"])
def test_encodings(encoding: str) -> None:
    text = nodeset('<UAObject NodeId="ns=1;s=Füller" BrowseName="1:Füller"/>').decode()
    named = text.replace('encoding="utf-8"', f'encoding="{encoding.removesuffix("-sig")}"')
    (node,) = read(named.encode(encoding)).nodes
    assert node.node_id == NodeId(PLANT, "Füller")


def test_a_path_or_a_stream(tmp_path: Path) -> None:
    content = nodeset('<UAObject NodeId="i=1" BrowseName="N"/>')
    path = tmp_path / "a.xml"
    path.write_bytes(content)
    expected = read(content)
    assert read_nodeset(path) == read_nodeset(str(path)) == expected
    with path.open("rb") as file:
        assert read_nodeset(file) == expected
        assert not file.closed


def test_a_stream_that_gives_a_byte_at_a_time_reads_the_same() -> None:
    class Trickle(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(1, size) if size else size)

    content = nodeset('<UAObject NodeId="i=1" BrowseName="N"/>', head=ALIASES)
    assert read_nodeset(Trickle(content), name="test.xml") == read(content)


class Endless(io.RawIOBase):
    """A file of ever more nodes, which counts what was asked of it."""

    def __init__(self) -> None:
        self._rest = nodeset("").replace(b"</UANodeSet>", b"")
        self._number = 0
        self.given = 0

    def read(self, size: int = -1, /) -> bytes:
        while len(self._rest) < size:
            self._number += 1
            self._rest += f'<UAObject NodeId="ns=1;i={self._number}" BrowseName="1:N"/>'.encode()
        chunk, self._rest = self._rest[:size], self._rest[size:]
        self.given += len(chunk)
        return chunk


def test_streaming_yields_nodes_before_the_file_ends() -> None:
    endless = Endless()
    stream = stream_nodeset(endless, name="endless")  # type: ignore[arg-type]  # RawIOBase is no IO
    for number in range(1, 5001):
        node = next(stream)
        assert isinstance(node, NodeRecord)
        assert node.node_id.identifier == number
    assert endless.given < 500_000


@pytest.mark.parametrize(
    ("name", "reason"), [("absent.xml", "No such file"), ("", "directory"), ("x" * 300, "too long")]
)
def test_a_file_that_cannot_be_opened_is_told_by_name(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(NodesetError, match=reason) as caught:
        read_nodeset(tmp_path / name)
    assert caught.value.line == 0
    assert caught.value.file == str(tmp_path / name)
