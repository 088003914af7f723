# The inputs of the registry module that PMP sets, with the same names, types and defaults.

variable "authorizers" {
  description = "Authorizers by key."
  type = map(object({
    authorizer_type  = optional(string, "REQUEST")
    identity_sources = optional(list(string))
    jwt_configuration = optional(object({
      audience = optional(list(string))
      issuer   = optional(string)
    }))
    name = optional(string)
  }))
  default = {}
}

variable "cors_configuration" {
  description = "Cross-origin requests that browsers may make."
  type = object({
    allow_credentials = optional(bool)
    allow_headers     = optional(list(string))
    allow_methods     = optional(list(string))
    allow_origins     = optional(list(string))
    expose_headers    = optional(list(string), [])
    max_age           = optional(number)
  })
  default = null
}

# tflint-ignore: terraform_unused_declarations # refused by its validation unless false
variable "create_certificate" {
  description = "Whether to create a certificate; stand-in: only false."
  type        = bool
  default     = true

  validation {
    condition     = !var.create_certificate
    error_message = "The stand-in makes no certificate: set create_certificate = false and domain_name_certificate_arn."
  }
}

# tflint-ignore: terraform_unused_declarations # refused by its validation unless false
variable "create_domain_records" {
  description = "Whether to create DNS records; stand-in: only false."
  type        = bool
  default     = true

  validation {
    condition     = !var.create_domain_records
    error_message = "The stand-in makes no records: set create_domain_records = false."
  }
}

variable "description" {
  description = "What the API does."
  type        = string
  default     = null
}

# tflint-ignore: terraform_unused_declarations # with a custom domain the module always sets true
variable "disable_execute_api_endpoint" {
  description = "Whether the API answers on its custom domain only. If there is a custom domain, it always does."
  type        = bool
  default     = null
}

variable "domain_name" {
  description = "Custom domain of the API."
  type        = string
  default     = ""
}

variable "domain_name_certificate_arn" {
  description = "ARN of the domain's certificate."
  type        = string
  default     = null
}

variable "mutual_tls_authentication" {
  description = "Truststore that clients' certificates must chain to: `truststore_uri`, `truststore_version`."
  type        = map(string)
  default     = {}
}

variable "name" {
  description = "Name of the API."
  type        = string
  default     = ""
}

variable "protocol_type" {
  description = "Protocol of the API; stand-in: only `HTTP`."
  type        = string
  default     = "HTTP"

  validation {
    condition     = var.protocol_type == "HTTP"
    error_message = "The stand-in makes HTTP APIs only."
  }
}

variable "routes" {
  description = "Routes and their integrations by route key."
  type = map(object({
    authorizer_key         = optional(string)
    authorization_scopes   = optional(list(string), [])
    authorization_type     = optional(string)
    operation_name         = optional(string)
    throttling_burst_limit = optional(number)
    throttling_rate_limit  = optional(number)
    integration = object({
      type                   = optional(string, "AWS_PROXY")
      uri                    = optional(string)
      payload_format_version = optional(string)
      timeout_milliseconds   = optional(number)
    })
  }))
  default = {}
}

variable "stage_access_log_settings" {
  description = "Access logs of the stage."
  type = object({
    format                      = optional(string)
    log_group_name              = optional(string)
    log_group_retention_in_days = optional(number, 30)
    log_group_kms_key_id        = optional(string)
  })
  default = {}
}

variable "stage_default_route_settings" {
  description = "Throttling and metrics of every route without its own settings."
  type = object({
    detailed_metrics_enabled = optional(bool, true)
    throttling_burst_limit   = optional(number, 500)
    throttling_rate_limit    = optional(number, 1000)
  })
  default = {}
}
