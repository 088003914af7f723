mock_provider "aws" {}

variables {
  name        = "pmp-dev"
  runbook_url = "https://git.example.com/pmp/docs/runbook.md"
  topic_arn_by_severity = {
    critical = "arn:aws:sns:eu-west-1:123456789012:pmp-dev-critical"
    warning  = "arn:aws:sns:eu-west-1:123456789012:pmp-dev-warning"
  }
  # db.t3.medium
  database = {
    identifier             = "pmp-dev"
    proxy_name             = "pmp-dev-proxy"
    vcpu                   = 2
    is_burstable           = true
    largest_credit_balance = 576
    memory_gib             = 4
    storage_gib            = 20
    max_connections        = 374
    pool_size              = 336
  }
  function = {
    name                     = "pmp-dev"
    log_group_name           = "/aws/lambda/pmp-dev"
    timeout_seconds          = 300
    reserved_concurrency     = 50
    failed_events_queue_name = "pmp-dev-failed-events"
  }
  api = {
    id = "abc123"
  }
}

run "every_alarm_can_be_acted_upon" {
  assert {
    condition     = length(aws_cloudwatch_metric_alarm.this) == 25 && length(output.alarm_arn_by_name) == 25
    error_message = "alarms: ${join(", ", keys(aws_cloudwatch_metric_alarm.this))}"
  }

  assert {
    condition = alltrue([for key, alarm in aws_cloudwatch_metric_alarm.this :
      can(regex("^[A-Z].*[.] First: .*[.] Runbook: https://git.example.com/pmp/docs/runbook.md#${key}$", alarm.alarm_description))
    ])
    error_message = "a description is to say what it means, what to do first and where to read on"
  }

  assert {
    condition     = alltrue([for alarm in aws_cloudwatch_metric_alarm.this : length(alarm.alarm_description) <= 1024])
    error_message = "CloudWatch takes descriptions of at most 1,024 characters"
  }

  assert {
    condition = alltrue([for alarm in aws_cloudwatch_metric_alarm.this :
      length(alarm.alarm_actions) == 1 && alarm.alarm_actions == alarm.ok_actions
    ])
    error_message = "an alarm's end is sent where the alarm was sent"
  }

  assert {
    condition     = alltrue([for alarm in local.alarms : alarm.period * alarm.out_of <= 86400])
    error_message = "CloudWatch looks back one day at most"
  }

  assert {
    condition     = alltrue([for alarm in aws_cloudwatch_metric_alarm.this : length([for kind in [alarm.statistic, alarm.extended_statistic, one([for query in alarm.metric_query : query.expression if coalesce(query.return_data, false)])] : kind if kind != null]) == 1])
    error_message = "each alarm has one statistic"
  }

  assert {
    condition = toset([for key, alarm in aws_cloudwatch_metric_alarm.this : key if alarm.alarm_actions == toset([var.topic_arn_by_severity.critical])]) == toset([
      "api-server-errors", "database-connections", "database-load", "database-storage", "function-errors",
      "function-throttles", "proxy-borrow-latency", "proxy-login-failures",
    ])
    error_message = "who is woken by what has changed"
  }
}

run "database_thresholds_follow_the_class" {
  assert {
    condition = { for key, alarm in aws_cloudwatch_metric_alarm.this : key => alarm.threshold if startswith(key, "database-") || startswith(key, "proxy-") } == {
      database-load                    = 3
      database-load-cpu                = 1.8
      database-load-not-cpu            = 2
      database-load-per-vcpu           = 1
      database-connections             = 355
      database-storage                 = 2147483648
      database-memory                  = 214748364
      database-transaction-ids         = 500000000
      database-credit-balance          = 57
      database-surplus-credits         = 288
      database-surplus-credits-charged = 0
      proxy-pinned-sessions            = 33
      proxy-borrow-latency             = 400000
      proxy-login-failures             = 0
    }
    error_message = "thresholds: ${jsonencode({ for key, alarm in aws_cloudwatch_metric_alarm.this : key => alarm.threshold })}"
  }

  assert {
    condition = toset([for key, alarm in aws_cloudwatch_metric_alarm.this : key if alarm.comparison_operator == "LessThanThreshold"]) == toset([
      "database-credit-balance", "database-memory", "database-storage",
    ])
    error_message = "credits, memory and storage run out; everything else runs over"
  }

  assert {
    condition = (
      aws_cloudwatch_metric_alarm.this["database-load-per-vcpu"].metric_name == "DBLoadRelativeToNumVCPUs" &&
      aws_cloudwatch_metric_alarm.this["database-load-per-vcpu"].treat_missing_data == "notBreaching"
    )
    error_message = "DBLoadRelativeToNumVCPUs is published under load only: none is fine"
  }

  assert {
    condition = alltrue([for key, alarm in aws_cloudwatch_metric_alarm.this :
      alarm.dimensions == tomap(startswith(key, "proxy-") ? { ProxyName = "pmp-dev-proxy" } : { DBInstanceIdentifier = "pmp-dev" })
      if alarm.namespace == "AWS/RDS"
    ])
    error_message = "a metric of another resource is watched"
  }
}

run "class_of_fixed_speed_has_no_credits" {
  variables {
    database = {
      identifier             = "pmp-prod"
      proxy_name             = "pmp-prod-proxy"
      vcpu                   = 8
      is_burstable           = false
      largest_credit_balance = 0
      memory_gib             = 64
      storage_gib            = 500
      max_connections        = 5000
      pool_size              = 4500
      borrow_timeout_seconds = 3
    }
  }

  assert {
    condition     = length([for key in keys(aws_cloudwatch_metric_alarm.this) : key if strcontains(key, "credit")]) == 0
    error_message = "credits are watched of a class that has none"
  }

  assert {
    condition = (
      aws_cloudwatch_metric_alarm.this["database-load"].threshold == 12 &&
      aws_cloudwatch_metric_alarm.this["database-storage"].threshold == 50 * 1024 * 1024 * 1024 &&
      aws_cloudwatch_metric_alarm.this["proxy-borrow-latency"].threshold == 300000
    )
    error_message = "thresholds do not follow the class"
  }
}

run "function_and_api" {
  assert {
    condition = (
      aws_cloudwatch_metric_alarm.this["function-duration"].extended_statistic == "p99" &&
      aws_cloudwatch_metric_alarm.this["function-duration"].threshold == 270000 &&
      aws_cloudwatch_metric_alarm.this["function-concurrency"].threshold == 40
    )
    error_message = "the function's thresholds follow its time limit and concurrency"
  }

  assert {
    condition = (
      aws_cloudwatch_metric_alarm.this["function-errors"].datapoints_to_alarm == 2 &&
      aws_cloudwatch_metric_alarm.this["function-errors"].evaluation_periods == 3
    )
    error_message = "one failed import is tried again before anybody is woken"
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.this["api-latency"].extended_statistic == "p99"
    error_message = "latency is judged by its p99"
  }

  assert {
    condition     = alltrue([for filter in aws_cloudwatch_log_metric_filter.this : filter.log_group_name == "/aws/lambda/pmp-dev" && filter.metric_transformation[0].namespace == "PMP/pmp-dev"])
    error_message = "a filter reads another log or writes to another environment's metric"
  }

  assert {
    condition = alltrue([for alarm in aws_cloudwatch_metric_alarm.this :
      contains(keys(aws_cloudwatch_log_metric_filter.this), alarm.metric_name) if alarm.namespace == "PMP/pmp-dev"
    ])
    error_message = "an alarm watches a metric that no filter makes"
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.this["vendor-list-stale"].treat_missing_data == "breaching"
    error_message = "a schedule that died writes no line at all"
  }
}

# By a count that follows from what the stage lets through, an outage at little traffic would wake nobody.
run "server_errors_are_judged_by_their_share" {
  assert {
    condition     = aws_cloudwatch_metric_alarm.this["api-server-errors"].threshold == 1 && aws_cloudwatch_metric_alarm.this["api-server-errors"].metric_name == null
    error_message = "the alarm must look at 1 % of the requests"
  }

  assert {
    condition = {
      for query in aws_cloudwatch_metric_alarm.this["api-server-errors"].metric_query : query.id => coalesce(query.expression, try(one(query.metric).metric_name, ""))
    } == { part = "5xx", whole = "Count", share = "IF(FILL(part, 0) >= 2, 100 * part / whole, 0)" }
    error_message = "the share is 5xx of Count, from the second error a minute on"
  }

  assert {
    condition     = [for query in aws_cloudwatch_metric_alarm.this["api-server-errors"].metric_query : query.id if coalesce(query.return_data, false)] == ["share"]
    error_message = "exactly one query may be the alarm's value"
  }
}

# https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-proxy.monitoring.html: "The most useful statistic for this metric is Sum"
run "a_proxys_counts_are_summed" {
  assert {
    condition     = aws_cloudwatch_metric_alarm.this["proxy-pinned-sessions"].statistic == "Sum"
    error_message = "each instance of a proxy publishes its own count"
  }
}

run "parts_are_optional" {
  variables {
    database    = null
    function    = null
    api         = null
    runbook_url = null
  }

  assert {
    condition     = length(aws_cloudwatch_metric_alarm.this) == 0 && length(aws_cloudwatch_log_metric_filter.this) == 0
    error_message = "something is watched that is not there"
  }
}

run "runbook_without_an_address" {
  variables {
    runbook_url = null
  }

  assert {
    condition     = endswith(aws_cloudwatch_metric_alarm.this["database-load"].alarm_description, " Runbook: docs/runbook.md#database-load")
    error_message = "without an address a description says where the runbook is in the repository"
  }
}

run "name_of_something_else" {
  command = plan

  variables {
    name = "other"
  }

  expect_failures = [var.name]
}

run "topic_that_is_none" {
  command = plan

  variables {
    topic_arn_by_severity = { critical = "arn:aws:sqs:eu-west-1:123456789012:q", warning = "arn:aws:sns:eu-west-1:123456789012:w" }
  }

  expect_failures = [var.topic_arn_by_severity]
}

run "runbook_over_plain_http" {
  command = plan

  variables {
    runbook_url = "http://git.example.com/runbook.md"
  }

  expect_failures = [var.runbook_url]
}

run "class_without_processors" {
  command = plan

  variables {
    database = {
      identifier = "x", proxy_name = "x", vcpu = 0, is_burstable = true, largest_credit_balance = 576
      memory_gib = 4, storage_gib = 20, max_connections = 374, pool_size = 336
    }
  }

  expect_failures = [var.database]
}

run "pool_of_everything" {
  command = plan

  variables {
    database = {
      identifier = "x", proxy_name = "x", vcpu = 2, is_burstable = true, largest_credit_balance = 576
      memory_gib = 4, storage_gib = 20, max_connections = 374, pool_size = 374
    }
  }

  expect_failures = [var.database]
}

run "burstable_class_without_credits" {
  command = plan

  variables {
    database = {
      identifier = "x", proxy_name = "x", vcpu = 2, is_burstable = true, largest_credit_balance = 0
      memory_gib = 4, storage_gib = 20, max_connections = 374, pool_size = 336
    }
  }

  expect_failures = [var.database]
}

run "longer_than_lambda_runs" {
  command = plan

  variables {
    function = {
      name = "x", log_group_name = "x", timeout_seconds = 901, reserved_concurrency = 50, failed_events_queue_name = "x"
    }
  }

  expect_failures = [var.function]
}

run "function_that_never_runs" {
  command = plan

  variables {
    function = {
      name = "x", log_group_name = "x", timeout_seconds = 300, reserved_concurrency = 0, failed_events_queue_name = "x"
    }
  }

  expect_failures = [var.function]
}
