mock_provider "aws" {}

variables {
  account_id  = "111111111111"
  region      = "eu-west-1"
  kms_key_arn = "arn:aws:kms:eu-west-1:111111111111:key/11111111-2222-3333-4444-555555555555"
}

run "no_other_account_reads_without_being_named" {
  assert {
    condition     = alltrue([for statement in jsondecode(aws_s3_bucket_policy.deployments.policy).Statement : statement.Effect == "Deny"])
    error_message = "without readers, the bucket's policy must only deny"
  }
}

run "readers_are_the_gitlab_identities_of_the_named_accounts" {
  variables {
    reader_account_ids = ["222222222222"]
  }

  assert {
    condition = [for statement in jsondecode(aws_s3_bucket_policy.deployments.policy).Statement : {
      who    = statement.Principal.AWS
      what   = statement.Action
      where  = statement.Resource
      really = statement.Condition.ArnLike["aws:PrincipalArn"]
      } if statement.Effect == "Allow"] == [{
      who    = ["arn:aws:iam::222222222222:root"]
      what   = "s3:GetObject"
      where  = "arn:aws:s3:::pmp-deployments-111111111111-eu-west-1/lambda/*"
      really = ["arn:aws:iam::222222222222:role/pmp/gitlab*", "arn:aws:iam::222222222222:user/pmp/gitlab*"]
    }]
    error_message = "another account's GitLab identities must read code, and nobody else anything"
  }
}

run "code_cannot_be_overwritten" {
  assert {
    condition = [
      for statement in jsondecode(aws_s3_bucket_policy.deployments.policy).Statement : statement.Condition if statement.Sid == "DenyOverwrites"
    ] == [{ Null = { "s3:if-none-match" = "true" } }]
    error_message = "an upload that does not ask for a new key must be refused"
  }
}

run "account_that_is_no_account_is_refused" {
  command = plan

  variables {
    reader_account_ids = ["prod"]
  }

  expect_failures = [var.reader_account_ids]
}

run "invalid_account_id_is_refused" {
  command = plan

  variables {
    account_id = "1"
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

run "alias_instead_of_the_key_arn_is_refused" {
  command = plan

  variables {
    kms_key_arn = "alias/pmp-terraform-state"
  }

  expect_failures = [var.kms_key_arn]
}
