"""Points at tokens of an attention page and compares what it shows with the weights in it: browser.py PORT PAGE [SCREENSHOT],
with a chromedriver at the port (see browser.sh)."""
import base64
import json
import pathlib
import sys
import urllib.request

port, page, screenshot = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else ""


def ask(method, path, **body):
    request = urllib.request.Request(f"http://127.0.0.1:{port}/session{path}", method=method,
                                     data=json.dumps(body).encode() if method == "POST" else None)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)["value"]


flags = ["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1100,900"]
session = "/" + ask("POST", "", capabilities={"alwaysMatch": {
    "browserName": "chrome", "goog:chromeOptions": {"args": flags}, "goog:loggingPrefs": {"browser": "ALL"}}})["sessionId"]


def run(script, *arguments):
    return ask("POST", session + "/execute/sync", script=script, args=list(arguments))


def pointer(index, *clicks):
    element = run("return document.querySelectorAll('#text span')[arguments[0]]", index)
    actions = [{"type": "pointerMove", "duration": 0, "origin": element, "x": 0, "y": 0}, *clicks]
    ask("POST", session + "/actions", actions=[{"type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"},
                                                "actions": actions}])


def shown():
    """The chosen tokens, the darkness of all, and the rows of the table."""
    return run("""const spans = [...document.querySelectorAll('#text span')];
      const dark = span => { const rgba = getComputedStyle(span).backgroundColor.match(/[\\d.]+/g).map(Number);
                             return rgba.length === 4 ? rgba[3] : rgba[0] === 8 ? 1 : 0; };
      return [spans.flatMap((span, i) => span.className === 'chosen' ? [i] : []), spans.map(dark),
              [...document.querySelectorAll('#seen tr')].map(row => [...row.cells].slice(0, 3).map(cell => cell.textContent))]""")


def expect(condition, *found):
    if not condition:
        sys.exit(f"FAILED: {found}")


def check(panels, token):
    chosen, dark, rows = shown()
    weights = [0.0] * len(content["names"])
    for panel in panels:
        row = panel["weights"][token]
        for i, weight in enumerate(row):
            weights[token - len(row) + i] += weight / 1000 / len(panels)
    expect(chosen == [token], chosen, token)
    expect(all(abs(d - min(1, w ** 0.5)) < 0.01 for d, w in zip(dark, weights)), dark, weights)
    expect(all(d == 0 for d in dark[token:]), "a token looks ahead", dark)
    best = max(weights)
    expect(rows and rows[0][2] == f"{best:.3f}" and f"token {weights.index(best)}" in [row[1] for row in rows], rows, best)
    expect(rows[0][0] == content["names"][int(rows[0][1].split()[1])], rows)


click = [{"type": "pointerDown", "button": 0}, {"type": "pointerUp", "button": 0}]
try:
    ask("POST", session + "/url", url=page.as_uri())
    content = run("return map")
    names = content["names"]
    expect(run("return [...document.querySelectorAll('#text span')].map(s => s.textContent)") == names, "other tokens")
    expect(len(names) == 59 and names[4] == "\u2423", names)
    check(content["panels"], len(names) - 1)  # before anything is pointed at
    for token in (3, 20, 58, 1):
        pointer(token)
        check(content["panels"], token)
    for index, panel in enumerate(content["panels"]):
        run("const s = document.getElementById('panel'); s.value = arguments[0]; s.dispatchEvent(new Event('change'))", str(index))
        pointer(30)
        check([panel], 30)
    pointer(40, *click)  # kept
    pointer(10)
    check([content["panels"][-1]], 40)
    pointer(40, *click)  # free again
    pointer(10)
    check([content["panels"][-1]], 10)
    pointer(45)
    if screenshot:
        pathlib.Path(screenshot).write_bytes(base64.b64decode(ask("GET", session + "/screenshot")))
    complaints = [entry["message"] for entry in ask("POST", session + "/se/log", type="browser")]
    expect(not complaints, complaints)
finally:
    ask("DELETE", session)
print("the page shows what it should")
