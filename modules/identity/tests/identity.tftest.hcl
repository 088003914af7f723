mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_region" {
    defaults = { name = "eu-west-1" }
  }
  mock_resource "aws_cognito_user_pool" {
    defaults = { id = "eu-west-1_AbCdEfGhI" }
  }
}

variables {
  name = "pmp-dev"
}

run "issuer_and_token_url_are_those_of_the_pool" {
  assert {
    condition     = output.issuer == "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_AbCdEfGhI"
    error_message = "issuer is ${output.issuer}"
  }

  assert {
    condition     = output.token_url == "https://pmp-dev-123456789012.auth.eu-west-1.amazoncognito.com/oauth2/token"
    error_message = "token_url is ${output.token_url}"
  }

  assert {
    condition     = toset(aws_cognito_resource_server.this.scope[*].scope_name) == toset(["check", "read", "write", "admin"])
    error_message = "the scopes must be check, read, write and admin, as the API requires them"
  }

  assert {
    condition     = aws_cognito_user_pool.this.deletion_protection == "ACTIVE"
    error_message = "a pool must be protected by default"
  }
}

run "given_issuer_and_token_url_replace_those_of_the_pool" {
  variables {
    issuer    = "https://localhost:24500/eu-west-1_x"
    token_url = "https://localhost:24500/oauth2/token"
  }

  assert {
    condition     = output.issuer == "https://localhost:24500/eu-west-1_x" && output.token_url == "https://localhost:24500/oauth2/token"
    error_message = "the overrides are not used"
  }
}

run "issuer_and_token_url_without_tls_are_refused" {
  command = plan

  variables {
    issuer    = "http://localhost/eu-west-1_x"
    token_url = "http://localhost/oauth2/token"
  }

  expect_failures = [var.issuer, var.token_url]
}

run "name_with_a_word_reserved_by_cognito_is_refused" {
  command = plan

  variables {
    name = "my-cognito-pool"
  }

  expect_failures = [var.name]
}
