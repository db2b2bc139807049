"""The log of a container, as far as it goes: streamed in large blocks, and left whenever the caller has enough.

docker-py reads two times for each line, which takes it a quarter of a millisecond.
"""

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing

from job_fetcher.engine.client import CALL_TIMEOUT_S, Client, translate_errors

_BLOCK = 1 << 16


def so_far(
    client: Client,
    container: str,
    last_lines: int | None = None,
    *,
    follow: bool = False,
    timestamps: bool = False,
    since: float | None = None,
    until: float | None = None,
) -> Generator[bytes]:
    """What a container without a terminal has printed so far, or its `last_lines`; to be closed.

    `follow`: and what it prints from now on. `timestamps`: the time and a blank come before each line. `since` and
    `until`: only what it has printed between these times, in seconds since the epoch.

    The stream's frames are those of the Docker Engine API, "Attach to a container": 8 bytes, the last 4 of them the
    length, then the content. Raises what `translate_errors` does.
    """
    url = f"{client.base_url}/v{client.api_version}/containers/{container}/logs"
    params: dict[str, int | float | str] = {"stdout": 1, "stderr": 1}
    params |= {"tail": "all" if last_lines is None else last_lines}
    params |= {"follow": int(follow), "timestamps": int(timestamps)}
    params |= {name: time for name, time in (("since", since), ("until", until)) if time is not None}
    with (
        translate_errors("read the job's log"),
        closing(client.get(url, params=params, stream=True, timeout=CALL_TIMEOUT_S)) as response,
    ):
        client.require_success(response)
        yield from _contents(response.iter_content(_BLOCK))


def _contents(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The contents of frames, in pieces that are no longer than a block."""
    header, left = b"", 0
    for block in blocks:
        at = 0
        while at < len(block):
            if left:
                piece = block[at : at + left]
                yield piece
                left -= len(piece)
                at += len(piece)
            else:
                taken = block[at : at + 8 - len(header)]
                header += taken
                at += len(taken)
                if len(header) == 8:
                    header, left = b"", int.from_bytes(header[4:], "big")
