# The HTTP API: routes and scopes come from the OpenAPI document, every route is answered by the one function.

locals {
  document = jsondecode(var.openapi)

  # "GET /v1/users/{id}" => the scopes of which an access token must carry one; null where the gateway asks for none. It
  # cannot verify users' own tokens (the security scheme `person`), which the function does (docs/adr/0410).
  operations = merge([
    for path, methods in local.document.paths : {
      for method, operation in methods : "${upper(method)} ${path}" => {
        id     = try(operation.operationId, null)
        scopes = alltrue([for requirement in try(operation.security, []) : can(requirement.person)]) ? null : distinct(flatten([for requirement in operation.security : values(requirement)]))
        # By its security, or where the token is a part of the path.
        is_users = anytrue([for requirement in try(operation.security, []) : can(requirement.person)]) || try(operation["x-pmp-throttle"], null) == "users"
      } if contains(["get", "put", "post", "delete", "patch", "head", "options"], method)
    }
  ]...)

  # Anybody can send requests to these routes, which must not use up what clients need.
  users_throttling = coalesce(var.throttling.users, {
    rate_per_second = max(1, ceil(var.throttling.rate_per_second / 10))
    burst           = max(1, ceil(var.throttling.burst / 2))
  })

  # HTTP APIs match methods exactly: without a route of its own HEAD would fall to $default, which has no authorizer.
  served = merge(
    {
      for route_key, operation in local.operations : replace(route_key, "/^GET /", "HEAD ") => merge(operation, { limit = route_key })
      if startswith(route_key, "GET ")
    },
    { for route_key, operation in local.operations : route_key => merge(operation, { limit = route_key }) },
  )

  routes = merge(
    {
      for route_key, operation in local.served : route_key => {
        operation_name         = operation.id
        authorization_type     = operation.scopes == null ? "NONE" : "JWT"
        authorization_scopes   = operation.scopes == null ? [] : operation.scopes
        authorizer_key         = operation.scopes == null ? null : "jwt"
        throttling_rate_limit  = try(var.throttling.by_route[operation.limit].rate_per_second, operation.is_users ? local.users_throttling.rate_per_second : operation.scopes == null ? var.throttling.public.rate_per_second : null)
        throttling_burst_limit = try(var.throttling.by_route[operation.limit].burst, operation.is_users ? local.users_throttling.burst : operation.scopes == null ? var.throttling.public.burst : null)
        integration            = local.integration
      }
    },
    {
      # Requests that match no operation: the function answers with a problem document (404, 405) and gets no claims.
      "$default" = {
        operation_name         = null
        authorization_type     = "NONE"
        authorization_scopes   = []
        authorizer_key         = null
        throttling_rate_limit  = var.throttling.unmatched.rate_per_second
        throttling_burst_limit = var.throttling.unmatched.burst
        integration            = local.integration
      }
    },
  )

  integration = {
    uri                    = var.function.arn
    payload_format_version = "2.0"
    # HTTP APIs wait 30 s at most; the function's own limits for a request are below this.
    timeout_milliseconds = 29000
  }

  cors = var.cors == null ? null : {
    allow_origins = var.cors.allow_origins
    allow_methods = sort(distinct(concat(["OPTIONS"], [for route_key in keys(local.served) : split(" ", route_key)[0]])))
    allow_headers = sort(distinct(concat(["authorization", "content-type"], [
      for parameter in values(try(local.document.components.parameters, {})) : lower(parameter.name) if parameter.in == "header"
    ])))
    # Without this, scripts in a browser can read only a few standard response headers.
    expose_headers    = sort([for name in keys(try(local.document.components.headers, {})) : lower(name)])
    allow_credentials = false
    max_age           = var.cors.max_age
  }
}

module "api" {
  #checkov:skip=CKV_TF_1:a registry module, pinned by its exact version
  source  = "terraform-aws-modules/apigateway-v2/aws"
  version = "5.5.0"

  name          = var.name
  description   = "Preference management platform"
  protocol_type = "HTTP"

  # Only the custom domain answers.
  disable_execute_api_endpoint = true
  domain_name                  = aws_acm_certificate.this.domain_name
  domain_name_certificate_arn  = aws_acm_certificate_validation.this.certificate_arn
  mutual_tls_authentication = var.truststore == null ? {} : {
    for key, value in { truststore_uri = var.truststore.uri, truststore_version = var.truststore.version } : key => value if value != null
  }

  # Made here, because the zone may be another provider's.
  create_certificate    = false
  create_domain_records = false

  authorizers = {
    jwt = {
      name             = "jwt"
      authorizer_type  = "JWT"
      identity_sources = ["$request.header.Authorization"]
      jwt_configuration = {
        audience = var.audience
        issuer   = var.issuer
      }
    }
  }

  routes = local.routes

  stage_default_route_settings = {
    detailed_metrics_enabled = true
    throttling_rate_limit    = var.throttling.rate_per_second
    throttling_burst_limit   = var.throttling.burst
  }

  stage_access_log_settings = {
    log_group_name              = "/aws/apigateway/${var.name}"
    log_group_retention_in_days = var.log_retention_days
    log_group_kms_key_id        = var.kms_key_arn
    format                      = jsonencode(local.access_log)
  }

  cors_configuration = local.cors
}

locals {
  # What it takes to tell who asked for what, who answered (gateway, authorizer or function), and how long each took. Not
  # the path: a client may have put an address where an id belongs. The route says the same.
  access_log = {
    requestTime        = "$context.requestTime"
    requestId          = "$context.requestId"
    sourceIp           = "$context.identity.sourceIp"
    userAgent          = "$context.identity.userAgent"
    clientId           = "$context.authorizer.claims.client_id"
    method             = "$context.httpMethod"
    routeKey           = "$context.routeKey"
    protocol           = "$context.protocol"
    domainName         = "$context.domainName"
    status             = "$context.status"
    responseLength     = "$context.responseLength"
    responseLatency    = "$context.responseLatency"
    integrationStatus  = "$context.integration.status"
    integrationLatency = "$context.integration.latency"
    integrationError   = "$context.integration.error"
    functionRequestId  = "$context.integration.requestId"
    authorizerError    = "$context.authorizer.error"
    errorMessage       = "$context.error.message"
    errorResponseType  = "$context.error.responseType"
  }
}

resource "aws_lambda_permission" "api" {
  statement_id  = "api"
  action        = "lambda:InvokeFunction"
  function_name = var.function.name
  qualifier     = var.function.alias
  principal     = "apigateway.amazonaws.com"
  source_arn    = "${module.api.api_execution_arn}/*"
}
