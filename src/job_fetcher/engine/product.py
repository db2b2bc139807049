"""Which product answers at the engine's socket, and what the worker's sentences call it."""

from enum import Enum


class Product(Enum):
    """What answers at the engine's socket."""

    DOCKER = "Docker"
    DOCKER_DESKTOP = "Docker Desktop"
    PODMAN = "Podman"

    def __str__(self) -> str:
        """In the middle of a sentence."""
        return "Podman" if self is Product.PODMAN else "the Docker engine"

    @property
    def at_start(self) -> str:
        """At the start of a sentence."""
        return "Podman" if self is Product.PODMAN else "The Docker engine"

    @classmethod
    def of(cls, server: str) -> "Product":
        """By the header `Server`: Podman names its library there (podman: `pkg/api/server/handler_api.go`)."""
        return cls.PODMAN if server.startswith("Libpod/") else cls.DOCKER
