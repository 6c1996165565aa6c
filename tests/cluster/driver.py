"""Runs a batch on a cluster: ``python driver.py FOLDER PROMPTS PAUSE ADDRESS``, for tests that end it."""

import os
import sys
from pathlib import Path

from ray import cloudpickle

from detailscribe.agent import Cluster, run_batch

sys.path.insert(0, os.path.dirname(__file__))
import quick

if __name__ == "__main__":
    cloudpickle.register_pickle_by_value(quick)
    folder, count, pause = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    roles = quick.quick_roles(folder / "notes", pause)
    run_batch(
        [f"thing number {n}" for n in range(count)],
        out=folder / "out",
        policy="single",
        concurrency=2,
        cluster=Cluster(sys.argv[4], replicas=2, cpus_per_replica=1, roles=roles),
    )
