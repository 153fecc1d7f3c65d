"""Size of the binary, time from start to ready, resident memory when idle; against a local lab.

`make footprint` runs it on the release binary. Linux only: memory is read from /proc.
"""

import pathlib
import statistics
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests" / "e2e"))

from harness import Daemon, Lab, find_binary, lab_config, lab_world, wait_until  # noqa: E402

STARTS = 5
VIEWS = [f"view_{number}" for number in range(10)]


def resident_kib(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise RuntimeError(f"process {pid} has no VmRSS")


def main():
    binary = find_binary()
    with tempfile.TemporaryDirectory() as directory:
        world = pathlib.Path(directory) / "world.toml"
        world.write_text(lab_world({view: "service = { fixed = 0.1 }" for view in VIEWS}))
        lab = Lab(binary, world)
        try:
            # A target of an hour: after the first refreshes there is nothing to do.
            config = lab_config(lab.url, {view: 'target_lag = "1h"' for view in VIEWS})
            starts, idle = [], 0
            for _ in range(STARTS):
                begun = time.monotonic()
                daemon = Daemon(binary, config, directory)
                try:
                    wait_until("it is ready", daemon.ready, 30, every=0.005, alive=daemon.check_alive)
                    starts.append(time.monotonic() - begun)
                    served = lambda: daemon.metrics().sum("tidekeeper_refreshes_total") >= len(VIEWS)  # noqa: E731
                    wait_until("every view is refreshed", served, 30, alive=daemon.check_alive)
                    time.sleep(2)
                    idle = resident_kib(daemon.child.pid)
                finally:
                    daemon.stop()
        finally:
            lab.stop()
    size = binary.stat().st_size
    print(f"binary size            {size / 1e6:7.1f} MB")
    print(f"resident when idle     {idle / 1024:7.1f} MiB   ({len(VIEWS)} views)")
    print(f"from start to ready    {1000 * statistics.median(starts):7.0f} ms    (median of {STARTS})")


if __name__ == "__main__":
    main()
