# Real consents.
environment = "prod"

foundation = {
  network = {
    cidr = "10.22.0.0/16"
    subnet_cidrs = {
      private  = ["10.22.0.0/20", "10.22.16.0/20", "10.22.32.0/20"]
      database = ["10.22.56.0/24", "10.22.57.0/24", "10.22.58.0/24"]
      public   = ["10.22.60.0/24", "10.22.61.0/24", "10.22.62.0/24"]
    }
    nat                 = "per_zone"
    interface_endpoints = ["secretsmanager", "sqs", "ssm", "ssmmessages"]
  }

  database = {
    instance_class        = "db.r6g.large"
    storage_gib           = { initial = 100, max = 1000 }
    enable_multi_az       = true
    enable_protection     = true
    backup_retention_days = 35
    insights_mode         = "advanced"
  }

  imports = { retention_days = 30 }
  runner  = { enable = true }

  # Who is woken has to be named before the first deployment; until then a plan is refused.
  # alarms = {
  #   email_addresses_by_severity = { critical = ["on-call@…"], warning = ["team@…"] }
  #   runbook_url                 = "https://gitlab.com/<group>/<project>/-/blob/main/docs/runbook.md"
  # }
  alarms = {}

  log_retention_days = 365
}

service = {
  function = {
    reserved_concurrency = 200
    memory_mb            = 1769
    # Nothing leaves the record until data protection has said after how many days: docs/retention.md.
    # retention = { event_days = 1095, record_days = 400 }
    retention = {}
  }

  api = {
    subdomain = "api"
    throttling_by_route = {
      "POST /v1/exports" = { rate_per_second = 1, burst = 5 }
      "POST /v1/imports" = { rate_per_second = 5, burst = 10 }
    }
  }
}
