# The service level objectives: alarms by how fast the error budget burns, each over a long window, which says that enough
# of it is gone, and a short one, which says that it still burns. 14.4 times as fast as the objective allows burns 2 % of a
# month's budget in an hour, 6 times burns 5 % in six hours: https://sre.google/workbook/alerting-on-slos/.
#
#   severity     topic that the alarm goes to
#   objective    which requests count as bad
#   burn         rate and windows
#   meaning      what is wrong, for the person on call
#   first        what to do first
#
# An alarm on a metric has one period, so each window is an alarm that tells nobody, and a composite alarm tells.
locals {
  burns = {
    fast = { rate = 14.4, window_seconds = { long = 3600, short = 300 } }
    slow = { rate = 6, window_seconds = { long = 21600, short = 1800 } }
  }

  # Bad requests in percent, and how many they are. 0 below `least_bad_requests`: of few requests, one is a large share.
  # PR(:x) is the percentage of the values up to x, and IF treats a missing value as none:
  # https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Statistics-definitions.html
  objectives = {
    availability = {
      allowed_percent = 100 - var.objectives.availability_percent
      metric          = "5xx"
      statistic       = "Sum"
      expression      = "IF(FILL(part, 0) >= ${var.objectives.least_bad_requests}, 100 * part / whole, 0)"
    }
    latency = {
      allowed_percent = 100 - var.objectives.latency.percent
      metric          = "Latency"
      statistic       = "PR(:${var.objectives.latency.milliseconds})"
      expression      = "IF(whole * (100 - part) / 100 >= ${var.objectives.least_bad_requests}, 100 - part, 0)"
    }
  }

  objective_alarms = { for key, alarm in {
    availability-fast-burn = {
      severity  = "critical"
      objective = "availability"
      burn      = "fast"
      meaning   = "Within an hour, answers with 5xx have used up 2 % of what a month allows, and it goes on."
      first     = "see which other alarm fires; if it began with a release, roll that back."
    }
    availability-slow-burn = {
      severity  = "critical"
      objective = "availability"
      burn      = "slow"
      meaning   = "Within six hours, answers with 5xx have used up 5 % of what a month allows, and it goes on."
      first     = "group the requests with 5xx by route in the access log: a steady share is mostly one operation."
    }
    latency-fast-burn = {
      severity  = "critical"
      objective = "latency"
      burn      = "fast"
      meaning   = "Within an hour, answers that took more than ${var.objectives.latency.milliseconds} ms have used up 2 % of what a month allows, and it goes on."
      first     = "compare with function-request-duration and the database's load."
    }
    latency-slow-burn = {
      severity  = "warning"
      objective = "latency"
      burn      = "slow"
      meaning   = "Within six hours, answers that took more than ${var.objectives.latency.milliseconds} ms have used up 5 % of what a month allows, and it goes on."
      first     = "group the function's request lines by operation: a statement became slow, or imports run all day."
    }
  } : key => alarm if var.api != null }

  windows = merge([for key, alarm in local.objective_alarms : {
    for window, seconds in local.burns[alarm.burn].window_seconds : "${key}-${window}" => merge(local.objectives[alarm.objective], {
      period    = seconds
      threshold = local.burns[alarm.burn].rate * local.objectives[alarm.objective].allowed_percent
    })
  }]...)
}

resource "aws_cloudwatch_metric_alarm" "window" {
  for_each = local.windows

  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = "A window of ${var.name}-${trimsuffix(trimsuffix(each.key, "-long"), "-short")}, which tells when both of its windows are bad."
  comparison_operator = "GreaterThanThreshold"
  threshold           = each.value.threshold
  evaluation_periods  = 1
  datapoints_to_alarm = 1
  treat_missing_data  = "notBreaching"

  dynamic "metric_query" {
    for_each = {
      part  = { metric = each.value.metric, statistic = each.value.statistic }
      whole = { metric = "Count", statistic = "Sum" }
    }

    content {
      id = metric_query.key

      metric {
        namespace   = local.api_common.namespace
        metric_name = metric_query.value.metric
        dimensions  = local.api_common.dimensions
        stat        = metric_query.value.statistic
        period      = each.value.period
      }
    }
  }

  metric_query {
    id          = "share"
    label       = "bad requests in percent"
    expression  = each.value.expression
    return_data = true
  }
}

resource "aws_cloudwatch_composite_alarm" "this" {
  for_each = local.objective_alarms

  alarm_name        = "${var.name}-${each.key}"
  alarm_description = "${each.value.meaning} First: ${each.value.first} Runbook: ${var.runbook_url}#${each.key}"
  alarm_rule        = join(" AND ", [for window in ["long", "short"] : "ALARM(\"${aws_cloudwatch_metric_alarm.window["${each.key}-${window}"].alarm_name}\")"])

  alarm_actions = [var.topic_arn_by_severity[each.value.severity]]
  ok_actions    = [var.topic_arn_by_severity[each.value.severity]]
}
