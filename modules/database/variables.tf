variable "name" {
  description = "Identifier of the instance, and prefix of the names of what belongs to it, such as `pmp-dev`."
  type        = string

  validation {
    condition     = can(regex("^pmp-[a-z0-9]+(-[a-z0-9]+)*$", var.name)) && length(var.name) <= 40
    error_message = "name must be 'pmp-' and then lower-case letters, digits and single hyphens, at most 40 characters."
  }
}

variable "environment" {
  description = "Environment, part of the secrets' names: `pmp/<environment>/database/<role>`."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,20}$", var.environment))
    error_message = "environment must be 2 to 21 lower-case letters, digits and hyphens."
  }
}

variable "engine" {
  description = "Engine of the original database: `postgres` (RDS) or `aurora-postgresql`. An existing database changes its engine by a restore (`restores`), never by this."
  type        = string
  default     = "postgres"

  validation {
    condition     = contains(["postgres", "aurora-postgresql"], var.engine)
    error_message = "engine must be postgres or aurora-postgresql, not ${var.engine}."
  }
}

variable "aurora" {
  description = "Aurora's capacity: `min_acu` and `max_acu` of each instance (an Aurora capacity unit has about 2 GiB and a quarter of a vCPU), `readers` beside the writer (one stands by as enable_multi_az does for RDS, and serves reads), and `enable_io_optimized` for storage without a price per request."
  type = object({
    min_acu             = number
    max_acu             = number
    readers             = optional(number, 0)
    enable_io_optimized = optional(bool, false)
  })
  default = null

  validation {
    condition     = (var.aurora != null) == contains(concat([var.engine], var.restores[*].engine), "aurora-postgresql")
    error_message = "aurora must be given where engine, here or of one of restores, is aurora-postgresql, and only there."
  }

  # https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/aurora-serverless-v2.requirements.html; at 0 a cluster
  # pauses, which RDS Proxy's connections prevent.
  validation {
    condition = var.aurora == null ? true : alltrue([
      var.aurora.min_acu >= 0.5, var.aurora.max_acu <= 256, var.aurora.max_acu >= 1, var.aurora.min_acu <= var.aurora.max_acu,
      floor(var.aurora.min_acu * 2) == var.aurora.min_acu * 2, floor(var.aurora.max_acu * 2) == var.aurora.max_acu * 2,
    ])
    error_message = "aurora: min_acu must be from 0.5 and max_acu from 1 to 256, in halves, and min_acu at most max_acu."
  }

  validation {
    condition     = var.aurora == null ? true : var.aurora.readers >= 0 && var.aurora.readers <= 15 && floor(var.aurora.readers) == var.aurora.readers
    error_message = "aurora.readers must be a whole number from 0 to 15, the most that a cluster has."
  }
}

variable "instance_class" {
  description = "Class of the RDS instance: db.t3, db.t4g, db.m6g or db.r6g; `modules/sizing` knows which. `db.serverless` where all are Aurora."
  type        = string

  validation {
    condition     = can(regex("^db[.]((t3|t4g|m6g|r6g)[.](micro|small|medium|[0-9]*x?large)|serverless)$", var.instance_class))
    error_message = "instance_class must be of the families db.t3, db.t4g, db.m6g or db.r6g, such as db.t4g.medium, or db.serverless for Aurora."
  }

  validation {
    condition     = var.instance_class != "db.serverless" || !contains(slice(local.engines, var.retired_instances, length(local.engines)), "postgres")
    error_message = "instance_class db.serverless is Aurora's: there is an RDS instance, which keeps its class until it is retired."
  }
}

variable "engine_version" {
  description = "PostgreSQL version: the major alone follows RDS's default minor version."
  type        = string
  default     = "16"

  validation {
    condition     = can(regex("^16([.][0-9]+)?$", var.engine_version))
    error_message = "engine_version must be 16 or 16.<minor>: PMP's SQL is tested on 15 and 16."
  }
}

variable "storage_gib" {
  description = "Storage of the RDS instance in GiB: `initial`, and `max` up to which it grows by itself. Null where all is Aurora, whose storage grows by itself."
  type = object({
    initial = number
    max     = number
  })
  default = null

  validation {
    condition     = var.storage_gib == null ? true : var.storage_gib.initial >= 20 && var.storage_gib.max <= 65536
    error_message = "storage_gib.initial must be at least 20 and storage_gib.max at most 65536: the bounds of gp3 in RDS."
  }

  validation {
    condition     = var.storage_gib == null ? true : var.storage_gib.max >= var.storage_gib.initial * 1.26
    error_message = "storage_gib.max must be at least 26 % above initial: RDS refuses less, as it would never grow."
  }

  validation {
    condition     = var.storage_gib != null || !contains(slice(local.engines, var.retired_instances, length(local.engines)), "postgres")
    error_message = "storage_gib must be given for an RDS instance."
  }
}

variable "storage_performance" {
  description = "Provisioned IOPS and throughput (MiB/s) of the storage; null for its baseline: 3,000 IOPS and 125 MiB/s below 400 GiB, 12,000 and 500 from there."
  type = object({
    iops           = number
    throughput_mib = number
  })
  default = null

  # https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/CHAP_Storage.html#gp3-storage
  validation {
    condition     = var.storage_performance == null || try(var.storage_gib.initial, 0) >= 400
    error_message = "storage_performance needs storage_gib.initial of at least 400, not ${try(var.storage_gib.initial, "null")}: RDS provisions nothing for smaller gp3 storage of PostgreSQL."
  }

  validation {
    condition     = var.storage_performance == null ? true : var.storage_performance.iops >= 12000 && var.storage_performance.iops <= 64000
    error_message = "storage_performance.iops must be from 12000, the baseline, to 64000."
  }

  validation {
    condition     = var.storage_performance == null ? true : var.storage_performance.throughput_mib >= 500 && var.storage_performance.throughput_mib <= 4000
    error_message = "storage_performance.throughput_mib must be from 500, the baseline, to 4000."
  }
}

variable "enable_multi_az" {
  description = "Whether a standby runs in a second zone."
  type        = bool
}

variable "backup_retention_days" {
  description = "Days of automated backups, and so of point-in-time recovery."
  type        = number

  validation {
    condition     = var.backup_retention_days >= 1 && var.backup_retention_days <= 35
    error_message = "backup_retention_days must be from 1 to 35: without backups there is no point-in-time recovery."
  }
}

variable "restores" {
  description = "Restores of this database, oldest first; the instance of the last one serves. Each is either a `snapshot` (`rds:<name>-…`, `final-<name>-…`, or a copy named `<name>-…`), or a `point_in_time` (RFC 3339 in UTC, or `latest`) of a `source`: an earlier instance's identifier, the resource id (`db-…`, of Aurora `cluster-…`) of one that is gone, or the ARN of its automated backups. An entry stays in the list: without it, its instance would be destroyed. `engine` aurora-postgresql moves a snapshot of RDS to Aurora, and later entries stay there."
  type = list(object({
    snapshot      = optional(string)
    point_in_time = optional(string)
    source        = optional(string)
    engine        = optional(string)
  }))
  default  = []
  nullable = false

  validation {
    condition     = alltrue([for restore in var.restores : (restore.snapshot == null) != (restore.point_in_time == null)])
    error_message = "restores: each entry must have either snapshot or point_in_time, not ${jsonencode([for restore in var.restores : { for name, value in restore : name => value if value != null } if(restore.snapshot == null) == (restore.point_in_time == null)])}."
  }

  validation {
    condition     = alltrue([for restore in var.restores : restore.engine == null || (restore.engine == "aurora-postgresql" && restore.snapshot != null)])
    error_message = "restores: engine is for a snapshot of RDS that moves to aurora-postgresql, the only move that AWS makes. Leave it out of other entries."
  }

  validation {
    condition     = alltrue([for restore in var.restores : restore.snapshot == null || restore.source == null])
    error_message = "restores: a snapshot has no source, as it says itself what it was taken from. Remove source."
  }

  validation {
    condition     = alltrue([for restore in var.restores : restore.snapshot == null ? true : can(regex("^(rds:|final-)?${var.name}-[A-Za-z0-9-]+$", restore.snapshot))])
    error_message = "restores: snapshot must be one of this database, rds:${var.name}-…, final-${var.name}-… or a copy named ${var.name}-…, as `aws rds describe-db-snapshots` lists them, not ${jsonencode([for restore in var.restores : restore.snapshot if restore.snapshot != null])}."
  }

  validation {
    condition     = alltrue([for restore in var.restores : restore.point_in_time == null || restore.point_in_time == "latest" ? true : can(timeadd(restore.point_in_time, "0s")) && endswith(restore.point_in_time, "Z")])
    error_message = "restores: point_in_time must be \"latest\" or an instant in UTC such as \"2026-11-26T12:00:00Z\", not ${jsonencode([for restore in var.restores : restore.point_in_time if restore.point_in_time != null])}."
  }

  validation {
    condition = alltrue([for number, restore in var.restores : restore.point_in_time == null ? true : restore.source == null ? false : (
      contains([for earlier in range(number + 1) : earlier == 0 ? var.name : "${var.name}-r${earlier}"], restore.source) ||
      can(regex("^(cluster|db)-[A-Z0-9]+$|^arn:aws[a-z-]*:rds:[a-z0-9-]+:[0-9]{12}:auto-backup:ab-[a-z0-9]+$", restore.source))
    )])
    error_message = "restores: a point_in_time needs a source: an earlier instance of this database (${var.name}, ${var.name}-r1, …), the resource id (db-… or cluster-…) of one that is gone, or the ARN of its automated backups (arn:aws:rds:…:auto-backup:ab-…)."
  }
}

variable "retired_instances" {
  description = "How many of the oldest instances are no longer there: 1 takes the original away once the first restore has proven itself, or says that it is lost."
  type        = number
  default     = 0
  nullable    = false

  validation {
    condition     = var.retired_instances >= 0 && floor(var.retired_instances) == var.retired_instances && var.retired_instances <= length(var.restores)
    error_message = "retired_instances must be a whole number from 0 to ${length(var.restores)}, the number of restores: the instance that serves stays."
  }
}

variable "enable_protection" {
  description = "Whether the instance refuses to be deleted, leaves a last snapshot, and its secrets can be restored for 30 days."
  type        = bool
}

variable "insights_mode" {
  description = "Mode of CloudWatch Database Insights: `standard` (7 days of metrics) or `advanced` (465 days)."
  type        = string
  default     = "standard"

  validation {
    condition     = contains(["standard", "advanced"], var.insights_mode)
    error_message = "insights_mode must be standard or advanced."
  }

  validation {
    condition     = var.insights_mode != "advanced" || !can(regex("[.](micro|small)$", var.instance_class))
    error_message = "insights_mode advanced is not for ${var.instance_class}: charged per vCPU, it costs about as much as the instance. Set insights_mode to standard or take db.t4g.medium or larger."
  }
}

variable "monitoring_interval_seconds" {
  description = "Seconds between two samples of Enhanced Monitoring."
  type        = number
  default     = 60

  validation {
    condition     = contains([1, 5, 10, 15, 30, 60], var.monitoring_interval_seconds)
    error_message = "monitoring_interval_seconds must be 1, 5, 10, 15, 30 or 60."
  }
}

variable "log_retention_days" {
  description = "Days that PostgreSQL's and the proxy's logs are kept."
  type        = number
  default     = 365

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "log_retention_days must be a retention that CloudWatch Logs knows: 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, …"
  }
}

variable "proxy" {
  description = "RDS Proxy: share of max_connections for its pool (from `modules/sizing`), how long a request waits for a connection, how long an idle client stays."
  type = object({
    max_connections_percent     = number
    borrow_timeout_seconds      = optional(number, 4)
    idle_client_timeout_seconds = optional(number, 180)
  })

  validation {
    condition     = var.proxy.max_connections_percent >= 1 && var.proxy.max_connections_percent <= 100
    error_message = "proxy.max_connections_percent must be from 1 to 100."
  }

  validation {
    condition     = var.proxy.borrow_timeout_seconds >= 3 && var.proxy.borrow_timeout_seconds <= 5
    error_message = "proxy.borrow_timeout_seconds must be from 3 to 5: with a statement (8 s) it has to end before the function's socket does (14 s)."
  }

  validation {
    condition     = var.proxy.idle_client_timeout_seconds >= 180 && var.proxy.idle_client_timeout_seconds <= 300
    error_message = "proxy.idle_client_timeout_seconds must be from 180 to 300: the function gives up a connection that it did not use for 170 seconds."
  }
}

variable "database_subnet_group_name" {
  description = "Name of the DB subnet group of the instance."
  type        = string
}

variable "proxy_subnet_ids" {
  description = "Ids of the subnets of the proxy, in at least two zones."
  type        = list(string)

  validation {
    condition     = length(var.proxy_subnet_ids) >= 2
    error_message = "proxy_subnet_ids must be at least two: RDS Proxy takes no fewer."
  }
}

variable "security_group_id_by_role" {
  description = "Ids of the security groups of the instance (`database`) and of the proxy (`proxy`)."
  type = object({
    database = string
    proxy    = string
  })
}

variable "kms_key_arn" {
  description = "ARN of the KMS key of storage, secrets, logs and Performance Insights."
  type        = string
}

variable "permissions_boundary_arn" {
  description = "ARN of the permissions boundary of the roles made here."
  type        = string
}
