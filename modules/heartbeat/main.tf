# Asks from outside the region whether the API answers. Everything inside it can be wrong together: DNS, the gateway, the
# function, the database, and CloudWatch itself.
# tflint-ignore: terraform_unused_declarations # its postcondition is what it is for
data "aws_region" "this" {
  lifecycle {
    postcondition {
      condition     = self.name == "us-east-1"
      error_message = "modules/heartbeat must get a provider of us-east-1, not of ${self.name}: Route 53 publishes the metrics of health checks only there. Pass it by providers = { aws = aws.us_east_1 }."
    }
  }
}

data "aws_caller_identity" "this" {}

resource "aws_route53_health_check" "this" {
  reference_name    = var.name
  type              = "HTTPS"
  fqdn              = var.domain_name
  port              = var.port
  resource_path     = var.path
  enable_sni        = true
  regions           = sort(var.checker_regions)
  request_interval  = 30
  failure_threshold = 3

  tags = { Name = "${var.name}-heartbeat" }
}

resource "aws_cloudwatch_metric_alarm" "this" {
  alarm_name        = "${var.name}-heartbeat"
  alarm_description = "${local.meaning} First: ${local.first} Runbook: ${var.runbook_url}#heartbeat"

  # 1 while more than 18 % of the checkers get an answer of 2xx or 3xx, else 0.
  # https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/dns-failover-determining-health-of-endpoints.html
  namespace           = "AWS/Route53"
  metric_name         = "HealthCheckStatus"
  dimensions          = { HealthCheckId = aws_route53_health_check.this.id }
  statistic           = "Minimum"
  comparison_operator = "LessThanThreshold"
  threshold           = 1
  period              = 60
  evaluation_periods  = 2
  datapoints_to_alarm = 2
  # A health check that somebody deleted or disabled says nothing.
  treat_missing_data = "breaching"

  alarm_actions = [aws_sns_topic.this.arn]
  ok_actions    = [aws_sns_topic.this.arn]

  # An alarm that fires before its topic takes messages is lost.
  depends_on = [aws_sns_topic_policy.this]
}

locals {
  meaning = "From outside, ${var.domain_name}${var.path} gives no answer, or one that says that PMP cannot reach its database."
  first   = "ask it yourself: 'curl -i https://${var.domain_name}${var.path}' shows whether DNS, TLS, the gateway or the database fails."
}

# An alarm can only notify a topic of its own region, so the environment's critical topic does not serve.
resource "aws_sns_topic" "this" {
  # checkov:skip=CKV_AWS_26: the environment's key is in another region; the messages name an alarm and a public address
  name = "${var.name}-heartbeat"
}

resource "aws_sns_topic_policy" "this" {
  arn = aws_sns_topic.this.arn

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "AlarmsOfThisAccount"
      Effect    = "Allow"
      Principal = { Service = "cloudwatch.amazonaws.com" }
      Action    = "sns:Publish"
      Resource  = aws_sns_topic.this.arn
      Condition = {
        ArnLike      = { "aws:SourceArn" = "arn:aws:cloudwatch:us-east-1:${data.aws_caller_identity.this.account_id}:alarm:${var.name}-heartbeat" }
        StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.this.account_id }
      }
    }]
  })
}

resource "aws_sns_topic_subscription" "this" {
  for_each = merge(
    { for address in var.email_addresses : address => "email" },
    { for endpoint in var.https_endpoints : endpoint => "https" },
  )

  topic_arn = aws_sns_topic.this.arn
  protocol  = each.value
  endpoint  = each.key
  # On-call services answer SNS's confirmation by themselves; people get a message to confirm.
  endpoint_auto_confirms = each.value == "https"
}
