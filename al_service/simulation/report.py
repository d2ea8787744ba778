"""The report: one page in one file, from the result file's data alone. Pure: data in, HTML out; no file, no network.

Whatever comes from files and folders (data set, class and image names) is escaped where it enters the page, and the
page forbids itself scripts and requests, so that a report can be sent on.
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from al_service.simulation.plan import RANDOM
from al_service.simulation.report_chart import colour, learning_curves
from al_service.simulation.report_style import PARTS, STYLE
from al_service.simulation.summary import mean_curve
from al_service.simulation.words import entry, headline_words, lead_words, percent, regime_words, signed

#: Classes listed at once; of more, those asked for most and least beyond their share.
CLASSES_SHOWN = 24
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def render_report(result: Mapping[str, Any]) -> str:
    """The whole page.

    Args:
        result: as in result.json.
    """
    name = escape(short_name(result))
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        f"<title>{name}: labels saved</title><style>{STYLE}</style></head><body>",
        f"<main>{report_body(result)}{_footer(result)}</main>",
        "</body></html>\n",
    ]
    return "".join(parts)


def report_body(result: Mapping[str, Any]) -> str:
    """What is said, without the page around it."""
    return "".join(
        (
            _header(result),
            _curves(result),
            _summary(result),
            _classes(result),
            _gallery(result),
            _method(result),
        )
    )


def page_part(result: Mapping[str, Any]) -> str:
    """The report for a page of the service, which brings frame, ground and text colours: one element and its style."""
    return f'<div class="report"><style>.report {{{PARTS}}}</style>{report_body(result)}</div>'


def short_name(result: Mapping[str, Any]) -> str:
    """The last part of where the images came from."""
    name = str(result["dataset"]["name"])
    return name.rstrip("/").rsplit("/", 1)[-1] or name


def _header(result: Mapping[str, Any]) -> str:
    data, seeds = result["dataset"], len(result["config"]["seeds"])
    facts = (
        f"{short_name(result)} · {data['images']:,} images, {len(data['classes'])} classes · "
        f"{seeds} {'repetition' if seeds == 1 else 'repetitions'}"
    )
    return (
        f'<header><p class="eyebrow">{escape(facts)}</p><h1>{escape(headline_words(result))}</h1>'
        f'<p class="lead">{escape(lead_words(result))}</p>{_remarks(result)}</header>'
    )


def _remarks(result: Mapping[str, Any]) -> str:
    """What a study of a project's own labels has to say beside its figures."""
    caveat, notes = result.get("caveat"), result.get("notes") or ()
    found = f'<p class="caveat">{escape(str(caveat))}</p>' if caveat else ""
    return found + "".join(f'<p class="quiet">Note: {escape(str(words))}.</p>' for words in notes)


def _curves(result: Mapping[str, Any]) -> str:
    several = len(result["config"]["seeds"]) > 1
    band = "Lines are means over repetitions, bands their 95 % intervals. " if several else ""
    return (
        '<section aria-labelledby="curves"><h2 id="curves">Accuracy over labels</h2>'
        f'<p class="quiet">{band}Measured on images that nothing was learned from.</p>'
        f'<div class="chart">{learning_curves(result)}</div>'
        f"<details><summary>The same as a table</summary>{_curve_table(result)}</details></section>"
    )


def _curve_table(result: Mapping[str, Any]) -> str:
    strategies = result["config"]["strategies"]
    cells: dict[int, dict[str, Mapping[str, Any]]] = {}
    for name in strategies:
        for point in mean_curve(result["runs"], name):
            cells.setdefault(point["labels"], {})[name] = point
    head = "".join(f'<th scope="col" class="number">{escape(name)}</th>' for name in strategies)
    rows = []
    for labels in sorted(cells):
        columns = "".join(_curve_cell(cells[labels].get(name)) for name in strategies)
        rows.append(f'<tr><th scope="row">{labels:,}</th>{columns}</tr>')
    return _table(f'<th scope="col">labels</th>{head}', rows, "Mean accuracy at each count of labels")


def _curve_cell(point: Mapping[str, Any] | None) -> str:
    if point is None:
        return '<td class="number"></td>'
    interval = "" if point["seeds"] == 1 else f"<small>{_range(point['low'], point['high'])}</small>"
    return f'<td class="number">{percent(point["mean"])}{interval}</td>'


def _summary(result: Mapping[str, Any]) -> str:
    head = (
        '<th scope="col">strategy</th><th scope="col" class="number">label savings</th>'
        '<th scope="col" class="number">AUBC</th><th scope="col" class="number">against random</th>'
        '<th scope="col" class="number">accuracy at the end</th><th scope="col" class="number">macro F1</th>'
    )
    rows = [_summary_row(result, one) for one in result["summary"]]
    return (
        '<section aria-labelledby="summary"><h2 id="summary">Strategies</h2>'
        '<p class="quiet">Label savings: labels that random needs, over labels that the strategy needs, for the same '
        "accuracy. AUBC: mean accuracy over the whole curve. Below each figure its 95 % interval.</p>"
        f"{_table(head, rows, 'Every strategy in figures')}{_regimes(result)}</section>"
    )


def _regimes(result: Mapping[str, Any]) -> str:
    told = [regime_words(result, name) for name in result["config"]["strategies"]]
    return "".join(f'<p class="quiet after">In the first repetition {escape(words)}</p>' for words in told if words)


def _summary_row(result: Mapping[str, Any], one: Mapping[str, Any]) -> str:
    name, is_random = str(one["strategy"]), one["strategy"] == RANDOM
    low, high = one["label_savings_ci95"]
    several = len(result["config"]["seeds"]) > 1
    gain_low, gain_high = one["aubc_minus_random_ci95"]

    def cell(value: str, interval: str) -> str:
        return f'<td class="number">{value}{f"<small>{interval}</small>" if several and interval else ""}</td>'

    dashed = " dashed" if is_random else ""
    key = f'<span class="key{dashed}" style="border-color:{colour(result["config"]["strategies"], name)}"></span>'
    return "".join(
        (
            f'<tr><th scope="row">{key}{escape(name)}</th>',
            cell("1", "") if is_random else cell(f"{one['label_savings_vs_random']:.2f} ×", f"{low:.2f} to {high:.2f}"),
            cell(percent(one["aubc"]), _range(*one["aubc_ci95"])),
            cell("", "")
            if is_random
            else cell(f"{signed(one['aubc_minus_random'])} points", f"{signed(gain_low)} to {signed(gain_high)}"),
            cell(percent(one["final_accuracy"]), _range(*one["final_accuracy_ci95"])),
            cell(percent(one["final_macro_f1"]), _range(*one["final_macro_f1_ci95"])),
            "</tr>",
        )
    )


# -- classes -----------------------------------------------------------------------------------------------------


def _classes(result: Mapping[str, Any]) -> str:
    names = [name for name in result["config"]["strategies"] if name != RANDOM]
    if not names:
        return ""
    first = str(result["headline"])
    others = [name for name in names if name != first]
    more = "".join(
        f"<details><summary>{escape(name)}</summary>{_class_table(result, name)}</details>" for name in others
    )
    return (
        '<section aria-labelledby="classes"><h2 id="classes">Which classes it asks for, and what they gain</h2>'
        f'<p class="quiet">Left, the share of each class among the images that {escape(first)} had labelled at the '
        "end, beside its share in the random ones. Right, how well each class is recognised then (F1).</p>"
        f"{_class_table(result, first)}{more}</section>"
    )


def _class_table(result: Mapping[str, Any], name: str) -> str:
    ours, random = entry(result, name), entry(result, RANDOM)
    shares, random_shares = _shares(ours["selected_per_class"]), _shares(random["selected_per_class"])
    order = sorted(shares, key=lambda one: random_shares[one] - shares[one])
    widest = max([*shares.values(), *random_shares.values()])
    shown, hidden = order, []
    if len(order) > CLASSES_SHOWN:
        half = CLASSES_SHOWN // 2
        shown, hidden = order[:half] + order[-half:], order[half:-half]
    strategies = result["config"]["strategies"]
    fill, grey = colour(strategies, name), colour(strategies, RANDOM)

    def row(one: str) -> str:
        f1, random_f1 = ours["f1_per_class"][one], random["f1_per_class"][one]
        share = f"{percent(shares[one])}<small>random {percent(random_shares[one])}</small>"
        f1_words = f"{_f1(f1)}<small>random {_f1(random_f1)}</small>"
        return (
            f'<tr><th scope="row">{escape(one)}</th>'
            f'<td>{_bar(shares[one], random_shares[one], widest, fill, grey)}</td><td class="number">{share}</td>'
            f"<td>{_dots(f1, random_f1, fill, grey)}</td>"
            f'<td class="number">{f1_words}</td></tr>'
        )

    head = (
        '<th scope="col">class</th><th scope="col">share of labels</th><td class="number"></td>'
        '<th scope="col">F1, 0 to 1</th><td class="number"></td>'
    )
    legend = (
        f'<p class="legend"><span><i class="swatch" style="background:{fill}"></i>{escape(name)}</span>'
        f'<span><i class="swatch tick-mark" style="background:{grey}"></i>random (share)</span>'
        f'<span><i class="swatch round" style="background:{grey}"></i>random (F1)</span></p>'
    )
    caption = f"Classes under {name} and under random"
    table = _table(head, [row(one) for one in shown], caption, "classes")
    if not hidden:
        return legend + table
    rest = _table(head, [row(one) for one in hidden], f"{caption}: the others", "classes")
    return f"{legend}{table}<details><summary>{len(hidden)} classes in between</summary>{rest}</details>"


def _shares(counts: Mapping[str, float]) -> dict[str, float]:
    total = sum(counts.values()) or 1
    return {name: count / total for name, count in counts.items()}


def _bar(share: float, random_share: float, widest: float, fill: str, grey: str) -> str:
    """A bar for the strategy, a tick for random; percentages, so it is as wide as its cell."""
    width, tick = share / widest * 99, random_share / widest * 99
    return (
        '<svg aria-hidden="true" width="100%" height="18">'
        f'<rect x="0" y="4" height="10" rx="2" width="{width:.2f}%" style="fill:{fill}"/>'
        f'<rect x="{tick:.2f}%" y="0" height="18" width="3" style="fill:{grey};stroke:var(--surface)"/></svg>'
    )


def _dots(f1: float | None, random_f1: float | None, fill: str, grey: str) -> str:
    parts = ['<rect class="track" x="0" y="8" height="2" width="100%"/>']
    ends = [value for value in (f1, random_f1) if value is not None]
    if len(ends) == 2:
        low, high = 2 + min(ends) * 96, 2 + max(ends) * 96
        parts.append(f'<rect x="{low:.2f}%" y="7.5" height="3" width="{high - low:.2f}%" style="fill:{grey}"/>')
    for value, style, radius in ((random_f1, grey, 5), (f1, fill, 6)):
        if value is not None:
            parts.append(f'<circle class="dot" cx="{2 + value * 96:.2f}%" cy="9" r="{radius}" style="fill:{style}"/>')
    return f'<svg aria-hidden="true" width="100%" height="18">{"".join(parts)}</svg>'


def _f1(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f}"


# -- images ------------------------------------------------------------------------------------------------------


def _gallery(result: Mapping[str, Any]) -> str:
    gallery = result.get("gallery")
    if not gallery:
        return ""
    items = "".join(f"<li>{_picture(one)}</li>" for one in gallery["images"])
    return (
        '<section aria-labelledby="gallery"><h2 id="gallery">What the model is least sure of</h2>'
        f'<p class="quiet">Images that {escape(str(gallery["strategy"]))} had not asked for after '
        f"{gallery['labels']:,} labels (repetition {gallery['seed']}), least certain first.</p>"
        f'<ul class="gallery">{items}</ul></section>'
    )


def _picture(one: Mapping[str, Any]) -> str:
    first, second = (str(guess["class_name"]) for guess in one["guesses"][:2])
    shares = ", ".join(f"{guess['class_name']} {guess['probability']:.0%}" for guess in one["guesses"][:2])
    truth = str(one["class_name"])
    alternative = escape(f"{one['sample_id']}: labelled {truth}, the model says {shares}", quote=True)
    return (
        f'<figure title="{alternative}"><img alt="{alternative}" '
        f'src="data:image/jpeg;base64,{escape(str(one["jpeg"]))}">'
        f"<figcaption><b>{escape(first)}</b> or <b>{escape(second)}</b>?<br>"
        f"labelled {escape(truth)}</figcaption></figure>"
    )


# -- how ---------------------------------------------------------------------------------------------------------


def _method(result: Mapping[str, Any]) -> str:
    data, config = result["dataset"], result["config"]
    settings = config["settings"]
    first = (
        f"{config['initial']:,} labels drawn at random" if config["initial"] else "an empty start: nothing is labelled"
    )
    split = "" if data["test"] == "given" else "split, "
    facts = [
        ("Images", str(data["name"])),
        ("Pool", f"{_numbers(data['pool_images'])} images, of which labels are taken"),
        ("Measured on", f"{_numbers(data['test_images'])} images, {data['test']}"),
        ("Left out", ", ".join(f"{reason}: {count:,}" for reason, count in data["left_out"].items()) or "nothing"),
        ("Model", f"{settings['network']}, {settings['training_mode']}, weights: {settings['weights']}"),
        ("Size", f"images are seen at {data['image_px']} × {data['image_px']} pixels"),
        ("Start", first),
        ("Then", f"{config['batch']:,} labels at a time up to {config['budget']:,}; a new model after each batch"),
        ("By chance", f"{settings['random_fraction']:.0%} of each batch is drawn at random, as the service does"),
        (
            "Repetitions",
            f"{len(config['seeds'])}, each with its own {split}first batch and weights, shared by all strategies",
        ),
        ("Seconds", _seconds(result)),
        ("Software", ", ".join(f"{name} {version}" for name, version in config["software"].items())),
    ]
    listed = "".join(f"<dt>{escape(term)}</dt><dd>{escape(words)}</dd>" for term, words in facts)
    changed = "".join(
        f"<dt>{escape(key)}</dt><dd>{escape(str(value))}</dd>" for key, value in settings.items() if value != ""
    )
    return (
        '<section aria-labelledby="method"><h2 id="method">How this was measured</h2>'
        f"<dl>{listed}</dl><details><summary>All settings</summary><dl>{changed}</dl></details></section>"
    )


def _numbers(values: Sequence[int]) -> str:
    return f"{values[0]:,}" if len(values) == 1 else f"{values[0]:,} to {values[-1]:,}"


def _seconds(result: Mapping[str, Any]) -> str:
    """Means per batch at the end of the curve."""
    words = []
    for name in result["config"]["strategies"]:
        ends = [run["points"][-1]["seconds"] for run in result["runs"] if run["strategy"] == name]
        means = {stage: sum(one[stage] for one in ends) / len(ends) for stage in ("train", "score", "select")}
        words.append(f"{name}: {', '.join(f'{stage} {value:.2f}' for stage, value in means.items())}")
    return f"of the last batch, on this machine; {'; '.join(words)}"


def _footer(result: Mapping[str, Any]) -> str:
    maker = escape(str(result.get("made_by", ""))) or "<code>al simulate</code>"
    return f"<footer><p>Made by {maker}. Every figure is in <code>result.json</code> beside this page.</p></footer>"


def _table(head: str, rows: Sequence[str], caption: str, name: str = "") -> str:
    label = escape(caption, quote=True)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{label}"><table class="{name}">'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _range(low: float, high: float) -> str:
    """Ends of a share's interval in percent; those of few repetitions may reach beyond what a share can be."""
    return f"{max(0.0, low) * 100:.1f} to {min(1.0, high) * 100:.1f}"
