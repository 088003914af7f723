variable "name" {
  description = "Prefix of the alarms' names, such as `pmp-dev`."
  type        = string

  validation {
    condition     = can(regex("^pmp-[a-z0-9]+(-[a-z0-9]+)*$", var.name)) && length(var.name) <= 40
    error_message = "name must be 'pmp-' and then lower-case letters, digits and single hyphens, at most 40 characters."
  }
}

variable "topic_arn_by_severity" {
  description = "ARNs of the SNS topics by severity: `critical` wakes someone up, `warning` waits for the morning."
  type = object({
    critical = string
    warning  = string
  })

  validation {
    condition     = alltrue([for arn in values(var.topic_arn_by_severity) : can(regex("^arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:", arn))])
    error_message = "topic_arn_by_severity must be ARNs of SNS topics."
  }
}

variable "runbook_url" {
  description = "Where people on call read docs/runbook.md; an alarm's description ends with it and the alarm's section. Null says where it is in the repository."
  type        = string
  default     = "docs/runbook.md"
  nullable    = false

  validation {
    condition     = can(regex("^(https://[^#\\s]{1,300}|docs/runbook[.]md)$", var.runbook_url))
    error_message = "runbook_url must be an https address of at most 300 characters, without a fragment."
  }
}

variable "database" {
  description = "Instance and proxy to watch, with what thresholds follow from (`modules/sizing`): vCPUs, whether the class is burstable and its largest credit balance, memory, initial storage (null for Aurora), connections, pool, borrow timeout of the proxy; `cluster` for an Aurora cluster, and whether it has readers. Null for none."
  type = object({
    identifier             = string
    proxy_name             = string
    vcpu                   = number
    is_burstable           = bool
    largest_credit_balance = number
    memory_gib             = number
    storage_gib            = optional(number)
    cluster                = optional(object({ has_readers = bool }))
    max_connections        = number
    pool_size              = number
    borrow_timeout_seconds = optional(number, 4)
  })
  default = null

  validation {
    condition     = var.database == null ? true : min(var.database.vcpu, var.database.memory_gib, coalesce(var.database.storage_gib, 1), var.database.max_connections, var.database.pool_size, var.database.borrow_timeout_seconds) > 0
    error_message = "database: vcpu, memory_gib, storage_gib, max_connections, pool_size and borrow_timeout_seconds must be above 0."
  }

  validation {
    condition     = var.database == null ? true : (var.database.storage_gib == null) == (var.database.cluster != null)
    error_message = "database: an instance has storage_gib, a cluster has none."
  }

  validation {
    condition     = var.database == null ? true : var.database.pool_size < var.database.max_connections
    error_message = "database.pool_size must be below max_connections: nobody but the proxy could log in."
  }

  validation {
    condition     = var.database == null ? true : var.database.is_burstable == (var.database.largest_credit_balance > 0)
    error_message = "database.largest_credit_balance must be above 0 for a burstable class, and 0 for any other."
  }
}

variable "function" {
  description = "Lambda function to watch: the alias by which it is invoked and the newest version, its log group, time limit, reserved concurrency, and its queues: of events that failed for good, of jobs, and of jobs that failed. Null for none."
  type = object({
    name                     = string
    alias                    = object({ name = string, newest_version = string })
    log_group_name           = string
    timeout_seconds          = number
    reserved_concurrency     = number
    failed_events_queue_name = string
    jobs_queue_name          = string
    failed_jobs_queue_name   = string
  })
  default = null

  validation {
    condition     = var.function == null ? true : var.function.timeout_seconds >= 1 && var.function.timeout_seconds <= 900
    error_message = "function.timeout_seconds must be from 1 to 900, the bounds of Lambda."
  }

  validation {
    condition     = var.function == null ? true : var.function.reserved_concurrency >= 1
    error_message = "function.reserved_concurrency must be at least 1: with 0 the function never runs."
  }
}

variable "api" {
  description = "HTTP API to watch: id and stage. Null for none."
  type = object({
    id         = string
    stage_name = optional(string, "$default")
  })
  default = null
}

variable "backups" {
  description = "AWS Backup to watch: the vault of the backups, and that of their copies in another region, null where there are none. Null for no backups (`modules/backups`)."
  type = object({
    vault_name        = string
    copies_vault_name = optional(string)
  })
  default = null

  # https://docs.aws.amazon.com/aws-backup/latest/devguide/API_CreateBackupVault.html
  validation {
    condition     = alltrue([for name in compact(try([var.backups.vault_name, var.backups.copies_vault_name], [])) : can(regex("^[a-zA-Z0-9_-]{2,50}$", name))])
    error_message = "backups: names of vaults have 2 to 50 letters, digits, hyphens and underscores."
  }
}

variable "objectives" {
  description = "Service level objectives of the API over a month: percentage of requests that must not get a 5xx answer, percentage that must be answered within so many milliseconds, and how many bad requests within a window are the least that alarm."
  type = object({
    availability_percent = optional(number, 99.9)
    latency = optional(object({
      percent      = optional(number, 99)
      milliseconds = optional(number, 1000)
    }), {})
    least_bad_requests = optional(number, 10)
  })
  default  = {}
  nullable = false

  # Below 93.06 %, 14.4 times the allowed share is more than all requests.
  validation {
    condition     = alltrue([for percent in [var.objectives.availability_percent, var.objectives.latency.percent] : percent >= 94 && percent <= 99.999])
    error_message = "objectives: availability_percent and latency.percent must be from 94 to 99.999; below, no burn rate could alarm."
  }

  validation {
    condition     = var.objectives.latency.milliseconds >= 1 && var.objectives.latency.milliseconds <= 29000
    error_message = "objectives.latency.milliseconds must be from 1 to 29000, when the gateway gives up."
  }

  validation {
    condition     = var.objectives.least_bad_requests >= 1 && floor(var.objectives.least_bad_requests) == var.objectives.least_bad_requests
    error_message = "objectives.least_bad_requests must be a whole number of at least 1."
  }
}
