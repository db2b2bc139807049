"""The words that all other rooms share: jobs and statuses, errors, background calls, retries, logs, the sign of life.

Imports no other room. Never knows what a platform, an engine or a disk is.
"""

__all__ = ["background", "errors", "health", "job", "log_text", "logs", "retry"]
