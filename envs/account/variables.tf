variable "hosted_zone_name" {
  description = "Domain of the Route 53 zone in which the APIs get their names, such as `pmp.example.com`. The registrar or the parent zone must point to its name servers (output hosted_zone_name_servers)."
  type        = string

  validation {
    condition     = can(regex("^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\\.)+[a-z]{2,63}$", var.hosted_zone_name))
    error_message = "hosted_zone_name must be a domain in lower case, such as pmp.example.com, without a trailing dot."
  }
}

variable "environments" {
  description = "Environments in this account. With one, its users are `gitlab` and `gitlab-plan`; with several, each has its own `gitlab-<environment>` and `gitlab-plan-<environment>`."
  type        = set(string)

  validation {
    condition     = length(var.environments) > 0 && alltrue([for name in var.environments : fileexists("${path.module}/../${name}.tfvars")])
    error_message = "environments must name at least one environment, and each needs its file envs/<environment>.tfvars: ${join(", ", var.environments)}."
  }

  validation {
    condition = alltrue(flatten([
      for name in var.environments : [for other in var.environments : name == other || !startswith(other, name)]
    ]))
    error_message = "environments: no name may begin with another's, because policies tell them apart by the beginning of names (pmp-<environment>…): ${join(", ", var.environments)}."
  }
}

variable "publishing_environments" {
  description = "Environments whose identity may publish code to the deployment bucket: the one whose jobs do, the first that the pipeline deploys."
  type        = set(string)
  default     = []

  validation {
    condition     = length(setsubtract(var.publishing_environments, var.environments)) == 0
    error_message = "publishing_environments must be among environments: ${join(", ", setsubtract(var.publishing_environments, var.environments))} is not in this account."
  }

  validation {
    condition     = (var.deployment_bucket == null) == (length(var.publishing_environments) > 0)
    error_message = "publishing_environments: name who publishes where this account holds the deployment bucket, and nobody where deployment_bucket names another account's."
  }
}

variable "deployment_bucket" {
  description = "The deployment bucket of another account, by its `name` and the full ARN of its key; null where this account holds it. There is one for all environments."
  type = object({
    name        = string
    kms_key_arn = string
  })
  default = null
}

variable "code_reader_account_ids" {
  description = "Other accounts that read this account's deployment bucket. Name them to the key, too: `python -m ops bootstrap --reader-account`."
  type        = set(string)
  default     = []

  validation {
    condition     = var.deployment_bucket == null || length(var.code_reader_account_ids) == 0
    error_message = "code_reader_account_ids belong to the account that holds the deployment bucket, and deployment_bucket names another account's."
  }
}

variable "gitlab_oidc" {
  description = "GitLab as OpenID Connect provider: its `url`, the audience (`aud`) of the jobs' id_tokens, and for each environment the subjects (`sub`, wildcards allowed) that may deploy or only plan it; `account_plan_subjects` may plan this layer in a shared account. Null for the IAM users' access keys only."
  type = object({
    url      = string
    audience = string
    subjects_by_environment = map(object({
      deliver = list(string)
      plan    = optional(list(string), [])
    }))
    account_plan_subjects = optional(list(string), [])
  })
  default = null

  validation {
    condition     = var.gitlab_oidc == null || can(regex("^https://[^/]+$", var.gitlab_oidc.url))
    error_message = "gitlab_oidc.url must be https://<host> without a path."
  }

  validation {
    condition     = length(setsubtract(keys(try(var.gitlab_oidc.subjects_by_environment, {})), var.environments)) == 0
    error_message = "gitlab_oidc.subjects_by_environment names an environment that is not in this account."
  }

  validation {
    condition     = length(flatten(try(values(var.gitlab_oidc.subjects_by_environment)[*].deliver, []))) == length(distinct(flatten(try(values(var.gitlab_oidc.subjects_by_environment)[*].deliver, []))))
    error_message = "gitlab_oidc: one subject may deploy two environments, so their identities would not be apart: let the subject hold more than the branch (ci_id_token_sub_claim_components), or give each environment an account."
  }

  validation {
    condition     = alltrue([for subject in try(var.gitlab_oidc.account_plan_subjects, []) : can(regex("^project_path:[^*:]+:", subject))])
    error_message = "gitlab_oidc.account_plan_subjects must name one project in full: project_path:<group>/<project>:ref_type:branch:ref:<branch>."
  }
}

variable "enable_group" {
  description = "Whether to make a group of people for each environment, who may deploy it by hand. See modules/delivery."
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
