"""Screen an archive with workers that SLURM starts: ``python slurm.py /archive /shared/audit.jsonl --workers 64``.

Needs dask-jobqueue beside screener[cluster]. The scheduler runs in this process, which therefore belongs on a node that
the workers reach. Certificates come from Dask's configuration, as everywhere.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path


def main() -> int:
    """Start workers as jobs, then scan; the exit code is that of the scan."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive", type=Path)
    parser.add_argument("log", type=Path)
    parser.add_argument("--workers", type=int, default=16, help="Jobs of one core each.")
    parser.add_argument("--partition", default=None)
    parser.add_argument("--walltime", default="12:00:00")
    parser.add_argument("--script", action="store_true", help="Print the job script and end.")
    options = parser.parse_args()
    from dask_jobqueue import SLURMCluster
    from distributed import Security

    with SLURMCluster(
        cores=1,
        processes=1,
        memory="1536MB",
        queue=options.partition,
        walltime=options.walltime,
        protocol="tls://",
        security=Security(),
        job_extra_directives=["--nice=100"],
        worker_extra_args=["--death-timeout", "60", "--no-dashboard"],
    ) as cluster:
        if options.script:
            sys.stdout.write(cluster.job_script())
            return 0
        cluster.scale(jobs=options.workers)
        command = [sys.executable, "-m", "screener", "scan", options.archive, "--log", options.log]
        return subprocess.run([*map(str, command), "--cluster", cluster.scheduler_address], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
