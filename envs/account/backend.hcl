key                  = "account.tfstate"
workspace_key_prefix = "account"
encrypt              = true
use_lockfile         = true
