locals {
  # With no database the expressions below still have to be written down; nothing is made of them.
  database = coalesce(var.database, {
    identifier             = "", proxy_name = "", vcpu = 1, is_burstable = false, memory_gib = 1, storage_gib = 1, cluster = null,
    largest_credit_balance = 0, max_connections = 1, pool_size = 1, borrow_timeout_seconds = 1
  })

  is_cluster = local.database.cluster != null
  # A cluster's instances change their roles at a failover: these dimensions follow the role.
  # https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/Aurora.AuroraMonitoring.Metrics.html
  role_dimensions     = { for role in ["READER", "WRITER"] : role => tomap({ DBClusterIdentifier = local.database.identifier, Role = role }) }
  instance_dimensions = tomap({ DBInstanceIdentifier = local.database.identifier })
  database_common     = { namespace = "AWS/RDS", dimensions = local.is_cluster ? local.role_dimensions["WRITER"] : local.instance_dimensions }
  proxy_common        = { namespace = "AWS/RDS", dimensions = { ProxyName = local.database.proxy_name } }
  bytes_per_gib       = 1024 * 1024 * 1024

  # DBLoad counts sessions that work or wait, on average: as many as there are vCPUs is full. It and its two parts come
  # from Database Insights. DBLoadRelativeToNumVCPUs is published under load only.
  # https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_PerfInsights.Cloudwatch.html
  database_alarms = { for key, alarm in {
    database-load = {
      severity  = "critical"
      metric    = "DBLoad"
      statistic = "Average"
      period    = 60
      of        = 10
      above     = local.database.vcpu * 1.5
      meaning   = "On average more than 1.5 sessions per vCPU worked or waited for ten minutes: requests queue in the database."
      first     = "see in Database Insights which statement and which wait make the load."
    }
    database-load-cpu = {
      severity  = "warning"
      metric    = "DBLoadCPU"
      statistic = "Average"
      period    = 60
      of        = 15
      above     = local.database.vcpu * 0.9
      meaning   = "Sessions used more than 90 % of all vCPUs for a quarter of an hour: there is no room for a burst."
      first     = "look for a statement that became slow since the last release; if there is none, take a larger class."
    }
    database-load-not-cpu = {
      severity  = "warning"
      metric    = "DBLoadNonCPU"
      statistic = "Average"
      period    = 60
      of        = 15
      above     = local.database.vcpu
      meaning   = "More sessions than vCPUs waited for something else than a processor for a quarter of an hour: locks, storage or commits."
      first     = "look at the top waits: Lock means a blocked transaction, IO means storage."
    }
    database-load-per-vcpu = {
      severity  = "warning"
      metric    = "DBLoadRelativeToNumVCPUs"
      statistic = "Average"
      period    = 60
      of        = 15
      above     = 1
      meaning   = "The load was above the number of vCPUs for a quarter of an hour."
      first     = "compare its two parts, DBLoadCPU and DBLoadNonCPU."
    }
    database-connections = {
      severity  = "critical"
      metric    = "DatabaseConnections"
      statistic = "Maximum"
      period    = 60
      of        = 5
      # The pool cannot grow beyond its size: what is above it are others, and they have half used up their room.
      above   = local.database.pool_size + floor((local.database.max_connections - local.database.pool_size) / 2)
      meaning = "Connections besides the proxy's pool of ${local.database.pool_size} use up the rest of about ${local.database.max_connections}: soon nobody can log in."
      first   = "list pg_stat_activity by user and address, and end what does not belong there."
    }
    database-storage = {
      severity  = "critical"
      metric    = "FreeStorageSpace"
      statistic = "Minimum"
      period    = 300
      of        = 3
      # Storage grows by itself when less than 10 % is free, but not twice within six hours, nor beyond its maximum.
      below   = max(floor(coalesce(local.database.storage_gib, 1) * 0.1), 2) * local.bytes_per_gib
      meaning = "Storage is nearly full and did not grow by itself: a full disk stops the database."
      first   = "raise foundation.database.storage_gib.max and apply, then find out what grew."
    }
    database-memory = {
      severity  = "warning"
      metric    = "FreeableMemory"
      statistic = "Average"
      period    = 300
      of        = 3
      # A quarter is PostgreSQL's shared buffers; what is freeable caches files. Below this the system swaps.
      below   = floor(local.database.memory_gib * 0.05 * local.bytes_per_gib)
      meaning = "Less than 5 % of the memory is free or a cache: soon it swaps, and every statement becomes slow."
      first   = "count connections and look for statements with large sorts or hashes; else take a larger class."
    }
    database-transaction-ids = {
      severity  = "warning"
      metric    = "MaximumUsedTransactionIDs"
      statistic = "Maximum"
      period    = 300
      of        = 3
      # autovacuum_freeze_max_age is 200 million; at two thousand million PostgreSQL takes no more writes.
      above   = 500000000
      meaning = "Vacuum does not keep up with freezing old rows: at about 2,000 million transactions PostgreSQL refuses writes."
      first   = "look for a transaction, a replication slot or a prepared transaction that is days old."
    }
  } : key => merge(local.database_common, alarm) if var.database != null && !(local.is_cluster && key == "database-storage") }

  # What an Aurora cluster has instead of storage that fills up.
  cluster_alarms = { for key, alarm in {
    database-capacity = {
      severity  = "warning"
      metric    = "ACUUtilization"
      statistic = "Average"
      period    = 60
      of        = 15
      above     = 95
      meaning   = "The writer has run at its largest capacity for a quarter of an hour: it cannot grow any further."
      first     = "compare DBLoadCPU with the vCPUs; if the load is to stay, raise foundation.database.aurora.max_acu and apply."
    }
    database-local-storage = {
      severity  = "critical"
      metric    = "FreeLocalStorage"
      statistic = "Minimum"
      period    = 300
      of        = 3
      # For temporary files and logs; it grows and shrinks with the capacity.
      below   = 2 * local.bytes_per_gib
      meaning = "The writer has less than 2 GiB for temporary files: statements that sort much and index builds fail."
      first   = "look for the statement that writes temporary files (log_temp_files logs those above 10 MiB), and end it."
    }
    database-reader-lag = {
      severity   = "warning"
      metric     = "AuroraReplicaLag"
      statistic  = "Maximum"
      period     = 60
      of         = 5
      above      = 2000
      dimensions = local.role_dimensions["READER"]
      meaning    = "A reader has been more than two seconds behind the writer for five minutes: beyond five seconds nothing is read from it."
      first      = "look for a reader at its largest capacity, and for a statement that has run there for minutes."
    }
  } : key => merge(local.database_common, alarm) if local.is_cluster && (key != "database-reader-lag" || try(local.database.cluster.has_readers, false)) }

  # One credit is one vCPU for a minute. RDS runs burstable classes in unlimited mode: beyond the balance surplus credits
  # are spent, which are free for as long as the next 24 hours can earn them back, then $0.075 per vCPU-hour.
  # https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/burstable-performance-instances-unlimited-mode-concepts.html
  credit_alarms = { for key, alarm in {
    database-credit-balance = {
      severity  = "warning"
      metric    = "CPUCreditBalance"
      statistic = "Minimum"
      period    = 300
      of        = 3
      below     = floor(local.database.largest_credit_balance * 0.1)
      meaning   = "Less than a tenth of a day's CPU credits is left: the load is above the class's baseline. A new instance begins with none."
      first     = "if the instance is older than three hours, look at DBLoadCPU over the last day."
    }
    database-surplus-credits = {
      severity  = "warning"
      metric    = "CPUSurplusCreditBalance"
      statistic = "Maximum"
      period    = 300
      of        = 3
      above     = floor(local.database.largest_credit_balance * 0.5)
      meaning   = "Half of the surplus credits that a day can earn back are spent: beyond them each vCPU-hour costs $0.075."
      first     = "decide whether the load is to stay; if so, a larger or a fixed class is cheaper."
    }
    database-surplus-credits-charged = {
      severity  = "warning"
      metric    = "CPUSurplusCreditsCharged"
      statistic = "Sum"
      period    = 300
      of        = 3
      above     = 0
      meaning   = "Surplus CPU credits are being charged at $0.075 per vCPU-hour."
      first     = "compare `make sizing` of this class and the next one: its last column is what this costs a month."
    }
  } : key => merge(local.database_common, alarm) if local.database.is_burstable }

  # https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-proxy.monitoring.html
  proxy_alarms = { for key, alarm in {
    proxy-pinned-sessions = {
      severity = "warning"
      metric   = "DatabaseConnectionsCurrentlySessionPinned"
      # Published by each of the instances that serve the proxy; only their sum is comparable with the pool's size.
      statistic = "Sum"
      period    = 60
      of        = 5
      above     = max(2, floor(local.database.pool_size * 0.1))
      meaning   = "Sessions hold a connection of the pool for themselves, so it serves fewer requests than it is sized for."
      first     = "read the proxy's log for the reason of pinning: a SET, a prepared statement, a temporary table or a session lock."
    }
    proxy-borrow-latency = {
      severity  = "critical"
      metric    = "DatabaseConnectionsBorrowLatency"
      statistic = "Average"
      period    = 60
      of        = 5
      # Microseconds. Beyond the whole timeout requests fail with 503.
      above   = local.database.borrow_timeout_seconds * 1000000 * 0.1
      meaning = "Requests wait for a connection of the proxy's pool, on average a tenth of the time after which they fail."
      first   = "compare borrowed connections with the pool's size, and pinned sessions with none."
    }
    proxy-login-failures = {
      severity  = "critical"
      metric    = "DatabaseConnectionsSetupFailed"
      statistic = "Sum"
      period    = 60
      of        = 3
      above     = 0
      meaning   = "The proxy cannot open connections to the database: it is down, full, or does not know the password."
      first     = "check the instance's state, then run the migration job: it gives pmp_app the password of its secret."
    }
  } : key => merge(local.proxy_common, alarm) if var.database != null }
}
