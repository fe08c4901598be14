"""Results as tables of a document and as a page."""

import html
import math

import judge

BEGIN, END = "<!-- tables: begin -->\n", "<!-- tables: end -->\n"
MOST_CLASSES = 20  # of a task whose classes are in the document
LINES = ["#e36209", "#6e7681", "#1a7f37", "#0969da", "#8250df", "#cf222e", "#9a6700", "#bf3989"]


def figure(value):
    """.123, or a dash for what is not there."""
    if value is None or math.isnan(value):
        return "-"
    return f"{value:.3f}".removeprefix("0")


def interval(score):
    return f"{figure(score['f1'])} ({figure(score['low'])} to {figure(score['high'])})" if score else "-"


def main_rows(rows):
    """Head and rows of a table of methods."""
    head = ["method", "macro-F1, all flows", "balanced accuracy", "macro-F1, new flows", "balanced accuracy, new"]
    return head, [[r["method"], interval(r["all"]), figure(r["all"]["balanced"]), interval(r["new"]), figure(r["new"] and r["new"]["balanced"])] for r in rows]


def class_rows(task, kind):
    """F1 of each class for the methods that are not there to raise an alarm."""
    rows = [r for r in task["tests"][kind] if r["method"] != "majority" and "alone" not in r["method"]]
    there = [k for k in range(len(task["classes"])) if sum(rows[0]["all"]["confusion"][k])]
    body = [[task["classes"][k], f"{sum(rows[0]['all']['confusion'][k]):.0f}", *(figure(r["all"]["by_class"][k]) for r in rows)] for k in there]
    return ["class", "flows", *(r["method"] for r in rows)], body


def occlusion_rows(task):
    return ["forest, SYN fields", "macro-F1"], [[name, figure(value)] for name, value in task["occlusion"].items()]


def label_rows(task):
    return ["labels of each class", *(str(n or "all") for n in judge.LABELS)], [[name, *map(figure, values)] for name, values in task["labels"].items()]


def packet_rows(task):
    rows = [[name, *(figure(values.get(str(n))) for n in judge.LENGTHS)] for name, values in task["packets"].items()]
    return ["packets seen", *map(str, judge.LENGTHS)], rows


def detection_rows(found):
    kinds = list(found["kinds"])
    head = ["detector", "AUROC", "false positives at 95 % recall", "control", *kinds]
    return head, [[r["method"], f"{figure(r['auroc'])} ({figure(r['interval'][0])} to {figure(r['interval'][1])})", figure(r["false_positives"]),
                   figure(r["control"]), *(figure(r["kinds"][k]) for k in kinds)] for r in found["rows"]]


def speed_rows(speed):
    return ["from capture to verdict", "flows/s", "packets/s"], [[name, f"{v['flows']:,.0f}", f"{v['packets']:,.0f}"] for name, v in speed.items()]


def markdown(head, rows):
    right = " | ".join(["---"] + ["---:"] * (len(head) - 1))
    return "\n".join(["| " + " | ".join(head) + " |", f"| {right} |", *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def sizes(task, kind):
    s = task["sizes"][kind]
    return f"{s['flows']:,} flows of {s['captures']} captures; {100 * s['twins']:.0f} % have a twin in the training part."


def winner(rows):
    """The best method that sees flows and the best read-out of a model."""
    known = [r for r in rows if "alone" not in r["method"]]
    best = max(known, key=lambda r: r["all"]["f1"])
    models = [r for r in known if r["method"].endswith(("linear probe", "5-NN"))]
    line = f"Best: {best['method']}, {figure(best['all']['f1'])}"
    if models and best not in models:
        of_models = max(models, key=lambda r: r["all"]["f1"])
        line += f"; best read-out of a model: {of_models['method']}, {figure(of_models['all']['f1'])}"
    return line + "."


def contaminated(results, task):
    found = results["contaminated"].get(task["name"], {})
    return [f"{name} was trained on {n} of the {of} test captures." if n else f"{name} was trained on none of the {of} test captures."
            for name, (n, of) in found.items()]


def sections(results):
    """(title, level, lines of text, tables) in the order of the document; a table is (head, rows)."""
    for task in results["tasks"]:
        yield task["title"], 2, [*task["notes"], *contaminated(results, task)], []
        for kind, rows in task["tests"].items():
            yield kind[0].upper() + kind[1:], 3, [sizes(task, kind), winner(rows)], [main_rows(rows)]
        tables = [occlusion_rows(task), label_rows(task), packet_rows(task)]
        yield f"What is needed ({task['asked']}, all flows)", 3, [], tables
        if len(task["classes"]) <= MOST_CLASSES:
            yield f"By class ({task['asked']}, all flows)", 3, [], [class_rows(task, task["asked"])]
    if results["detection"]:
        d = results["detection"]
        text = [f"Trained on {d['train']} benign flows; judged on {d['benign']} later benign flows and {sum(d['kinds'].values())} odd ones of the same hosts.",
                f"The control is the AUROC of {d['control']} benign flows of another network against the later benign ones: .5 is right, and much more "
                "says that the detector tells networks apart."]
        yield "T4 attack and odd use", 2, text, [detection_rows(d)]
    if results.get("speed"):
        yield "Speed", 2, ["The captures of T4, on the machine and in the minute of the run; the learner is trained beforehand."], [speed_rows(results["speed"])]
    for line in results["skipped"]:
        yield "Not run", 2, [line + "."], []


def document(results, before):
    """The document with its tables in the place of the earlier ones."""
    made = ""
    for title, level, lines, tables in sections(results):
        made += f"{'#' * level} {title}\n\n" + ("\n".join(lines) + "\n\n" if lines else "")
        made += "".join(markdown(*table) + "\n" for table in tables)
    head, _, rest = before.partition(BEGIN)
    return (head or "# Benchmark\n\n") + BEGIN + made.rstrip("\n") + "\n" + END + rest.partition(END)[2]


def table(head, rows):
    cells = "".join(f"<th>{html.escape(h)}</th>" for h in head)
    body = "".join("<tr>" + "".join(f"<td{' class=number' * (i > 0)}>{html.escape(c)}</td>" for i, c in enumerate(row)) + "</tr>" for row in rows)
    return f"<div class=wide><table><tr>{cells}</tr>{body}</table></div>"


def chart(title, labels, lines):
    """Macro-F1 as lines over a few places; values are numbers or None."""
    left, top, width, height = 34, 8, 300, 150
    x = [left + i * width / max(1, len(labels) - 1) for i in range(len(labels))]
    out = [f'<div class=card><h3>{html.escape(title)}</h3><svg viewBox="0 0 350 185" role="img" aria-label="{html.escape(title)}">']
    for tick in (0, 0.25, 0.5, 0.75, 1):
        y = top + height * (1 - tick)
        out.append(f'<line x1="{left}" y1="{y}" x2="{left + width}" y2="{y}" class=grid-line /><text x="{left - 4}" y="{y + 4}" text-anchor="end">{tick:g}</text>')
    out += [f'<text x="{at}" y="{top + height + 16}" text-anchor="middle">{html.escape(label)}</text>' for at, label in zip(x, labels)]
    for color, values in zip(LINES, lines.values()):
        points = " ".join(f"{at:.1f},{top + height * (1 - v):.1f}" for at, v in zip(x, values) if v is not None)
        out.append(f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="2"/>')
    key = "".join(f'<span><i style="background:{color}"></i>{html.escape(name)}</span> ' for color, name in zip(LINES, lines))
    return "".join(out) + f"</svg><small>{key}</small></div>"


def confusion(task, row):
    """A confusion matrix as a table whose cells are as dark as their share of the row."""
    counts = row["all"]["confusion"]
    there = [k for k in range(len(counts)) if sum(counts[k])]
    head = "<tr><th>true, then said</th>" + "".join(f"<th>{html.escape(task['classes'][k])}</th>" for k in range(len(counts))) + "</tr>"
    body = ""
    for k in there:
        cells = "".join(f'<td class=number style="background:rgb(227 98 9 / {n / sum(counts[k]):.2f})">{n:.0f}</td>' for n in counts[k])
        body += f"<tr><th>{html.escape(task['classes'][k])}</th>{cells}</tr>"
    return f"<details><summary>Confusion: {html.escape(row['method'])}</summary><div class=wide><table>{head}{body}</table></div></details>"


def charts(task):
    packets = {name: [values.get(str(n)) for n in judge.LENGTHS] for name, values in task["packets"].items()}
    return "<div class=grid>" + chart("Macro-F1 by labels of each class", [str(n or "all") for n in judge.LABELS], task["labels"]) + chart(
        "Macro-F1 by packets seen", list(map(str, judge.LENGTHS)), packets) + "</div>"


STYLE = """
:root { --text: #1f2328; --dim: #59636e; --line: #d1d9e0; --back: #fff; --card: #f6f8fa; }
@media (prefers-color-scheme: dark) { :root { --text: #e6edf3; --dim: #9198a1; --line: #3d444d; --back: #0d1117; --card: #161b22; } }
* { box-sizing: border-box; }
body { font: 16px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 72rem; padding: 0.8rem; color: var(--text); background: var(--back); }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin: 2rem 0 0.4rem; } h3 { font-size: 1rem; margin: 1rem 0 0.3rem; }
p { margin: 0.3rem 0; } small, .dim { color: var(--dim); }
.wide { overflow-x: auto; margin: 0.5rem 0; } table { border-collapse: collapse; font-size: 0.85rem; }
th, td { text-align: left; vertical-align: top; padding: 0.2rem 0.5rem; border-bottom: 1px solid var(--line); }
td.number { font-variant-numeric: tabular-nums; }
.grid { display: grid; gap: 0.8rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 21rem), 1fr)); }
.card { border: 1px solid var(--line); border-radius: 8px; padding: 0.6rem; background: var(--card); }
svg { display: block; width: 100%; height: auto; } svg text { font: 10px system-ui, sans-serif; fill: var(--dim); } .grid-line { stroke: var(--line); }
small i { display: inline-block; width: 0.7rem; height: 0.7rem; border-radius: 2px; margin-right: 0.3rem; }
"""


def page(results):
    by_title = {task["title"]: task for task in results["tasks"]}
    out = ['<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">',
           f'<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,"><title>Benchmark</title><style>{STYLE}</style><h1>Benchmark</h1>',
           "<p class=dim>Macro-F1 with its 95 % interval over captures. New flows: their sequence of directions and lengths is not in the training part.</p>"]
    for title, level, lines, tables in sections(results):
        out.append(f"<h{level}>{html.escape(title)}</h{level}>" + "".join(f"<p>{html.escape(line)}</p>" for line in lines))
        out += [table(*t) for t in tables]
        if title in by_title:
            task = by_title[title]
            rows = [r for r in task["tests"][task["asked"]] if "alone" not in r["method"] and r["method"] != "majority"]
            best = max(rows, key=lambda r: r["all"]["f1"])
            read_outs = [r for r in rows if r["method"].endswith("linear probe") and r is not best]
            out.append(charts(task) + "".join(confusion(task, r) for r in [best, *read_outs[:1]]))
    return "\n".join(out) + "</html>\n"


def summary(results, path):
    lines = [f"{task['title']}, {kind}: {winner(rows)}" for task in results["tasks"] for kind, rows in task["tests"].items()]
    if results["detection"]:
        best = max(results["detection"]["rows"], key=lambda r: r["auroc"])
        lines.append(f"T4: {best['method']}, AUROC {figure(best['auroc'])}, control {figure(best['control'])}")
    return "\n".join([*lines, *results["skipped"], f"written {path}"])
