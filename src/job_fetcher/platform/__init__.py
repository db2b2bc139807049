"""The platform as a worker sees it: its API, its login, HTTP underneath, and hints for what fails there.

Imports `core` alone. Never knows where a file lies, what runs a job, or what the owner has set.
"""

__all__ = ["api", "auth", "diagnosis", "http"]
