# A dashboard of db.t3.medium. `make dashboard` plans it, without any account, and draws docs/dashboard.svg from the plan.
terraform {
  required_version = ">= 1.11.0, < 2.0.0"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }
}

# A plan of it asks AWS for nothing.
provider "aws" {
  region                      = "eu-west-1"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_requesting_account_id  = true
}

module "sizing" {
  source = "../../../sizing"

  instance_class       = "db.t3.medium"
  reserved_concurrency = 200
}

module "alarms" {
  source = "../../../alarms"

  name = "pmp-dev"
  topic_arn_by_severity = {
    critical = "arn:aws:sns:eu-west-1:123456789012:pmp-dev-critical"
    warning  = "arn:aws:sns:eu-west-1:123456789012:pmp-dev-warning"
  }
  database = {
    identifier             = "pmp-dev"
    proxy_name             = "pmp-dev"
    vcpu                   = module.sizing.vcpu
    is_burstable           = module.sizing.is_burstable
    largest_credit_balance = module.sizing.cpu_credits.largest_balance
    memory_gib             = module.sizing.memory_gib
    storage_gib            = 20
    max_connections        = module.sizing.max_connections
    pool_size              = module.sizing.pool_size
  }
  function = {
    name                     = "pmp-dev"
    alias                    = { name = "live", newest_version = "7" }
    log_group_name           = "/aws/lambda/pmp-dev"
    timeout_seconds          = 300
    reserved_concurrency     = module.sizing.reserved_concurrency
    failed_events_queue_name = "pmp-dev-failed-events"
    jobs_queue_name          = "pmp-dev-jobs"
    failed_jobs_queue_name   = "pmp-dev-failed-jobs"
  }
  api = { id = "a1b2c3d4e5" }
}

module "dashboard" {
  source = "../.."

  name = "pmp-dev"
  database = {
    identifier      = "pmp-dev"
    proxy_name      = "pmp-dev"
    vcpu            = module.sizing.vcpu
    is_burstable    = module.sizing.is_burstable
    max_connections = module.sizing.max_connections
    pool_size       = module.sizing.pool_size
  }
  function = {
    name                     = "pmp-dev"
    reserved_concurrency     = module.sizing.reserved_concurrency
    failed_events_queue_name = "pmp-dev-failed-events"
    jobs_queue_name          = "pmp-dev-jobs"
    failed_jobs_queue_name   = "pmp-dev-failed-jobs"
  }
  api                     = { id = "a1b2c3d4e5" }
  heartbeat               = { health_check_id = "11111111-2222-3333-4444-555555555555" }
  alarm_threshold_by_name = module.alarms.threshold_by_name
}

output "dashboard_body" {
  description = "The dashboard as CloudWatch gets it, JSON."
  value       = module.dashboard.dashboard_body
}
