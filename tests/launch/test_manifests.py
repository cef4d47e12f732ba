"""The Kubernetes manifests agree with themselves, with each other, and with what they start."""

from __future__ import annotations

import importlib
import re
from typing import Any

import pytest
import yaml

from aad_tf.distribute import find_cluster
from binaries.command_line import LOST_WORKER, MISTAKE
from tests.launch.running import ROOT

LAUNCH = ROOT / "train" / "launch"


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((LAUNCH / name).read_text(encoding="utf-8")))


SERVICE, JOB = documents("kubernetes_job.yaml")
(TFJOB,) = documents("kubeflow_tfjob.yaml")
(CLAIM,) = documents("kubernetes_volume.yaml")
WORKERS = TFJOB["spec"]["tfReplicaSpecs"]["Worker"]
PODS = [JOB["spec"]["template"]["spec"], WORKERS["template"]["spec"]]
CONTAINERS = [container for pod in PODS for container in pod["containers"]]
both = pytest.mark.parametrize("container", CONTAINERS, ids=["job", "tfjob"])


def flags_of(container: dict[str, Any]) -> dict[str, str]:
    pairs = [argument.removeprefix("--").partition("=") for argument in container["args"]]
    return {name: value for name, _, value in pairs}


def test_a_pod_of_the_job_finds_its_cluster():
    name, count = JOB["metadata"]["name"], JOB["spec"]["completions"]
    assert JOB["spec"]["completionMode"] == "Indexed"
    assert JOB["spec"]["parallelism"] == count
    (container,) = PODS[0]["containers"]
    environment = {entry["name"]: entry["value"] for entry in container["env"]}
    for index in range(count):
        cluster = find_cluster({**environment, "JOB_COMPLETION_INDEX": str(index)})
        assert (cluster.size, cluster.index) == (count, index)
        # Kubernetes calls the pods of an indexed Job so, within the Service's domain.
        hosts = [f"{name}-{worker}.{SERVICE['metadata']['name']}" for worker in range(count)]
        assert list(cluster.addresses) == [f"{host}:2222" for host in hosts]


def test_the_service_leads_to_the_pods():
    assert SERVICE["spec"]["clusterIP"] == "None"
    assert SERVICE["spec"]["selector"] == {"job-name": JOB["metadata"]["name"]}
    assert PODS[0]["subdomain"] == SERVICE["metadata"]["name"]
    (container,) = PODS[0]["containers"]
    published = {port["name"]: port["port"] for port in SERVICE["spec"]["ports"]}
    assert published == {port["name"]: port["containerPort"] for port in container["ports"]}


@both
def test_the_one_port_is_that_of_the_address(container):
    (port,) = (port["containerPort"] for port in container["ports"])
    assert port == 2222


@pytest.mark.parametrize("name", ["slurm.sh", "Dockerfile"])
def test_workers_keep_freed_memory(name):
    text = (LAUNCH / name).read_text(encoding="utf-8")
    assert {"MALLOC_MMAP_MAX_=0", "MALLOC_TRIM_THRESHOLD_=2147483647"} <= set(text.split())


@both
def test_flags_are_those_of_the_program(container):
    assert container["command"] == ["python", "-m", "train.main"]
    source = (ROOT / "train" / "main.py").read_text()
    known = set(re.findall(r"DEFINE_\w+\(\s*\"(\w+)\"", source))
    flags = flags_of(container)
    assert set(flags) <= known
    assert flags["strategy"] == "multi_worker"
    path, preset = re.fullmatch(r"(\S+)\.py:(\w+)", flags["config"]).groups()
    assert preset in importlib.import_module(path.replace("/", ".")).PRESETS
    (mount,) = container["volumeMounts"]
    for name in ("model_dir", "data_dir"):
        assert flags[name].startswith(mount["mountPath"] + "/")
    # Longer than Kubernetes may take before it starts a failed worker again.
    assert float(flags["join_timeout"]) > 6 * 60


@pytest.mark.parametrize("name", ["slurm.sh", "kubernetes_job.yaml", "kubeflow_tfjob.yaml"])
def test_all_train_the_same_by_default_and_say_what_must_be_there(name):
    text = (LAUNCH / name).read_text(encoding="utf-8")
    config, preset = re.search(r"train/configs/(\w+)\.py:(\w+)", text).groups()
    assert (config, preset) == ("imagenet2012", "aad_step_ll")
    assert set(re.findall(r"runs/(\w+)", text)) == {f"{config}_{preset}"}
    assert "tfds build imagenet2012" in text
    (option,) = re.findall(r"--config\.model_options\.(\w+)=", text)
    presets = importlib.import_module(f"train.configs.{config}").PRESETS
    assert presets[preset].model_options[option] == "imagenet"


@pytest.mark.parametrize("pod", PODS, ids=["job", "tfjob"])
def test_workers_share_the_claim_and_have_time_to_save(pod):
    (container,) = pod["containers"]
    (volume,) = pod["volumes"]
    assert container["volumeMounts"][0]["name"] == volume["name"]
    assert volume["persistentVolumeClaim"]["claimName"] == CLAIM["metadata"]["name"]
    assert CLAIM["spec"]["accessModes"] == ["ReadWriteMany"]
    assert pod["terminationGracePeriodSeconds"] >= 60


def test_exit_codes_decide_about_restarts():
    rules = JOB["spec"]["podFailurePolicy"]["rules"]
    by_code = {
        code: rule["action"]
        for rule in rules
        if "onExitCodes" in rule
        for code in rule["onExitCodes"]["values"]
    }
    assert by_code == {MISTAKE: "FailJob", LOST_WORKER: "Ignore", 143: "Ignore"}
    (container,) = PODS[0]["containers"]
    named = {rule["onExitCodes"]["containerName"] for rule in rules if "onExitCodes" in rule}
    assert named == {container["name"]}
    # What Kubernetes demands beside a pod failure policy.
    assert PODS[0]["restartPolicy"] == "Never"


def test_the_operator_finds_its_container_and_port():
    assert (TFJOB["apiVersion"], TFJOB["kind"]) == ("kubeflow.org/v1", "TFJob")
    (container,) = PODS[1]["containers"]
    assert container["name"] == "tensorflow"
    assert container["ports"][0]["name"] == "tfjob-port"
    assert WORKERS["restartPolicy"] == "OnFailure"
    assert TFJOB["spec"]["runPolicy"]["backoffLimit"] == 20 * WORKERS["replicas"]


def test_the_image_is_the_one_that_the_dockerfile_tells_to_build():
    text = (LAUNCH / "Dockerfile").read_text(encoding="utf-8")
    (tag,) = re.findall(r"--tag (\S+)", text)
    assert {container["image"] for container in CONTAINERS} == {tag}
    assert "-c constraints.txt" in text
    assert 'ENTRYPOINT ["python", "-m", "train.main"]' in text
