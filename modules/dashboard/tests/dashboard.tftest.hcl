mock_provider "aws" {
  mock_data "aws_region" {
    defaults = { name = "eu-west-1" }
  }
}

variables {
  name = "pmp-dev"
  database = {
    identifier      = "pmp-dev"
    proxy_name      = "pmp-dev"
    vcpu            = 2
    is_burstable    = true
    max_connections = 374
    pool_size       = 336
  }
  function = {
    name                     = "pmp-dev"
    reserved_concurrency     = 50
    failed_events_queue_name = "pmp-dev-failed-events"
    jobs_queue_name          = "pmp-dev-jobs"
    failed_jobs_queue_name   = "pmp-dev-failed-jobs"
  }
  api                     = { id = "abc123" }
  heartbeat               = { health_check_id = "11111111-2222-3333-4444-555555555555" }
  alarm_threshold_by_name = { database-load = 3, database-storage = 4294967296, function-errors = 0 }
}

run "a_cluster_shows_its_writer_and_its_readers" {
  variables {
    database = {
      identifier      = "pmp-dev"
      proxy_name      = "pmp-dev"
      vcpu            = 4
      is_burstable    = false
      is_cluster      = true
      max_connections = 2992
      pool_size       = 2692
    }
  }

  assert {
    condition = [for widget in jsondecode(output.dashboard_body).widgets : slice(widget.properties.metrics[0], 0, 6) if widget.properties.title == "Lag of readers"] == [
      ["AWS/RDS", "AuroraReplicaLag", "DBClusterIdentifier", "pmp-dev", "Role", "READER"]
    ]
    error_message = "the lag of readers must be shown"
  }

  assert {
    condition     = !strcontains(output.dashboard_body, "FreeStorageSpace") && strcontains(output.dashboard_body, "FreeLocalStorage")
    error_message = "a cluster has no storage that fills up"
  }
}

run "widgets_fit_the_grid_and_show_their_metrics" {
  assert {
    condition     = length(jsondecode(output.dashboard_body).widgets) == 16
    error_message = "${length(jsondecode(output.dashboard_body).widgets)} widgets"
  }

  assert {
    condition = length(distinct([for widget in jsondecode(output.dashboard_body).widgets : "${widget.x} ${widget.y}"])) == 16 && alltrue([
      for widget in jsondecode(output.dashboard_body).widgets : widget.x + widget.width <= 24
    ])
    error_message = "widgets overlap or exceed CloudWatch's 24 columns"
  }

  assert {
    condition = [for widget in jsondecode(output.dashboard_body).widgets : widget.properties.metrics if widget.properties.title == "Database load"][0] == [
      ["AWS/RDS", "DBLoad", "DBInstanceIdentifier", "pmp-dev", { label = "all", stat = "Average" }],
      ["AWS/RDS", "DBLoadCPU", "DBInstanceIdentifier", "pmp-dev", { label = "on CPU", stat = "Average" }],
      ["AWS/RDS", "DBLoadNonCPU", "DBInstanceIdentifier", "pmp-dev", { label = "waiting", stat = "Average" }],
    ]
    error_message = "metrics do not have the form that CloudWatch reads"
  }

  assert {
    condition     = [for widget in jsondecode(output.dashboard_body).widgets : widget.properties.annotations.horizontal[0] if widget.properties.title == "The proxy's pool"][0] == { label = "pool", value = 336 }
    error_message = "the pool's size is missing from its widget"
  }

  # https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-proxy.monitoring.html
  assert {
    condition     = alltrue([for metric in [for widget in jsondecode(output.dashboard_body).widgets : widget.properties.metrics if widget.properties.title == "The proxy's pool"][0] : metric[4].stat == "Sum"])
    error_message = "each instance of a proxy publishes its own count, so the counts must be summed"
  }
}

run "thresholds_of_the_alarms_are_drawn_beside_limits" {
  assert {
    condition = { for widget in jsondecode(output.dashboard_body).widgets : widget.properties.title => [
      for limit in try(widget.properties.annotations.horizontal, []) : "${limit.label} ${limit.value}"
      ] if length(try(widget.properties.annotations.horizontal, [])) > 0 } == {
      "Concurrent invocations"      = ["reserved 50"]
      "The proxy's pool"            = ["pool 336"]
      "Database load"               = ["vCPUs 2", "alarm database-load 3"]
      "Connections to the database" = ["max_connections 374"]
      "Free storage and memory"     = ["alarm database-storage 4294967296"]
    }
    error_message = "lines: ${jsonencode({ for widget in jsondecode(output.dashboard_body).widgets : widget.properties.title => try(widget.properties.annotations.horizontal, []) })}"
  }
}

run "the_view_from_outside_is_read_where_route_53_publishes_it" {
  assert {
    condition = [for widget in jsondecode(output.dashboard_body).widgets : [widget.properties.region, widget.properties.metrics[0][0], widget.properties.metrics[0][3]] if widget.properties.title == "Seen from outside"] == [
      ["us-east-1", "AWS/Route53", "11111111-2222-3333-4444-555555555555"]
    ]
    error_message = "the health check's widget reads another region"
  }

  assert {
    condition     = length([for widget in jsondecode(output.dashboard_body).widgets : widget if widget.properties.region == "eu-west-1"]) == 15
    error_message = "another widget left the environment's region"
  }
}

run "without_heartbeat_there_is_no_view_from_outside" {
  variables {
    heartbeat = null
  }

  assert {
    condition     = !strcontains(output.dashboard_body, "Route53")
    error_message = "the dashboard shows a health check that does not exist"
  }
}

run "class_that_is_not_burstable_has_no_credit_widget" {
  variables {
    database = {
      identifier      = "pmp-prod", proxy_name = "pmp-prod", vcpu = 2, is_burstable = false
      max_connections = 1500, pool_size = 1350
    }
  }

  assert {
    condition     = length(jsondecode(output.dashboard_body).widgets) == 15 && !strcontains(output.dashboard_body, "Credit")
    error_message = "the dashboard shows the credits of a class without credits"
  }
}

run "invalid_name_is_refused" {
  command = plan

  variables {
    name = "Other"
  }

  expect_failures = [var.name]
}
