"""What lies on the disk: the folder of each job, its recorded state, its lock, and its removal.

Imports `core` alone. Never sends anything, and never knows what runs in a container.
"""

__all__ = ["disk", "job_folder", "ledger", "locks", "names", "requeued", "trial", "workspace"]
