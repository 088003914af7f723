locals {
  environment_list = jsondecode(file("${path.module}/../environments.json"))
  environments     = concat(local.environment_list.promoted, [local.environment_list.laptop])
}

data "aws_caller_identity" "this" {}

data "aws_region" "this" {}

data "aws_ssm_parameter" "permissions_boundary_arn" {
  name = "/pmp/account/${var.environment}/permissions_boundary_arn"
}

data "aws_ssm_parameter" "deployment_bucket_name" {
  name = "/pmp/account/deployment_bucket_name"
}

data "aws_ssm_parameter" "state_bucket_name" {
  name = "/pmp/bootstrap/state_bucket_name"
}

locals {
  name       = "pmp-${var.environment}"
  account_id = data.aws_caller_identity.this.account_id
  region     = data.aws_region.this.name

  is_aurora = module.database.engine == "aurora-postgresql"

  permissions_boundary_arn = nonsensitive(data.aws_ssm_parameter.permissions_boundary_arn.value)
  bucket_names = [
    module.jobs.bucket_name,
    local.erasures_bucket,
    nonsensitive(data.aws_ssm_parameter.deployment_bucket_name.value),
    nonsensitive(data.aws_ssm_parameter.state_bucket_name.value),
  ]
}

module "network" {
  source = "../../modules/network"

  name                     = local.name
  cidr                     = var.foundation.network.cidr
  subnet_cidrs             = var.foundation.network.subnet_cidrs
  nat                      = var.foundation.network.nat
  interface_endpoints      = var.foundation.network.interface_endpoints
  bucket_names             = local.bucket_names
  gitlab_cidr_blocks       = var.foundation.network.gitlab_cidr_blocks
  dns_allow_list           = var.foundation.network.dns_allow_list
  flow_log_retention_days  = var.foundation.log_retention_days
  kms_key_arn              = aws_kms_key.this.arn
  permissions_boundary_arn = local.permissions_boundary_arn
}

# Refuses, at plan, a concurrency that the instance class cannot carry.
module "sizing" {
  source = "../../modules/sizing"

  instance_class       = local.is_aurora ? "db.serverless" : var.foundation.database.instance_class
  aurora               = var.foundation.database.aurora
  reserved_concurrency = var.service.function.reserved_concurrency
  storage              = local.is_aurora ? null : merge({ gib = var.foundation.database.storage_gib.initial }, var.foundation.database.storage_performance)
}

module "database" {
  source = "../../modules/database"

  name                        = local.name
  environment                 = var.environment
  engine                      = var.foundation.database.engine
  instance_class              = var.foundation.database.instance_class
  aurora                      = var.foundation.database.aurora
  storage_gib                 = var.foundation.database.storage_gib
  storage_performance         = var.foundation.database.storage_performance
  enable_multi_az             = var.foundation.database.enable_multi_az
  enable_protection           = var.foundation.database.enable_protection
  backup_retention_days       = var.foundation.database.backup_retention_days
  restores                    = var.foundation.database.restores
  retired_instances           = var.foundation.database.retired_instances
  insights_mode               = var.foundation.database.insights_mode
  monitoring_interval_seconds = var.foundation.database.monitoring_interval_seconds
  log_retention_days          = var.foundation.log_retention_days
  proxy                       = { max_connections_percent = module.sizing.max_connections_percent }
  database_subnet_group_name  = module.network.database_subnet_group_name
  proxy_subnet_ids            = module.network.private_subnet_ids
  security_group_id_by_role   = module.network.security_group_id_by_role
  kms_key_arn                 = aws_kms_key.this.arn
  permissions_boundary_arn    = local.permissions_boundary_arn
}

module "jobs" {
  source = "../../modules/jobs"

  name                 = local.name
  retention_days       = var.foundation.imports.retention_days
  enable_force_destroy = var.foundation.imports.enable_force_destroy
  timeout_seconds      = var.service.function.timeout_seconds
  kms_key_arn          = aws_kms_key.this.arn
}

module "identity" {
  source = "../../modules/identity"

  name                       = local.name
  enable_deletion_protection = var.foundation.database.enable_protection
  issuer                     = try(var.platform.issuer, null)
  token_url                  = try(var.platform.token_url, null)
}
