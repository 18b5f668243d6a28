"""Root file systems: layers over this machine's own, which plays the base image.

Promises: writes go to the layer alone. Must not know: Dockerfiles, services. Runs in a mount namespace of
its own, so nothing has to be taken down.
"""

import subprocess
from pathlib import Path


def run(*command, **options):
    """Runs a program that has to succeed."""
    return subprocess.run([str(part) for part in command], check=True, **options)


class Root:
    """A root file system: a layer over others, over this machine."""

    def __init__(self, work: Path, layers: list[Path], layer: Path):
        self.path = work / f"root-{layer.name}"
        self.layer = layer
        work_directory = work / f"overlay-{layer.name}"
        for directory in (self.path, layer, work_directory):
            directory.mkdir(parents=True, exist_ok=True)
        lower = ":".join(str(part) for part in [*reversed(layers), Path("/")])
        options = f"lowerdir={lower},upperdir={layer},workdir={work_directory}"
        run("mount", "-t", "overlay", "overlay", "-o", options, self.path)
        run("mount", "-t", "proc", "proc", self.inside("/proc"))
        run("mount", "--rbind", "/dev", self.inside("/dev"))
        run("mount", "-t", "tmpfs", "tmpfs", self.inside("/dev/shm"))

    def inside(self, path: str) -> Path:
        """Where a path of the root is for us, links followed as they would be inside."""
        found = self.path
        for part in Path(path).parts[1:]:
            found = found / part
            if found.is_symlink():
                target = found.readlink()
                found = self.inside(str(target)) if target.is_absolute() else found.parent / target
        return found

    def bind(self, source: Path, target: str, read_only: bool) -> None:
        """Shows a file or directory at a path of the root."""
        place = self.inside(target)
        if source.is_dir():
            place.mkdir(parents=True, exist_ok=True)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.touch()
        run("mount", "--bind", source, place)
        if read_only:
            run("mount", "-o", "remount,bind,ro", place)

    def tmpfs(self, target: str) -> None:
        """Mounts an empty directory that anyone may write to."""
        place = self.inside(target)
        place.mkdir(parents=True, exist_ok=True)
        run("mount", "-t", "tmpfs", "-o", "mode=1777,nosuid,nodev,noexec", "tmpfs", place)

    def freeze(self) -> None:
        """Makes all but what is mounted inside read-only."""
        run("mount", "-o", "remount,ro", self.path)
