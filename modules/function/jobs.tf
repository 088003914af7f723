# The queues invoke the function: a few jobs at a time, so that requests keep the other executions (ADR 0312), and
# deliveries apart from them, so that they never wait for an import (ADR 0313).
resource "aws_lambda_event_source_mapping" "jobs" {
  event_source_arn = local.queue_arn_by_name["jobs"]
  function_name    = aws_lambda_alias.live.arn
  # A message is minutes of work of its own.
  batch_size = 1

  # https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html
  scaling_config {
    maximum_concurrency = var.job_concurrency
  }

  # Lambda refuses the mapping while the role may not read the queue.
  depends_on = [aws_iam_role_policy.function]
}

resource "aws_lambda_event_source_mapping" "deliveries" {
  event_source_arn = local.queue_arn_by_name["deliveries"]
  function_name    = aws_lambda_alias.live.arn
  batch_size       = 1

  # The least that AWS takes. There is one message at a time, so one execution.
  scaling_config {
    maximum_concurrency = 2
  }

  depends_on = [aws_iam_role_policy.function]
}
