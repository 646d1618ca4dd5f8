"""Times whole processes of portmap and nft in turn, A B A B, and prints medians and the ratio pair by pair."""
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

portmap, rounds = sys.argv[1], int(sys.argv[2])
work = tempfile.mkdtemp(prefix="portmap-bench-")
subprocess.run(["mount", "-t", "tmpfs", "tmpfs", work], check=True)  # ends with the mount namespace
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
on_disk = tempfile.mkdtemp(prefix="portmap-bench-", dir="/var/tmp")


def run(*words, stdin=None):
    """Runs a process; returns its wall time in milliseconds and its peak memory in MB."""
    start = time.perf_counter()
    child = subprocess.Popen(words, stdin=stdin, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    taken = (time.perf_counter() - start) * 1e3
    if status != 0:
        sys.exit(f"{words}: status {status}")
    return taken, usage.ru_maxrss / 1024


def compare(what, ours, theirs, times=rounds):
    """ours and theirs take the number of the round and return a time."""
    pairs = [(ours(i), theirs(i)) for i in range(times)]
    a, b = (statistics.median(side) for side in zip(*pairs))
    ratio = statistics.median(x / y for x, y in pairs)
    print(f"{what:<66} {a:9.2f} ms  nft {b:9.2f} ms  ratio {ratio:5.2f}", flush=True)


def config(folder, mappings):
    path = os.path.join(folder, "portmap.conf")
    with open(path, "w") as f:
        f.writelines(f"{i}:{60100 + i % 5000}/tcp\n" for i in range(1, mappings + 1))
    return path


def load(path):
    return run(portmap, "-q", "--config", path, "apply")


def nft_add(port):
    return run("nft", "add", "element", "inet", "portmap", "ports", '{ tcp . %d comment "%d:60000/tcp" : 60000 }' % (port, port))[0]


for folder, place in ((work, "memory"), (on_disk, "disk")):
    for live in (0, 1000, 60000):
        path = config(folder, live)
        load(path)
        if live == 0:
            run(portmap, "-q", "--config", path, "add", "65535:60000")
        ours = range(65000, 65000 + rounds)
        compare(f"add one of {live}, file in {place}", lambda i: run(portmap, "-q", "--config", path, "add", f"{ours[i]}:60000")[0], lambda i: nft_add(64000 + i))
        run("nft", "flush", "ruleset")

for live in (0, 1000, 60000):
    path = config(work, live)
    load(path)
    if live == 0:
        run(portmap, "-q", "--config", path, "add", "65535:60000")
    compare(f"add one temporary of {live}: no file is written", lambda i: run(portmap, "-q", "--config", path, "add", "--temporary", f"{65000 + i}:60000")[0], lambda i: nft_add(64000 + i))
    run("nft", "flush", "ruleset")

path = config(work, 60000)
exported = os.path.join(work, "rules.nft")
with open(exported, "w") as f:
    subprocess.run([portmap, "--config", path, "export"], stdout=f, check=True)
peaks = []


def apply_all(_):
    run("nft", "flush", "ruleset")
    taken, peak = load(path)
    peaks.append(peak)
    return taken


def nft_load(_):
    run("nft", "flush", "ruleset")
    return run("nft", "-f", exported)[0]


compare("apply 60,000 from nothing", apply_all, nft_load, 7)
print(f"{'':<66} peak memory {max(peaks):.0f} MB, the binary has {os.path.getsize(portmap) / 1e6:.2f} MB")
compare("list -o json of 60,000", lambda i: run(portmap, "--config", path, "list", "-o", "json")[0], lambda i: run("nft", "list", "map", "inet", "portmap", "ports")[0], 5)
compare("version (nft: --version)", lambda i: run(portmap, "version")[0], lambda i: run("nft", "--version")[0])
subprocess.run(["rm", "-rf", on_disk])
