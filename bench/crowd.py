"""Many sessions with some items each, in one process.

Run as ``python -m bench.crowd URL VARIABLES SESSIONS ITEMS INTERVAL_MS``; prints ``subscribed`` when the
first values are there. It counts until a line comes on its standard input, and then prints ``result``
and a JSON object.
"""

from __future__ import annotations

import json
import sys
import threading
import time

from asyncua.ua import ua_binary

from bench.counting import Counter
from bench.plant import PLANT_URI, keys
from bench.session import Session
from bench.subscriber import Items, ua

_FIRST_VALUES = 60.0


def _main(url: str, variables: int, sessions: int, items: int, interval: float) -> None:
    members = [Session(url).begin() for _ in range(sessions)]
    namespace = members[0].namespace(PLANT_URI)
    nodes = [ua_binary.nodeid_to_binary(ua.StringNodeId(name, namespace)) for name in keys(variables)[1:]]
    for index, session in enumerate(members):
        first = index * items % len(nodes)
        part = (nodes + nodes)[first : first + items]
        Items(session, interval).create(part, 1)
    counter = Counter(members)
    counter.until_all(sessions * items, _FIRST_VALUES)
    print("subscribed", flush=True)
    begin, already = time.monotonic(), counter.notifications
    ended = threading.Thread(target=sys.stdin.readline, daemon=True)
    ended.start()
    while ended.is_alive():
        counter.poll(0.1)
    took = time.monotonic() - begin
    print("result", json.dumps({"per_s": (counter.notifications - already) / took}), flush=True)


if __name__ == "__main__":
    _main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]))
