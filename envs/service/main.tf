locals {
  environment_list = jsondecode(file("${path.module}/../environments.json"))
  environments     = concat(local.environment_list.promoted, [local.environment_list.laptop])
}

locals {
  name    = "pmp-${var.environment}"
  api_url = "https://${local.domain_name}${local.api_port == 443 ? "" : ":${local.api_port}"}"

  domain_name = "${var.service.api.subdomain}.${local.account["hosted_zone_name"]}"
  api_port    = try(var.platform.api_port, 443)

  is_aurora   = local.foundation["database_engine"] == "aurora-postgresql"
  reader_host = local.foundation["database_reader_host"]

  # An erased person is in RDS's backups and in those of AWS Backup until both are gone.
  backup_days = max(var.foundation.database.backup_retention_days, try(var.foundation.database.backups.retention_days, 0))
}

# Refuses a concurrency or a rate that the database cannot carry, and says how much the API may let through.
module "sizing" {
  source = "../../modules/sizing"

  instance_class       = local.is_aurora ? "db.serverless" : var.foundation.database.instance_class
  aurora               = var.foundation.database.aurora
  reserved_concurrency = var.service.function.reserved_concurrency
  storage              = local.is_aurora ? null : merge({ gib = var.foundation.database.storage_gib.initial }, var.foundation.database.storage_performance)
  rate_per_second      = try(var.service.api.throttling.rate_per_second, null)
}

module "function" {
  source = "../../modules/function"

  name        = local.name
  environment = var.environment
  code = {
    bucket_name = local.account["deployment_bucket_name"]
    sha256      = var.code_sha256
    release     = var.release
  }

  memory_mb            = var.service.function.memory_mb
  timeout_seconds      = var.service.function.timeout_seconds
  reserved_concurrency = module.sizing.reserved_concurrency
  # An import keeps one processor of the database busy.
  job_concurrency = coalesce(var.service.function.job_concurrency, min(max(2, module.sizing.vcpu), floor(module.sizing.reserved_concurrency / 2)))
  network = {
    subnet_ids        = split(",", local.foundation["private_subnet_ids"])
    security_group_id = local.foundation["function_security_group_id"]
  }
  database = {
    host              = local.foundation["database_proxy_host"]
    port              = tonumber(local.foundation["database_proxy_port"])
    name              = local.foundation["database_name"]
    proxy_resource_id = local.foundation["database_proxy_resource_id"]
    reader_host       = local.reader_host == local.foundation["database_proxy_host"] ? null : local.reader_host
  }

  api_url   = local.api_url
  token_url = local.foundation["token_url"]
  erasure = {
    bucket_name           = local.foundation["erasures_bucket_name"]
    key_secret_arn        = local.foundation["erasure_key_secret_arn"]
    backup_retention_days = local.backup_days
  }
  token_key_secret_arn  = local.foundation["token_key_secret_arn"]
  vendor_list_url       = try(coalesce(try(var.platform.vendor_list_url, null), var.service.function.vendor_list_url), null)
  environment_variables = try(var.platform.function_environment, {})

  allow_loopback_receivers = try(var.platform.loopback_receivers, false)

  imports = {
    bucket_name    = local.foundation["imports_bucket_name"]
    retention_days = var.foundation.imports.retention_days
  }
  queue_url_by_name = local.queue_url_by_name

  schedules = var.service.function.schedules
  exports   = var.service.function.exports
  retention = var.service.function.retention

  log_retention_days       = var.foundation.log_retention_days
  kms_key_arn              = local.foundation["kms_key_arn"]
  permissions_boundary_arn = local.account["permissions_boundary_arn"]
}

module "api" {
  source = "../../modules/api"
  providers = {
    aws     = aws
    aws.dns = aws.dns
  }

  name        = local.name
  domain_name = local.domain_name
  hosted_zone = {
    id   = local.account["hosted_zone_id"]
    name = local.account["hosted_zone_name"]
  }

  openapi  = file("${path.root}/../../lambda/pmp/openapi.json")
  function = { name = module.function.function_name, alias = module.function.alias.name, arn = module.function.alias.arn }
  issuer   = local.foundation["issuer"]
  audience = local.audience

  throttling = {
    rate_per_second = module.sizing.throttling.rate_limit
    burst           = try(var.service.api.throttling.burst, module.sizing.throttling.burst_limit)
    by_route        = var.service.api.throttling_by_route
  }
  cors       = var.service.api.cors
  truststore = var.service.api.truststore

  log_retention_days = var.foundation.log_retention_days
  kms_key_arn        = local.foundation["kms_key_arn"]
}
