# Stand-in for terraform-aws-modules/apigateway-v2/aws 5.5.0, written for PMP: it has the part that PMP uses, so that
# plan and apply work in a network without the registry. See ADR 0301.

resource "aws_apigatewayv2_api" "this" {
  count = 1

  name                         = var.name
  description                  = var.description
  protocol_type                = var.protocol_type
  disable_execute_api_endpoint = true

  dynamic "cors_configuration" {
    for_each = var.cors_configuration[*]

    content {
      allow_credentials = cors_configuration.value.allow_credentials
      allow_headers     = cors_configuration.value.allow_headers
      allow_methods     = cors_configuration.value.allow_methods
      allow_origins     = cors_configuration.value.allow_origins
      expose_headers    = cors_configuration.value.expose_headers
      max_age           = cors_configuration.value.max_age
    }
  }

  tags = { terraform-aws-modules = "apigateway-v2" }
}

resource "aws_apigatewayv2_authorizer" "this" {
  for_each = var.authorizers

  api_id           = aws_apigatewayv2_api.this[0].id
  name             = coalesce(each.value.name, each.key)
  authorizer_type  = each.value.authorizer_type
  identity_sources = each.value.identity_sources

  dynamic "jwt_configuration" {
    for_each = each.value.jwt_configuration[*]

    content {
      audience = jwt_configuration.value.audience
      issuer   = jwt_configuration.value.issuer
    }
  }
}

resource "aws_apigatewayv2_integration" "this" {
  for_each = var.routes

  api_id                 = aws_apigatewayv2_api.this[0].id
  integration_type       = each.value.integration.type
  integration_uri        = each.value.integration.uri
  payload_format_version = each.value.integration.payload_format_version
  request_parameters     = {}
  request_templates      = {}
  timeout_milliseconds   = each.value.integration.timeout_milliseconds

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_apigatewayv2_route" "this" {
  for_each = var.routes

  api_id               = aws_apigatewayv2_api.this[0].id
  route_key            = each.key
  operation_name       = each.value.operation_name
  authorization_type   = each.value.authorization_type
  authorization_scopes = each.value.authorization_scopes
  authorizer_id        = try(aws_apigatewayv2_authorizer.this[each.value.authorizer_key].id, null)
  target               = "integrations/${aws_apigatewayv2_integration.this[each.key].id}"
}

resource "aws_cloudwatch_log_group" "this" {
  for_each = { this = var.stage_access_log_settings }

  name              = coalesce(each.value.log_group_name, "/aws/apigateway/${var.name}/default")
  retention_in_days = each.value.log_group_retention_in_days
  kms_key_id        = each.value.log_group_kms_key_id
}

resource "aws_apigatewayv2_stage" "this" {
  count = 1

  api_id      = aws_apigatewayv2_api.this[0].id
  name        = "$default"
  auto_deploy = true

  access_log_settings {
    destination_arn = aws_cloudwatch_log_group.this["this"].arn
    format          = var.stage_access_log_settings.format
  }

  default_route_settings {
    detailed_metrics_enabled = var.stage_default_route_settings.detailed_metrics_enabled
    throttling_burst_limit   = var.stage_default_route_settings.throttling_burst_limit
    throttling_rate_limit    = var.stage_default_route_settings.throttling_rate_limit
  }

  dynamic "route_settings" {
    for_each = var.routes

    content {
      route_key                = route_settings.key
      detailed_metrics_enabled = var.stage_default_route_settings.detailed_metrics_enabled
      throttling_burst_limit   = coalesce(route_settings.value.throttling_burst_limit, var.stage_default_route_settings.throttling_burst_limit)
      throttling_rate_limit    = coalesce(route_settings.value.throttling_rate_limit, var.stage_default_route_settings.throttling_rate_limit)
    }
  }

  # API Gateway refuses settings of a route that does not exist yet.
  depends_on = [aws_apigatewayv2_route.this]
}

resource "aws_apigatewayv2_domain_name" "this" {
  count = 1

  domain_name = var.domain_name

  domain_name_configuration {
    certificate_arn = var.domain_name_certificate_arn
    endpoint_type   = "REGIONAL"
    security_policy = "TLS_1_2"
  }

  dynamic "mutual_tls_authentication" {
    for_each = length(var.mutual_tls_authentication) > 0 ? [var.mutual_tls_authentication] : []

    content {
      truststore_uri     = mutual_tls_authentication.value["truststore_uri"]
      truststore_version = lookup(mutual_tls_authentication.value, "truststore_version", null)
    }
  }
}

resource "aws_apigatewayv2_api_mapping" "this" {
  count = 1

  api_id      = aws_apigatewayv2_api.this[0].id
  domain_name = aws_apigatewayv2_domain_name.this[0].id
  stage       = aws_apigatewayv2_stage.this[0].id
}
