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
    ) : key => merge({
      above    = null
      below    = null
      missing  = "notBreaching"
      out_of   = alarm.of
      share_of = null
  }, alarm) }
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each = local.alarms

  alarm_name        = "${var.name}-${each.key}"
  alarm_description = "${each.value.meaning} First: ${each.value.first} Runbook: ${var.runbook_url}#${each.key}"

  namespace           = each.value.share_of == null ? each.value.namespace : null
  metric_name         = each.value.share_of == null ? each.value.metric : null
  dimensions          = each.value.share_of == null ? each.value.dimensions : null
  statistic           = each.value.share_of != null || startswith(each.value.statistic, "p") ? null : each.value.statistic
  extended_statistic  = startswith(each.value.statistic, "p") ? each.value.statistic : null
  comparison_operator = each.value.above != null ? "GreaterThanThreshold" : "LessThanThreshold"
  threshold           = each.value.above != null ? each.value.above : each.value.below
  period              = each.value.share_of == null ? each.value.period : null
  evaluation_periods  = each.value.out_of
  datapoints_to_alarm = each.value.of
  treat_missing_data  = each.value.missing

  dynamic "metric_query" {
    for_each = each.value.share_of == null ? {} : { part = each.value.metric, whole = each.value.share_of.metric }

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
    for_each = each.value.share_of[*]

    content {
      id          = "share"
      label       = "${each.value.metric} in percent of ${metric_query.value.metric}"
      expression  = "IF(FILL(part, 0) >= ${metric_query.value.least}, 100 * part / whole, 0)"
      return_data = true
    }
  }

  alarm_actions = [var.topic_arn_by_severity[each.value.severity]]
  ok_actions    = [var.topic_arn_by_severity[each.value.severity]]
}
