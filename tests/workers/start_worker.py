"""Starts a WarmWorker without the service around it; arguments: BROKER_URL EXTRA_BYTES HANG_GRACE_S."""

import logging
import sys

from al_service.job_queue.connection import connect
from tests.workers import worker_jobs
from workers.process import WarmWorker, resident_bytes, watch_supervisor
from workers.running import Interrupts


def main() -> int:
    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    watch_supervisor()
    extra_bytes, hang_grace_s = int(sys.argv[2]), float(sys.argv[3])
    interrupts = Interrupts()
    worker_jobs.INTERRUPTS[:] = [interrupts]
    worker = WarmWorker(
        ["high", "default", "gpu", "low"],
        connect(sys.argv[1]),
        interrupts=interrupts,
        memory_max_bytes=resident_bytes() + extra_bytes if extra_bytes else 0,
        hang_grace_s=hang_grace_s,
    )
    return worker.serve()


if __name__ == "__main__":
    raise SystemExit(main())
