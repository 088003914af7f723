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

run "issuer_and_token_url_are_the_pools_own" {
  assert {
    condition     = output.issuer == "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_AbCdEfGhI"
    error_message = "issuer is ${output.issuer}"
  }

  assert {
    condition     = output.token_url == "https://pmp-dev-123456789012.auth.eu-west-1.amazoncognito.com/oauth2/token"
    error_message = "token_url is ${output.token_url}"
  }

  assert {
    condition     = toset(aws_cognito_resource_server.this.scope[*].scope_name) == toset(["read", "write", "admin"])
    error_message = "the API asks for the scopes read, write and admin"
  }

  assert {
    condition     = aws_cognito_user_pool.this.deletion_protection == "ACTIVE"
    error_message = "a pool is protected unless someone says otherwise"
  }
}

run "an_emulated_platform_names_its_own_addresses" {
  variables {
    issuer    = "https://localhost:24500/eu-west-1_x"
    token_url = "https://localhost:24500/oauth2/token"
  }

  assert {
    condition     = output.issuer == "https://localhost:24500/eu-west-1_x" && output.token_url == "https://localhost:24500/oauth2/token"
    error_message = "the overrides are not used"
  }
}

run "addresses_without_tls" {
  command = plan

  variables {
    issuer    = "http://localhost/eu-west-1_x"
    token_url = "http://localhost/oauth2/token"
  }

  expect_failures = [var.issuer, var.token_url]
}

run "a_name_that_cognito_refuses" {
  command = plan

  variables {
    name = "my-cognito-pool"
  }

  expect_failures = [var.name]
}
