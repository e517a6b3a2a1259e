"""The files of a deployment: units that systemd accepts, a manifest of known fields, a script that can run."""

from __future__ import annotations

import ast
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest

yaml = pytest.importorskip("yaml")
DEPLOY = Path(__file__).resolve().parents[2] / "docs/deploy"


class Strict(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """Part of a manifest: a field that Kubernetes would not know is an error here too."""


class Metadata(Strict):
    name: str | None = None
    labels: dict[str, str] = {}


class Port(Strict):
    port: int
    target_port: int
    name: str


class ServiceSpec(Strict):
    selector: dict[str, str]
    ports: list[Port]


class ContainerPort(Strict):
    container_port: int


class Mount(Strict):
    name: str
    mount_path: str
    read_only: bool = False


class Resources(Strict):
    requests: dict[Literal["cpu", "memory"], str]
    limits: dict[Literal["cpu", "memory"], str]


class Container(Strict):
    name: str
    image: str
    command: list[str]
    resources: Resources
    volume_mounts: list[Mount]
    ports: list[ContainerPort] = []


class Secret(Strict):
    secret_name: str


class Named(Strict):
    name: str


class Claim(Strict):
    claim_name: str
    read_only: bool = False


class Volume(Strict):
    name: str
    secret: Secret | None = None
    config_map: Named | None = None
    persistent_volume_claim: Claim | None = None


class SecurityContext(Strict):
    run_as_non_root: Literal[True]
    run_as_user: int


class PodSpec(Strict):
    containers: list[Container]
    volumes: list[Volume]
    security_context: SecurityContext
    automount_service_account_token: Literal[False]
    restart_policy: Literal["OnFailure", "Always"] = "Always"


class Template(Strict):
    metadata: Metadata
    spec: PodSpec


class Selector(Strict):
    match_labels: dict[str, str]


class DeploymentSpec(Strict):
    replicas: int
    selector: Selector
    template: Template


class JobSpec(Strict):
    backoff_limit: int
    template: Template


class Service(Strict, tag="Service", tag_field="kind"):
    api_version: Literal["v1"]
    metadata: Metadata
    spec: ServiceSpec


class Deployment(Strict, tag="Deployment", tag_field="kind"):
    api_version: Literal["apps/v1"]
    metadata: Metadata
    spec: DeploymentSpec


class Job(Strict, tag="Job", tag_field="kind"):
    api_version: Literal["batch/v1"]
    metadata: Metadata
    spec: JobSpec


def manifest() -> list[Service | Deployment | Job]:
    parts = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))
    return [msgspec.convert(part, Service | Deployment | Job) for part in parts]  # type: ignore[call-overload]


def test_the_manifest_has_known_fields_and_its_names_fit() -> None:
    service, scheduler, worker, job = manifest()
    assert isinstance(service, Service)
    assert isinstance(job, Job)
    pods = [job.spec.template.spec]
    for one in (scheduler, worker):
        assert isinstance(one, Deployment)
        assert one.spec.selector.match_labels == one.spec.template.metadata.labels
        pods.append(one.spec.template.spec)
    assert isinstance(scheduler, Deployment)
    assert service.spec.selector == scheduler.spec.template.metadata.labels
    for pod in pods:
        volumes = {volume.name for volume in pod.volumes}
        for container in pod.containers:
            assert {mount.name for mount in container.volume_mounts} == volumes
            archive = [mount for mount in container.volume_mounts if mount.name == "archive"]
            assert all(mount.read_only for mount in archive), "nobody writes to the archive"
    text = (DEPLOY / "kubernetes.yaml").read_text()
    assert text.count(f"tls://{service.metadata.name}:{service.spec.ports[0].port}") == 2


def options_of(command: list[str]) -> set[str]:
    return {word for word in command if word.startswith("--")}


def commands() -> list[list[str]]:
    """Return every command of Dask that the files hold, from ``dask`` on."""
    found = []
    for name in ("screener-scheduler.service", "screener-worker.service"):
        text = (DEPLOY / name).read_text().replace("\\\n", " ")
        found.append(shlex.split(re.search(r"^ExecStart=(.*)$", text, re.MULTILINE)[1]))  # type: ignore[index]
    pods = [one.spec.template.spec for one in manifest() if isinstance(one, Deployment)]
    return found + [pod.containers[0].command for pod in pods]


def test_dask_knows_every_option() -> None:
    pytest.importorskip("distributed")
    from distributed.cli import dask_scheduler, dask_worker

    known: dict[str, Any] = {"scheduler": dask_scheduler.main, "worker": dask_worker.main}
    for command in commands():
        assert Path(command[0]).name == "dask"
        parameters = known[command[1]].params
        assert options_of(command) <= {name for one in parameters for name in (*one.opts, *one.secondary_opts)}


def test_the_scan_of_the_job_has_options_that_exist() -> None:
    import typer.main

    from screener.cli.main import app

    (job,) = [one for one in manifest() if isinstance(one, Job)]
    (line,) = [
        line for line in job.spec.template.spec.containers[0].command[-1].splitlines() if "screener scan" in line
    ]
    params = typer.main.get_command(app).commands["scan"].params  # type: ignore[attr-defined]
    assert options_of(line.split()) <= {name for one in params for name in one.opts}


def test_dask_knows_every_key_of_its_configuration() -> None:
    pytest.importorskip("distributed")
    import dask
    import distributed  # noqa: F401 - brings its defaults

    def known(keys: dict[str, Any], path: str) -> None:
        for key, value in keys.items():
            where = f"{path}.{key}" if path else key
            dask.config.get(where)
            if isinstance(value, dict):
                known(value, where)

    known(yaml.safe_load((DEPLOY / "dask.yaml").read_text()), "")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze on this machine")
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    for unit in DEPLOY.glob("*.service"):
        (tmp_path / unit.name).write_text(unit.read_text().replace("/opt/screener/bin/dask", "/bin/true"))
        (tmp_path / unit.name).chmod(0o644)
    done = subprocess.run(
        ["systemd-analyze", "verify", *map(str, tmp_path.iterdir())], capture_output=True, text=True, check=False
    )
    assert [line for line in done.stderr.splitlines() if "screener" in line] == []


def test_the_script_for_slurm_shows_its_options() -> None:
    script = DEPLOY / "slurm.py"
    ast.parse(script.read_text())
    done = subprocess.run([sys.executable, script, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "--workers" in done.stdout
