# One screen per environment, top to bottom as a request goes: API, function, proxy, database, and what runs beside them.
# The lines drawn across are the limits of modules/sizing (pool, vCPUs, …) and the thresholds of modules/alarms.
locals {
  # A row of widgets: three of 8 columns in CloudWatch's grid of 24.
  width  = 8
  height = 6

  # Each metric: [namespace, name, dimension name, dimension value, …, { options }].
  lambda   = { namespace = "AWS/Lambda", dimensions = ["FunctionName", var.function.name] }
  gateway  = { namespace = "AWS/ApiGateway", dimensions = ["ApiId", var.api.id, "Stage", var.api.stage_name] }
  instance = { namespace = "AWS/RDS", dimensions = var.database.is_cluster ? ["DBClusterIdentifier", var.database.identifier, "Role", "WRITER"] : ["DBInstanceIdentifier", var.database.identifier] }
  readers  = { namespace = "AWS/RDS", dimensions = ["DBClusterIdentifier", var.database.identifier, "Role", "READER"] }
  # Aurora's storage grows by itself; an instance of it has a disk for temporary files.
  storage = [for storage in [
    { is_cluster = false, name = "FreeStorageSpace", alarm = "database-storage" },
    { is_cluster = true, name = "FreeLocalStorage", alarm = "database-local-storage" },
  ] : storage if storage.is_cluster == var.database.is_cluster][0]
  proxy = { namespace = "AWS/RDS", dimensions = ["ProxyName", var.database.proxy_name] }
  log   = { namespace = "PMP/${var.name}", dimensions = [] }
  queue = { for name, queue in {
    events      = var.function.failed_events_queue_name
    jobs        = var.function.jobs_queue_name
    failed_jobs = var.function.failed_jobs_queue_name
  } : name => { namespace = "AWS/SQS", dimensions = ["QueueName", queue] } }
  outside = { namespace = "AWS/Route53", dimensions = ["HealthCheckId", try(var.heartbeat.health_check_id, "")] }

  panels = concat(
    [
      {
        title = "Requests and errors"
        unit  = "per minute"
        metrics = [
          { of = local.gateway, name = "Count", stat = "Sum", label = "requests" },
          { of = local.gateway, name = "4xx", stat = "Sum", label = "4xx" },
          { of = local.gateway, name = "5xx", stat = "Sum", label = "5xx" },
        ]
      },
      {
        title = "Time of a request"
        unit  = "ms"
        alarm = "api-latency"
        metrics = [
          { of = local.gateway, name = "Latency", stat = "p50", label = "API p50" },
          { of = local.gateway, name = "Latency", stat = "p99", label = "API p99" },
          { of = local.log, name = "RequestMilliseconds", stat = "p99", label = "function p99" },
        ]
      },
      {
        title = "Concurrent invocations"
        unit  = "invocations"
        limit = { label = "reserved", value = var.function.reserved_concurrency }
        alarm = "function-concurrency"
        metrics = [
          { of = local.lambda, name = "ConcurrentExecutions", stat = "Maximum", label = "running" },
          { of = local.lambda, name = "Throttles", stat = "Sum", label = "throttled" },
          { of = local.lambda, name = "Errors", stat = "Sum", label = "failed" },
        ]
      },
      {
        title = "The proxy's pool"
        unit  = "connections"
        limit = { label = "pool", value = var.database.pool_size }
        metrics = [
          # Published by each of the instances that serve the proxy: only the sum compares with the pool's size.
          { of = local.proxy, name = "DatabaseConnections", stat = "Sum", label = "open" },
          { of = local.proxy, name = "DatabaseConnectionsCurrentlyBorrowed", stat = "Sum", label = "borrowed" },
          { of = local.proxy, name = "DatabaseConnectionsCurrentlySessionPinned", stat = "Sum", label = "pinned" },
        ]
      },
      {
        title = "Waiting for a connection"
        unit  = "µs"
        alarm = "proxy-borrow-latency"
        metrics = [
          { of = local.proxy, name = "DatabaseConnectionsBorrowLatency", stat = "Average", label = "borrow latency" },
        ]
      },
      {
        title = "Database load"
        unit  = "sessions"
        limit = { label = "vCPUs", value = var.database.vcpu }
        alarm = "database-load"
        metrics = [
          { of = local.instance, name = "DBLoad", stat = "Average", label = "all" },
          { of = local.instance, name = "DBLoadCPU", stat = "Average", label = "on CPU" },
          { of = local.instance, name = "DBLoadNonCPU", stat = "Average", label = "waiting" },
        ]
      },
    ],
    [for panel in [{
      title = "CPU credits"
      unit  = "credits"
      alarm = "database-credit-balance"
      metrics = [
        { of = local.instance, name = "CPUCreditBalance", stat = "Minimum", label = "balance" },
        { of = local.instance, name = "CPUSurplusCreditBalance", stat = "Maximum", label = "surplus" },
        { of = local.instance, name = "CPUSurplusCreditsCharged", stat = "Sum", label = "charged" },
      ]
    }] : panel if var.database.is_burstable],
    [for panel in [
      {
        title = "Capacity in use"
        unit  = "percent"
        alarm = "database-capacity"
        metrics = [
          { of = local.instance, name = "ACUUtilization", stat = "Maximum", label = "writer" },
          { of = local.readers, name = "ACUUtilization", stat = "Maximum", label = "busiest reader" },
        ]
      },
      {
        title = "Lag of readers"
        unit  = "ms"
        alarm = "database-reader-lag"
        metrics = [
          { of = local.readers, name = "AuroraReplicaLag", stat = "Maximum", label = "slowest" },
        ]
      },
    ] : panel if var.database.is_cluster],
    [
      {
        title = "Connections to the database"
        unit  = "connections"
        limit = { label = "max_connections", value = var.database.max_connections }
        alarm = "database-connections"
        metrics = [
          { of = local.instance, name = "DatabaseConnections", stat = "Maximum", label = "in use" },
        ]
      },
      {
        title = "Free storage and memory"
        unit  = "bytes"
        alarm = local.storage.alarm
        metrics = [
          { of = local.instance, name = local.storage.name, stat = "Minimum", label = "storage" },
          { of = local.instance, name = "FreeableMemory", stat = "Minimum", label = "memory" },
        ]
      },
      {
        title = "Imported lines"
        unit  = "lines"
        metrics = [
          { of = local.log, name = "ImportLines", stat = "Sum", label = "lines" },
          { of = local.log, name = "ImportAcceptedLines", stat = "Sum", label = "accepted" },
          { of = local.log, name = "ImportRejectedLines", stat = "Sum", label = "rejected" },
        ]
      },
      {
        title = "Failures beside requests"
        unit  = "count"
        metrics = [
          { of = local.log, name = "ErrorLines", stat = "Sum", label = "error lines" },
          { of = local.log, name = "ImportFailures", stat = "Sum", label = "failed imports" },
          { of = local.queue["events"], name = "ApproximateNumberOfMessagesVisible", stat = "Maximum", label = "failed events" },
          { of = local.queue["failed_jobs"], name = "ApproximateNumberOfMessagesVisible", stat = "Maximum", label = "failed jobs" },
        ]
      },
      {
        title = "Longest wait of a job"
        unit  = "seconds"
        alarm = "jobs-queue-age"
        metrics = [
          { of = local.queue["jobs"], name = "ApproximateAgeOfOldestMessage", stat = "Maximum", label = "oldest job" },
        ]
      },
      {
        title = "Vendor list overdue"
        unit  = "seconds"
        alarm = "vendor-list-stale"
        metrics = [
          { of = local.log, name = "VendorListOverdueSeconds", stat = "Maximum", label = "overdue" },
        ]
      },
      {
        title = "Subscriptions behind"
        unit  = "seconds"
        alarm = "deliveries-lag"
        metrics = [
          { of = local.log, name = "DeliveryLagSeconds", stat = "Maximum", label = "lag" },
        ]
      },
      {
        title = "Event feed held back"
        unit  = "seconds"
        limit = null
        metrics = [
          { of = local.log, name = "FeedLagSeconds", stat = "Maximum", label = "lag" },
        ]
      },
    ],
    [for panel in [{
      title  = "Seen from outside"
      unit   = "percent of checkers"
      region = "us-east-1"
      metrics = [
        { of = local.outside, name = "HealthCheckPercentageHealthy", stat = "Average", label = "get an answer" },
      ]
    }] : panel if var.heartbeat != null],
  )

  # A limit as it is drawn: what the environment has, then where its alarm rings.
  limits = [for panel in local.panels : concat(
    [for limit in try(panel.limit, null)[*] : limit],
    [for name in try(panel.alarm, null)[*] : { label = "alarm ${name}", value = var.alarm_threshold_by_name[name] } if contains(keys(var.alarm_threshold_by_name), name)],
  )]

  widgets = [for index, panel in local.panels : {
    type   = "metric"
    x      = index % 3 * local.width
    y      = floor(index / 3) * local.height
    width  = local.width
    height = local.height
    properties = merge(
      {
        title  = panel.title
        region = try(panel.region, data.aws_region.this.name)
        view   = "timeSeries"
        period = 60
        yAxis  = { left = { min = 0, label = panel.unit, showUnits = false } }
        metrics = [for metric in panel.metrics : concat(
          [metric.of.namespace, metric.name], metric.of.dimensions, [{ stat = metric.stat, label = metric.label }],
        )]
      },
      length(local.limits[index]) == 0 ? null : { annotations = { horizontal = local.limits[index] } },
    )
  }]
}

data "aws_region" "this" {}

resource "aws_cloudwatch_dashboard" "this" {
  dashboard_name = var.name
  dashboard_body = jsonencode({ widgets = local.widgets })
}
