"""`python -m tests.support.litter before|after FILE`: whether all tests together leave the engine as they found it.

`before` writes down what the engine has, `after` ends with 1 and a list if it has more. On a machine where others use
the engine meanwhile, that may be theirs.
"""

import json
import sys
import time
from contextlib import suppress
from pathlib import Path

import docker
from docker.errors import APIError

from tests.support.engine import connect

GOING_S = 30.0
"""What somebody has just asked the engine to remove may take so long."""
Things = dict[str, str]
"""What there is, in words, by `kind id`."""


def things(client: docker.DockerClient) -> Things:
    """Containers, images (of those only that are no layers of others), volumes and networks."""
    api = client.api
    found = {
        f"container {each['Id']}": f"{', '.join(each['Names'] or ())} of {each['Image']}"
        for each in api.containers(all=True)
    }
    for each in api.images():
        names = each["RepoTags"] or each["RepoDigests"] or []
        found[f"image {each['Id']}"] = ", ".join(names) or "<untagged>"
    for each in api.volumes()["Volumes"] or []:
        found[f"volume {each['Name']}"] = each["Mountpoint"]
    return found | {f"network {each['Id']}": each["Name"] for each in api.networks()}


def remove_by_products(client: docker.DockerClient, before: Things) -> None:
    """Remove what is meant to stay for a while.

    Those are the probes of workers that were killed, which a worker's next start removes, and images that a later
    session would only need anew: the demo's, and the stage that builds the worker's.
    """
    for each in client.api.containers(all=True, filters={"label": "job-fetcher.build=probe"}):
        if f"container {each['Id']}" not in before and each["State"] != "running":
            with suppress(APIError):  # somebody else is removing it
                client.api.remove_container(each["Id"], v=True)
    stage = [each["Id"] for each in client.api.images(filters={"label": "job-fetcher.build=builder"})]
    probed = {"label": "job-fetcher.build=worker", "dangling": True}  # with what was tried, until its container went
    stage += [each["Id"] for each in client.api.images(filters=probed)]
    for image in (*stage, *(each["Id"] for each in client.api.images(name="localhost/job-fetcher-demo"))):
        if f"image {image}" not in before:
            try:
                client.api.remove_image(image, force=True)
            except APIError as error:
                sys.stdout.write(f"The image {image} stays: {error.explanation}\n")


def left(client: docker.DockerClient, before: Things) -> list[str]:
    """What the engine has now and had not before, a line each."""
    return [f"{key}: {words}" for key, words in sorted(things(client).items()) if key not in before]


def main(when: str, file: Path) -> int:
    client = connect()
    if when == "before":
        file.write_text(json.dumps(things(client)))
        return 0
    before = json.loads(file.read_text())
    remove_by_products(client, before)
    end = time.monotonic() + GOING_S
    while (lines := left(client, before)) and time.monotonic() < end:
        time.sleep(0.2)
    for line in lines:
        sys.stdout.write(f"New on the engine since the tests began: {line}\n")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
