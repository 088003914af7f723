mock_provider "aws" {
  mock_resource "aws_iam_policy" {
    defaults = { arn = "arn:aws:iam::123456789012:policy/pmp/x" }
  }
  mock_resource "aws_iam_openid_connect_provider" {
    defaults = { arn = "arn:aws:iam::123456789012:oidc-provider/gitlab.com" }
  }
}

variables {
  environments      = ["dev", "staging", "prod"]
  account_id        = "123456789012"
  region            = "eu-west-1"
  state_bucket_name = "pmp-terraform-state-123456789012-eu-west-1"
  kms_key_arn       = "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555"
  hosted_zone_id    = "Z0123456789ABCDEFGHIJ"
}

run "policies_fit_the_limits_of_iam" {
  variables {
    environments = ["dev", "staging", "prod", "local"]
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
      can(statement.Condition.StringEquals["iam:PassedToService"]) && alltrue([
        for arn in statement.Resource : startswith(arn, "arn:aws:iam::123456789012:role/pmp/pmp-") && !strcontains(arn, "*")
      ])
      if contains(statement.Action, "iam:PassRole")
    ])
    error_message = "a PassRole statement has no service, or names a pattern or an outside role"
  }
}

run "policies_do_not_name_other_environments" {
  variables {
    environments = ["dev"]
  }

  assert {
    condition     = !strcontains(join("", [for policy in aws_iam_policy.delivery : policy.policy]), "/prod/")
    error_message = "the identity of dev may reach a resource of prod"
  }
}

run "oidc_role_checks_audience_and_subject" {
  variables {
    gitlab_oidc = {
      url              = "https://gitlab.com"
      audience         = "https://gitlab.com"
      deliver_subjects = ["project_path:example/pmp:ref_type:branch:ref:main"]
    }
  }

  assert {
    condition = jsondecode(aws_iam_role.gitlab["gitlab-delivery"].assume_role_policy).Statement[0].Condition == {
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
    gitlab_oidc = { url = "https://gitlab.com", audience = "https://gitlab.com", deliver_subjects = ["project_path:*:ref_type:branch:ref:main"] }
  }

  expect_failures = [var.gitlab_oidc]
}

run "oidc_provider_without_tls_is_refused" {
  command = plan

  variables {
    gitlab_oidc = { url = "http://gitlab.example.com", audience = "x", deliver_subjects = ["project_path:example/pmp:ref_type:branch:ref:main"] }
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
    environments = ["dev/../prod"]
  }

  expect_failures = [var.environments]
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
    hosted_zone_role_arns = ["arn:aws:iam::111111111111:role/*"]
  }

  expect_failures = [var.hosted_zone_role_arns]
}

run "wildcard_truststore_object_is_refused" {
  command = plan

  variables {
    truststore_arns = ["arn:aws:s3:::certificates/*"]
  }

  expect_failures = [var.truststore_arns]
}

run "unused_options_grant_nothing" {
  assert {
    condition     = !strcontains(aws_iam_policy.delivery["service"].policy, "sts:AssumeRole") && !strcontains(aws_iam_policy.delivery["service"].policy, "s3:GetObjectVersion")
    error_message = "without its option, another account's zone or a truststore must not be granted"
  }
}

run "zone_of_another_account_grants_only_its_named_role" {
  variables {
    hosted_zone_role_arns = ["arn:aws:iam::111111111111:role/dns/pmp-records"]
  }

  assert {
    condition     = [for statement in jsondecode(aws_iam_policy.delivery["service"].policy).Statement : statement.Resource if statement.Action == ["sts:AssumeRole"]] == [["arn:aws:iam::111111111111:role/dns/pmp-records"]]
    error_message = "the identity must be able to assume the named role and no other"
  }
}
