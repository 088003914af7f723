mock_provider "aws" {
  mock_data "aws_region" {
    defaults = { name = "us-east-1" }
  }
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_resource "aws_sns_topic" {
    defaults = { arn = "arn:aws:sns:us-east-1:123456789012:pmp-dev-heartbeat" }
  }
  mock_resource "aws_route53_health_check" {
    defaults = { id = "11111111-2222-3333-4444-555555555555" }
  }
}

variables {
  name            = "pmp-dev"
  domain_name     = "api.dev.example.com"
  email_addresses = ["on-call@example.com"]
  https_endpoints = ["https://events.example.com/integration/1"]
}

run "asks_the_ready_route_over_tls_with_sni" {
  assert {
    condition = [
      aws_route53_health_check.this.type, aws_route53_health_check.this.fqdn, tostring(aws_route53_health_check.this.port),
      aws_route53_health_check.this.resource_path, tostring(aws_route53_health_check.this.enable_sni),
    ] == ["HTTPS", "api.dev.example.com", "443", "/v1/ready", "true"]
    error_message = "the health check asks something else"
  }

  assert {
    condition     = length(aws_route53_health_check.this.regions) == 3
    error_message = "Route 53 asks from at least three regions"
  }
}

run "silence_and_failure_ring" {
  assert {
    condition = (
      aws_cloudwatch_metric_alarm.this.namespace == "AWS/Route53" &&
      aws_cloudwatch_metric_alarm.this.metric_name == "HealthCheckStatus" &&
      aws_cloudwatch_metric_alarm.this.dimensions == tomap({ HealthCheckId = "11111111-2222-3333-4444-555555555555" }) &&
      aws_cloudwatch_metric_alarm.this.statistic == "Minimum" &&
      aws_cloudwatch_metric_alarm.this.comparison_operator == "LessThanThreshold" &&
      aws_cloudwatch_metric_alarm.this.threshold == 1 &&
      aws_cloudwatch_metric_alarm.this.treat_missing_data == "breaching"
    )
    error_message = "an unhealthy or a missing health check does not ring"
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.this.alarm_actions == toset(["arn:aws:sns:us-east-1:123456789012:pmp-dev-heartbeat"])
    error_message = "the alarm notifies a topic of another region, which CloudWatch refuses"
  }

  assert {
    condition     = length(aws_cloudwatch_metric_alarm.this.alarm_description) <= 1024 && endswith(aws_cloudwatch_metric_alarm.this.alarm_description, "docs/runbook.md#heartbeat")
    error_message = "CloudWatch takes descriptions of at most 1,024 characters, and people need the runbook"
  }

  assert {
    condition     = { for endpoint, subscription in aws_sns_topic_subscription.this : endpoint => subscription.protocol } == { "on-call@example.com" = "email", "https://events.example.com/integration/1" = "https" }
    error_message = "not everybody who is named is woken"
  }
}

run "only_this_alarm_may_publish" {
  assert {
    condition     = jsondecode(aws_sns_topic_policy.this.policy).Statement[0].Condition.ArnLike["aws:SourceArn"] == "arn:aws:cloudwatch:us-east-1:123456789012:alarm:pmp-dev-heartbeat"
    error_message = "the topic takes messages of others"
  }
}

run "another_region_is_refused" {
  command = plan

  override_data {
    target = data.aws_region.this
    values = { name = "eu-west-1" }
  }

  expect_failures = [data.aws_region.this]
}

run "two_checker_regions_are_refused" {
  command = plan

  variables {
    checker_regions = ["eu-west-1", "us-east-1"]
  }

  expect_failures = [var.checker_regions]
}

run "unknown_checker_region_is_refused" {
  command = plan

  variables {
    checker_regions = ["eu-west-1", "us-east-1", "eu-central-1"]
  }

  expect_failures = [var.checker_regions]
}

run "url_as_domain_is_refused" {
  command = plan

  variables {
    domain_name = "https://api.dev.example.com"
  }

  expect_failures = [var.domain_name]
}

run "invalid_name_is_refused" {
  command = plan

  variables {
    name = "Other"
  }

  expect_failures = [var.name]
}

run "invalid_port_is_refused" {
  command = plan

  variables {
    port = 0
  }

  expect_failures = [var.port]
}

run "path_without_slash_is_refused" {
  command = plan

  variables {
    path = "v1/ready"
  }

  expect_failures = [var.path]
}

run "runbook_url_with_fragment_is_refused" {
  command = plan

  variables {
    runbook_url = "https://example.com/runbook#x"
  }

  expect_failures = [var.runbook_url]
}

run "plain_http_endpoint_is_refused" {
  command = plan

  variables {
    https_endpoints = ["http://events.example.com"]
  }

  expect_failures = [var.https_endpoints]
}
