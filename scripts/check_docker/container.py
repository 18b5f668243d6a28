"""One running service: its root, its privileges, its process.

Promises: runs what the files say with the environment that they give, and nothing of ours. Must not know: what
a service is for, except that the postgres image fills an empty volume.
"""

import os
import pwd
import subprocess
import time
from pathlib import Path

from check_docker.build import layers
from check_docker.compose import Service
from check_docker.dockerfile import Stage
from check_docker.root import Root

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
POSTGRES = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))


class Container:
    """A service that is being run."""

    def __init__(self, work: Path, service: Service, stages: dict[str, Stage], hosts: str):
        self.service, self.work = service, work
        target = service.settings.get("build", {}).get("target")
        image = stages[target] if target else None
        self.workdir = image.workdir if image else "/"
        self.healthcheck = service.healthcheck or image.healthcheck
        self.command = [*image.entrypoint, *image.command] if image else []
        self.env = {"PATH": PATH if image else f"{POSTGRES}:{PATH}", "HOME": "/"}
        self.env |= (image.env if image else {}) | service.settings.get("environment", {})
        self.uid, self.gid = ids(service.settings.get("user") or image.user)
        assert self.uid != 0, f"{service.name} would run as root"

        layer = work / f"layer-{service.name}"
        (layer / "etc").mkdir(parents=True)
        (layer / "etc/hosts").write_text(f"{service.address} localhost\n{hosts}")
        self.root = Root(work, layers(work, stages, target) if target else [], layer)
        for place in service.settings.get("tmpfs", []):
            self.root.tmpfs(place)
        for volume in service.settings.get("volumes", []):
            self.mount(*volume.split(":"))
        self.root.freeze()
        self.log = work / f"{service.name}.log"
        self.process: subprocess.Popen | None = None

    def mount(self, source: str, target: str, mode: str = "rw") -> None:
        """Mounts a path of the tree, or a named volume, which belongs to the user of its first container."""
        if source.startswith("./"):
            self.root.bind(self.work / "tree" / source, target, mode == "ro")
        else:
            volume = self.work / "volumes" / source
            volume.mkdir(parents=True)
            os.chown(volume, self.uid, self.gid)
            self.root.bind(volume, target, read_only=False)

    def confined(self, command: list[str]) -> list[str]:
        """A command inside the container: its root and user, no capability, none to be gained."""
        return [
            "chroot", str(self.root.path),
            "setpriv", f"--reuid={self.uid}", f"--regid={self.gid}", "--clear-groups",
            "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", "--",
            "sh", "-c", 'cd "$0" && exec "$@"', self.workdir, *command,
        ]  # fmt: skip

    def exec(self, command: list[str], **options) -> subprocess.CompletedProcess:
        """`docker compose exec`."""
        return subprocess.run(self.confined(command), env=self.env, capture_output=True, text=True, **options)

    def start(self) -> None:
        """`docker compose up` of this service."""
        if not self.command:
            self.command = self.fill_database()
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                self.confined(self.command), env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def fill_database(self) -> list[str]:
        """What the postgres image does with an empty volume; returns what it runs thereafter."""
        data = "/var/lib/postgresql/data"
        user, name = self.env["POSTGRES_USER"], self.env["POSTGRES_DB"]
        script = f"""
            set -eu
            printf %s "$POSTGRES_PASSWORD" > /tmp/password
            initdb --pgdata={data} --username={user} --pwfile=/tmp/password >/dev/null
            rm /tmp/password
            echo 'host all all all scram-sha-256' >> {data}/pg_hba.conf
            pg_ctl --pgdata={data} --wait --log=/tmp/initial.log --options="-c listen_addresses=''" start >/dev/null
            createdb --username={user} --maintenance-db=postgres {name}
            for file in /docker-entrypoint-initdb.d/*.sql; do
                psql --set=ON_ERROR_STOP=1 --no-password --no-psqlrc --quiet --output=/dev/null \
                    --username={user} --dbname={name} --file="$file"
            done
            pg_ctl --pgdata={data} --wait --mode=fast stop >/dev/null"""
        filled = self.exec(["sh", "-c", script])
        assert filled.returncode == 0, f"{self.service.name} was not filled: {filled.stderr}"
        # All containers share one network here, so each server keeps to its own address.
        return ["postgres", "-D", data, "-c", f"listen_addresses={self.service.address}"]

    def await_health(self, seconds: float = 60) -> None:
        """Waits until the health check says 0."""
        until = time.monotonic() + seconds
        while (check := self.exec(self.healthcheck)).returncode != 0:
            gone = self.process.poll() is not None
            if gone or time.monotonic() > until:
                raise SystemExit(
                    f"{self.service.name} is not healthy: {check.stdout}{check.stderr}\n{self.log.read_text()}"
                )
            time.sleep(0.2)

    def status(self) -> dict[str, str]:
        """What the kernel says about the process."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return dict(line.split(":\t", 1) for line in lines)

    def stop(self) -> int:
        """SIGTERM, then as long as the file grants; returns the exit code."""
        self.process.terminate()
        grace = self.service.settings.get("stop_grace_period", "10s")
        return self.process.wait(timeout=float(grace.removesuffix("s")))


def ids(user: str) -> tuple[int, int]:
    """Numbers of a user by name or by number."""
    if ":" in user:
        uid, gid = user.split(":")
        return int(uid), int(gid)
    entry = pwd.getpwnam(user)
    return entry.pw_uid, entry.pw_gid
