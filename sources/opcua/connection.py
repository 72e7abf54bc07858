"""A session with a downstream server, and the services that are used of it (OPC 10000-4 §5).

What the server says of itself is read afresh at every connect: its namespaces, its limits.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from cryptography.exceptions import InvalidSignature

from sources.errors import ConnectionLost, Refused, Unreachable
from sources.insight import Traffic
from sources.opcua import wire
from sources.opcua.address import NodeAddress, PathAddress, Step, node_text
from sources.opcua.beside import beside, beside_if_long
from sources.opcua.channel import Channel, ServiceError
from sources.opcua.config import DownstreamSettings
from sources.opcua.identity import Credentials
from sources.opcua.room import NoRoom
from sources.opcua.security import Surroundings, Way, choose, where
from sources.opcua.stack import NONE, decode_variant, local, status_name, text, ua
from sources.opcua.tokens import user_token
from sources.quality import BAD_COMMUNICATION_ERROR, is_bad
from sources.resolve import Resolver

log = logging.getLogger(__name__)

T = TypeVar("T")

PRODUCT_URI: Final = "urn:isthmus"
_SESSION_TIMEOUT: Final = 60.0
_GOODBYE: Final = 1.0

_FINAL: Final = frozenset(
    {
        "BadIdentityTokenInvalid",
        "BadIdentityTokenRejected",
        "BadUserAccessDenied",
        "BadUserSignatureInvalid",
        "BadSecurityChecksFailed",
        "BadSecurityPolicyRejected",
        "BadSecurityModeRejected",
        "BadSecurityModeInsufficient",
        "BadApplicationSignatureInvalid",
    }
)
"""And BadCertificate…: a person must act."""

_NAMESPACE_ARRAY, _SERVICE_LEVEL, _START_TIME = 2255, 2267, 2257
_LIMITS: Final = {
    "read": 11705,
    "write": 11707,
    "call": 11709,
    "browse": 11710,
    "translate": 11712,
    "items": 11714,
}
"""OperationLimits (OPC 10000-5 §6.3.11), by their numbers in namespace 0."""
HIERARCHICAL: Final = 33
MAX_REFERENCES: Final = 100_000
"""References of one node that are taken."""
_MAX_EMPTY: Final = 100
"""Pages without a reference that are taken for one Browse: a server may need time, but not for ever."""
MOST_LOOKED_INTO: Final = 128 << 10
"""Bytes of a value that this side itself reads, such as the NamespaceArray."""
_A_FEW: Final = 1_024
"""Bytes of one that are decoded at once."""
_MOST_TOLD: Final = 20
_WHOLE_PATH: Final = 0xFFFFFFFF
"""The RemainingPathIndex of a path that was followed to its end."""
_NAMED_TARGETS: Final = 5
_NO_CONTINUATION_POINTS: Final = 0x804B0000
_BASE_DATA_TYPE, _NUMBER, _ENUMERATION, _INT32 = 24, 26, 29, 6
_ABSTRACT_NUMBERS: Final = frozenset({26, 27, 28})
_MAX_ANCESTORS: Final = 20


class Limits:
    """How many nodes one request of a service may hold."""

    def __init__(self, default: int) -> None:
        self.read = self.write = self.call = self.browse = self.translate = self.items = default


class Connection:
    """A session. Made by `connect`."""

    def __init__(
        self,
        channel: Channel,
        settings: DownstreamSettings,
        recheck: Callable[[], object] = lambda: None,
        patience: float = _SESSION_TIMEOUT,
    ) -> None:
        """``recheck`` looks at the server's certificate again, see `security.Way`.

        ``patience`` is how many seconds the session may be silent; later what the server grants.
        """
        self.channel = channel
        self.recheck = recheck
        self.settings = settings
        self.patience = patience
        self.namespaces: tuple[str, ...] = ()
        """The server's NamespaceArray."""
        self.start_time: object = None
        self.limits = Limits(settings.max_nodes)
        self._indexes: dict[str, int] = {}
        self._cut = 0
        """Nodes whose references are not all known."""
        self._too_large: set[tuple[Any, int]] = set()
        """What is too large to be read, and told to be."""

    # --- Making it

    async def begin(self, way: Way, surroundings: Surroundings, who: Credentials) -> None:
        """Create and activate the session for that user. Raises Unreachable, Refused."""
        try:
            await self._begin(way, surroundings, who)
            await self.look()
        except ServiceError as error:
            name = status_name(error.code)
            if name in _FINAL or name.startswith("BadCertificate"):
                raise Refused(f"the session was refused: {error}", error.code) from None
            raise Unreachable(f"the session was not made: {error}") from None
        except ConnectionLost as lost:
            raise Unreachable(str(lost)) from None

    async def _begin(self, way: Way, surroundings: Surroundings, who: Credentials) -> None:
        identity = surroundings.identity
        uri = identity.application_uri if identity is not None else f"{PRODUCT_URI}:client"
        nonce = secrets.token_bytes(32)
        own = way.policy.host_certificate or (identity.der if identity is not None else None)
        params = ua.CreateSessionParameters(
            ClientDescription=ua.ApplicationDescription(
                ApplicationUri=uri,
                ProductUri=PRODUCT_URI,
                ApplicationName=ua.LocalizedText("Isthmus"),
                ApplicationType=ua.ApplicationType.Client,
            ),
            EndpointUrl=self.settings.url,
            SessionName=f"Isthmus {secrets.token_hex(4)}",
            ClientNonce=nonce,
            ClientCertificate=own,
            RequestedSessionTimeout=self.patience * 1000,
            MaxResponseMessageSize=0,
        )
        created = (
            await self.channel.request(ua.CreateSessionRequest(Parameters=params), ua.CreateSessionResponse)
        ).Parameters
        protected = not isinstance(way.policy, NONE)
        if protected:
            if not bytes(created.ServerCertificate or b"").startswith(way.certificate):
                raise Refused("the session's certificate is not that of the secure channel")
            try:
                way.policy.asymmetric_cryptography.verify(
                    (own or b"") + nonce, created.ServerSignature.Signature
                )
            except (InvalidSignature, TypeError):
                raise Refused("the server does not prove that its certificate is its own") from None
            except Exception as error:
                # The stack has an InvalidSignature of its own.
                raise Refused(
                    f"the server does not prove that its certificate is its own: {error!r}"
                ) from error
        self.channel.token = created.AuthenticationToken
        granted = float(created.RevisedSessionTimeout or 0.0) / 1000
        self.patience = granted if 0 < granted < self.patience else self.patience
        server_nonce = bytes(created.ServerNonce or b"")
        activate = ua.ActivateSessionParameters(LocaleIds=["en"])
        if protected:
            activate.ClientSignature = ua.SignatureData(
                Algorithm=way.policy.AsymmetricSignatureURI,
                Signature=way.policy.asymmetric_cryptography.signature(way.certificate + server_nonce),
            )
        token = await user_token(who, self.settings, surroundings, way, server_nonce)
        activate.UserIdentityToken = token.token
        if token.signature is not None:
            activate.UserTokenSignature = token.signature
        await self.channel.request(ua.ActivateSessionRequest(Parameters=activate), ua.ActivateSessionResponse)

    async def look(self) -> None:
        """Read what the server says of itself: its namespaces, its limits, since when it runs."""
        first = [_NAMESPACE_ARRAY, _START_TIME, _LIMITS["read"]]
        found = await self._read([(ua.NodeId(number), ua.AttributeIds.Value) for number in first])
        names = _value(found[0])
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            what = f"the server has no readable NamespaceArray, or one of more than {MOST_LOOKED_INTO} bytes"
            raise ConnectionLost(what, BAD_COMMUNICATION_ERROR)
        self.rename(names)
        self.start_time = _value(found[1])
        self.limits.read = self._limit(found[2])
        others = await self._read([(ua.NodeId(n), ua.AttributeIds.Value) for n in _LIMITS.values()])
        for name, data in zip(_LIMITS, others, strict=True):
            setattr(self.limits, name, self._limit(data))

    def rename(self, names: Sequence[str]) -> None:
        """Take another NamespaceArray: what NodeIds were resolved before may be others' now."""
        self.namespaces = tuple(map(text, names))
        self._indexes = {uri: index for index, uri in enumerate(self.namespaces)}

    def _limit(self, data: Any) -> int:
        limit = _value(data)
        most = self.settings.max_nodes
        return min(limit, most) if isinstance(limit, int) and limit > 0 else most

    async def end(self) -> None:
        """Close the session with its subscriptions, and the connection."""
        try:
            if self.channel.token is not None:
                request = ua.CloseSessionRequest(DeleteSubscriptions=True)
                await self.channel.answer_to(request, within=_GOODBYE)
        except (ConnectionLost, ServiceError) as error:
            log.debug("the session was not closed: %s", error)
        finally:
            await self.channel.gone()

    # --- Names

    def index(self, uri: str) -> int | None:
        """The namespace's index in the server, now."""
        return self._indexes.get(uri)

    def node_id(self, address: NodeAddress) -> Any | None:
        """The stack's NodeId; None where the server has no such namespace."""
        index = self.index(address.uri)
        return None if index is None else ua.NodeId(address.identifier, index)

    async def resolve(self, addresses: Sequence[NodeAddress | PathAddress]) -> list[Any | str]:
        """Each address's NodeId, or why there is none. Raises ConnectionLost."""
        found: list[Any | str] = []
        paths: list[tuple[int, Any]] = []
        for address in addresses:
            if isinstance(address, NodeAddress):
                node = self.node_id(address)
                found.append(f"the server has no namespace {address.uri}" if node is None else node)
                continue
            missing = next((step.uri for step in address.steps if self.index(step.uri) is None), None)
            if missing is not None:
                found.append(f"the server has no namespace {missing}")
                continue
            paths.append((len(found), self._path(address.steps)))
            found.append("the server has no such path")
        for part in chunks(paths, self.limits.translate):
            request = ua.TranslateBrowsePathsToNodeIdsRequest()
            request.Parameters.BrowsePaths = [path for _, path in part]
            response = await self.ask(request, ua.TranslateBrowsePathsToNodeIdsResponse)
            for (place, _), result in zip(part, response.Results or [], strict=False):
                found[place] = self._target(result)
        return found

    def _target(self, result: Any) -> Any | str:
        """The one node a browse path leads to (OPC 10000-4 §5.9.4), or why there is none."""
        code = int(result.StatusCode.value)
        if is_bad(code) or not result.Targets:
            return f"the server has no such path ({status_name(code)})"
        found: dict[str, Any] = {}
        for target in result.Targets:
            node = local(target.TargetId)
            if node is None or target.RemainingPathIndex != _WHOLE_PATH:
                return "the path leads to another server"
            found[self.address(node)] = node
        if len(found) > 1:
            named = ", ".join(sorted(found)[:_NAMED_TARGETS])
            more = f" and {len(found) - _NAMED_TARGETS} more" if len(found) > _NAMED_TARGETS else ""
            return f"the path leads to {len(found)} nodes, {named}{more}; take the NodeId of the right one"
        (one,) = found.values()
        return one

    def address(self, node: Any) -> str:
        """A NodeId of the stack's as a configuration names it."""
        names = self.namespaces
        uri = names[node.NamespaceIndex] if node.NamespaceIndex < len(names) else f"#{node.NamespaceIndex}"
        return node_text(uri, node.Identifier)

    def _path(self, steps: tuple[Step, ...]) -> Any:
        elements = [
            ua.RelativePathElement(
                ReferenceTypeId=ua.NodeId(44 if step.aggregates else HIERARCHICAL),
                IsInverse=False,
                IncludeSubtypes=True,
                TargetName=ua.QualifiedName(step.name, self.index(step.uri) or 0),
            )
            for step in steps
        ]
        return ua.BrowsePath(
            StartingNode=ua.NodeId(ua.ObjectIds.RootFolder), RelativePath=ua.RelativePath(Elements=elements)
        )

    # --- Services

    async def ask(self, request: Any, answer: Any, *, within: float | None = None) -> Any:
        """A service whose refusal as a whole ends the connection. Raises ConnectionLost."""
        try:
            return await self.channel.request(request, answer, within=within)
        except ServiceError as error:
            raise ConnectionLost(f"the device refused {error}", BAD_COMMUNICATION_ERROR) from None

    async def read(self, wanted: Sequence[tuple[Any, int]]) -> list[Any]:
        """DataValues of (NodeId, AttributeId) as they are now, without those that are too large to look into.

        Raises ConnectionLost.
        """
        try:
            return await self._read(wanted)
        except ServiceError as error:
            raise ConnectionLost(f"the device refused {error}", BAD_COMMUNICATION_ERROR) from None

    async def _read(self, wanted: Sequence[tuple[Any, int]]) -> list[Any]:
        found: list[Any] = []
        for part in chunks(wanted, self.limits.read):
            body = await self.channel.answer_to(read_request(part))
            try:
                result, raws = await beside_if_long(partial(wire.read_results, most=len(part)), body)
            except wire.Malformed as error:
                raise ConnectionLost(f"the answer to Read cannot be read: {error}") from None
            if is_bad(result):
                raise ServiceError("Read", result)
            if len(raws) != len(part):
                raise ConnectionLost(f"{len(raws)} values for {len(part)} that were asked")
            found += [await _data(raw) for raw in raws]
        return found

    async def browse(
        self, nodes: Sequence[Any], *, come: Callable[[int], object] = lambda _: None, **how: Any
    ) -> list[list[Any]]:
        """The references of each node, with what BrowseNext brings. Raises ConnectionLost.

        ``how`` are the fields of a BrowseDescription; by default all forward hierarchical references.
        ``come`` is told how many have come, and may raise NoRoom, which ends it.
        """
        description = {
            "BrowseDirection": ua.BrowseDirection.Forward,
            "ReferenceTypeId": ua.NodeId(HIERARCHICAL),
            "IncludeSubtypes": True,
            "NodeClassMask": 0,
            "ResultMask": 63,
        } | how
        found: list[list[Any]] = []
        for part in chunks(nodes, self.limits.browse):
            asked = [ua.BrowseDescription(NodeId=node, **description) for node in part]
            lists, refused = await self._browse(asked, come)
            for place in refused:
                # The others of this request had all it has: alone there is room, now that they are done.
                (lists[place],), still = await self._browse([asked[place]], come)
                if still:
                    self._tell_cut(part[place], status_name(_NO_CONTINUATION_POINTS))
            found += lists
        return found

    async def _browse(
        self, asked: list[Any], come: Callable[[int], object]
    ) -> tuple[list[list[Any]], list[int]]:
        """One Browse with what follows: the references, and the places without a continuation point."""
        nodes = [one.NodeId for one in asked]
        request = ua.BrowseRequest()
        request.Parameters.NodesToBrowse = asked
        response = await self.ask(request, ua.BrowseResponse)
        lists: list[list[Any]] = [[] for _ in nodes]
        refused: list[int] = []
        waiting = dict.fromkeys(range(len(nodes)), b"")
        results = response.Results or []
        empty = 0
        while True:
            if len(results) != len(waiting):
                raise ConnectionLost("a Browse was answered in part", BAD_COMMUNICATION_ERROR)
            await self._let_come(results, come)
            again: dict[int, bytes] = {}
            ended: list[bytes] = []
            for place, result in zip(waiting, results, strict=True):
                code = int(result.StatusCode.value)
                if code == _NO_CONTINUATION_POINTS and not waiting[place]:
                    refused.append(place)
                    continue
                if is_bad(code):
                    self._tell_cut(nodes[place], status_name(code))
                    continue
                lists[place] += result.References or []
                if not result.ContinuationPoint:
                    continue
                empty += not result.References
                if len(lists[place]) > MAX_REFERENCES or empty > _MAX_EMPTY:
                    self._tell_cut(nodes[place], f"it goes on after {len(lists[place])} of them")
                    del lists[place][MAX_REFERENCES:]
                    ended.append(result.ContinuationPoint)
                else:
                    again[place] = result.ContinuationPoint
            if ended:
                await self._next(ended, release=True)
            if not again:
                return lists, refused
            waiting = again
            results = await self._next(list(waiting.values()))

    async def _let_come(self, results: Sequence[Any], come: Callable[[int], object]) -> None:
        """Tell how many references there are. Raises NoRoom, once the server has let go of where it was."""
        try:
            come(sum(len(result.References or []) for result in results))
        except NoRoom:
            if points := [one.ContinuationPoint for one in results if one.ContinuationPoint]:
                await self._next(points, release=True)
            raise

    async def _next(self, points: list[bytes], *, release: bool = False) -> Sequence[Any]:
        request = ua.BrowseNextRequest()
        request.Parameters.ContinuationPoints = points
        request.Parameters.ReleaseContinuationPoints = release
        response = await self.ask(request, ua.BrowseNextResponse)
        return response.Parameters.Results or []

    def _tell_cut(self, node: Any, why: str) -> None:
        """What is missing is said, not dropped; of a server that has it everywhere, a few times."""
        self._cut += 1
        if self._cut <= _MOST_TOLD:
            more = "; of others it is not told" if self._cut == _MOST_TOLD else ""
            url = self.settings.url
            log.warning("%s: references of %s are left out: %s%s", where(url), node.to_string(), why, more)

    def tell_too_large(self, node: Any, attribute: int, code: int) -> None:
        """Say once what cannot be read; of a server that has it everywhere, a few times."""
        one = node, attribute
        if one in self._too_large or len(self._too_large) == _MOST_TOLD:
            return
        self._too_large.add(one)
        more = "; of others it is not told" if len(self._too_large) == _MOST_TOLD else ""
        name, what = ua.AttributeIds(attribute).name, node.to_string()
        why = status_name(code)
        log.warning("%s: the %s of %s cannot be read: %s%s", where(self.settings.url), name, what, why, more)

    async def built_in(self, data_type: Any) -> int:
        """The built-in type that values of a DataType are; 0 where several are (Number, BaseDataType)."""
        for _ in range(_MAX_ANCESTORS):
            if data_type.NamespaceIndex == 0 and isinstance(data_type.Identifier, int):
                if data_type.Identifier == _ENUMERATION:
                    return _INT32
                if data_type.Identifier < _NUMBER:
                    return 0 if data_type.Identifier == _BASE_DATA_TYPE else data_type.Identifier
                if data_type.Identifier in _ABSTRACT_NUMBERS:
                    return 0
            (above,) = await self.browse(
                [data_type],
                BrowseDirection=ua.BrowseDirection.Inverse,
                ReferenceTypeId=ua.NodeId(ua.ObjectIds.HasSubtype),
            )
            if not above:
                return 0
            data_type = local(above[0].NodeId)
            if data_type is None:
                return 0
        return 0


async def connect(
    settings: DownstreamSettings,
    surroundings: Surroundings,
    traffic: Traffic | None = None,
    resolver: Resolver | None = None,
    *,
    who: Credentials | None = None,
    patience: float = _SESSION_TIMEOUT,
) -> Connection:
    """A session, ready; what goes over it is counted on ``traffic``. Raises Unreachable, Refused.

    Whoever connects again and again has one ``resolver`` for it, so that one look-up at a time is made.
    The session is that of ``who``, or the source's own; after ``patience`` seconds of silence the server
    may end it.
    """
    resolver = resolver or Resolver(settings.host, settings.port)
    way = await choose(settings, surroundings, resolver)
    channel = Channel(way.policy, settings.timeout, traffic)
    try:
        await channel.open(resolver, settings.url)
        connection = Connection(channel, settings, way.recheck, patience)
        await connection.begin(way, surroundings, who or settings.credentials)
    except BaseException:
        await channel.gone()
        raise
    return connection


def read_request(wanted: Sequence[tuple[Any, int]]) -> Any:
    """A Read of (NodeId, AttributeId), of the device itself, with its own times."""
    request = ua.ReadRequest()
    request.Parameters.MaxAge = 0
    request.Parameters.TimestampsToReturn = ua.TimestampsToReturn.Source
    request.Parameters.NodesToRead = [
        ua.ReadValueId(NodeId=node, AttributeId=attribute) for node, attribute in wanted
    ]
    return request


async def _data(raw: wire.Raw) -> Any:
    """A DataValue of the stack's; without its value where that is large, or makes no sense."""
    value, size = None, len(raw.variant)
    if 0 < size <= MOST_LOOKED_INTO:
        try:
            decoded = beside(decode_variant, raw.variant) if size > _A_FEW else None
            value = decode_variant(raw.variant) if decoded is None else await decoded
        except Exception:  # whatever the stack makes of a stranger's bytes
            log.debug("a value cannot be read", exc_info=True)
    return ua.DataValue(value, ua.StatusCode(raw.status))


def chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Pieces of at most that size."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _value(data: Any) -> Any:
    return data.Value.Value if data.Value is not None else None
