output "alarm_arn_by_name" {
  description = "ARNs of the alarms by their name without the prefix, which is also their section in docs/runbook.md."
  value       = { for key, alarm in aws_cloudwatch_metric_alarm.this : key => alarm.arn }
}

output "metric_namespace" {
  description = "Namespace of the metrics that are made from the function's log."
  value       = local.metric_namespace
}
