# Work that is not a request: S3's notifications and the function's own hand-overs wait in a queue, which invokes the
# function a few at a time. Whatever lands in the bucket, requests keep the other executions (ADR 0312).

resource "aws_sqs_queue" "jobs" {
  name = "${var.name}-jobs"
  # Six times the function's, as AWS asks; the function itself hides the message that it works on, for a shorter time.
  # https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
  visibility_timeout_seconds = 6 * var.timeout_seconds
  message_retention_seconds  = 1209600
  # SQS's own key: S3 may then send without a grant on a key. A message names an object or a job.
  sqs_managed_sse_enabled = true

  # With the pauses between them, about two hours of failures.
  redrive_policy = jsonencode({ deadLetterTargetArn = aws_sqs_queue.failed_jobs.arn, maxReceiveCount = 10 })

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        # https://docs.aws.amazon.com/AmazonS3/latest/userguide/grant-destinations-permissions-to-s3.html
        Sid       = "OwnBucketSends"
        Effect    = "Allow"
        Principal = { Service = "s3.amazonaws.com" }
        Action    = "sqs:SendMessage"
        Resource  = "${local.queue_arn_prefix}-jobs"
        Condition = {
          ArnEquals    = { "aws:SourceArn" = "arn:aws:s3:::${local.bucket}" }
          StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.this.account_id }
        }
      },
      {
        Sid       = "DenyPlaintextTransport"
        Effect    = "Deny"
        Principal = "*"
        Action    = "sqs:*"
        Resource  = "${local.queue_arn_prefix}-jobs"
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
    ]
  })
}

resource "aws_sqs_queue" "failed_jobs" {
  name                      = "${var.name}-failed-jobs"
  message_retention_seconds = 1209600
  sqs_managed_sse_enabled   = true

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "DenyPlaintextTransport"
      Effect    = "Deny"
      Principal = "*"
      Action    = "sqs:*"
      Resource  = "${local.queue_arn_prefix}-failed-jobs"
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }]
  })
}

# What is told to subscriptions: a chain of messages, one at a time, each of which looks for changes and sends the next.
# In the jobs queue it would wait while imports use all their executions (ADR 0313).
resource "aws_sqs_queue" "deliveries" {
  name                       = "${var.name}-deliveries"
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
      Resource  = "${local.queue_arn_prefix}-deliveries"
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }]
  })
}

# Scheduled events that failed in all attempts. They hold no personal data.
resource "aws_sqs_queue" "failed_events" {
  name                      = "${var.name}-failed-events"
  message_retention_seconds = 1209600
  sqs_managed_sse_enabled   = true
}
