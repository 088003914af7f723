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
    condition     = output.throttling == { rate_limit = 5160, burst_limit = 258 }
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
