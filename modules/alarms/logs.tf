# What only the function itself knows: it logs JSON lines with constant messages, which filters turn into metrics. The
# namespace is PMP's own, one per environment: a filter's dimensions are values of the line, and no line names it.
locals {
  metric_namespace = "PMP/${var.name}"

  # No default value: a missing line has to be missing.
  log_metrics = { for name, metric in {
    ErrorLines               = { pattern = "{ $.level = \"error\" }", value = "1", unit = "Count" }
    RequestMilliseconds      = { pattern = "{ $.message = \"request\" }", value = "$.milliseconds", unit = "Milliseconds" }
    ImportFailures           = { pattern = "{ $.message = \"import ended\" && $.state = \"failed\" }", value = "1", unit = "Count" }
    ImportLines              = { pattern = "{ $.message = \"import ended\" }", value = "$.lines", unit = "Count" }
    ImportRejectedLines      = { pattern = "{ $.message = \"import ended\" }", value = "$.rejected", unit = "Count" }
    ImportAcceptedLines      = { pattern = "{ $.message = \"import ended\" }", value = "$.accepted", unit = "Count" }
    DeliveryLagSeconds       = { pattern = "{ $.message = \"deliveries checked\" }", value = "$.lag_seconds", unit = "Seconds" }
    FeedLagSeconds           = { pattern = "{ $.message = \"feed read\" }", value = "$.lag_seconds", unit = "Seconds" }
    VendorListOverdueSeconds = { pattern = "{ $.message = \"vendor list checked\" }", value = "$.overdue_seconds", unit = "Seconds" }
  } : name => metric if var.function != null }

  log_alarms = { for key, alarm in {
    function-error-lines = {
      severity  = "warning"
      metric    = "ErrorLines"
      statistic = "Sum"
      period    = 300
      of        = 1
      above     = 0
      meaning   = "The function wrote lines of level error."
      first     = "read them: message, error and traceback; the request id finds the rest."
    }
    function-request-duration = {
      severity  = "warning"
      metric    = "RequestMilliseconds"
      statistic = "p99"
      period    = 300
      of        = 3
      above     = 1000
      meaning   = "The function itself needed more than a second for one request in a hundred, for a quarter of an hour."
      first     = "group the request lines of the log by operation, then look at the database's load."
    }
    import-failures = {
      severity  = "warning"
      metric    = "ImportFailures"
      statistic = "Sum"
      period    = 300
      of        = 1
      above     = 0
      meaning   = "An import ended as failed: what it had accepted until then is kept, the rest is not."
      first     = "GET /v1/imports/{id} says why; fix the file and upload it again, lines already accepted are skipped."
    }
    import-rejects = {
      severity  = "warning"
      metric    = "ImportRejectedLines"
      statistic = "Sum"
      period    = 300
      of        = 1
      # A share of the lines, so that one typing error in a list of ten does not ring. A file of which nothing was
      # accepted fails.
      share_of = { metric = "ImportLines", least = 100 }
      above    = 5
      meaning  = "Of the imports that ended within five minutes, more than 5 % of the lines, and at least 100, were rejected."
      first    = "GET /v1/imports shows the rejected lines by code; tell the sender, and import the corrected file of rejects."
    }
    feed-lag = {
      severity  = "warning"
      metric    = "FeedLagSeconds"
      statistic = "Minimum"
      period    = 300
      of        = 3
      above     = 300
      meaning   = "For a quarter of an hour, nobody who follows GET /v1/events saw an event of the last five minutes."
      first     = "find the transaction that has been open for so long; nothing is lost, the feed goes on when it ends."
    }
    deliveries-lag = {
      severity  = "warning"
      metric    = "DeliveryLagSeconds"
      statistic = "Minimum"
      # The schedule runs every minute; five minutes without a line mean that it does not run at all.
      period  = 300
      of      = 3
      above   = 900
      missing = "breaching"
      meaning = "A subscription has not acknowledged changes that are more than a quarter of an hour old, or nothing looks for changes."
      first   = "GET /v1/subscriptions shows which one fails and why; nothing is lost, it is told when it answers again."
    }
    vendor-list-stale = {
      severity  = "warning"
      metric    = "VendorListOverdueSeconds"
      statistic = "Minimum"
      # The schedule runs every quarter of an hour; six hours without a line mean that it does not run at all.
      period  = 21600
      of      = 1
      above   = 86400
      missing = "breaching"
      meaning = "The copy of the vendor list is more than a day older than its source allows, or nothing refreshes it any more."
      first   = "read the lines 'vendor list not refreshed' for the reason; readers get the old copy with stale = true."
    }
  } : key => merge({ namespace = local.metric_namespace, dimensions = {} }, alarm) if var.function != null }
}

resource "aws_cloudwatch_log_metric_filter" "this" {
  for_each = local.log_metrics

  name           = "${var.name}-${each.key}"
  log_group_name = local.function.log_group_name
  pattern        = each.value.pattern

  metric_transformation {
    namespace = local.metric_namespace
    name      = each.key
    value     = each.value.value
    unit      = each.value.unit
  }
}
