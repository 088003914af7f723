# Variables that are not settings of an environment, and so are in none of the var files that tests/infra changes. A test
# runs in the workspace `default`, which is not an environment: that is refused each time, too.
mock_provider "aws" {}

mock_provider "aws" {
  alias = "dns"
}

mock_provider "aws" {
  alias = "us_east_1"

  mock_data "aws_region" {
    defaults = { name = "us-east-1" }
  }
}

variables {
  environment = "dev"
  release     = "0123456789abcdef0123456789abcdef01234567"
  code_sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
  foundation = {
    database           = { instance_class = "db.t4g.small", storage_gib = { initial = 20 }, backup_retention_days = 7 }
    alarms             = {}
    log_retention_days = 30
  }
  service = {
    function = { reserved_concurrency = 20 }
    api      = { subdomain = "api.dev" }
  }
}

run "an_erasure_tells_of_the_longest_backups" {
  command = plan

  variables {
    foundation = {
      database           = { instance_class = "db.t4g.small", storage_gib = { initial = 20 }, backup_retention_days = 7, backups = { retention_days = 90 } }
      alarms             = {}
      log_retention_days = 30
    }
  }

  assert {
    condition     = local.backup_days == 90
    error_message = "an erasure's answer must count the days of AWS Backup, not ${local.backup_days}"
  }

  expect_failures = [var.environment]
}

run "a_release_that_is_no_full_commit_is_refused" {
  command = plan

  variables {
    release = "v1.2.3"
  }

  expect_failures = [var.environment, var.release]
}

run "code_without_its_whole_digest_is_refused" {
  command = plan

  variables {
    code_sha256 = "e3b0c442"
  }

  expect_failures = [var.environment, var.code_sha256]
}
