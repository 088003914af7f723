output "alias" {
  description = "Alias by which everything invokes the function: its name, its ARN, and the newest version, which it serves once `python -m ops canary` has moved it."
  value = {
    name           = aws_lambda_alias.live.name
    arn            = aws_lambda_alias.live.arn
    newest_version = module.function.lambda_function_version
  }
}

output "function_name" {
  description = "Name of the function."
  value       = module.function.lambda_function_name
}

output "role_arn" {
  description = "Role that the function runs as."
  value       = aws_iam_role.function.arn
}

output "imports_bucket_name" {
  description = "Bucket whose `imports/` starts an import."
  value       = aws_s3_bucket.imports.id

  # An upload before the notification exists would never be imported.
  depends_on = [aws_s3_bucket_notification.imports, aws_s3_bucket_policy.imports, aws_lambda_event_source_mapping.jobs]
}

output "failed_events_queue_name" {
  description = "Queue of scheduled events that failed for good."
  value       = aws_sqs_queue.failed_events.name
}

output "jobs_queue_name" {
  description = "Queue of imports and exports that wait for an invocation."
  value       = aws_sqs_queue.jobs.name

  # Nothing takes from the queue before.
  depends_on = [aws_lambda_event_source_mapping.jobs]
}

output "failed_jobs_queue_name" {
  description = "Dead-letter queue of `jobs_queue_name`."
  value       = aws_sqs_queue.failed_jobs.name
}

output "log_group_name" {
  description = "Log group of the function."
  value       = module.function.lambda_cloudwatch_log_group_name
}
