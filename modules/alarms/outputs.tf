output "alarm_arn_by_name" {
  description = "ARNs of the alarms by their name without the prefix, which is also their section in docs/runbook.md."
  value = merge(
    { for key, alarm in aws_cloudwatch_metric_alarm.this : key => alarm.arn },
    { for key, alarm in aws_cloudwatch_composite_alarm.this : key => alarm.arn },
  )
}

output "threshold_by_name" {
  description = "Thresholds of the alarms by the same names, in the unit of their metric: the dashboard draws them as lines."
  value       = { for key, alarm in local.alarms : key => alarm.above != null ? alarm.above : alarm.below }
}

output "metric_namespace" {
  description = "Namespace of the metrics that are made from the function's log."
  value       = local.metric_namespace
}
