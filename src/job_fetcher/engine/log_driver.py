"""Another logging driver for containers, where the owner's options exclude ours (`isolation.ISOLATION`)."""

from typing import Any

import docker
from docker.errors import APIError


class Client(docker.APIClient):
    """docker-py's client, which creates a container with the driver `local` if the engine refuses `json-file`."""

    def create_container_from_config(self, config: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """As docker-py's. An engine whose default for `json-file` has a `max-buffer-size` refuses that driver.

        It adds its default options to those of a container with the same driver, where `mode=blocking` excludes this
        one (moby: `mergeAndVerifyLogConfig`). The driver `local` takes the options of ours, and gets none of others.
        """
        try:
            return super().create_container_from_config(config, *args, **kwargs)  # type: ignore[no-untyped-call]
        except APIError as error:
            if "max-buffer-size" not in str(error):
                raise
        host_config = config["HostConfig"] | {"LogConfig": config["HostConfig"]["LogConfig"] | {"Type": "local"}}
        other = config | {"HostConfig": host_config}  # a copy: `ISOLATION` shares its LogConfig with all containers
        return super().create_container_from_config(other, *args, **kwargs)  # type: ignore[no-untyped-call]
