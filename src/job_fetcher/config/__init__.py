"""What the owner of the machine sets: names, types, defaults, and a sentence for each value that is wrong.

Imports `core` alone. Only this room reads settings from the environment; it never knows what a setting is used for.
"""

__all__ = ["settings"]
