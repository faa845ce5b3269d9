"""Configuration: what is read, and every problem with its path and way out."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest
from pydantic import ValidationError

from spark_shap.config import RunConfig, config_json, load_config
from spark_shap.errors import ConfigError

CONF = Path(__file__).parents[1] / "conf"
MINIMAL = """\
applicants: {path: a.csv, key: id}
model: {object: "scoring:predict"}
output: {path: out}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "run.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def problems(folder: Path, text: str, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(write(folder, text), overrides)
    return caught.value.problems


def override_problem(folder: Path, override: str) -> str:
    (line,) = problems(folder, MINIMAL, override)
    return line


def test_defaults(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, MINIMAL))
    assert config.applicants.key == ("id",)
    assert config.applicants.resolved_format == "csv"
    assert (config.explain.n_evaluations, config.explain.seed, config.explain.method) == (512, 0, "auto")
    assert (config.reference.size, config.reference.name) == (1000, "all_applicants")
    assert (config.output.format, config.output.layout, config.output.max_rejects) == (
        "parquet",
        "wide",
        0.01,
    )
    assert (config.output.report, config.output.sample) == (True, 1000)
    assert config.summary.by == ()


def test_all_problems_at_once_in_the_order_of_sections(tmp_path: Path) -> None:
    text = """\
applicants: {path: a.csv, table: t, keys: id}
model: {object: "scoring"}
explain: {n_evaluations: 4, method: sampler, seed: true}
output: {path: out, max_rejects: true}
reference: {size: none}
refrence: {}
"""
    assert problems(tmp_path, text) == [
        "applicants.key: is required",
        "applicants.keys: unknown key; did you mean key?",
        "applicants.table: cannot be given together with path; keep one (null unsets the other)",
        'reference.size: must be a number of rows, at least 1, or "all"',
        "model.object: must be module:attribute, such as scoring.model:predict, got 'scoring'",
        "explain.method: must be 'auto', 'sampling', 'exact', 'linear' or 'tree', got 'sampler'; did you mean "
        "sampling?",
        "explain.n_evaluations: must be at least 5, got 4",
        "explain.seed: must be a whole number, got True",
        "output.max_rejects: must be a share (0 to below 1) or a whole number of rows (1: one row)",
        "refrence: unknown key; did you mean reference?",
    ]


@pytest.mark.parametrize(
    ("override", "line"),
    [
        (
            "explain.link=logit",
            "explain.link: unknown key; explain.output_space (probability, margin, prediction)",
        ),
        ("transform=log", "transform: unknown key; explain.output_space (probability, margin, prediction)"),
        ("explain.partitions='4'", "explain.partitions: must be a whole number, got '4'"),
        ("explain.seed=-1", "explain.seed: must be at least 0, got -1"),
        (
            "applicants.keep=[no]",
            "applicants.keep[0]: must be text, got False; if that is the text",
        ),
        ("applicants.keep=[id]", "applicants.keep: names 'id', which is a key column already"),
        ("applicants.features=[a, b, a]", "applicants.features: names 'a' twice"),
        ("applicants.key=[]", "applicants.key: must not be empty"),
        ("applicants.path=folder", "applicants.format: cannot be told from the name 'folder'"),
        ("applicants.where=''", "applicants.where: must not be empty"),
        ("applicants=5", "applicants: must be a section of keys, got 5"),
        ("reference.as_of=2026-01-01 10:00:00", "reference.as_of: must be a day such as 2026-06-30"),
        ("reference.as_of=soon", "reference.as_of: must be a day such as 2026-06-30"),
        ("reference.format=csv", "reference.format: is for a path, and none is given"),
        ("model={file: m, sha256: 12}", "model.sha256: must be text, got 12"),
        ("model={file: m, sha256: abc}", "model.sha256: must be 64 hexadecimal digits"),
        ("model.file=m.joblib", "model.file: cannot be given together with object"),
        ("output.schema=s", "output.schema: cannot be given together with path"),
        ("output.path=", "output.path: is required: give path or schema"),
        ("output.max_rejects=1.5", "output.max_rejects: must be a share"),
        ("output.max_rejects=-0.1", "output.max_rejects: must be a share"),
        ("output.max_rejects=.nan", "output.max_rejects: must be a share"),
        ("explain.tolerance=much", "explain.tolerance: must be a positive number (output units) or a share"),
        ("output.report=3", "output.report: must be true, false or the name of a file"),
        ("output.report=''", "output.report: must be true, false or the name of a file"),
        ("output.sample=-1", "output.sample: must be at least 0, got -1"),
        ("output.sample=100001", "output.sample: must be at most 100000, got 100001"),
        ("summary.by=[[a], 5]", "summary.by[1]: must be a list of names, got 5"),
        ("spark.conf={a: {b: 1}}", "spark.conf: must hold Spark keys with one value each"),
        ("no_equals_sign", "--set no_equals_sign: write it as section.key=value"),
        ("a..b=1", "--set a..b=1: write it as section.key=value"),
        ("applicants.key.name=1", "applicants.key.name: applicants.key is 'id', not a section"),
        ("applicants.where=[a", "applicants.where: '[a' is not a YAML value; put it in quotes"),
    ],
)
def test_one_problem(tmp_path: Path, override: str, line: str) -> None:
    assert override_problem(tmp_path, override).startswith(line)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; it needs at least applicants, model and output"),
        ("- a\n- b\n", "line 1: must be a mapping of sections (applicants: ...), got a list"),
        ("a: 1\nb: [1\n", "line 3, column 1: not valid YAML"),
        ("a: 1\n\tb: 2\n", "line 2, column 1: not valid YAML"),
        ("a: 1\nb:\n  c: 1\n  c: 2\n", "line 4: key 'c' is given twice; keep one"),
        ("a: 1\nday: 2026-02-30\n", "line 2, column 6: not valid YAML: day is out of range for month"),
        ("a: !!python/object/apply:os.system [ls]\n", "line 1, column 4: not valid YAML"),
        ("1: a\n", "key 1 must be text; put it in quotes"),
        ("a: 1\n---\nb: 2\n", "not valid YAML: but found another document"),
    ],
)
def test_unreadable_text(tmp_path: Path, text: str, message: str) -> None:
    (line,) = problems(tmp_path, text)
    assert line.startswith(str(tmp_path / "run.yaml"))
    assert message in line


def test_unreadable_file(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe9\n")
    for path, message in [
        (tmp_path / "nope.yaml", "no such file"),
        (tmp_path, "is a folder"),
        (tmp_path / "latin.yaml", "not UTF-8 text (byte 3)"),
    ]:
        with pytest.raises(ConfigError, match=r".") as caught:
            load_config(path)
        assert message in caught.value.problems[0]


def test_two_duplicate_keys_are_both_reported(tmp_path: Path) -> None:
    lines = problems(tmp_path, "a: 1\na: 2\nb: {c: 1, c: 2}\n")
    assert [line.split(", ")[1].split(":")[0] for line in lines] == ["line 2", "line 3"]


def test_merge_keys_may_be_overridden(tmp_path: Path) -> None:
    text = MINIMAL + "spark:\n  conf:\n    <<: {x: 1, y: 2}\n    x: 3\n"
    assert load_config(write(tmp_path, text)).spark.conf == {"x": 3, "y": 2}


def test_overrides_are_yaml_and_the_last_wins(tmp_path: Path) -> None:
    overrides = [
        "explain.seed=1",
        "explain.seed=2",
        "applicants.keep=[region, 'no']",
        "applicants.where=region = 'N' and amount > 5",
        "summary.by=[region, [region, card]]",
        "applicants.path=null",
        "applicants.table=lake.applications",
        "reference.as_of=2026-01-31",
        "reference.size=all",
        "spark.conf.spark.executor.memory=4g",
    ]
    config = load_config(write(tmp_path, MINIMAL), overrides)
    assert config.explain.seed == 2
    assert config.applicants.keep == ("region", "no")
    assert config.applicants.where == "region = 'N' and amount > 5"
    assert (config.applicants.path, config.applicants.table) == (None, "lake.applications")
    assert config.applicants.resolved_format is None
    assert config.summary.by == (("region",), ("region", "card"))
    assert (config.reference.as_of, config.reference.size) == (date(2026, 1, 31), "all")
    assert config.spark.conf == {"spark.executor.memory": "4g"}


@pytest.mark.parametrize(
    ("value", "rows", "limit"),
    [("1", 500, 1), ("0", 500, 0), ("0.01", 500, 5), ("5.0", 500, 5), ("0.0", 9, 0)],
)
def test_max_rejects_is_a_share_below_one_and_a_number_from_one(
    tmp_path: Path, value: str, rows: int, limit: int
) -> None:
    config = load_config(write(tmp_path, MINIMAL), [f"output.max_rejects={value}"])
    assert config.output.reject_limit(rows) == limit


def test_empty_section_means_its_defaults(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, MINIMAL + "explain:\nsummary:\n")).explain.n_evaluations == 512


def test_catalog_schema_needs_delta(tmp_path: Path) -> None:
    overrides = ["output.path=null", "output.schema=risk.out"]
    assert problems(tmp_path, MINIMAL, *overrides) == [
        "output.format: tables in a catalog schema are Delta tables: set format: delta"
    ]
    config = load_config(write(tmp_path, MINIMAL), [*overrides, "output.format=delta"])
    assert config.output.catalog_schema == "risk.out"


def test_frozen(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, MINIMAL))
    with pytest.raises(ValidationError, match="frozen"):
        config.explain.seed = 3  # type: ignore[misc]  # what is tested


def test_json_is_canonical_and_holds_no_secret(tmp_path: Path) -> None:
    first = load_config(
        write(tmp_path, MINIMAL),
        [
            "spark.conf.spark.hadoop.fs.s3a.secret.key=hunter2",
            "spark.conf.spark.hadoop.fs.s3a.ACCESS.KEY=hunter2",
            "spark.conf.spark.my.Password=hunter2",
            "spark.conf.spark.driver.extraJavaOptions=-Da=b -Dx.trustStorePassword=hunter2 -Dc=d",
            "spark.conf.spark.executor.memory=4g",
            "applicants.path=sftp://me:hunter2@host/a.csv",
            "output.path=abfss://lake@account.dfs.core.windows.net/out",
        ],
    )
    text = config_json(first)
    assert "hunter2" not in text
    value = json.loads(text)
    assert value["spark"]["conf"]["spark.executor.memory"] == "4g"
    assert value["spark"]["conf"]["spark.driver.extraJavaOptions"] == "-Da=b -Dx.trustStorePassword=*** -Dc=d"
    assert value["applicants"]["key"] == ["id"]
    assert value["output"]["path"] == "abfss://lake@account.dfs.core.windows.net/out"
    assert text == json.dumps(value, sort_keys=True, separators=(",", ":"))


def test_json_does_not_depend_on_the_order_of_keys(tmp_path: Path) -> None:
    lines = MINIMAL.splitlines()
    turned = "\n".join(reversed(lines)).replace("{path: a.csv, key: id}", "{key: [id], path: a.csv}")
    first = config_json(load_config(write(tmp_path, MINIMAL)))
    assert config_json(load_config(write(tmp_path, turned))) == first
    assert config_json(load_config(write(tmp_path, turned), ["explain.seed=1"])) != first


def test_errors_of_spark_settings_do_not_show_values(tmp_path: Path) -> None:
    assert "hunter2" not in override_problem(tmp_path, "spark.conf={password: [hunter2]}")


@pytest.mark.parametrize("name", ["local.yaml", "delta.yaml", "cluster.yaml"])
def test_examples_are_valid(name: str) -> None:
    config = load_config(CONF / name)
    assert RunConfig.model_validate_json(json.dumps(json.loads(config_json(config))), strict=False) is not None
    assert config.applicants.key


def test_references_report_all_their_problems(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        "applicants: {path: a.csv, key: id}\nmodel: {object: 'a:b'}\noutput: {path: out}\nreference: {size: 3}\n"
        "references:\n"
        "  approved: {population: approved, cutoff: 0.3, size: all}\n"
        "  near: {population: near_cutoff, cutoff: 0.3, harm: high, name: other}\n"
        "  row: {row: {a: 1, b: null}, wheer: x, size: 3}\n"
        "  all: {band: 0.1, cutoff: 1.0}\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    found = {line.split(":")[0]: line for line in caught.value.problems}
    assert "did you mean where?" in found["references.row.wheer"]
    assert "cannot be given together with size" in found["references.row.row"]
    assert "is required" in found["references.near.band"]
    assert "give a number" in found["references.approved.size"]
    assert "population: near_cutoff" in found["references.all.band"]
    assert "move it there" in found["reference"]
    text = "\n".join(caught.value.problems)
    assert "approved: population: approved needs harm" in text
    assert "near: its name is 'near' already" in text


def test_one_reference_and_several_are_read_alike() -> None:
    base = {"applicants": {"path": "a.csv", "key": "id"}, "model": {"object": "a:b"}, "output": {"path": "o"}}
    (default,) = RunConfig.model_validate(base).populations
    assert (default.name, default.size, default.is_of_applicants) == ("all_applicants", 1000, True)
    near = {"population": "near_cutoff", "band": 0.1}
    reasons = {"harm": "low", "cutoff": 600.0, "output": "score"}
    found = RunConfig.model_validate({**base, "references": {"near": near}, "reasons": reasons}).populations[0]
    assert (found.name, found.cutoff, found.harm, found.output) == ("near", 600.0, "low", "score")
