variable "name" {
  description = "Prefix of the names, such as `pmp-dev`."
  type        = string

  validation {
    condition     = can(regex("^pmp-[a-z0-9]+(-[a-z0-9]+)*$", var.name)) && length(var.name) <= 40
    error_message = "name must be 'pmp-' and then lower-case letters, digits and single hyphens, at most 40 characters."
  }
}

variable "domain_name" {
  description = "Host that is asked, also the name in TLS (SNI)."
  type        = string

  # https://docs.aws.amazon.com/Route53/latest/APIReference/API_HealthCheckConfig.html: FullyQualifiedDomainName
  validation {
    condition     = can(regex("^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$", var.domain_name)) && length(var.domain_name) <= 255
    error_message = "domain_name must be a host name of at most 255 characters, without scheme, port and path."
  }
}

variable "port" {
  description = "Port that is asked."
  type        = number
  default     = 443

  validation {
    condition     = var.port >= 1 && var.port <= 65535
    error_message = "port must be from 1 to 65535."
  }
}

variable "path" {
  description = "Path that is asked, without a token. It has to answer 2xx or 3xx within two seconds after the connection, which may take four."
  type        = string
  default     = "/v1/ready"

  validation {
    condition     = startswith(var.path, "/") && length(var.path) <= 255
    error_message = "path must begin with / and have at most 255 characters."
  }
}

variable "checker_regions" {
  description = "Regions that ask, each from several places every 30 seconds."
  type        = set(string)
  default     = ["eu-west-1", "us-east-1", "us-west-2"]

  # https://docs.aws.amazon.com/Route53/latest/APIReference/API_HealthCheckConfig.html: Regions
  validation {
    condition     = length(var.checker_regions) >= 3
    error_message = "checker_regions must be at least three: Route 53 takes no fewer."
  }

  validation {
    condition     = length(setsubtract(var.checker_regions, ["us-east-1", "us-west-1", "us-west-2", "eu-west-1", "ap-southeast-1", "ap-southeast-2", "ap-northeast-1", "sa-east-1"])) == 0
    error_message = "checker_regions must be among those that Route 53 asks from: us-east-1, us-west-1, us-west-2, eu-west-1, ap-southeast-1, ap-southeast-2, ap-northeast-1, sa-east-1."
  }
}

variable "runbook_url" {
  description = "Where people on call read docs/runbook.md; the alarm's description ends with it and the alarm's section. Null says where it is in the repository."
  type        = string
  default     = "docs/runbook.md"
  nullable    = false

  validation {
    condition     = can(regex("^(https://[^#\\s]{1,300}|docs/runbook[.]md)$", var.runbook_url))
    error_message = "runbook_url must be an https address of at most 300 characters, without a fragment."
  }
}

variable "email_addresses" {
  description = "Who is woken by email."
  type        = set(string)
  default     = []
}

variable "https_endpoints" {
  description = "On-call services that are told by https."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for endpoint in var.https_endpoints : startswith(endpoint, "https://")])
    error_message = "https_endpoints must be https addresses, such as an on-call service gives for SNS."
  }
}
