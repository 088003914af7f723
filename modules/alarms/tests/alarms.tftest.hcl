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
    alias                    = { name = "live", newest_version = "7" }
    log_group_name           = "/aws/lambda/pmp-dev"
    timeout_seconds          = 300
    reserved_concurrency     = 50
    failed_events_queue_name = "pmp-dev-failed-events"
    jobs_queue_name          = "pmp-dev-jobs"
    failed_jobs_queue_name   = "pmp-dev-failed-jobs"
  }
  api = {
    id = "abc123"
  }
  backups = {
    vault_name        = "pmp-dev-backups"
    copies_vault_name = "pmp-dev-backup-copies"
  }
}

run "a_cluster_has_alarms_of_its_capacity_instead_of_its_storage" {
  variables {
    database = {
      identifier             = "pmp-dev"
      proxy_name             = "pmp-dev-proxy"
      vcpu                   = 4
      is_burstable           = false
      largest_credit_balance = 0
      memory_gib             = 32
      cluster                = { has_readers = true }
      max_connections        = 2992
      pool_size              = 2692
    }
  }

  assert {
    condition = toset([for name in keys(aws_cloudwatch_metric_alarm.this) : name if startswith(name, "database-")]) == toset([
      "database-capacity", "database-connections", "database-load", "database-load-cpu", "database-load-not-cpu",
      "database-load-per-vcpu", "database-local-storage", "database-memory", "database-reader-lag", "database-transaction-ids",
    ])
    error_message = "alarms: ${join(", ", keys(aws_cloudwatch_metric_alarm.this))}"
  }

  assert {
    condition = alltrue([
      for name, alarm in aws_cloudwatch_metric_alarm.this : alarm.dimensions == tomap({
        DBClusterIdentifier = "pmp-dev", Role = name == "database-reader-lag" ? "READER" : "WRITER"
      }) if startswith(name, "database-")
    ])
    error_message = "alarms must follow the writer and the readers through a failover"
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.this["database-reader-lag"].threshold == 2000 && aws_cloudwatch_metric_alarm.this["database-load"].threshold == 6
    error_message = "AuroraReplicaLag is in milliseconds; the load is full at as many sessions as there are vCPUs"
  }
}

run "a_cluster_without_readers_has_no_alarm_of_their_lag" {
  command = plan
  variables {
    database = {
      identifier             = "pmp-dev"
      proxy_name             = "pmp-dev-proxy"
      vcpu                   = 4
      is_burstable           = false
      largest_credit_balance = 0
      memory_gib             = 32
      cluster                = { has_readers = false }
      max_connections        = 2992
      pool_size              = 2692
    }
  }

  assert {
    condition     = !contains(keys(aws_cloudwatch_metric_alarm.this), "database-reader-lag")
    error_message = "without a reader, nothing lags"
  }
}

run "a_cluster_with_storage_of_its_own_is_refused" {
  command = plan
  variables {
    database = {
      identifier             = "pmp-dev"
      proxy_name             = "pmp-dev-proxy"
      vcpu                   = 4
      is_burstable           = false
      largest_credit_balance = 0
      memory_gib             = 32
      storage_gib            = 20
      cluster                = { has_readers = true }
      max_connections        = 2992
      pool_size              = 2692
    }
  }
  expect_failures = [var.database]
}

run "every_alarm_says_what_to_do_and_notifies_one_topic" {
  assert {
    condition     = length(aws_cloudwatch_metric_alarm.this) == 35 && length(output.alarm_arn_by_name) == 39
    error_message = "alarms: ${join(", ", keys(aws_cloudwatch_metric_alarm.this))}"
  }

  assert {
    condition = alltrue([for key, alarm in aws_cloudwatch_metric_alarm.this :
      can(regex("^[A-Z].*[.] First: .*[.] Runbook: https://git.example.com/pmp/docs/runbook.md#${key}$", alarm.alarm_description))
    ])
    error_message = "a description must say what the alarm means, what to do first and where to read more"
  }

  assert {
    condition     = alltrue([for alarm in aws_cloudwatch_metric_alarm.this : length(alarm.alarm_description) <= 1024])
    error_message = "CloudWatch accepts descriptions of at most 1,024 characters"
  }

  assert {
    condition = alltrue([for alarm in aws_cloudwatch_metric_alarm.this :
      length(alarm.alarm_actions) == 1 && alarm.alarm_actions == alarm.ok_actions
    ])
    error_message = "an alarm must send its end to the topic that it sends the alarm to"
  }

  # https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html: Period
  assert {
    condition     = alltrue([for alarm in local.alarms : alarm.period * alarm.out_of <= (alarm.period < 3600 ? 86400 : 604800)])
    error_message = "CloudWatch evaluates seven days at most, and one day in periods below an hour"
  }

  assert {
    condition     = alltrue([for alarm in aws_cloudwatch_metric_alarm.this : length([for kind in [alarm.statistic, alarm.extended_statistic, one([for query in alarm.metric_query : query.expression if coalesce(query.return_data, false)])] : kind if kind != null]) == 1])
    error_message = "each alarm must have exactly one statistic"
  }

  assert {
    condition = toset([for key, alarm in aws_cloudwatch_metric_alarm.this : key if alarm.alarm_actions == toset([var.topic_arn_by_severity.critical])]) == toset([
      "api-server-errors", "database-connections", "database-load", "database-storage", "function-errors",
      "function-throttles", "proxy-borrow-latency", "proxy-login-failures",
    ])
    error_message = "the set of critical alarms has changed"
  }
}

run "database_thresholds_follow_the_instance_class" {
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
      "backup-copies-missing", "backups-missing", "database-credit-balance", "database-memory", "database-storage",
    ])
    error_message = "only backups, credits, memory and storage alarm below their threshold"
  }

  assert {
    condition = (
      aws_cloudwatch_metric_alarm.this["database-load-per-vcpu"].metric_name == "DBLoadRelativeToNumVCPUs" &&
      aws_cloudwatch_metric_alarm.this["database-load-per-vcpu"].treat_missing_data == "notBreaching"
    )
    error_message = "DBLoadRelativeToNumVCPUs is published only under load, so missing data must not alarm"
  }

  assert {
    condition = alltrue([for key, alarm in aws_cloudwatch_metric_alarm.this :
      alarm.dimensions == tomap(startswith(key, "proxy-") ? { ProxyName = "pmp-dev-proxy" } : { DBInstanceIdentifier = "pmp-dev" })
      if alarm.namespace == "AWS/RDS"
    ])
    error_message = "an alarm watches a metric of another resource"
  }
}

run "release_alarm_watches_the_newest_version_behind_the_alias" {
  assert {
    condition = toset([for query in aws_cloudwatch_metric_alarm.this["release-errors"].metric_query : query.metric[0].dimensions if length(query.metric) > 0]) == toset([
      tomap({ FunctionName = "pmp-dev", Resource = "pmp-dev:live", ExecutedVersion = "7" })
    ])
    error_message = "Lambda publishes a version's share of an alias with these three dimensions only"
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.this["release-errors"].evaluation_periods == 1 && aws_cloudwatch_metric_alarm.this["release-errors"].metric_query != null
    error_message = "the alarm must ring after one minute"
  }
}

run "class_that_is_not_burstable_has_no_credit_alarms" {
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
    error_message = "an alarm watches the credits of a class without credits"
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

run "function_and_api_alarms_follow_the_settings" {
  assert {
    condition = (
      aws_cloudwatch_metric_alarm.this["function-duration"].extended_statistic == "p99" &&
      aws_cloudwatch_metric_alarm.this["function-duration"].threshold == 270000 &&
      aws_cloudwatch_metric_alarm.this["function-concurrency"].threshold == 40
    )
    error_message = "the function's thresholds must follow its timeout and concurrency"
  }

  assert {
    condition = (
      aws_cloudwatch_metric_alarm.this["function-errors"].datapoints_to_alarm == 2 &&
      aws_cloudwatch_metric_alarm.this["function-errors"].evaluation_periods == 3
    )
    error_message = "one failed import must be tried again before the alarm fires"
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.this["api-latency"].extended_statistic == "p99"
    error_message = "the latency alarm must use the p99"
  }

  assert {
    condition     = alltrue([for filter in aws_cloudwatch_log_metric_filter.this : filter.log_group_name == "/aws/lambda/pmp-dev" && filter.metric_transformation[0].namespace == "PMP/pmp-dev"])
    error_message = "a filter reads another log or writes to another environment's metric"
  }

  assert {
    condition = alltrue([for alarm in aws_cloudwatch_metric_alarm.this :
      contains(keys(aws_cloudwatch_log_metric_filter.this), alarm.metric_name) if alarm.namespace == "PMP/pmp-dev"
    ])
    error_message = "an alarm watches a metric that no filter publishes"
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.this["vendor-list-stale"].treat_missing_data == "breaching"
    error_message = "a schedule that has stopped writes no log line, so missing data must alarm"
  }
}

run "rejected_lines_are_measured_as_a_share_of_lines" {
  assert {
    condition = (
      aws_cloudwatch_metric_alarm.this["import-rejects"].threshold == 5 && aws_cloudwatch_metric_alarm.this["import-rejects"].metric_name == null &&
      toset([for query in aws_cloudwatch_metric_alarm.this["import-rejects"].metric_query : query.metric[0].metric_name if length(query.metric) > 0]) == toset(["ImportLines", "ImportRejectedLines"])
    )
    error_message = "the alarm must compare the rejected lines with all lines"
  }
}

# A count derived from the stage's rate limit would never fire during an outage with little traffic.
run "server_errors_are_measured_as_a_share_of_requests" {
  assert {
    condition     = aws_cloudwatch_metric_alarm.this["api-server-errors"].threshold == 1 && aws_cloudwatch_metric_alarm.this["api-server-errors"].metric_name == null
    error_message = "the alarm must look at 1 % of the requests"
  }

  assert {
    condition = {
      for query in aws_cloudwatch_metric_alarm.this["api-server-errors"].metric_query : query.id => coalesce(query.expression, try(one(query.metric).metric_name, ""))
    } == { part = "5xx", whole = "Count", share = "IF(FILL(part, 0) >= 2, 100 * part / whole, 0)" }
    error_message = "the share must be 5xx divided by Count, from the second error per minute on"
  }

  assert {
    condition     = [for query in aws_cloudwatch_metric_alarm.this["api-server-errors"].metric_query : query.id if coalesce(query.return_data, false)] == ["share"]
    error_message = "exactly one query must return the alarm's value"
  }
}

# https://sre.google/workbook/alerting-on-slos/, table 5-8.
run "error_budgets_are_watched_over_two_windows_each" {
  assert {
    condition = { for key, alarm in aws_cloudwatch_metric_alarm.window : key => "${join(" ", distinct(flatten([for query in alarm.metric_query : query.metric[*].period])))} s, ${format("%.2f", alarm.threshold)} %" } == {
      availability-fast-burn-long  = "3600 s, 1.44 %"
      availability-fast-burn-short = "300 s, 1.44 %"
      availability-slow-burn-long  = "21600 s, 0.60 %"
      availability-slow-burn-short = "1800 s, 0.60 %"
      latency-fast-burn-long       = "3600 s, 14.40 %"
      latency-fast-burn-short      = "300 s, 14.40 %"
      latency-slow-burn-long       = "21600 s, 6.00 %"
      latency-slow-burn-short      = "1800 s, 6.00 %"
    }
    error_message = "windows: ${join(", ", keys(aws_cloudwatch_metric_alarm.window))}"
  }

  assert {
    condition = { for key in ["availability-fast-burn-long", "latency-slow-burn-short"] : key => {
      for query in aws_cloudwatch_metric_alarm.window[key].metric_query : query.id => coalesce(query.expression, try("${one(query.metric).metric_name} ${one(query.metric).stat}", ""))
      } } == {
      availability-fast-burn-long = { part = "5xx Sum", whole = "Count Sum", share = "IF(FILL(part, 0) >= 10, 100 * part / whole, 0)" }
      latency-slow-burn-short     = { part = "Latency PR(:1000)", whole = "Count Sum", share = "IF(whole * (100 - part) / 100 >= 10, 100 - part, 0)" }
    }
    error_message = "a window must look at the share of bad requests, and ignore a few of them"
  }

  assert {
    condition = alltrue([for alarm in aws_cloudwatch_metric_alarm.window :
      length(coalesce(alarm.alarm_actions, [])) == 0 && length(coalesce(alarm.ok_actions, [])) == 0 && alarm.treat_missing_data == "notBreaching"
    ])
    error_message = "a window alone tells nobody"
  }
}

run "objective_alarms_tell_when_both_windows_are_bad" {
  assert {
    condition     = aws_cloudwatch_composite_alarm.this["availability-fast-burn"].alarm_rule == "ALARM(\"pmp-dev-availability-fast-burn-long\") AND ALARM(\"pmp-dev-availability-fast-burn-short\")"
    error_message = aws_cloudwatch_composite_alarm.this["availability-fast-burn"].alarm_rule
  }

  assert {
    condition = alltrue([for key, alarm in aws_cloudwatch_composite_alarm.this :
      can(regex("^[A-Z].*[.] First: .*[.] Runbook: https://git.example.com/pmp/docs/runbook.md#${key}$", alarm.alarm_description)) && length(alarm.alarm_description) <= 1024
    ])
    error_message = "a description must say what the alarm means, what to do first and where to read more"
  }

  assert {
    condition = { for key, alarm in aws_cloudwatch_composite_alarm.this : key => one(alarm.alarm_actions) == var.topic_arn_by_severity.critical && alarm.alarm_actions == alarm.ok_actions } == {
      availability-fast-burn = true, availability-slow-burn = true, latency-fast-burn = true, latency-slow-burn = false
    }
    error_message = "only a slow loss of latency can wait for the morning"
  }
}

run "objectives_change_the_thresholds" {
  variables {
    objectives = { availability_percent = 99.5, latency = { percent = 95, milliseconds = 300 }, least_bad_requests = 3 }
  }

  assert {
    condition     = join(", ", [for key in ["availability-fast-burn-long", "latency-fast-burn-long"] : format("%.2f", aws_cloudwatch_metric_alarm.window[key].threshold)]) == "7.20, 72.00"
    error_message = "14.4 times 0.5 % and 5 %"
  }

  assert {
    condition     = toset([for query in aws_cloudwatch_metric_alarm.window["latency-fast-burn-long"].metric_query : coalesce(query.expression, try(one(query.metric).stat, ""))]) == toset(["PR(:300)", "Sum", "IF(whole * (100 - part) / 100 >= 3, 100 - part, 0)"])
    error_message = "the windows must follow latency.milliseconds and least_bad_requests"
  }
}

run "objective_that_no_burn_rate_could_miss_is_refused" {
  command = plan

  variables {
    objectives = { availability_percent = 90 }
  }

  expect_failures = [var.objectives]
}

run "latency_beyond_the_gateways_patience_is_refused" {
  command = plan

  variables {
    objectives = { latency = { milliseconds = 30000 } }
  }

  expect_failures = [var.objectives]
}

run "half_a_request_is_refused" {
  command = plan

  variables {
    objectives = { least_bad_requests = 0.5 }
  }

  expect_failures = [var.objectives]
}

# https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-proxy.monitoring.html: "The most useful statistic for this metric is Sum"
run "pinned_sessions_of_the_proxy_are_summed" {
  assert {
    condition     = aws_cloudwatch_metric_alarm.this["proxy-pinned-sessions"].statistic == "Sum"
    error_message = "each instance of a proxy publishes its own count"
  }
}

run "each_job_of_backups_that_does_not_complete_is_counted" {
  assert {
    condition = {
      for query in aws_cloudwatch_metric_alarm.this["backup-jobs-failed"].metric_query :
      query.id => coalesce(query.expression, try("${one(query.metric).metric_name} of ${one(query.metric).dimensions.BackupVaultName}", ""))
      } == {
      m0  = "NumberOfBackupJobsFailed of pmp-dev-backups"
      m1  = "NumberOfBackupJobsAborted of pmp-dev-backups"
      m2  = "NumberOfBackupJobsExpired of pmp-dev-backups"
      sum = "FILL(m0, 0) + FILL(m1, 0) + FILL(m2, 0)"
    }
    error_message = "a backup that failed, was cancelled or did not begin must raise the alarm"
  }

  # https://docs.aws.amazon.com/aws-backup/latest/devguide/cloudwatch.html: "The vault name of copy jobs is that of their destination vault."
  assert {
    condition = alltrue([
      for name in ["backup-copies-failed", "backup-copies-missing"] :
      aws_cloudwatch_metric_alarm.this[name].dimensions == tomap({ BackupVaultName = "pmp-dev-backup-copies" })
    ]) && aws_cloudwatch_metric_alarm.this["backup-copies-failed"].metric_name == "NumberOfCopyJobsFailed"
    error_message = "copy jobs count in the vault that they copy to"
  }
}

# AWS Backup publishes no zeros.
run "two_days_without_a_backup_or_a_copy_alarm" {
  assert {
    condition = alltrue([
      for name, metric in { backups-missing = "NumberOfBackupJobsCompleted", backup-copies-missing = "NumberOfCopyJobsCompleted" } :
      [for key in ["metric_name", "comparison_operator", "threshold", "period", "evaluation_periods", "datapoints_to_alarm", "treat_missing_data"] : tostring(aws_cloudwatch_metric_alarm.this[name][key])] ==
      [metric, "LessThanThreshold", "1", "86400", "2", "2", "breaching"]
    ])
    error_message = "a backup that nobody asked for any more must raise the alarm, and a late one must not"
  }
}

run "backups_without_copies_have_alarms_of_their_own_vault_only" {
  variables {
    backups = { vault_name = "pmp-dev-backups" }
  }

  assert {
    condition     = toset([for name in keys(aws_cloudwatch_metric_alarm.this) : name if startswith(name, "backup")]) == toset(["backup-jobs-failed", "backups-missing"])
    error_message = "nothing is copied, so nothing can be missing"
  }
}

run "a_vault_without_a_name_is_refused" {
  command = plan

  variables {
    backups = { vault_name = "pmp dev" }
  }

  expect_failures = [var.backups]
}

run "omitted_parts_have_no_alarms" {
  variables {
    backups     = null
    database    = null
    function    = null
    api         = null
    runbook_url = null
  }

  assert {
    condition     = length(aws_cloudwatch_metric_alarm.this) + length(aws_cloudwatch_metric_alarm.window) + length(aws_cloudwatch_composite_alarm.this) + length(aws_cloudwatch_log_metric_filter.this) == 0
    error_message = "an alarm or a filter watches a part that does not exist"
  }
}

run "description_names_the_runbook_file_without_a_url" {
  variables {
    runbook_url = null
  }

  assert {
    condition     = endswith(aws_cloudwatch_metric_alarm.this["database-load"].alarm_description, " Runbook: docs/runbook.md#database-load")
    error_message = "without a URL a description must name the runbook's file in the repository"
  }
}

run "invalid_name_is_refused" {
  command = plan

  variables {
    name = "other"
  }

  expect_failures = [var.name]
}

run "topic_arn_of_another_service_is_refused" {
  command = plan

  variables {
    topic_arn_by_severity = { critical = "arn:aws:sqs:eu-west-1:123456789012:q", warning = "arn:aws:sns:eu-west-1:123456789012:w" }
  }

  expect_failures = [var.topic_arn_by_severity]
}

run "runbook_url_without_tls_is_refused" {
  command = plan

  variables {
    runbook_url = "http://git.example.com/runbook.md"
  }

  expect_failures = [var.runbook_url]
}

run "class_without_vcpus_is_refused" {
  command = plan

  variables {
    database = {
      identifier = "x", proxy_name = "x", vcpu = 0, is_burstable = true, largest_credit_balance = 576
      memory_gib = 4, storage_gib = 20, max_connections = 374, pool_size = 336
    }
  }

  expect_failures = [var.database]
}

run "pool_of_all_connections_is_refused" {
  command = plan

  variables {
    database = {
      identifier = "x", proxy_name = "x", vcpu = 2, is_burstable = true, largest_credit_balance = 576
      memory_gib = 4, storage_gib = 20, max_connections = 374, pool_size = 374
    }
  }

  expect_failures = [var.database]
}

run "burstable_class_without_credits_is_refused" {
  command = plan

  variables {
    database = {
      identifier = "x", proxy_name = "x", vcpu = 2, is_burstable = true, largest_credit_balance = 0
      memory_gib = 4, storage_gib = 20, max_connections = 374, pool_size = 336
    }
  }

  expect_failures = [var.database]
}

run "timeout_above_the_limit_of_lambda_is_refused" {
  command = plan

  variables {
    function = {
      name = "x", alias = { name = "live", newest_version = "7" }, log_group_name = "x", timeout_seconds = 901, reserved_concurrency = 50, failed_events_queue_name = "x", jobs_queue_name = "x", failed_jobs_queue_name = "x"
    }
  }

  expect_failures = [var.function]
}

run "reserved_concurrency_of_zero_is_refused" {
  command = plan

  variables {
    function = {
      name = "x", alias = { name = "live", newest_version = "7" }, log_group_name = "x", timeout_seconds = 300, reserved_concurrency = 0, failed_events_queue_name = "x", jobs_queue_name = "x", failed_jobs_queue_name = "x"
    }
  }

  expect_failures = [var.function]
}
