mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_region" {
    defaults = { name = "eu-west-1" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/pmp/pmp-dev-function" }
  }
  mock_resource "aws_lambda_function" {
    defaults = { arn = "arn:aws:lambda:eu-west-1:123456789012:function:pmp-dev", version = "7" }
  }
  mock_resource "aws_lambda_alias" {
    defaults = { arn = "arn:aws:lambda:eu-west-1:123456789012:function:pmp-dev:live" }
  }
}

variables {
  name        = "pmp-dev"
  environment = "dev"
  code = {
    bucket_name = "pmp-deployments-123456789012-eu-west-1"
    sha256      = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    release     = "0123456789abcdef0123456789abcdef01234567"
  }
  reserved_concurrency = 20
  network = {
    subnet_ids        = ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"]
    security_group_id = "sg-0123456789abcdef0"
  }
  database = {
    host              = "pmp-dev.proxy-abcdefghijkl.eu-west-1.rds.amazonaws.com"
    port              = 5432
    name              = "pmp"
    proxy_resource_id = "prx-0123456789abcdef0"
  }
  imports = { bucket_name = "pmp-dev-imports-123456789012-eu-west-1", retention_days = 30 }
  queue_url_by_name = {
    jobs          = "https://sqs.eu-west-1.amazonaws.com/123456789012/pmp-dev-jobs"
    deliveries    = "https://sqs.eu-west-1.amazonaws.com/123456789012/pmp-dev-deliveries"
    failed_events = "https://sqs.eu-west-1.amazonaws.com/123456789012/pmp-dev-failed-events"
  }
  erasure = {
    bucket_name           = "pmp-dev-erasures-123456789012-eu-west-1"
    key_secret_arn        = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:pmp/dev/erasure-key-AbCdEf"
    backup_retention_days = 7
  }
  token_key_secret_arn     = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:pmp/dev/token-key-AbCdEf"
  api_url                  = "https://api.dev.pmp.example.com"
  token_url                = "https://pmp-dev-123456789012.auth.eu-west-1.amazoncognito.com/oauth2/token"
  kms_key_arn              = "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555"
  permissions_boundary_arn = "arn:aws:iam::123456789012:policy/pmp/pmp-dev-boundary"
}

run "a_digest_deploys_the_promoted_zip_and_builds_nothing" {
  assert {
    condition     = module.function.s3_object.key == "lambda/${var.code.sha256}.zip" && module.function.s3_object.bucket == var.code.bucket_name
    error_message = "the function does not run the zip that code names"
  }
}

run "without_a_digest_the_sources_name_the_package" {
  command = plan

  variables {
    code = { bucket_name = "pmp-deployments-123456789012-eu-west-1", release = "0123456789abcdef0123456789abcdef01234567" }
  }

  assert {
    condition     = can(regex("^lambda/[0-9a-f]{64}\\.zip$", module.function.s3_object.key))
    error_message = "the function does not run a package of its sources"
  }
}

run "roles_have_the_path_and_the_boundary" {
  assert {
    condition = alltrue([
      for role in [aws_iam_role.function, aws_iam_role.scheduler] :
      role.path == "/pmp/" && role.permissions_boundary == var.permissions_boundary_arn && startswith(role.name, "pmp-dev-")
    ])
    error_message = "a role is not under /pmp/, is not named after the environment or has no boundary"
  }

  assert {
    condition = alltrue([
      for statement in jsondecode(aws_iam_role_policy.function.policy).Statement :
      alltrue([for action in statement.Action : !strcontains(action, "*")])
    ])
    error_message = "the function's policy allows a wildcard action"
  }

  assert {
    condition     = one([for statement in jsondecode(aws_iam_role_policy.function.policy).Statement : statement.Resource if statement.Sid == "ConnectToDatabase"]) == "arn:aws:rds-db:eu-west-1:123456789012:dbuser:prx-0123456789abcdef0/pmp_app"
    error_message = "the function must connect only as pmp_app and only to its own proxy"
  }
}

# With depends_on on the registry's module, each change of the policy would plan a new function.
run "function_waits_for_its_policy_by_an_argument" {
  command = plan

  assert {
    condition     = aws_iam_role.function.path == "/pmp/" && !strcontains(file("main.tf"), "depends_on = [aws_iam_role_policy.function]") && strcontains(file("main.tf"), "aws_iam_role_policy.function.role")
    error_message = "the module must wait for the policy through an argument"
  }
}

# The journal has to survive whatever the function does.
run "function_can_only_add_to_the_journal_of_erasures" {
  assert {
    condition = one([
      for statement in jsondecode(aws_iam_role_policy.function.policy).Statement : statement.Action
      if length([for resource in flatten([statement.Resource]) : resource if strcontains(resource, var.erasure.bucket_name)]) > 0
    ]) == ["s3:PutObject"]
    error_message = "the function must only be able to add to the journal"
  }

  assert {
    condition = flatten([
      for statement in jsondecode(aws_iam_role_policy.function.policy).Statement : statement.Resource
      if contains(flatten([statement.Action]), "secretsmanager:GetSecretValue")
    ]) == [var.erasure.key_secret_arn, var.token_key_secret_arn]
    error_message = "the function must read the keys of erasures and of tokens and no other secret"
  }
}

run "function_deletes_uploads_and_results_only" {
  assert {
    condition = flatten([
      for statement in jsondecode(aws_iam_role_policy.function.policy).Statement : statement.Resource
      if length([for action in flatten([statement.Action]) : action if strcontains(action, "s3:Delete")]) > 0
    ]) == [for prefix in ["imports", "rejects", "exports"] : "arn:aws:s3:::pmp-dev-imports-123456789012-eu-west-1/${prefix}/*"]
    error_message = "the function must delete uploads, rejected lines and exports only"
  }
}

run "jobs_leave_executions_to_requests" {
  assert {
    condition     = aws_lambda_event_source_mapping.jobs.scaling_config[0].maximum_concurrency == 2 && aws_lambda_event_source_mapping.jobs.batch_size == 1
    error_message = "the queue must invoke the function for two messages at once, one each"
  }
}

# Lambda refuses the mapping if one of the last three is missing; the emulator does not.
run "function_works_on_its_own_queue" {
  assert {
    condition = one([
      for statement in jsondecode(aws_iam_role_policy.function.policy).Statement : statement.Resource if statement.Sid == "WorkOnJobs"
    ]) == "arn:aws:sqs:eu-west-1:123456789012:pmp-dev-jobs" && aws_lambda_event_source_mapping.jobs.event_source_arn == "arn:aws:sqs:eu-west-1:123456789012:pmp-dev-jobs"
    error_message = "the function must work on the queue that queue_url_by_name names"
  }

  assert {
    condition = one([
      for statement in jsondecode(aws_iam_role_policy.function.policy).Statement : sort(statement.Action) if statement.Sid == "WorkOnJobs"
    ]) == sort(["sqs:SendMessage", "sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"])
    error_message = "the function must be able to send to its queue, to hide messages, and to let Lambda poll"
  }

  assert {
    condition     = length([for statement in jsondecode(aws_iam_role_policy.function.policy).Statement : statement if contains(flatten([statement.Action]), "lambda:InvokeFunction")]) == 0
    error_message = "the function must not invoke itself past the queue"
  }
}

# Whatever invoked the function itself would run a new version before the canary has judged it.
run "everything_invokes_the_alias" {
  assert {
    condition = toset(concat(
      [for mapping in [aws_lambda_event_source_mapping.jobs, aws_lambda_event_source_mapping.deliveries] : mapping.function_name],
      [for schedule in aws_scheduler_schedule.this : schedule.target[0].arn],
      [for statement in jsondecode(aws_iam_role_policy.scheduler.policy).Statement : statement.Resource],
      [output.alias.arn],
    )) == toset([aws_lambda_alias.live.arn])
    error_message = "queues, schedules, their role and the API must have the alias, and nothing else"
  }

  assert {
    condition = (
      aws_lambda_function_event_invoke_config.live.qualifier == "live" &&
      aws_lambda_function_event_invoke_config.live.destination_config[0].on_failure[0].destination == local.queue_arn_by_name["failed_events"]
    )
    error_message = "events that fail by way of the alias must end in the queue of failed events"
  }
}

run "an_apply_publishes_a_version_and_leaves_the_alias_alone" {
  assert {
    condition     = aws_lambda_alias.live.function_version == "7" && output.alias.newest_version == "7"
    error_message = "the first version must serve"
  }

  assert {
    condition     = aws_lambda_alias.live.name == "live" && strcontains(file("main.tf"), "ignore_changes = [function_version, routing_config]") && strcontains(file("main.tf"), "publish       = true")
    error_message = "an apply must publish a version, and neither give it requests nor end a canary"
  }
}

# Lambda ends a chain of hand-overs after about 16 rounds unless this says Allow.
run "chains_of_hand_overs_are_allowed" {
  assert {
    condition     = aws_lambda_event_source_mapping.jobs.batch_size == 1 && strcontains(file("main.tf"), "\n  recursive_loop = \"Allow\"\n")
    error_message = "recursion detection must be set to Allow"
  }
}

# In the jobs queue, a withdrawal would wait while imports use its executions.
run "subscriptions_are_told_through_a_queue_of_their_own" {
  assert {
    condition     = aws_lambda_event_source_mapping.deliveries.scaling_config[0].maximum_concurrency == 2 && aws_lambda_event_source_mapping.deliveries.batch_size == 1
    error_message = "the queue must invoke the function for one message, with the least concurrency that AWS takes"
  }

  assert {
    condition = one([
      for statement in jsondecode(aws_iam_role_policy.function.policy).Statement : sort(statement.Action) if statement.Sid == "TellSubscriptions"
    ]) == sort(["sqs:SendMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"])
    error_message = "the function must be able to send to the queue, and to let Lambda poll"
  }
}

run "loopback_receivers_are_refused_outside_a_laptop" {
  command = plan

  variables {
    allow_loopback_receivers = true
  }

  expect_failures = [var.allow_loopback_receivers]
}

run "each_schedule_names_its_task" {
  assert {
    condition     = { for key, schedule in aws_scheduler_schedule.this : key => jsondecode(schedule.target[0].input).task } == { refresh_vendors = "refresh_vendors", housekeeping = "housekeeping", deliveries = "deliveries" }
    error_message = "each schedule must name its task"
  }
}

run "each_export_is_scheduled_daily_with_what_it_holds" {
  variables {
    exports = {
      events       = { contents = "events", folder = "warehouse/events" }
      daily-choice = { contents = "choices", format = "csv", at = "23:05" }
    }
  }

  assert {
    condition = { for key, one in aws_scheduler_schedule.this : one.name => [one.schedule_expression, one.target[0].input] if startswith(key, "export-") } == {
      pmp-dev-export-events = ["cron(0 2 * * ? *)", jsonencode({
        task     = "scheduled_export"
        schedule = { name = "events", contents = "events", format = "ndjson", at = "02:00", folder = "warehouse/events" }
      })]
      pmp-dev-export-daily-choice = ["cron(5 23 * * ? *)", jsonencode({
        task     = "scheduled_export"
        schedule = { name = "daily-choice", contents = "choices", format = "csv", at = "23:05", folder = "daily-choice" }
      })]
    }
    error_message = "each export must have a daily schedule whose event says what it holds"
  }

  assert {
    condition     = length(aws_scheduler_schedule.this) == 5
    error_message = "the other schedules must stay"
  }
}

run "export_of_unknown_contents_is_refused" {
  command = plan

  variables {
    exports = { daily = { contents = "people" } }
  }

  expect_failures = [var.exports]
}

run "export_at_no_time_of_day_is_refused" {
  command = plan

  variables {
    exports = { daily = { contents = "users", at = "24:00" } }
  }

  expect_failures = [var.exports]
}

run "export_in_an_unknown_format_is_refused" {
  command = plan

  variables {
    exports = { daily = { contents = "users", format = "parquet" } }
  }

  expect_failures = [var.exports]
}

run "export_with_a_name_that_no_schedule_can_have_is_refused" {
  command = plan

  variables {
    exports = { "Daily users" = { contents = "users" } }
  }

  expect_failures = [var.exports]
}

run "export_outside_its_folder_is_refused" {
  command = plan

  variables {
    exports = { daily = { contents = "users", folder = "../users" } }
  }

  expect_failures = [var.exports]
}

run "invalid_digest_is_refused" {
  command = plan

  variables {
    code = { bucket_name = "b", sha256 = "latest", release = "0123456789abcdef0123456789abcdef01234567" }
  }

  expect_failures = [var.code]
}

run "branch_as_a_release_is_refused" {
  command = plan

  variables {
    code = { bucket_name = "b", sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", release = "main" }
  }

  expect_failures = [var.code]
}

run "name_without_the_prefix_is_refused" {
  command = plan

  variables {
    name = "other-dev"
  }

  expect_failures = [var.name]
}

run "too_short_timeout_is_refused" {
  command = plan

  variables {
    timeout_seconds = 60
  }

  expect_failures = [var.timeout_seconds]
}

run "too_little_memory_is_refused" {
  command = plan

  variables {
    memory_mb = 128
  }

  expect_failures = [var.memory_mb]
}

run "reserved_concurrency_of_three_is_refused" {
  command = plan

  variables {
    reserved_concurrency = 3
  }

  expect_failures = [var.reserved_concurrency]
}

run "one_job_at_once_is_refused" {
  command = plan

  variables {
    job_concurrency = 1
  }

  expect_failures = [var.job_concurrency]
}

run "jobs_in_most_executions_are_refused" {
  command = plan

  variables {
    job_concurrency = 11
  }

  expect_failures = [var.job_concurrency]
}

run "invalid_schedule_expression_is_refused" {
  command = plan

  variables {
    schedules = { housekeeping = "hourly" }
  }

  expect_failures = [var.schedules]
}

run "vendor_list_url_without_tls_is_refused" {
  command = plan

  variables {
    vendor_list_url = "http://example.com/list.json"
  }

  expect_failures = [var.vendor_list_url]
}

run "token_url_without_tls_is_refused" {
  command = plan

  variables {
    token_url = "http://example.com/oauth2/token"
  }

  expect_failures = [var.token_url]
}

run "log_retention_unknown_to_cloudwatch_is_refused" {
  command = plan

  variables {
    log_retention_days = 10
  }

  expect_failures = [var.log_retention_days]
}

run "nothing_leaves_by_default" {
  command = plan

  assert {
    condition     = length(local.retention) == 0
    error_message = "without a retention the function must get none"
  }
}

run "retention_reaches_the_function" {
  command = plan

  variables {
    retention = { event_days = 1095, consents = { sms_notifications = 400, email_notifications = null } }
  }

  assert {
    condition     = jsonencode(local.retention) == jsonencode({ event_days = 1095, consents = { sms_notifications = 400, email_notifications = null } })
    error_message = "the function must get the days that were given, and no others"
  }
}

run "retention_of_a_few_days_is_refused" {
  command = plan

  variables {
    retention = { consents = { sms_notifications = 29 } }
  }

  expect_failures = [var.retention]
}

run "retention_of_a_part_of_a_day_is_refused" {
  command = plan

  variables {
    retention = { record_days = 30.5 }
  }

  expect_failures = [var.retention]
}

run "retention_of_what_no_consent_can_be_called_is_refused" {
  command = plan

  variables {
    retention = { consents = { "Email" = 400 } }
  }

  expect_failures = [var.retention]
}

run "queue_that_is_missing_is_refused" {
  command = plan

  variables {
    queue_url_by_name = { jobs = "https://sqs.eu-west-1.amazonaws.com/123456789012/pmp-dev-jobs" }
  }

  expect_failures = [var.queue_url_by_name]
}
