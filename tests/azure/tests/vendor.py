"""The vendor's own clients against the simulator. Arguments: address by HTTP, address by HTTPS, the scale set's id."""

import os
import sys

http, https, scale_set = sys.argv[1:4]
# The vendor's own way to put another address in the place of 169.254.169.254 (azure-identity, _constants.py).
os.environ["AZURE_POD_IDENTITY_AUTHORITY_HOST"] = http

from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ResourceNotFoundError
from azure.identity import ManagedIdentityCredential
from azure.keyvault.secrets import SecretClient
from azure.mgmt.compute import ComputeManagementClient
from azure.mgmt.compute.models import VirtualMachineScaleSetVM, VirtualMachineScaleSetVMProtectionPolicy

_, _, subscription, _, group, _, _, _, name = scale_set.split("/")

credential = ManagedIdentityCredential()
token = credential.get_token("https://management.azure.com/.default")
assert token.token.startswith("eyJ") and token.expires_on > 0, token
wrong = ManagedIdentityCredential(client_id="ffffffff-0000-4000-8000-000000000000")
try:
    wrong.get_token("https://management.azure.com/.default")
    sys.exit("an identity that there is not got a token")
except ClientAuthenticationError:
    pass

compute = ComputeManagementClient(credential, subscription, base_url=https, credential_scopes=["https://management.azure.com/.default"])
vms = list(compute.virtual_machine_scale_set_vms.list(group, name))
assert [vm.instance_id for vm in vms] == ["0", "1"], vms
vm = compute.virtual_machine_scale_set_vms.get(group, name, "0")
assert vm.protection_policy is None and vm.vm_id, vm
policy = VirtualMachineScaleSetVMProtectionPolicy(protect_from_scale_in=True, protect_from_scale_set_actions=True)
wanted = VirtualMachineScaleSetVM(location=vm.location, protection_policy=policy)
# The simulator answers 202: the client polls the operation, then reads the VM.
done = compute.virtual_machine_scale_set_vms.begin_update(group, name, "0", wanted).result()
assert done.protection_policy.protect_from_scale_in and done.protection_policy.protect_from_scale_set_actions, done
assert done.provisioning_state == "Succeeded", done.provisioning_state
policy.protect_from_scale_in = False
try:
    compute.virtual_machine_scale_set_vms.begin_update(group, name, "0", wanted).result()
    sys.exit("an invalid policy was taken")
except HttpResponseError as error:
    assert error.status_code == 400 and error.error.code == "InvalidParameter", error
try:
    compute.virtual_machine_scale_set_vms.get(group, name, "99")
    sys.exit("a VM that there is not was found")
except HttpResponseError as error:
    assert "is not an active Virtual Machine Scale Set VM instanceId" in str(error), error

# The address is not the vault's own name, which the client would compare with the challenge.
vault = SecretClient(https, credential, verify_challenge_resource=False)
secret = vault.get_secret("share-key")
assert secret.value == "a+b/c==" and secret.properties.enabled, secret
try:
    vault.get_secret("none")
    sys.exit("a secret that there is not was found")
except ResourceNotFoundError as error:
    assert error.error.code == "SecretNotFound", error
print("the vendor's clients are content")
