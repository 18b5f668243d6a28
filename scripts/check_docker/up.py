"""Brings the services up, and asserts the story: healthy, registered, and an edit in the CMS reaches the library."""

import csv
import json
import time
import urllib.request
from pathlib import Path

from check_docker import compose, dockerfile
from check_docker.container import Container
from check_docker.root import run

LIBRARY = "http://127.0.0.1:9099"
# What the services should take is about ten seconds; a loaded machine gets more.
PATIENCE = 60


def up(work: Path) -> None:
    """`docker compose up`, and down."""
    run("ip", "link", "set", "lo", "up")
    stages = dockerfile.read(work / "tree/Dockerfile")
    services = compose.read(work / "tree/docker-compose.yaml")
    hosts = "".join(f"{service.address} {' '.join(service.names)}\n" for service in services)
    containers = {}
    for service in services:
        container = containers[service.name] = Container(work, service, stages, hosts)
        for name, wish in service.settings.get("depends_on", {}).items():
            assert wish["condition"] == "service_healthy"
            containers[name].await_health()
        container.start()
        say(f"started {service.name}: {' '.join(container.command)}")
    for name, container in containers.items():
        container.await_health()
        confined(container)
        say(f"{name} is healthy, as user {container.uid} without capabilities")
    try:
        registered()
        followed(work / "tree/database_config/fragrances.csv")
    except AssertionError as failure:
        raise SystemExit(f"{failure}\n" + "\n".join(c.log.read_text() for c in containers.values())) from None
    for name in reversed(containers):
        code = containers[name].stop()
        assert code == 0, f"{name} ended with {code}:\n{containers[name].log.read_text()}"
        say(f"stopped {name} in order")


def confined(container: Container) -> None:
    """The process has what it was given, and cannot get more."""
    status = container.status()
    assert status["Uid"].split() == [str(container.uid)] * 4, status["Uid"]
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0, status["CapBnd"]
    assert status["NoNewPrivs"] == "1"
    written = container.exec(["touch", "/etc/written"])
    assert "Read-only file system" in written.stderr, "the root file system can be written to"


def registered() -> None:
    """The CMS knows where to call."""

    def look():
        pipeline = answer("/api/v1/pipelines/fragrances")
        return (pipeline["registration"] or {}).get("registered_since")

    say(f"registered with the CMS since {eventually('registered with the CMS', look)}")


def followed(seed: Path) -> None:
    """What the library answers is no longer what it started from."""
    with seed.open(newline="") as lines:
        before = {int(row["fragrance_id"]): row["description"] for row in csv.DictReader(lines)}

    def look():
        now = answer("/fragrances")["data"]
        assert len(now) == len(before), f"{len(now)} rows instead of {len(before)}"
        changed = [row for row in now if row["description"] != before[row["fragrance_id"]]]
        return changed and changed[0]

    row = eventually("an edit in the library", look)
    edited = answer(f"/fragrance/{row['fragrance_id']}")
    say(f"the library followed an edit: {json.dumps(edited)}")


def answer(path: str) -> dict:
    """What Accord answers."""
    with urllib.request.urlopen(LIBRARY + path, timeout=5) as response:
        return json.load(response)


def eventually(what: str, look):
    """Looks until there is something to see."""
    until = time.monotonic() + PATIENCE
    while not (seen := look()):
        assert time.monotonic() < until, f"waited {PATIENCE} s in vain: {what}"
        time.sleep(0.5)
    return seen


def say(line: str) -> None:
    print(line, flush=True)
