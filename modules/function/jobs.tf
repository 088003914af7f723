# Work that is not a request: S3's notifications and the function's own hand-overs wait in a queue, which invokes the
# function a few at a time. Whatever lands in the bucket, requests keep the other executions (ADR 0312).
locals {
  jobs_queue = "${var.name}-jobs"
  jobs_arn   = "arn:aws:sqs:${local.arn_suffix}:${local.jobs_queue}"
}

resource "aws_sqs_queue" "jobs" {
  name = local.jobs_queue
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
        Resource  = local.jobs_arn
        Condition = {
          ArnEquals    = { "aws:SourceArn" = "arn:aws:s3:::${local.imports_bucket}" }
          StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.this.account_id }
        }
      },
      {
        Sid       = "DenyPlaintextTransport"
        Effect    = "Deny"
        Principal = "*"
        Action    = "sqs:*"
        Resource  = local.jobs_arn
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
      Resource  = "arn:aws:sqs:${local.arn_suffix}:${var.name}-failed-jobs"
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }]
  })
}

resource "aws_lambda_event_source_mapping" "jobs" {
  event_source_arn = aws_sqs_queue.jobs.arn
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
