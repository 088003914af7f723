locals {
  function = coalesce(var.function, {
    name                   = "", alias = { name = "", newest_version = "" }, log_group_name = "", timeout_seconds = 1, reserved_concurrency = 1, failed_events_queue_name = "", jobs_queue_name = "",
    failed_jobs_queue_name = ""
  })

  # Requests never raise: an error of the function is a failed import, export or task, or a process that died.
  function_alarms = { for key, alarm in {
    function-errors = {
      severity  = "critical"
      metric    = "Errors"
      statistic = "Sum"
      period    = 300
      of        = 2
      out_of    = 3
      above     = 0
      meaning   = "Invocations of the function failed in two of three spans of five minutes."
      first     = "search its log for level error, or for a process that ended: out of memory, time out, a package that cannot be loaded."
    }
    # These dimensions tell apart the two versions that serve an alias. One minute is enough, because the pipeline takes a
    # release back while this rings (ADR 0611).
    # https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html#monitoring-metrics-dimensions
    release-errors = {
      severity = "warning"
      dimensions = {
        FunctionName    = local.function.name
        Resource        = "${local.function.name}:${local.function.alias.name}"
        ExecutedVersion = local.function.alias.newest_version
      }
      metric    = "Errors"
      statistic = "Sum"
      period    = 60
      of        = 1
      share_of  = { metric = "Invocations", least = 2 }
      above     = 1
      meaning   = "More than 1 %, and at least two, of the newest version's invocations failed within a minute: the process cannot start, ends, or runs out of time."
      first     = "see whether the pipeline's job canary has taken the release back, then search the function's log for its version."
    }
    function-throttles = {
      severity  = "critical"
      metric    = "Throttles"
      statistic = "Sum"
      period    = 60
      of        = 5
      above     = 0
      meaning   = "All ${local.function.reserved_concurrency} concurrent invocations were in use for five minutes: clients get 503."
      first     = "see whether requests became slow (then it is the database) or more."
    }
    function-duration = {
      severity  = "warning"
      metric    = "Duration"
      statistic = "p99"
      period    = 300
      of        = 3
      above     = local.function.timeout_seconds * 1000 * 0.9
      meaning   = "One invocation in a hundred ran for nearly the whole time limit of ${local.function.timeout_seconds} s."
      first     = "look for imports that do not hand over in time."
    }
    function-concurrency = {
      severity  = "warning"
      metric    = "ConcurrentExecutions"
      statistic = "Maximum"
      period    = 60
      of        = 5
      above     = floor(local.function.reserved_concurrency * 0.8)
      meaning   = "More than 80 % of the ${local.function.reserved_concurrency} concurrent invocations were in use for five minutes."
      first     = "raise service.function.reserved_concurrency within what `make sizing` allows for the database's class."
    }
    failed-events = {
      severity   = "warning"
      namespace  = "AWS/SQS"
      dimensions = { QueueName = local.function.failed_events_queue_name }
      metric     = "ApproximateNumberOfMessagesVisible"
      statistic  = "Maximum"
      period     = 300
      of         = 1
      above      = 0
      meaning    = "A scheduled task failed in all its attempts; its event waits in the queue."
      first      = "read the message, fix the cause, invoke the function again, delete the message."
    }
    failed-jobs = {
      severity   = "warning"
      namespace  = "AWS/SQS"
      dimensions = { QueueName = local.function.failed_jobs_queue_name }
      metric     = "ApproximateNumberOfMessagesVisible"
      statistic  = "Maximum"
      period     = 300
      of         = 1
      above      = 0
      meaning    = "A message about an import or export failed in all its attempts; it waits in the dead-letter queue."
      first      = "find the error in the function's log, fix the cause, and send the messages back to the jobs queue."
    }
    jobs-queue-age = {
      severity   = "warning"
      namespace  = "AWS/SQS"
      dimensions = { QueueName = local.function.jobs_queue_name }
      metric     = "ApproximateAgeOfOldestMessage"
      statistic  = "Maximum"
      period     = 300
      of         = 3
      above      = 3600
      meaning    = "An import or export has waited for more than an hour for an invocation."
      first      = "see which imports are running; if they only are many, wait, or raise service.function.job_concurrency."
    }
  } : key => merge({ namespace = "AWS/Lambda", dimensions = { FunctionName = local.function.name } }, alarm) if var.function != null }
}
