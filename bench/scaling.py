"""Measures two processes against two threads, and sets up a model of more processes. Called by scaling.sh."""
import argparse
import datetime
import json
import os
import pathlib
import subprocess

from cells import chart, table
from compare import commit, machine

HERE = pathlib.Path(__file__).resolve().parent
CONFIGURATIONS = "ABC"
LANES = {"A": 32, "B": 32, "C": 16}
PART_LANES = [1, 2, 4, 8, 16, 32]
PROCESSES = [2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]
# bit/s and seconds per message, as such networks have them
NETWORKS = {"1 Gbit/s": (1e9, 50e-6), "10 Gbit/s": (10e9, 20e-6), "100 Gbit/s": (100e9, 3e-6)}


def run(program, config, processes, threads, lanes, seconds):
    environment = os.environ | {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "FBT_PROCESSORS": str(threads)}
    done = subprocess.run(["mpirun.openmpi", "-q", "--bind-to", "none", "-np", str(processes), program, "--config", config, "--threads", str(threads),
                           "--lanes", str(lanes), "--shards", str(max(processes, threads)), "--seconds", str(seconds)],
                          capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        raise SystemExit(done.stdout + done.stderr)
    return json.loads(done.stdout)


def measure(program, rounds, seconds):
    best = {}

    def keep(row):
        key = f"{row['config']} {row['processes']} {row['threads']} {row['lanes']}"
        if key not in best or row["seconds"] < best[key]["seconds"]:
            best[key] = row
        print(f"{key}: {1000 * row['seconds']:.1f} ms an update, {1000 * row['exchange_seconds']:.1f} of them exchange", flush=True)

    for _ in range(rounds):
        for config in CONFIGURATIONS:
            for processes, threads in ((1, 1), (1, 2), (2, 1)):
                keep(run(program, config, processes, threads, LANES[config], seconds))
            for lanes in PART_LANES:
                if lanes != LANES[config]:
                    keep(run(program, config, 1, 1, lanes, seconds / 2))
    return {"date": datetime.date.today().isoformat(), "fbt": commit(), "machine": machine(), "rows": list(best.values())}


def bytes_sent(parameters, processes):
    """What a process of one shard sends for an update: of the gradient the others' parts, and its part of the parameters to them all."""
    return 2 * 4 * parameters * (processes - 1) / processes


class Model:
    """Time of an update: computing the lanes of a process, its part of the optimiser, and the exchange."""

    def __init__(self, rows, config):
        self.rows = {(row["processes"], row["threads"], row["lanes"]): row for row in rows if row["config"] == config}
        self.parameters = self.rows[1, 1, LANES[config]]["parameters"]
        self.optimizer = self.rows[1, 1, LANES[config]]["exchange_seconds"]  # of one process: nothing is exchanged

    def computing(self, lanes):
        """Of so many lanes by one thread: between measured numbers of lanes along a line, beyond them in proportion."""
        points = sorted((key[2], row["seconds"] - row["exchange_seconds"]) for key, row in self.rows.items() if key[:2] == (1, 1))
        if lanes >= points[-1][0]:
            return points[-1][1] * lanes / points[-1][0]
        (a, x), (b, y) = next(pair for pair in zip(points, points[1:]) if pair[0][0] <= lanes <= pair[1][0])
        return x + (y - x) * (lanes - a) / (b - a)

    def exchange(self, processes, network):
        bits, latency = network
        # a message to every other process in the exchange of gradients, and in the gathering of parameters
        return 8 * bytes_sent(self.parameters, processes) / bits + 2 * (processes - 1) * latency

    def update(self, processes, lanes, network):
        return self.computing(lanes) + self.optimizer / processes + self.exchange(processes, network)

    def efficiency(self, processes, lanes, network):
        return (self.computing(lanes) + self.optimizer) / self.update(processes, lanes, network)

    def lanes_for(self, efficiency, processes, network):
        return next((lanes for lanes in (2**k for k in range(20)) if self.efficiency(processes, lanes, network) >= efficiency), None)


def report(result):
    rows = result["rows"]
    models = {config: Model(rows, config) for config in CONFIGURATIONS}
    measured, memory, sent, check = [], [], [], []
    for config, model in models.items():
        lanes = LANES[config]
        one, threads, processes = (model.rows[key] for key in ((1, 1, lanes), (1, 2, lanes), (2, 1, lanes)))
        measured.append([config, *[f"{1 / row['seconds']:.2f}" for row in (one, threads, processes)], f"{one['seconds'] / processes['seconds']:.2f}",
                         f"{threads['seconds'] / processes['seconds']:.2f}"])
        memory.append([config, f"{threads['peak_memory_mib']:.0f}", f"{processes['peak_memory_mib']:.0f}"])
        sent.append([config, f"{model.parameters:,}", *[f"{bytes_sent(model.parameters, p) / 1e6:.1f}" for p in (2, 8, 1024)]])
        predicted = model.computing(lanes / 2) + processes["exchange_seconds"]
        check.append([config, f"{1000 * predicted:.1f}", f"{1000 * processes['seconds']:.1f}", f"{predicted / processes['seconds']:.2f}"])
    weak, strong, needed = [], [], []
    for config, model in models.items():
        for name, network in NETWORKS.items():
            weak.append([f"{config}, {name}", *[f"{100 * model.efficiency(p, LANES[config], network):.0f}" for p in PROCESSES]])
            strong.append([f"{config}, {name}", *[f"{1 / model.update(p, max(1, 1024 / p), network):.2f}" for p in PROCESSES]])
            needed.append([f"{config}, {name}", *[str(model.lanes_for(0.9, p, network) or "") for p in PROCESSES]])
    lines = [(f"{config}, {name}", [100 * models[config].efficiency(p, LANES[config], NETWORKS[name]) for p in PROCESSES])
             for config in CONFIGURATIONS for name in ("10 Gbit/s", "100 Gbit/s")]
    (HERE / "scaling.svg").write_text(chart("Weak scaling on paper: share of the perfect", PROCESSES, lines, "%", False, 0))
    head = ["", *map(str, PROCESSES)]
    first = rows[0]
    text = f"""# Training by several processes

Written by `bash bench/scaling.sh` on {result['date']}, from fbt {result['fbt']}, on {result['machine']}, vectors of {first['vector_bytes']} bytes, {first['compiler']}.
Configurations as in [README.md](README.md); segments begin with an empty memory.

## Measured: two processes of one thread, two threads of one process

Updates per second, with {", ".join(f"{LANES[c]} lanes of {c}" for c in CONFIGURATIONS)} in two shards (one thread alone: in one).

{table(["", "one thread", "two threads", "two processes", "processes over one thread", "processes over threads"], measured)}

Most memory of a process, MiB. A process of two has one gradient and half of the moments, but buffers for the exchange.

{table(["", "two threads", "each of two processes"], memory)}

Million bytes that a process sends for an update, with a shard for each: of the gradient the parts of the others, and its part of the
parameters to them all.

{table(["", "parameters", "2 processes", "8", "1,024"], sent)}

## On paper: more machines

The time of an update is what the lanes of a process take on one thread, measured for {", ".join(map(str, PART_LANES))} lanes, plus its part of the
optimiser, plus its bytes at the network's rate, plus a latency for each message: {", ".join(f"{1e6 * network[1]:.0f} us at {name}" for name, network in NETWORKS.items())}.
Against the measurement of two processes, with the exchange as it was measured there (ms):

{table(["", "on paper", "measured", "ratio"], check)}

Weak scaling: the share of the perfect, in percent, when every process has the lanes of its configuration.

{table(head, weak)}

![Weak scaling on paper](scaling.svg)

Strong scaling: updates per second when all processes share 1,024 lanes (less than a lane for none).

{table(head, strong)}

Lanes of a process (of powers of two) from which it does 90% of the perfect:

{table(head, needed)}
"""
    (HERE / "scaling.md").write_text(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--report", action="store_true", help="measure nothing, write the report again")
    args = parser.parse_args()
    path = HERE / "scaling.json"
    if not args.report:
        path.write_text(json.dumps(measure(args.program, args.rounds, args.seconds), indent=1) + "\n")
    report(json.loads(path.read_text()))


if __name__ == "__main__":
    main()
