"""An engine as Docker Desktop for Windows shows it: a proxy before a socket that translates the host's paths.

Docker Desktop runs its engine in a virtual machine, where `C:\\lab` is `/run/desktop/mnt/host/c/lab`. Requests name
folders of the host so. `info` names the product. All else passes unchanged.
"""

import re
from contextlib import AbstractContextManager
from pathlib import Path

from tests.field.proxy import LENGTH, Request, proxy

HOST = "/run/desktop/mnt/host/c"
"""What the drive C: is called in Docker Desktop's virtual machine."""
_SYSTEM = re.compile(rb'"OperatingSystem":"[^"]*"')
_PRODUCT = b'"OperatingSystem":"Docker Desktop"'


def desktop(engine: Path, listening: Path, folder: Path) -> AbstractContextManager[None]:
    """Serve the engine at the socket `listening`: paths below `HOST` are those below `folder`."""

    def edit(request: Request) -> Request:
        head, body = request
        if b"/containers/create" in head.split(b"\r\n", 1)[0]:
            body = body.replace(HOST.encode(), bytes(folder))
            head = LENGTH.sub(b"\r\nContent-Length: %d" % len(body), head)
        return head, body

    return proxy(engine, listening, edit, lambda data: _SYSTEM.sub(_as_desktop, data))


def _as_desktop(found: re.Match[bytes]) -> bytes:
    """JSON of the same length: the name of the product, then blanks."""
    return _PRODUCT.ljust(len(found[0])) if len(found[0]) >= len(_PRODUCT) else found[0]
