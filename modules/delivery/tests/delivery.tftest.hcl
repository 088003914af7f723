mock_provider "aws" {
  mock_resource "aws_iam_policy" {
    defaults = { arn = "arn:aws:iam::123456789012:policy/pmp/x" }
  }
}

variables {
  environment       = "dev"
  account_id        = "123456789012"
  region            = "eu-west-1"
  state_bucket_name = "pmp-terraform-state-123456789012-eu-west-1"
  kms_key_arn       = "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555"
  hosted_zone_id    = "Z0123456789ABCDEFGHIJ"
  domain_name       = "api.dev.pmp.example.com"
  deployment_bucket = {
    name        = "pmp-deployments-123456789012-eu-west-1"
    kms_key_arn = "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555"
  }
}

run "only_an_environment_with_aurora_may_make_clusters" {
  assert {
    condition     = !strcontains(jsonencode([for policy in aws_iam_policy.delivery : policy.policy]), "DBCluster")
    error_message = "without Aurora, the identity must not reach clusters"
  }
}

run "an_environment_with_aurora_may_make_its_own_clusters" {
  variables {
    uses_aurora = true
  }

  assert {
    condition     = strcontains(aws_iam_policy.delivery["options"].policy, "rds:CreateDBCluster") && strcontains(aws_iam_policy.plan["read-foundation"].policy, "rds:DescribeDBClusters")
    error_message = "who deploys must be able to make a cluster, and who plans to see it"
  }

  assert {
    condition     = !strcontains(aws_iam_policy.plan["read-foundation"].policy, "secretsmanager:GetSecretValue")
    error_message = "who plans must not read the master's password"
  }
}

run "policies_fit_the_limits_of_iam" {
  variables {
    # As long as it can be, with every option.
    environment       = "abcdefghijklmnopqrstu"
    truststore_uri    = "s3://certificates/pmp/truststore.pem"
    hosted_zone_roles = { writer_arn = "arn:aws:iam::111111111111:role/dns/writer", reader_arn = "arn:aws:iam::111111111111:role/dns/reader" }
  }

  assert {
    condition     = length(aws_iam_policy.delivery) <= 10 && length(aws_iam_policy.plan) <= 10
    error_message = "IAM attaches at most ten managed policies to a user"
  }

  assert {
    condition     = alltrue([for policy in concat(values(aws_iam_policy.delivery), values(aws_iam_policy.plan), [aws_iam_policy.boundary]) : length(policy.policy) < 6144])
    error_message = "too long: ${jsonencode({ for concern, policy in merge(aws_iam_policy.delivery, aws_iam_policy.plan) : concern => length(policy.policy) if length(policy.policy) >= 6144 })}, boundary ${length(aws_iam_policy.boundary.policy)}"
  }
}

run "no_policy_allows_a_wildcard_action" {
  assert {
    condition = length(flatten([
      for policy in concat(values(aws_iam_policy.delivery), values(aws_iam_policy.plan), [aws_iam_policy.boundary]) : [
        for statement in jsondecode(policy.policy).Statement : [
          for action in try(statement.Action, []) : action if statement.Effect == "Allow" && strcontains(action, "*")
        ]
      ]
    ])) == 0
    error_message = "a statement allows a wildcard action"
  }
}

run "each_role_is_passed_to_one_service" {
  assert {
    condition = alltrue([
      for statement in jsondecode(aws_iam_policy.delivery["iam"].policy).Statement :
      can(statement.Condition.StringEquals["iam:PassedToService"]) && startswith(statement.Resource, "arn:aws:iam::123456789012:role/pmp/pmp-dev-") && !strcontains(statement.Resource, "*")
      if contains(statement.Action, "iam:PassRole")
    ])
    error_message = "a PassRole statement has no service, or names a pattern or an outside role"
  }
}

run "users_carry_their_environments_name" {
  assert {
    condition     = output.user_names == { delivery = "gitlab-dev", plan = "gitlab-plan-dev" }
    error_message = "where environments share an account, their users must be told apart"
  }
}

run "an_environment_alone_in_its_account_has_the_user_gitlab" {
  variables {
    is_only_environment = true
  }

  assert {
    condition     = output.user_names == { delivery = "gitlab", plan = "gitlab-plan" }
    error_message = "alone in its account, the environment's users must be gitlab and gitlab-plan"
  }
}

run "oidc_roles_check_audience_and_subject" {
  variables {
    gitlab_oidc = {
      provider_arn     = "arn:aws:iam::123456789012:oidc-provider/gitlab.com"
      host             = "gitlab.com"
      audience         = "https://gitlab.com"
      deliver_subjects = ["project_path:example/pmp:ref_type:branch:ref:main"]
    }
  }

  assert {
    condition = jsondecode(aws_iam_role.gitlab["gitlab-dev"].assume_role_policy).Statement[0].Condition == {
      StringEquals = { "gitlab.com:aud" = "https://gitlab.com" }
      StringLike   = { "gitlab.com:sub" = ["project_path:example/pmp:ref_type:branch:ref:main"] }
    }
    error_message = "the trust policy must check aud and sub"
  }

  assert {
    condition     = toset(keys(aws_iam_role_policy_attachment.gitlab_delivery)) == toset(keys(aws_iam_policy.delivery)) && length(aws_iam_role.gitlab) == 1
    error_message = "the role must have the user's policies, and there must be no plan role"
  }
}

run "only_a_publisher_writes_code" {
  assert {
    condition     = !strcontains(aws_iam_policy.delivery["artifacts"].policy, "s3:PutObject")
    error_message = "an environment that does not publish must only read code"
  }
}

run "publisher_writes_code_below_its_prefix" {
  variables {
    deployment_bucket = {
      name        = "pmp-deployments-123456789012-eu-west-1"
      kms_key_arn = "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555"
      may_publish = true
    }
  }

  assert {
    condition     = [for statement in jsondecode(aws_iam_policy.delivery["artifacts"].policy).Statement : statement.Resource if contains(statement.Action, "s3:PutObject")] == ["arn:aws:s3:::pmp-deployments-123456789012-eu-west-1/lambda/*"]
    error_message = "the publisher must be able to write code, and nothing else"
  }
}

run "group_has_the_same_policies_as_the_user" {
  variables {
    enable_group = true
  }

  assert {
    condition     = toset(keys(aws_iam_group_policy_attachment.this)) == toset(keys(aws_iam_policy.delivery))
    error_message = "the group must have the user's policies"
  }
}

run "subject_that_matches_every_project_is_refused" {
  command = plan

  variables {
    gitlab_oidc = { provider_arn = "arn:aws:iam::123456789012:oidc-provider/gitlab.com", host = "gitlab.com", audience = "https://gitlab.com", deliver_subjects = ["project_path:*:ref_type:branch:ref:main"] }
  }

  expect_failures = [var.gitlab_oidc]
}

run "alias_instead_of_the_key_arn_is_refused" {
  command = plan

  variables {
    kms_key_arn = "arn:aws:kms:eu-west-1:123456789012:alias/pmp-terraform-state"
  }

  expect_failures = [var.kms_key_arn]
}

run "invalid_environment_is_refused" {
  command = plan

  variables {
    environment = "dev/../prod"
  }

  expect_failures = [var.environment]
}

run "environment_named_like_another_identity_is_refused" {
  command = plan

  variables {
    environment = "plan-b"
  }

  expect_failures = [var.environment]
}

run "alias_instead_of_the_code_keys_arn_is_refused" {
  command = plan

  variables {
    deployment_bucket = { name = "pmp-deployments-123456789012-eu-west-1", kms_key_arn = "alias/pmp-terraform-state" }
  }

  expect_failures = [var.deployment_bucket]
}

run "records_of_the_api_alone_may_change" {
  assert {
    condition = [
      for statement in jsondecode(aws_iam_policy.delivery["service"].policy).Statement :
      statement.Condition["ForAllValues:StringLike"]["route53:ChangeResourceRecordSetsNormalizedRecordNames"] if statement.Sid == "ChangeOwnRecords"
    ] == [["api.dev.pmp.example.com", "*.api.dev.pmp.example.com"]]
    error_message = "the identity may change other records"
  }
}

run "records_of_a_former_domain_may_go_during_a_change" {
  variables {
    domain_name        = "preferences.dev.pmp.example.com"
    former_domain_name = "api.dev.pmp.example.com"
  }

  assert {
    condition = toset(flatten([
      for statement in jsondecode(aws_iam_policy.delivery["service"].policy).Statement :
      statement.Condition["ForAllValues:StringLike"]["route53:ChangeResourceRecordSetsNormalizedRecordNames"] if statement.Sid == "ChangeOwnRecords"
      ])) == toset([
      "preferences.dev.pmp.example.com", "*.preferences.dev.pmp.example.com",
      "api.dev.pmp.example.com", "*.api.dev.pmp.example.com",
    ])
    error_message = "a change of the domain deletes the old records and makes the new ones"
  }
}

run "former_domain_with_a_trailing_dot_is_refused" {
  command = plan

  variables {
    former_domain_name = "api.dev.pmp.example.com."
  }

  expect_failures = [var.former_domain_name]
}

run "domain_with_a_trailing_dot_is_refused" {
  command = plan

  variables {
    domain_name = "api.dev.pmp.example.com."
  }

  expect_failures = [var.domain_name]
}

run "invalid_account_id_is_refused" {
  command = plan

  variables {
    account_id = "1234"
  }

  expect_failures = [var.account_id]
}

run "invalid_region_is_refused" {
  command = plan

  variables {
    region = "europe"
  }

  expect_failures = [var.region]
}

run "wildcard_role_of_another_account_is_refused" {
  command = plan

  variables {
    hosted_zone_roles = { writer_arn = "arn:aws:iam::111111111111:role/*", reader_arn = "arn:aws:iam::111111111111:role/reader" }
  }

  expect_failures = [var.hosted_zone_roles]
}

run "plan_as_the_role_that_changes_records_is_refused" {
  command = plan

  variables {
    hosted_zone_roles = { writer_arn = "arn:aws:iam::111111111111:role/dns", reader_arn = "arn:aws:iam::111111111111:role/dns" }
  }

  expect_failures = [var.hosted_zone_roles]
}

run "wildcard_truststore_object_is_refused" {
  command = plan

  variables {
    truststore_uri = "s3://certificates/*"
  }

  expect_failures = [var.truststore_uri]
}

run "unused_options_grant_nothing" {
  assert {
    condition     = !strcontains(join("", concat(values(aws_iam_policy.delivery)[*].policy, values(aws_iam_policy.plan)[*].policy)), "\"Action\":[\"sts:AssumeRole\"]") && !strcontains(aws_iam_policy.delivery["service"].policy, "s3:GetObjectVersion")
    error_message = "without its option, another account's zone or a truststore must not be granted"
  }
}

run "zone_of_another_account_grants_each_identity_its_own_role" {
  variables {
    hosted_zone_roles = { writer_arn = "arn:aws:iam::111111111111:role/dns/writer", reader_arn = "arn:aws:iam::111111111111:role/dns/reader" }
  }

  assert {
    condition     = [for statement in jsondecode(aws_iam_policy.delivery["service"].policy).Statement : statement.Resource if try(statement.Action == ["sts:AssumeRole"], false)] == ["arn:aws:iam::111111111111:role/dns/writer"]
    error_message = "the identity that deploys must be able to assume the writer and no other role"
  }

  assert {
    condition     = [for statement in jsondecode(aws_iam_policy.plan["state"].policy).Statement : statement.Resource if try(statement.Action == ["sts:AssumeRole"], false)] == ["arn:aws:iam::111111111111:role/dns/reader"]
    error_message = "the identity that plans must be able to assume the reader and no other role"
  }
}
