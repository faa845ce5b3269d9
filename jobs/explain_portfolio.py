"""Entry point for spark-submit: the same arguments as ``spark-shap``.

spark-submit jobs/explain_portfolio.py run --config conf/local.yaml
"""

from __future__ import annotations

from spark_shap.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
