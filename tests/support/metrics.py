"""What a running server's metrics say."""

from __future__ import annotations

import asyncio
import re
import urllib.request

from prometheus_client.parser import text_string_to_metric_families
from support.isthmus import Process
from support.net import until


async def scraped(url: str) -> dict[tuple[str, ...], float]:
    """By name and the values of its labels."""

    def fetch() -> str:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return str(answer.read().decode())

    text = await asyncio.to_thread(fetch)
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def metrics_url(process: Process) -> str:
    """Where they are served, once the log says so."""
    match = await until(lambda: re.search(r"metrics at ([^\s\"]+)", process.output), what="the metrics' URL")
    assert match is not None
    return match[1]
