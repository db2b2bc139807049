"""The checks behind `check`: each thing that a first start gets wrong, with the sentence that mends it.

They ask for no job, and remove no image. They create PATH_BASE if it is missing, and pull `busybox` where no image of
the worker is. They remove the containers and test folders that they make. Each start runs the quick ones of them, with
the same sentences (`worker.wiring`).
"""

import email.utils
import io
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from job_fetcher.config.settings import Settings
from job_fetcher.core.background import Cancellation, in_background
from job_fetcher.core.errors import GpuUnavailable, InvalidAnswer, JobFetcherError, SettingsError, Unavailable
from job_fetcher.engine import client as engine
from job_fetcher.engine import hardware, image_cleanup, images, probe, registry_check
from job_fetcher.platform import diagnosis, http
from job_fetcher.platform.api import StorageTest, user_pool
from job_fetcher.transfer.presigned import PresignedRequest
from job_fetcher.transfer.upload import upload
from job_fetcher.worker import wiring
from job_fetcher.worker.readiness import Readiness
from job_fetcher.workspace.disk import GIB, MIN_FREE_INODES, free_bytes, free_inodes

ANSWER_S = 10
"""How long the API and the engine may take for their first answer: a person is waiting."""
CLOCK_S = 120.0
"""How many seconds the clock may be wrong: certificates and presigned requests live for minutes at least."""
TEST_SIZE, TEST_S = 1 << 20, 30.0
"""Bytes of the file that goes to the storage and back, and the seconds for it."""
LOCAL_ONLY = "An account in the group `cloud` gets no jobs for the environment `local`."


NO_GPU = (
    "none. Jobs that need one can come all the same, since most jobs do not name it: allow only images that need none"
    " (ALLOWED_IMAGES). If this machine has one: install its driver and the toolkit, and add --gpus '\"device=0\"'"
)


@dataclass(frozen=True)
class Finding:
    """One line of the check: its name, whether all is well, what it found or how to mend it, how long it took."""

    name: str
    ok: bool
    text: str
    seconds: float


class Failed(JobFetcherError):
    """A check has failed; the message is the sentence that mends it."""


class Preflight:
    """The checks, in their order, each with the names of those that it builds on."""

    def __init__(self, read_settings: Callable[[], Settings] = Settings.read) -> None:
        self._read_settings = read_settings
        self._checks: tuple[tuple[str, Callable[[], str], set[str]], ...] = (
            ("settings", self._check_settings, set()),
            ("API", self._check_api, {"settings"}),
            ("credentials", self._check_credentials, {"API"}),
            ("engine", self._check_engine, set()),
            ("container", self._check_container, {"engine"}),
            ("registries", self._check_registries, {"settings", "engine"}),
            ("network", self._check_network, {"settings", "container"}),
            ("folder", self._check_folder, {"settings"}),
            ("folder on the host", self._check_folder_on_host, {"folder", "container"}),
            ("disk", self._check_disk, {"folder", "engine"}),
            ("GPU", self._check_gpu, {"engine"}),
            ("GPU in a container", self._check_gpu_in_container, {"GPU", "container"}),
            ("offer", self._check_offer, {"settings", "engine", "GPU"}),
            ("storage", self._check_storage, {"credentials"}),
            ("now", self._check_now, {"network", "folder on the host", "disk", "GPU in a container"}),
        )

    def run(self) -> Iterator[Finding]:
        """Each finding as soon as there is one. A check is left out if one that it builds on has failed."""
        well: set[str] = set()
        for name, check, needed in self._checks:
            if not needed <= well:
                continue
            started = time.monotonic()
            try:
                sentences, ok = [check()], True
                well.add(name)
            except (JobFetcherError, http.UnusableRequest, engine.Missing, OSError) as error:
                sentences, ok = _sentences(error), False
            for sentence in sentences:
                yield Finding(name, ok, sentence, time.monotonic() - started)

    def _check_settings(self) -> str:
        self._settings = self._read_settings()
        self._api = wiring.api(self._settings)
        account = "ACCESS_TOKEN" if self._settings.access_token else f"USERNAME {self._settings.username}"
        return f"{account} at {self._settings.api_url}"

    def _check_api(self) -> str:
        url = self._settings.api_url
        try:
            response = http.send("GET", f"{url}/access_info", timeout_s=ANSWER_S)
            user_pool(url)
        except InvalidAnswer as error:
            raise Failed(
                f"API_URL ({url}) is not the address of the platform's API: {diagnosis.with_hint(error)}"
            ) from error
        except (http.UnusableRequest, JobFetcherError) as error:
            raise Failed(diagnosis.with_hint(error)) from error
        ahead_s = _ahead_s(response.headers.get("Date"))
        if abs(ahead_s) > CLOCK_S:
            raise Failed(
                f"This machine's clock is {abs(ahead_s) / 60:.0f} minutes {'ahead of' if ahead_s > 0 else 'behind'} the"
                " API's: set it from the network (timedatectl set-ntp true)"
            )
        return f"{url} answers, clocks differ by {abs(ahead_s):.0f} s"

    def _check_credentials(self) -> str:
        """Ask what only the workers' API answers so: the users' API knows the account and its password as well."""
        try:
            self._api.require_workers_api()
        except Unavailable as error:
            raise Failed(diagnosis.with_hint(error)) from error
        return "accepted, and approved as a worker"

    def _check_engine(self) -> str:
        self._client = engine.connect(ANSWER_S)
        return "Docker {}, API {}".format(*engine.version(self._client))

    def _check_container(self) -> str:
        self._image = probe.image(self._client)
        probe.run(self._client, self._image, "true")
        return "starts and ends"

    def _check_registries(self) -> str:
        return registry_check.check(self._client, self._settings.image_patterns)

    def _check_network(self) -> str:
        network = self._settings.job_network
        engine.require_network(self._client, network)
        probe.start_as_job(self._client, network, None)
        return f"{network}: a container in it starts and ends"

    def _check_folder(self) -> str:
        limits = wiring.workspace(self._settings).try_out().limits
        return "; but ".join([f"the worker can write to {self._settings.path_base}", *limits])

    def _check_folder_on_host(self) -> str:
        base = self._settings.path_base
        on_host = self._settings.path_host_base or wiring.host_path(self._client, base)
        probe.same_folder(self._client, on_host, Path(base))
        return f"{base} is {on_host} of the host, and containers write to it"

    def _check_disk(self) -> str:
        least = self._settings.min_free
        free = []
        for what, folder in (
            ("PATH_BASE", Path(self._settings.path_base)),
            ("Docker", image_cleanup.disk(self._client)),
        ):
            free_here = free_bytes(folder)
            free.append(
                f"{free_here / GIB:.1f} GiB free for {what}" if free_here < sys.maxsize else f"no limit for {what}"
            )
            if free_here < least:
                raise Failed(
                    f"Only {free[-1]} ({folder}), less than MIN_FREE_GIB ({self._settings.min_free_gib:g}): make room,"
                    " move it to a larger disk, or lower MIN_FREE_GIB"
                )
            if free_inodes(folder) < MIN_FREE_INODES:
                raise Failed(f"The disk of {what} ({folder}) has less than {MIN_FREE_INODES} free inodes: remove files")
        return ", ".join(free)

    def _check_gpu(self) -> str:
        try:
            gpus = hardware.gpus()
            self._gpu = gpus[0] if gpus else None
            if self._gpu is None:
                return NO_GPU
            hardware.used_mib(self._gpu)
        except GpuUnavailable as error:
            raise Failed(
                f"The GPU's driver does not work ({error}): restart the machine, or install it anew"
            ) from error
        others = f", the first of {len(gpus)}: start a worker for each of them" if len(gpus) > 1 else ""
        return f"{self._gpu.model}, {self._gpu.memory_mib} MiB, {self._gpu.uuid}{others}"

    def _check_gpu_in_container(self) -> str:
        if self._gpu is None:
            return "none"
        try:
            probe.start_as_job(self._client, "none", self._gpu)
        except probe.ProbeFailed as error:
            do = (
                "install NVIDIA's container toolkit"
                if "select device driver" in str(error)
                else "set up NVIDIA's container toolkit anew"
            )
            raise Failed(
                f"{error} - {do}: nvidia-ctk runtime configure --runtime=docker, then systemctl restart docker"
            ) from error
        return f"a container sees {self._gpu.uuid}"

    def _check_offer(self) -> str:
        settings = self._settings
        machine = engine.machine(self._client, settings.memory_reserve_mib)
        offer = hardware.offer(machine, self._gpu, model=settings.gpu_model, archi=settings.gpu_archi)
        units = {"memory": " MiB", "gpu_mem": " MiB"}
        offered = [f"{name}={value}{units.get(name, '')}" for name, value in offer.items()]
        offered += [f"groups={group}" for group in settings.groups]
        return f"{', '.join(offered)}. {LOCAL_ONLY}"

    def _check_storage(self) -> str:
        """A file to the storage and back, if the platform has one for that, as our mock does. The contract has none."""
        requests = self._api.storage_test()
        if requests is None:
            return "this platform has no file to try it with"
        late = Cancellation()
        try:
            up_s, down_s = late.result_of(in_background(lambda: _there_and_back(requests, late), "storage"), TEST_S)
        except TimeoutError:
            raise Failed(
                f"Less than {TEST_SIZE >> 20} MiB passes to the storage and back in {TEST_S:g} s: look for what slows"
                " down this machine's network"
            ) from None
        except (http.UnusableRequest, JobFetcherError) as error:
            meaning = diagnosis.hint(error) or diagnosis.FIREWALL
            raise Failed(f"The storage cannot be used: {error} - {meaning}") from error
        up, down = (TEST_SIZE / 1e6 / max(seconds, 1e-6) for seconds in (up_s, down_s))
        return f"{TEST_SIZE >> 20} MiB up with {up:.0f} MB/s, down with {down:.0f} MB/s"

    def _check_now(self) -> str:
        settings, folders = self._settings, wiring.workspace(self._settings)
        free_gpu = self._gpu
        if free_gpu is not None and not folders.claim_gpu(free_gpu.uuid):
            free_gpu = None  # a worker uses it: what its job holds of the GPU is no reason against the next job
        folder_images = images.Images(self._client, folders, settings.min_free, may_remove=False)
        ready = Readiness(self._client, folders, folder_images, free_gpu, settings, network=settings.job_network)
        reason = ready.reason_against()
        if reason is not None:
            raise Failed(f"The worker asks for no job: {reason}")
        return "the worker asks for jobs"


def _ahead_s(date: str | None) -> float:
    """Seconds that this machine's clock is ahead of an answer's `Date`; 0 without a valid `Date`."""
    try:
        return time.time() - email.utils.parsedate_to_datetime(date or "").timestamp()
    except (ValueError, OverflowError):
        return 0.0


def _there_and_back(requests: StorageTest, late: Cancellation) -> tuple[float, float]:
    """Seconds for a file to the storage, and for the same file back, without retries."""
    content, started = os.urandom(TEST_SIZE), time.monotonic()
    upload(
        PresignedRequest(lambda: requests.upload), "probe", io.BytesIO(content), cancelled=late, when_failed=late.set
    )
    arrived = time.monotonic()
    response = http.send(requests.download.method, requests.download.url, headers=requests.download.headers)
    if response.content != content:
        raise Failed(f"the storage sends back ({response.status_code}) something else than it was sent")
    return arrived - started, time.monotonic() - arrived


def _sentences(error: Exception) -> list[str]:
    """The lines of an error: a `SettingsError` has a title, and a line for each wrong setting."""
    title, *lines = str(error).split("\n")
    return (
        [line.strip() for line in lines] if isinstance(error, SettingsError) and lines else [" ".join([title, *lines])]
    )
