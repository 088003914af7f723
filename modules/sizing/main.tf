# From an instance class to what may run at the same time:
#
#   max_connections      M = min(memory × usable share / 9531392, 5000)          [1]
#   proxy's pool         P = floor(M × percent), with P + admin + reserved ≤ M   [2]
#   reserved concurrency C ≤ floor(P / connections per invocation)
#   stage's throttling   rate = min(C / mean duration, what the processor carries, what the storage carries), burst = C
#
# [1] Default of max_connections, LEAST({DBInstanceClassMemory/9531392}, 5000):
#     https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/CHAP_Limits.html#RDS_Limits.MaxConnections
#     DBInstanceClassMemory is what the operating system and RDS's own processes leave, measured at about 17 % less
#     than the class's memory, so that much is taken off.
# [2] MaxConnectionsPercent: https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-proxy-connections.html
#
# gp3 of PostgreSQL: 3,000 IOPS and 125 MiB/s below 400 GiB; from there 12,000 and 500, and more can be provisioned:
# https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/CHAP_Storage.html#gp3-storage
#
# Aurora Serverless v2 (`db.serverless`): a capacity unit has about 2 GiB and, as in the classes R, a vCPU for each 8 GiB;
# max_connections follows the largest capacity, and is at most 2,000 where the smallest is 0.5:
# https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/aurora-serverless-v2.setting-capacity.html
# It has as much storage performance as its capacity asks for, so storage does not count there.
#
# Memory, vCPU and baseline: https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/Concepts.DBInstanceClass.Summary.html
# and https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/burstable-credits-baseline-concepts.html
locals {
  # Burstable classes, the same for T3 and T4g: memory in GiB, vCPU, share of each vCPU that is free of charge.
  burstable_sizes = {
    micro     = { memory_gib = 1, vcpu = 2, baseline = 0.1 }
    small     = { memory_gib = 2, vcpu = 2, baseline = 0.2 }
    medium    = { memory_gib = 4, vcpu = 2, baseline = 0.2 }
    large     = { memory_gib = 8, vcpu = 2, baseline = 0.3 }
    xlarge    = { memory_gib = 16, vcpu = 4, baseline = 0.4 }
    "2xlarge" = { memory_gib = 32, vcpu = 8, baseline = 0.4 }
  }
  # M6g has 4 GiB per vCPU, R6g has 8.
  fixed_vcpu = { large = 2, xlarge = 4, "2xlarge" = 8, "4xlarge" = 16, "8xlarge" = 32, "12xlarge" = 48, "16xlarge" = 64 }

  class_by_name = merge(
    { for size, class in local.burstable_sizes : "db.t3.${size}" => class },
    { for size, class in local.burstable_sizes : "db.t4g.${size}" => class },
    { for size, vcpu in local.fixed_vcpu : "db.m6g.${size}" => { memory_gib = vcpu * 4, vcpu = vcpu, baseline = 1 } },
    { for size, vcpu in local.fixed_vcpu : "db.r6g.${size}" => { memory_gib = vcpu * 8, vcpu = vcpu, baseline = 1 } },
    { for class in ["db.serverless"] : class => { memory_gib = var.aurora.max_acu * 2, vcpu = var.aurora.max_acu / 4, baseline = 1 } if var.aurora != null },
  )
  largest_max_connections = try(var.aurora.min_acu, 1) <= 0.5 ? 2000 : 5000
  # An unknown class is refused by its validation; the smallest one keeps the expressions below from failing first.
  class = lookup(local.class_by_name, var.instance_class, local.burstable_sizes.micro)

  usable_memory_share      = 0.83
  max_connections          = min(floor(local.class.memory_gib * pow(1024, 3) * local.usable_memory_share / 9531392), local.largest_max_connections)
  largest_percent          = min(90, floor(100 * (local.max_connections - var.admin_connections - var.reserved_connections) / local.max_connections))
  max_connections_percent  = coalesce(var.max_connections_percent, local.largest_percent)
  pool_size                = floor(local.max_connections * local.max_connections_percent / 100)
  max_reserved_concurrency = floor(local.pool_size / var.connections_per_invocation)
  reserved_concurrency     = coalesce(var.reserved_concurrency, local.max_reserved_concurrency)

  # RDS runs burstable classes in unlimited mode: beyond the baseline each vCPU-hour is charged.
  # https://aws.amazon.com/rds/postgresql/pricing/ ("CPU Credits")
  surplus_dollars_per_vcpu_hour = 0.075
  hours_per_month               = 730
  vcpu_seconds_per_transaction  = var.transaction_cpu_milliseconds / 1000

  is_striped             = try(var.storage.gib, 0) >= 400
  storage_iops           = try(coalesce(var.storage.iops), local.is_striped ? 12000 : 3000)
  storage_throughput_mib = try(coalesce(var.storage.throughput_mib), local.is_striped ? 500 : 125)

  # Requests per second that each part carries; a request is one transaction (ADR 0100).
  carried = merge(
    {
      connections = floor(local.reserved_concurrency * 1000 / var.request_milliseconds)
      processor   = floor(local.class.vcpu / local.vcpu_seconds_per_transaction)
    },
    var.storage == null ? {} : {
      iops       = floor(local.storage_iops / var.transaction_storage.operations)
      throughput = floor(local.storage_throughput_mib * 1024 / var.transaction_storage.kib)
    },
  )
  most_carried = min(values(local.carried)...)
  narrowest    = [for part in ["processor", "iops", "throughput", "connections"] : part if lookup(local.carried, part, -1) == local.most_carried][0]
}
