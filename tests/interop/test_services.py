"""Every service of the server as an independent client hears it, wrong requests included (OPC 10000-4 §5)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
from support.memory import Memory, node_id
from support.node import NodeClient, Speaker, raw_bytes, variant
from support.opcua import OPERATOR, OPERATOR_PASSWORD, Running

pytestmark = pytest.mark.interop

Speak = Callable[..., AbstractContextManager[Speaker]]
NUMBERS, MATRIX, TEXT, BYTES = map(node_id, ("Numbers", "Matrix", "Text", "Bytes"))
UNIT, TIMED = node_id("Unit"), node_id("Timed")
FOLDER = node_id("")
VALUE, DISPLAY_NAME = 13, 4
MOMENT = "2026-01-02T03:04:05.000Z"


def value_of(node: str, index_range: str | None = None, encoding: str | None = None) -> dict[str, Any]:
    wanted: dict[str, Any] = {"nodeId": node, "attributeId": VALUE, "indexRange": index_range}
    return wanted | ({"dataEncoding": {"namespaceIndex": 0, "name": encoding}} if encoding else {})


def write_of(node: str, value: Any, index_range: str | None = None, **more: Any) -> dict[str, Any]:
    return {
        "nodeId": node,
        "attributeId": VALUE,
        "indexRange": index_range,
        "value": {"value": value} | more,
    }


def write(speaker: Speaker, *values: dict[str, Any]) -> list[str]:
    found = speaker.good("Write", nodesToWrite=list(values))["results"]
    assert isinstance(found, list)
    return found


# --- Read


@pytest.mark.parametrize(
    ("timestamps", "source", "server"),
    [(0, True, False), (1, False, True), (2, True, True), (3, False, False)],
)
def test_the_timestamps_are_those_asked_for(
    looker: Speaker, timestamps: int, source: bool, server: bool
) -> None:
    (found,) = looker.read(TEXT, timestampsToReturn=timestamps)
    assert (found["source"] is not None, found["server"] is not None) == (source, server)


@pytest.mark.parametrize(
    ("of", "index_range", "part"),
    [
        (NUMBERS, "2", [2]),
        (NUMBERS, "2:4", [2, 3, 4]),
        (NUMBERS, "8:20", [8, 9]),
        (TEXT, "0:2", "Ora"),
        (BYTES, "1:2", "0203"),
        (MATRIX, "0:1,1", [2, 5]),
        (MATRIX, "1,0:1", [4, 5]),
    ],
)
def test_a_part_of_a_value_is_read(looker: Speaker, of: str, index_range: str, part: Any) -> None:
    (found,) = looker.read(value_of(of, index_range))
    assert found["status"] == "Good"
    assert (bytes(found["value"]).hex() if of == BYTES else found["value"]) == part


@pytest.mark.parametrize(
    ("of", "index_range", "status"),
    [
        (NUMBERS, "10:20", "BadIndexRangeNoData"),
        (NUMBERS, "0:1,0:1", "BadIndexRangeNoData"),
        (node_id("Flag"), "0", "BadIndexRangeNoData"),
        (NUMBERS, "4:2", "BadIndexRangeInvalid"),
        (NUMBERS, "2:2", "BadIndexRangeInvalid"),
        (NUMBERS, "-1:2", "BadIndexRangeInvalid"),
        (NUMBERS, "a", "BadIndexRangeInvalid"),
    ],
)
def test_a_part_there_is_not_is_refused(looker: Speaker, of: str, index_range: str, status: str) -> None:
    (found,) = looker.read(value_of(of, index_range))
    assert (found["status"], found["value"]) == (status, None)


def test_an_encoding_is_for_structures_and_the_binary_one_is_there(looker: Speaker) -> None:
    found = looker.read(
        value_of(UNIT, encoding="Default Binary"),
        value_of(UNIT, encoding="Default XML"),
        value_of(UNIT, encoding="Nonsense"),
        value_of(TEXT, encoding="Default Binary"),
        value_of(UNIT, encoding="Default Binary") | {"attributeId": DISPLAY_NAME},
    )
    assert [one["status"] for one in found] == [
        "Good",
        "BadDataEncodingUnsupported",
        "BadDataEncodingUnsupported",
        "BadDataEncodingInvalid",
        "BadDataEncodingInvalid",
    ]
    assert found[0]["value"]["displayName"]["text"] == "mm"


def test_what_is_not_there_or_not_for_everybody_is_said_item_by_item(
    looker: Speaker, operator: Speaker
) -> None:
    nodes = [TEXT, node_id("Nowhere"), FOLDER, node_id("WriteOnly"), node_id("Shown"), node_id("Secret")]
    wanted = [*map(value_of, [*nodes, node_id("Encrypted")]), value_of(TEXT) | {"attributeId": 22}]
    assert [one["status"] for one in looker.read(*wanted)] == [
        "Good",
        "BadNodeIdUnknown",
        "BadAttributeIdInvalid",
        "BadNotReadable",
        "BadUserAccessDenied",
        "BadNodeIdUnknown",
        "BadSecurityModeInsufficient",
        "BadAttributeIdInvalid",
    ]
    assert [one["status"] for one in operator.read(*wanted)[4:7]] == ["Good", "Good", "Good"]


def test_every_attribute_of_a_variable_is_read(looker: Speaker) -> None:
    wanted = [{"nodeId": NUMBERS, "attributeId": number} for number in range(1, 28)]
    found = {number: one for number, one in enumerate(looker.read(*wanted), 1) if one["status"] == "Good"}
    assert set(found) == {*range(1, 8), *range(13, 21), 25, 26, 27}, (
        "24, RolePermissions, is not for everybody"
    )
    assert found[2]["value"] == 2
    assert found[3]["value"] == {"namespaceIndex": 1, "name": "Numbers"}
    assert found[14]["value"] == "ns=0;i=6"
    assert (found[15]["value"], found[16]["value"]) == (1, [0])
    assert (found[17]["value"], found[18]["value"]) == (0x43, 1), "AccessLevel, and what of it is anybody's"


@pytest.mark.parametrize(
    ("request_of", "fault"),
    [
        ({"nodesToRead": []}, "BadNothingToDo"),
        ({"nodesToRead": [value_of(TEXT)], "maxAge": -1}, "BadMaxAgeInvalid"),
        ({"nodesToRead": [value_of(TEXT)] * 10_001}, "BadTooManyOperations"),
    ],
)
def test_a_read_that_makes_no_sense_is_a_fault(
    looker: Speaker, request_of: dict[str, Any], fault: str
) -> None:
    assert looker("Read", **request_of)["result"] == fault


# --- Write


@pytest.mark.parametrize(
    ("of", "value", "index_range", "whole"),
    [
        (TEXT, variant("String", "Lemon"), None, "Lemon"),
        (NUMBERS, variant("Int32", [70, 80]), "7:8", [0, 1, 2, 3, 4, 5, 6, 70, 80, 9]),
        (NUMBERS, variant("Int32", [5, 6, 7]), None, [5, 6, 7]),
        (MATRIX, variant("Double", [9.0, 8.0], [1, 2]), "1,0:1", [1, 2, 3, 9, 8, 6]),
        (TEXT, variant("String", "XY"), "1:2", "LXYon"),
        (BYTES, variant("ByteString", raw_bytes(b"\xff")), "3", [1, 2, 3, 255]),
        (node_id("Number"), variant("Float", 0.5), None, 0.5),
        (node_id("Anything"), variant("Boolean", [True, False]), None, [True, False]),
    ],
)
def test_a_value_or_a_part_of_it_is_written(
    operator: Speaker, of: str, value: Any, index_range: str | None, whole: Any
) -> None:
    if (of, index_range) == (TEXT, "1:2"):
        assert write(operator, write_of(TEXT, variant("String", "Lemon"))) == ["Good"]
    assert write(operator, write_of(of, value, index_range)) == ["Good"]
    (found,) = operator.read(of)
    assert (found["value"], found["status"]) == (whole, "Good")


@pytest.mark.parametrize(
    ("of", "value", "index_range", "status"),
    [
        (TEXT, variant("Int32", 1), None, "BadTypeMismatch"),
        (TEXT, variant("String", ["a"]), None, "BadTypeMismatch"),
        (NUMBERS, variant("Int32", 1), None, "BadTypeMismatch"),
        (NUMBERS, variant("UInt32", [1]), None, "BadTypeMismatch"),
        (MATRIX, variant("Double", [1.0]), None, "BadTypeMismatch"),
        (node_id("Three"), variant("Int32", [1, 2, 3, 4]), None, "BadTypeMismatch"),
        (node_id("Number"), variant("String", "1"), None, "BadTypeMismatch"),
        (TEXT, variant("Null", None), None, "BadTypeMismatch"),
        (node_id("Three"), variant("Int32", [1]), "0:1", "BadIndexRangeDataMismatch"),
        (node_id("Three"), variant("Int32", [1, 2]), "2:3", "BadIndexRangeNoData"),
        (node_id("Three"), variant("Int32", [1]), "1:0", "BadIndexRangeInvalid"),
        (node_id("Flag"), variant("Boolean", True), "0", "BadWriteNotSupported"),
        (node_id("Nowhere"), variant("Int32", 1), None, "BadNodeIdUnknown"),
        (FOLDER, variant("Int32", 1), None, "BadAttributeIdInvalid"),
        ("i=2258", variant("DateTime", {"$time": MOMENT}), None, "BadNotWritable"),
    ],
)
def test_what_does_not_fit_is_not_written(
    operator: Speaker, of: str, value: Any, index_range: str | None, status: str
) -> None:
    before = operator.read(of)
    assert write(operator, write_of(of, value, index_range)) == [status]
    assert [one["value"] for one in operator.read(of)] == [one["value"] for one in before] or of == "i=2258"


def test_status_and_time_are_written_where_the_access_level_says_so(operator: Speaker) -> None:
    told = {"statusCode": {"$status": "UncertainLastUsableValue"}, "sourceTimestamp": {"$time": MOMENT}}
    assert write(operator, write_of(TIMED, variant("Int32", 7), None, **told)) == ["Good"]
    (found,) = operator.read(TIMED)
    assert (found["value"], found["status"], found["source"]) == (7, "UncertainLastUsableValue", MOMENT)
    flag = variant("Boolean", False)
    assert (
        write(
            operator,
            write_of(node_id("Flag"), flag, None, statusCode={"$status": "UncertainLastUsableValue"}),
            write_of(node_id("Flag"), flag, None, sourceTimestamp={"$time": MOMENT}),
            write_of(TIMED, variant("Int32", 8), None, serverTimestamp={"$time": MOMENT}),
        )
        == ["BadWriteNotSupported"] * 3
    )


def test_only_values_are_written_and_only_by_those_who_may(operator: Speaker, looker: Speaker) -> None:
    value = variant("String", "Plum")
    assert write(
        operator,
        write_of(TEXT, variant("LocalizedText", {"text": "x"})) | {"attributeId": DISPLAY_NAME},
        write_of(TEXT, value) | {"attributeId": 22},
    ) == ["BadNotWritable", "BadAttributeIdInvalid"]
    nodes = [TEXT, node_id("Secret"), node_id("Encrypted")]
    assert write(looker, *(write_of(node, variant("Int32", 1)) for node in nodes)) == [
        "BadUserAccessDenied",
        "BadNodeIdUnknown",
        "BadSecurityModeInsufficient",
    ]
    assert operator("Write", nodesToWrite=[])["result"] == "BadNothingToDo"
    assert operator("Write", nodesToWrite=[write_of(TEXT, value)] * 1001)["result"] == "BadTooManyOperations"


# --- Browse


def browse(speaker: Speaker, node: str, limit: int = 0, **wishes: Any) -> Any:
    wanted = {
        "nodeId": node,
        "browseDirection": 0,
        "referenceTypeId": "i=33",
        "includeSubtypes": True,
        "nodeClassMask": 0,
        "resultMask": 63,
    } | wishes
    request = {"nodesToBrowse": [wanted], "requestedMaxReferencesPerNode": limit}
    return speaker.good("Browse", **request)["results"][0]


def names(result: Any) -> list[str]:
    assert result["statusCode"] == "Good"
    return [one["browseName"]["name"] for one in result["references"] or []]


def test_references_are_browsed_by_direction_type_and_class(looker: Speaker) -> None:
    assert names(browse(looker, "i=84")) == ["Objects", "Types", "Views"]
    assert names(browse(looker, "i=85", browseDirection=1)) == ["Root"]
    assert "Root" in names(browse(looker, "i=85", browseDirection=2))
    assert names(browse(looker, "i=84", referenceTypeId="i=35", includeSubtypes=False)) == [
        "Objects",
        "Types",
        "Views",
    ]
    assert names(browse(looker, "i=84", includeSubtypes=False)) == [], "Organizes is a subtype only"
    assert names(browse(looker, "i=85", referenceTypeId="i=40")) == ["FolderType"]
    everything = names(browse(looker, "i=85", referenceTypeId="i=0"))
    assert set(everything) == {*names(browse(looker, "i=85")), "FolderType"}
    methods = names(browse(looker, FOLDER, nodeClassMask=4))
    variables = names(browse(looker, FOLDER, nodeClassMask=2))
    assert "Add" in methods
    assert "Text" in variables
    assert {*methods, *variables} == set(names(browse(looker, FOLDER)))
    assert "Secret" not in variables


def test_only_the_fields_that_are_asked_for_are_sent(looker: Speaker) -> None:
    whole = browse(looker, "i=2253", referenceTypeId="i=47")["references"][0]
    none = browse(looker, "i=2253", referenceTypeId="i=47", resultMask=0)["references"][0]
    assert whole["nodeId"] == none["nodeId"]
    assert whole["browseName"]["name"]
    assert whole["typeDefinition"] != "ns=0;i=0"
    assert none["browseName"]["name"] is None
    assert none["displayName"]["text"] is None
    assert (none["nodeClass"], none["typeDefinition"]) == (0, "ns=0;i=0")


def test_pages_put_together_are_the_whole(looker: Speaker) -> None:
    whole = names(browse(looker, FOLDER))
    page = browse(looker, FOLDER, limit=3)
    found = names(page)
    while page["continuationPoint"]:
        request = {"continuationPoints": [page["continuationPoint"]], "releaseContinuationPoints": False}
        (page,) = looker.good("BrowseNext", **request)["results"]
        assert len(names(page)) <= 3
        found += names(page)
    assert found == whole


def test_a_released_continuation_point_is_no_more(looker: Speaker) -> None:
    point = browse(looker, FOLDER, limit=1)["continuationPoint"]
    released = looker.good("BrowseNext", continuationPoints=[point], releaseContinuationPoints=True)
    assert not released["results"]
    (gone,) = looker.good("BrowseNext", continuationPoints=[point])["results"]
    assert gone["statusCode"] == "BadContinuationPointInvalid"
    (never,) = looker.good("BrowseNext", continuationPoints=[raw_bytes(b"nothing")])["results"]
    assert never["statusCode"] == "BadContinuationPointInvalid"
    assert looker("BrowseNext", continuationPoints=[])["result"] == "BadNothingToDo"


def test_continuation_points_are_bounded_as_the_server_says(looker: Speaker) -> None:
    (limit,) = looker.read("i=2735")
    most = limit["value"]
    wanted = {"nodeId": FOLDER, "browseDirection": 0, "referenceTypeId": "i=33", "includeSubtypes": True}
    asked = {"nodesToBrowse": [wanted] * (most + 1), "requestedMaxReferencesPerNode": 1}
    results = looker.good("Browse", **asked)["results"]
    assert [one["statusCode"] for one in results] == ["Good"] * most + ["BadNoContinuationPoints"]
    points = [one["continuationPoint"] for one in results[:most]]
    looker.good("BrowseNext", continuationPoints=points, releaseContinuationPoints=True)


@pytest.mark.parametrize(
    ("of", "wishes", "status"),
    [
        (node_id("Nowhere"), {}, "BadNodeIdUnknown"),
        (node_id("Secret"), {}, "BadNodeIdUnknown"),
        ("i=0", {}, "BadNodeIdInvalid"),
        ("i=84", {"referenceTypeId": "i=85"}, "BadReferenceTypeIdInvalid"),
        ("i=84", {"referenceTypeId": "ns=1;s=none"}, "BadReferenceTypeIdInvalid"),
    ],
)
def test_what_cannot_be_browsed_says_why(
    looker: Speaker, of: str, wishes: dict[str, Any], status: str
) -> None:
    assert browse(looker, of, **wishes)["statusCode"] == status


def test_a_browse_that_makes_no_sense_is_a_fault(looker: Speaker) -> None:
    wanted = [{"nodeId": "i=84"}]
    assert looker("Browse", nodesToBrowse=[])["result"] == "BadNothingToDo"
    view = {"viewId": "ns=1;s=none"}
    assert looker("Browse", view=view, nodesToBrowse=wanted)["result"] == "BadViewIdUnknown"
    assert looker("Browse", nodesToBrowse=wanted * 1001)["result"] == "BadTooManyOperations"


def path_of(*steps: str, start: str = "i=84", kind: str = "i=33") -> dict[str, Any]:
    elements = []
    for step in steps:
        index, _, name = step.rpartition(":")
        target = {"namespaceIndex": int(index or 0), "name": name}
        elements.append({"referenceTypeId": kind, "includeSubtypes": True, "targetName": target})
    return {"startingNode": start, "relativePath": {"elements": elements}}


def test_paths_lead_to_nodes(looker: Speaker) -> None:
    paths = [
        path_of("Objects", "Server", "ServerStatus", "State"),
        path_of("Objects", "1:Memory", "1:Text"),
        path_of("Objects", "1:Memory", "1:Secret"),
        path_of("Objects", "Nowhere"),
        path_of("Objects", kind="i=47"),
        path_of("Objects", start="ns=1;s=none"),
        path_of("Objects", start="i=0"),
        path_of(),
        path_of("Objects", ""),
    ]
    results = looker.good("TranslateBrowsePathsToNodeIds", browsePaths=paths)["results"]
    assert [one["statusCode"] for one in results] == [
        "Good",
        "Good",
        "BadNoMatch",
        "BadNoMatch",
        "BadNoMatch",
        "BadNodeIdUnknown",
        "BadNodeIdInvalid",
        "BadNothingToDo",
        "BadBrowseNameInvalid",
    ]
    assert [one["targets"][0]["targetId"] for one in results[:2]] == ["ns=0;i=2259", TEXT]
    assert looker("TranslateBrowsePathsToNodeIds", browsePaths=[])["result"] == "BadNothingToDo"


def test_registered_nodes_are_read_by_their_handles_until_they_are_given_back(looker: Speaker) -> None:
    handles = looker.good("RegisterNodes", nodesToRegister=[TEXT, node_id("Nowhere"), "i=2258"])
    short, unknown, standard = handles["registeredNodeIds"]
    assert short != TEXT
    assert (unknown, standard) == (node_id("Nowhere"), "ns=0;i=2258")
    plain, handled = looker.read(TEXT, short)
    assert handled == plain
    looker.good("UnregisterNodes", nodesToUnregister=[short])
    (gone,) = looker.read(short)
    assert gone["status"] == "BadNodeIdUnknown"
    assert looker("RegisterNodes", nodesToRegister=[])["result"] == "BadNothingToDo"
    assert looker("RegisterNodes", nodesToRegister=["i=0"])["result"] == "BadNodeIdInvalid"
    assert looker("UnregisterNodes", nodesToUnregister=[])["result"] == "BadNothingToDo"


# --- Call


def call_of(method: str, *arguments: Any, of: str = FOLDER) -> dict[str, Any]:
    return {"objectId": of, "methodId": node_id(method), "inputArguments": list(arguments)}


def test_methods_are_called_with_what_they_take(looker: Speaker) -> None:
    one, two = variant("Int32", 40), variant("Int32", 2)
    numbers = variant("Double", [1.5, 2.5])
    results = looker.good("Call", methodsToCall=[call_of("Add", one, two), call_of("Total", numbers)])
    assert [one["statusCode"] for one in results["results"]] == ["Good", "Good"]
    assert [one["outputArguments"][0]["value"] for one in results["results"]] == [42, 4.0]


def test_wrong_calls_say_what_is_wrong_and_call_nothing(looker: Speaker, memory: Memory) -> None:
    one, text = variant("Int32", 1), variant("String", "x")
    called = len(memory.called)
    calls = [
        call_of("Add", one),
        call_of("Add", one, one, one),
        call_of("Add", one, text),
        call_of("Add", variant("Int32", [1]), one),
        call_of("Text"),
        call_of("Add", one, one, of="i=2253"),
        call_of("Add", one, one, of=node_id("Nowhere")),
        call_of("Add", one, one, of=TEXT),
        call_of("Off"),
        call_of("ForOperators"),
        call_of("Refuse"),
    ]
    results = looker.good("Call", methodsToCall=calls)["results"]
    assert [one["statusCode"] for one in results] == [
        "BadArgumentsMissing",
        "BadTooManyArguments",
        "BadInvalidArgument",
        "BadInvalidArgument",
        "BadMethodInvalid",
        "BadMethodInvalid",
        "BadNodeIdUnknown",
        "BadNodeIdInvalid",
        "BadNotExecutable",
        "BadUserAccessDenied",
        "BadInvalidState",
    ]
    assert results[2]["inputArgumentResults"] == ["Good", "BadTypeMismatch"]
    assert results[3]["inputArgumentResults"] == ["BadTypeMismatch", "Good"]
    assert len(memory.called) == called
    assert looker("Call", methodsToCall=[])["result"] == "BadNothingToDo"
    assert looker("Call", methodsToCall=[call_of("Refuse")] * 101)["result"] == "BadTooManyOperations"


def test_who_may_call_is_told_by_user_executable(looker: Speaker, operator: Speaker) -> None:
    methods = [node_id("ForOperators"), node_id("Off"), node_id("Add")]
    assert [one["value"] for one in looker.read(*methods, attribute=22)] == [False, False, True]
    assert [one["value"] for one in operator.read(*methods, attribute=22)] == [True, False, True]
    (result,) = operator.good("Call", methodsToCall=[call_of("ForOperators")])["results"]
    assert result["statusCode"] == "Good"


# --- What takes time


def test_a_slow_call_delays_nobody_and_is_cancelled(node: NodeClient, looker: Speaker) -> None:
    slow = {"as": looker.name, "key": "slow", "service": "Call"}
    handle = node("begin", **slow, request={"methodsToCall": [call_of("Slow")]})
    (found,) = looker.read(TEXT)
    assert found["status"] == "Good"
    assert looker.good("Cancel", requestHandle=handle + 1000)["cancelCount"] == 0
    assert looker.good("Cancel", requestHandle=handle)["cancelCount"] == 1
    assert node("finish", key="slow")["result"] == "BadRequestCancelledByClient"


def test_asking_for_diagnostics_does_no_harm(looker: Speaker) -> None:
    header = {"requestHeader": {"returnDiagnostics": 0x3FF, "auditEntryId": "night shift"}}
    answer = looker.good("Read", nodesToRead=[value_of(TEXT), value_of(node_id("Nowhere"))], **header)
    assert [one["status"] for one in answer["results"]] == ["Good", "BadNodeIdUnknown"]
    assert not answer["diagnosticInfos"]
    assert looker("Read", nodesToRead=[], **header)["result"] == "BadNothingToDo"


# --- Discovery, and what there is not


def test_discovery_needs_no_session_and_everything_else_does(
    speak: Speak, remembering: tuple[Running, Memory]
) -> None:
    url = remembering[0].url
    with speak("nobody", session=False) as nobody:
        (server,) = nobody.good("FindServers", endpointUrl=url)["servers"]
        assert (server["applicationUri"], server["discoveryUrls"]) == ("urn:test:isthmus", [url])
        assert not nobody.good("FindServers", endpointUrl=url, serverUris=["urn:other"])["servers"]
        endpoints = nobody.good("GetEndpoints", endpointUrl=url)["endpoints"]
        assert len(endpoints) == 7
        assert {one["endpointUrl"] for one in endpoints} == {url}
        assert len({one["serverCertificate"]["$bytes"] for one in endpoints}) == 1
        named = url.replace("127.0.0.1", "localhost")
        answer = nobody.good("GetEndpoints", endpointUrl=named)["endpoints"]
        assert {one["endpointUrl"] for one in answer} == {named}, "by the name the client used"
        other = {"endpointUrl": url, "profileUris": ["http://opcfoundation.org/UA-Profile/Transport/https"]}
        assert not nobody.good("GetEndpoints", **other)["endpoints"]
        for service, asked in (
            ("Read", {"nodesToRead": [value_of(TEXT)]}),
            ("Browse", {"nodesToBrowse": [{"nodeId": "i=84"}]}),
            ("CloseSession", {}),
            ("Cancel", {"requestHandle": 1}),
        ):
            assert nobody(service, **asked)["result"] == "BadSessionIdInvalid", service


def test_a_session_is_of_no_use_before_it_is_activated(
    speak: Speak, remembering: tuple[Running, Memory]
) -> None:
    with speak("beginner", session=False) as beginner:
        asked = {"endpointUrl": remembering[0].url, "requestedSessionTimeout": 1.0, "sessionName": "new"}
        made = beginner.good("CreateSession", **asked)
        assert made["revisedSessionTimeout"] >= 10_000
        assert len(bytes.fromhex(made["serverNonce"]["$bytes"])) == 32
        assert len(made["serverEndpoints"]) == 7
        token = {"requestHeader": {"authenticationToken": made["authenticationToken"]}}
        assert beginner("Read", nodesToRead=[value_of(TEXT)], **token)["result"] == "BadSessionNotActivated"
        assert beginner("CloseSession", **token)["result"] == "BadSessionIdInvalid", "that ended it"


@pytest.mark.parametrize(
    "service",
    [
        "AddNodes",
        "AddReferences",
        "DeleteNodes",
        "DeleteReferences",
        "QueryFirst",
        "QueryNext",
        "HistoryRead",
        "HistoryUpdate",
        "FindServersOnNetwork",
        "RegisterServer",
        "RegisterServer2",
    ],
)
def test_a_service_that_is_not_given_says_so(operator: Speaker, service: str) -> None:
    assert operator(service)["result"] == "BadServiceUnsupported"
    (found,) = operator.read(TEXT)
    assert found["status"] == "Good", "and the session goes on"


def test_a_user_name_needs_a_password_that_fits(speak: Speak) -> None:
    with speak("right", user=OPERATOR, password=OPERATOR_PASSWORD) as right:
        assert right.read(TEXT)[0]["status"] == "Good"
