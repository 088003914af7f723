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
  mock_resource "aws_s3_bucket" {
    defaults = { arn = "arn:aws:s3:::pmp-dev-imports-123456789012-eu-west-1" }
  }
  mock_resource "aws_sqs_queue" {
    defaults = { arn = "arn:aws:sqs:eu-west-1:123456789012:pmp-dev-failed-events" }
  }
  mock_resource "aws_lambda_function" {
    defaults = { arn = "arn:aws:lambda:eu-west-1:123456789012:function:pmp-dev" }
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
  api_url                  = "https://api.dev.pmp.example.com"
  kms_key_arn              = "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555"
  permissions_boundary_arn = "arn:aws:iam::123456789012:policy/pmp/pmp-boundary"
}

run "roles_are_bounded_and_under_the_one_path" {
  assert {
    condition = alltrue([
      for role in [aws_iam_role.function, aws_iam_role.scheduler] :
      role.path == "/pmp/" && role.permissions_boundary == var.permissions_boundary_arn && startswith(role.name, "pmp-dev-")
    ])
    error_message = "a role is not under /pmp/, not named after the environment or not bounded"
  }

  assert {
    condition = alltrue([
      for statement in jsondecode(aws_iam_role_policy.function.policy).Statement :
      alltrue([for action in statement.Action : !strcontains(action, "*")])
    ])
    error_message = "the function's policy grants a wildcard"
  }

  assert {
    condition     = one([for statement in jsondecode(aws_iam_role_policy.function.policy).Statement : statement.Resource if statement.Sid == "ConnectToDatabase"]) == "arn:aws:rds-db:eu-west-1:123456789012:dbuser:prx-0123456789abcdef0/pmp_app"
    error_message = "the function may connect as pmp_app to its own proxy only"
  }
}

# A depends_on of the module makes each change of the policy plan a new function, with the registry's module.
run "the_function_follows_its_policy_by_value" {
  command = plan

  assert {
    condition     = aws_iam_role.function.path == "/pmp/" && !strcontains(file("main.tf"), "depends_on = [aws_iam_role_policy.function]") && strcontains(file("main.tf"), "aws_iam_role_policy.function.role")
    error_message = "the module must wait for the policy by way of an argument"
  }
}

run "what_the_function_writes_does_not_start_it_again" {
  assert {
    condition     = aws_s3_bucket_notification.imports.lambda_function[0].filter_prefix == "imports/"
    error_message = "the notification must be limited to imports/"
  }
}

run "tasks_are_scheduled_by_name" {
  assert {
    condition     = { for key, schedule in aws_scheduler_schedule.this : key => jsondecode(schedule.target[0].input).task } == { refresh_vendors = "refresh_vendors", housekeeping = "housekeeping" }
    error_message = "each schedule must name its task"
  }
}

run "personal_data_expires" {
  assert {
    condition     = aws_s3_bucket_lifecycle_configuration.imports.rule[0].expiration[0].days == 30
    error_message = "uploads must expire"
  }

  assert {
    condition     = length([for statement in jsondecode(aws_s3_bucket_policy.imports.policy).Statement : statement if statement.Effect == "Deny" && try(statement.Condition.Bool["aws:SecureTransport"], "") == "false"]) == 1
    error_message = "plaintext transport must be denied"
  }
}

run "a_digest_that_is_none" {
  command = plan

  variables {
    code = { bucket_name = "b", sha256 = "latest", release = "0123456789abcdef0123456789abcdef01234567" }
  }

  expect_failures = [var.code]
}

run "a_release_that_is_a_branch" {
  command = plan

  variables {
    code = { bucket_name = "b", sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", release = "main" }
  }

  expect_failures = [var.code]
}

run "a_name_that_delivery_may_not_make" {
  command = plan

  variables {
    name = "other-dev"
  }

  expect_failures = [var.name]
}

run "too_little_time_to_hand_over" {
  command = plan

  variables {
    timeout_seconds = 60
  }

  expect_failures = [var.timeout_seconds]
}

run "too_little_memory" {
  command = plan

  variables {
    memory_mb = 128
  }

  expect_failures = [var.memory_mb]
}

run "an_import_that_would_block_every_request" {
  command = plan

  variables {
    reserved_concurrency = 1
  }

  expect_failures = [var.reserved_concurrency]
}

run "uploads_kept_too_long" {
  command = plan

  variables {
    imports = { retention_days = 1000 }
  }

  expect_failures = [var.imports]
}

run "a_schedule_that_is_no_expression" {
  command = plan

  variables {
    schedules = { housekeeping = "hourly" }
  }

  expect_failures = [var.schedules]
}

run "a_vendor_list_without_tls" {
  command = plan

  variables {
    vendor_list_url = "http://example.com/list.json"
  }

  expect_failures = [var.vendor_list_url]
}

run "a_retention_that_cloudwatch_does_not_know" {
  command = plan

  variables {
    log_retention_days = 10
  }

  expect_failures = [var.log_retention_days]
}
