mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_region" {
    defaults = { name = "eu-west-1" }
  }
  mock_resource "aws_s3_bucket" {
    defaults = { arn = "arn:aws:s3:::pmp-dev-imports-123456789012-eu-west-1" }
  }
  mock_resource "aws_sqs_queue" {
    defaults = { arn = "arn:aws:sqs:eu-west-1:123456789012:pmp-dev-queue" }
  }
}

variables {
  name            = "pmp-dev"
  timeout_seconds = 300
  kms_key_arn     = "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555"
}

run "only_objects_under_imports_start_jobs" {
  assert {
    condition = (
      length(aws_s3_bucket_notification.this.lambda_function) == 0 &&
      aws_s3_bucket_notification.this.queue[0].queue_arn == aws_sqs_queue.jobs.arn &&
      aws_s3_bucket_notification.this.queue[0].filter_prefix == "imports/"
    )
    error_message = "only objects under imports/ may send to the jobs queue, and none may invoke the function itself"
  }
}

run "only_the_own_bucket_sends_jobs" {
  assert {
    condition = [for statement in jsondecode(aws_sqs_queue.jobs.policy).Statement : statement if statement.Effect == "Allow"] == [{
      Sid       = "OwnBucketSends"
      Effect    = "Allow"
      Principal = { Service = "s3.amazonaws.com" }
      Action    = "sqs:SendMessage"
      Resource  = "arn:aws:sqs:eu-west-1:123456789012:pmp-dev-jobs"
      Condition = {
        ArnEquals    = { "aws:SourceArn" = "arn:aws:s3:::pmp-dev-imports-123456789012-eu-west-1" }
        StringEquals = { "aws:SourceAccount" = "123456789012" }
      }
    }]
    error_message = "S3 may send only for the imports bucket of this account, and nobody else by this policy"
  }

  assert {
    condition = alltrue([for queue in [aws_sqs_queue.jobs, aws_sqs_queue.failed_jobs] : length([
      for statement in jsondecode(queue.policy).Statement : statement
      if statement.Effect == "Deny" && statement.Principal == "*" && try(statement.Condition.Bool["aws:SecureTransport"], "") == "false"
    ]) == 1])
    error_message = "plaintext transport must be denied"
  }
}

run "uploads_expire_and_require_tls" {
  assert {
    condition     = { for rule in aws_s3_bucket_lifecycle_configuration.this.rule : rule.id => rule.expiration[0].days } == { expire = 30, expire-exports-of-users = 1 }
    error_message = "uploads must expire, and exports of single users after a day"
  }

  assert {
    condition     = length([for statement in jsondecode(aws_s3_bucket_policy.this.policy).Statement : statement if statement.Effect == "Deny" && try(statement.Condition.Bool["aws:SecureTransport"], "") == "false"]) == 1
    error_message = "plaintext transport must be denied"
  }
}

run "queues_hide_messages_long_enough_and_are_encrypted" {
  assert {
    condition     = alltrue([for queue in [aws_sqs_queue.jobs, aws_sqs_queue.deliveries] : queue.visibility_timeout_seconds == 6 * 300])
    error_message = "a queue must hide a message for six times the function's timeout"
  }

  assert {
    condition     = jsondecode(aws_sqs_queue.jobs.redrive_policy) == { deadLetterTargetArn = aws_sqs_queue.failed_jobs.arn, maxReceiveCount = 10 }
    error_message = "a message must go to the dead-letter queue after ten failures; AWS asks for at least five"
  }

  assert {
    condition     = alltrue([for queue in [aws_sqs_queue.jobs, aws_sqs_queue.failed_jobs, aws_sqs_queue.deliveries, aws_sqs_queue.failed_events] : queue.sqs_managed_sse_enabled])
    error_message = "all queues must be encrypted"
  }
}

run "names_begin_with_the_environment" {
  assert {
    condition     = output.bucket_name == "pmp-dev-imports-123456789012-eu-west-1" && aws_s3_bucket.this.bucket == output.bucket_name
    error_message = "the bucket has another name than the one that the layer announces"
  }

  assert {
    condition     = [for queue in [aws_sqs_queue.jobs, aws_sqs_queue.failed_jobs, aws_sqs_queue.deliveries, aws_sqs_queue.failed_events] : queue.name] == ["pmp-dev-jobs", "pmp-dev-failed-jobs", "pmp-dev-deliveries", "pmp-dev-failed-events"]
    error_message = "a queue is not named after the environment: the delivery identity may not make it"
  }
}

run "name_without_the_prefix_is_refused" {
  command = plan

  variables {
    name = "other-dev"
  }

  expect_failures = [var.name]
}

run "timeout_that_no_function_has_is_refused" {
  command = plan

  variables {
    timeout_seconds = 901
  }

  expect_failures = [var.timeout_seconds]
}

run "too_long_upload_retention_is_refused" {
  command = plan

  variables {
    retention_days = 1000
  }

  expect_failures = [var.retention_days]
}
