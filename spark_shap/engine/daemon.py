"""The process that Spark forks Python workers from, with what every worker needs imported once.

Spark starts ``python -m <this module> <worker module>`` on a machine before its first Python worker (setting
``spark.python.daemon.module``). pandas, pyarrow and this package take a core a second to import, and scikit-learn, in
which most models come, nearly another; each worker would spend them again.
"""

from __future__ import annotations

from contextlib import suppress

from pyspark.daemon import manager

if __name__ == "__main__":
    # Without one of these a worker still starts, and says what is missing when it is needed.
    with suppress(Exception):
        import spark_shap.engine.worker
        import spark_shap.prepare  # noqa: F401
        from spark_shap.core.accelerate import load_kernels

        load_kernels()
    with suppress(Exception):
        import sklearn.base  # noqa: F401
    manager()
