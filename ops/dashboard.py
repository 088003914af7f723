"""Draw the CloudWatch dashboard with sample data: ``make dashboard`` writes docs/dashboard.svg.

The JSON is what AWS would get: Terraform plans ``modules/dashboard/examples/burstable``, which needs no AWS account.
The data are invented: one hour with a burst of requests in the middle.
"""

import html
import json
import math
import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ops import files, providers
from ops.errors import UserError
from ops.output import shown
from ops.processes import run
from ops.settings import ROOT
from ops.terraform import first_error

PICTURE = ROOT / "docs/dashboard.svg"
_EXAMPLE = "modules/dashboard/examples/burstable"

MINUTES = 60
# Typical value in a quiet minute, and the increase at the peak of the burst.
_SAMPLES: dict[str, tuple[float, float]] = {
    "requests": (3_000, 21_000),
    "4xx": (40, 160),
    "5xx": (0, 3),
    "API p50": (14, 9),
    "API p99": (90, 700),
    "function p99": (60, 480),
    "running": (12, 140),
    "throttled": (0, 0),
    "failed": (0, 0),
    "in use": (96, 112),
    "open": (90, 110),
    "borrowed": (8, 120),
    "pinned": (0, 0),
    "borrow latency": (900, 120_000),
    "all": (0.3, 1.9),
    "on CPU": (0.2, 1.2),
    "waiting": (0.1, 0.7),
    "balance": (420, -130),
    "surplus": (0, 0),
    "charged": (0, 0),
    "storage": (14e9, -0.4e9),
    "memory": (1.6e9, -0.3e9),
    "lines": (0, 250_000),
    "accepted": (0, 240_000),
    "rejected": (0, 900),
    "error lines": (0, 1.2),
    "failed imports": (0, 0),
    "failed events": (0, 0),
    "failed jobs": (0, 0),
    "oldest job": (2, 90),
    "overdue": (0, 0),
    "get an answer": (100, 0),
    "lag": (0.1, 0.6),
}

_COLORS = ("#1f77b4", "#ff7f0e", "#2ca02c")
_LIMIT_COLOR = "#d13212"
_COLUMN, _ROW, _GAP = 46, 38, 6
_STYLE = (
    "text{font:11px sans-serif;fill:#16191f}.title{font-weight:bold;font-size:13px}.small{font-size:10px;fill:#545b64}"
    ".box{fill:#fff;stroke:#d5dbdb}.grid{stroke:#eaeded}.line{fill:none;stroke-width:1.6}"
    f".limit{{stroke:{_LIMIT_COLOR};stroke-dasharray:5 3}}"
)


def planned_body() -> dict[str, Any]:
    """Return the dashboard's JSON as planned by the example.

    Raises:
        UserError: Terraform failed; the message quotes its error.
    """
    with tempfile.TemporaryDirectory(prefix="pmp-dashboard-") as scratch:
        for module in ("alarms", "dashboard", "sizing"):
            shutil.copytree(ROOT / "modules" / module, Path(scratch) / "modules" / module)
        folder = Path(scratch) / _EXAMPLE
        configuration = Path(scratch) / "terraformrc"
        configuration.write_text(providers.cli_configuration())
        # The example needs no account, but without these variables the provider looks for one.
        environment = os.environ | {
            "TF_CLI_CONFIG_FILE": str(configuration),
            "AWS_REGION": "eu-west-1",
            "AWS_ACCESS_KEY_ID": "none",
            "AWS_SECRET_ACCESS_KEY": "none",
        }
        output = ""
        for command in (
            ["init", "-backend=false", "-input=false", "-no-color"],
            ["plan", "-input=false", "-no-color", "-out=plan"],
            ["show", "-json", "plan"],
        ):
            status, lines = run(
                ["terraform", f"-chdir={folder}", *command], directory=Path(scratch), environment=environment
            )
            if status:
                raise UserError(f"terraform {command[0]} failed: {first_error(lines)}")
            output = "\n".join(lines)
    body = json.loads(output)["planned_values"]["outputs"]["dashboard_body"]["value"]
    return dict(json.loads(body))


def samples(label: str) -> list[float]:
    """Return one value for each minute of the invented hour.

    Raises:
        KeyError: `_SAMPLES` has no metric with this label.
    """
    quiet, burst = _SAMPLES[label]
    noise = random.Random(label)  # noqa: S311 - only for a picture, and reproducible
    values = []
    for minute in range(MINUTES):
        peak = math.exp(-(((minute - 34) / 7) ** 2))
        values.append(max(0.0, quiet * noise.uniform(0.93, 1.07) + burst * peak * noise.uniform(0.9, 1.1)))
    return values


def draw(body: dict[str, Any]) -> str:
    """Return the dashboard as SVG.

    Args:
        body: a CloudWatch dashboard body whose widgets are all of type ``metric``.

    Raises:
        KeyError: a metric's label has no sample.
    """
    widgets = body["widgets"]
    width = max(w["x"] + w["width"] for w in widgets) * _COLUMN
    height = max(w["y"] + w["height"] for w in widgets) * _ROW
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
        "<title>CloudWatch dashboard of one environment, with sample data</title>",
        f"<style>{_STYLE}</style>",
        f'<rect width="{width}" height="{height}" fill="#f2f3f3"/>',
    ]
    for widget in widgets:
        lines.extend(_draw_widget(widget))
    return "\n".join([*lines, "</svg>", ""])


def _draw_widget(widget: dict[str, Any]) -> Iterator[str]:
    properties = widget["properties"]
    x, y = widget["x"] * _COLUMN + _GAP, widget["y"] * _ROW + _GAP
    width, height = widget["width"] * _COLUMN - 2 * _GAP, widget["height"] * _ROW - 2 * _GAP
    left, top, right, bottom = x + 46, y + 40, x + width - 12, y + height - 40
    labels = [metric[-1]["label"] for metric in properties["metrics"]]
    series = [samples(label) for label in labels]
    unit = html.escape(properties["yAxis"]["left"]["label"])
    limits = properties.get("annotations", {}).get("horizontal", [])
    ceiling = _round_up(max([1.0, *(max(s) for s in series), *(limit["value"] for limit in limits)]))

    def height_of(value: float) -> float:
        return float(bottom - (bottom - top) * value / ceiling)

    yield f'<rect class="box" x="{x}" y="{y}" width="{width}" height="{height}" rx="4"/>'
    yield f'<text class="title" x="{x + 12}" y="{y + 20}">{html.escape(properties["title"])}</text>'
    yield f'<text class="small" x="{right}" y="{y + 20}" text-anchor="end">{unit}</text>'
    for share in (0, 0.5, 1):
        at = height_of(ceiling * share)
        yield f'<line class="grid" x1="{left}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}"/>'
        yield f'<text class="small" x="{left - 5}" y="{at + 3:.1f}" text-anchor="end">{_short(ceiling * share)}</text>'
    for at, time, anchor in (
        (left, "10:00", "start"),
        ((left + right) / 2, "10:30", "middle"),
        (right, "11:00", "end"),
    ):
        yield f'<text class="small" x="{at:.1f}" y="{bottom + 14}" text-anchor="{anchor}">{time}</text>'
    for color, values in zip(_COLORS, series, strict=False):
        points = " ".join(
            f"{left + (right - left) * index / (MINUTES - 1):.1f},{height_of(value):.1f}"
            for index, value in enumerate(values)
        )
        yield f'<polyline class="line" stroke="{color}" points="{points}"/>'
    for limit in limits:
        at = height_of(limit["value"])
        yield f'<line class="limit" x1="{left}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}"/>'
        text = f"{html.escape(limit['label'])} {_short(limit['value'])}"
        yield f'<text class="small" x="{right}" y="{at - 4:.1f}" text-anchor="end">{text}</text>'
    for index, (color, label) in enumerate(zip(_COLORS, labels, strict=False)):
        at = x + 14 + index * (width - 20) / 3
        yield f'<rect x="{at:.1f}" y="{y + height - 18}" width="10" height="10" fill="{color}"/>'
        yield f'<text x="{at + 14:.1f}" y="{y + height - 9}">{html.escape(label)}</text>'


def _round_up(value: float) -> float:
    """Round up to 1, 2, 2.5 or 5 times a power of ten."""
    power = float(10 ** math.floor(math.log10(value)))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= value)


def _short(value: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def write() -> None:
    """Write the picture.

    Raises:
        UserError: Terraform failed, or a metric has no sample data.
    """
    try:
        files.replace(PICTURE, draw(planned_body()))
    except KeyError as error:
        raise UserError(
            f"the dashboard has a metric labelled {error}: add it to _SAMPLES in ops/dashboard.py"
        ) from error
    print(f"wrote {shown(PICTURE)}")
