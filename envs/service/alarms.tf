# What watches the function and the API, and one dashboard of them and of the database.
data "aws_ssm_parameter" "monitoring" {
  for_each = toset(["alarm_threshold_by_name", "alarm_topic_arn_by_severity", "database_identifier", "database_proxy_name"])

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
    alias                    = { name = module.function.alias.name, newest_version = module.function.alias.newest_version }
    log_group_name           = module.function.log_group_name
    timeout_seconds          = var.service.function.timeout_seconds
    reserved_concurrency     = module.sizing.reserved_concurrency
    failed_events_queue_name = basename(local.queue_url_by_name["failed_events"])
    jobs_queue_name          = basename(local.queue_url_by_name["jobs"])
    failed_jobs_queue_name   = basename(local.queue_url_by_name["failed_jobs"])
  }
  api        = { id = module.api.api_id }
  objectives = var.service.objectives
}

# Asks from outside whether the API answers.
module "heartbeat" {
  count  = var.service.heartbeat.enable ? 1 : 0
  source = "../../modules/heartbeat"
  providers = {
    aws = aws.us_east_1
  }

  name = local.name
  # Known once its records exist: before, the alarm would ring for nothing.
  domain_name     = module.api.domain_name
  port            = local.api_port
  checker_regions = var.service.heartbeat.checker_regions
  runbook_url     = var.foundation.alarms.runbook_url
  email_addresses = lookup(var.foundation.alarms.email_addresses_by_severity, "critical", [])
  https_endpoints = lookup(var.foundation.alarms.https_endpoints_by_severity, "critical", [])
}

module "dashboard" {
  source = "../../modules/dashboard"

  name = local.name
  database = {
    identifier      = local.monitoring["database_identifier"]
    proxy_name      = local.monitoring["database_proxy_name"]
    vcpu            = module.sizing.vcpu
    is_burstable    = module.sizing.is_burstable
    is_cluster      = local.is_aurora
    max_connections = module.sizing.max_connections
    pool_size       = module.sizing.pool_size
  }
  function = {
    name                     = module.function.function_name
    reserved_concurrency     = module.sizing.reserved_concurrency
    failed_events_queue_name = basename(local.queue_url_by_name["failed_events"])
    jobs_queue_name          = basename(local.queue_url_by_name["jobs"])
    failed_jobs_queue_name   = basename(local.queue_url_by_name["failed_jobs"])
  }
  api       = { id = module.api.api_id }
  heartbeat = one([for heartbeat in module.heartbeat : { health_check_id = heartbeat.health_check_id }])

  # The database's alarms are the foundation layer's.
  alarm_threshold_by_name = merge(
    jsondecode(local.monitoring["alarm_threshold_by_name"]),
    module.alarms.threshold_by_name,
  )
}
