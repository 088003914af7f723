variable "name" {
  description = "Name of the dashboard, such as `pmp-dev`; also the end of the namespace of metrics from the function's log."
  type        = string

  validation {
    condition     = can(regex("^pmp-[a-z0-9]+(-[a-z0-9]+)*$", var.name)) && length(var.name) <= 40
    error_message = "name must be 'pmp-' and then lower-case letters, digits and single hyphens, at most 40 characters."
  }
}

variable "database" {
  description = "Instance (or Aurora cluster, with `is_cluster`) and proxy, and their limits (`modules/sizing`), which are drawn as lines."
  type = object({
    identifier      = string
    proxy_name      = string
    vcpu            = number
    is_burstable    = bool
    is_cluster      = optional(bool, false)
    max_connections = number
    pool_size       = number
  })
}

variable "function" {
  description = "Lambda function, its reserved concurrency and its queues: of events that failed for good, of jobs, and of jobs that failed."
  type = object({
    name                     = string
    reserved_concurrency     = number
    failed_events_queue_name = string
    jobs_queue_name          = string
    failed_jobs_queue_name   = string
  })
}

variable "api" {
  description = "HTTP API and its stage."
  type = object({
    id         = string
    stage_name = optional(string, "$default")
  })
}

variable "alarm_threshold_by_name" {
  description = "Thresholds of `modules/alarms` by the alarms' names (`threshold_by_name`), which are drawn as lines; one that is missing is not drawn."
  type        = map(number)
  default     = {}
}

variable "heartbeat" {
  description = "Health check that asks from outside (`modules/heartbeat`); null for none."
  type = object({
    health_check_id = string
  })
  default = null
}
