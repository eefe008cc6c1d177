# Runs every KMS operation that this boto3 has against the endpoint, once, and prints what it ran, a name a line.
# Usage: boto3-client.py ENDPOINT REGION, with credentials in the environment.
import os
import subprocess
import sys
import tempfile

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

endpoint, region = sys.argv[1:]
retries = {"mode": "standard", "max_attempts": 3}
kms = boto3.client("kms", endpoint_url=endpoint, region_name=region, config=Config(retries=retries))
ran = []


def call(operation, **members):
    reply = getattr(kms, operation)(**members)
    assert reply["ResponseMetadata"]["HTTPStatusCode"] == 200
    ran.append(kms.meta.method_to_api_mapping[operation])
    return reply


def refused(code, operation, **members):
    try:
        getattr(kms, operation)(**members)
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, error
        assert code not in dir(kms.exceptions) or isinstance(error, getattr(kms.exceptions, code))
        return
    raise AssertionError(f"{operation} was not refused with {code}")


def wrapped(public_key, material):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "key.der")
        with open(path, "wb") as file:
            file.write(public_key)
        words = "openssl pkeyutl -encrypt -pubin -keyform DER -pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha256"
        return subprocess.run([*words.split(), "-inkey", path], input=material, capture_output=True, check=True).stdout


context = {"aws:ebs:id": "vol-1"}
made = call("create_key", Description="one", Tags=[{"TagKey": "a", "TagValue": "1"}])["KeyMetadata"]
key, arn = made["KeyId"], made["Arn"]
other = call("create_key")["KeyMetadata"]["KeyId"]
call("create_alias", AliasName="alias/py", TargetKeyId=key)
assert call("describe_key", KeyId="alias/py")["KeyMetadata"]["Arn"] == arn
assert {each["KeyId"] for page in kms.get_paginator("list_keys").paginate(PaginationConfig={"PageSize": 1}) for each in page["Keys"]} >= {key, other}
ran.append("ListKeys")
assert call("list_aliases", KeyId=key)["Aliases"][0]["AliasName"] == "alias/py"

data = call("generate_data_key", KeyId="alias/py", KeySpec="AES_256", EncryptionContext=context)
opened = call("decrypt", CiphertextBlob=data["CiphertextBlob"], EncryptionContext=context)
assert opened["Plaintext"] == data["Plaintext"] and len(data["Plaintext"]) == 32
call("generate_data_key_without_plaintext", KeyId=key, NumberOfBytes=64)
blob = call("encrypt", KeyId=key, Plaintext=b"secret", EncryptionContext=context)["CiphertextBlob"]
anew = call("re_encrypt", CiphertextBlob=blob, SourceEncryptionContext=context, DestinationKeyId=other)["CiphertextBlob"]
assert kms.decrypt(CiphertextBlob=anew)["Plaintext"] == b"secret"
refused("InvalidCiphertextException", "decrypt", CiphertextBlob=blob)
refused("NotFoundException", "describe_key", KeyId="alias/none")

call("update_alias", AliasName="alias/py", TargetKeyId=other)
call("delete_alias", AliasName="alias/py")
call("update_key_description", KeyId=key, Description="two")
call("tag_resource", KeyId=key, Tags=[{"TagKey": "b", "TagValue": "2"}])
call("untag_resource", KeyId=key, TagKeys=["a"])
assert call("list_resource_tags", KeyId=key)["Tags"] == [{"TagKey": "b", "TagValue": "2"}]

call("enable_key_rotation", KeyId=key)
assert call("get_key_rotation_status", KeyId=key)["KeyRotationEnabled"]
call("disable_key_rotation", KeyId=key)
if hasattr(kms, "rotate_key_on_demand"):
    call("rotate_key_on_demand", KeyId=key)
    call("list_key_rotations", KeyId=key)

own = call("create_key", Origin="EXTERNAL")["KeyMetadata"]["KeyId"]
choice = {"WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_2048"}
given = call("get_parameters_for_import", KeyId=own, **choice)
material = wrapped(given["PublicKey"], os.urandom(32))
forever = {"ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE"}
call("import_key_material", KeyId=own, ImportToken=given["ImportToken"], EncryptedKeyMaterial=material, **forever)
assert kms.describe_key(KeyId=own)["KeyMetadata"]["KeyState"] == "Enabled"
call("delete_imported_key_material", KeyId=own)

call("disable_key", KeyId=key)
refused("DisabledException", "generate_data_key", KeyId=key, NumberOfBytes=32)
call("enable_key", KeyId=key)
call("schedule_key_deletion", KeyId=key, PendingWindowInDays=7)
refused("KMSInvalidStateException", "enable_key", KeyId=key)
call("cancel_key_deletion", KeyId=key)
print("\n".join(ran))
