mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_region" {
    defaults = { name = "eu-west-1" }
  }
  mock_data "aws_ssm_parameter" {
    defaults = { value = "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-4333-8444-555555555555" }
  }
}

mock_provider "aws" {
  alias = "copies"
}

variables {
  hosted_zone_name        = "pmp.example.com"
  environments            = ["dev", "staging", "prod"]
  publishing_environments = ["dev"]
}

run "each_environment_has_its_own_users_and_boundary" {
  command = plan

  assert {
    condition     = output.user_names_by_environment["prod"] == { delivery = "gitlab-prod", plan = "gitlab-plan-prod" }
    error_message = "in a shared account, users must carry their environment's name"
  }

  assert {
    condition     = alltrue([for name in ["dev", "staging", "prod"] : contains(keys(aws_ssm_parameter.this), "${name}/permissions_boundary_arn")])
    error_message = "each environment must get its own boundary"
  }

  assert {
    condition     = aws_iam_user.plan_account[0].name == "gitlab-plan-account"
    error_message = "in a shared account, no environment's identity may read this layer's state"
  }
}

run "without_the_option_no_backups_are_made" {
  command = plan

  assert {
    condition     = length(module.backups) == 0
    error_message = "AWS Backup must be used only where foundation.database.backups of a variable file asks for it"
  }
}

run "an_account_of_one_environment_has_the_one_user_gitlab" {
  command = plan

  variables {
    environments            = ["prod"]
    publishing_environments = []
    deployment_bucket = {
      name        = "pmp-deployments-111111111111-eu-west-1"
      kms_key_arn = "arn:aws:kms:eu-west-1:111111111111:key/11111111-2222-4333-8444-555555555555"
    }
  }

  assert {
    condition     = output.user_names_by_environment == { prod = { delivery = "gitlab", plan = "gitlab-plan" } } && length(aws_iam_user.plan_account) == 0
    error_message = "alone in its account, an environment's users must be gitlab and gitlab-plan"
  }

  assert {
    condition     = output.deployment_bucket_name == "pmp-deployments-111111111111-eu-west-1" && length(module.artifacts) == 0
    error_message = "there must be one deployment bucket, the other account's"
  }
}

run "an_environment_whose_name_begins_with_anothers_is_refused" {
  command = plan

  variables {
    environments = ["dev", "de"]
  }

  expect_failures = [var.environments]
}

run "a_publisher_from_another_account_is_refused" {
  command = plan

  variables {
    environments = ["prod"]
  }

  expect_failures = [var.publishing_environments]
}

run "an_account_with_a_bucket_that_nobody_publishes_to_is_refused" {
  command = plan

  variables {
    publishing_environments = []
  }

  expect_failures = [var.publishing_environments]
}

run "readers_of_another_accounts_bucket_are_refused" {
  command = plan

  variables {
    publishing_environments = []
    code_reader_account_ids = ["222222222222"]
    deployment_bucket = {
      name        = "pmp-deployments-111111111111-eu-west-1"
      kms_key_arn = "arn:aws:kms:eu-west-1:111111111111:key/11111111-2222-4333-8444-555555555555"
    }
  }

  expect_failures = [var.code_reader_account_ids]
}

run "one_subject_for_two_environments_is_refused" {
  command = plan

  variables {
    gitlab_oidc = {
      url      = "https://gitlab.com"
      audience = "https://gitlab.com"
      subjects_by_environment = {
        dev  = { deliver = ["project_path:example/pmp:ref_type:branch:ref:main"] }
        prod = { deliver = ["project_path:example/pmp:ref_type:branch:ref:main"] }
      }
    }
  }

  expect_failures = [var.gitlab_oidc]
}

run "a_zone_name_that_is_no_domain_is_refused" {
  command = plan

  variables {
    hosted_zone_name = "PMP.example.com."
  }

  expect_failures = [var.hosted_zone_name]
}
