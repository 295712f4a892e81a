"""Those of the tests, with the sandbox's billing account: the processes ask it by its real address."""

from payflow.settings.sandbox import sandbox_providers
from payflow.settings.test import *  # noqa: F403
from payflow.settings.test import PAYFLOW_BASE_URL, PAYFLOW_PROVIDERS, env

PAYFLOW_PROVIDERS = {
    **PAYFLOW_PROVIDERS,
    "sandbox-billing": sandbox_providers(env, PAYFLOW_BASE_URL)["sandbox-billing"],
}
