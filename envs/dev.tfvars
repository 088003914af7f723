# Small and cheap; may be destroyed and made again.
environment = "dev"

foundation = {
  network = {
    cidr = "10.20.0.0/16"
    subnet_cidrs = {
      private  = ["10.20.0.0/20", "10.20.16.0/20"]
      database = ["10.20.56.0/24", "10.20.57.0/24"]
      public   = ["10.20.60.0/24", "10.20.61.0/24"]
    }
    nat                 = "single"
    interface_endpoints = []
  }

  database = {
    instance_class        = "db.t4g.small"
    storage_gib           = { initial = 20, max = 50 }
    enable_multi_az       = false
    enable_protection     = false
    backup_retention_days = 3
    insights_mode         = "standard"
  }

  imports = { enable_force_destroy = true }
  runner  = { enable = true }

  alarms = {}

  log_retention_days = 30
}

service = {
  function = {
    reserved_concurrency = 20
    memory_mb            = 1024
  }

  api = {
    subdomain = "api.dev"
    throttling_by_route = {
      "POST /v1/exports" = { rate_per_second = 1, burst = 5 }
      "POST /v1/imports" = { rate_per_second = 5, burst = 10 }
    }
  }
}
