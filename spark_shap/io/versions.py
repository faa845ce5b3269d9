"""What a run was made with."""

from __future__ import annotations

__all__ = ["package_versions"]


def package_versions(spark: str) -> dict[str, str]:
    """Return what the run was made with, by package; `spark` is the cluster's version."""
    import platform

    import numpy as np
    import pandas as pd
    import pyarrow as pa
    import pyspark

    import spark_shap

    return {
        "spark_shap": spark_shap.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "pandas": pd.__version__,
        "pyarrow": pa.__version__,
        "pyspark": pyspark.__version__,
        "spark": spark,  # of the cluster, which may be another than the client's
    }
