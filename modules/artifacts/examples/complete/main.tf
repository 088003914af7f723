# The account of dev holds the bucket; staging and prod, in accounts of their own, read it.
module "artifacts" {
  source = "../../"

  account_id         = "111111111111"
  region             = "eu-west-1"
  kms_key_arn        = "arn:aws:kms:eu-west-1:111111111111:key/11111111-2222-3333-4444-555555555555"
  reader_account_ids = ["222222222222", "333333333333"]
}
