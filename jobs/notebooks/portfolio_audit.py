# Databricks notebook source
# MAGIC %md
# MAGIC # Audit of a portfolio
# MAGIC
# MAGIC From a table of applicants to the report: which features drove each decision, the reasons of those who were
# MAGIC declined, what drives the portfolio, and what changed since the last audit. Import it into a workspace, or run
# MAGIC it as it is with Python: `python jobs/notebooks/portfolio_audit.py`. Without settings it takes the German credit
# MAGIC applications that come with the package.

# COMMAND ----------

# MAGIC %pip install /Volumes/risk/libraries/spark_shap-0.1.0-py3-none-any.whl scikit-learn jinja2 matplotlib

# COMMAND ----------

# MAGIC %md
# MAGIC ## Settings
# MAGIC
# MAGIC Widgets on Databricks, elsewhere variables of the environment (`AUDIT_TABLE`, ...).

# COMMAND ----------

import os
from pathlib import Path

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

spark = SparkSession.builder.getOrCreate()  # on Databricks the notebook's own
widgets = getattr(globals().get("dbutils"), "widgets", None)


def setting(name: str, default: str) -> str:
    """Return a setting, by widget or by variable."""
    if widgets is None:
        return os.environ.get(f"AUDIT_{name.upper()}", default)
    widgets.text(name, default)
    return str(widgets.get(name))


table = setting("table", "")  # catalog.schema.table
key = setting("key", "application_id")
model_uri = setting("model_uri", "")  # models:/scorecard@champion
output = setting("output", "spark-shap-audit")  # a folder; on Databricks catalog.schema
on_catalog = widgets is not None and "/" not in output

# COMMAND ----------

# MAGIC %md
# MAGIC ## The applicants
# MAGIC
# MAGIC A row is an application: its key, what the model sees, and what is kept for the tables.

# COMMAND ----------

if not table:
    from spark_shap.data import german_credit_path

    table = "german_credit_applications"
    given = spark.read.csv(f"file://{german_credit_path()}", header=True, inferSchema=True)
    given.createOrReplaceTempView(table)
applicants = spark.table(table)
print(f"{table}: {applicants.count():,} applications, {len(applicants.columns)} columns")
applicants.limit(5).show()

# COMMAND ----------

# MAGIC %md
# MAGIC ## The run
# MAGIC
# MAGIC Compared with the accepted applications. The same inputs and settings are the same run: it is made once, and a
# MAGIC run that ended early goes on where it ended.

# COMMAND ----------

from spark_shap.config import RunConfig
from spark_shap.pipeline import run

config = RunConfig.model_validate(
    {
        "applicants": {"table": table, "key": key, "keep": ["bad"]},
        "reference": {"name": "accepted", "where": "bad = 0", "size": 500},
        "model": {"uri": model_uri} if model_uri else {"object": "spark_shap.demo:german_credit_model"},
        "explain": {"n_evaluations": int(setting("evaluations", "256")), "seed": 7},
        "reasons": {"harm": "high", "where": "prediction > 0.5"},
        "output": {"schema": output, "format": "delta"} if on_catalog else {"path": output},
        "summary": {"by": ["bad"]},
    }
)
result = run(spark, config)
record = result.record
print(f"run {record.run_id}: {record.rows_explained:,} explained, {record.rows_rejected:,} rejected")
print(f"{record.model_uri} is {record.model_kind}")
print(f"{record.method}: {record.method_reason}")

# COMMAND ----------

# MAGIC %md
# MAGIC ## What matters most
# MAGIC
# MAGIC Mean |SHAP|, corrected for sampling noise, with the error that the population leaves and the one that the
# MAGIC sampler leaves.

# COMMAND ----------

from spark_shap.io.tables import read_table

summary = read_table(spark, result.location, "summary", record.run_id)
columns = ["rank", "feature", "mean_abs_shap", "sampling_error", "monte_carlo_error", "top4_share"]
summary.where("segment_by = '' and rank <= 10").orderBy("rank").select(columns).show(truncate=False)

# COMMAND ----------

# MAGIC %md
# MAGIC ## The reasons of one declined applicant

# COMMAND ----------

reasons = read_table(spark, result.location, "reasons", record.run_id)
declined = reasons.agg(F.min(key)).first()[0]
columns = [key, "rank", "feature", "shap_value", "std_error", "p_swap", "stable"]
reasons.where(F.col(key) == declined).orderBy("rank").select(columns).show(truncate=False)

# COMMAND ----------

# MAGIC %md
# MAGIC ## What changed since the last audit
# MAGIC
# MAGIC The scheduled job of the bundle asks the same by `spark-shap diff previous latest`, whose exit code is 3 where
# MAGIC something did.

# COMMAND ----------

from spark_shap.reporting import compare, run_report, runs_before

before = next(runs_before(spark, result.location, record), None)
if before is None:
    print("this is the first audit here")
else:
    changed = compare(spark, result.location, before, record).changed
    print(f"since run {before.run_id}: {len(changed)} changes")
    print(changed.head(10).to_string())

# COMMAND ----------

# MAGIC %md
# MAGIC ## The report

# COMMAND ----------

page = run_report(spark, result.location, record.run_id)
if "displayHTML" in globals():
    globals()["displayHTML"](page)
else:
    path = Path(output, f"report-{record.run_id}.html")
    path.write_text(page, encoding="utf-8")
    print(f"report in {path}")
