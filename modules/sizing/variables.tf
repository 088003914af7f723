variable "instance_class" {
  description = "Class of the database instance: db.t3, db.t4g, db.m6g or db.r6g, or `db.serverless` with `aurora`."
  type        = string

  validation {
    condition     = contains(keys(local.class_by_name), var.instance_class)
    error_message = "instance_class ${var.instance_class} is not in PMP's table. Take one of: ${join(", ", keys(local.class_by_name))}."
  }
}

variable "aurora" {
  description = "Capacity of an instance of Aurora Serverless v2, in Aurora capacity units; null for RDS."
  type = object({
    min_acu = number
    max_acu = number
  })
  default = null

  validation {
    condition     = var.aurora == null ? true : var.aurora.min_acu >= 0.5 && var.aurora.min_acu <= var.aurora.max_acu && var.aurora.max_acu <= 256
    error_message = "aurora: min_acu must be at least 0.5 and at most max_acu, and max_acu at most 256."
  }
}

variable "reserved_concurrency" {
  description = "Reserved concurrency that the Lambda function is to have; null for the most that the class allows."
  type        = number
  default     = null

  validation {
    condition     = var.reserved_concurrency == null ? true : var.reserved_concurrency >= 1 && floor(var.reserved_concurrency) == var.reserved_concurrency
    error_message = "reserved_concurrency must be a whole number from 1 up."
  }

  validation {
    condition     = var.reserved_concurrency == null ? true : var.reserved_concurrency <= local.max_reserved_concurrency
    error_message = "reserved_concurrency ${coalesce(var.reserved_concurrency, 0)} would exhaust the database's connections: ${var.instance_class} has about ${local.max_connections}, the proxy's pool takes ${local.pool_size} of them, and at ${var.connections_per_invocation} connections per invocation that serves ${local.max_reserved_concurrency}. Lower reserved_concurrency to ${local.max_reserved_concurrency} or take a larger instance_class."
  }
}

variable "max_connections_percent" {
  description = "Share of max_connections that the proxy's pool may take, in percent; null for the most that leaves room for others."
  type        = number
  default     = null

  validation {
    condition     = var.max_connections_percent == null ? true : var.max_connections_percent >= 1 && var.max_connections_percent <= 100
    error_message = "max_connections_percent must be from 1 to 100."
  }
}

variable "admin_connections" {
  description = "Connections kept free for migrations, monitoring and people."
  type        = number
  default     = 10

  validation {
    condition     = var.admin_connections >= 3
    error_message = "admin_connections must be at least 3: a migration, monitoring and one person."
  }

  validation {
    condition     = var.admin_connections + var.reserved_connections < local.max_connections
    error_message = "admin_connections ${var.admin_connections} leaves no connection to the proxy: ${var.instance_class} has about ${local.max_connections}. Lower admin_connections or take a larger instance_class."
  }
}

variable "reserved_connections" {
  description = "Connections that PostgreSQL and RDS keep for themselves (superuser_reserved_connections, rds.rds_superuser_reserved_connections)."
  type        = number
  default     = 5

  validation {
    condition     = var.reserved_connections >= 5
    error_message = "reserved_connections must be at least 5: 3 for superusers and 2 for rds_superuser are RDS's defaults."
  }
}

variable "connections_per_invocation" {
  description = "Database connections that one running invocation may hold; above 1 for as long as pinned sessions are possible."
  type        = number
  default     = 1.3

  validation {
    condition     = var.connections_per_invocation >= 1
    error_message = "connections_per_invocation must be at least 1: every invocation needs a connection."
  }
}

variable "storage" {
  description = "gp3 storage: its size in GiB, and `iops` and `throughput_mib` (MiB/s) where more than its baseline is provisioned. Null leaves storage out of the account."
  type = object({
    gib            = number
    iops           = optional(number)
    throughput_mib = optional(number)
  })
  default = null

  validation {
    condition     = var.storage == null ? true : var.storage.gib >= 20 && try(coalesce(var.storage.iops), 1) > 0 && try(coalesce(var.storage.throughput_mib), 1) > 0
    error_message = "storage.gib must be at least 20, iops and throughput_mib above 0."
  }
}

variable "transaction_storage" {
  description = "What one transaction asks of the storage, on average over reads and writes: `operations` and `kib`. The defaults are an assumption (one write in six requests, each with its share of the log and of pages): replace them by ReadIOPS, WriteIOPS and their throughput in production."
  type = object({
    operations = number
    kib        = number
  })
  default = { operations = 1, kib = 16 }

  validation {
    condition     = var.transaction_storage.operations > 0 && var.transaction_storage.kib > 0
    error_message = "transaction_storage.operations and kib must be above 0."
  }
}

variable "rate_per_second" {
  description = "Requests per second that the API's stage is to let through; null for the most that is carried."
  type        = number
  default     = null

  validation {
    condition     = var.rate_per_second == null ? true : var.rate_per_second <= local.most_carried
    error_message = "rate_per_second ${coalesce(var.rate_per_second, 0)} is more than is carried: ${join(", ", [for part, rate in local.carried : "${part} ${rate}"])} requests a second. Lower rate_per_second to ${local.most_carried}, or raise what is narrowest (${local.narrowest}): the class for the processor, storage for iops and throughput, reserved_concurrency for connections."
  }
}

variable "request_milliseconds" {
  description = "Mean duration of a request in the function, in milliseconds; what the throttling rate follows from."
  type        = number
  default     = 50

  validation {
    condition     = var.request_milliseconds > 0
    error_message = "request_milliseconds must be above 0."
  }
}

variable "transaction_cpu_milliseconds" {
  description = "Processor time of one transaction in the database, in milliseconds of one vCPU. The default is an assumption: replace it by what pg_stat_statements shows in production."
  type        = number
  default     = 1

  validation {
    condition     = var.transaction_cpu_milliseconds > 0
    error_message = "transaction_cpu_milliseconds must be above 0."
  }
}
