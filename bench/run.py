"""portmap beside nft."""
import os
import subprocess
import tempfile

from measure import compare, config, load, portmap, rounds, run, work

on_disk = tempfile.mkdtemp(prefix="portmap-bench-", dir="/var/tmp")


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
