"""portmap through iptables beside iptables itself: both families each time."""
import os
import sys

from measure import compare, config, load, portmap, rounds, run, work

variant = sys.argv[3]  # nft or legacy
tools = [f"iptables-{variant}", f"ip6tables-{variant}"]
for tool in tools:  # a host that uses this variant
    run(tool, "-N", "SITE")
    for _ in range(3):
        run(tool, "-A", "SITE", "-j", "RETURN")


def plain_add(port):
    rule = ["-t", "nat", "-A", "SITE", "-p", "tcp", "--dport", str(port), "-j", "DNAT", "--to-destination", ":60000"]
    return sum(run(tool, "-w", *rule)[0] for tool in tools)


def flat(mappings, comments):
    path = os.path.join(work, "flat")
    with open(path, "w") as f:
        f.write("*nat\n:SITE - [0:0]\n")
        for i in range(1, mappings + 1):
            target = 60100 + i % 5000
            comment = f'-m comment --comment "{i}:{target}/tcp" ' if comments else ""
            f.write(f"-A SITE -p tcp -m tcp --dport {i} {comment}-j DNAT --to-destination :{target}\n")
        f.write("COMMIT\n")
    return path


def flush():
    for tool in tools:
        run(tool, "-t", "nat", "-F")
        run(tool, "-t", "nat", "-X")


for tool in tools:
    run(tool, "-t", "nat", "-N", "SITE")
for live in (1, 1000, 10000):
    path = config(work, live, "backend iptables\n")
    load(path)
    compare(f"{tools[0]}: add one of {live}", lambda i: run(portmap, "-q", "--config", path, "add", f"{50000 + i}:60000")[0], lambda i: plain_add(50000 + i), peer="-w -A")
    flush()
    for tool in tools:
        run(tool, "-t", "nat", "-N", "SITE")
flush()

path = config(work, 10000, "backend iptables\n")


def apply_all(_):
    flush()
    return load(path)[0]


def restore(file):
    def timed(_):
        flush()
        return sum(run(tool + "-restore", "--noflush", stdin=file)[0] for tool in tools)
    return timed


for comments in (True, False):
    compare(f"{tools[0]}: apply 10,000 from nothing; flat{' with comments' if comments else ''}", apply_all, restore(flat(10000, comments)), max(7, rounds // 4), peer="restore")
