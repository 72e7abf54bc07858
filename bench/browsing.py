"""Browses what stands below one node again and again, and says what that costs the server.

Run as ``python -m bench.browsing URL PID NODE ROUNDS``, the node by its identifier in the plant; prints
``result`` and a JSON object.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from bench.accounting import cpu_seconds
from bench.plant import PLANT_URI
from bench.session import Session
from bench.subscriber import ua

_PAGE = 1_000


def references(session: Session, node: Any) -> int:
    """How many hierarchical references there are, read page by page."""
    request = ua.BrowseRequest()
    request.Parameters.RequestedMaxReferencesPerNode = _PAGE
    wanted = ua.BrowseDescription()
    wanted.NodeId, wanted.BrowseDirection = node, ua.BrowseDirection.Forward
    wanted.ReferenceTypeId = ua.NodeId(ua.ObjectIds.HierarchicalReferences)
    wanted.IncludeSubtypes, wanted.ResultMask = True, ua.BrowseResultMask.All
    request.Parameters.NodesToBrowse = [wanted]
    result = session.call(request, ua.BrowseResponse).Results[0]
    result.StatusCode.check()
    found = len(result.References)
    while result.ContinuationPoint:
        following = ua.BrowseNextRequest()
        following.Parameters.ReleaseContinuationPoints = False
        following.Parameters.ContinuationPoints = [result.ContinuationPoint]
        result = session.call(following, ua.BrowseNextResponse).Parameters.Results[0]
        result.StatusCode.check()
        found += len(result.References)
    return found


def _main(url: str, pid: int, name: str, rounds: int) -> None:
    session = Session(url).begin()
    node = ua.StringNodeId(name, session.namespace(PLANT_URI))
    references(session, node)
    before = cpu_seconds(pid)
    found = sum(references(session, node) for _ in range(rounds))
    used = cpu_seconds(pid) - before
    session.close()
    print("result", json.dumps({"references": found // rounds, "us": used / found * 1e6}), flush=True)


if __name__ == "__main__":
    _main(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
