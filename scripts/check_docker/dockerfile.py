"""Reads a Dockerfile and a .dockerignore.

Promises: what is not understood is refused by name, never skipped. Must not know: how steps are run.
"""

import fnmatch
import json
import re
import shlex
from dataclasses import dataclass, field, replace
from pathlib import Path

KNOWN = {"FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "LABEL", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT", "CMD"}


@dataclass
class Stage:
    """One stage: its steps, and the settings of the image that it ends as."""

    name: str
    base: str
    steps: list[tuple[str, str]] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    workdir: str = "/"
    user: str = "0:0"
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    healthcheck: list[str] = field(default_factory=list)


def read(path: Path) -> dict[str, Stage]:
    """The stages by name, in the order of the file."""
    stages: dict[str, Stage] = {}
    stage = None
    for word, rest in instructions(path.read_text()):
        if word not in KNOWN:
            raise SystemExit(f"{path.name}: this check does not know {word}")
        if word == "FROM":
            base, name = re.fullmatch(r"(\S+) AS (\S+)", rest).groups()
            # A stage takes over what its base is set to, and adds steps of its own.
            stage = replace(stages[base], env=dict(stages[base].env)) if base in stages else Stage(name, base)
            stage.name, stage.base, stage.steps = name, base, []
            stages[name] = stage
        else:
            set_or_keep(stage, word, rest)
    return stages


def instructions(text: str):
    """Pairs of instruction and arguments, lines joined and comments left out."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        if line.strip():
            word, rest = line.split(maxsplit=1)
            yield word.upper(), rest


def set_or_keep(stage: Stage, word: str, rest: str) -> None:
    match word:
        case "ENV":
            stage.env |= dict(pair.split("=", 1) for pair in shlex.split(rest))
        case "USER":
            stage.user = rest
        case "ENTRYPOINT":
            stage.entrypoint, stage.command = json.loads(rest), []
        case "CMD":
            stage.command = json.loads(rest)
        case "HEALTHCHECK":
            stage.healthcheck = json.loads(rest.split("CMD", 1)[1])
        case "WORKDIR":
            stage.workdir = rest
            stage.steps.append((word, rest))
        case "COPY" | "RUN":
            stage.steps.append((word, rest))


def ignored(tree: Path) -> list[Path]:
    """What .dockerignore keeps out of the build; of its language, patterns for names at the top."""
    patterns = []
    for line in (tree / ".dockerignore").read_text().splitlines():
        if line and not line.startswith("#"):
            if "/" in line or "**" in line:
                raise SystemExit(f".dockerignore: this check knows names at the top alone, not {line}")
            patterns.append((line.removeprefix("!"), not line.startswith("!")))
    out = []
    for entry in tree.iterdir():
        verdicts = [is_out for pattern, is_out in patterns if fnmatch.fnmatchcase(entry.name, pattern)]
        if verdicts and verdicts[-1]:
            out.append(entry)
    return out
