"""A delaying proxy before a node, in a process of its own: its processor time is not the client's."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from support.fault_proxy import FaultProxy, Route

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.kafka_node import ApacheKafka

_ROOT = Path(__file__).resolve().parent.parent


@contextmanager
def delayed(node: ApacheKafka, round_trip: float) -> Iterator[str]:
    """Yield the bootstrap servers of a proxy before *node* that adds *round_trip* seconds to each."""
    orders = json.dumps({"routes": node.routes, "delay": round_trip / 2})
    command = [sys.executable, "-m", "benchmarks.delay", orders]
    with subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            yield child.stdout.readline().strip()
        finally:
            child.communicate()  # the end of its input is the end of it


def main() -> None:
    """Be that proxy until standard input ends."""
    orders = json.loads(sys.argv[1])
    routes = {int(broker): Route(port, tuple(upstream)) for broker, (port, upstream) in orders["routes"].items()}
    # Opaque: chunks as they come, as a long line would; whole frames would wait for their own end.
    with FaultProxy(routes, opaque=True) as proxy:
        proxy.latency(orders["delay"])
        print(proxy.bootstrap_servers, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
