# Every alarm is one entry of a map in the file of what it watches:
#
#   severity     topic that it goes to
#   metric       namespace and name
#   dimensions   which resource
#   statistic    Average, Sum, Minimum, Maximum or a percentile (p99)
#   period, of   `of` periods of `period` seconds are looked at, all of them must be beyond the threshold unless
#   out_of       fewer (`of`) out of more (`out_of`) are enough
#   above/below  the threshold
#   missing      what no data means; unless said otherwise nothing happens, nothing is published: fine
#   meaning      what is wrong, for whoever is woken
#   first        what to do first
#
# docs/runbook.md has a section for each, named as the alarm is: tests/infra/operations compares both.
locals {
  alarms = { for key, alarm in merge(
    local.database_alarms,
    local.credit_alarms,
    local.proxy_alarms,
    local.function_alarms,
    local.log_alarms,
    local.api_alarms,
    ) : key => merge({
      above   = null
      below   = null
      missing = "notBreaching"
      out_of  = alarm.of
  }, alarm) }
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each = local.alarms

  alarm_name        = "${var.name}-${each.key}"
  alarm_description = "${each.value.meaning} First: ${each.value.first} Runbook: ${var.runbook_url}#${each.key}"

  namespace           = each.value.namespace
  metric_name         = each.value.metric
  dimensions          = each.value.dimensions
  statistic           = startswith(each.value.statistic, "p") ? null : each.value.statistic
  extended_statistic  = startswith(each.value.statistic, "p") ? each.value.statistic : null
  comparison_operator = each.value.above != null ? "GreaterThanThreshold" : "LessThanThreshold"
  threshold           = each.value.above != null ? each.value.above : each.value.below
  period              = each.value.period
  evaluation_periods  = each.value.out_of
  datapoints_to_alarm = each.value.of
  treat_missing_data  = each.value.missing

  alarm_actions = [var.topic_arn_by_severity[each.value.severity]]
  ok_actions    = [var.topic_arn_by_severity[each.value.severity]]
}
