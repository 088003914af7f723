mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_region" {
    defaults = { name = "eu-west-1" }
  }
}

mock_provider "aws" {
  alias = "copies"

  mock_data "aws_region" {
    defaults = { name = "eu-central-1" }
  }
}

run "example_plans" {
  command = plan
}
