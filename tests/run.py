"""Run the tests in an environment that is made first: ``python3 tests/run.py``.

Each kind of Spark session gets a pytest process of its own, because a process holds one JVM. The first group
prints as it goes; the others run one after another beside it, and print when they are done. Exits with the worst
of their codes; the last line printed says which groups passed.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "conf"))

import environment

NOTHING_COLLECTED = 5  # pytest's exit code


def groups(spark, slow):
    """Return the name and pytest's marker expression of each process, in order."""
    if spark == "models":
        return [("models", "models")]
    quick = "" if slow else " and not slow"
    rows = [("ordinary", "not (delta or connect or cluster or bench or models)" + quick)]
    if spark == "4.2":  # the only set with Delta
        rows.append(("delta", "delta" + quick))
    if spark != "3.5":  # its package has no Connect server
        rows.append(("connect", "connect" + quick))
    if slow:
        rows.append(("cluster", "cluster"))
    return rows


def run(folder, name, markers, arguments, out=None):
    """Run one group, into a file where one is given; return pytest's exit code."""
    values = environment.variables(folder)
    values.pop("SPARK_SHAP_TEST_DELTA", None)
    if name == "delta":
        values["SPARK_SHAP_TEST_DELTA"] = "1"
    command = [os.path.join(folder, "python"), "-m", "pytest"]
    command.extend(arguments)
    command.extend(["-m", markers])
    return subprocess.call(command, env=values, cwd=environment.ROOT, stdout=out, stderr=subprocess.STDOUT)


def heading(name, markers):
    """Say which group's lines follow."""
    print("\n== %s: pytest -m '%s'" % (name, markers))
    sys.stdout.flush()


def run_beside(folder, rows, arguments, done):
    """Run groups one after another, each into a file of its own; note its code and file."""
    for name, markers in rows:
        with tempfile.NamedTemporaryFile("w", suffix=".log", delete=False) as out:
            done[name] = (run(folder, name, markers, arguments, out), out.name)


def show(path):
    """Print a file and remove it."""
    with open(path, errors="replace") as lines:
        sys.stdout.write(lines.read())
    os.remove(path)


def main():
    """Read the arguments, run the groups and say what passed."""
    environment.check_python()
    parser = argparse.ArgumentParser(
        description="Make the environment and run the tests.",
        epilog="All other arguments go to pytest, with paths as seen from the top of the checkout.",
        allow_abbrev=False,
    )
    releases = sorted(name for name in environment.SETS if name != "models")
    parser.add_argument("--spark", choices=releases, default="4.2", help="default 4.2")
    parser.add_argument("--models", action="store_true", help="only those of PyTorch, Keras, ONNX and MLflow")
    parser.add_argument("--slow", action="store_true", help="also long tests and a standalone cluster")
    options, arguments = parser.parse_known_args()
    if options.models:
        options.spark = "models"
    folder = environment.prepare(options.spark)

    start = time.time()
    (first, markers), *others = groups(options.spark, options.slow)
    done = {}
    beside = threading.Thread(target=run_beside, args=(folder, others, arguments, done))
    beside.start()
    heading(first, markers)
    codes = {first: run(folder, first, markers, arguments)}
    beside.join()
    for name, markers in others:
        heading(name, markers)
        codes[name] = done[name][0]
        show(done[name][1])
    codes = {name: code for name, code in codes.items() if code != NOTHING_COLLECTED}
    failed = ", ".join(name for name, code in codes.items() if code)
    passed = ", ".join(name for name, code in codes.items() if not code) or "nothing"
    verdict = "FAILED: %s; passed: %s" % (failed, passed) if failed else "passed: " + passed
    spark = "4.2" if options.models else options.spark
    print("\n%s (Spark %s, %d s)" % (verdict, spark, time.time() - start))
    return max(codes.values()) if codes else NOTHING_COLLECTED


if __name__ == "__main__":
    sys.exit(main())
