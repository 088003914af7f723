mock_provider "aws" {
  mock_data "aws_region" {
    defaults = { name = "eu-west-1" }
  }
}

variables {
  name = "pmp-dev"
  database = {
    identifier             = "pmp-dev"
    proxy_name             = "pmp-dev"
    vcpu                   = 2
    is_burstable           = true
    largest_credit_balance = 576
    max_connections        = 374
    pool_size              = 336
  }
  function = {
    name                     = "pmp-dev"
    reserved_concurrency     = 50
    failed_events_queue_name = "pmp-dev-failed-events"
  }
  api = { id = "abc123" }
}

run "widgets_fit_the_grid_and_show_their_metrics" {
  assert {
    condition     = length(jsondecode(output.dashboard_body).widgets) == 12
    error_message = "${length(jsondecode(output.dashboard_body).widgets)} widgets"
  }

  assert {
    condition = length(distinct([for widget in jsondecode(output.dashboard_body).widgets : "${widget.x} ${widget.y}"])) == 12 && alltrue([
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

run "class_that_is_not_burstable_has_no_credit_widget" {
  variables {
    database = {
      identifier      = "pmp-prod", proxy_name = "pmp-prod", vcpu = 2, is_burstable = false, largest_credit_balance = 0
      max_connections = 1500, pool_size = 1350
    }
  }

  assert {
    condition     = length(jsondecode(output.dashboard_body).widgets) == 11 && !strcontains(output.dashboard_body, "Credit")
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
