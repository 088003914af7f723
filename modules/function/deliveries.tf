# What is told to subscriptions: a chain of messages, one at a time, each of which looks for changes and sends the next.
# A queue of its own: in the jobs queue it would wait while imports use all its executions (ADR 0313).
locals {
  deliveries_queue = "${var.name}-deliveries"
}

resource "aws_sqs_queue" "deliveries" {
  name                       = local.deliveries_queue
  visibility_timeout_seconds = 6 * var.timeout_seconds
  # A message that fails is not worth trying again: a schedule begins another chain. So it needs no dead-letter queue, and
  # what is left over disappears soon.
  message_retention_seconds = 3600
  sqs_managed_sse_enabled   = true

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "DenyPlaintextTransport"
      Effect    = "Deny"
      Principal = "*"
      Action    = "sqs:*"
      Resource  = "arn:aws:sqs:${local.arn_suffix}:${local.deliveries_queue}"
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }]
  })
}

resource "aws_lambda_event_source_mapping" "deliveries" {
  event_source_arn = aws_sqs_queue.deliveries.arn
  function_name    = aws_lambda_alias.live.arn
  batch_size       = 1

  # The least that AWS takes. There is one message at a time, so one execution.
  scaling_config {
    maximum_concurrency = 2
  }

  depends_on = [aws_iam_role_policy.function]
}
