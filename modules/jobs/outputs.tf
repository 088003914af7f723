output "bucket_name" {
  description = "Bucket whose `imports/` starts an import."
  # Known before the bucket exists, so that nothing in this layer waits for it.
  value = local.bucket
}

output "queue_url_by_name" {
  description = "URLs of the queues: `jobs` (imports and exports), `failed_jobs` (its dead-letter queue), `deliveries` (to subscriptions) and `failed_events` (schedules that failed for good)."
  value = {
    jobs          = aws_sqs_queue.jobs.url
    failed_jobs   = aws_sqs_queue.failed_jobs.url
    deliveries    = aws_sqs_queue.deliveries.url
    failed_events = aws_sqs_queue.failed_events.url
  }
}
