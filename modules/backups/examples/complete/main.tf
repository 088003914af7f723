# Daily backups of prod's database, kept for 90 days in a locked vault here and in another region.
provider "aws" {
  alias  = "copies"
  region = "eu-central-1"
}

module "backups" {
  source = "../../"
  providers = {
    aws        = aws
    aws.copies = aws.copies
  }

  name           = "pmp-prod"
  retention_days = 90
  lock           = "governance"
  copy_region    = "eu-central-1"
}
