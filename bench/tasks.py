"""Trains every model on every task of the paper and on text, side by side, and writes tasks.jsonl, tasks.md and pictures. Called by
tasks.sh. A cell that tasks.jsonl holds is not run again, unless its command has changed."""
import datetime
import json
import math
import shlex
import subprocess
import time

from cells import PROGRAMS, ROOT, Report, Results, cell, chart, main, measure, spread, table

TEXT = "build/bible.txt"
RUNS = "runs/tasks"

GROUPS = ["tasks", "state", "text", "depth", "window", "speed"]
RULES = ["lstm", "lstm_attention", "transformer", "top_only", "recurrent", "average", "feedback"]
NAMES = {"lstm": "LSTM", "lstm_attention": "LSTM + attention", "transformer": "Transformer", "top_only": "top-only",
         "recurrent": "recurrent", "average": "average", "feedback": "feedback"}
UPDATES = {"copy": 3000, "reverse": 3000, "counting": 1500, "random_walk": 6000, "algorithmic_3": 20000, "algorithmic_5": 30000,
           "parity": 4000, "modular_5": 4000, "s5": 16000, "flip_flop": 2000, "recall": 2000}
TASKS = ["copy", "reverse", "counting", "random_walk", "algorithmic_3", "algorithmic_5"]
STATE = {"parity": 32, "modular_5": 32, "s5": 32, "flip_flop": 32, "recall": 8}  # the trained lengths
STATE_LENGTHS = {task: [2] if task == "recall" else [4, 8] for task in STATE}  # times the trained length, of the tests
SECONDS = {"random_walk": 180, "algorithmic_3": 600, "algorithmic_5": 900, "s5": 900}  # about, of others 120, for knowing what still fits
STRINGS = ("copy", "reverse", "counting")
PAPER = {"copy": ("59.1 / 6.2", "76.2 / 23.6"), "reverse": ("50.2 / 5.9", "74.8 / 29.2"), "counting": ("82.4", "95.3"),
         "random_walk": ("68", "100"), "algorithmic_3": ("33.7", "99.1"), "algorithmic_5": ("37.5", "92.6")}
TEXT_RULES = ["transformer", "recurrent", "top_only", "average", "feedback"]
WIDTH, TEXT_LAYERS, TEXT_UPDATES = 128, 4, 1000
WINDOWS = [4, 8, 16, 32, 64]
WINDOW_TASKS = ["random_walk", "algorithmic_3"]
DEPTHS = [1, 2, 4, 8]


def task_cell(group, name, task, rule, seed, scale, window=None):
    # the Transformer has twice the layers of the others, as in the paper
    layers = (4 if task in STRINGS else 2) * (2 if rule == "transformer" else 1)
    command = [f"{PROGRAMS}/tasks", "train", "--task", task, "--rule", rule, "--layers", layers, "--seed", seed, "--updates",
               round(scale * UPDATES[task]), "--seconds", 0, "--threads", 1]
    if task.startswith("algorithmic"):  # the longest cells: all lanes in one product are faster than two shards on one thread
        command += ["--shards", 1]
    if task == "flip_flop":  # all its tests together have more than 100,000 reads
        command += ["--tests", 2000]
    row = {**cell(group, name, command, scale * SECONDS.get(task, 120)), "task": task, "rule": rule, "seed": seed}
    return row if window is None else row | {"command": [*command, "--window", window], "window": window}


def text_cell(group, name, rule, layers, seed, updates):
    # where every layer has keys and values of its own, the feed-forward part is smaller, so that all have as many parameters
    hidden = 4 * WIDTH - (WIDTH * (layers - 1) // layers if rule in ("transformer", "recurrent") else 0)
    command = [f"{PROGRAMS}/language_model", "train", "--data", TEXT, "--memory-rule", rule, "--width", WIDTH, "--layers", layers,
               "--feed-forward", hidden, "--updates", updates, "--seed", seed, "--threads", 1, "--validation-fraction", 0.02]
    return {**cell(group, name, command, updates * layers / 50 + 10), "rule": rule, "layers": layers, "seed": seed}


def cells(seeds, scale):
    """In the order of running: the first seed of everything comes first."""
    result = []
    for seed in range(1, seeds + 1):
        for group, tasks in (("tasks", TASKS), ("state", STATE)):
            result += [task_cell(group, f"{task}/{rule}/{seed}", task, rule, seed, scale) for task in tasks for rule in reversed(RULES)]
        result += [text_cell("text", f"{rule}/{seed}", rule, TEXT_LAYERS, seed, round(scale * TEXT_UPDATES)) for rule in TEXT_RULES]
        if seed == 1:
            result += [text_cell("depth", f"{rule}/{layers}", rule, layers, 1, round(scale * TEXT_UPDATES))
                       for layers in DEPTHS if layers != TEXT_LAYERS for rule in ("transformer", "feedback")]
            result += [task_cell("window", f"{task}/{rule}/{window}", task, rule, 1, scale, window)
                       for task in WINDOW_TASKS for window in WINDOWS for rule in ("transformer", "feedback")]
    return result


def run(one, folder):
    command = [str(part) for part in one["command"]] + ["--out", folder]
    start = time.time()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{shlex.join(command)}\n{done.stdout}{done.stderr}")
    lines = [json.loads(line) for line in (ROOT / folder / "metrics.jsonl").read_text().splitlines()]
    row = {key: value for key, value in one.items() if key not in ("command", "expected")}
    row |= {"command": shlex.join(command), "wall_seconds": round(time.time() - start, 1), "date": datetime.date.today().isoformat()}
    if one["group"] in ("text", "depth"):
        best = min(lines, key=lambda line: line["validation_loss"] or 99)
        row |= {"updates": lines[-1]["update"], "validation_loss": best["validation_loss"],
                "parameters": int(done.stdout.split(" parameters", 1)[0]), "layer_weights": lines[-1]["layer_weights"]}
    else:
        row |= lines[-1]
    return row


def speed_rows(known):
    """Training and decoding speed by depth, one program at a time on one thread."""
    for layers in DEPTHS:
        for rule in ("transformer", "feedback"):
            folder = f"{RUNS}/text/{rule}/1" if layers == TEXT_LAYERS else f"{RUNS}/depth/{rule}/{layers}"
            if f"speed/{rule}/{layers}" in known or not (ROOT / folder / "model.safetensors").exists():
                continue
            subprocess.run(["rm", "-rf", f"{RUNS}/speed/{rule}/{layers}"], cwd=ROOT, check=True)
            timed = text_cell("speed", f"{rule}/{layers}", rule, layers, 1, 100)
            command = [str(part) for part in timed["command"]] + ["--validation-fraction", "0"]
            metrics = run({**timed, "group": "window", "command": command}, f"{RUNS}/speed/{rule}/{layers}")
            decode = [f"{PROGRAMS}/language_model", "generate", "--model", f"{folder}/model.safetensors", "--threads", "1", "--length"]
            seconds = {}
            for length in (200, 3200):  # their difference is without the time to load the model
                best = []
                for _ in range(3):
                    start = time.time()
                    subprocess.run([*decode, str(length)], cwd=ROOT, capture_output=True, check=True)
                    best.append(time.time() - start)
                seconds[length] = min(best)
            row = {"id": f"speed/{rule}/{layers}", "group": "speed", "rule": rule, "layers": layers, "seed": 1,
                   "command": metrics["command"], "decode_command": shlex.join([*decode, "3200"]),
                   "train_tokens_per_second": metrics["tokens_per_second"],
                   "decode_tokens_per_second": 3000 / (seconds[3200] - seconds[200]), "date": metrics["date"]}
            print(f"{row['id']}: {row['train_tokens_per_second']:.0f} and {row['decode_tokens_per_second']:.0f} tokens/s", flush=True)
            yield row


def summary(row):
    if "validation_loss" in row:
        return f"{row['validation_loss']:.4f} nats"
    if "character_accuracy" in row:
        return f"{100 * row['character_accuracy']:.1f} / {100 * row['sequence_accuracy']:.1f}"
    return f"{100 * row['accuracy']:.1f}"


def report(known):
    results = Results(known)
    page = Report()
    parts, picture = page.parts, page.picture

    def percent(key, **wanted):
        return spread([100 * value for value in results.values(key, **wanted)], ".1f")

    def entry(group, task, rule):
        if task in STRINGS:
            both = [percent(key, group=group, task=task, rule=rule) for key in ("character_accuracy", "sequence_accuracy")]
            return " / ".join(both) if both[0] else ""
        return percent("accuracy", group=group, task=task, rule=rule)

    def paper_table(group):
        return table(["task", *[NAMES[rule] for rule in RULES], "paper: Transformer", "paper: feedback"],
                     [[task.replace("_", " "), *[entry(group, task, rule) for rule in RULES], *PAPER[task]] for task in TASKS])

    first = {task: "character_accuracy" if task in STRINGS else "accuracy" for task in TASKS}
    bars = [(NAMES[rule], [results.mean(first[task], 100, group="tasks", task=task, rule=rule) for task in TASKS]) for rule in RULES]
    updates = ", ".join(f"{task.replace('_', ' ')} {UPDATES[task]:,}" for task in TASKS)
    seen = {chosen: math.floor(1000 * min((row["trained_lengths_character_accuracy"] for row in results.rows if row["group"] == "tasks"
                              and row["task"] in STRINGS and (row["rule"] in ("feedback", "transformer")) == chosen), default=1)) / 10
            for chosen in (True, False)}
    several = any(seed > 1 for seed in results.values("seed", group="tasks"))
    parts.append(f"""## The paper's tasks

Accuracy in percent on the test set. The Transformer has twice the layers of the others, as in the paper, whose own figures stand beside ours: its
data rules of copy, reverse, counting and random walk are not published, so that of these only our own figures can be compared. Of strings
(copy, reverse, counting) the figures are those of characters / of whole strings; the paper gives one for counting, of strings of 1000. Our
test strings are longer than any that was trained on, up to twice as long. On new strings of trained lengths feedback and the Transformer get at least
{seen[True]}% of the characters right, the others, not all of which have learned them after so many updates, at worst {seen[False]}%: what the
table shows is how a model carries on beyond what it was trained on. Strings are learned
without positions, and attention begins with a look for tokens like the present one (`--position none --mimetic 3`): see
[examples](../examples/README.md#beyond-trained-lengths).

All had as many updates: {updates}. An
empty cell has not been run. {"With more than one seed: the mean, and the range." if several else "One seed each."}

{paper_table("tasks")}
{picture("tasks", chart("Accuracy by task and model", [task.replace("_", " ") for task in TASKS], bars, "accuracy, %", True, 0))}""")

    if results.values("seed", group="by_time"):
        parts.append(f"""## The same, by time

What the cells above do not show yet, as an earlier fbt had it: with relative positions in all tasks, layer weights of feedback that began equal, programs whose
`++`, `--` and conditions were up to 1.2 points more, or less, frequent than the paper's generator makes them, and so many seconds on one thread:
random walk 150, algorithmic 3 900, algorithmic 5 300, copy and reverse 80, counting 40. One seed each.

{paper_table("by_time")}
""")

    measures = []
    for task, length in STATE.items():
        measures.append((task, length, "accuracy"))
        measures += [(task, more * length, f"length_{more * length}_accuracy") for more in STATE_LENGTHS[task]]
        if task == "flip_flop":
            measures.append((task, "sparse", "sparse_accuracy"))
    rows = [[f"{task.replace('_', ' ')}, {length}", *[percent(key, group="state", task=task, rule=rule) for rule in RULES]] for task, length, key in measures]
    rows = [row for row in rows if any(row[1:])]
    if rows:
        parts.append(f"""## State tracking and recall

Accuracy in percent at the length that was trained on and at longer ones: of tokens, of pairs for flip flop and recall. The sparse test of flip flop has 98% of its
bits ignored; all tests of flip flop together have more than 100,000 reads. The Transformer has twice the layers of the others, four. All had as many updates:
{", ".join(f"{task.replace('_', ' ')} {UPDATES[task]:,}" for task in STATE)}.

{table(["task", *[NAMES[rule] for rule in RULES]], rows)}
""")

    rows = [[task.replace("_", " "), NAMES[rule], *[percent("accuracy", group="window", task=task, rule=rule, window=window) for window in WINDOWS]]
            for task in WINDOW_TASKS for rule in ("transformer", "feedback")]
    lines = [(f"{task.replace('_', ' ')}, {NAMES[rule]}", [results.mean("accuracy", 100, group="window", task=task, rule=rule, window=window)
                                                           for window in WINDOWS])
             for task in WINDOW_TASKS for rule in ("transformer", "feedback")]
    rows = [row for row in rows if any(row[2:])]
    lines = [(name, line) for name, line in lines if any(line)]
    if rows:
        parts.append(f"""## How much memory it takes

Accuracy in percent by the length of the window, the paper's memory size, after as many updates as above.

{table(["task", "model", *[str(window) for window in WINDOWS]], rows)}
{picture("window", chart("Accuracy by window", WINDOWS, lines, "accuracy, %", False, 0))}""")

    def nats(**wanted):
        return spread(results.values("validation_loss", **wanted), ".4f")

    if results.values("validation_loss", group="text"):
        rows = [[NAMES[rule], nats(group="text", rule=rule), str(results.values("parameters", group="text", rule=rule)[0]), paper]
                for rule, paper in zip(TEXT_RULES, ["1.285", "1.267", "1.203", "", "1.197"]) if results.values("parameters", group="text", rule=rule)]
        parts.append(f"""## Memory rules on text

Validation loss in nats per character on the King James Bible: width {WIDTH}, 4 layers, the same number of updates; as many parameters: where
every layer has keys and values of its own, the feed-forward part is smaller. Before fbt 51dce22 layer weights began equal, and memory
vectors went through a LayerNorm (`--memory-norm own`). Beside it what the paper found on the characters of Penn
Treebank, in bits per character, read off its figure 5.

{table(["memory", "validation loss", "parameters", "paper, bits per character"], rows)}
""")
    timed = results.values("decode_tokens_per_second", group="speed")
    if results.values("validation_loss", group="depth"):
        # of TEXT_LAYERS layers it is the text's own cell
        depth = [(NAMES[rule], [results.mean("validation_loss", rule=rule, layers=layers, seed=1) for layers in DEPTHS])
                 for rule in ("transformer", "feedback")]
        rows = []
        for rule in ("transformer", "feedback"):
            rows.append([f"{NAMES[rule]}, nats per character", *[nats(rule=rule, layers=layers, seed=1) for layers in DEPTHS]])
        for key, name in (("train_tokens_per_second", "training"), ("decode_tokens_per_second", "decoding")):
            for rule in ("transformer", "feedback"):
                values = [results.mean(key, group="speed", rule=rule, layers=layers) for layers in DEPTHS]
                if any(values):
                    rows.append([f"{NAMES[rule]}, {name}, tokens/s", *["" if value is None else f"{value:,.0f}" for value in values]])
        parts.append(f"""## Depth

The same text and updates by the number of layers.{" Speeds are of one thread, one program at a time; the Transformer trains layer by layer over whole segments, and reads keys and values of its own in every layer." if timed else ""}

{table(["layers", *[str(layers) for layers in DEPTHS]], rows)}
{picture("depth", chart("Validation loss by depth", DEPTHS, depth, "nats per character", form=".2f"))}""")

    weights = [(f"{row['task'].replace('_', ' ') if 'task' in row else 'text'}, seed {row['seed']}", row["layer_weights"])
               for row in results.rows if row.get("layer_weights") and row["rule"] == "feedback" and row["group"] in ("tasks", "text")]
    deepest = max((len(line) for _, line in weights), default=0)
    weights = [(name, line + [None] * (deepest - len(line))) for name, line in weights]
    if weights:
        places = ["embedding", *[f"layer {layer}" for layer in range(1, deepest)]]
        parts.append("## What the memory holds\n\nThe layer weights that the feedback models have learned.\n"
                     + picture("layer_weights", chart("Learned layer weights", places, weights, "share", True, 0, ".2f")))

    page.write("tasks", "The family, side by side", """; models and tasks are those of `tasks --help` and
`language_model train --help`. Every number comes from a run whose command and seed stand at the end.""", results.rows)


def measure_all(args, path):
    chosen = [one for one in cells(args.seeds, args.scale) if not args.only or one["group"] in args.only]
    keep, known = measure(path, chosen, args, RUNS, run, summary)
    if (not args.only or "speed" in args.only) and args.scale == 1:
        for row in speed_rows(known):
            keep(row)


if __name__ == "__main__":
    main(__doc__, GROUPS, "tasks", measure_all, report)
