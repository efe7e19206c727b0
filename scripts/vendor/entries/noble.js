// Signatures and hashes without a secure context; loaded when the first proof is checked.
import * as ed25519 from "@noble/ed25519";
import { sha256, sha512 } from "@noble/hashes/sha2.js";
import { hkdf } from "@noble/hashes/hkdf.js";
import { hmac } from "@noble/hashes/hmac.js";
import { blake2b } from "@noble/hashes/blake2.js";

ed25519.hashes.sha512 = sha512;

export { blake2b, ed25519, hkdf, hmac, sha256, sha512 };
