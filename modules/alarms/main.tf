# Every alarm is one entry of a map in the file of what it watches:
#
#   severity     topic that it goes to
#   metric       namespace and name
#   dimensions   which resource
#   statistic    Average, Sum, Minimum, Maximum or a percentile (p99)
#   period, of   `of` periods of `period` seconds are looked at, all of them must be beyond the threshold unless
#   out_of       fewer (`of`) out of more (`out_of`) are enough
#   above/below  the threshold
#   share_of     the metric is one part of another one (`metric`): the alarm looks at its percentage, and at 0 % where the
#                part is below `least`
#   plus         further metrics, whose values are added to the metric's
#   missing      what no data means; unless said otherwise nothing happens, nothing is published: fine
#   meaning      what is wrong, for the person on call
#   first        what to do first
#
# docs/runbook.md has a section for each, named as the alarm is: tests/infra/operations compares both. The alarms of the
# service level objectives are in objectives.tf.
locals {
  alarms = { for key, alarm in merge(
    local.database_alarms,
    local.cluster_alarms,
    local.credit_alarms,
    local.proxy_alarms,
    local.function_alarms,
    local.log_alarms,
    local.api_alarms,
    local.backup_alarms,
    ) : key => merge({
      above    = null
      below    = null
      missing  = "notBreaching"
      out_of   = alarm.of
      plus     = []
      share_of = null
  }, alarm) }

  # What an alarm calculates from several metrics: the metrics by the ids of their queries, and the expression over them.
  calculations = merge(
    { for key, alarm in local.alarms : key => {
      id         = "share"
      label      = "${alarm.metric} in percent of ${alarm.share_of.metric}"
      metrics    = { part = alarm.metric, whole = alarm.share_of.metric }
      expression = "IF(FILL(part, 0) >= ${alarm.share_of.least}, 100 * part / whole, 0)"
    } if alarm.share_of != null },
    { for key, alarm in local.alarms : key => {
      id         = "sum"
      label      = join(" + ", concat([alarm.metric], alarm.plus))
      metrics    = { for number, metric in concat([alarm.metric], alarm.plus) : "m${number}" => metric }
      expression = join(" + ", [for number in range(1 + length(alarm.plus)) : "FILL(m${number}, 0)"])
    } if length(alarm.plus) > 0 },
  )
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each = local.alarms

  alarm_name        = "${var.name}-${each.key}"
  alarm_description = "${each.value.meaning} First: ${each.value.first} Runbook: ${var.runbook_url}#${each.key}"

  namespace           = contains(keys(local.calculations), each.key) ? null : each.value.namespace
  metric_name         = contains(keys(local.calculations), each.key) ? null : each.value.metric
  dimensions          = contains(keys(local.calculations), each.key) ? null : each.value.dimensions
  statistic           = contains(keys(local.calculations), each.key) || startswith(each.value.statistic, "p") ? null : each.value.statistic
  extended_statistic  = startswith(each.value.statistic, "p") ? each.value.statistic : null
  comparison_operator = each.value.above != null ? "GreaterThanThreshold" : "LessThanThreshold"
  threshold           = each.value.above != null ? each.value.above : each.value.below
  period              = contains(keys(local.calculations), each.key) ? null : each.value.period
  evaluation_periods  = each.value.out_of
  datapoints_to_alarm = each.value.of
  treat_missing_data  = each.value.missing

  dynamic "metric_query" {
    for_each = try(local.calculations[each.key].metrics, {})

    content {
      id = metric_query.key

      metric {
        namespace   = each.value.namespace
        metric_name = metric_query.value
        dimensions  = each.value.dimensions
        stat        = each.value.statistic
        period      = each.value.period
      }
    }
  }

  dynamic "metric_query" {
    for_each = try([local.calculations[each.key]], [])

    content {
      id          = metric_query.value.id
      label       = metric_query.value.label
      expression  = metric_query.value.expression
      return_data = true
    }
  }

  alarm_actions = [var.topic_arn_by_severity[each.value.severity]]
  ok_actions    = [var.topic_arn_by_severity[each.value.severity]]
}
