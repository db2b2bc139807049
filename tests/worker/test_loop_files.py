"""Inputs and outputs arrive byte by byte, whatever they are called, and the platform's own commands run unchanged."""

import random
from dataclasses import dataclass, field

import pytest

from tests.support.images import JobImages
from tests.support.platform import Platform
from tests.support.worker import WorkerProcess, run_job

LOG = "log/log/container.log"
NAMES = [
    "plain.tif",
    "sp ace.tif",
    "ü/größe 日本 é.tif",
    "stack #1.tif",
    "why?.tif",
    "100%20.tif",
    "a+b&c;d='e'=@:,~!$(f)[g]{h}|i^`j.tif",
    " leading and trailing ",
    "-rf",
    ".hidden/.hidden",
    "empty.tif",
    "/".join(f"{depth}" for depth in range(20)) + "/deep.tif",
    "long" * 60,
]


@pytest.mark.parametrize("storage", ["own", "s3"])
def test_files_arrive_byte_by_byte_whatever_they_are_called(
    mock: Platform, worker: WorkerProcess, job_image: str, storage: str
) -> None:
    """P18: down, through the job's folder, and up again."""
    mock.configure(storage=storage)
    chance = random.Random(7)
    contents = {name: chance.randbytes(chance.randrange(200_000)) for name in NAMES} | {"empty.tif": b""}
    files = {f"data/{name}": content for name, content in contents.items()}
    line = "cp -r /files/data /files/output/copy"
    job = run_job(mock, line, image=job_image, files=files, up={"artifact": "output"})
    assert mock.details(job).startswith("The command ended with exit code 0. The worker uploaded 13 artifact files (")
    expected = {f"artifact/output/copy/{name}": content for name, content in contents.items()}
    assert mock.outputs(job) == expected


def test_all_three_types_arrive_in_their_places(mock: Platform, worker: WorkerProcess, job_image: str) -> None:
    line = "for each in output model/last log; do echo $each > /files/$each/x; done"
    up = {"output": "output", "artifact": "model/last", "log": "log"}
    job = run_job(mock, line, image=job_image, up=up)
    assert mock.outputs(job) == {
        "output/output/x": b"output\n",
        "artifact/model/last/x": b"model/last\n",
        "log/log/x": b"log\n",
    }


def test_container_log_does_not_replace_a_log_of_that_name(
    mock: Platform, worker: WorkerProcess, job_image: str
) -> None:
    job = run_job(mock, "echo mine > /files/log/container.log; echo its", image=job_image, up={"log": "log"})
    assert mock.outputs(job) == {LOG: b"mine\n", "log/log/container-1.log": b"its\n"}


@dataclass(frozen=True)
class Command:
    """A command that is in use on the platform, its inputs, and the files that the stand-in makes of it."""

    cmd: str
    up: dict[str, str]
    made: set[str]
    files: dict[str, bytes] = field(default_factory=dict)


TRAIN = (
    "/docker/entrypoint.sh --train --calib_path=$(find /files/data -name '*.mat' | head -n 1)"
    " --param_path=/files/config/param.yaml --model_path=/files/model --log_path=/files/log"
)
FIT = (
    "mkdir /files/output && /docker/entrypoint.sh --fit --frame_path=$(find /files/data -name '*.tif' | head -n 1)"
    " --emitter_path=/files/output/emitter.h5"
)
COMET = (
    "mkdir -p /files/log && python -m docker_entrypoint --input_path=/files/data/in.csv"
    " --output_path=/files/output > /files/log/log.log"
)
COMMANDS = {
    "decode train": Command(
        TRAIN,
        {"log": "log", "artifact": "model"},
        {"artifact/model/result.txt", "log/log/result.txt"},
        {"data/calibration.mat": b"m", "config/param.yaml": b"p"},
    ),
    "decode fit": Command(FIT, {"artifact": "output"}, {"artifact/output/emitter.h5"}, {"data/a.tif": b"t"}),
    "comet run": Command(
        COMET,
        {"log": "log", "output": "output"},
        {"log/log/log.log", "output/output/result.txt"},
        {"data/in.csv": b"c"},
    ),
    "others": Command("echo x > /files/output/x", {"output": "output"}, {"output/output/x"}),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_command_in_use_on_the_platform_runs_unchanged(
    mock: Platform, worker: WorkerProcess, job_images: JobImages, name: str
) -> None:
    """P28: some make their output folder with `mkdir`, which fails where there is one; some count on it."""
    command = COMMANDS[name]
    job = run_job(mock, *command.cmd.split(" "), image=job_images.application, files=command.files, up=command.up)
    assert mock.details(job).startswith("The command ended with exit code 0.")
    assert mock.job(job).status == "finished"
    assert set(mock.outputs(job)) - {LOG} == command.made
