# Runs every KMS command that this awscli has against the endpoint, once, in one process: each start of it takes a second.
# Prints the commands that it ran, a name a line. Usage: awscli-client.py ENDPOINT REGION, with credentials in the
# environment.
import atexit
import base64
import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile

from awscli.clidriver import create_clidriver

endpoint, region = sys.argv[1:]
os.environ.update(AWS_PAGER="", AWS_DEFAULT_REGION=region, AWS_EC2_METADATA_DISABLED="true")
folder = tempfile.mkdtemp()
atexit.register(shutil.rmtree, folder)
driver = create_clidriver()
ran = []


def run(command, *words):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = driver.main(["kms", command, "--endpoint-url", endpoint, "--output", "json", *words])
    return code, out.getvalue()


def call(command, *words):
    code, out = run(command, *words)
    assert code == 0, (command, code, out)
    ran.append(command)
    return json.loads(out) if out.strip() else {}


def file(name, content):
    path = os.path.join(folder, name)
    with open(path, "wb") as stream:
        stream.write(content)
    return "fileb://" + path


def blob(text):
    return base64.b64decode(text)


key = call("create-key", "--description", "one", "--tags", "TagKey=a,TagValue=1")["KeyMetadata"]["KeyId"]
other = call("create-key")["KeyMetadata"]["KeyId"]
call("create-alias", "--alias-name", "alias/cli", "--target-key-id", key)
assert call("describe-key", "--key-id", "alias/cli")["KeyMetadata"]["KeyId"] == key
assert len(call("list-keys", "--page-size", "1")["Keys"]) >= 2
assert call("list-aliases", "--key-id", key)["Aliases"][0]["AliasName"] == "alias/cli"

context = ["--encryption-context", "aws:ebs:id=vol-1"]
data = call("generate-data-key", "--key-id", "alias/cli", "--key-spec", "AES_256", *context)
wrapped = file("data", blob(data["CiphertextBlob"]))
assert call("decrypt", "--ciphertext-blob", wrapped, *context)["Plaintext"] == data["Plaintext"]
call("generate-data-key-without-plaintext", "--key-id", key, "--number-of-bytes", "64")
made = call("encrypt", "--key-id", key, "--plaintext", file("secret", b"secret"))
secret = file("made", blob(made["CiphertextBlob"]))
call("re-encrypt", "--ciphertext-blob", secret, "--destination-key-id", other)

call("update-alias", "--alias-name", "alias/cli", "--target-key-id", other)
call("delete-alias", "--alias-name", "alias/cli")
call("update-key-description", "--key-id", key, "--description", "two")
call("tag-resource", "--key-id", key, "--tags", "TagKey=b,TagValue=2")
call("untag-resource", "--key-id", key, "--tag-keys", "a")
assert call("list-resource-tags", "--key-id", key)["Tags"] == [{"TagKey": "b", "TagValue": "2"}]
call("enable-key-rotation", "--key-id", key)
assert call("get-key-rotation-status", "--key-id", key)["KeyRotationEnabled"]
call("disable-key-rotation", "--key-id", key)

own = call("create-key", "--origin", "EXTERNAL")["KeyMetadata"]["KeyId"]
choice = ["--wrapping-algorithm", "RSAES_OAEP_SHA_256", "--wrapping-key-spec", "RSA_2048"]
given = call("get-parameters-for-import", "--key-id", own, *choice)
public = file("key.der", blob(given["PublicKey"]))[len("fileb://"):]
words = "openssl pkeyutl -encrypt -pubin -keyform DER -pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha256"
material = subprocess.run([*words.split(), "-inkey", public], input=os.urandom(32), capture_output=True, check=True).stdout
token = ["--import-token", file("token", blob(given["ImportToken"]))]
forever = ["--expiration-model", "KEY_MATERIAL_DOES_NOT_EXPIRE"]
call("import-key-material", "--key-id", own, *token, "--encrypted-key-material", file("material", material), *forever)
call("delete-imported-key-material", "--key-id", own)

call("disable-key", "--key-id", key)
code, _ = run("generate-data-key", "--key-id", key, "--number-of-bytes", "32")
assert code == 254, code
call("enable-key", "--key-id", key)
call("schedule-key-deletion", "--key-id", key, "--pending-window-in-days", "7")
call("cancel-key-deletion", "--key-id", key)
print("\n".join(ran))
