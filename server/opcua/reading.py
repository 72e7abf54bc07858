"""What a Read asks beyond the value: index ranges, encodings, timestamps (OPC 10000-4 §5.11.2)."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from typing import Any

from asyncua import ua

from server.opcua.types import AttributeIds, ServiceFault, StatusCodes, status, ua_time
from sources.quality import is_bad


def check_parameters(request: ua.ReadParameters) -> None:
    """Raises ServiceFault for what makes the whole call senseless."""
    if not request.MaxAge >= 0:  # NaN is not, either
        raise ServiceFault(StatusCodes.BadMaxAgeInvalid)
    if request.TimestampsToReturn == ua.TimestampsToReturn.Invalid:
        raise ServiceFault(StatusCodes.BadTimestampsToReturnInvalid)


def refined(
    value: ua.DataValue, wanted: ua.ReadValueId, timestamps: ua.TimestampsToReturn, now: datetime
) -> ua.DataValue:
    """The value as asked for: the range of it, with the timestamps wanted and no others."""
    is_value = wanted.AttributeId == AttributeIds.Value
    if wanted.DataEncoding is not None and wanted.DataEncoding.Name:
        code = _encoding_status(wanted.DataEncoding, is_value=is_value)
        if code is not None:
            return bad(code)
    content = value.Value
    if wanted.IndexRange:
        if value.StatusCode is not None and is_bad(value.StatusCode.value):
            return value
        try:
            content = index_range(content, wanted.IndexRange)
        except ServiceFault as fault:
            return bad(fault.code)
    source = timestamps in {ua.TimestampsToReturn.Source, ua.TimestampsToReturn.Both}
    server = timestamps in {ua.TimestampsToReturn.Server, ua.TimestampsToReturn.Both}
    return dataclasses.replace(
        value,
        Value=content,
        # Only values have a source (OPC 10000-4 §7.11.3).
        SourceTimestamp=value.SourceTimestamp if source and is_value else None,
        SourcePicoseconds=None,
        ServerTimestamp=(value.ServerTimestamp or ua_time(now)) if server else None,
        ServerPicoseconds=None,
    )


def bad(code: int) -> ua.DataValue:
    """No value, and why."""
    return ua.DataValue(ua.Variant(), status(code))


def _encoding_status(encoding: ua.QualifiedName, *, is_value: bool) -> int | None:
    if not is_value:
        return StatusCodes.BadDataEncodingInvalid
    if encoding.NamespaceIndex == 0 and encoding.Name == "Default Binary":
        return None
    return StatusCodes.BadDataEncodingUnsupported


def index_range(content: ua.Variant | None, text: str) -> ua.Variant:
    """The part of an array, String or ByteString a NumericRange names (OPC 10000-4 §7.27).

    Raises ServiceFault: BadIndexRangeInvalid, BadIndexRangeNoData.
    """
    start, stop = _bounds(text)
    value: Any = content.Value if content is not None else None
    if content is None or not isinstance(value, list | str | bytes) or content.Dimensions:
        raise ServiceFault(StatusCodes.BadIndexRangeNoData, "there is nothing to take a range of")
    part = value[start:stop]
    if not part:
        raise ServiceFault(StatusCodes.BadIndexRangeNoData, f"nothing in the range {text}")
    return ua.Variant(part, content.VariantType, None, content.is_array)


def _bounds(text: str) -> tuple[int, int]:
    """Start and stop of a slice."""
    low, colon, high = text.partition(":")
    if not (low.isascii() and low.isdigit() and len(text) <= 32):
        raise ServiceFault(StatusCodes.BadIndexRangeInvalid, f"{text!r} is no range of one dimension")
    if not colon:
        return int(low), int(low) + 1
    if not (high.isascii() and high.isdigit() and int(low) < int(high)):
        raise ServiceFault(StatusCodes.BadIndexRangeInvalid, f"{text!r} is no range of one dimension")
    return int(low), int(high) + 1
