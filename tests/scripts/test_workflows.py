"""What GitHub runs, and what it is allowed to do, as far as that can be told without GitHub."""

import json
import re
from typing import Any

import yaml  # type: ignore[import-untyped]
from scripts.docker import ROOT


def workflow(name: str) -> Any:
    return yaml.safe_load((ROOT / ".github" / "workflows" / name).read_text(encoding="utf-8"))


def steps(name: str, job: str) -> list[dict[str, Any]]:
    return list(workflow(name)["jobs"][job]["steps"])


def test_workflow_publishes_by_the_script_alone_and_may_do_no_more_than_that() -> None:
    lines = [step["run"] for step in steps("publish.yml", "publish") if "run" in step]
    assert lines == [
        "python -m pip install --no-deps --require-hashes -r <(python scripts/requirements.py main dev)",
        'python -m scripts.publish --registry "$REGISTRY" --release $DRY_RUN',
    ]
    publish = workflow("publish.yml")
    assert publish["permissions"] == {}
    assert publish["jobs"]["publish"]["permissions"] == {"contents": "write", "id-token": "write"}
    assert publish["jobs"]["publish"]["needs"] == ["checks", "field"]
    assert publish["jobs"]["checks"]["uses"] == "./.github/workflows/checks.yml"
    assert publish["jobs"]["field"]["uses"] == "./.github/workflows/field.yml"


def test_workflow_checks_as_everybody_does_on_every_python_that_is_supported() -> None:
    checks = workflow("checks.yml")
    assert checks["permissions"] == {"contents": "read"}
    assert checks["jobs"]["checks"]["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]
    assert steps("checks.yml", "checks")[-1]["run"].endswith(".ci/run\n")
    used = [step["uses"] for step in steps("checks.yml", "checks") + steps("publish.yml", "publish") if "uses" in step]
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@v\d+", name) for name in used)


def test_workflow_runs_the_field_lab_each_night() -> None:
    field = workflow("field.yml")
    assert [set(each) for each in field[True]["schedule"]] == [{"cron"}]  # YAML 1.1 reads `on` as true
    assert field["permissions"] == {"contents": "read"}
    assert "scripts/field.sh" in steps("field.yml", "field")[-2]["run"]


def test_policies_that_are_documented_are_json_and_allow_pushing_into_one_repository() -> None:
    text = (ROOT / "docs" / "releasing.md").read_text(encoding="utf-8")
    policy, trust = (json.loads(block) for block in re.findall(r"```json\n(.*?)```", text, flags=re.DOTALL))
    log_in, push = policy["Statement"]
    assert set(log_in["Action"]) == {"ecr-public:GetAuthorizationToken", "sts:GetServiceBearerToken"}
    uploading = {"BatchCheckLayerAvailability", "InitiateLayerUpload", "UploadLayerPart", "CompleteLayerUpload"}
    assert {f"ecr-public:{action}" for action in {*uploading, "PutImage"}} <= set(push["Action"])
    assert push["Resource"].endswith(":repository/job-fetcher")
    assert trust["Statement"][0]["Action"] == "sts:AssumeRoleWithWebIdentity"
