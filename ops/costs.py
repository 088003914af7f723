"""``make costs``: write docs/costs.md from the environments' tfvars, ``modules/sizing`` and the list prices below."""

import sys
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.table import Table

from ops import files
from ops.errors import UserError
from ops.output import shown
from ops.settings import PROMOTED_ENVIRONMENTS as ENVIRONMENTS
from ops.settings import ROOT
from ops.sizing import evaluate

DOCUMENT = ROOT / "docs/costs.md"
HOURS = 730

# https://aws.amazon.com/rds/postgresql/pricing/: an hour of one instance in one zone.
INSTANCE_HOUR = {
    "db.t3.medium": 0.072,
    "db.t4g.micro": 0.016,
    "db.t4g.small": 0.032,
    "db.t4g.medium": 0.065,
    "db.t4g.large": 0.129,
    "db.m6g.large": 0.159,
    "db.r6g.large": 0.225,
    "db.r6g.xlarge": 0.45,
    "db.r6g.2xlarge": 0.90,
}
STORAGE_GIB_MONTH = 0.115
# What is provisioned above gp3's baseline, in one zone.
IOPS_MONTH, THROUGHPUT_MIB_MONTH = 0.02, 0.08
BASELINE_IOPS, BASELINE_THROUGHPUT_MIB = 12_000, 500
# https://aws.amazon.com/rds/aurora/pricing/: Serverless, storage and requests to it; I/O-optimized has no requests. The
# page fills in its prices by region, so these are as others quote them; I/O-optimized is also quoted as 0.16.
ACU_HOUR, AURORA_GIB_MONTH, AURORA_MILLION_IO = 0.12, 0.10, 0.20
OPTIMIZED_ACU_HOUR, OPTIMIZED_GIB_MONTH = 0.156, 0.225
# https://aws.amazon.com/rds/proxy/pricing/: for Serverless by capacity, of at least 8 units.
PROXY_ACU_HOUR, PROXY_LEAST_ACU = 0.015, 8
AURORA_GIB = 100
"""Of a cluster, whose storage has no size to begin with."""
LEAST_ACU = 2
"""Of an idle instance in the comparison with RDS: less keeps too little of the data in memory."""
ACU_PER_VCPU = 4
# https://aws.amazon.com/backup/pricing/: a snapshot of RDS, and its copy in another region.
VAULT_GIB_MONTH = 0.095
PROXY_VCPU_HOUR = 0.015
ADVANCED_INSIGHTS_VCPU_HOUR = 0.0125
NAT_GATEWAY_HOUR, NAT_GIB, ADDRESS_HOUR = 0.045, 0.045, 0.005
ENDPOINT_HOUR = 0.01
RUNNER_HOUR = {"t4g.small": 0.0168}
RUNNER_DISK_GIB, DISK_GIB_MONTH = 16, 0.08
KEY_MONTH, SECRET_MONTH, DASHBOARD_MONTH, METRIC_MONTH = 1.0, 0.40, 3.0, 0.30
# https://aws.amazon.com/cloudwatch/pricing/: an alarm costs for each metric that it reads.
ALARM_MONTH, COMPOSITE_ALARM_MONTH = 0.10, 0.50
LOG_GIB = 0.50
# https://aws.amazon.com/route53/pricing/: a health check of an endpoint in AWS, and what HTTPS adds.
HEALTH_CHECK_MONTH, HEALTH_CHECK_HTTPS_MONTH = 0.50, 1.00
LAMBDA_GIB_SECOND, LAMBDA_MILLION, API_MILLION = 0.0000133334, 0.20, 1.00

# Assumed use: millions of requests per month, and what each request takes.
MILLION_REQUESTS = {"dev": 1, "staging": 5, "prod": 100}
MILLION_REQUESTS_ELSEWHERE = 5
REQUEST_SECONDS, REQUEST_LOG_KIB, NAT_GIB_MONTH = 0.05, 1.5, 5
# Secrets: the master's, pmp_app's, pmp_migrator's, two API clients', and the keys of erasures and of tokens. Metrics:
# only those derived from log lines.
SECRETS, LOG_METRICS, ALARMS, CREDIT_ALARMS = 7, 9, 28, 3
# Of AWS Backup: metrics that the alarms of a vault read, and of its copies.
BACKUP_METRICS, COPY_METRICS = 4, 2
# Of the objectives: composite alarms, each over two alarms of two metrics.
OBJECTIVES, OBJECTIVE_METRICS = 4, 16


_BEGINNING = """\
<!-- Written by `make costs`: change ops/costs.py or the tfvars, not this file. -->

# What an environment costs in a month

List prices of us-east-1, on demand, in US dollars, of November 2026: check them against AWS's price list before relying
on them. A month has {hours} hours. Other regions differ by a few percent; discounts and free tiers are left out. Use
this page to compare settings; it is not a quotation. Prices are in `ops/costs.py`; quantities come from the tfvars and
`modules/sizing`. `make costs` regenerates this page, and a test fails when it is stale.
"""

# modules/sizing/examples/requests_5000, with prod's other settings.
FAST = {"instance_class": "db.r6g.2xlarge", "storage_gib": {"initial": 400, "max": 4000}}
_FAST_ITEMS = ("Database", "Storage", "RDS Proxy", "Database Insights")

_FAST = """
## What 5,000 requests a second take

`make sizing RATE=5000` names the classes that carry them. `modules/sizing/examples/requests_5000` takes {name},
with {gib} GiB of storage because smaller gp3 has 3,000 IOPS. What changes beside `prod`, in US dollars a month
(requests, logs and Lambda grow with the traffic):

| | prod | 5,000 requests a second |
| --- | ---: | ---: |
{rows}"""

_END = """
## Assumptions

- Requests per month: {requests}; each takes {milliseconds} ms in the function and
  {log_kib} KiB in three logs.
- Storage has its initial size; it grows automatically up to the maximum in the tfvars. Backups up to the size of the
  storage are free.
- `foundation.database.backups` adds ${vault:g} a month for each GiB in each vault, here counted as one full snapshot.
  Each later one adds what changed since the one before, and its copy to another region about $0.02 per GiB.
- Burstable classes stay within their credits. Beyond them each vCPU-hour costs $0.075: `make sizing` shows the cost of
  a month at full load.
- The heartbeat's own requests count as the API's: three regions ask about once in five seconds, half a million a month.
- Left out because small or dependent on use: S3, Route 53 ($0.50 per zone), SNS, SQS, EventBridge, X-Ray, Enhanced
  Monitoring's log, Cognito's tokens and clients, traffic to the internet, Lambda time for imports.

## What makes the difference

- A NAT gateway costs as much as five interface endpoints in one zone. Only the third-party API, GitLab and packages
  need it; `dev` therefore has a single one and reaches AWS's services through it.
- Two zones double the instance and its storage: `enable_multi_az`.
- RDS Proxy is charged for at least two vCPUs, whatever the class.
"""


def variables(environment: str) -> dict[str, Any]:
    """Return the environment's tfvars as plain Python values."""
    # Deferred: the migration runner has no HCL parser, and its commands do not need one.
    import hcl2

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key.strip('"'): plain(item) for key, item in value.items()}
        if isinstance(value, list):
            return [plain(item) for item in value]
        return value.strip('"') if isinstance(value, str) else value

    with (ROOT / f"envs/{environment}.tfvars").open(encoding="utf-8") as file:
        return dict(plain(hcl2.load(file)))


def _instance(database: dict[str, Any], copies: int, vcpu: int) -> Iterator[tuple[str, str, float]]:
    name, twice = database["instance_class"], " x 2 zones" if copies == 2 else ""
    yield "Database", f"{name}{twice}", INSTANCE_HOUR[name] * HOURS * copies
    gib = database["storage_gib"]["initial"]
    stored = gib * STORAGE_GIB_MONTH
    if more := database.get("storage_performance"):
        stored += (more["iops"] - BASELINE_IOPS) * IOPS_MONTH
        stored += (more["throughput_mib"] - BASELINE_THROUGHPUT_MIB) * THROUGHPUT_MIB_MONTH
    yield "Storage", f"{gib} GiB gp3{twice}", stored * copies
    yield "RDS Proxy", f"{max(vcpu, 2)} vCPU", max(vcpu, 2) * PROXY_VCPU_HOUR * HOURS


def _cluster(aurora: dict[str, Any], copies: int, millions: int) -> Iterator[tuple[str, str, float]]:
    hour, month, asked = ACU_HOUR, AURORA_GIB_MONTH, millions
    if aurora.get("enable_io_optimized", False):
        hour, month, asked = OPTIMIZED_ACU_HOUR, OPTIMIZED_GIB_MONTH, 0
    units = aurora["min_acu"]
    yield "Database", f"Aurora, {copies} x {units} ACU at least", hour * units * HOURS * copies
    charged = AURORA_GIB * month + asked * AURORA_MILLION_IO
    yield "Storage", f"{AURORA_GIB} GiB, {asked} million requests", charged
    yield "RDS Proxy", f"{PROXY_LEAST_ACU} ACU", PROXY_LEAST_ACU * PROXY_ACU_HOUR * HOURS


def lines(environment: str, settings: dict[str, Any], size: dict[str, Any]) -> Iterator[tuple[str, str, float]]:
    """Yield the cost items: name, quantity in words, US dollars per month.

    Raises:
        KeyError: the price of the environment's class or runner is unknown.
    """
    network, database = settings["foundation"]["network"], settings["foundation"]["database"]
    runner, function = settings["foundation"]["runner"], settings["service"]["function"]
    zones = len(network["subnet_cidrs"]["private"])
    vcpu = size["vcpu"]

    millions = MILLION_REQUESTS.get(environment, MILLION_REQUESTS_ELSEWHERE)
    gib, copies = AURORA_GIB, 1 + database.get("aurora", {}).get("readers", 0)
    if "aurora" in database:
        yield from _cluster(database["aurora"], copies, millions)
    else:
        gib, copies = database["storage_gib"]["initial"], 2 if database["enable_multi_az"] else 1
        yield from _instance(database, copies, vcpu)
    if backups := database.get("backups"):
        vaults, keys, metrics = (2, 1, COPY_METRICS) if "copy_region" in backups else (1, 0, 0)
        watched = (BACKUP_METRICS + metrics) * ALARM_MONTH
        kept = gib * VAULT_GIB_MONTH * vaults + keys * KEY_MONTH + watched
        yield "Backups in vaults", f"{gib} GiB x {vaults}", kept
    if database["insights_mode"] == "advanced":
        count = vcpu * copies
        yield "Database Insights", f"advanced, {count} vCPU", count * ADVANCED_INSIGHTS_VCPU_HOUR * HOURS
    gateways = {"none": 0, "single": 1, "per_zone": zones}[network["nat"]]
    nat = gateways * (NAT_GATEWAY_HOUR + ADDRESS_HOUR) * HOURS + NAT_GIB_MONTH * NAT_GIB
    yield "NAT gateways", f"{gateways} with address, {NAT_GIB_MONTH} GiB", nat
    if endpoints := len(network["interface_endpoints"]):
        yield "Interface endpoints", f"{endpoints} x {zones} zones", endpoints * zones * ENDPOINT_HOUR * HOURS
    if runner["enable"]:
        kind = runner.get("instance_type", "t4g.small")
        cost = RUNNER_HOUR[kind] * HOURS + RUNNER_DISK_GIB * DISK_GIB_MONTH
        yield "Migration runner", f"{kind}, {RUNNER_DISK_GIB} GiB", cost
    alarms = ALARMS + (CREDIT_ALARMS if size["is_burstable"] else 0)
    watching = alarms * ALARM_MONTH + DASHBOARD_MONTH + LOG_METRICS * METRIC_MONTH
    yield "Alarms, dashboard, metrics", f"{alarms} + 1 + {LOG_METRICS}", watching
    burning = OBJECTIVES * COMPOSITE_ALARM_MONTH + OBJECTIVE_METRICS * ALARM_MONTH
    yield "Alarms of the objectives", f"{OBJECTIVES} over {2 * OBJECTIVES} windows", burning
    if settings["service"].get("heartbeat", {}).get("enable", True):
        asking = HEALTH_CHECK_MONTH + HEALTH_CHECK_HTTPS_MONTH + ALARM_MONTH
        yield "Heartbeat from outside", "1 HTTPS check, 1 alarm", asking
    yield "Key and secrets", f"1 + {SECRETS}", KEY_MONTH + SECRETS * SECRET_MONTH
    seconds = millions * 1e6 * REQUEST_SECONDS * function["memory_mb"] / 1024
    invoked = seconds * LAMBDA_GIB_SECOND + millions * LAMBDA_MILLION
    yield "Lambda", f"{millions} million x 50 ms x {function['memory_mb']} MiB", invoked
    yield "API Gateway", f"{millions} million requests", millions * API_MILLION
    logged = millions * 1e6 * REQUEST_LOG_KIB / 1024**2
    yield "Logs", f"{logged:.0f} GiB", logged * LOG_GIB


def aurora_month(rate: float) -> float:
    """Return what a writer, a reader of its size, requests to storage and the proxy cost in a month, in US dollars.

    Args:
        rate: requests per second on average, each 1 ms of a vCPU and one request to the storage (modules/sizing).
    """
    units = max(LEAST_ACU, rate / 1000 * ACU_PER_VCPU)
    requests = rate * HOURS * 3600 / 1e6 * AURORA_MILLION_IO
    return 2 * units * ACU_HOUR * HOURS + requests + max(units, PROXY_LEAST_ACU) * PROXY_ACU_HOUR * HOURS


def instance_month(name: str, vcpu: int) -> float:
    """Return what an instance in two zones and its proxy cost in a month, in US dollars.

    Raises:
        KeyError: the price of the class is unknown.
    """
    return 2 * INSTANCE_HOUR[name] * HOURS + max(vcpu, 2) * PROXY_VCPU_HOUR * HOURS


def break_even(name: str, vcpu: int) -> int | None:
    """Return the mean load, in requests per second, below which Aurora costs less than a class; None if it never does.

    Raises:
        KeyError: the price of the class is unknown.
    """
    price, low, high = instance_month(name, vcpu), 0.0, 1e6
    if aurora_month(0) >= price:
        return None
    while high - low > 0.5:
        middle = (low + high) / 2
        low, high = (middle, high) if aurora_month(middle) < price else (low, middle)
    return int(low)


def comparison(sizing_by_class: dict[str, dict[str, Any]]) -> Table:
    """Return a table of the mean loads below which Aurora costs less than the classes that have a price."""
    compared = Table(
        title="RDS in two zones, or Aurora Serverless v2 with one reader",
        caption=(
            "aurora below: mean requests per second up to which Aurora costs less, with peaks as high as the class "
            f"carries. An instance of Aurora starts at {LEAST_ACU} ACU and ends at 256, which carry 64,000 "
            "requests a second: above the largest class, and above 64 TiB, Aurora is needed. List prices without "
            "storage, from ops/costs.py."
        ),
        box=None,
        padding=(0, 1, 0, 0),
        caption_justify="left",
        title_justify="left",
    )
    compared.add_column("class", no_wrap=True)
    for heading in ("req/s", "$/month", "aurora below"):
        compared.add_column(heading, justify="right", no_wrap=True)
    for name, size in sizing_by_class.items():
        if name not in INSTANCE_HOUR:
            continue
        rate = break_even(name, size["vcpu"])
        compared.add_row(
            name,
            f"{size['throttling']['rate_limit']:,}",
            f"{instance_month(name, size['vcpu']):,.0f}",
            "never" if rate is None else f"{rate:,}",
        )
    return compared


def compare(sizing_by_class: dict[str, dict[str, Any]]) -> None:
    """Print from which load Aurora is cheaper than the classes, or needed."""
    console = Console(width=None if sys.stdout.isatty() else 80)
    console.print()
    console.print(comparison(sizing_by_class))


def _fast(prod: dict[str, Any], today: list[tuple[str, str, float]], size: dict[str, Any]) -> str:
    """Return the section about 5,000 requests a second beside prod's settings and costs."""
    database = prod["foundation"]["database"] | FAST
    changed = prod | {"foundation": prod["foundation"] | {"database": database}}
    before = {item: dollars for item, _, dollars in today}
    rows = "\n".join(
        f"| {item} | {before[item]:,.2f} | {dollars:,.2f} ({how}) |"
        for item, how, dollars in lines("prod", changed, size)
        if item in _FAST_ITEMS
    )
    return _FAST.format(name=database["instance_class"], gib=database["storage_gib"]["initial"], rows=rows)


def document() -> str:
    """Return the text of docs/costs.md.

    Raises:
        UserError: Terraform failed, or an environment's class is unknown.
        KeyError: the price of an environment's class or runner is unknown.
    """
    settings = {name: variables(name) for name in ENVIRONMENTS}
    classes = {name: one["foundation"]["database"]["instance_class"] for name, one in settings.items()}
    sizing = evaluate(sorted({*classes.values(), str(FAST["instance_class"])}))
    table = {name: list(lines(name, settings[name], sizing[classes[name]])) for name in ENVIRONMENTS}
    items = list(dict.fromkeys(item for rows in table.values() for item, _, _ in rows))
    written = [
        _BEGINNING.format(hours=HOURS),
        "| | " + " | ".join(ENVIRONMENTS) + " |",
        "| --- | " + " | ".join("---:" for _ in ENVIRONMENTS) + " |",
    ]
    for item in items:
        cells = []
        for name in ENVIRONMENTS:
            found = [(how, dollars) for label, how, dollars in table[name] if label == item]
            cells.append(f"{found[0][1]:,.2f} ({found[0][0]})" if found else "-")
        written.append(f"| {item} | " + " | ".join(cells) + " |")
    totals = [f"**{sum(dollars for _, _, dollars in table[name]):,.2f}**" for name in ENVIRONMENTS]
    requests = ", ".join(
        f"{name} {MILLION_REQUESTS.get(name, MILLION_REQUESTS_ELSEWHERE)} million" for name in ENVIRONMENTS
    )
    written += [
        "| **Total, US dollars** | " + " | ".join(totals) + " |",
        _fast(settings["prod"], table["prod"], sizing[str(FAST["instance_class"])]),
        _END.format(
            requests=requests,
            milliseconds=f"{REQUEST_SECONDS * 1000:g}",
            log_kib=REQUEST_LOG_KIB,
            vault=VAULT_GIB_MONTH,
        ),
    ]
    return "\n".join(written)


def write() -> None:
    """Write the document.

    Raises:
        UserError: a price is missing, or Terraform failed.
    """
    try:
        files.replace(DOCUMENT, document())
    except KeyError as error:
        raise UserError(f"ops/costs.py has no price for {error}: add it from AWS's price list") from error
    print(f"wrote {shown(DOCUMENT)}")
