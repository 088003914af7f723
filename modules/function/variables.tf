variable "name" {
  description = "Name of the function, and prefix of what belongs to it, such as `pmp-dev`."
  type        = string

  validation {
    condition     = can(regex("^pmp-[a-z]+$", var.name))
    error_message = "name must be pmp-<environment>: the delivery identity may make nothing else."
  }
}

variable "environment" {
  description = "Environment, such as `dev`."
  type        = string
}

variable "code" {
  description = "The zip to run: the bucket that holds it as `lambda/<sha256>.zip`, its SHA-256 (hexadecimal) and the commit it was built from. Without `sha256`, Terraform packages `lambda/` into the bucket."
  type = object({
    bucket_name = string
    sha256      = optional(string)
    release     = string
  })

  validation {
    condition     = var.code.sha256 == null || can(regex("^[0-9a-f]{64}$", var.code.sha256))
    error_message = "code.sha256 must be a SHA-256 in 64 hexadecimal digits, as 'python -m ops package' prints it; leave it out to let Terraform package lambda/."
  }

  validation {
    condition     = can(regex("^[0-9a-f]{40}$", var.code.release))
    error_message = "code.release must be a full commit SHA of 40 hexadecimal digits."
  }
}

variable "memory_mb" {
  description = "Memory in MiB; processor time grows with it (1,769 MiB is one processor)."
  type        = number
  default     = 1024

  validation {
    condition     = var.memory_mb >= 256 && var.memory_mb <= 3008 && floor(var.memory_mb) == var.memory_mb
    error_message = "memory_mb must be a whole number from 256 to 3,008."
  }
}

variable "timeout_seconds" {
  description = "Seconds that one invocation may take. It bounds imports, which hand over to a fresh invocation when 60 s remain; requests have the API's 29 s, and the function limits itself below that."
  type        = number
  default     = 300

  validation {
    condition     = var.timeout_seconds >= 120 && var.timeout_seconds <= 900
    error_message = "timeout_seconds must lie between 120 (imports and exports hand over when 60 s remain) and Lambda's 900."
  }
}

variable "reserved_concurrency" {
  description = "Executions that may run at once: set aside for the function, and its limit, so that it can never ask the database for more connections than the proxy has."
  type        = number

  validation {
    condition     = var.reserved_concurrency >= 4 && floor(var.reserved_concurrency) == var.reserved_concurrency
    error_message = "reserved_concurrency must be a whole number of at least 4: two jobs, the fewest that a queue can be limited to, and two requests."
  }
}

variable "job_concurrency" {
  description = "Imports and exports that may run at once. They share the database's processors with requests, and the reserved concurrency."
  type        = number
  default     = 2

  validation {
    condition     = var.job_concurrency >= 2 && floor(var.job_concurrency) == var.job_concurrency
    error_message = "job_concurrency must be a whole number of at least 2, the least that AWS Lambda takes as an event source's maximum concurrency."
  }

  validation {
    condition     = var.job_concurrency <= var.reserved_concurrency / 2
    error_message = "job_concurrency ${var.job_concurrency} must be at most half of reserved_concurrency ${var.reserved_concurrency}: the rest is for requests."
  }
}

variable "network" {
  description = "Private subnets and security group that the function lives in."
  type = object({
    subnet_ids        = list(string)
    security_group_id = string
  })
}

variable "database" {
  description = "Proxy that the function connects to: its endpoint, resource id (for IAM authentication), database and user; `reader_host` is its endpoint for reads that may be some seconds old, null for none."
  type = object({
    host              = string
    port              = number
    name              = string
    user              = optional(string, "pmp_app")
    proxy_resource_id = string
    reader_host       = optional(string)
  })
}

variable "api_url" {
  description = "Address of the API, without a trailing slash."
  type        = string
}

variable "token_url" {
  description = "OAuth2 token endpoint that the served OpenAPI document names."
  type        = string

  validation {
    condition     = startswith(var.token_url, "https://")
    error_message = "token_url must be an https address."
  }
}

variable "vendor_list_url" {
  description = "Address of the IAB's Global Vendor List."
  type        = string
  default     = "https://vendor-list.consensu.org/v3/vendor-list.json"
  nullable    = false

  validation {
    condition     = startswith(var.vendor_list_url, "https://")
    error_message = "vendor_list_url must be an https address."
  }
}

variable "environment_variables" {
  description = "Further environment variables, as an emulated platform needs; empty on AWS."
  type        = map(string)
  default     = {}
}

variable "imports" {
  description = "Bucket of uploads, rejected lines and exports, and the days that it keeps them, which an erasure's answer names."
  type = object({
    bucket_name    = string
    retention_days = number
  })
}

variable "queue_url_by_name" {
  description = "URLs of the queues in this account and region: `jobs` and `deliveries`, which invoke the function, and `failed_events`, which takes scheduled events that failed in all attempts."
  type        = map(string)

  validation {
    condition     = length(setsubtract(["jobs", "deliveries", "failed_events"], keys(var.queue_url_by_name))) == 0
    error_message = "queue_url_by_name must name jobs, deliveries and failed_events."
  }
}

variable "erasure" {
  description = "Erasures of users: the bucket of their journal, the secret with the key of the hashes in it, and the days that backups keep what was erased, which an erasure's answer names."
  type = object({
    bucket_name           = string
    key_secret_arn        = string
    backup_retention_days = number
  })
}

variable "token_key_secret_arn" {
  description = "Secret with the keys that sign users' own tokens."
  type        = string
}

variable "allow_loopback_receivers" {
  description = "Whether subscriptions may name receivers on the function's own machine, as on a laptop. Only the environment `local` accepts it."
  type        = bool
  default     = false
  nullable    = false

  validation {
    condition     = !var.allow_loopback_receivers || var.environment == "local"
    error_message = "allow_loopback_receivers must be false in ${var.environment}: a receiver there could reach what only the function may."
  }
}

variable "schedules" {
  description = "When the function refreshes the vendor list (it asks upstream only when its copy is due), cleans up, and sees that subscriptions are told of changes: EventBridge Scheduler expressions."
  type = object({
    refresh_vendors = optional(string, "rate(15 minutes)")
    housekeeping    = optional(string, "rate(1 hour)")
    deliveries      = optional(string, "rate(1 minute)")
  })
  default = {}

  validation {
    condition     = alltrue([for expression in values(var.schedules) : can(regex("^(rate|cron)\\(.+\\)$", expression))])
    error_message = "schedules must be rate(…) or cron(…) expressions."
  }
}

variable "exports" {
  description = "Daily exports by name, into folders by day: what of (`users` or `choices`: the state at that time; `events`: those since the last export), in which format, at which time of day (UTC), and their folder in the imports bucket under `exports/scheduled/`, by default the name."
  type = map(object({
    contents = string
    format   = optional(string, "ndjson")
    at       = optional(string, "02:00")
    folder   = optional(string)
  }))
  default  = {}
  nullable = false

  validation {
    condition     = alltrue([for name in keys(var.exports) : can(regex("^[a-z][a-z0-9-]{0,31}$", name))])
    error_message = "exports: a name has 1 to 32 lowercase letters, digits and hyphens, and begins with a letter."
  }

  validation {
    condition     = alltrue([for one in values(var.exports) : contains(["users", "choices", "events"], one.contents)])
    error_message = "exports: contents must be users, choices or events."
  }

  validation {
    condition     = alltrue([for one in values(var.exports) : contains(["ndjson", "csv"], one.format)])
    error_message = "exports: format must be ndjson or csv."
  }

  validation {
    condition     = alltrue([for one in values(var.exports) : can(regex("^([01][0-9]|2[0-3]):[0-5][0-9]$", one.at))])
    error_message = "exports: at must be a time of day as HH:MM, in UTC."
  }

  validation {
    condition     = alltrue([for name, one in var.exports : can(regex("^[a-z0-9][a-z0-9_-]*(/[a-z0-9][a-z0-9_-]*)*$", coalesce(one.folder, name)))])
    error_message = "exports: folder must be a path of lowercase letters, digits, hyphens and underscores, such as warehouse/events."
  }
}

variable "retention" {
  description = "Days after which events leave the record once no later state needs them, of all consents (`event_days`) or of one (`consents`, by id; null: never), and days after their end that imports, exports, notices and the ledger of deliveries are kept (`record_days`). Null: never, which is the default."
  type = object({
    event_days  = optional(number)
    consents    = optional(map(number), {})
    record_days = optional(number)
  })
  default  = {}
  nullable = false

  validation {
    condition = alltrue([
      for days in concat([var.retention.event_days, var.retention.record_days], values(var.retention.consents)) :
      days == null ? true : days >= 30 && days <= 36500 && floor(days) == days
    ])
    error_message = "retention: days must be whole numbers from 30 (retried requests, jobs and receivers may still need younger events) to 36500, or null, so that nothing leaves."
  }

  validation {
    condition     = alltrue([for id in keys(var.retention.consents) : can(regex("^[a-z][a-z0-9_]{0,62}$", id))])
    error_message = "retention.consents: a key must be the id of a consent: 1 to 63 lowercase letters, digits and underscores, beginning with a letter."
  }
}

variable "log_retention_days" {
  description = "Days that logs are kept."
  type        = number
  default     = 365

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "log_retention_days must be a retention that CloudWatch Logs knows: 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, …"
  }
}

variable "kms_key_arn" {
  description = "Key of the logs and of the imports bucket."
  type        = string
}

variable "permissions_boundary_arn" {
  description = "Boundary that the roles must carry."
  type        = string
}
