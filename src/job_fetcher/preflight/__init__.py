"""The checks behind `check`: each thing that a first start gets wrong, with the sentence that mends it.

Imports all rooms below it. They ask for no job, and remove no image. They create PATH_BASE if it is missing, and pull
`busybox` where no image of the worker is. They remove the containers and test folders that they make. Each start runs
the quick ones of them, with the same sentences (`worker.wiring`).
"""

from job_fetcher.preflight.checks import Preflight

__all__ = ["Preflight"]
