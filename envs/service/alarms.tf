# What watches the function and the API, and one dashboard of them and of the database.
data "aws_ssm_parameter" "monitoring" {
  for_each = toset(["alarm_topic_arn_by_severity", "database_identifier", "database_proxy_name"])

  name = "/pmp/${var.environment}/foundation/${each.key}"
}

locals {
  monitoring = { for name, parameter in data.aws_ssm_parameter.monitoring : name => nonsensitive(parameter.value) }
}

module "alarms" {
  source = "../../modules/alarms"

  name                  = local.name
  topic_arn_by_severity = jsondecode(local.monitoring["alarm_topic_arn_by_severity"])
  runbook_url           = var.foundation.alarms.runbook_url

  function = {
    name                     = module.function.function_name
    log_group_name           = module.function.log_group_name
    timeout_seconds          = var.service.function.timeout_seconds
    reserved_concurrency     = module.sizing.reserved_concurrency
    failed_events_queue_name = module.function.failed_events_queue_name
  }
  api = { id = module.api.api_id }
}

module "dashboard" {
  source = "../../modules/dashboard"

  name = local.name
  database = {
    identifier             = local.monitoring["database_identifier"]
    proxy_name             = local.monitoring["database_proxy_name"]
    vcpu                   = module.sizing.vcpu
    is_burstable           = module.sizing.is_burstable
    largest_credit_balance = module.sizing.cpu_credits.largest_balance
    max_connections        = module.sizing.max_connections
    pool_size              = module.sizing.pool_size
  }
  function = {
    name                     = module.function.function_name
    reserved_concurrency     = module.sizing.reserved_concurrency
    failed_events_queue_name = module.function.failed_events_queue_name
  }
  api = { id = module.api.api_id }
}
