"""Machines of a Ray cluster, all on this one: ``python -m tests.faults.nodes NODES FOLDER``.

Prints the address, then answers lines on stdin: ``kill N`` loses machine N (0 is the first, which
must stay) with all its processes at once, as a power cut does; ``mend`` starts those anew that were
lost. Ends with stdin.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

SMALL = {"num_cpus": 1, "object_store_memory": 100 << 20}


def descendants(pid: int) -> list[int]:
    try:
        started = [
            int(child)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [d for child in started for d in (child, *descendants(child))]


def lose(node: Any) -> None:
    """SIGKILL all processes of a machine."""
    started = [p.process.pid for infos in node.all_processes.values() for p in infos]
    for pid in started + [d for p in started for d in descendants(p)]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def main() -> None:
    count, folder = int(sys.argv[1]), Path(sys.argv[2])
    os.environ["RAY_TMPDIR"] = str(folder)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={**SMALL, "include_dashboard": False})
    nodes = [cluster.head_node, *(cluster.add_node(**SMALL) for _ in range(count - 1))]
    lost: set[int] = set()
    print(cluster.address, flush=True)
    try:
        for line in sys.stdin:
            what, *rest = line.split()
            if what == "kill":
                lose(nodes[int(rest[0])])
                lost.add(int(rest[0]))
            else:
                for n in lost:
                    cluster.remove_node(nodes[n], allow_graceful=False)
                    nodes[n] = cluster.add_node(**SMALL)
                lost.clear()
            print("done", flush=True)
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main()
