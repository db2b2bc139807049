"""The Docker engine and the GPU: images, the containers of jobs and their isolation, probes, cleanup.

Imports `platform.http`, `workspace` and `core`. It alone imports docker and NVML, and no error of docker leaves it.
It never knows the platform, nor what a job's status is.
"""

__all__ = [
    "cleanup",
    "client",
    "container",
    "container_log",
    "hardware",
    "image_cleanup",
    "image_names",
    "images",
    "isolation",
    "logins",
    "probe",
    "pull",
    "pull_failures",
    "registry_check",
]
