from __future__ import annotations

import struct

import pytest

from sources.ethernetip.framing import (
    LIST_IDENTITY,
    SEND_RR_DATA,
    SEND_UNIT_DATA,
    BadFrame,
    Conversation,
)
from sources.quality import BAD_COMMUNICATION_ERROR, BAD_CONNECTION_CLOSED

SESSION = 0x1234


def header(
    command: int, data: bytes, *, context: bytes = bytes(8), session: int = SESSION, status: int = 0
) -> bytes:
    return struct.pack("<HHII8sI", command, len(data), session, status, context, 0) + data


def connected(message: bytes, *, sequence: int = 7, connection: int = 0xAAAA, **more: int) -> bytes:
    items = struct.pack("<IHHHHIHHH", 0, 0, 2, 0xA1, 4, connection, 0xB1, len(message) + 2, sequence)
    return header(SEND_UNIT_DATA, items + message, **more)  # type: ignore[arg-type] # only numbers here


def unconnected(message: bytes, context: bytes = bytes(8)) -> bytes:
    items = struct.pack("<IHHHHHH", 0, 0, 2, 0, 0, 0xB2, len(message))
    return header(SEND_RR_DATA, items + message, context=context)


READ = connected(b"\x4c\x02\x91\x01A\0\x01\0")
GOOD_REPLY = connected(b"\xcc\0\0\0\xc4\0\1\2\3\4")


def asked(frame: bytes) -> tuple[Conversation, bytes]:
    """A conversation that has asked, and the sender context it chose."""
    its = Conversation()
    return its, its.ask(frame)[12:20]


def test_the_right_reply_passes() -> None:
    its, _ = asked(READ)
    its.check(GOOD_REPLY)


@pytest.mark.parametrize(
    ("reply", "complaint"),
    [
        (connected(b"\xcc\0\0\0\xc4\0\1\2\3\4", sequence=6), "reply 6 came to request 7"),
        (connected(b"\xcc\0\0\0\xc4\0\1\2\3\4", session=9), "session 0x9"),
        (connected(b"\xcd\0\0\0"), "says 0xcd"),
        (connected(b"\x4c\0\0\0"), "says 0x4c"),
        (connected(b"\xcc\0"), "no room for a service"),
        (connected(b""), "no room for a service"),
        (unconnected(b"\xcc\0\0\0"), "is of command 0x6f"),
        (GOOD_REPLY + b"x", "says that it has"),
        (GOOD_REPLY[:-1], "says that it has"),
        (GOOD_REPLY[:32] + b"\x00" + GOOD_REPLY[33:], "items are not those of a message"),
        (GOOD_REPLY[:42] + b"\xff\x0f" + GOOD_REPLY[44:], "items are not those of a message"),
        (header(SEND_UNIT_DATA, b"\0" * 4), "no room for a service"),
    ],
)
def test_any_other_reply_is_refused(reply: bytes, complaint: str) -> None:
    its, _ = asked(READ)
    with pytest.raises(BadFrame, match=complaint) as error:
        its.check(reply)
    assert error.value.quality == BAD_COMMUNICATION_ERROR


@pytest.mark.parametrize("status", [0x64, 0x65])
def test_a_lost_session_is_a_closed_connection(status: int) -> None:
    its, _ = asked(READ)
    with pytest.raises(BadFrame, match="encapsulation status") as error:
        its.check(header(SEND_UNIT_DATA, b"", status=status))
    assert error.value.quality == BAD_CONNECTION_CLOSED


def test_unconnected_requests_have_a_context_of_their_own_each() -> None:
    its = Conversation()
    first = its.ask(unconnected(b"\x01\x02\x20\x01\x24\x01"))[12:20]
    its.check(unconnected(b"\x81\0\0\0", first))
    second = its.ask(unconnected(b"\x01\x02\x20\x01\x24\x01"))[12:20]
    assert first != second
    with pytest.raises(BadFrame, match="sender context"):
        its.check(unconnected(b"\x81\0\0\0", first))


def test_a_list_identity_needs_its_context_but_no_session() -> None:
    its, context = asked(header(LIST_IDENTITY, b""))
    its.check(header(LIST_IDENTITY, b"", context=context, session=0))


def test_the_connection_that_was_opened_is_the_one_that_answers() -> None:
    its, context = asked(unconnected(b"\x5b\x02\x20\x06\x24\x01"))
    ids = struct.pack("<II", 0x1111, 0xBBBB)
    its.check(unconnected(b"\xdb\0\0\0" + ids, context))
    its.ask(READ)
    with pytest.raises(BadFrame, match="over another connection"):
        its.check(GOOD_REPLY)
    its.check(connected(b"\xcc\0\0\0\xc4\0\1\2\3\4", connection=0xBBBB))


def test_a_refusal_is_kept_with_its_extended_status() -> None:
    its, context = asked(unconnected(b"\x5b\x02\x20\x06\x24\x01"))
    its.check(unconnected(b"\xdb\0\x01\x01\x12\x03", context))
    assert its.refusal == (0x01, 0x0312)
    context = its.ask(unconnected(b"\x54\x02\x20\x06\x24\x01"))[12:20]
    its.check(unconnected(b"\xd4\0\0\0" + bytes(8), context))
    assert its.refusal is None


def test_what_is_wrapped_in_an_unconnected_send_answers_for_itself() -> None:
    its, context = asked(unconnected(b"\x52\x02\x20\x06\x24\x01"))
    its.check(unconnected(b"\x81\0\0\0", context))
