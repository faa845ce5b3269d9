"""Explain the German credit applications on this machine: ``python3 jobs/demo.py``.

Further arguments go to ``spark-shap demo``. Makes the environment first
(conf/environment.py): Python 3.11+ and Java 17 are all that must be there.
"""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "conf"))

import environment

if __name__ == "__main__":
    folder = environment.prepare()
    command = [os.path.join(folder, "spark-shap"), "demo"]
    command.extend(sys.argv[1:])
    os.execve(command[0], command, environment.variables(folder))
