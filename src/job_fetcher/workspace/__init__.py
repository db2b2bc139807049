"""What lies on the disk: the folder of each job and what is recorded there, who holds it, how it lasts and goes.

Imports `core` alone. Never sends anything, and never knows what runs in a container.
"""

__all__ = ["disk", "job_folder", "ledger", "workspace"]
