"""Runs the build: every step of every stage, into a layer a stage."""

import os
import re
import shutil
from pathlib import Path

from check_docker import dockerfile
from check_docker.root import Root, run

# What a program of ours may be linked with: debian:trixie-slim has these.
IN_BASE_IMAGE = {"linux-vdso.so.1", "libc.so.6", "libgcc_s.so.1", "libm.so.6"}


def layers(work: Path, stages: dict, name: str) -> list[Path]:
    """The layers of a stage, lowest first."""
    stage = stages[name]
    below = layers(work, stages, stage.base) if stage.base in stages else []
    return [*below, work / "layers" / name]


def build(work: Path, cache: Path) -> None:
    """Builds all images of the tree in `work`."""
    tree = work / "tree"
    stages = dockerfile.read(tree / "Dockerfile")
    context = work / "context"
    shutil.copytree(tree, context, symlinks=True)
    for path in dockerfile.ignored(context):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    roots: dict[str, Root] = {}
    for name, stage in stages.items():
        *below, layer = layers(work, stages, name)
        root = roots[name] = Root(work, below, layer)
        directory = stages[stage.base].workdir if stage.base in stages else "/"
        for word, rest in stage.steps:
            print(f"[{name}] {word} {rest}", flush=True)
            match word:
                case "WORKDIR":
                    directory = rest
                    root.inside(directory).mkdir(parents=True, exist_ok=True)
                case "COPY":
                    copy(context, roots, root, directory, rest)
                case "RUN":
                    execute(root, directory, cache, rest)
        if name != "build":
            report(root)


def copy(context: Path, roots: dict, root: Root, directory: str, arguments: str) -> None:
    """COPY: a source from the context or from another stage."""
    words = arguments.split()
    if words[0].startswith("--from="):
        other = roots[words.pop(0).removeprefix("--from=")]
        source = other.inside(words[0])
    else:
        source = context / words[0]
    target = root.inside(str(Path(directory, words[1])))
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
    else:
        if words[1].endswith("/"):
            target.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)


def execute(root: Root, directory: str, cache: Path, arguments: str) -> None:
    """RUN: a shell line, with its cache mounts."""
    mount = re.compile(r"--mount=type=cache,target=([^, ]+)\S*\s*")
    for target in mount.findall(arguments):
        kept = cache / target.strip("/").replace("/", "_")
        kept.mkdir(parents=True, exist_ok=True)
        root.bind(kept, target, read_only=False)
    line = mount.sub("", arguments)
    run("chroot", root.path, "/bin/sh", "-c", f"cd {directory} && {line}", env=os.environ)


def report(root: Root) -> None:
    """Says what an image adds to its base, and makes sure that the base has what its program is linked with."""
    for path in sorted(path for path in root.layer.rglob("*") if path.is_file()):
        print(f"  /{path.relative_to(root.layer)} {path.stat().st_size / 2**20:.1f} MiB")
        if "bin" in path.parts:
            linked = run("ldd", path, capture_output=True, text=True).stdout
            needed = {line.split()[0] for line in linked.splitlines() if not line.strip().startswith("/lib")}
            assert needed <= IN_BASE_IMAGE, f"not in the base image: {needed - IN_BASE_IMAGE}"
