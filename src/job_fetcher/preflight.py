"""The checks behind `check`: all that a first start gets wrong, each told with the sentence that mends it.

They change nothing: no job is asked for, no image is removed. Those that a start can afford are made by every start,
with the same sentences (see `assembly`); this one looks at the rest as well, with containers of its own.
"""

import email.utils
import io
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from job_fetcher import assembly, engine, hardware, http, images, probe
from job_fetcher.api import user_pool
from job_fetcher.background import Cancellation
from job_fetcher.download import Download
from job_fetcher.errors import JobFetcherError
from job_fetcher.settings import Settings
from job_fetcher.transfer import HandedOut, upload

CLOCK_S = 120.0
"""So many seconds a clock may be wrong: certificates and signed addresses live for minutes at least."""
OLDEST_API = (1, 40)
"""Of the engine: device requests came with it (Docker 19.03)."""
PROBE_SIZE, PROBE_S = 1 << 20, 30.0
"""Bytes of the file that is sent to the storage and back, and the time for it."""

_REASONS = (
    (
        r"[Cc]ertificate|SSL",
        "its certificate is not accepted: set this machine's clock, or ask who runs the proxy",
    ),
    (r"Name or service|No address|name resolution|resolve", "there is no such host: correct API_URL, or the DNS here"),
    (r"refused", "nothing listens there: correct the port in API_URL, or start the API"),
    (r"no connection within|unreachable|no answer", "a firewall may be between: it needs to let HTTPS out"),
)
"""What a failed request means, by words of its error."""


@dataclass(frozen=True)
class Finding:
    """One line of the check: what was looked at, whether it is well, what was found or how to mend it, how long."""

    name: str
    ok: bool
    text: str
    seconds: float


class Failed(JobFetcherError):
    """Something is not well; the message is the sentence that mends it."""


class Preflight:
    """The checks, in the order in which they build on each other."""

    def __init__(self, read_settings: Callable[[], Settings] = Settings.read) -> None:
        self._read_settings = read_settings
        self._checks: tuple[tuple[str, Callable[[], str], set[str]], ...] = (
            ("settings", self._check_settings, set()),
            ("API", self._check_api, {"settings"}),
            ("credentials", self._check_credentials, {"API"}),
            ("engine", self._check_engine, set()),
            ("container", self._check_container, {"engine"}),
            ("folder", self._check_folder, {"settings"}),
            ("folder on the host", self._check_folder_on_host, {"folder", "container"}),
            ("disk", self._check_disk, {"folder", "engine"}),
            ("GPU", self._check_gpu, {"engine"}),
            ("GPU in a container", self._check_gpu_in_container, {"GPU", "container"}),
            ("offer", self._check_offer, {"settings", "engine", "GPU"}),
            ("storage", self._check_storage, {"credentials"}),
        )

    def run(self) -> Iterator[Finding]:
        """Each finding as soon as it is made; what cannot be looked at since something else failed is left out."""
        well: set[str] = set()
        for name, check, needed in self._checks:
            if not needed <= well:
                continue
            started = time.monotonic()
            try:
                text, ok = check(), True
            except (JobFetcherError, OSError) as error:
                text, ok = str(error), False
            if ok:
                well.add(name)
            yield Finding(name, ok, text, time.monotonic() - started)

    def _check_settings(self) -> str:
        self._settings = self._read_settings()
        self._api = assembly.api(self._settings)
        account = "ACCESS_TOKEN" if self._settings.access_token else f"USERNAME {self._settings.username}"
        return f"{account} at {self._settings.api_url}"

    def _check_api(self) -> str:
        url = self._settings.api_url
        try:
            response = http.send("GET", f"{url}/access_info", timeout_s=20)
            user_pool(url)
        except (http.UnusableRequest, JobFetcherError) as error:
            meaning = next((meaning for words, meaning in _REASONS if re.search(words, str(error))), None)
            raise Failed(f"{error}" + (f" - {meaning}" if meaning else "")) from error
        date = email.utils.parsedate_to_datetime(response.headers.get("Date", email.utils.formatdate()))
        ahead_s = time.time() - date.timestamp()
        if abs(ahead_s) > CLOCK_S:
            raise Failed(
                f"This machine's clock is {abs(ahead_s) / 60:.0f} minutes {'ahead of' if ahead_s > 0 else 'behind'} the"
                " API's: let it be set by the network (timedatectl set-ntp true)"
            )
        return f"{url} answers, clocks differ by {abs(ahead_s):.0f} s"

    def _check_credentials(self) -> str:
        """The status of a job that there is not: who may ask for it is a worker."""
        self._api.get_status("check")
        return "accepted, and approved as a worker"

    def _check_engine(self) -> str:
        self._client = engine.connect()
        version, api_version = engine.version(self._client)
        if tuple(map(int, api_version.split("."))) < OLDEST_API:
            raise Failed(f"Docker {version} is too old: 19.03 or newer is needed")
        return f"Docker {version}, API {api_version}"

    def _check_container(self) -> str:
        self._image = probe.image(self._client)
        probe.run(self._client, self._image, "true")
        return "starts and ends"

    def _check_folder(self) -> str:
        assembly.workspace(self._settings).prepare()
        return f"{self._settings.path_base} can be written to"

    def _check_folder_on_host(self) -> str:
        base = self._settings.path_base
        on_host = self._settings.path_host_base or engine.host_path(self._client, base)
        probe.same_folder(self._client, on_host, Path(base))
        return f"{base} is {on_host} of the host, and containers write to it"

    def _check_disk(self) -> str:
        least = self._settings.min_free_gib * assembly.GIB
        free = []
        for what, folder in (("PATH_BASE", Path(self._settings.path_base)), ("Docker", images.disk(self._client))):
            usage = shutil.disk_usage(folder)
            free.append(f"{usage.free / assembly.GIB:.1f} GiB free for {what}")
            if usage.free < least:
                raise Failed(
                    f"Only {free[-1]} ({folder}), less than MIN_FREE_GIB ({self._settings.min_free_gib:g}): make room,"
                    " move it to a larger disk, or lower MIN_FREE_GIB"
                )
        return ", ".join(free)

    def _check_gpu(self) -> str:
        self._gpu = hardware.find_gpu()
        if self._gpu is None:
            return "none: only jobs that want none will come (with one: driver, toolkit, and --gpus '\"device=0\"')"
        hardware.used_mib(self._gpu)
        return f"{self._gpu.model}, {self._gpu.memory_mib} MiB, {self._gpu.uuid}"

    def _check_gpu_in_container(self) -> str:
        if self._gpu is None:
            return "none"
        try:
            probe.see_gpu(self._client, self._gpu)
        except probe.ProbeFailed as error:
            raise Failed(
                f"{error} - install NVIDIA's container toolkit, then: nvidia-ctk runtime configure --runtime=docker,"
                " systemctl restart docker"
            ) from error
        return f"{self._gpu.uuid} is seen"

    def _check_offer(self) -> str:
        settings = self._settings
        machine = engine.machine(self._client, settings.memory_reserve_mib)
        offer = hardware.offer(machine, self._gpu, model=settings.gpu_model, archi=settings.gpu_archi)
        units = {"memory": " MiB", "gpu_mem": " MiB"}
        return ", ".join(f"{name}={value}{units.get(name, '')}" for name, value in offer.items())

    def _check_storage(self) -> str:
        """A probe file there and back, where the platform offers one (as our mock does): the contract has none."""
        requests = self._api.probe_requests()
        if requests is None:
            return "this platform offers no file to try it with"
        content, late = os.urandom(PROBE_SIZE), Cancellation()
        timer = threading.Timer(PROBE_S, late.set, [Failed(f"{PROBE_SIZE >> 20} MiB take more than {PROBE_S:g} s")])
        timer.daemon = True
        timer.start()
        started = time.monotonic()
        upload(HandedOut(lambda: requests.upload), "probe", io.BytesIO(content), cancelled=late)
        arrived = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            back = Path(folder) / "probe"
            Download("probe", HandedOut(lambda: requests.download), back, back.with_suffix(".part")).begin(late)
            if back.read_bytes() != content:
                raise Failed("What comes back from the storage is not what was sent: ask who runs the proxy")
        timer.cancel()
        up, down = (PROBE_SIZE / 1e6 / max(s, 1e-6) for s in (arrived - started, time.monotonic() - arrived))
        return f"{PROBE_SIZE >> 20} MiB up with {up:.0f} MB/s, down with {down:.0f} MB/s"
