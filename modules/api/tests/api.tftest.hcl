mock_provider "aws" {
  mock_resource "aws_acm_certificate" {
    defaults = {
      arn = "arn:aws:acm:eu-west-1:123456789012:certificate/11111111-2222-3333-4444-555555555555"
      domain_validation_options = [{
        domain_name           = "api.dev.pmp.example.com"
        resource_record_name  = "_x.api.dev.pmp.example.com."
        resource_record_type  = "CNAME"
        resource_record_value = "_y.acm-validations.aws."
      }]
    }
  }
  mock_resource "aws_acm_certificate_validation" {
    defaults = {
      certificate_arn = "arn:aws:acm:eu-west-1:123456789012:certificate/11111111-2222-3333-4444-555555555555"
    }
  }
  mock_resource "aws_apigatewayv2_api" {
    defaults = {
      execution_arn = "arn:aws:execute-api:eu-west-1:123456789012:abcdefghij"
    }
  }
  mock_resource "aws_apigatewayv2_domain_name" {
    defaults = {
      id = "api.dev.pmp.example.com"
      domain_name_configuration = {
        target_domain_name = "d-abcdefghij.execute-api.eu-west-1.amazonaws.com"
        hosted_zone_id     = "ZLY8HYME6SFDD"
      }
    }
  }
  mock_resource "aws_cloudwatch_log_group" {
    defaults = {
      arn = "arn:aws:logs:eu-west-1:123456789012:log-group:/aws/apigateway/pmp-dev"
    }
  }
}

mock_provider "aws" {
  alias = "dns"
}

variables {
  name        = "pmp-dev"
  domain_name = "api.dev.pmp.example.com"
  hosted_zone = { id = "Z0123456789ABCDEFGHIJ", name = "pmp.example.com" }
  openapi = jsonencode({
    openapi = "3.1.0"
    paths = {
      "/v1/users" = {
        parameters = []
        get        = { operationId = "listUsers", security = [{ oauth2 = ["pmp/read"] }, { bearer = ["pmp/read"] }] }
        post       = { operationId = "createUser", security = [{ oauth2 = ["pmp/write"] }] }
      }
      "/v1/health" = { get = { operationId = "health", security = [] } }
    }
    components = { headers = { "RateLimit" = {}, "Link" = {}, "Retry-After" = {} } }
  })
  function_arn  = "arn:aws:lambda:eu-west-1:123456789012:function:pmp-dev"
  function_name = "pmp-dev"
  issuer        = "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_AbCdEfGhI"
  audience      = ["1h57kf5cpq17m0eml12EXAMPLE"]
  throttling    = { rate_per_second = 400, burst = 20 }
  kms_key_arn   = "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555"
}

run "routes_and_scopes_come_from_the_document" {
  command = plan

  assert {
    condition = jsonencode(output.scopes_by_route) == jsonencode({
      "GET /v1/users"   = ["pmp/read"]
      "HEAD /v1/users"  = ["pmp/read"]
      "POST /v1/users"  = ["pmp/write"]
      "GET /v1/health"  = []
      "HEAD /v1/health" = []
    })
    error_message = "scopes by route are ${jsonencode(output.scopes_by_route)}"
  }

  assert {
    condition     = aws_acm_certificate.this.validation_method == "DNS"
    error_message = "the certificate is validated by DNS"
  }

  assert {
    condition     = toset(keys(aws_route53_record.api)) == toset(["A", "AAAA"])
    error_message = "the domain answers over IPv4 and IPv6"
  }
}

run "browsers_may_read_the_response_headers_of_the_document" {
  command = plan

  variables {
    cors = { allow_origins = ["https://preferences.example.com"] }
  }

  assert {
    condition     = tolist(local.cors.expose_headers) == tolist(["link", "ratelimit", "retry-after"])
    error_message = "the exposed headers are ${jsonencode(local.cors.expose_headers)}"
  }
}

# They need no token, so they must not take from what the stage lets through to clients.
run "unmatched_requests_have_a_limit_of_their_own" {
  command = plan

  assert {
    condition     = coalesce(local.routes["$default"].throttling_rate_limit, 400) == 10 && coalesce(local.routes["$default"].throttling_burst_limit, 20) == 20
    error_message = "$default shares the stage's limit of ${var.throttling.rate_per_second} requests per second"
  }
}

run "validation_ends_before_the_job" {
  command = plan

  assert {
    condition     = aws_acm_certificate_validation.this.timeouts.create == "30m"
    error_message = "a job of an hour must see the validation's own error"
  }
}

# Limits nest: the database socket (10 s) within the function's own request limit, within this, within HTTP APIs' 30 s.
run "the_gateway_waits_just_under_its_own_limit" {
  command = plan

  assert {
    condition     = local.integration.timeout_milliseconds > 28000 && local.integration.timeout_milliseconds < 30000
    error_message = "the integration's timeout must lie between the function's 28 s and HTTP APIs' 30 s"
  }
}

run "access_logs_tell_who_asked_and_who_answered" {
  command = plan

  assert {
    condition = length(setsubtract(
      ["requestId", "clientId", "routeKey", "status", "responseLatency", "integrationLatency", "authorizerError", "functionRequestId"],
      keys(local.access_log),
    )) == 0
    error_message = "a field that is needed to debug a request is missing from the access log"
  }
}

run "a_domain_outside_its_zone" {
  command = plan

  variables {
    domain_name = "api.example.org"
  }

  expect_failures = [var.domain_name]
}

run "no_client_at_all" {
  command = plan

  variables {
    audience = []
  }

  expect_failures = [var.audience]
}

run "an_issuer_without_tls" {
  command = plan

  variables {
    issuer = "http://example.com"
  }

  expect_failures = [var.issuer]
}

run "a_document_without_paths" {
  command = plan

  variables {
    openapi = "{\"paths\": {}}"
  }

  expect_failures = [var.openapi]
}

run "a_limit_on_a_route_that_does_not_exist" {
  command = plan

  variables {
    throttling = { rate_per_second = 400, burst = 20, by_route = { "POST /v1/nothing" = { rate_per_second = 1, burst = 1 } } }
  }

  expect_failures = [var.throttling]
}

run "a_limit_of_zero" {
  command = plan

  variables {
    throttling = { rate_per_second = 0, burst = 20 }
  }

  expect_failures = [var.throttling]
}

run "a_wildcard_origin" {
  command = plan

  variables {
    cors = { allow_origins = ["*"] }
  }

  expect_failures = [var.cors]
}

run "a_preflight_answer_kept_for_longer_than_a_day" {
  command = plan

  variables {
    cors = { allow_origins = ["https://preferences.example.com"], max_age = 86401 }
  }

  expect_failures = [var.cors]
}

run "a_truststore_that_is_no_object" {
  command = plan

  variables {
    truststore = { uri = "https://example.com/ca.pem" }
  }

  expect_failures = [var.truststore]
}

run "a_retention_that_cloudwatch_does_not_know" {
  command = plan

  variables {
    log_retention_days = 10
  }

  expect_failures = [var.log_retention_days]
}
