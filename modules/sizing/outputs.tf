output "memory_gib" {
  description = "Memory of the class, in GiB."
  value       = local.class.memory_gib
}

output "vcpu" {
  description = "vCPUs of the class."
  value       = local.class.vcpu
}

output "is_burstable" {
  description = "Whether the class earns and spends CPU credits."
  value       = local.class.baseline < 1
}

output "max_connections" {
  description = "Connections that PostgreSQL accepts on this class, estimated low."
  value       = local.max_connections
}

output "max_connections_percent" {
  description = "Share of max_connections for the proxy's pool, in percent."
  value       = local.max_connections_percent
}

output "pool_size" {
  description = "Connections in the proxy's pool."
  value       = local.pool_size

  precondition {
    condition     = local.pool_size + var.admin_connections + var.reserved_connections <= local.max_connections
    error_message = "max_connections_percent ${local.max_connections_percent} leaves too few connections: the pool of ${local.pool_size}, ${var.admin_connections} for administration and ${var.reserved_connections} reserved by RDS are more than the ${local.max_connections} of ${var.instance_class}. Lower max_connections_percent to ${local.largest_percent}."
  }
}

output "max_reserved_concurrency" {
  description = "Most invocations at the same time that the pool serves."
  value       = local.max_reserved_concurrency
}

output "reserved_concurrency" {
  description = "Reserved concurrency of the function: as asked for, else the most that the class allows."
  value       = local.reserved_concurrency
}

output "throttling" {
  description = "Throttling of the API's stage: `rate_limit` in requests per second, `burst_limit` in requests at once."
  value = {
    rate_limit = coalesce(var.rate_per_second, local.most_carried)
    # Each request of a burst is an invocation of its own.
    burst_limit = local.reserved_concurrency
  }
}

output "requests_per_second" {
  description = "Requests per second that each part carries: `connections` (the reserved concurrency), `processor` at full speed, and `iops` and `throughput` where `storage` is given. The least of them is what the stage lets through."
  value       = local.carried
}

output "transactions_per_second" {
  description = "Transactions per second that the processor carries: `free` at the baseline, `burst` at full speed."
  value = {
    free  = floor(local.class.vcpu * local.class.baseline / local.vcpu_seconds_per_transaction)
    burst = floor(local.class.vcpu / local.vcpu_seconds_per_transaction)
  }
}

output "cpu_credits" {
  description = "CPU credits: `earned_per_hour`, `largest_balance` (24 hours' worth); one credit is a minute of one vCPU. Zero where not burstable."
  value = {
    earned_per_hour = local.class.baseline < 1 ? local.class.vcpu * local.class.baseline * 60 : 0
    largest_balance = local.class.baseline < 1 ? local.class.vcpu * local.class.baseline * 60 * 24 : 0
  }
}

output "surplus_dollars_per_month" {
  description = "Cost of surplus credits in a month at full speed, in US dollars; zero where not burstable."
  value       = local.class.vcpu * (1 - local.class.baseline) * local.hours_per_month * local.surplus_dollars_per_vcpu_hour
}
