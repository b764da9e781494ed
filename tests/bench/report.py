"""Tables in Markdown of what was measured."""

TARGETS = (
    # name, cell (workers, connections, shape), whose, beside whom, at most
    ("warm token, 1 worker", (1, 64, "1 KiB"), "gateway", "nginx", 0.85),
    ("warm token, 2 workers", (2, 64, "1 KiB"), "gateway", "nginx", 0.85),
    ("warm token, 1 worker", (1, 64, "1 KiB"), "gateway", "haproxy-jwt", 0.21),
    ("warm token, 2 workers", (2, 64, "1 KiB"), "gateway", "haproxy-jwt", 0.21),
    ("token never seen, 1 worker", (1, 64, "cold"), "gateway", "haproxy-jwt", 1.0),
    ("token never seen, 2 workers", (2, 64, "cold"), "gateway", "haproxy-jwt", 1.0),
    ("256 KiB, 1 worker", (1, 64, "256 KiB"), "gateway", "nginx", 0.6),
    ("256 KiB, 2 workers", (2, 64, "256 KiB"), "gateway", "nginx", 0.6),
)
SYSCALLS, IDLE_BYTES, IDLE_RSS_MIB = 4.5, 550, 15


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def name_of(cell):
    workers, connections, shape = cell
    return [str(workers), str(connections), shape]


def columns(results):
    """Names in the order in which they came first."""
    return list(dict.fromkeys(name for row in results["cells"] for name in row["proxies"]))


def cells(results, text):
    names = columns(results)
    head = ["workers", "connections", "shape", *names]
    return table(head, [name_of(row["cell"]) + [text(row["proxies"][n]) if n in row["proxies"] else "" for n in names]
                        for row in results["cells"]])


def cpu(proxy):
    return f"{proxy['cpu_us']:.1f} ({proxy['ratio']:.2f})"


def speed(proxy):
    return f"{proxy['rps']:.0f} · {proxy['p50'] / 1000:.2f} / {proxy['p99'] / 1000:.2f}"


def singles(results):
    rows = []
    for name, one in results["singles"].items():
        calls = f"{one['syscalls']:.2f}" if one.get("syscalls") is not None else ""
        rows.append([name, calls, f"{one['idle_bytes']:.0f}", f"{one['idle_rss_kib'] / 1024:.1f}",
                     f"{one['rss_kib'] / 1024:.1f}"])
    return table(["proxy", "syscalls a request", "bytes an idle connection",
                  f"RSS MiB with {results['idle']} idle", "RSS MiB at rest"], rows)


def judged(results):
    """(what, measured, target, met) of the targets that were measured."""
    found = {tuple(row["cell"]): row["proxies"] for row in results["cells"]}
    for what, cell, mine, other, most in TARGETS:
        proxies = found.get(cell, {})
        if mine in proxies and other in proxies:
            ratio = proxies[mine]["beside"][other]
            yield f"{what}: CPU a request beside {other}", f"{ratio:.2f}", f"≤ {most:.2f}", ratio <= most
    one = results["singles"].get("gateway")
    if one:
        if one.get("syscalls") is not None:
            yield "syscalls a request", f"{one['syscalls']:.2f}", f"≤ {SYSCALLS}", one["syscalls"] <= SYSCALLS
        yield ("user memory of an idle connection", f"{one['idle_bytes']:.0f} B", f"≤ {IDLE_BYTES} B",
               one["idle_bytes"] <= IDLE_BYTES)
        if results["idle"] >= 10000:
            mib = one["idle_rss_kib"] / 1024
            yield "RSS with 10,000 idle connections", f"{mib:.1f} MiB", f"≤ {IDLE_RSS_MIB} MiB", mib <= IDLE_RSS_MIB


def show(results):
    parts = []
    if results["cells"]:
        parts += ["CPU a request in µs, and its ratio to nginx:", cells(results, cpu),
                  "Requests a second · p50 / p99 in ms:", cells(results, speed)]
    if results["singles"]:
        parts.append(singles(results))
    targets = [[what, value, most, "met" if met else "**missed**"] for what, value, most, met in judged(results)]
    if targets:
        parts.append(table(["target", "measured", "at most", ""], targets))
    parts += [f"Not measured: {text}" for text in results["absent"]]
    parts += [f"ERRORS: {text}" for text in results["errors"]]
    return "\n\n".join(parts)
