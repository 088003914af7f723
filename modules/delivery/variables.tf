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

variable "environment" {
  description = "Environment that the identities deploy and plan. Whatever belongs to another is out of their reach. In an account with several, no environment's name may begin with another's, because names of resources begin with `pmp-<environment>`."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,20}$", var.environment))
    error_message = "environment must be 2 to 21 lower-case letters, digits and hyphens, not ${var.environment}."
  }

  validation {
    condition     = !can(regex("^(plan|account)(-|$)", var.environment))
    error_message = "environment ${var.environment}: gitlab-plan and gitlab-account are names of other identities, choose another one."
  }
}

variable "is_only_environment" {
  description = "Whether the environment has the account to itself. Its users are then `gitlab` and `gitlab-plan`, otherwise `gitlab-<environment>` and `gitlab-plan-<environment>`."
  type        = bool
  default     = false
}

variable "state_bucket_name" {
  description = "Bucket of Terraform's state, from bootstrap/terraform-state.yml."
  type        = string
}

variable "kms_key_arn" {
  description = "Full ARN of the bootstrap's key, which encrypts Terraform's state."
  type        = string

  validation {
    condition     = can(regex("^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[0-9a-f-]{36}$", var.kms_key_arn))
    error_message = "kms_key_arn must be the full ARN of a key, not its id and not an alias."
  }
}

variable "deployment_bucket" {
  description = "The one bucket of the code to run: its `name`, the full ARN of its key (`kms_key_arn`), and whether this environment's jobs publish code to it (`may_publish`)."
  type = object({
    name        = string
    kms_key_arn = string
    may_publish = optional(bool, false)
  })

  validation {
    condition     = can(regex("^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[0-9a-f-]{36}$", var.deployment_bucket.kms_key_arn))
    error_message = "deployment_bucket.kms_key_arn must be the full ARN of a key, not its id and not an alias."
  }
}

variable "hosted_zone_id" {
  description = "Route 53 zone in which the environments' API domains are made."
  type        = string
}

variable "domain_name" {
  description = "The API's domain name, such as `api.dev.pmp.example.com`. The identity may change records of this name and of names below it, no others."
  type        = string

  validation {
    condition     = can(regex("^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\\.)+[a-z]{2,63}$", var.domain_name))
    error_message = "domain_name must be a domain in lower case, without a trailing dot, not ${var.domain_name}."
  }
}

variable "former_domain_name" {
  description = "The API's domain name before a change (`service.api.former_subdomain`), whose records the identity may still delete. Null otherwise."
  type        = string
  default     = null

  validation {
    condition     = var.former_domain_name == null || can(regex("^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\\.)+[a-z]{2,63}$", var.former_domain_name))
    error_message = "former_domain_name must be a domain in lower case, without a trailing dot."
  }
}

variable "hosted_zone_roles" {
  description = "Roles of the account that holds the hosted zone: the identity that deploys assumes `writer_arn` (`service.api.hosted_zone_role_arn`), the one that plans `reader_arn` (`service.api.hosted_zone_reader_role_arn`). Null where the zone is in this account."
  type = object({
    writer_arn = string
    reader_arn = string
  })
  default = null

  validation {
    condition     = alltrue([for arn in try(values(var.hosted_zone_roles), []) : can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]+$", arn))])
    error_message = "hosted_zone_roles must be full ARNs of roles, without wildcards."
  }

  validation {
    condition     = var.hosted_zone_roles == null || try(var.hosted_zone_roles.writer_arn != var.hosted_zone_roles.reader_arn, false)
    error_message = "hosted_zone_roles: a merge request plans with its own code, so reader_arn must be another role than writer_arn."
  }
}

variable "uses_aurora" {
  description = "Whether the environment's database is Aurora, or is to become it: lets the identity make clusters."
  type        = bool
  default     = false
}

variable "truststore_uri" {
  description = "S3 object that holds the authorities of mutual TLS (`service.api.truststore`), such as `s3://certificates/pmp/truststore.pem`; null without mutual TLS."
  type        = string
  default     = null

  validation {
    condition     = var.truststore_uri == null || can(regex("^s3://[a-z0-9.-]{3,63}/[^*?]+$", var.truststore_uri))
    error_message = "truststore_uri must be s3://<bucket>/<key>, without wildcards."
  }
}

variable "plan_policy_arn_by_name" {
  description = "More policies for the identity that plans, such as the account layer's."
  type        = map(string)
  default     = {}
}

variable "gitlab_oidc" {
  description = "GitLab as OpenID Connect provider of the account: the ARN of the provider, its `host`, the audience (`aud`) of the jobs' id_tokens, and the subjects (`sub`, wildcards allowed) that may deploy this environment or only plan it. Null makes no roles."
  type = object({
    provider_arn     = string
    host             = string
    audience         = string
    deliver_subjects = list(string)
    plan_subjects    = optional(list(string), [])
  })
  default = null

  validation {
    condition = alltrue([
      for subject in try(concat(var.gitlab_oidc.deliver_subjects, var.gitlab_oidc.plan_subjects), []) :
      can(regex("^project_path:[^*:]+:", subject))
    ])
    error_message = "gitlab_oidc subjects must name one project in full: project_path:<group>/<project>:ref_type:branch:ref:<branch>."
  }
}

variable "enable_group" {
  description = "Whether to make a group `pmp-<environment>-delivery` that carries the same policies as the user, for people who deploy by hand."
  type        = bool
  default     = false
}
