# As prod, but smaller.
environment = "staging"

foundation = {
  network = {
    cidr = "10.21.0.0/16"
    subnet_cidrs = {
      private  = ["10.21.0.0/20", "10.21.16.0/20"]
      database = ["10.21.56.0/24", "10.21.57.0/24"]
      public   = ["10.21.60.0/24", "10.21.61.0/24"]
    }
    nat                 = "single"
    interface_endpoints = ["secretsmanager", "sqs"]
  }

  database = {
    instance_class        = "db.t4g.medium"
    storage_gib           = { initial = 20, max = 100 }
    enable_multi_az       = true
    enable_protection     = true
    backup_retention_days = 7
    insights_mode         = "standard"
  }

  imports = { enable_force_destroy = true }
  runner  = { enable = true }

  alarms = {}

  log_retention_days = 90
}

service = {
  function = {
    reserved_concurrency = 50
    memory_mb            = 1024
  }

  api = {
    subdomain = "api.staging"
    throttling_by_route = {
      "POST /v1/exports" = { rate_per_second = 1, burst = 5 }
      "POST /v1/imports" = { rate_per_second = 5, burst = 10 }
    }
  }
}
