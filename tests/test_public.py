"""What other code may call, `job_fetcher.__all__`: it is there, told, free of Docker and environment; docs/cloud.md."""

import ast
import inspect
import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3
import pytest
from scripts.cloud import handlers

import job_fetcher
from job_fetcher import Final, Job, JobSpecs, JobStatus, Outcome
from tests.support.aws import Aws
from tests.support.files import ODD_NAMES
from tests.support.platform import PASSWORD, USERNAME, Platform

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "cloud.md").read_text()
PUBLIC = {name: getattr(job_fetcher, name) for name in job_fetcher.__all__}
HANDLERS = ("pull", "fetch", "keep_alive", "upload", "report")


def modules_after(code: str) -> set[str]:
    """The modules that a new process without environment and Docker has imported after `code`."""
    code = f"import sys; sys.modules['docker'] = None; {code}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], env={}, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_told_by_a_docstring_of_its_own(name: str) -> None:
    each = PUBLIC[name]
    assert each.__module__.startswith("job_fetcher.")
    assert each.__doc__
    members = vars(each).items() if inspect.isclass(each) else ()
    methods = {name: each for name, each in members if inspect.isfunction(each) and not name.startswith("_")}
    silent = {name for name, method in methods.items() if not method.__doc__}
    assert silent in (set(), {"bearer", "renew"}), "which are told at Token, the protocol"


def test_every_public_function_tells_what_it_raises() -> None:
    functions = {name for name, each in PUBLIC.items() if inspect.isfunction(each)} - {
        "details",
        "log_tail",
    }  # which cannot fail
    silent = {name for name in {"WorkerApi", *functions} if "aises `" not in PUBLIC[name].__doc__}
    assert not silent


@pytest.mark.usefixtures("needs_time")
def test_callers_see_the_types(tmp_path: Path) -> None:
    """Without py.typed, every public name is `Any` to their type checker."""
    code = "from job_fetcher import WorkerApi; reveal_type(WorkerApi.pull_job)"
    check = [sys.executable, "-m", "mypy", "--config-file=", f"--cache-dir={tmp_path}", "--follow-imports=silent"]
    told = subprocess.run([*check, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False).stdout
    assert "job_fetcher.core.job.Job | None" in told


def test_a_public_name_is_listed_once_in_order_and_nothing_else_is_there() -> None:
    assert sorted(set(job_fetcher.__all__)) == job_fetcher.__all__
    typed = ast.parse(Path(job_fetcher.__file__).read_text())
    imports = [node for node in ast.walk(typed) if isinstance(node, ast.ImportFrom)]
    rooms = {name.name: node.module for node in imports for name in node.names}
    rooms = {name: room for name, room in rooms.items() if room and room.startswith("job_fetcher.")}
    assert rooms == {name: each.__module__ for name, each in PUBLIC.items()}, "mypy sees what is there"
    with pytest.raises(AttributeError, match="'job_fetcher' has no attribute 'nothing'"):
        job_fetcher.nothing  # noqa: B018


def test_the_package_itself_imports_nothing() -> None:
    """Else the worker would start later."""
    assert modules_after("import job_fetcher").isdisjoint({"requests", "pydantic", "job_fetcher.core.errors"})


def test_all_of_it_works_without_docker_and_without_the_environment() -> None:
    modules = modules_after("from job_fetcher import *")
    assert modules.isdisjoint({"pynvml", "pydantic_settings", "dotenv", "docker.errors"})
    ours = {name for name in modules if name.startswith("job_fetcher.")}
    assert {"job_fetcher.steps", "job_fetcher.platform.api", "job_fetcher.core.job", "job_fetcher.core.errors"} < ours
    for name in ours:
        spec = find_spec(name)
        assert spec is not None
        source = Path(str(spec.origin))
        used = {getattr(node, "attr", getattr(node, "id", None)) for node in ast.walk(ast.parse(source.read_text()))}
        assert used.isdisjoint({"environ", "environb", "getenv", "getenvb"}), source


@pytest.mark.parametrize(
    "model",
    [
        Job(id="7", raw={"app": {"cmd": ["echo ü \N{SNOWMAN}"]}, "handler": {}, "meta": {"more": [1.5, None]}}),
        Job(id="7", raw=["not", "valid"]),
        JobSpecs.parse({
            "app": {"cmd": ["a", "b"], "env": {"A": "b"}},
            "handler": {"image_url": "x", "files_down": dict.fromkeys(ODD_NAMES, "s3://x"), "files_up": {"log": "log"}},
        }),
        JobSpecs.parse({"app": {}, "handler": {"image_url": "x"}}),
        Outcome(exit_code=7, reason="It ended with ü.", succeeded=False),
        Final(status=JobStatus.ERROR, details="Line 1\nline 2"),
    ],
    ids=lambda model: type(model).__name__,
)  # fmt: skip
def test_what_is_handed_over_is_the_same_after_json(model: Any) -> None:
    handed_over = json.dumps(model.model_dump(mode="json"))
    assert type(model).model_validate(json.loads(handed_over)) == model


def test_the_page_tells_every_public_name_and_every_handler() -> None:
    assert set(PUBLIC) <= set(re.findall(r"`([A-Za-z_]+)`", PAGE.partition("## What may be called")[2]))
    public = [name for name in vars(handlers.Cloud) if not name.startswith("_")]
    assert public == list(HANDLERS) == re.findall(r"^\| `(\w+)` \| .*\|.*\|$", PAGE, re.MULTILINE)[: len(HANDLERS)]
    for link in re.findall(r"\]\(([^)]+)\)", PAGE):
        assert (ROOT / "docs" / link).exists(), link


def test_the_module_on_the_page_serves_the_handlers(
    mock: Platform, aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run as it stands there, with other addresses: the password comes from AWS Secrets Manager, as moto has it."""
    found = re.search(r"<!-- lambda_function.py -->\n```python\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    text = found[1]
    for old, new in {
        "https://api.example.org": mock.url,
        "/mnt/jobs": str(tmp_path),
        'CognitoToken("cloud-worker"': f'CognitoToken("{USERNAME}"',
        "lambda: user_pool(API)": f'lambda: user_pool(API), "{mock.cognito_url}"',
    }.items():
        assert old in text
        text = text.replace(old, new)
    for name, value in {
        "AWS_ENDPOINT_URL": aws.url,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "mock",
        "AWS_SECRET_ACCESS_KEY": "mock",
    }.items():
        monkeypatch.setenv(name, value)
    boto3.client("secretsmanager").create_secret(Name="cloud-worker", SecretString=PASSWORD)
    monkeypatch.setitem(sys.modules, "handlers", handlers)
    module = ModuleType("lambda_function")
    exec(text, vars(module))
    mock.submit(files={"a": b"1"})
    event = module.pull({"offer": {"memory": 1000}}, None)
    assert module.keep_alive(event, None) == {"gone": False}
