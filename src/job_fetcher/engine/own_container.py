"""The container that the worker itself runs in, if it does, and that container's image."""

import re
from pathlib import Path

from job_fetcher.engine.client import Client, Missing, translate_errors


def own_image(client: Client) -> str | None:
    """The id of the image that this process runs in; `None` if it runs in none of this engine."""
    own_id = own_container()
    if own_id is None:
        return None
    try:
        with translate_errors("inspect the worker's own container"):
            return str(client.inspect_container(own_id)["Image"])
    except Missing:
        return None


def own_container() -> str | None:
    """The id of the container that this process runs in, if it does: engines mount files kept under that id into it."""
    mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    found = re.search(r"/([0-9a-f]{64})/\S* /etc/(?:hostname|hosts|resolv\.conf) ", mounts)
    return found[1] if found else None
