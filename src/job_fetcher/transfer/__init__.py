"""Files on their way: inputs down, outputs up, and which files a job's output folders hold.

Imports `platform`, `workspace` and `core`. Never knows what runs a job; follows links only within a job's own files.
"""

__all__ = [
    "arrived",
    "download",
    "form",
    "job_files",
    "outbox",
    "outputs",
    "presigned",
    "ranges",
    "sender",
    "storage_errors",
    "upload",
    "upload_report",
]
