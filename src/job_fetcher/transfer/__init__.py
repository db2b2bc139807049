"""Files on their way: inputs down, outputs up, and which files a job's output folders hold.

Imports `platform`, `workspace` and `core`. Never knows what runs a job, and follows no path that a job has laid.
"""

__all__ = ["arrived", "download", "outbox", "outputs", "presigned", "ranges", "storage_errors", "upload"]
