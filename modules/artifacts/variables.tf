variable "account_id" {
  description = "Id of the AWS account that holds the bucket."
  type        = string

  validation {
    condition     = can(regex("^[0-9]{12}$", var.account_id))
    error_message = "account_id must be twelve digits."
  }
}

variable "region" {
  description = "Region of the bucket, such as `eu-west-1`. Lambda takes code from its own region only."
  type        = string

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region must be an AWS region such as eu-west-1."
  }
}

variable "kms_key_arn" {
  description = "Full ARN of the key that encrypts the code: the bootstrap's."
  type        = string

  validation {
    condition     = can(regex("^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[0-9a-f-]{36}$", var.kms_key_arn))
    error_message = "kms_key_arn must be the full ARN of a key, not its id and not an alias."
  }
}

variable "reader_account_ids" {
  description = "Other accounts whose GitLab identities read code here. The key's policy must name them, too: `python -m ops bootstrap --reader-account`."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for id in var.reader_account_ids : can(regex("^[0-9]{12}$", id))])
    error_message = "reader_account_ids must be account ids of twelve digits."
  }
}
