"""The files of `launch/`: valid to the engines that read them, and true to jaxai's command line and exit codes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from jaxai import cli, supervise
from jaxai.core.errors import DivergedError, InputError, RetryError, StorageError
from tests.faults.processes import free_port

ROOT = Path(__file__).parents[2]
LAUNCH = ROOT / "launch"
FINAL = sorted(error.exit_code for error in (InputError, StorageError, DivergedError))
SIGTERM, CTRL_C = 143, 130

# What `sbatch --help` of Slurm 22.05 and its manual page list.
SBATCH = """
account acctg-freq array batch bb bbf begin chdir cluster-constraint clusters comment constraint container contiguous
core-spec cores-per-socket cpu-freq cpus-per-gpu cpus-per-task deadline delay-boot dependency distribution error exclude
exclusive export export-file extra-node-info get-user-env gid gpu-bind gpu-freq gpus gpus-per-node gpus-per-socket
gpus-per-task gres gres-flags hint hold ignore-pbs input job-name kill-on-invalid-dep licenses mail-type mail-user
mcs-label mem mem-bind mem-per-cpu mem-per-gpu mincpus network nice no-kill no-requeue nodefile nodelist nodes ntasks
ntasks-per-core ntasks-per-gpu ntasks-per-node ntasks-per-socket open-mode output overcommit oversubscribe parsable
partition power prefer priority profile propagate qos quiet reboot requeue reservation signal sockets-per-node
spread-job switches test-only thread-spec threads-per-core time time-min tmp uid use-min-nodes verbose wait
wait-all-nodes wckey wrap
"""


def documents(name: str) -> dict[str, dict]:
    """The documents of a YAML file by kind; a SkyPilot task has none."""
    return {document.get("kind", "SkyPilot"): document for document in yaml.safe_load_all((LAUNCH / name).read_text())}


def parsed(command: list[str]):
    """What jaxai's own parser reads from a command, and the options of the experiment that it leaves."""
    assert command[:2] == ["jaxai", "train"]
    return cli._parser()[0].parse_known_args(command[1:])


def told(command: list[str]):
    """The process of a job that a command makes, where all three of its options are given."""
    known, overrides = parsed(command)
    host, _, port = known.coordinator.rpartition(":")
    assert 0 < int(port) < 65536
    assert known.distributed
    assert not overrides
    return known, host


def called(tmp_path: Path, name: str, script: str) -> None:
    """Puts a program in the place of another, first on the PATH that `environment` gives."""
    path = tmp_path / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(script)
    path.chmod(0o755)


def environment(tmp_path: Path, **variables: str) -> dict[str, str]:
    """This process's variables without an engine's, and these."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SKYPILOT_", "JAX_"))}
    return {**mine, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", **variables}


# Validity


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("jobset.yaml", "JobSet"),
        ("trainjob.yaml", "TrainingRuntime"),
        ("trainjob.yaml", "TrainJob"),
        ("skypilot.yaml", "SkyPilot"),
    ],
)
def test_every_field_is_one_that_the_engine_knows(file, kind):
    schema = json.loads((Path(__file__).parent / "schemas" / f"{kind}.json").read_text())
    document = documents(file)[kind]
    jsonschema.validate(document, schema)
    misspelt = json.loads(json.dumps(document))
    misspelt[("resources" if kind == "SkyPilot" else "spec")]["misspelt"] = 1
    with pytest.raises(jsonschema.ValidationError, match="misspelt"):
        jsonschema.validate(misspelt, schema)


def test_the_files_are_of_the_kinds_and_versions_that_their_engines_serve():
    found = {
        kind: document["apiVersion"]
        for file in ("jobset.yaml", "trainjob.yaml")
        for kind, document in documents(file).items()
    }
    assert found == {
        "JobSet": "jobset.x-k8s.io/v1alpha2",
        "TrainingRuntime": "trainer.kubeflow.org/v1alpha1",
        "TrainJob": "trainer.kubeflow.org/v1alpha1",
    }


def test_the_batch_script_is_bash_and_its_options_are_those_of_sbatch():
    script = LAUNCH / "slurm.sh"
    subprocess.run(["bash", "-n", script], check=True)
    lines = script.read_text().splitlines()
    assert lines[0] == "#!/bin/bash"
    options = {}
    for line in lines:
        if line.startswith("#SBATCH"):
            name, value = re.fullmatch(r"#SBATCH --([a-z-]+)(?:=(\S+))?", line).groups()
            options[name] = value
    assert options
    assert not set(options) - set(SBATCH.split())
    # Behind the first command sbatch reads no options.
    commands = [i for i, line in enumerate(lines) if line and not line.startswith("#")]
    assert commands[0] > max(i for i, line in enumerate(lines) if line.startswith("#SBATCH"))
    assert options["ntasks-per-node"] == "1"
    assert re.fullmatch(r"TERM@\d+", options["signal"])  # to the processes, not (B:) to the shell
    assert "requeue" in options
    assert options["open-mode"] == "append"  # queued again, the job goes on with its log


# Slurm

SRUN = """#!/bin/bash
printf '%s\\n' "$@" > srun.args
echo "${JAX_LOCAL_DEVICE_IDS-all}" > devices
highest=0 task=0
for code in $CODES; do
  ((code)) && echo "srun: error: node$task: task $task: Exited with exit code $code" >&2
  ((code > highest)) && highest=$code
  ((task += 1))
done
exit $highest
"""


def slurm(tmp_path: Path, *codes: int, arguments: tuple[str, ...] = ("FILE.py",), **variables: str) -> tuple[int, str]:
    """The exit code of the batch script and what it told `scontrol`, where the processes of srun end with `codes`."""
    called(tmp_path, "srun", SRUN)
    called(tmp_path, "scontrol", '#!/bin/bash\necho "$@" > scontrol.args\n')
    given = {
        "SLURM_JOB_ID": "17",
        "SLURM_JOB_NAME": "name",
        "SLURM_CPUS_PER_TASK": "6",
        "CODES": " ".join(map(str, codes)),
    }
    made = environment(tmp_path, **{**given, **variables})
    code = subprocess.run(["bash", LAUNCH / "slurm.sh", *arguments], cwd=tmp_path, env=made).returncode
    asked = tmp_path / "scontrol.args"
    return code, asked.read_text().strip() if asked.exists() else ""


@pytest.mark.parametrize("codes", [(0, 0), (2, 2), (4, 4), (3, 75), (75, 3), (CTRL_C, CTRL_C)], ids=str)
def test_slurm_an_end_that_starting_again_does_not_change_is_the_jobs(codes, tmp_path):
    (final,) = set(codes) - {RetryError.exit_code}
    assert final in supervise.FINAL
    assert slurm(tmp_path, *codes) == (final, "")


@pytest.mark.parametrize("codes", [(75, 75), (SIGTERM, SIGTERM), (139, 75), (1, 75)], ids=str)
def test_slurm_after_any_other_end_the_job_is_queued_again(codes, tmp_path):
    assert not set(codes) & set(supervise.FINAL)
    assert slurm(tmp_path, *codes) == (max(codes), "requeue 17")
    assert slurm(tmp_path, *codes, SLURM_RESTART_COUNT="19") == (max(codes), "requeue 17")
    (tmp_path / "scontrol.args").unlink()
    assert slurm(tmp_path, *codes, SLURM_RESTART_COUNT="20") == (max(codes), "")


def test_slurm_every_node_runs_the_command_with_all_its_gpus(tmp_path):
    arguments = ("a file.py", "--run", "runs/x", "--parallel.fsdp", "8")
    assert slurm(tmp_path, 0, arguments=arguments, SLURM_GPUS_ON_NODE="4")[0] == 0
    given = (tmp_path / "srun.args").read_text().splitlines()
    at = given.index("jaxai")
    assert given[:at] == [
        "--kill-on-bad-exit=0",
        "--cpus-per-task=6",
        "--open-mode=append",
        "--output=name-17.out",
    ]
    known, overrides = parsed(given[at:])
    assert (known.file, known.folder, known.distributed) == ("a file.py", "runs/x", True)
    assert (known.coordinator, known.processes, known.process) == (None, None, None)
    assert overrides == ["--parallel.fsdp", "8"]
    assert (tmp_path / "devices").read_text() == "0,1,2,3\n"
    slurm(tmp_path, 0)
    assert (tmp_path / "devices").read_text() == "all\n"


# Kubernetes


def job_of(jobset: dict) -> tuple[dict, dict]:
    """The only job of a JobSet's `spec`, and its only container."""
    (job,) = jobset["replicatedJobs"]
    (container,) = job["template"]["spec"]["template"]["spec"]["containers"]
    return job, container


@pytest.mark.parametrize("file", ["jobset.yaml", "trainjob.yaml"])
def test_kubernetes_the_final_exit_codes_fail_the_job_and_all_others_start_it_again(file):
    found = documents(file)
    jobset = found["JobSet"]["spec"] if "JobSet" in found else found["TrainingRuntime"]["spec"]["template"]["spec"]
    job, container = job_of(jobset)
    spec = job["template"]["spec"]
    assert spec["podFailurePolicy"] == {
        "rules": [
            {
                "action": "FailJob",
                "onExitCodes": {"containerName": container["name"], "operator": "In", "values": FINAL},
            }
        ]
    }
    assert spec["template"]["spec"]["restartPolicy"] == "Never"  # a pod failure policy wants it
    assert spec["backoffLimit"] == 0  # any other end of a pod fails its job as well, for another reason,
    policy = jobset["failurePolicy"]  # from which the set starts again
    (rule,) = policy["rules"]
    assert (rule["action"], rule["onJobFailureReasons"]) == ("FailJobSet", ["PodFailurePolicy"])
    assert policy["maxRestarts"] > 0
    assert set(FINAL) == set(supervise.FINAL) - {0, CTRL_C}


@pytest.mark.parametrize("file", ["jobset.yaml", "trainjob.yaml"])
def test_kubernetes_what_is_mounted_is_there_and_the_run_lies_on_the_claim(file):
    found = documents(file)
    job, container = job_of(
        found["JobSet"]["spec"] if "JobSet" in found else found["TrainingRuntime"]["spec"]["template"]["spec"]
    )
    volumes = {volume["name"]: volume for volume in job["template"]["spec"]["template"]["spec"]["volumes"]}
    mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
    assert "persistentVolumeClaim" in mounts[container["workingDir"]]
    assert mounts["/dev/shm"]["emptyDir"] == {"medium": "Memory"}


def test_jobset_every_process_knows_the_first_and_itself():
    found = documents("jobset.yaml")["JobSet"]
    job, container = job_of(found["spec"])
    spec = job["template"]["spec"]
    assert (job["replicas"], spec["completionMode"]) == (1, "Indexed")
    # Kubernetes puts the index in place of this; it is a variable of every container of an indexed job.
    known, host = told([word.replace("$(JOB_COMPLETION_INDEX)", "3") for word in container["command"]])
    name = found["metadata"]["name"]
    assert host == f"{name}-{job['name']}-0-0.{name}"
    assert known.processes == spec["parallelism"] == spec["completions"]
    assert known.process == 3


def test_trainjob_runs_in_the_runtime_that_is_beside_it():
    found = documents("trainjob.yaml")
    runtime, trainjob = found["TrainingRuntime"], found["TrainJob"]["spec"]
    assert trainjob["runtimeRef"] == {
        "apiGroup": runtime["apiVersion"].partition("/")[0],
        "kind": "TrainingRuntime",
        "name": runtime["metadata"]["name"],
    }
    assert runtime["spec"]["mlPolicy"]["jax"] == {}
    job, container = job_of(runtime["spec"]["template"]["spec"])
    # By these names Kubeflow finds what it fills in.
    assert job["name"] == container["name"] == "node"
    assert job["template"]["metadata"]["labels"] == {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}
    values = {
        "$(JAX_COORDINATOR_ADDRESS)": "train-node-0-0.train:6666",
        "$(JAX_NUM_PROCESSES)": "4",
        "$(JAX_PROCESS_ID)": "2",
    }
    known, _ = told([values.get(word, word) for word in trainjob["trainer"]["command"]])
    assert (known.processes, known.process) == (4, 2)


# SkyPilot


def skypilot(tmp_path: Path, rank: int, **variables: str) -> subprocess.Popen:
    """The `run` section on one of two machines, as SkyPilot runs it."""
    task = documents("skypilot.yaml")["SkyPilot"]
    given = {
        "SKYPILOT_NODE_IPS": "10.0.0.7\n10.0.0.8",
        "SKYPILOT_NUM_NODES": str(task["num_nodes"]),
        "SKYPILOT_NODE_RANK": str(rank),
    }
    made = environment(tmp_path, **{**task["envs"], **given, **variables})
    return subprocess.Popen(
        ["bash", "-c", task["run"]], cwd=tmp_path, env=made, stdout=-1, stderr=subprocess.STDOUT, text=True
    )


@pytest.mark.parametrize("code", [0, *FINAL, RetryError.exit_code])
def test_skypilot_every_machine_knows_the_first_and_itself_and_its_exit_code_is_jaxais(code, tmp_path):
    called(tmp_path, "jaxai", f"#!/bin/bash\nprintf '%s\\n' jaxai \"$@\"\nexit {code}\n")
    process = skypilot(tmp_path, 1, FILE="a file.py", RUN="/shared/runs/x")
    said, _ = process.communicate()
    known, host = told(said.splitlines())
    assert process.returncode == code
    assert host == "10.0.0.7"
    assert (known.file, known.folder, known.processes, known.process) == ("a file.py", "/shared/runs/x", 2, 1)


def test_skypilot_only_what_may_be_tried_again_is():
    task = documents("skypilot.yaml")["SkyPilot"]
    assert task["resources"]["job_recovery"] == {"recover_on_exit_codes": [RetryError.exit_code]}
    assert [path for path in task["volumes"] if task["envs"]["RUN"].startswith(f"{path}/")]


EXPERIMENT = """
from jaxai import Experiment, Pipeline, Steps, optim
from jaxai.data.tfds import Tfds
from jaxai.models import MLP
from jaxai.tasks import Classification


def get_config():
    return Experiment(
        task=Classification(model=MLP(features=(8,), num_classes=10)),
        train=Pipeline(source=Tfds("digits", split="train"), batch_size=16),
        evals={},
        optimizer=optim.adam(1e-3),
        duration=Steps(3),
    )
"""


@pytest.mark.slow
def test_skypilot_two_processes_train_as_one_job(tmp_path):
    called(tmp_path, "jaxai", f'#!/bin/bash\nexec {sys.executable} -m jaxai "$@"\n')
    (tmp_path / "small.py").write_text(EXPERIMENT)
    given = {
        "FILE": "small.py",
        "RUN": "run",
        "PORT": str(free_port()),
        "SKYPILOT_NODE_IPS": "127.0.0.1\n127.0.0.1",
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "",
        "PYTHONPATH": str(ROOT),
    }
    processes = [skypilot(tmp_path, rank, **given) for rank in range(2)]
    said = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert json.loads((tmp_path / "run" / "environment.json").read_text())["processes"] == 2
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert (results["status"], results["step"]) == ("finished", 3)
