locals {
  api        = coalesce(var.api, { id = "", stage_name = "" })
  api_common = { namespace = "AWS/ApiGateway", dimensions = { ApiId = local.api.id, Stage = local.api.stage_name } }

  # https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-metrics.html
  api_alarms = { for key, alarm in {
    api-server-errors = {
      severity  = "critical"
      metric    = "5xx"
      statistic = "Sum"
      period    = 60
      of        = 3
      out_of    = 5
      # A share of the requests, so that it rings at any traffic; a single failed request is not an incident.
      share_of = { metric = "Count", least = 2 }
      above    = 1
      meaning  = "More than 1 % of the requests, and at least two a minute, were answered by 5xx in three of five minutes: the function fails, is throttled, or cannot reach the database."
      first    = "see whether function-throttles, function-errors or a database alarm fires too; else the access log names integration errors."
    }
    api-latency = {
      severity  = "warning"
      metric    = "Latency"
      statistic = "p99"
      period    = 300
      of        = 3
      # Above function-request-duration by what a cold start takes.
      above   = 2000
      meaning = "One request in a hundred took more than two seconds for a quarter of an hour."
      first   = "compare with function-request-duration: if that is fine, it is cold starts or throttling."
    }
  } : key => merge(local.api_common, alarm) if var.api != null }
}
