"""What tasks.py and paper.py share: cells that are run once and kept in a file of JSON lines, tables and pictures."""
import argparse
import concurrent.futures
import datetime
import json
import os
import pathlib
import shlex
import statistics
import subprocess
import threading
import time

from compare import commit

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
PROGRAMS = "build/release/examples"


def cell(group, name, command, seconds):
    return {"id": f"{group}/{name}", "group": group, "command": command, "expected": seconds}


def read_arguments(description, groups, minutes):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--minutes", type=float, default=minutes, help="begin no cell that would end later")
    parser.add_argument("--only", type=lambda names: names.split(","), action="extend", help=f"of {', '.join(groups)}")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="cells at a time, on one thread each")
    parser.add_argument("--scale", type=float, default=1, help="of the time and updates of all cells")
    parser.add_argument("--report", action="store_true", help="run nothing, write the report again")
    args = parser.parse_args()
    if unknown := [name for name in args.only or [] if name not in groups]:
        parser.error(f"--only: expected some of {', '.join(groups)}, found {', '.join(unknown)}")
    return args


def load(path):
    if not path.exists():
        return {}
    return {row["id"]: row for row in map(json.loads, path.read_text().splitlines())}


def measure(path, chosen, args, runs, run, summary):
    """Runs the chosen cells that the file does not hold, each in a folder of its own in `runs`, and keeps the rows that
    run(cell, folder) gives; those of another --scale beside the others, and in no report. Returns keep(row), for rows that are
    measured otherwise, and the rows so far."""
    known = load(path)
    lock = threading.Lock()
    built_from = commit()  # now: it may have changed when a cell ends
    end = time.time() + 60 * args.minutes

    def keep(row):
        with lock:
            known[row["id"]] = row | {"fbt": built_from}
            new = path.with_suffix(".new")
            new.write_text("".join(json.dumps(one) + "\n" for one in known.values()))
            new.replace(path)

    def work(one):
        scaled = {} if args.scale == 1 else {"id": f"scaled/{args.scale:g}/{one['id']}", "group": "scaled"}
        name = scaled.get("id", one["id"])
        folder = f"{runs}/{name}"
        command = shlex.join([str(part) for part in one["command"]] + ["--out", folder])
        if known.get(name, {}).get("command") == command or time.time() + one["expected"] > end:
            return
        subprocess.run(["rm", "-rf", folder], cwd=ROOT, check=True)
        row = run(one, folder) | scaled
        keep(row)
        print(f"{(end - time.time()) / 60:5.0f} min left  {row['id']}: {summary(row)}", flush=True)

    with concurrent.futures.ThreadPoolExecutor(args.workers) as pool:
        try:
            for done in concurrent.futures.as_completed([pool.submit(work, one) for one in chosen]):
                done.result()
        except (RuntimeError, KeyboardInterrupt) as error:
            pool.shutdown(cancel_futures=True)
            raise SystemExit(str(error) or "interrupted") from None
    return keep, known


def spread(values, form):
    """The mean over seeds, with the range of more than one."""
    def one(value):
        text = format(value, form)
        return f"{value:.2f}" if text == "100.0" and value < 100 else text  # what is not perfect does not look so

    if not values:
        return ""
    text = one(statistics.mean(values))
    return text if len(values) == 1 else f"{text} ({one(min(values))} to {one(max(values))})"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f3c8d", "#666666", "#8c510a"]


def chart(title, places, series, y_label, bars=False, least=None, form=".0f"):
    """An SVG picture: series of values over named places, as lines or groups of bars. Values may be None."""
    width, height, left, right, top, bottom = 940, 420, 70, 700, 50, 360
    values = [value for _, line in series for value in line if value is not None]
    if not values:
        return None
    low = least if least is not None else min(values) - 0.1 * (max(values) - min(values) + 1e-9)
    high = max(values) + 0.05 * (max(values) - low + 1e-9)
    step = next(step for step in (digit * 10.0**power for power in range(-4, 9) for digit in (1, 2, 5)) if (high - low) / step <= 8)

    def at(value):
        return bottom - (value - low) / (high - low) * (bottom - top)

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
           'font-family="sans-serif" font-size="13" fill="#333333">', f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
           f'<text x="{(left + right) / 2}" y="28" text-anchor="middle" font-size="16">{title}</text>',
           f'<text x="20" y="{(top + bottom) / 2}" text-anchor="middle" transform="rotate(-90 20 {(top + bottom) / 2})">{y_label}</text>']
    tick = -(-low // step) * step or 0.0  # never -0
    while tick <= high:
        out.append(f'<line x1="{left}" x2="{right}" y1="{at(tick):.1f}" y2="{at(tick):.1f}" stroke="#e6e6e6"/>'
                   f'<text x="{left - 8}" y="{at(tick) + 4:.1f}" text-anchor="end">{tick:{form}}</text>')
        tick += step
    out.append(f'<line x1="{left}" x2="{right}" y1="{bottom}" y2="{bottom}" stroke="#333333"/>')
    group = (right - left) / len(places)
    for i, place in enumerate(places):
        out.append(f'<text x="{left + (i + 0.5) * group:.1f}" y="{bottom + 20}" text-anchor="middle">{place}</text>')
    for k, (name, line) in enumerate(series):
        colour = COLOURS[k % len(COLOURS)]
        out.append(f'<rect x="{right + 20}" y="{top + 22 * k}" width="14" height="14" fill="{colour}"/>'
                   f'<text x="{right + 40}" y="{top + 22 * k + 12}">{name}</text>')
        if bars:
            bar = 0.84 * group / len(series)
            for i, value in enumerate(line):
                if value is not None:
                    x = left + (i + 0.08) * group + k * bar
                    out.append(f'<rect x="{x:.1f}" y="{at(value):.1f}" width="{bar - 1:.1f}" height="{bottom - at(value):.1f}" fill="{colour}"/>')
        else:
            points = [(left + (i + 0.5) * group, at(value)) for i, value in enumerate(line) if value is not None]
            out.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}"/>')
            out += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in points]
    return "\n".join([*out, "</svg>", ""])


class Results:
    def __init__(self, known):
        self.rows = [row for row in known.values() if row["group"] != "scaled"]

    def values(self, key, **wanted):
        return [row[key] for row in self.rows if key in row and all(row.get(name) == value for name, value in wanted.items())]

    def mean(self, key, factor=1.0, **wanted):
        found = self.values(key, **wanted)
        return factor * statistics.mean(found) if found else None


class Report:
    """A page of parts and pictures, with the commands of all rows at its end."""

    def __init__(self):
        self.parts, self.pictures = [], {}

    def picture(self, name, svg):
        if svg is None:
            return ""
        self.pictures[name] = svg
        return f"\n![{name}]({name}.svg)\n"

    def write(self, name, title, introduction, rows):
        commands = "\n".join(f"- `{row['id']}`: `{row['command']}`" + (f", {row['updates']} updates" if "updates" in row else "")
                             + (f", fbt {row['fbt']}" if "fbt" in row else "") for row in sorted(rows, key=lambda row: row["id"]))
        text = f"""# {title}

Written by `bash bench/{name}.sh` on {datetime.date.today().isoformat()} from [{name}.jsonl]({name}.jsonl){introduction}

{chr(10).join(self.parts)}
## Commands

{commands}
"""
        (HERE / f"{name}.md").write_text(text)
        for picture, svg in self.pictures.items():
            (HERE / f"{picture}.svg").write_text(svg)


def main(description, groups, name, measure_all, report):
    """Runs the cells of a page, unless only its report is wanted, and writes the page."""
    args = read_arguments(description, groups, 240)
    path = HERE / f"{name}.jsonl"
    if not args.report:
        measure_all(args, path)
    report(load(path))
