# An Aurora cluster of a writer and one reader, between 4 and 32 GiB each.
module "database" {
  source = "../../"

  name                       = "pmp-dev"
  environment                = "dev"
  engine                     = "aurora-postgresql"
  instance_class             = "db.serverless"
  aurora                     = { min_acu = 2, max_acu = 16, readers = 1 }
  enable_multi_az            = true
  enable_protection          = false
  backup_retention_days      = 3
  proxy                      = { max_connections_percent = 90 }
  database_subnet_group_name = "pmp-dev"
  proxy_subnet_ids           = ["subnet-11111111111111111", "subnet-22222222222222222"]
  security_group_id_by_role  = { database = "sg-11111111111111111", proxy = "sg-22222222222222222" }
  kms_key_arn                = "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-4333-8444-555555555555"
  permissions_boundary_arn   = "arn:aws:iam::123456789012:policy/pmp/pmp-dev-boundary"
}
