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

variables {
  hosted_zone_name = "pmp.example.com"
}

run "a_zone_name_that_is_no_domain_is_refused" {
  command = plan

  variables {
    hosted_zone_name = "PMP.example.com."
  }

  expect_failures = [var.hosted_zone_name]
}
