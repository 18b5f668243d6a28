"""Reads docker-compose.yaml into what this check can start.

Promises: a key that is not understood is refused by name, never skipped. Must not know: how a service runs.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML

KNOWN = {
    "build", "cap_drop", "depends_on", "environment", "healthcheck", "image", "networks", "ports", "read_only",
    "restart", "security_opt", "stop_grace_period", "tmpfs", "tty", "user", "volumes",
}  # fmt: skip


@dataclass
class Service:
    """One service. Its address stands for the container's own network."""

    name: str
    address: str
    names: list[str]
    settings: dict

    @property
    def healthcheck(self) -> list[str] | None:
        """The command of a health check that the file gives."""
        test = self.settings.get("healthcheck", {}).get("test")
        return test[1:] if test else None


def read(path: Path) -> list[Service]:
    """The services, each after those it depends on."""
    document = YAML(typ="safe").load(interpolated(path.read_text()))
    services = []
    for number, (name, settings) in enumerate(document["services"].items()):
        unknown = settings.keys() - KNOWN
        if unknown:
            raise SystemExit(f"{path.name}: this check does not know {unknown} of {name}")
        for port in settings["ports"]:
            assert port.startswith("127.0.0.1:"), f"{name}: port {port} is open to other machines"
        for key, wanted in confinement():
            assert settings.get(key) == wanted, f"{name}: {key} is not {wanted}"
        aliases = settings.get("networks", {}).get("default", {}).get("aliases", [])
        services.append(Service(name, f"127.0.1.{number + 1}", [name, *aliases], settings))
    return in_order(services)


def confinement():
    """What every service is held to."""
    return [("read_only", True), ("cap_drop", ["ALL"]), ("security_opt", ["no-new-privileges:true"])]


def interpolated(text: str) -> str:
    """Puts environment variables, or their defaults, in."""
    return re.sub(r"\$\{(\w+):-([^}]*)\}", lambda m: os.environ.get(m[1]) or m[2], text)


def in_order(services: list[Service]) -> list[Service]:
    """Services after what they wait for."""
    waiting, ordered = list(services), []
    while waiting:
        started = {service.name for service in ordered}
        free = [s for s in waiting if set(s.settings.get("depends_on", {})) <= started]
        assert free, "services wait for each other in a circle"
        ordered += free
        waiting = [s for s in waiting if s not in free]
    return ordered
