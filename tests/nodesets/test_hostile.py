"""Files made or broken to do harm: each is refused with its name, a line and what to do, at once."""

from __future__ import annotations

import io
import time
import tracemalloc
from collections.abc import Iterator

import pytest
from support.nodesets import NODESETS, nodeset, read, variable

from nodesets import reader, tree
from nodesets.errors import NodesetError
from nodesets.reader import read_nodeset

GOOD = nodeset('<UAObject NodeId="ns=1;i=1" BrowseName="1:N"/>')


def bomb() -> bytes:
    levels = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    return (
        f'<?xml version="1.0"?>\n<!DOCTYPE UANodeSet [<!ENTITY l0 "lol">{levels}]>\n'
        f'<UANodeSet xmlns="{NODESETS}"><UAObject NodeId="i=1" BrowseName="&l9;"/></UANodeSet>'
    ).encode()


def refused(content: bytes, problem: str, line: int) -> None:
    started = time.process_time()
    with pytest.raises(NodesetError) as caught:
        read(content)
    assert time.process_time() - started < 5
    assert problem in str(caught.value)
    assert (caught.value.file, caught.value.line) == ("test.xml", line)
    assert str(caught.value).startswith(f"test.xml:{line}: ")
    assert len(str(caught.value)) < 400
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "utf-16-be"])
def test_entities_are_refused_before_they_expand(encoding: str) -> None:
    mark = {"utf-16-le": "\ufeff", "utf-16-be": "\ufeff"}.get(encoding, "")
    refused((mark + bomb().decode()).encode(encoding), "a DOCTYPE is refused", 2)


@pytest.mark.parametrize(
    "doctype",
    [
        '<!DOCTYPE UANodeSet SYSTEM "http://127.0.0.1:9/x.dtd">',
        '<!DOCTYPE UANodeSet [<!ENTITY x SYSTEM "file:///etc/hostname">]>',
        '<!DOCTYPE UANodeSet [<!ENTITY % x SYSTEM "http://127.0.0.1:9/x"> %x;]>',
        "<!DOCTYPE UANodeSet>",
    ],
)
def test_nothing_outside_is_fetched(doctype: str) -> None:
    refused(
        f'{doctype}<UANodeSet xmlns="{NODESETS}"><UAObject BrowseName="&x;"/></UANodeSet>'.encode(),
        "a DOCTYPE is refused",
        1,
    )


def test_an_undeclared_entity_is_no_xml() -> None:
    refused(GOOD.replace(b"1:N", b"&lol;"), "not well-formed XML (undefined entity)", 5)


@pytest.mark.parametrize("depth", [tree.MAX_DEPTH, 100_000])
def test_deep_nesting_is_refused(depth: int) -> None:
    refused(variable("<a>" * depth + "</a>" * depth), "nest deeper than 100", 5)


def test_what_is_deep_but_allowed_is_read() -> None:
    inner = tree.MAX_DEPTH - 7
    body = "<a>" * inner + "x" + "</a>" * inner
    (node,) = read(
        variable(f"<uax:ExtensionObject><uax:Body><T>{body}</T></uax:Body></uax:ExtensionObject>")
    ).nodes
    assert node.value is not None


def test_a_file_cut_off_anywhere_is_refused() -> None:
    for end in range(len(GOOD.rstrip())):
        with pytest.raises(NodesetError, match=r"^test\.xml:\d+: not well-formed XML"):
            read(GOOD[:end])


def test_an_empty_file_is_refused() -> None:
    refused(b"", "not well-formed XML (no element found)", 1)


@pytest.mark.parametrize(
    ("content", "problem", "line"),
    [
        (b"\x00\x01\x02\x03", "not well-formed", 1),
        (GOOD.replace(b"1:N", b"1:\xff"), "not well-formed XML (not well-formed (invalid token))", 5),
        (GOOD.replace(b"utf-8", b"utf-16"), "not well-formed XML (encoding specified in XML declaration", 1),
        (
            GOOD.replace(b"utf-8", b"utf-7"),
            "the encoding 'utf-7' is not supported; save the file as UTF-8",
            1,
        ),
        (GOOD.replace(b"utf-8", b"zlib"), "the encoding 'zlib' is not supported", 1),
        (GOOD.replace(b"utf-8", b"unicode_escape"), "the encoding 'unicode_escape' is not supported", 1),
        (b"PK\x03\x04" + bytes(1000), "not well-formed", 1),
        (b'{"nodes": []}', "not well-formed", 1),
    ],
)
def test_what_is_no_xml_is_refused(content: bytes, problem: str, line: int) -> None:
    refused(content, problem, line)


@pytest.mark.parametrize(
    "root",
    [
        b"<html/>",
        b'<UANodeSet xmlns="urn:other"/>',
        b"<UANodeSet/>",
        f'<UANodeSetChanges xmlns="{NODESETS}"/>'.encode(),
    ],
)
def test_another_root_element_is_refused(root: bytes) -> None:
    refused(root, "give a NodeSet2 file", 1)


def an_object(inner: str) -> str:
    return f'<UAObject NodeId="i=1" BrowseName="N">{inner}</UAObject>'


def referring(references: str) -> str:
    return an_object(f"<References>{references}</References>")


def data_type(fields: str) -> str:
    return f'<UADataType NodeId="i=1" BrowseName="N"><Definition Name="N">{fields}</Definition></UADataType>'


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ('<UAObject BrowseName="1:N"/>', "<UAObject> has no NodeId; add it"),
        ('<UAObject NodeId="i=1"/>', "<UAObject> has no BrowseName; add it"),
        ('<UAObject NodeId="" BrowseName="N"/>', "neither a NodeId nor one of the file's Aliases"),
        ('<UAObject NodeId="ns=1;q=1" BrowseName="N"/>', "'ns=1;q=1' is no NodeId"),
        ('<UAObject NodeId="ns=2;i=1" BrowseName="N"/>', "NamespaceUris end at 1; add the URI there"),
        ('<UAObject NodeId="i=1" BrowseName="2:N"/>', "'2:N' speaks of namespace 2"),
        ('<UAObject NodeId="i=1" BrowseName="N" EventNotifier="256"/>', "EventNotifier: '256' is no Byte"),
        ('<UAObject NodeId="i=1" BrowseName="N" WriteMask="all"/>', "WriteMask: 'all' is no UInt32"),
        ('<UAVariable NodeId="i=1" BrowseName="N" DataType="Foo"/>', "'Foo' is neither a NodeId nor one of"),
        ('<UAVariable NodeId="i=1" BrowseName="N" ArrayDimensions="a"/>', "'a' is no UInt32"),
        ('<UAVariable NodeId="i=1" BrowseName="N" MinimumSamplingInterval="fast"/>', "'fast' is no Double"),
        (
            '<UAObjectType NodeId="i=1" BrowseName="N" IsAbstract="maybe"/>',
            "IsAbstract: 'maybe' is no Boolean",
        ),
        ('<UADataType NodeId="i=1" BrowseName="N"><Definition/></UADataType>', "<Definition> has no Name"),
        (data_type("<Field/>"), "<Field> has no Name; add it"),
        (data_type('<Field Name="F" DataType="X"/>'), "'X' is neither"),
        (referring("<Reference>i=1</Reference>"), "<Reference> has no ReferenceType; add it"),
        (
            referring('<Reference ReferenceType="HasFoo">i=1</Reference>'),
            "'HasFoo' is neither a NodeId nor one of the file's Aliases; add it",
        ),
        (referring('<Reference ReferenceType="i=47"/>'), "'' is neither"),
        (
            an_object("<RolePermissions><RolePermission>Boss</RolePermission></RolePermissions>"),
            "'Boss' is neither",
        ),
        ("<UAFoo/>", "<UAFoo> has no place in a UANodeSet"),
        ('<UAObject NodeId="i=1" BrowseName="N"/><Aliases/>', "<Aliases> stands after a node"),
        ('<Models><Model Version="1"/></Models>', "<Model> has no ModelUri; add it"),
        (
            "<Models><Model ModelUri='urn:x'><RequiredModel/></Model></Models>",
            "<RequiredModel> has no ModelUri",
        ),
        (
            '<Aliases><Alias Alias="A">ns=7;i=1</Alias></Aliases><UAObject NodeId="i=1" BrowseName="N"/>',
            "NamespaceUris end at 1",
        ),
        ('<Aliases><Alias Alias="A">B</Alias></Aliases>', "'B' is no NodeId"),
    ],
)
def test_what_means_nothing_is_told_with_its_line(body: str, problem: str) -> None:
    refused(nodeset(body), problem, 5)


def test_the_line_is_that_of_the_part_not_of_the_node() -> None:
    refused(
        nodeset(
            an_object(
                '\n<References>\n<Reference ReferenceType="i=47">i=1</Reference>\n'
                '<Reference ReferenceType="X">i=1</Reference>\n</References>'
            )
        ),
        "'X' is neither",
        8,
    )


def test_a_huge_attribute_is_refused() -> None:
    refused(
        GOOD.replace(b"1:N", b"1:" + b"x" * 30 * 1024 * 1024),
        "a tag or comment is larger than 1 MiB",
        5,
    )


def test_a_huge_comment_is_refused() -> None:
    refused(
        GOOD.replace(b"<UAObject", b"<!--" + b">" * 3 * 1024 * 1024 + b"--><UAObject"), "a tag or comment", 5
    )


@pytest.mark.parametrize("filler", [b"<!-- -->", b"<!-->>>>>>>>>>>>>>>>-->", b"\n", b"<?p ?>"])
def test_a_prolog_without_end_is_refused(filler: bytes) -> None:
    started = time.process_time()
    with pytest.raises(NodesetError, match="no root element in the first 64 KiB"):
        read(filler * (10 * 1024 * 1024 // len(filler)) + GOOD)
    assert time.process_time() - started < 5


def test_a_node_of_too_many_bytes_is_refused() -> None:
    refused(
        variable(f"<uax:String>{'x' * 20 * 1024 * 1024}</uax:String>"), "one node takes more than 16 MiB", 5
    )


def test_a_node_of_too_many_elements_is_refused() -> None:
    refused(variable("<a/>" * 300_000), "one node has more than 200000 elements", 5)


class Repeated(io.BytesIO):
    """A file whose middle repeats for ever, and that knows how much it gave."""

    def __init__(self, start: bytes, again: bytes) -> None:
        super().__init__()
        self._parts = self._all(start, again)
        self._rest = b""
        self.given = 0

    @staticmethod
    def _all(start: bytes, again: bytes) -> Iterator[bytes]:
        yield start
        while True:
            yield again * (64 * 1024 // len(again) + 1)

    def read(self, size: int | None = -1, /) -> bytes:
        assert size is not None
        assert size > 0
        while len(self._rest) < size:
            self._rest += next(self._parts)
        chunk, self._rest = self._rest[:size], self._rest[size:]
        self.given += size
        return chunk


def test_a_file_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "MAX_FILE_BYTES", 1024 * 1024)
    endless = Repeated(GOOD.replace(b"</UANodeSet>", b""), b"<Extensions/>\n")
    with pytest.raises(NodesetError, match="the file is larger than 1 MiB; split it"):
        read_nodeset(endless, name="test.xml")
    assert endless.given < 2 * 1024 * 1024


def test_nodes_without_end_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAX_NODES", 1000)
    endless = Repeated(
        nodeset("").replace(b"</UANodeSet>", b""), b'<UAObject NodeId="i=1" BrowseName="N"/>\n'
    )
    with pytest.raises(NodesetError, match="more than 1000 nodes; split the file"):
        read_nodeset(endless, name="test.xml")


def test_streaming_holds_one_node_at_a_time() -> None:
    node = b'<UAVariable NodeId="ns=1;i=1" BrowseName="1:N"><DisplayName>N</DisplayName></UAVariable>\n'
    endless = Repeated(nodeset("").replace(b"</UANodeSet>", b""), node)
    stream = reader.stream_nodeset(endless, name="test.xml")
    next(stream)
    tracemalloc.start()
    for _ in range(20_000):
        next(stream)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert endless.given > 1_500_000
    # What one chunk of the file holds, and no more however long it goes on.
    assert peak < 4 * 1024 * 1024


def test_an_error_of_the_disk_is_told_by_name() -> None:
    class Broken(io.BytesIO):
        def read(self, _size: int | None = -1, /) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(NodesetError, match=r"^test\.xml: cannot be read \(Input/output error\)"):
        read_nodeset(Broken(), name="test.xml")
