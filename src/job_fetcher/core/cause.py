"""What ended a job's command, as a closed set of words."""

from enum import StrEnum


class Cause(StrEnum):
    """What ended a job's command."""

    EXIT = "exit"
    """It ended by itself, whatever its exit code is."""
    SIGNAL = "signal"
    """A signal that it, or another of its container's processes, sent: the exit code has the signal, plus 128."""
    KILLED_FOR_MEMORY = "killed_for_memory"
    CHILD_KILLED_FOR_MEMORY = "child_killed_for_memory"
    MACHINE_OUT_OF_MEMORY = "machine_out_of_memory"
    TIME_LIMIT = "time_limit"
    STOPPED_BY_OWNER = "stopped_by_owner"
    CANCELLED = "cancelled"
    GPU_LOST = "gpu_lost"
