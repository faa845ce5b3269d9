"""The examples in conf/: configurations load, Spark knows the settings, the bundle has the form of one."""

from __future__ import annotations

import fnmatch
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from spark_shap import cli
from spark_shap.config import config_json, load_config
from spark_shap.redaction import is_secret

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

CONF = Path(__file__).parents[1] / "conf"
BUNDLE = CONF / "databricks"
RUNS = sorted(
    str(file.relative_to(CONF))
    for file in [*CONF.glob("*.yaml"), *BUNDLE.glob("*.yaml")]
    if file.name != "reason_codes.yaml"
)
SETTINGS = sorted(file.name for file in CONF.glob("*.conf"))
# Families of settings that end in a name of the user's own.
FAMILIES = ("spark.executorEnv.*", "spark.yarn.appMasterEnv.*", "spark.kubernetes.*.secretKeyRef.*", "spark.hadoop.*")


def settings_of(name: str) -> dict[str, str]:
    lines = [line.strip() for line in (CONF / name).read_text().splitlines()]
    pairs = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    assert len({key for key, _ in pairs}) == len(pairs)
    return dict(pairs)


def test_there_is_an_example_for_each_platform() -> None:
    assert {"local.yaml", "standalone.yaml", "cluster.yaml", "delta.yaml", "databricks/audit.yaml"} <= set(RUNS)
    assert SETTINGS == ["kubernetes.conf", "standalone.conf", "yarn.conf"]


@pytest.mark.parametrize("name", RUNS)
def test_configurations_load(name: str) -> None:
    config = load_config(CONF / name)
    assert config.applicants.key
    assert json.loads(config_json(config))["output"]
    text = (CONF / name).read_text()
    assert text.startswith("# ")
    assert text.count("#") >= 5


@pytest.mark.parametrize("name", SETTINGS)
def test_spark_knows_the_settings_and_reads_their_values(spark: SparkSession, name: str) -> None:
    jvm: Any = spark._jvm
    for holder in (
        "internal.config.package$",
        "internal.config.Python$",
        "internal.config.UI$",
        "deploy.k8s.Config$",
        "deploy.yarn.config.package$",
    ):
        jvm.java.lang.Class.forName(f"org.apache.spark.{holder}")  # settings are known once their holder is there
    settings = settings_of(name)
    conf = jvm.org.apache.spark.SparkConf(False)
    for key, value in settings.items():
        conf.set(key, value)
    for key in settings:
        if key in ("spark.master",) or any(fnmatch.fnmatch(key, family) for family in FAMILIES):
            continue
        entry = jvm.org.apache.spark.internal.config.ConfigEntry.findEntry(key)
        assert entry is not None, f"{name}: Spark knows no {key}"
        conf.get(entry)  # raises where the value is none of its type


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_are_explained_and_hold_no_secret(name: str) -> None:
    text = (CONF / name).read_text()
    assert "spark-submit --properties-file conf/" + name in text
    assert sum(line.startswith("#") for line in text.splitlines()) >= 8
    for key, value in settings_of(name).items():
        if is_secret(key):
            assert "secretKeyRef" in key or "provider" in key, (key, value)
    for script in re.findall(r"(?<=[ /])jobs/\w+\.py", text):
        assert (CONF.parent / script).exists()


def bundle() -> dict[str, Any]:
    return dict(yaml.safe_load((BUNDLE / "databricks.yml").read_text()))


def jobs() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for pattern in bundle()["include"]:
        for file in BUNDLE.glob(pattern):
            found |= yaml.safe_load(file.read_text())["resources"]["jobs"]
    return found


def test_bundle_has_targets_and_only_known_sections() -> None:
    # The keys are those of the published schema of bundles that are used here; it is not ours to copy.
    known = {"bundle", "include", "variables", "targets", "workspace", "resources", "artifacts", "sync", "run_as"}
    top = bundle()
    assert set(top) <= known
    assert top["targets"]["dev"] == {"mode": "development", "default": True}
    assert top["targets"]["prod"]["mode"] == "production"
    assert "run_as" in top["targets"]["prod"]
    texts = [file.read_text() for file in BUNDLE.rglob("*.yml")]
    used = {name for text in texts for name in re.findall(r"\$\{var\.(\w+)\}", text)}
    assert used == set(top["variables"])


def test_bundle_has_a_serverless_and_a_classic_job() -> None:
    known = {"name", "schedule", "max_concurrent_runs", "timeout_seconds", "email_notifications", "tasks"}
    assert set(jobs()) == {"audit_serverless", "audit_classic"}
    for name, job in jobs().items():
        assert set(job) - known == ({"environments"} if name == "audit_serverless" else {"job_clusters"})
        assert set(job["schedule"]) == {"quartz_cron_expression", "timezone_id", "pause_status"}
        seconds, minutes, hours, day, month, weekday = job["schedule"]["quartz_cron_expression"].split()
        assert "?" in (day, weekday)  # Quartz wants one of the two open
        assert all(part.isdigit() for part in (seconds, minutes, hours))
        assert month == "*"
        assert job["schedule"]["pause_status"] in ("PAUSED", "UNPAUSED")
        assert job["max_concurrent_runs"] == 1
    assert sorted(job["schedule"]["pause_status"] for job in jobs().values()) == ["PAUSED", "UNPAUSED"]


@pytest.mark.parametrize("name", ["audit_serverless", "audit_classic"])
def test_wheel_tasks_call_what_there_is(name: str) -> None:
    job = jobs()[name]
    values = {name: one["default"] for name, one in bundle()["variables"].items()}
    for step in job["tasks"]:
        wheel = step["python_wheel_task"]
        assert set(wheel) == {"package_name", "entry_point", "parameters"}
        assert (wheel["package_name"], cli.task.__module__.split(".")[0]) == ("spark_shap", "spark_shap")
        declared = (CONF.parent / "pyproject.toml").read_text()
        assert f'{wheel["entry_point"]} = "spark_shap.cli:task"' in declared
        given = [re.sub(r"\$\{var\.(\w+)\}", lambda found: values[found[1]], text) for text in wheel["parameters"]]
        arguments = cli._parser().parse_args(given)
        assert (arguments.config, arguments.log_format) == ("${workspace.file_path}/audit.yaml", "json")
    assert (BUNDLE / "audit.yaml").exists()  # it is deployed with the folder
    step, drift = job["tasks"]
    assert drift["depends_on"] == [{"task_key": step["task_key"]}]
    assert drift["python_wheel_task"]["parameters"][:3] == ["diff", "previous", "latest"]
    assert "max_retries" not in drift  # an exit code of 3 is an answer: asked again, it is the same
    if name == "audit_serverless":
        assert drift["environment_key"] == step["environment_key"]
        (environment,) = job["environments"]
        assert environment["environment_key"] == step["environment_key"]
        assert "libraries" not in step
        wheels = [text for text in environment["spec"]["dependencies"] if text.endswith(".whl")]
    else:
        (cluster,) = job["job_clusters"]
        assert cluster["job_cluster_key"] == step["job_cluster_key"] == drift["job_cluster_key"]
        assert drift["libraries"] == step["libraries"]
        assert {"spark_version", "node_type_id", "autoscale", "data_security_mode"} == set(cluster["new_cluster"])
        wheels = [library["whl"] for library in step["libraries"]]
    assert wheels == ["../dist/spark_shap-*.whl"]  # from the file that names it
    assert "conf/databricks/dist" in (BUNDLE / "databricks.yml").read_text()


def test_a_task_that_fails_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "main", lambda: 2)
    with pytest.raises(SystemExit) as raised:
        cli.task()
    assert raised.value.code == 2
    monkeypatch.setattr(cli, "main", lambda: 0)
    cli.task()  # Databricks takes any SystemExit for a failure
