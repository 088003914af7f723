# Where alarms go: `critical` wakes someone up, `warning` waits for the morning.
resource "aws_sns_topic" "this" {
  for_each = toset(["critical", "warning"])

  name              = "${local.name}-${each.value}"
  kms_master_key_id = aws_kms_key.this.arn
}

resource "aws_sns_topic_policy" "this" {
  for_each = aws_sns_topic.this

  arn = each.value.arn

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "AlarmsOfThisAccount"
      Effect    = "Allow"
      Principal = { Service = "cloudwatch.amazonaws.com" }
      Action    = "sns:Publish"
      Resource  = each.value.arn
      Condition = {
        ArnLike      = { "aws:SourceArn" = "arn:aws:cloudwatch:${local.region}:${local.account_id}:alarm:${local.name}-*" }
        StringEquals = { "aws:SourceAccount" = local.account_id }
      }
    }]
  })
}

resource "aws_sns_topic_subscription" "https" {
  for_each = merge([
    for severity, endpoints in var.foundation.alarms.https_endpoints_by_severity : {
      for endpoint in endpoints : "${severity} ${endpoint}" => { severity = severity, endpoint = endpoint }
    }
  ]...)

  topic_arn = aws_sns_topic.this[each.value.severity].arn
  protocol  = "https"
  endpoint  = each.value.endpoint
  # On-call services answer SNS's confirmation by themselves.
  endpoint_auto_confirms = true
}

resource "aws_sns_topic_subscription" "email" {
  for_each = merge([
    for severity, addresses in var.foundation.alarms.email_addresses_by_severity : {
      for address in addresses : "${severity} ${address}" => { severity = severity, address = address }
    }
  ]...)

  topic_arn = aws_sns_topic.this[each.value.severity].arn
  protocol  = "email"
  endpoint  = each.value.address
}
