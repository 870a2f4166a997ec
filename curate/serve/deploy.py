"""A folder from which `curate serve` runs a model: in a container, or as a service of systemd.

    DIR/model/                the Hugging Face folder, with its export.json
    DIR/requirements.txt      what is installed here of all that serving needs, by exact versions; torch with its own index
                              where it is a build of that one (2.13.0+cpu), others without the name of their build
    DIR/Dockerfile            installs these from DIR/wheels; nothing is fetched while it builds, nor while it runs
    DIR/compose.yaml          read-only root, no capabilities, a limit of memory
    DIR/curate-serve.service  the same as a unit

Before the folder takes its name the model in it is opened as `curate serve` opens it: what is not served is not deployed.
The container's user is no root, and the key comes from CURATE_SERVE_KEY. Images are not built in the tests, for that takes
a daemon; the unit is held against `systemd-analyze verify`.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from curate.errors import CurateError
from curate.files import write_durably
from curate.train.export.export import export_run, new_folder
from curate.train.export.formats import refuse_present

__all__ = ["deploy_run"]

_ROOTS = ("curate-lm[train]", "starlette", "uvicorn")
"""What serving needs; of a model that transformers computes, that too."""
_TORCH = "https://download.pytorch.org/whl/"
_BUILDS = r"cpu|cu\d+|rocm[\d.]+|xpu"
"""Builds of torch that its index has, each under its name."""
_GIBIBYTE = 2**30

_DOCKERFILE = """\
# Before: put the packages of requirements.txt into wheels/, with those of curate-lm itself:
#   pip wheel --wheel-dir wheels --requirement requirements.txt
# To pin the image by its content as well: --build-arg BASE=python@sha256:...
ARG BASE=python:{python}-slim-bookworm
FROM ${{BASE}}
RUN --mount=type=bind,source=wheels,target=/wheels \\
    --mount=type=bind,source=requirements.txt,target=/requirements.txt \\
    pip install --no-cache-dir --no-index --find-links /wheels --requirement /requirements.txt
COPY --chown=0:0 --chmod=555 model /model
ENV HF_HUB_OFFLINE=1 PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp NUMBA_CACHE_DIR=/tmp
USER 10001:10001
WORKDIR /tmp
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \\
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
ENTRYPOINT ["curate", "serve", "/model", "--host", "0.0.0.0", "--port", "8000"]
"""

_COMPOSE = """\
services:
  model:
    build: .
    image: curate-serve-{name}
    init: true
    read_only: true
    tmpfs: [/tmp]
    user: "10001:10001"
    cap_drop: [ALL]
    security_opt: ["no-new-privileges:true"]
    mem_limit: {memory}g
    pids_limit: 256
    restart: on-failure
    ports: ["127.0.0.1:8000:8000"]
    environment:
      CURATE_SERVE_KEY: "${{CURATE_SERVE_KEY:?requests have to know it}}"
"""

_UNIT = """\
# Expects this folder at /opt/curate, and curate in /opt/curate/venv:
#   python -m venv /opt/curate/venv && /opt/curate/venv/bin/pip install --requirement /opt/curate/requirements.txt
# /etc/curate-serve.env holds CURATE_SERVE_KEY=..., readable for root alone; beyond this machine (--host) it must be there.
[Unit]
Description=curate serve: {name}
After=network.target

[Service]
ExecStart=/opt/curate/venv/bin/curate serve /opt/curate/model --host 127.0.0.1 --port 8000
EnvironmentFile=-/etc/curate-serve.env
Environment=HF_HUB_OFFLINE=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp NUMBA_CACHE_DIR=/tmp
WorkingDirectory=/tmp
Restart=on-failure
RestartSec=2
TimeoutStopSec=60
MemoryMax={memory}G
TasksMax=256
DynamicUser=yes
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
ProtectProc=invisible
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
CapabilityBoundingSet=
SystemCallArchitectures=native
SystemCallFilter=@system-service
UMask=0077

[Install]
WantedBy=multi-user.target
"""


def deploy_run(path: Path, out: Path, *, half: bool = False) -> dict[str, Any]:
    """Write a run's model, and what runs `curate serve` on it, in a new folder.

    Args:
        path: A run's folder, or one of its checkpoints.
        out: The folder to make.
        half: Write bfloat16, not float32.

    Returns:
        As `export_run`; `folder` is that of the model.

    Raises:
        CurateError: As `export_run`; the model is none that `curate serve` serves; or a package that serving needs is not
            installed here.
    """
    refuse_present(out)
    _requirements(_ROOTS)
    with new_folder(out) as folder:
        written = export_run(path, folder / "model", half=half)
        needed = [*_ROOTS, *_served_with(folder / "model", path)]
        # the program, and the weights as float32 with what is computed beside them
        memory = 2 + -(-3 * 4 * written["parameters"] // _GIBIBYTE)
        name = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in path.name.lower()).strip(
            "-"
        )
        facts = {"python": platform.python_version(), "name": name or "model", "memory": memory}
        for file, text in (
            ("Dockerfile", _DOCKERFILE),
            ("compose.yaml", _COMPOSE),
            ("curate-serve.service", _UNIT),
        ):
            write_durably(folder / file, text.format(**facts).encode())
        write_durably(folder / "requirements.txt", "".join(f"{line}\n" for line in _requirements(needed)).encode())
        write_durably(folder / ".dockerignore", b"*\n!model\n!wheels\n!requirements.txt\n")
        refuse_present(out)
    return {**written, "folder": str(out / "model"), "deployment": str(out)}


def _served_with(model: Path, run: Path) -> list[str]:
    """Packages that this model needs besides.

    Raises:
        CurateError: It is not served.
    """
    from curate.serve.server import open_served

    try:
        opened, _ = open_served(str(model))
    except CurateError as error:
        raise CurateError(
            f"`curate serve` does not serve this model: {error.problem.replace(str(model), str(run))}", str(run),
            error.hint and error.hint.replace(str(model), str(run)),
        ) from None  # fmt: skip
    return ["transformers"] if opened.backend == "transformers" else []


def _requirements(roots: Sequence[str]) -> list[str]:
    """Lines for pip: exact versions of all that these need, as installed here.

    A build's name (1.2+name) is left out, for no public index has it and any build will do; torch is of its own index.

    Raises:
        CurateError: One is not installed.
    """
    lines = list[str]()
    for name, pinned in sorted(_installed(roots).items()):
        public, _, build = pinned.partition("+")
        if name == "torch" and re.fullmatch(_BUILDS, build):
            lines = [f"--extra-index-url {_TORCH}{build}", *lines, f"{name}=={pinned}"]
        else:
            lines.append(f"{name}=={public}" + (f"  # here {pinned}" if build else ""))
    return lines


def _installed(roots: Sequence[str]) -> dict[str, str]:
    """The versions here of some packages and of all that they need.

    Raises:
        CurateError: One is not installed.
    """
    found: dict[str, str] = {}
    waiting, seen = [Requirement(root) for root in roots], set[tuple[str, str]]()
    while waiting:
        wanted = waiting.pop()
        try:
            found[canonicalize_name(wanted.name)] = version(wanted.name)
        except PackageNotFoundError:
            raise CurateError(
                f"serving needs {wanted.name}, which is not installed here, so its version cannot be pinned",
                hint="pip install 'curate-lm[serve]'",
            ) from None
        for extra in ("", *sorted(wanted.extras)):
            if (wanted.name, extra) in seen:
                continue
            seen.add((wanted.name, extra))
            needed = map(Requirement, requires(wanted.name) or ())
            waiting += [one for one in needed if one.marker is None or one.marker.evaluate({"extra": extra})]
    return found
