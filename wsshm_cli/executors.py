"""What does the works of a batch, or the segments of a clip: this machine, or a cluster."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from engines.video.config import RunConfig
from wsshm_cli import report

if TYPE_CHECKING:
    from engines.batch.run import Executor

DEFAULT_JOBS = 1


def choose(config: RunConfig, cluster: str | None, jobs: int | None) -> Callable[[Path], Executor]:
    """Return what makes the executor of works whose outputs go into a folder.

    Args:
        cluster: as the user named it; None for this machine without Ray.
        jobs: the most works at once.

    Raises:
        UsageError, Unavailable: there is no such cluster.
    """
    if cluster is None:
        from engines.batch.local import run_local

        return lambda _: partial(run_local, jobs=jobs or DEFAULT_JOBS)
    from engines.batch.cluster import check
    from engines.batch.ray_cluster import run_ray

    check(cluster, config.device)
    return lambda folder: partial(
        run_ray, address=cluster, folder=folder, jobs=jobs, say=report.line
    )
