"""The worker: the loop and the life of a job in it, the keep-alive, when to ask for a job, how to end.

Imports all rooms below it. Begin with `loop`; `wiring` makes its objects from the settings.
`keepalive` and what it imports run without Docker and settings, since the cloud side uses it.
"""

__all__ = ["keepalive", "loop", "readiness", "runner", "shutdown", "signals", "wiring"]
