"""Which of GitLab's identities an IAM user is, and a record that holds for every environment."""

from ops import policies
from ops.policies import Identity


def test_users_of_a_shared_account_are_told_by_their_policies() -> None:
    found = policies.identities(
        {
            "gitlab-dev": ["pmp-dev-state", "pmp-dev-guardrails"],
            "gitlab-plan-dev": ["pmp-dev-plan-state", "pmp-dev-plan-read-service"],
            "gitlab-plan-account": ["pmp-plan-account"],
            "somebody": ["AdministratorAccess"],
        }
    )
    assert found == [
        Identity("gitlab-dev", policies.DELIVER, "dev"),
        Identity("gitlab-plan-account", policies.PLAN, "account"),
        Identity("gitlab-plan-dev", policies.PLAN, "dev"),
    ]


def test_who_plans_the_only_environment_of_an_account_plans_the_account_layer_as_well() -> None:
    found = policies.identities(
        {"gitlab": ["pmp-prod-guardrails"], "gitlab-plan": ["pmp-prod-plan-state", "pmp-plan-account"]}
    )
    assert found == [
        Identity("gitlab", policies.DELIVER, "prod"),
        Identity("gitlab-plan", policies.PLAN, "prod"),
        Identity("gitlab-plan", policies.PLAN, "account"),
    ]


def test_record_of_one_environment_holds_for_another() -> None:
    recorded = {
        "ReadStates": {"s3:GetObject": "arn:aws:s3:::states/service/dev/service.tfstate"},
        "KeepFunctions": {"lambda:GetFunction": "arn:aws:lambda:eu-west-1:0:function:pmp-dev"},
        "Other": {"s3:GetObject": "arn:aws:s3:::devices/develop"},
    }
    assert policies.general(recorded, "dev") == {
        "ReadStates": {"s3:GetObject": "arn:aws:s3:::states/service/<environment>/service.tfstate"},
        "KeepFunctions": {"lambda:GetFunction": "arn:aws:lambda:eu-west-1:0:function:pmp-<environment>"},
        "Other": {"s3:GetObject": "arn:aws:s3:::devices/develop"},
    }


def test_committed_record_of_who_deploys_names_no_environment() -> None:
    requests = policies.committed(policies.DELIVER, "trial")
    resources = [arn for actions in requests.values() for arn in actions.values()]
    assert any("pmp-trial" in arn for arn in resources)
    assert not [arn for arn in resources if "<environment>" in arn or "pmp-local" in arn or "pmp-dev" in arn]
