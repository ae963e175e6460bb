"""Trains agents, translators and writers of summaries with every memory rule, side by side, and writes paper.jsonl, paper.md and
pictures. Called by paper.sh. A cell that paper.jsonl holds is not run again, unless its command has changed."""
import datetime
import json
import shlex
import subprocess
import time

from cells import PROGRAMS, ROOT, Report, Results, cell, chart, main, measure, spread, table

RUNS = "runs/paper"
CORPORA = "build/paper"

GROUPS = ["agents", "window", "corridor", "long", "translation", "summaries", "speed"]
RULES = ["feedback", "average", "top_only", "recurrent", "transformer", "lstm", "none"]
NAMES = {"feedback": "feedback", "average": "average", "top_only": "top-only", "recurrent": "recurrent", "transformer": "Transformer",
         "lstm": "LSTM", "none": "no memory"}
AGENT_UPDATES = {"t_maze": 2500, "maze": 4000, "water_maze": 3000}
TASKS = {"t_maze": "T-maze", "maze": "maze", "water_maze": "water maze"}
AGENT_SECONDS = 240  # about, of the slowest, for knowing what still fits
MEASURE = {"t_maze": "success", "maze": "places", "water_maze": "places"}
WINDOWS = [1, 2, 4, 8, 16, 32]
CORRIDORS = [10, 30, 60, 125, 250, 500, 1000]
CORRIDOR_RULES = [*RULES, "feedback, trained to 250", "LSTM, trained to 250"]
DEPTHS = [1, 2, 4]
# so that all take the same time, TRANSLATION_MINUTES, on one quiet core (measured on one with AVX2); anyone gets the same translators
TRANSLATION_UPDATES = {("feedback", 1): 6200, ("transformer", 1): 5600, ("feedback", 2): 4600, ("transformer", 2): 5000,
                       ("feedback", 4): 3600, ("transformer", 4): 3100}
TRANSLATION_MINUTES = 40
SUMMARY_UPDATES, SUMMARY_MINUTES = 12000, 25
SUMMARY_LAYERS = 3
SUMMARY_SOURCE = ["--source-limit", 64]  # tokens: the beginning tells what a package is
REMEMBERED = [*[f"layer {layer}" for layer in range(SUMMARY_LAYERS + 1)], "average", "feedback", "transformer"]


def agent_cell(group, name, task, rule, seed, updates, *flags, **more):
    # the Transformer has twice the layers of the others, as in the paper
    command = [f"{PROGRAMS}/agent", "train", "--task", task, "--rule", rule, "--layers", 4 if rule == "transformer" else 2, "--seed", seed,
               "--updates", round(updates), "--seconds", 0, *flags]
    return {**cell(group, name, command, AGENT_SECONDS), "task": task, "rule": rule, "seed": seed, **more}


def pair_cell(group, name, task, rule, seed, updates, minutes, layers, *flags):
    which = ["--rule", "layer", "--memory-layer", rule.split()[1]] if rule.startswith("layer ") else ["--rule", rule]
    command = [f"{PROGRAMS}/translate", "train", "--data", f"{CORPORA}/{task}", *which, "--decoder-layers", layers, "--seed", seed,
               "--updates", round(updates), "--threads", 1, *flags]
    return {**cell(group, name, command, 72 * minutes), "task": task, "rule": rule, "layers": layers, "seed": seed}


def cells(seeds, scale):
    """In the order of running: the first seed of everything comes first."""
    result = []
    for seed in range(1, seeds + 1):
        result += [agent_cell("agents", f"{task}/{rule}/{seed}", task, rule, seed, scale * updates)
                   for task, updates in AGENT_UPDATES.items() for rule in RULES]
        result += [pair_cell("translation", f"{rule}/{layers}/{seed}", "en_de", rule, seed, scale * TRANSLATION_UPDATES[rule, layers],
                             scale * TRANSLATION_MINUTES, layers)
                   for layers in DEPTHS for rule in ("feedback", "transformer")]
        result += [pair_cell("summaries", f"{rule.replace(' ', '_')}/{seed}", "synopsis", rule, seed, scale * SUMMARY_UPDATES,
                             scale * SUMMARY_MINUTES, SUMMARY_LAYERS, *SUMMARY_SOURCE)
                   for rule in REMEMBERED]
        if seed == 1:
            result += [agent_cell("window", f"{rule}/{window}", "t_maze", rule, 1, scale * AGENT_UPDATES["t_maze"], "--window", window, window=window)
                       for window in WINDOWS for rule in ("feedback", "transformer")]
            result += [agent_cell("long", f"{rule}", "t_maze", rule, 1, 4 * scale * AGENT_UPDATES["t_maze"], "--length", 250)
                       for rule in ("feedback", "lstm")]
    return result


def output_of(command):
    done = subprocess.run([str(part) for part in command], cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{shlex.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def evaluation(task, folder, beam, *flags):
    return [f"{PROGRAMS}/translate", "evaluate", "--model", f"{folder}/model.safetensors", "--data", f"{CORPORA}/{task}", "--beam", beam,
            "--json", "--threads", 1, *flags]


def evaluate_pairs(*arguments):
    return json.loads(output_of(evaluation(*arguments)))


def run(one, folder):
    command = [*one["command"], "--out", folder]
    start = time.time()
    printed = output_of(command)
    lines = [json.loads(line) for line in (ROOT / folder / "metrics.jsonl").read_text().splitlines()]
    row = {key: value for key, value in one.items() if key not in ("command", "expected")}
    row |= {"command": shlex.join(map(str, command)), "wall_seconds": round(time.time() - start, 1), "date": datetime.date.today().isoformat()}
    if one["group"] in ("translation", "summaries"):
        row |= {"updates": lines[-1]["update"], "validation_loss": min(line["validation_loss"] or 99 for line in lines),
                "parameters": int(printed.rsplit(" parameters", 1)[0].split()[-1]), "layer_weights": lines[-1]["layer_weights"]}
        result = evaluate_pairs(one["task"], folder, 4, *(SUMMARY_SOURCE if one["group"] == "summaries" else []))
        return row | {key: result[key] for key in ("bleu", "chrf", "rouge_1", "rouge_2", "rouge_l", "baseline", "baseline_name") if key in result}
    last = lines[-1]
    row |= last["evaluation"]  # which has frames of its own
    row |= {"updates": last["update"], "frames": last["frames"], "parameters": last["parameters"]}
    key = MEASURE[one["task"]]
    curve = [(line["frames"], line[key]) for line in lines[:-1] if line[key] is not None]
    return row | {"curve": curve[:: max(1, len(curve) // 40)], "frames_per_second": max(line["frames_per_second"] for line in lines[:-1])}


def is_current(row, trained):
    """Whether a row is of the model that a cell has trained last."""
    return row is not None and row.get("of", made_by(trained)) == made_by(trained)


def made_by(trained):
    return f"{trained['command']}, fbt {trained['fbt']}"


def corridor_rows(known):
    """Success by the length of the corridor, of every rule that has learned corridors to 60 cells, and of those that were trained longer."""
    for rule in CORRIDOR_RULES:
        trained = f"agents/t_maze/{rule}/1" if rule in RULES else f"long/{rule.split(',')[0].lower()}"
        if trained not in known or all(is_current(known.get(f"corridor/{rule}/{length}"), known[trained]) for length in CORRIDORS):
            continue
        for length in CORRIDORS:
            command = [f"{PROGRAMS}/agent", "evaluate", "--model", f"{RUNS}/{trained}/model.safetensors", "--length", length, "--episodes", 1000, "--json"]
            yield {"id": f"corridor/{rule}/{length}", "group": "corridor", "rule": rule, "length": length, "command": shlex.join(map(str, command)),
                   "success": json.loads(output_of(command))["success"], "of": made_by(known[trained]),
                   "date": datetime.date.today().isoformat()}


def speed_rows(known):
    """How fast the translators write, one program at a time on one thread: greedily, many sources side by side and one after the other."""
    for layers in DEPTHS:
        for rule in ("feedback", "transformer"):
            trained = known.get(f"translation/{rule}/{layers}/1")
            if trained is None or is_current(known.get(f"speed/{rule}/{layers}"), trained):
                continue
            folder = f"{RUNS}/translation/{rule}/{layers}/1"
            speeds = {}
            for name, lanes, limit in (("tokens_per_second", 64, 640), ("tokens_per_second_one", 1, 64)):
                found = [evaluate_pairs("en_de", folder, 1, "--lanes", lanes, "--limit", limit) for _ in range(3)]
                speeds[name] = max(one["tokens_per_second"] for one in found)
            yield {"id": f"speed/{rule}/{layers}", "group": "speed", "rule": rule, "layers": layers, **speeds,
                   "command": shlex.join(map(str, evaluation("en_de", folder, 1, "--lanes", 64, "--limit", 640))),
                   "of": made_by(trained), "date": datetime.date.today().isoformat()}


def summary(row):
    for key, name in (("bleu", "BLEU"), ("rouge_l", "ROUGE-L"), ("places", "places")):
        if key in row and (key != "places" or row["task"] != "t_maze"):
            return f"{row[key]:.2f} {name}"
    return f"{100 * row['success']:.1f}% success"


def curves(rows, key, title):
    """A picture of means over frames: places are twelve equal parts of the training that took the most."""
    most = max((row["frames"] for row in rows), default=0)
    parts = 12
    grid = [most * (i + 1) / parts for i in range(parts)]

    def line(row):
        return [next((value for frames, value in row["curve"] if frames >= at), row["curve"][-1][1]) if at <= row["frames"] else None for at in grid]

    series = [(NAMES[row["rule"]], [None if value is None else (100 * value if key == "success" else value) for value in line(row)]) for row in rows]
    return chart(title, [f"{at / 1e6:.1f}M" for at in grid], series, "success, %" if key == "success" else "places in an episode", False, 0)


def report(known):
    results = Results(known)
    page = Report()
    parts, picture = page.parts, page.picture

    def value(key, form=".1f", factor=1, **wanted):
        return spread([factor * one for one in results.values(key, **wanted)], form)

    def of_task(task, rule):
        return value(MEASURE[task], ".1f" if task == "t_maze" else ".2f", 100 if task == "t_maze" else 1, group="agents", task=task, rule=rule)

    if results.values("success", group="agents"):
        rows = [[TASKS[task], *[of_task(task, rule) for rule in RULES]] for task in AGENT_UPDATES]
        shown = "".join(picture(f"agents_{task}", curves([row for row in results.rows if row["group"] == "agents" and row["task"] == task and row["seed"] == 1],
                                                          MEASURE[task], f"{TASKS[task]}: while learning")) for task in AGENT_UPDATES)
        speeds = [f"{NAMES[rule]} {max(found):,.0f}" for rule in RULES if (found := results.values("frames_per_second", group="agents", rule=rule))]
        parts.append(f"""## Agents

T-maze with corridors to 60 cells: success in percent. Maze with instructions and water maze: places found in the 200 steps of an episode. Means over 1,000 fresh
episodes, actions drawn as in training. Window 16, width 32, two blocks, of the Transformer four; "no memory" begins every step with an empty one. All had as many
updates: {", ".join(f"{updates:,} of {TASKS[task]}" for task, updates in AGENT_UPDATES.items())}. Frames per second while learning, at best, beside other cells:
{", ".join(speeds)}.

{table(["task", *[NAMES[rule] for rule in RULES]], rows)}
{shown}""")
    if results.values("success", group="window"):
        lines = {rule: [results.mean("success", 100, group="window", rule=rule, window=window) for window in WINDOWS] for rule in ("feedback", "transformer")}
        rows = [[NAMES[rule], *["" if one is None else f"{one:.1f}" for one in line]] for rule, line in lines.items()]
        parts.append(f"""## T-maze by window

Success in percent on corridors to 60 cells, by how many past steps a step sees. From equal layer weights feedback had learned
the task with a window of one step, too (99.9, one seed).

{table(["rule", *[str(window) for window in WINDOWS]], rows)}
{picture("agents_window", chart("T-maze to 60 cells: success by window", WINDOWS, [(NAMES[rule], line) for rule, line in lines.items()], "success, %", False, 0))}""")
    if results.values("success", group="corridor"):
        rules = [rule for rule in CORRIDOR_RULES if results.values("success", group="corridor", rule=rule)]
        lines = {rule: [results.mean("success", 100, group="corridor", rule=rule, length=length) for length in CORRIDORS] for rule in rules}
        rows = [[NAMES.get(rule, rule), *["" if one is None else f"{one:.1f}" for one in line]] for rule, line in lines.items()]
        parts.append(f"""## T-maze by corridor

Success in percent in 1,000 corridors of one length. Trained on lengths to 60 unless said otherwise.

{table(["model", *[str(length) for length in CORRIDORS]], rows)}
{picture("agents_corridor", chart("T-maze: success by corridor", CORRIDORS, [(NAMES.get(rule, rule), line) for rule, line in lines.items()], "success, %", False, 0))}""")
    if results.values("bleu", group="translation"):
        baseline = results.values("baseline", group="translation")[0]["bleu"]
        rows = [[f"{NAMES[rule]}, {name}", *[value(key, form, group=group, rule=rule, layers=layers) for layers in DEPTHS]]
                for key, name, form, group in (("bleu", "BLEU", ".2f", "translation"), ("chrf", "chrF", ".2f", "translation"),
                                               ("validation_loss", "nats per token", ".3f", "translation"), ("updates", "updates", ".0f", "translation"),
                                               ("tokens_per_second", "tokens/s, 64 side by side", ".0f", "speed"),
                                               ("tokens_per_second_one", "tokens/s, one by one", ".0f", "speed"))
                for rule in ("feedback", "transformer")]
        lines = [(NAMES[rule], [results.mean("bleu", group="translation", rule=rule, layers=layers) for layers in DEPTHS]) for rule in ("feedback", "transformer")]
        parts.append(f"""## Translation by depth of the decoder

English to German, descriptions of Debian's packages, test split, beam 4. Each was trained for as many updates as take about {TRANSLATION_MINUTES} minutes on one
quiet core, on one thread. To give the English text as
the German one has a BLEU of {baseline:.2f}. Speeds are of greedy writing on one thread, one program at a time;
one by one with `--lanes 1 --limit 64`.

{table(["blocks of the decoder", *[str(layers) for layers in DEPTHS]], [row for row in rows if any(row[1:])])}
{picture("translation", chart("BLEU by depth of the decoder", DEPTHS, lines, "BLEU", False, 0, ".1f"))}""")
    if results.values("rouge_l", group="summaries"):
        first = next(row for row in results.rows if row["group"] == "summaries")
        rows = [[NAMES.get(rule, rule), *[value(key, ".2f", group="summaries", rule=rule) for key in ("rouge_1", "rouge_2", "rouge_l")],
                 value("validation_loss", ".3f", group="summaries", rule=rule)] for rule in REMEMBERED]
        rows.append([first["baseline_name"], *[f"{first['baseline'][key]:.2f}" for key in ("rouge_1", "rouge_2", "rouge_l")], ""])
        bars = [("ROUGE-L", [results.mean("rouge_l", group="summaries", rule=rule) for rule in REMEMBERED])]
        updates = " or ".join(f"{count:,}" for count in sorted(set(results.values("updates", group="summaries"))))
        best = max(results.values("rouge_l", group="summaries"))
        verdict = f" None comes up to the first words of its source ({best:.2f} is the best)." if best < first["baseline"]["rouge_l"] else ""
        parts.append(f"""## Which layer is remembered

One-line synopses of the descriptions of Debian's packages, test split, beam 4: {SUMMARY_LAYERS} blocks in the decoder, {updates} updates each. Layer 0
is the embedding, layer {SUMMARY_LAYERS} the top; the Transformer's layers remember each its own input.{verdict} The figures are of `translate
evaluate --beam 4 {shlex.join(map(str, SUMMARY_SOURCE))}`.

{table(["remembered", "ROUGE-1", "ROUGE-2", "ROUGE-L", "nats per token"], rows)}
{picture("summaries", chart("ROUGE-L by what is remembered", [NAMES.get(rule, rule) for rule in REMEMBERED], bars, "ROUGE-L", True, 0, ".1f"))}""")

    page.write("paper", "Agents, translation, summaries", """. Every number comes from a run whose command and seed stand at the end;
an empty cell has not been run. Before fbt 51dce22 the layer weights of feedback began equal, now two thirds of them begin with the
embedding. With more than one seed: the mean, and the range.""", [row for row in results.rows if "command" in row])


def measure_all(args, path):
    wanted = [group for group in GROUPS if not args.only or group in args.only]
    keep, known = measure(path, [one for one in cells(args.seeds, args.scale) if one["group"] in wanted], args, RUNS, run, summary)
    for group, rows in (("corridor", corridor_rows), ("speed", speed_rows)):
        if group in wanted and args.scale == 1:
            for row in rows(known):
                keep(row)
                print(row["id"], flush=True)


if __name__ == "__main__":
    main(__doc__, GROUPS, "paper", measure_all, report)
