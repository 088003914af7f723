variable "hosted_zone_name" {
  description = "Domain of the Route 53 zone in which the APIs get their names, such as `pmp.example.com`. The registrar or the parent zone must point to its name servers (output hosted_zone_name_servers)."
  type        = string

  validation {
    condition     = can(regex("^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\\.)+[a-z]{2,63}$", var.hosted_zone_name))
    error_message = "hosted_zone_name must be a domain in lower case, such as pmp.example.com, without a trailing dot."
  }
}

variable "environments" {
  description = "Environments in this account; null for all that the pipeline promotes (envs/environments.json)."
  type        = set(string)
  default     = null
}

variable "hosted_zone_role_arns" {
  description = "Roles of other accounts that deployments assume to change DNS records there; each environment's service.api.hosted_zone_role_arn names one. See modules/delivery."
  type        = set(string)
  default     = []
}

variable "truststore_arns" {
  description = "S3 objects that hold the authorities of mutual TLS; each environment's service.api.truststore names one. See modules/delivery."
  type        = set(string)
  default     = []
}

variable "gitlab_oidc" {
  description = "GitLab as OpenID Connect provider; null for the IAM users' access keys only. See modules/delivery."
  type = object({
    url              = string
    audience         = string
    deliver_subjects = list(string)
    plan_subjects    = optional(list(string), [])
  })
  default = null
}

variable "enable_group" {
  description = "Whether to make a group of people who may deploy by hand. See modules/delivery."
  type        = bool
  default     = false
}

variable "platform" {
  description = "How an emulated AWS platform differs; null on AWS."
  type = object({
    s3_use_path_style = optional(bool, false)
  })
  default = null
}
