"""Times whole processes in turn, A B A B, and prints medians and the ratio pair by pair."""
import os
import statistics
import subprocess
import sys
import tempfile
import time

portmap, rounds = sys.argv[1], int(sys.argv[2])
work = tempfile.mkdtemp(prefix="portmap-bench-")
subprocess.run(["mount", "-t", "tmpfs", "tmpfs", work], check=True)  # ends with the mount namespace
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def run(*words, stdin=None):
    """Runs a process; returns its wall time in milliseconds and its peak memory in MB."""
    start = time.perf_counter()
    child = subprocess.Popen(words, stdin=open(stdin) if stdin else None, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    taken = (time.perf_counter() - start) * 1e3
    if status != 0:
        sys.exit(f"{words}: status {status}")
    return taken, usage.ru_maxrss / 1024


def compare(what, ours, theirs, times=rounds, peer="nft"):
    """ours and theirs take the number of the round and return a time."""
    pairs = [(ours(i), theirs(i)) for i in range(times)]
    a, b = (statistics.median(side) for side in zip(*pairs))
    ratio = statistics.median(x / y for x, y in pairs)
    print(f"{what:<66} {a:9.2f} ms  {peer} {b:9.2f} ms  ratio {ratio:5.2f}", flush=True)


def config(folder, mappings, first=""):
    path = os.path.join(folder, "portmap.conf")
    with open(path, "w") as f:
        f.write(first)
        f.writelines(f"{i}:{60100 + i % 5000}/tcp\n" for i in range(1, mappings + 1))
    return path


def load(path):
    return run(portmap, "-q", "--config", path, "apply")
