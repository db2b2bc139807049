"""The checks in their order, and what each of them builds on."""

import time
from collections.abc import Callable, Iterator

from job_fetcher.config.settings import Settings
from job_fetcher.core.errors import JobFetcherError
from job_fetcher.engine import client as engine
from job_fetcher.engine import desktop, engine_info, hardware, images, probe, registry_check
from job_fetcher.platform import http
from job_fetcher.preflight import machine, online
from job_fetcher.preflight.finding import Failed, Finding, Holds, sentences
from job_fetcher.worker import wiring
from job_fetcher.worker.readiness import Readiness

ANSWER_S = 10
"""How long the engine may take for its first answer: a person is waiting."""
LOCAL_ONLY = "An account in the group `cloud` gets no jobs for the environment `local`."


class Preflight:
    """The checks, in their order, each with the names of those that it builds on."""

    def __init__(self, read_settings: Callable[[], Settings] = Settings.read) -> None:
        self._read_settings = read_settings
        self._checks: tuple[tuple[str, Callable[[], str | Holds], set[str]], ...] = (
            ("settings", self._check_settings, set()),
            ("API", self._check_api, {"settings"}),
            ("credentials", self._check_credentials, {"API"}),
            ("engine", self._check_engine, set()),
            ("container", self._check_container, {"engine"}),
            ("registries", self._check_registries, {"settings", "engine"}),
            ("network", self._check_network, {"settings", "container"}),
            ("folder", self._check_folder, {"settings"}),
            ("folder on the host", self._check_folder_on_host, {"folder", "container"}),
            ("limits", self._check_limits, {"settings", "container", "folder on the host"}),
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
                found = check()
                well.add(name)
                yield from self._well(name, found if isinstance(found, Holds) else Holds(found), started)
            except (JobFetcherError, http.UnusableRequest, engine.Missing, OSError) as error:
                for sentence in sentences(error):
                    yield Finding(name, ok=False, text=sentence, seconds=time.monotonic() - started)

    @staticmethod
    def _well(name: str, found: Holds, started: float) -> Iterator[Finding]:
        seconds = time.monotonic() - started
        yield Finding(name, ok=True, text=found.text, seconds=seconds)
        for each in found.limits:
            yield Finding(name, ok=True, text=each, seconds=seconds, limit=True)

    def _check_settings(self) -> str:
        self._settings = self._read_settings()
        self._api = wiring.api(self._settings)
        account = "ACCESS_TOKEN" if self._settings.access_token else f"USERNAME {self._settings.username}"
        return f"{account} at {self._settings.api_url}"

    def _check_api(self) -> str:
        return online.check_api(self._settings.api_url)

    def _check_credentials(self) -> str:
        return online.check_credentials(self._api)

    def _check_engine(self) -> str:
        self._client = engine.connect(ANSWER_S)
        return engine_info.describe(self._client).name

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

    def _check_folder(self) -> Holds:
        limits = wiring.workspace(self._settings).try_out().limits
        return Holds(f"the worker can write to {self._settings.path_base}", limits)

    def _check_folder_on_host(self) -> str:
        base = self._settings.path_base
        on_host = self._settings.path_host_base or wiring.host_path(self._client, base)
        wiring.require_same_folder(self._settings, self._client, on_host)
        self._on_host = on_host
        return f"{base} is {desktop.in_words(on_host)} of the host, and containers write to it"

    def _check_limits(self) -> Holds:
        found = wiring.limits(self._settings, self._client, self._on_host)
        return Holds(
            "jobs run, but not all holds here" if found else "memory, swap and processes of jobs are limited", found
        )

    def _check_disk(self) -> str:
        return machine.check_disk(self._settings, self._client)

    def _check_gpu(self) -> str:
        self._gpu, found = machine.find_gpu()
        return found

    def _check_gpu_in_container(self) -> str:
        return machine.check_gpu_in_container(self._client, self._gpu)

    def _check_offer(self) -> str:
        settings = self._settings
        host = engine.machine(self._client, settings.memory_reserve_mib)
        offer = hardware.offer(host, self._gpu, model=settings.gpu_model, archi=settings.gpu_archi)
        units = {"memory": " MiB", "gpu_mem": " MiB"}
        offered = [f"{name}={value}{units.get(name, '')}" for name, value in offer.items()]
        offered += [f"groups={group}" for group in settings.groups]
        return f"{', '.join(offered)}. {LOCAL_ONLY}"

    def _check_storage(self) -> str:
        return online.check_storage(self._api)

    def _check_now(self) -> str:
        settings, folders = self._settings, wiring.workspace(self._settings)
        free_gpu = self._gpu
        if free_gpu is not None and not folders.claim_gpu(free_gpu.uuid):
            free_gpu = None  # a worker uses it: what its job holds of the GPU is no reason against the next job
        folder_images = images.Images(self._client, folders, settings.min_free, may_remove=False)
        ready = Readiness(self._client, folders, folder_images, free_gpu, settings, settings.job_network)
        reason = ready.reason_against()
        if reason is not None:
            raise Failed(f"The worker asks for no job: {reason}")
        return "the worker asks for jobs"
