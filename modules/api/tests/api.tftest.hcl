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
        post       = { operationId = "createUser", security = [{ oauth2 = ["pmp/write"] }, { oauth2 = ["pmp/admin"] }, { bearer = ["pmp/write"] }] }
      }
      "/v1/health"              = { get = { operationId = "health", security = [] } }
      "/v1/unsubscribe/{token}" = { post = { operationId = "unsubscribe", security = [], x-pmp-throttle = "users" } }
      "/v1/me/confirm"          = { post = { operationId = "confirmMe", security = [{ person = ["confirm"] }] } }
    }
    components = {
      headers    = { "Allow" = {}, "Link" = {}, "Retry-After" = {} }
      parameters = { IfMatch = { name = "If-Match", in = "header" }, Id = { name = "id", in = "path" } }
    }
  })
  function    = { name = "pmp-dev", alias = "live", arn = "arn:aws:lambda:eu-west-1:123456789012:function:pmp-dev:live" }
  issuer      = "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_AbCdEfGhI"
  audience    = ["1h57kf5cpq17m0eml12EXAMPLE"]
  throttling  = { rate_per_second = 400, burst = 20 }
  kms_key_arn = "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555"
}

run "routes_and_scopes_equal_those_of_the_document" {
  command = plan

  assert {
    condition = jsonencode(output.scopes_by_route) == jsonencode({
      "GET /v1/users"                = ["pmp/read"]
      "HEAD /v1/users"               = ["pmp/read"]
      "POST /v1/users"               = ["pmp/write", "pmp/admin"]
      "GET /v1/health"               = []
      "HEAD /v1/health"              = []
      "POST /v1/me/confirm"          = []
      "POST /v1/unsubscribe/{token}" = []
    })
    error_message = "scopes by route are ${jsonencode(output.scopes_by_route)}"
  }

  assert {
    condition     = aws_acm_certificate.this.validation_method == "DNS"
    error_message = "the certificate must be validated by DNS"
  }

  assert {
    condition     = toset(keys(aws_route53_record.api)) == toset(["A", "AAAA"])
    error_message = "the domain must have an A and an AAAA record"
  }
}

run "the_api_invokes_the_alias_and_may_invoke_nothing_else" {
  command = plan

  assert {
    condition     = local.integration.uri == var.function.arn && aws_lambda_permission.api.qualifier == "live" && aws_lambda_permission.api.function_name == "pmp-dev"
    error_message = "the integration and the permission must name the alias"
  }
}

run "a_function_without_its_alias_is_refused" {
  command = plan

  variables {
    function = { name = "pmp-dev", alias = "live", arn = "arn:aws:lambda:eu-west-1:123456789012:function:pmp-dev" }
  }

  expect_failures = [var.function]
}

run "cors_allows_and_exposes_what_the_document_has" {
  command = plan

  variables {
    cors = { allow_origins = ["https://preferences.example.com"] }
  }

  assert {
    condition     = tolist(local.cors.expose_headers) == tolist(["allow", "link", "retry-after"])
    error_message = "the exposed headers are ${jsonencode(local.cors.expose_headers)}"
  }

  assert {
    condition     = tolist(local.cors.allow_headers) == tolist(["authorization", "content-type", "if-match"])
    error_message = "the allowed headers are ${jsonencode(local.cors.allow_headers)}"
  }

  assert {
    condition     = tolist(local.cors.allow_methods) == tolist(["GET", "HEAD", "OPTIONS", "POST"])
    error_message = "the allowed methods are ${jsonencode(local.cors.allow_methods)}"
  }
}

# Who has no token must not use up the stage's limit for clients.
run "public_routes_have_a_separate_limit" {
  command = plan

  assert {
    condition = { for route_key, route in local.routes : route_key => [route.throttling_rate_limit, route.throttling_burst_limit] if route.throttling_rate_limit != null && route_key != "$default" } == {
      "GET /v1/health"               = [20, 40]
      "HEAD /v1/health"              = [20, 40]
      "POST /v1/me/confirm"          = [40, 10]
      "POST /v1/unsubscribe/{token}" = [40, 10]
    }
    error_message = "limits: ${jsonencode({ for route_key, route in local.routes : route_key => route.throttling_rate_limit })}"
  }
}

# The gateway cannot verify users' own tokens.
run "users_tokens_have_no_authorizer" {
  command = plan

  assert {
    condition     = local.routes["POST /v1/me/confirm"].authorization_type == "NONE" && local.routes["POST /v1/users"].authorization_type == "JWT"
    error_message = "authorization: ${jsonencode({ for route_key, route in local.routes : route_key => route.authorization_type })}"
  }
}

run "users_routes_can_have_another_limit" {
  command = plan

  variables {
    throttling = { rate_per_second = 400, burst = 20, users = { rate_per_second = 3, burst = 4 } }
  }

  assert {
    condition     = [local.routes["POST /v1/me/confirm"].throttling_rate_limit, local.routes["POST /v1/me/confirm"].throttling_burst_limit] == [3, 4]
    error_message = "limit: ${jsonencode(local.routes["POST /v1/me/confirm"])}"
  }
}

# They need no token, so they must not use up the stage's limit for clients.
run "unmatched_requests_have_a_separate_limit" {
  command = plan

  assert {
    condition     = coalesce(local.routes["$default"].throttling_rate_limit, 400) == 10 && coalesce(local.routes["$default"].throttling_burst_limit, 20) == 20
    error_message = "$default shares the stage's limit of ${var.throttling.rate_per_second} requests per second"
  }
}

run "certificate_validation_ends_before_the_job" {
  command = plan

  assert {
    condition     = aws_acm_certificate_validation.this.timeouts.create == "30m"
    error_message = "the validation must fail with its own error before the job's limit of one hour"
  }
}

# Limits nest: two attempts at the database (14 s each) < this timeout < HTTP APIs' limit (30 s).
run "integration_timeout_is_between_28_and_30_seconds" {
  command = plan

  assert {
    condition     = local.integration.timeout_milliseconds > 28000 && local.integration.timeout_milliseconds < 30000
    error_message = "the integration's timeout must be between two attempts of the function (28 s) and HTTP APIs' 30 s"
  }
}

run "access_log_contains_the_fields_for_debugging" {
  command = plan

  assert {
    condition = length(setsubtract(
      ["requestId", "clientId", "routeKey", "status", "responseLatency", "integrationLatency", "authorizerError", "functionRequestId"],
      keys(local.access_log),
    )) == 0
    error_message = "the access log lacks a field that is needed to debug a request"
  }

  assert {
    condition     = !anytrue([for value in values(local.access_log) : strcontains(value, "path") || strcontains(value, "query")])
    error_message = "the access log must not hold a path or a query, in which a client may have put an address"
  }
}

run "domain_outside_the_hosted_zone_is_refused" {
  command = plan

  variables {
    domain_name = "api.example.org"
  }

  expect_failures = [var.domain_name]
}

run "fifty_audiences_are_accepted" {
  command = plan

  variables {
    audience = [for number in range(50) : format("client%02d", number)]
  }
}

run "more_audiences_than_an_authorizer_takes_are_refused" {
  command = plan

  variables {
    audience = [for number in range(51) : format("client%02d", number)]
  }

  expect_failures = [var.audience]
}

run "empty_audience_is_refused" {
  command = plan

  variables {
    audience = []
  }

  expect_failures = [var.audience]
}

run "issuer_without_tls_is_refused" {
  command = plan

  variables {
    issuer = "http://example.com"
  }

  expect_failures = [var.issuer]
}

run "document_without_paths_is_refused" {
  command = plan

  variables {
    openapi = "{\"paths\": {}}"
  }

  expect_failures = [var.openapi]
}

run "limit_on_an_unknown_route_is_refused" {
  command = plan

  variables {
    throttling = { rate_per_second = 400, burst = 20, by_route = { "POST /v1/nothing" = { rate_per_second = 1, burst = 1 } } }
  }

  expect_failures = [var.throttling]
}

run "limit_of_zero_is_refused" {
  command = plan

  variables {
    throttling = { rate_per_second = 0, burst = 20 }
  }

  expect_failures = [var.throttling]
}

run "wildcard_origin_is_refused" {
  command = plan

  variables {
    cors = { allow_origins = ["*"] }
  }

  expect_failures = [var.cors]
}

run "preflight_cache_of_more_than_a_day_is_refused" {
  command = plan

  variables {
    cors = { allow_origins = ["https://preferences.example.com"], max_age = 86401 }
  }

  expect_failures = [var.cors]
}

run "truststore_that_is_not_an_s3_object_is_refused" {
  command = plan

  variables {
    truststore = { uri = "https://example.com/ca.pem" }
  }

  expect_failures = [var.truststore]
}

run "log_retention_unknown_to_cloudwatch_is_refused" {
  command = plan

  variables {
    log_retention_days = 10
  }

  expect_failures = [var.log_retention_days]
}
