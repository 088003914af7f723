variable "environment" {
  description = "Name of the environment, which is also the name of the workspace."
  type        = string

  validation {
    condition     = contains(local.environments, var.environment)
    error_message = "environment must be one of ${join(", ", local.environments)}, as envs/environments.json lists them, not ${var.environment}."
  }

  # Also fires when a plan made in one workspace is applied in another: a plan carries its variables, not its workspace.
  validation {
    condition     = var.environment == terraform.workspace
    error_message = "environment is ${var.environment}, but the workspace is ${terraform.workspace}: select the workspace ${var.environment} or take envs/${terraform.workspace}.tfvars."
  }
}

variable "release" {
  description = "Full SHA of the commit that is deployed."
  type        = string

  validation {
    condition     = can(regex("^[0-9a-f]{40}$", var.release))
    error_message = "release must be a full commit SHA of 40 hexadecimal digits, not ${var.release}: take 'git rev-parse HEAD'."
  }
}

variable "code_sha256" {
  description = "SHA-256 (hexadecimal) of the zip to run, which lies in the deployment bucket as `lambda/<sha256>.zip`. The pipeline always gives it. Without it, Terraform packages `lambda/` of this working tree and uploads that."
  type        = string
  default     = null

  validation {
    condition     = var.code_sha256 == null || can(regex("^[0-9a-f]{64}$", var.code_sha256))
    error_message = "code_sha256 must be a SHA-256 in 64 hexadecimal digits, not ${coalesce(var.code_sha256, "null")}: 'python -m ops package' prints it."
  }
}

variable "foundation" {
  description = "Of the foundation layer's settings, what this layer follows."
  type = object({
    database = object({
      instance_class        = optional(string, "db.serverless")
      aurora                = optional(object({ min_acu = number, max_acu = number }))
      storage_gib           = optional(object({ initial = number }))
      storage_performance   = optional(object({ iops = number, throughput_mib = number }))
      backup_retention_days = number
      backups               = optional(object({ retention_days = number }))
    })
    imports = optional(object({ retention_days = optional(number, 30) }), {})
    alarms = object({
      email_addresses_by_severity = optional(map(set(string)), {})
      https_endpoints_by_severity = optional(map(set(string)), {})
      runbook_url                 = optional(string)
    })
    log_retention_days = number
  })
}

variable "service" {
  description = "Settings of this layer; modules/function and modules/api say what they mean and refuse what cannot be. Throttling follows from the database unless `throttling` is given."
  type = object({
    function = object({
      reserved_concurrency = number
      job_concurrency      = optional(number)
      memory_mb            = optional(number, 1024)
      timeout_seconds      = optional(number, 300)
      vendor_list_url      = optional(string)
      schedules = optional(object({
        refresh_vendors = optional(string, "rate(15 minutes)")
        housekeeping    = optional(string, "rate(1 hour)")
        deliveries      = optional(string, "rate(1 minute)")
      }), {})
      exports = optional(map(object({
        contents = string
        format   = optional(string, "ndjson")
        at       = optional(string, "02:00")
        folder   = optional(string)
      })), {})
      retention = optional(object({
        event_days  = optional(number)
        consents    = optional(map(number), {})
        record_days = optional(number)
      }), {})
    })
    api = object({
      subdomain                   = string
      former_subdomain            = optional(string)
      hosted_zone_role_arn        = optional(string)
      hosted_zone_reader_role_arn = optional(string)
      throttling                  = optional(object({ rate_per_second = number, burst = number }))
      throttling_by_route         = optional(map(object({ rate_per_second = number, burst = number })), {})
      cors = optional(object({
        allow_origins = list(string)
        max_age       = optional(number, 600)
      }))
      truststore = optional(object({
        uri     = string
        version = optional(string)
      }))
    })
    objectives = optional(object({
      availability_percent = optional(number, 99.9)
      latency = optional(object({
        percent      = optional(number, 99)
        milliseconds = optional(number, 1000)
      }), {})
      least_bad_requests = optional(number, 10)
    }), {})
    heartbeat = optional(object({
      enable          = optional(bool, true)
      checker_regions = optional(set(string), ["eu-west-1", "us-east-1", "us-west-2"])
    }), {})
  })

  validation {
    condition     = can(regex("^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$", var.service.api.subdomain))
    error_message = "service.api.subdomain must be the part of the API's domain before the hosted zone's name, such as api.dev."
  }

  validation {
    condition     = var.service.api.former_subdomain == null || var.service.api.former_subdomain != var.service.api.subdomain && can(regex("^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$", var.service.api.former_subdomain))
    error_message = "service.api.former_subdomain must be the part of the API's former domain before the hosted zone's name, such as api.dev, and another one than service.api.subdomain."
  }

  validation {
    condition     = (var.service.api.hosted_zone_role_arn == null) == (var.service.api.hosted_zone_reader_role_arn == null)
    error_message = "service.api.hosted_zone_role_arn changes records of another account's zone; service.api.hosted_zone_reader_role_arn must name the role there that only reads them, for plans of merge requests. Give both or none."
  }

  validation {
    condition     = var.service.api.truststore == null || !var.service.heartbeat.enable
    error_message = "service.heartbeat cannot watch an API with mutual TLS (service.api.truststore): Route 53 has no client certificate and would always get a refusal. Set service.heartbeat.enable = false, and let a probe with a certificate ask /v1/ready; modules/heartbeat/README.md says how."
  }
}

variable "read_only" {
  description = "Whether this is only a plan, by an identity that changes nothing (`python -m ops plan --read-only`)."
  type        = bool
  default     = false
}

variable "platform" {
  description = "How an emulated AWS platform differs; null on AWS."
  type = object({
    s3_use_path_style    = optional(bool, false)
    api_port             = optional(number, 443)
    vendor_list_url      = optional(string)
    function_environment = optional(map(string), {})
    loopback_receivers   = optional(bool, false)
  })
  default = null

  validation {
    condition     = !try(var.platform.loopback_receivers, false) || var.environment == local.environment_list.laptop
    error_message = "platform.loopback_receivers is for the environment ${local.environment_list.laptop} only: elsewhere a receiver could reach what only the function may."
  }
}
