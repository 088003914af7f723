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

variable "foundation" {
  description = "Settings of this layer; modules/network, modules/database and modules/jobs say what they mean and refuse what cannot be."
  type = object({
    network = object({
      cidr                = string
      subnet_cidrs        = object({ private = list(string), database = list(string), public = list(string) })
      nat                 = string
      interface_endpoints = set(string)
      gitlab_cidr_blocks  = optional(list(string), ["0.0.0.0/0"])
      dns_allow_list      = optional(list(string), [])
    })
    database = object({
      engine         = optional(string, "postgres")
      instance_class = optional(string, "db.serverless")
      aurora = optional(object({
        min_acu             = number
        max_acu             = number
        readers             = optional(number, 0)
        enable_io_optimized = optional(bool, false)
      }))
      storage_gib                 = optional(object({ initial = number, max = number }))
      storage_performance         = optional(object({ iops = number, throughput_mib = number }))
      enable_multi_az             = bool
      enable_protection           = bool
      backup_retention_days       = number
      insights_mode               = string
      monitoring_interval_seconds = optional(number, 60)
      restores = optional(list(object({
        snapshot      = optional(string)
        point_in_time = optional(string)
        source        = optional(string)
        engine        = optional(string)
      })), [])
      retired_instances = optional(number, 0)
      # The account layer makes them (modules/backups).
      backups = optional(object({
        retention_days = number
        lock           = optional(string, "governance")
        copy_region    = optional(string)
      }))
    })
    imports = optional(object({
      retention_days       = optional(number, 30)
      enable_force_destroy = optional(bool, false)
    }), {})
    runner = object({
      enable        = bool
      instance_type = optional(string, "t4g.small")
      gitlab_url    = optional(string, "https://gitlab.com")
      downloads = optional(object({
        ssm_agent_version      = string
        ssm_agent_sha256       = string
        rds_authorities_sha256 = string
      }))
    })
    alarms = object({
      email_addresses_by_severity = optional(map(set(string)), {})
      https_endpoints_by_severity = optional(map(set(string)), {})
      runbook_url                 = optional(string)
    })
    log_retention_days = number
  })

  validation {
    condition     = var.environment != "prod" || var.foundation.database.enable_protection
    error_message = "foundation.database.enable_protection must be true in prod: without it a plan may delete the database and leave no last snapshot."
  }

  validation {
    condition     = var.environment != "prod" || var.foundation.database.backup_retention_days >= 7
    error_message = "foundation.database.backup_retention_days must be at least 7 in prod."
  }

  validation {
    condition     = var.foundation.network.nat != "none" || !var.foundation.runner.enable
    error_message = "foundation.runner.enable must be false where foundation.network.nat is none: the runner reaches GitLab and Debian's packages only through a NAT gateway. Run the migrations from a runner of your own that reaches the VPC, or take nat = \"single\"."
  }

  validation {
    condition     = var.environment != "prod" || !var.foundation.imports.enable_force_destroy
    error_message = "foundation.imports.enable_force_destroy must be false in prod: a destroy would take uploads with it."
  }

  validation {
    condition     = length(setsubtract(keys(merge(var.foundation.alarms.email_addresses_by_severity, var.foundation.alarms.https_endpoints_by_severity)), ["critical", "warning"])) == 0
    error_message = "foundation.alarms.email_addresses_by_severity knows the severities critical and warning, and so does https_endpoints_by_severity."
  }

  validation {
    condition     = alltrue([for endpoint in flatten([for endpoints in values(var.foundation.alarms.https_endpoints_by_severity) : tolist(endpoints)]) : startswith(endpoint, "https://")])
    error_message = "foundation.alarms.https_endpoints_by_severity must hold https addresses, such as an on-call service gives for SNS."
  }

  # An emulated platform wakes nobody.
  validation {
    condition = var.environment != "prod" || var.platform != null || length(concat(
      tolist(lookup(var.foundation.alarms.email_addresses_by_severity, "critical", [])),
      tolist(lookup(var.foundation.alarms.https_endpoints_by_severity, "critical", [])),
    )) > 0
    error_message = "foundation.alarms must name who is woken in prod: set email_addresses_by_severity.critical or https_endpoints_by_severity.critical in envs/prod.tfvars."
  }

  validation {
    condition = var.foundation.alarms.runbook_url != null || var.platform != null || length(flatten([
      for names in concat(values(var.foundation.alarms.email_addresses_by_severity), values(var.foundation.alarms.https_endpoints_by_severity)) : tolist(names)
    ])) == 0
    error_message = "foundation.alarms.runbook_url must be where the people whom foundation.alarms names read docs/runbook.md, such as https://gitlab.com/<group>/<project>/-/blob/main/docs/runbook.md: each alarm ends with that link and its section."
  }
}

variable "service" {
  description = "Of the service layer's settings, what the database and the queues follow."
  type = object({
    function = object({
      reserved_concurrency = number
      timeout_seconds      = optional(number, 300)
    })
  })
}

variable "platform" {
  description = "Where an emulated AWS platform's endpoints are; null on AWS."
  type = object({
    s3_use_path_style    = optional(bool, false)
    database_host        = optional(string)
    database_port        = optional(number)
    database_proxy_host  = optional(string)
    database_proxy_port  = optional(number)
    database_reader_host = optional(string)
    issuer               = optional(string)
    token_url            = optional(string)
  })
  default = null
}
