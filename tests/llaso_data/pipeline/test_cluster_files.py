"""The files of pipelines/cluster: what can be said of them without a cluster.

KubeRay's schemas are not ours to keep: where ``LLASO_KUBERAY_CRDS`` names a folder with them (``helm-chart/
kuberay-operator/crds`` of its repository), the manifest is held against them, unknown fields included.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from llaso_data import cli
from tests.support.paths import REPOSITORY

FOLDER = REPOSITORY / "pipelines" / "cluster"
PINNED = dict(re.findall(r"^(\S+?)==(\S+)", (REPOSITORY / "constraints.txt").read_text(), re.MULTILINE))
COMMAND = re.compile(r"llaso-data ((?:build-align|shard) .*)")


def documents(path: Path) -> list[dict[str, Any]]:
    return list(YAML(typ="safe").load_all(path))


def kubernetes() -> dict[str, Any]:
    """The manifest's objects by kind."""
    return {found["kind"]: found for found in documents(FOLDER / "kuberay.yaml")}


def launched(name: str) -> dict[str, Any]:
    (config,) = documents(FOLDER / name)
    return config


def dockerfile() -> str:
    return (FOLDER / "Dockerfile").read_text()


def parsed(command: str) -> dict[str, Any]:
    """What our command line makes of a command; fails as the command would."""
    name, *arguments = shlex.split(command)
    made = cli.main.commands[name].make_context(name, arguments)
    return made.params


def pods() -> dict[str, Any]:
    ray = kubernetes()["RayJob"]["spec"]["rayClusterSpec"]
    groups = {"head": ray["headGroupSpec"], **{group["groupName"]: group for group in ray["workerGroupSpecs"]}}
    return {name: group["template"]["spec"] for name, group in groups.items()}


def test_all_nodes_have_the_ray_that_is_tested_and_one_image() -> None:
    image = re.search(r"^FROM rayproject/ray:([\d.]+)-py(\d)(\d+)-cu12\d$", dockerfile(), re.M)
    assert image and image[1] == PINNED["ray"] and image[2] == "3" and int(image[3]) >= 10
    assert kubernetes()["RayJob"]["spec"]["rayClusterSpec"]["rayVersion"] == PINNED["ray"]
    images = {container["image"] for pod in pods().values() for container in pod["containers"]}
    images.add(launched("ray-up-aws.yaml")["docker"]["image"])
    assert len(images) == 1


def test_the_image_gets_all_that_the_package_is_made_of() -> None:
    copied = set(re.findall(r"[\w.]+", " ".join(re.findall(r"^COPY --chown=\S+ (.*)", dockerfile(), re.MULTILINE))))
    packages = {folder.name for folder in REPOSITORY.glob("llaso*/") if (folder / "__init__.py").exists()}
    assert packages | {"pyproject.toml", "constraints.txt", "README.md", "LICENSE", "NOTICE"} <= copied
    assert all((REPOSITORY / name).exists() for name in copied - {"."})


def test_the_kubernetes_job_asks_for_what_its_cluster_grows_to() -> None:
    spec = kubernetes()["RayJob"]["spec"]
    (group,) = spec["rayClusterSpec"]["workerGroupSpecs"]
    options = parsed(spec["entrypoint"].removeprefix("llaso-data "))
    (container,) = pods()["gpu"]["containers"]
    resources = container["resources"]
    assert resources["requests"] == resources["limits"]
    assert float(resources["limits"]["nvidia.com/gpu"]) == options["num_gpus"]
    assert options["num_workers"] == group["maxReplicas"] and options["device"] == "cuda"
    assert spec["rayClusterSpec"]["enableInTreeAutoscaling"]
    assert spec["rayClusterSpec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert all(uri.startswith("s3://") for uri in (*options["sources"], options["out"]))


def test_every_pod_finds_the_keys_and_the_weights() -> None:
    claim = kubernetes()["PersistentVolumeClaim"]["metadata"]["name"]
    for pod in pods().values():
        (volume,), (container,) = pod["volumes"], pod["containers"]
        assert volume["persistentVolumeClaim"]["claimName"] == claim
        (mount,) = container["volumeMounts"]
        variables = {variable["name"]: variable["value"] for variable in container["env"]}
        assert mount["name"] == volume["name"]
        assert all(variables[name].startswith(mount["mountPath"] + "/") for name in ("HF_HOME", "LLASO_CACHE"))
        assert container["envFrom"] == [{"secretRef": {"name": "llaso-s3"}}]


def strict(schema: Any) -> Any:
    """A schema of Kubernetes as JSON Schema that refuses what it does not name."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: strict(value) for key, value in schema.items()}
    if made.get("x-kubernetes-int-or-string") is True:
        made.pop("type", None)
    if "properties" in made and not made.get("x-kubernetes-preserve-unknown-fields"):
        made.setdefault("additionalProperties", False)
    return made


@pytest.mark.skipif(not os.environ.get("LLASO_KUBERAY_CRDS"), reason="LLASO_KUBERAY_CRDS names no folder of schemas")
def test_the_manifest_is_what_kuberay_describes() -> None:
    (described,) = documents(Path(os.environ["LLASO_KUBERAY_CRDS"], "ray.io_rayjobs.yaml"))
    job = kubernetes()["RayJob"]
    (schema,) = (v["schema"]["openAPIV3Schema"] for v in described["spec"]["versions"] if v["name"] == "v1")
    schema["properties"].pop("metadata")  # of every Kubernetes object, so not described here
    job.pop("metadata")
    validator = jsonschema.Draft7Validator(strict(schema))
    assert list(validator.iter_errors(job)) == []
    broken = json.loads(json.dumps(job))
    broken["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["imag"] = "x"
    assert len(list(validator.iter_errors(broken))) == 1


@pytest.mark.parametrize("name", ["ray-up-aws.yaml", "ray-up-local.yaml"])
def test_ray_up_takes_the_file(name: str) -> None:
    """Ray's own completion and check, with what its launcher would do before it starts a machine."""
    util = importlib.import_module("ray.autoscaler._private.util")
    config = util.prepare_config(launched(name))
    util.validate_config(config)
    assert config["head_node_type"] in config["available_node_types"]
    assert sum(node["max_workers"] for node in config["available_node_types"].values()) == config["max_workers"]
    started = [*config["head_start_ray_commands"], *config["worker_start_ray_commands"]]
    assert sum("ray start --head" in command for command in started) == 1


@pytest.mark.parametrize("name", ["ray-up-aws.yaml", "ray-up-local.yaml"])
def test_ray_up_starts_every_node_with_the_token_of_a_file(name: str) -> None:
    config = launched(name)
    (there,) = (there for there, here in config["file_mounts"].items() if here == "~/.ray/auth_token")
    assert there.endswith("/.ray/auth_token")  # where Ray looks for it
    in_containers = "--env RAY_AUTH_MODE=token" in config.get("docker", {}).get("run_options", [])
    started = [*config.get("head_start_ray_commands", []), *config.get("worker_start_ray_commands", [])]
    starts = [command for command in started if "ray start" in command]
    assert in_containers or (len(starts) == 2 and all("RAY_AUTH_MODE=token" in command for command in starts))
    assert "(umask 077; ray get-auth-token --generate >/dev/null)" in (FOLDER / name).read_text()


def test_kubernetes_gives_the_job_a_token() -> None:
    """KubeRay knows it from 1.5.1 on, for Ray from 2.52 on."""
    ray = kubernetes()["RayJob"]["spec"]["rayClusterSpec"]
    assert ray["authOptions"] == {"mode": "token"}
    assert tuple(map(int, ray["rayVersion"].split("."))) >= (2, 52)
    assert not [
        variable for pod in pods().values() for variable in pod["containers"][0]["env"] if "AUTH" in str(variable)
    ]


def test_ray_up_refuses_what_it_does_not_know() -> None:
    util = importlib.import_module("ray.autoscaler._private.util")
    config = launched("ray-up-aws.yaml")
    with pytest.raises(jsonschema.ValidationError, match="max_worker"):
        util.validate_config(util.prepare_config({**config, "max_worker": 4}))


def test_the_slurm_script_is_bash_and_hears_its_signals() -> None:
    script = FOLDER / "slurm.sh"
    bash = shutil.which("bash")
    assert bash and subprocess.run([bash, "-n", str(script)]).returncode == 0
    options = dict(re.findall(r"^#SBATCH --([\w-]+)(?:=(.*))?$", script.read_text(), re.MULTILINE))
    assert options["signal"].startswith("B:USR1@") and "requeue" in options and options["open-mode"] == "append"
    assert re.search(r"^trap .* USR1\b", script.read_text(), re.MULTILINE)
    if shellcheck := shutil.which("shellcheck"):
        assert subprocess.run([shellcheck, str(script)]).returncode == 0
    assert os.access(script, os.X_OK)


STUBS = {  # of Slurm's commands, and of what looks at the token from inside
    "srun": 'while [[ $1 == --* ]]; do shift; done; exec "$@"',
    "scontrol": "echo node1",
    "ray": 'echo "$0 $*" >>"$SEEN"; env | grep ^RAY_ >>"$SEEN"; exec sleep 30',
    "python": 'case "$*" in *secrets*) exec "$PYTHON" "$@" ;; *node_ip*) echo 10.0.0.7 ;; esac',
    "llaso-data": 'until [ -s "$SEEN" ]; do sleep 0.05; done; stat -c %a "$RAY_AUTH_TOKEN_PATH" "$PRIVATE"; '
    'cat "$RAY_AUTH_TOKEN_PATH"',
}


@pytest.mark.parametrize("nodes, head", [(1, "127.0.0.1"), (2, "10.0.0.7")])
def test_the_slurm_script_keeps_its_token_in_a_file_of_the_user(tmp_path: Path, nodes: int, head: str) -> None:
    for name, lines in STUBS.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{lines}\n")
        (tmp_path / name).chmod(0o755)
    job = str(os.getpid())
    private = Path("/tmp", f"llaso-{job}")
    told = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHON": sys.executable, "SEEN": str(tmp_path / "seen"),
        "PRIVATE": str(private), "SLURM_JOB_ID": job, "SLURM_JOB_NUM_NODES": str(nodes), "SLURM_CPUS_ON_NODE": "1",
        "SLURM_JOB_NODELIST": "node", "RAY_AUTH_TOKEN": "of another cluster",
    }  # fmt: skip
    bash = ["bash", str(FOLDER / "slurm.sh"), "/data", "--out", "/out"]
    done = subprocess.run(bash, env=told, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    *modes, token = done.stdout.split()
    assert modes == ["600", "700"] and re.fullmatch("[0-9a-f]{64}", token)
    seen = (tmp_path / "seen").read_text()
    assert "--head" in seen and f"--node-ip-address={head} " in seen and f"--temp-dir={private}/ray" in seen
    assert "RAY_AUTH_MODE=token\n" in seen and f"RAY_AUTH_TOKEN_PATH={tmp_path}/.ray-token-{job}\n" in seen
    assert token not in seen and "RAY_AUTH_TOKEN=" not in seen
    assert not private.exists() and not list(tmp_path.glob(".ray-token*"))


@pytest.mark.parametrize(
    "path", [*sorted(FOLDER.iterdir()), REPOSITORY / "docs" / "cluster.md"], ids=lambda path: str(path.name)
)
def test_every_command_that_is_shown_is_one(path: Path) -> None:
    """Commands over several lines are joined: comments go on with an indented line, shell with a backslash."""
    text = re.sub(r"^# ?", "", path.read_text(), flags=re.MULTILINE)
    text = re.sub(r"\s*\\?\n {2,}(?=\S)", " ", text) if path.suffix != ".sh" else text
    found = [match[1] for match in COMMAND.finditer(text)]
    for command in found:
        shown = re.split(r"['`]|&&|  #", command.replace("...", "").rstrip(" '`&"))[0]
        if '"$@"' not in shown:
            parsed(shown)
