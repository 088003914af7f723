run "medium_burstable_class_has_the_documented_sizes" {
  command = plan

  variables {
    instance_class = "db.t3.medium"
  }

  assert {
    condition     = output.max_connections == 374 && output.max_connections_percent == 90 && output.pool_size == 336
    error_message = "4 GiB: ${output.max_connections} connections, ${output.max_connections_percent} %, pool ${output.pool_size}"
  }

  assert {
    condition     = output.max_reserved_concurrency == 258 && output.reserved_concurrency == 258
    error_message = "a pool of 336 serves ${output.max_reserved_concurrency} invocations"
  }

  assert {
    condition     = output.requests_per_second == { connections = 5160, processor = 2000 } && output.throttling == { rate_limit = 2000, burst_limit = 258 }
    error_message = "throttling is ${jsonencode(output.throttling)}"
  }

  assert {
    condition     = output.cpu_credits == { earned_per_hour = 24, largest_balance = 576 }
    error_message = "AWS documents 24 credits an hour and 576 at most, not ${jsonencode(output.cpu_credits)}"
  }

  assert {
    condition     = output.transactions_per_second == { free = 400, burst = 2000 }
    error_message = "transactions are ${jsonencode(output.transactions_per_second)}"
  }

  assert {
    condition     = abs(output.surplus_dollars_per_month - 87.6) < 0.001
    error_message = "2 vCPU × 80 % × 730 h × 0.075 is 87.60, not ${output.surplus_dollars_per_month}"
  }
}

run "smallest_class_leaves_room_for_others" {
  command = plan

  variables {
    instance_class = "db.t4g.micro"
  }

  assert {
    condition     = output.max_connections == 93 && output.pool_size + 15 <= output.max_connections
    error_message = "1 GiB: a pool of ${output.pool_size} out of ${output.max_connections}"
  }
}

run "large_class_has_at_most_5000_connections" {
  command = plan

  variables {
    instance_class = "db.r6g.16xlarge"
  }

  assert {
    condition     = output.max_connections == 5000 && output.memory_gib == 512 && !output.is_burstable
    error_message = "max_connections is ${output.max_connections}"
  }

  assert {
    condition     = output.surplus_dollars_per_month == 0 && output.cpu_credits.largest_balance == 0
    error_message = "a class that is not burstable must have no credits"
  }
}

run "concurrency_above_the_limit_is_refused" {
  command = plan

  variables {
    instance_class       = "db.t3.micro"
    reserved_concurrency = 60
  }

  expect_failures = [var.reserved_concurrency]
}

run "concurrency_at_the_limit_is_accepted" {
  command = plan

  variables {
    instance_class       = "db.t3.micro"
    reserved_concurrency = 59
  }

  assert {
    condition     = output.throttling.burst_limit == 59
    error_message = "db.t3.micro must serve 59 concurrent invocations"
  }
}

run "fractional_concurrency_is_refused" {
  command = plan

  variables {
    instance_class       = "db.t3.micro"
    reserved_concurrency = 1.5
  }

  expect_failures = [var.reserved_concurrency]
}

run "unknown_class_is_refused" {
  command = plan

  variables {
    instance_class = "db.x9.huge"
  }

  expect_failures = [var.instance_class]
}

run "pool_without_room_for_others_is_refused" {
  command = plan

  variables {
    instance_class          = "db.t3.micro"
    max_connections_percent = 95
  }

  expect_failures = [output.pool_size]
}

run "pool_above_100_percent_is_refused" {
  command = plan

  variables {
    instance_class          = "db.t3.medium"
    max_connections_percent = 101
  }

  expect_failures = [var.max_connections_percent]
}

run "zero_admin_connections_are_refused" {
  command = plan

  variables {
    instance_class    = "db.t3.medium"
    admin_connections = 0
  }

  expect_failures = [var.admin_connections]
}

run "admin_connections_without_room_for_the_pool_are_refused" {
  command = plan

  variables {
    instance_class    = "db.t3.micro"
    admin_connections = 90
  }

  expect_failures = [var.admin_connections]
}

run "zero_reserved_connections_are_refused" {
  command = plan

  variables {
    instance_class       = "db.t3.medium"
    reserved_connections = 0
  }

  expect_failures = [var.reserved_connections]
}

run "less_than_one_connection_per_invocation_is_refused" {
  command = plan

  variables {
    instance_class             = "db.t3.medium"
    connections_per_invocation = 0.5
  }

  expect_failures = [var.connections_per_invocation]
}

run "request_time_of_zero_is_refused" {
  command = plan

  variables {
    instance_class       = "db.t3.medium"
    request_milliseconds = 0
  }

  expect_failures = [var.request_milliseconds]
}

run "transaction_cpu_time_of_zero_is_refused" {
  command = plan

  variables {
    instance_class               = "db.t3.medium"
    transaction_cpu_milliseconds = 0
  }

  expect_failures = [var.transaction_cpu_milliseconds]
}

run "few_connections_limit_what_a_large_processor_could_carry" {
  command = plan

  variables {
    instance_class       = "db.r6g.large"
    reserved_concurrency = 20
  }

  assert {
    condition     = output.throttling.rate_limit == 400
    error_message = "20 invocations of 50 ms are 400 requests a second, not ${output.throttling.rate_limit}"
  }
}

run "small_storage_limits_what_a_large_processor_could_carry" {
  command = plan

  variables {
    instance_class = "db.r6g.2xlarge"
    storage        = { gib = 399 }
  }

  assert {
    condition     = output.throttling.rate_limit == 3000 && output.requests_per_second["processor"] == 8000
    error_message = "399 GiB of gp3 have 3,000 IOPS: ${jsonencode(output.requests_per_second)}"
  }
}

run "storage_from_400_gib_has_four_times_the_baseline" {
  command = plan

  variables {
    instance_class = "db.r6g.2xlarge"
    storage        = { gib = 400 }
  }

  assert {
    condition     = output.requests_per_second == { connections = 69220, processor = 8000, iops = 12000, throughput = 32000 }
    error_message = "carried: ${jsonencode(output.requests_per_second)}"
  }
}

run "provisioned_storage_counts_instead_of_the_baseline" {
  command = plan

  variables {
    instance_class      = "db.r6g.16xlarge"
    storage             = { gib = 400, iops = 20000, throughput_mib = 600 }
    transaction_storage = { operations = 2, kib = 64 }
  }

  assert {
    condition     = output.requests_per_second["iops"] == 10000 && output.requests_per_second["throughput"] == 9600 && output.throttling.rate_limit == 9600
    error_message = "carried: ${jsonencode(output.requests_per_second)}"
  }
}

run "rate_that_the_database_carries_is_accepted" {
  command = plan

  variables {
    instance_class  = "db.t3.medium"
    rate_per_second = 2000
  }

  assert {
    condition     = output.throttling.rate_limit == 2000
    error_message = "the rate is ${output.throttling.rate_limit}"
  }
}

run "rate_above_what_is_carried_is_refused" {
  command = plan

  variables {
    instance_class  = "db.t3.medium"
    rate_per_second = 2001
  }

  expect_failures = [var.rate_per_second]
}

run "storage_smaller_than_gp3_is_refused" {
  command = plan

  variables {
    instance_class = "db.t3.medium"
    storage        = { gib = 5 }
  }

  expect_failures = [var.storage]
}

run "transaction_without_storage_is_refused" {
  command = plan

  variables {
    instance_class      = "db.t3.medium"
    transaction_storage = { operations = 0, kib = 16 }
  }

  expect_failures = [var.transaction_storage]
}

# AWS's table: 8 ACU at most have 1,669 connections, 16 have 3,360, 32 and more 5,000; this estimates 17 % less.
# https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/aurora-serverless-v2.setting-capacity.html
run "aurora_has_the_connections_and_vcpus_of_its_largest_capacity" {
  command = plan
  variables {
    instance_class = "db.serverless"
    aurora         = { min_acu = 2, max_acu = 16 }
  }

  assert {
    condition     = output.vcpu == 4 && output.memory_gib == 32 && output.transactions_per_second.burst == 4000
    error_message = "16 ACU are 32 GiB and 4 vCPU, not ${output.memory_gib} GiB and ${output.vcpu} vCPU"
  }

  assert {
    condition     = output.max_connections == 2992 && output.max_connections <= 3360 && !output.is_burstable
    error_message = "16 ACU have about 3,360 connections, not ${output.max_connections}"
  }
}

run "aurora_that_shrinks_to_half_a_unit_has_at_most_2000_connections" {
  command = plan
  variables {
    instance_class = "db.serverless"
    aurora         = { min_acu = 0.5, max_acu = 64 }
  }

  assert {
    condition     = output.max_connections == 2000
    error_message = "max_connections is ${output.max_connections}"
  }
}

run "aurora_without_capacity_is_refused" {
  command = plan
  variables {
    instance_class = "db.serverless"
  }
  expect_failures = [var.instance_class]
}

run "capacity_above_what_aurora_has_is_refused" {
  command = plan
  variables {
    instance_class = "db.serverless"
    aurora         = { min_acu = 2, max_acu = 257 }
  }
  expect_failures = [var.aurora]
}
