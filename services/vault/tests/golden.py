"""Makes the golden record of services/vault/src/wrap/tests.rs: RFC 9180 from its text, over Python's `cryptography`.

    python3 services/vault/tests/golden.py

Checks itself against RFC 9180, appendix A.1.3 (Auth mode, AES-128-GCM), then prints a record in the vault's suite (AES-256-GCM).
"""

import hashlib
import hmac

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEM = b"KEM" + (0x0020).to_bytes(2, "big")


def extract(salt, ikm):
    return hmac.digest(salt or bytes(32), ikm, hashlib.sha256)


def expand(prk, info, length):
    out, block = b"", b""
    for counter in range(1, 256):
        if len(out) >= length:
            return out[:length]
        block = hmac.digest(prk, block + info + bytes([counter]), hashlib.sha256)
        out += block


def labeled_extract(suite, salt, label, ikm):
    return extract(salt, b"HPKE-v1" + suite + label + ikm)


def labeled_expand(suite, prk, label, info, length):
    return expand(prk, length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info, length)


def derive(ikm):
    prk = labeled_extract(KEM, b"", b"dkp_prk", ikm)
    return X25519PrivateKey.from_private_bytes(labeled_expand(KEM, prk, b"sk", b"", 32))


def public(secret):
    return secret.public_key().public_bytes_raw()


def seal_auth(aead_id, key_bytes, ephemeral, recipient, sender, info, aad, plaintext):
    peer = X25519PublicKey.from_public_bytes(recipient)
    dh = ephemeral.exchange(peer) + sender.exchange(peer)
    enc = public(ephemeral)
    prk = labeled_extract(KEM, b"", b"eae_prk", dh)
    shared = labeled_expand(KEM, prk, b"shared_secret", enc + recipient + public(sender), 32)
    suite = b"HPKE" + b"".join(n.to_bytes(2, "big") for n in (0x0020, 0x0001, aead_id))
    context = bytes([2])
    context += labeled_extract(suite, b"", b"psk_id_hash", b"") + labeled_extract(suite, b"", b"info_hash", info)
    secret = labeled_extract(suite, shared, b"secret", b"")
    key = labeled_expand(suite, secret, b"key", context, key_bytes)
    nonce = labeled_expand(suite, secret, b"base_nonce", context, 12)
    return enc, AESGCM(key).encrypt(nonce, plaintext, aad)


def check():
    ikm = "6e6d8f200ea2fb20c30b003a8b4f433d2f4ed4c2658d5bc8ce2fef718059c9f7"
    ikm_r = "f1d4a30a4cef8d6d4e3b016e6fd3799ea057db4f345472ed302a67ce1c20cdec"
    ikm_s = "94b020ce91d73fca4649006c7e7329a67b40c55e9e93cc907d282bbbff386f58"
    ephemeral, recipient, sender = (derive(bytes.fromhex(x)) for x in (ikm, ikm_r, ikm_s))
    info, aad = bytes.fromhex("4f6465206f6e2061204772656369616e2055726e"), b"Count-0"
    text = b"Beauty is truth, truth beauty"
    enc, sealed = seal_auth(0x0001, 16, ephemeral, public(recipient), sender, info, aad, text)
    assert enc.hex() == "23fb952571a14a25e3d678140cd0e5eb47a0961bb18afcf85896e5453c312e76"
    assert sealed.hex() == (
        "5fd92cc9d46dbf8943e72a07e42f363ed5f721212cd90bcfd072bfd9f44e06b80fd17824947496e21b680c141b"
    )


def fields(*parts):
    return b"".join(len(part).to_bytes(8, "big") + part for part in parts)


def golden():
    seed = bytes(range(32))
    kek, sender = derive(b"\x11" * 32), derive(b"\x22" * 32)
    data_key, nonce = b"\x33" * 32, b"\x44" * 12
    where = (b"\x01", b"token-value", b"team_7_test", b"tok_0123456789abcdefghjkmnpqrs", (3).to_bytes(4, "big"))
    kek_id = hashlib.sha256(public(kek)).digest()[:8]
    wrap_aad = fields(b"waybill vault data key", *where, kek_id)
    enc, sealed = seal_auth(
        0x0002, 32, derive(seed), public(kek), sender, b"waybill vault data key v1", wrap_aad, data_key
    )
    value_aad = fields(b"waybill vault value", *where, b"")
    envelope = b"\x01" + nonce + AESGCM(data_key).encrypt(nonce, b"Bearer sk-golden", value_aad)
    print("kek-secret1." + kek.private_bytes_raw().hex())
    print("sender-secret1." + sender.private_bytes_raw().hex())
    print("sender-public1." + public(sender).hex())
    print("kek-public1." + public(kek).hex())
    print("wrapped", (b"\x01" + kek_id + enc + sealed).hex())
    print("envelope", envelope.hex())


check()
golden()
