variable "account_id" {
  description = "Id of the AWS account that is deployed to."
  type        = string

  validation {
    condition     = can(regex("^[0-9]{12}$", var.account_id))
    error_message = "account_id must be twelve digits."
  }
}

variable "region" {
  description = "Region that is deployed to, such as `eu-west-1`."
  type        = string

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region must be an AWS region such as eu-west-1."
  }
}

variable "environments" {
  description = "Environments that the delivery identity may deploy in this account. State, secrets and parameters of any other are out of its reach."
  type        = set(string)

  validation {
    condition     = length(var.environments) > 0 && alltrue([for name in var.environments : can(regex("^[a-z][a-z0-9-]{1,20}$", name))])
    error_message = "environments must name at least one environment, each 2 to 21 lower-case letters, digits and hyphens."
  }
}

variable "state_bucket_name" {
  description = "Bucket of Terraform's state, from bootstrap/terraform-state.yml."
  type        = string
}

variable "kms_key_arn" {
  description = "Full ARN of the bootstrap's key: it encrypts Terraform's state and the deployed code."
  type        = string

  validation {
    condition     = can(regex("^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[0-9a-f-]{36}$", var.kms_key_arn))
    error_message = "kms_key_arn must be the full ARN of a key, not its id and not an alias."
  }
}

variable "hosted_zone_id" {
  description = "Route 53 zone in which the environments' API domains are made."
  type        = string
}

variable "hosted_zone_role_arns" {
  description = "Roles of other accounts that the delivery identity may assume to change DNS records there (`service.api.hosted_zone_role_arn`)."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for arn in var.hosted_zone_role_arns : can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]+$", arn))])
    error_message = "hosted_zone_role_arns must be full ARNs of roles, without wildcards."
  }
}

variable "truststore_arns" {
  description = "S3 objects that hold the authorities of mutual TLS (`service.api.truststore`), as ARNs such as `arn:aws:s3:::certificates/pmp/truststore.pem`."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for arn in var.truststore_arns : can(regex("^arn:aws[a-z-]*:s3:::[a-z0-9.-]{3,63}/[^*?]+$", arn))])
    error_message = "truststore_arns must be ARNs of S3 objects, without wildcards."
  }
}

variable "gitlab_oidc" {
  description = "GitLab as OpenID Connect provider: its `url`, the audience (`aud`) of the jobs' id_tokens, and the subjects (`sub`, wildcards allowed) that may deploy or only plan. Null makes no provider and no roles."
  type = object({
    url              = string
    audience         = string
    deliver_subjects = list(string)
    plan_subjects    = optional(list(string), [])
  })
  default = null

  validation {
    condition     = var.gitlab_oidc == null || can(regex("^https://[^/]+$", var.gitlab_oidc.url))
    error_message = "gitlab_oidc.url must be https://<host> without a path."
  }

  validation {
    condition = alltrue([
      for subject in try(concat(var.gitlab_oidc.deliver_subjects, var.gitlab_oidc.plan_subjects), []) :
      can(regex("^project_path:[^*:]+:", subject))
    ])
    error_message = "gitlab_oidc subjects must name one project in full: project_path:<group>/<project>:ref_type:branch:ref:<branch>."
  }
}

variable "enable_group" {
  description = "Whether to make a group `pmp-delivery` that carries the same policies as the user, for people who deploy by hand."
  type        = bool
  default     = false
}
