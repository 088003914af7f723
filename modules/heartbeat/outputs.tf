output "health_check_id" {
  description = "Id of the health check, the dimension of its metrics in us-east-1."
  value       = aws_route53_health_check.this.id
}

output "alarm_arn" {
  description = "ARN of the alarm, in us-east-1."
  value       = aws_cloudwatch_metric_alarm.this.arn
}

output "topic_arn" {
  description = "ARN of the topic that the alarm notifies, in us-east-1."
  value       = aws_sns_topic.this.arn
}
