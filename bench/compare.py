#!/usr/bin/env python3
"""Measures fbt, PyTorch and, where it is there, ONNX Runtime in alternation and writes what came of it: README.md, compare.json,
compare.svg and growth.svg.
Called by compare.sh. --from compare.json writes the pages from an earlier run."""
import argparse
import datetime
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
CONFIGURATIONS = ["A", "B", "C", "D"]
THREADS = [1, 2]
FORMATS = ["bf16", "int8", "int4"]
ONE_THREAD = [(config, 1) for config in CONFIGURATIONS]
CELLS = [(config, threads) for config in CONFIGURATIONS for threads in THREADS]
# rates, and what belongs to the run in which they were the best
ATTACHED = {"train_tokens_per_second": ["fma_fraction", "fma_peak", "peak_memory_mib", "peak_memory_without_pytorch_mib"],
            "train_carried_tokens_per_second": [], "train_recompute_tokens_per_second": ["training_recompute_memory_mib"],
            "decode_tokens_per_second": ["bandwidth_fraction", "read_bandwidth"],
            "decode_8_tokens_per_second": [], "decode_32_tokens_per_second": [], "prompt_tokens_per_second": [],
            **{f"decode_{form}_tokens_per_second": [] for form in FORMATS}}
BUSY = 0.2  # cores
FEEDBACK, PARALLEL, ONNX = "PyTorch feedback", "PyTorch parallel", "ONNX Runtime"


def run(command, threads=None):
    environment = dict(os.environ)
    if threads:
        environment["OMP_NUM_THREADS"] = str(threads)
    return subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout


def run_fbt(program, flags):
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "report.json"
        run([program, "--json", file, *flags])
        return json.loads(file.read_text())


def run_pytorch(model, mode, config, threads, effort):
    """One row with the keys of fbt's report."""
    result = json.loads(run([sys.executable, str(HERE / "pytorch_models.py"), "--model", model, "--mode", mode, "--config", config,
                             "--threads", str(threads), *effort], threads))
    verb = "train" if mode == "train" else "decode"
    return {f"{verb}_tokens_per_second": result.pop("tokens_per_second"), **result}


def run_onnx(library, config, threads, effort):
    result = json.loads(run([sys.executable, str(HERE / "onnx_step.py"), "--library", library, "--config", config,
                             "--threads", str(threads), *effort]))
    return {"decode_tokens_per_second": result["tokens_per_second"], "onnxruntime": result["onnxruntime"]}


def kept():
    """What training keeps by the formulas of the layers' Traces, and for C: d, L, H, f, T = S, B."""
    d, layers, heads, f, steps, lanes = 512, 6, 8, 2048, 128, 16
    parameters = layers * (2 * d * d + d + 2 * d * f + f + 5 * d) + 2 * d * d + (d // heads) * steps + 2 * 65 * d
    columns = steps * lanes
    parts = [("parameters, gradient, two moments", "4 P", 4 * parameters),
             ("packed matrices, as they are and transposed", "2 P", 2 * parameters),
             ("of every block and column: both norms, inputs of the query and the feed-forward part", "4 d", layers * 4 * d * columns),
             ("queries, and what the heads found", "2 d", layers * 2 * d * columns),
             ("attention weights", "H S", layers * heads * steps * columns),
             ("hidden units", "f", layers * f * columns),
             ("outputs of all layers, of every column", "(L + 1) d", (layers + 1) * d * columns),
             ("inputs and norms of key, value and head, gradient of the outputs", "7 d", 7 * d * columns),
             ("deltas of every block, of the columns of 16 steps", "3 d + f", layers * (3 * d + f) * 16 * lanes),
             ("slots for twice the window, their gradients for once", "6 S d, of every lane", 6 * steps * d * lanes)]
    lines = [f"| {name} | {formula} | {4 * floats / 2**20:.0f} |" for name, formula, floats in parts]
    return "\n".join(["| kept | floats | MiB of C |", "|---|---|---:|", *lines])


def keep_best(best, row):
    for rate, attached in ATTACHED.items():
        if row.get(rate) is not None and row[rate] > best.get(rate, 0):
            for key in [rate, *attached]:
                best[key] = row.get(key)
    for key in row:
        best.setdefault(key, row[key])


def busy_cores(seconds=2):
    """How many cores are at work on something else."""
    def idle():
        with open("/proc/stat") as file:
            numbers = [int(number) for number in file.readline().split()[1:]]
        return (numbers[3] + numbers[4]) / os.sysconf("SC_CLK_TCK")
    before = idle()
    time.sleep(seconds)
    return max(0.0, os.cpu_count() - (idle() - before) / seconds)


def measure(args):
    busy = busy_cores()
    if busy > BUSY:
        print(f"warning: {busy:.1f} cores are busy with something else; the figures will be too low", file=sys.stderr)
    effort = ["--seconds", str(args.seconds), "--repetitions", str(args.repetitions)]
    versions = find_versions([pair.split("=", 1)[0] for pair in args.fbt], args.onnxruntime)
    programs = dict(pair.split("=", 1) for pair in args.fbt)
    best = {}
    start = time.time()
    for number in range(args.rounds):
        for config, threads in CELLS:
            if config not in args.config or threads not in args.threads:
                continue
            print(f"{time.time() - start:5.0f} s  round {number + 1} of {args.rounds}, {config}, {threads} threads", flush=True)
            rows = [(f"fbt, {name}", run_fbt(program, ["--config", config, "--threads", str(threads), *effort])[0])
                    for name, program in programs.items()]
            rows.append((FEEDBACK, run_pytorch("feedback", "decode", config, threads, effort)))
            if args.onnxruntime:
                rows.append((ONNX, run_onnx(args.onnxruntime, config, threads, effort)))
            if config != "D":
                rows.append((FEEDBACK, run_pytorch("feedback", "train", config, threads, effort)))
                rows.append((PARALLEL, run_pytorch("parallel", "train", config, threads, effort)))
            for name, row in rows:
                keep_best(best.setdefault(name, {}).setdefault(f"{config} {threads}", {}), row)
    print(f"{time.time() - start:5.0f} s  growth", flush=True)
    growth = run_fbt(next(iter(programs.values())), ["--growth", "--svg", str(args.out / "growth.svg"), *effort])
    from_script = ["--fbt", *args.fbt, "--onnxruntime", args.onnxruntime]
    flags = [flag for flag in sys.argv[1:] if flag not in from_script]
    return {"date": datetime.date.today().isoformat(), "flags": "".join(" " + flag for flag in flags), "machine": machine(),
            "versions": versions, "rounds": args.rounds, "seconds": args.seconds, "repetitions": args.repetitions, "minutes": (time.time() - start) / 60,
            "busy_cores": busy, "best": best, "growth": growth}


def first_value(path, key):
    with open(path) as file:
        return next((line.split(":", 1)[1].strip() for line in file if line.startswith(key)), "unknown")


def machine():
    gib = int(first_value("/proc/meminfo", "MemTotal").split()[0]) / 2**20
    vectors = "AVX-512" if "avx512f" in first_value("/proc/cpuinfo", "flags") else "no AVX-512"
    family = f" family {first_value('/proc/cpuinfo', 'cpu family')} model {first_value('/proc/cpuinfo', 'model')}"
    return (f"{first_value('/proc/cpuinfo', 'model name')}{family}, {os.cpu_count()} cores, {vectors}, {gib:.0f} GiB, "
            f"{platform.machine()}")


def commit():
    """Of the sources, "-dirty" where those of programs have changes that are not committed."""
    git = ["git", "-C", str(HERE)]
    try:
        changed = run([*git, "status", "--porcelain", "--", "../include", "../examples", "../CMakeLists.txt", "*.hpp", "*.cpp"])
        return run([*git, "describe", "--always"]).strip() + ("-dirty" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "(unknown commit)"


def find_versions(compilers, onnxruntime):
    found = {name: run([name, "--version"]).splitlines()[0] for name in compilers}
    little = ["--seconds", "0.01", "--repetitions", "1"]
    row = run_pytorch("parallel", "train", "A", 1, little)
    if onnxruntime:
        found[ONNX] = run_onnx(onnxruntime, "A", 1, little)["onnxruntime"]
    with open("/etc/os-release") as file:
        system = next(line.split("=", 1)[1].strip().strip('"') for line in file if line.startswith("PRETTY_NAME"))
    return {**found, "PyTorch": f"{row['pytorch']}, {row['vectors']}", "BLAS": row["blas"], "system": system,
            "fbt": commit()}


class Results:
    def __init__(self, best):
        self.best = best
        self.fbt = [name for name in best if name.startswith("fbt")]

    def value(self, name, config, threads, key):
        return self.best.get(name, {}).get(f"{config} {threads}", {}).get(key)

    def ratio(self, above, below):
        return above / below if above and below else None


def table(title, columns, rows):
    """Rows are (name, values); a value is text or None."""
    lines = [f"| {title} | " + " | ".join(columns) + " |", "|---|" + "---:|" * len(columns)]
    for name, values in rows:
        if any(value is not None for value in values):
            lines.append(f"| {name} | " + " | ".join("" if value is None else value for value in values) + " |")
    return "\n".join(lines)


def text(value, form):
    return None if value is None else format(value, form)


def by_cell(title, rows, cells=None):
    """Rows are (name, function of configuration and threads, format)."""
    cells = cells or CELLS
    columns = [f"{config} {threads}" if cells != ONE_THREAD else config for config, threads in cells]
    return table(title, columns, [(name, [text(f(*cell), form) for cell in cells]) for name, f, form in rows])


def readme(data):
    results = Results(data["best"])
    with open(HERE / "public_implementations.json") as file:
        public = json.load(file)
    trained = [cell for cell in CELLS if cell[0] != "D"]
    train, decode, memory = "train_tokens_per_second", "decode_tokens_per_second", "peak_memory_mib"

    def rate(name, key):
        return lambda config, threads: results.value(name, config, threads, key)

    def over(name, other, key, other_key=None):
        return lambda config, threads: results.ratio(results.value(name, config, threads, key),
                                                     results.value(other, config, threads, other_key or key))

    def scaling(name, key):
        return lambda config, threads: results.ratio(results.value(name, config, 2, key), results.value(name, config, 1, key))

    def over_public(name, kind, other, key):
        return lambda config, threads: results.ratio(results.value(name, config, threads, key),
                                                     public[kind][other].get(config, [None, None])[threads - 1])

    best_feedback = {config: [max(rates[config][i] for name, rates in public["training"].items() if name.startswith("feedback"))
                              for i in (0, 1)] for config in ("A", "B", "C")}
    best_name = "best of the feedback implementations"
    public["training"] = {best_name: best_feedback, **public["training"]}

    def over_public_implementations():
        if f", {public['vectors']}," not in data["machine"]:
            return f"Public implementations were {public['about']}: nothing to divide by on this machine."
        return f"""fbt over public implementations that were {public["about"]}: what the machine did at the time is part of these ratios.

{by_cell("training speed, over", [(f"{other}: {name}", over_public(name, "training", other, train), ".2f")
                                   for other in public["training"] for name in results.fbt], trained)}

{by_cell("decoding speed, over", [(f"{other}: {name}", over_public(name, "decoding", other, decode), ".2f")
                                   for other in public["decoding"] for name in results.fbt])}"""

    def weights_of_fewer_bits():
        rows = [(f"{form}, {name}", over(name, name, f"decode_{form}_tokens_per_second", decode), ".2f")
                for form in FORMATS for name in results.fbt]
        if all(value(*cell) is None for _, value, _ in rows for cell in CELLS):
            return ""
        return f"""With weights of fewer bits, over full ones.

{by_cell("one sequence", rows)}

"""

    names = list(results.best)
    took_turns, opponents, onnx_note = "fbt and PyTorch", "PyTorch", ""
    if ONNX in names:
        took_turns, opponents = "fbt, PyTorch and ONNX Runtime", "PyTorch and ONNX Runtime"
        onnx_note = f"""
- {ONNX} decodes with the same model (`bench/onnx_step.py`), one step as a graph, by its C library: before every measurement some
  steps are checked against PyTorch's. Keys and values stay where they are, and the new slot takes the place of the oldest."""
    ratios = []
    for name in results.fbt:
        ratios += [(f"training, {name} / {FEEDBACK}", over(name, FEEDBACK, train), ".2f"),
                   (f"training, {name} / {PARALLEL}", over(name, PARALLEL, train), ".2f"),
                   (f"decoding, {name} / {FEEDBACK}", over(name, FEEDBACK, decode), ".2f"),
                   (f"decoding, {name} / {ONNX}", over(name, ONNX, decode), ".2f")]
    threads = [(f"{verb}, {name}", scaling(name, key), ".2f") for verb, key in (("training", train), ("decoding", decode))
               for name in names]
    many = [("decoding, 1 sequence", decode), ("decoding, 8 sequences", "decode_8_tokens_per_second"),
            ("decoding, 32 sequences", "decode_32_tokens_per_second"), ("reading a prompt", "prompt_tokens_per_second")]
    growth_keys = {"train_step_us": ",.0f", "train_token_us": ",.1f", "decode_step_us": ",.0f"}
    growth_columns = ["training step of all lanes, µs", "per token, µs", "decoding step, µs"]
    transformer_note = ""
    if "transformer_decode_step_us" in data["growth"][0]:
        growth_keys["transformer_decode_step_us"] = ",.0f"
        growth_columns.append("Transformer, decoding step, µs")
        transformer_note = (" The last column is the ordinary Transformer of the same sizes, which reads keys and values of its own\n"
                            "in every layer.")
    growth_rows = [(f"{row['quantity']} {row['value']}",
                    [text(row[key], form) for key, form in growth_keys.items()]) for row in data["growth"]]
    giga = 1e9
    machine_rows = [(name, lambda config, threads, key=key: results.ratio(rate(results.fbt[0], key)(config, threads), giga), ",.0f")
                    for name, key in (("multiply-add peak, GFLOP/s", "fma_peak"),
                                      ("read bandwidth of what a decoding step reads, GB/s", "read_bandwidth"))]
    return f"""# Benchmarks

Written by `bash bench/compare.sh{data.get("flags", "")}` on {data["date"]}, from fbt {data["versions"]["fbt"]}. {took_turns} took turns,
{data["rounds"]} round{"s" if data["rounds"] > 1 else ""} in {data["minutes"]:.0f} minutes; of every figure the best of {data["rounds"]} × {data["repetitions"]} repetitions of at least {data["seconds"]:g} s counts.
A 2 is configuration A on 2 threads.{f" Something else kept {data['busy_cores']:.1f} cores busy: these figures are not to be relied on." if data["busy_cores"] > BUSY else ""}

| configuration | width | layers | heads | feed-forward | lanes | segment = window |
|---|---:|---:|---:|---:|---:|---:|
| A | 128 | 4 | 4 | 512 | 32 | 64 |
| B | 256 | 4 | 4 | 1024 | 32 | 64 |
| C | 512 | 6 | 8 | 2048 | 16 | 128 |
| D (decoding only) | 512 | 12 | 8 | 4096 | 1 | 512 |

![Speed over that of the same model in PyTorch](compare.svg)

## Ratios

fbt over {opponents} in the same run; above 1, fbt is faster.

{by_cell("speed", ratios)}

Two threads over one.

{by_cell("speed", threads, ONE_THREAD)}

{over_public_implementations()}

## Training

Tokens per second, forward + backward + Adam, every segment with an empty memory.

{by_cell("tokens/s", [(name, rate(name, train), ",.0f") for name in names] +
         [(f"{name}, memory carried on", rate(name, "train_carried_tokens_per_second"), ",.0f") for name in results.fbt] +
         [(f"{name}, with recompute", rate(name, "train_recompute_tokens_per_second"), ",.0f") for name in results.fbt], trained)}

Matrix arithmetic alone, as a share of the multiply-add peak of the same threads.

{by_cell("share", [(name, rate(name, "fma_fraction"), ".0%") for name in results.fbt], trained)}

Peak memory of the training process.

{by_cell("MiB", [(name, rate(name, memory), ",.0f") for name in names] +
         [(f"{name}, with recompute", rate(name, "training_recompute_memory_mib"), ",.0f") for name in results.fbt] +
         [(f"{name}, without PyTorch itself", rate(name, "peak_memory_without_pytorch_mib"), ",.0f") for name in (FEEDBACK, PARALLEL)],
         trained)}

What fbt keeps, in floats, and how much that is of C on one thread. With recompute the activations of blocks are those of 16 steps.

{kept()}

## Decoding

Tokens per second of one sequence with a full window.

{by_cell("tokens/s", [(name, rate(name, decode), ",.0f") for name in (*results.fbt, FEEDBACK, ONNX)])}

Weights, keys and values that a step reads, as a share of the measured read bandwidth.

{by_cell("share", [(name, rate(name, "bandwidth_fraction"), ".0%") for name in results.fbt])}

{weights_of_fewer_bits()}Several sequences side by side, and one that is read in segments; all sequences together, one thread.

{by_cell("tokens/s", [(f"{verb}, {name}", rate(name, key), ",.0f") for verb, key in many for name in results.fbt], ONE_THREAD)}

## Growth

From configuration A one size is varied at a time; one thread, {results.fbt[0]}, full window, without the
optimiser.{transformer_note}

![Time of a training step against the sizes of the model](growth.svg)

{table("size", growth_columns, growth_rows)}

## Machine

{data["machine"]}

{by_cell("measured in the same run", machine_rows)}

{chr(10).join(f"- {name}: {version}" for name, version in data["versions"].items() if name != "fbt")}

```bash
{f"bash bench/compare.sh{data.get('flags', '')}":<52} # this page
bash bench/run.sh --config A,B --threads 1           # fbt alone; --json FILE, --seconds S, --help
CXX=clang++ bash bench/run.sh --growth --svg g.svg   # how the time of a step grows
cmake --preset bench && cmake --build --preset bench && build/bench/bench/layers --benchmark_filter=Attention
```

## How to read this

- {FEEDBACK} is our own implementation of the same model (`bench/pytorch_models.py`): its logits, loss and gradients are
  checked against fbt's before every run. It keeps keys and values in preallocated memory, which autograd alone does not allow;
  decoding runs as a frozen TorchScript module. {PARALLEL} is a causal Transformer of the same size, which reads all steps of a segment
  at once. Neither clips gradients, fbt does.{onnx_note}
- Two threads of fbt train two shards of lanes for A and B; for C, of 16 lanes, one shard whose steps they share. The result does not
  depend on the number of threads, but on that of the shards.
- Matrix arithmetic is that of the Linear layers and of attention over the slots that are really seen (scores, values, position term),
  three times that of the forward pass. Norms, softmax, activations, the optimiser and all copies count as time but not as work.
- The read bandwidth is that of a loop over as many bytes as a decoding step reads, again and again, on as many threads, from pages
  of the system's usual size, as the weights of a model are (packs of 2 MiB and more, and weights of fewer bits, are on large pages where
  the system gives them). Every layer reads the shared keys and values, and they count once per layer.
- Peak memory is that of a process which does nothing else (VmHWM).
"""


def bars(data):
    """An SVG picture: training and decoding speed over that of the same model in PyTorch."""
    results = Results(data["best"])
    colours = dict(zip([FEEDBACK, PARALLEL, *results.fbt], ["#999999", "#e69f00", "#0072b2", "#56b4e9"]))
    if ONNX in data["best"]:
        colours[ONNX] = "#009e73"
    width, left, right, height = 900, 60, 880, 240
    out = []
    for panel, (verb, key) in enumerate((("Training", "train_tokens_per_second"), ("Decoding one sequence", "decode_tokens_per_second"))):
        cells = [cell for cell in CELLS if results.value(FEEDBACK, *cell, key)]
        if not cells:
            continue
        names = [name for name in colours if results.value(name, *cells[0], key)]
        values = {(cell, name): results.ratio(results.value(name, *cell, key), results.value(FEEDBACK, *cell, key))
                  for cell in cells for name in names}
        bottom = 70 + panel * (height + 70) + height
        most = max(values.values())
        step = next(step for step in (digit * 10.0**power for power in range(-1, 9) for digit in (1, 2, 5)) if most / step <= 8)
        scale = (height - 20) / most
        out.append(f'<text x="{left}" y="{bottom - height - 8}" font-size="15">{verb}: tokens/s over those of {FEEDBACK}</text>')
        for i in range(int(most / step) + 1):
            y = bottom - i * step * scale
            out.append(f'<line x1="{left}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" stroke="#e6e6e6"/>'
                       f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{i * step:g}</text>')
        group = (right - left) / len(cells)
        bar = 0.8 * group / len(names)
        for i, cell in enumerate(cells):
            for k, name in enumerate(names):
                x, tall = left + (i + 0.1) * group + k * bar, values[cell, name] * scale
                out.append(f'<rect x="{x:.1f}" y="{bottom - tall:.1f}" width="{bar - 1:.1f}" height="{tall:.1f}" fill="{colours[name]}"/>'
                           f'<text x="{x + bar / 2:.1f}" y="{bottom - tall - 3:.1f}" text-anchor="middle" font-size="10">'
                           f'{values[cell, name]:.1f}</text>')
            label = f"{cell[0]}, {cell[1]} thread{'s' if cell[1] > 1 else ''}"
            out.append(f'<text x="{left + (i + 0.5) * group:.1f}" y="{bottom + 18}" text-anchor="middle">{label}</text>')
        out.append(f'<line x1="{left}" y1="{bottom}" x2="{right}" y2="{bottom}" stroke="#333333"/>')
    for k, (name, colour) in enumerate(colours.items()):
        x = left + 170 * k
        out.append(f'<rect x="{x}" y="14" width="14" height="14" fill="{colour}"/><text x="{x + 20}" y="26">{name}</text>')
    total = 70 + 2 * (height + 70) - 30
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{total}" viewBox="0 0 {width} {total}" '
                      'font-family="sans-serif" font-size="13" fill="#333333">',
                      f'<rect width="{width}" height="{total}" fill="#ffffff"/>', *out, "</svg>", ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fbt", action="append", default=[], metavar="COMPILER=PROGRAM", help="a report program of fbt")
    parser.add_argument("--onnxruntime", metavar="FILE", help="libonnxruntime.so; without it ONNX Runtime is left out")
    parser.add_argument("--config", type=lambda names: names.split(","), default=CONFIGURATIONS, help="of A,B,C,D")
    parser.add_argument("--threads", type=lambda counts: [int(count) for count in counts.split(",")], default=THREADS, help="of 1,2")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.5, help="least time of one repetition")
    parser.add_argument("--repetitions", type=int, default=2, help="per round")
    parser.add_argument("--out", type=pathlib.Path, default=HERE, metavar="FOLDER", help="where to write")
    parser.add_argument("--from", dest="source", type=pathlib.Path, metavar="FILE", help="an earlier compare.json; measure nothing")
    args = parser.parse_args()
    if bool(args.fbt) == bool(args.source):
        parser.error("expected either --fbt or --from")
    for name, given, known in (("--config", args.config, CONFIGURATIONS), ("--threads", args.threads, THREADS)):
        if unknown := [value for value in given if value not in known]:
            parser.error(f"{name}: expected some of {known}, found {unknown}")
    args.out.mkdir(parents=True, exist_ok=True)
    if args.source:
        data = json.loads(args.source.read_text())
    else:
        data = measure(args)
        (args.out / "compare.json").write_text(json.dumps(data, indent=1) + "\n")
    (args.out / "README.md").write_text(readme(data))
    (args.out / "compare.svg").write_text(bars(data))


if __name__ == "__main__":
    main()
